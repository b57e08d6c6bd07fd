"""InstructRec: ranks a catalogue from behaviour, context and what the user says.

In the notation of docs/architecture.md:

    A = behaviour encoder(X)          what the user did
    B = context encoder(C)            what is known at request time
    h(x)                              what the user said
    ŷ = f(h(x))                       which attributes that asks for
    h = g(A, B, h(x))                 the user's situation
    r = k(I', I)                      cosine of situation and item, plus what the
                                      instruction says about the item
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import torch
from recbole.utils import InputType
from torch import nn
from torch.nn import functional as F

from recbole_instructrec.checkpoint import CheckpointError
from recbole_instructrec.data.dataset import (
    CONTEXT,
    EARLIER,
    INSTRUCTION,
    encoder_length,
)
from recbole_instructrec.model.behaviour import BehaviourEncoder
from recbole_instructrec.model.fusion import ContextEncoder, Fusion
from recbole_instructrec.model.hearing import Hearing
from recbole_instructrec.model.instructions import (
    BiLSTMInstructions,
    FrozenInstructions,
    Said,
)
from recbole_instructrec.model.intent import SentenceIntent, intent_loss
from recbole_instructrec.model.items import ItemTable, whitened_modalities
from recbole_instructrec.model.kept import Kept
from recbole_instructrec.model.losses import Further, Scores, all_scores, softmax_cross_entropy
from recbole_instructrec.model.neighbours import ItemNeighbours, Moved
from recbole_instructrec.model.reading.read_intents import ReadIntents
from recbole_instructrec.model.sampled import SampledCatalogue
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.options import as_meant
from recbole_instructrec.pretrained import Catalogue, Pretrained, projections_of_weights_to_come

# Finite, because minus infinity times a gradient of zero is not a number.
_NEVER = -1e9

# Where users never repeat, the best repeat score is far below 0: let it get there in a few epochs.
_REPEAT_SPEED = 10.0


class InstructRec(Hearing):
    """Sequential recommender that reads behaviour, context and instructions.

    Parameters
    ----------
    config : recbole.config.Config
        Options as documented in ``properties/InstructRec.yaml``.
    dataset : InstructRecDataset
        For the catalogue, item texts, attributes and instruction texts.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        size = config["hidden_size"]
        self.encoder_length = encoder_length(config)
        self.loss_chunk = config["loss_chunk"]
        drawn = config["loss_items"]
        self.sampled = SampledCatalogue(dataset.target_counts(), drawn) if drawn else None
        self.intent_weight = config["intent_weight"]

        text_encoder = self._text_encoder(config, dataset)
        pretrained = Pretrained.read(config, dataset, text_encoder) if config["pretrained"] else None
        given = pretrained.projections if pretrained else projections_of_weights_to_come(config)
        texts, has_text = self._item_text_vectors(dataset, text_encoder)
        fusion, item_tokens = config["item_fusion"], dataset.field2id_token[dataset.iid_field]
        modalities, self.whitening = whitened_modalities(config, item_tokens, texts, has_text, given)
        if fusion == "none" and modalities:
            fusion = "add"  # vectors that were given are used; the texts stay out of the item table
        self.items = ItemTable(
            self.n_items, size, modalities, fusion, config["item_experts"], config["hidden_dropout_prob"]
        )
        self.behaviour = BehaviourEncoder(
            size,
            config["inner_size"],
            config["n_layers"],
            config["n_heads"],
            self.encoder_length,
            config["hidden_dropout_prob"],
            config["attn_dropout_prob"],
            config["item_dropout_prob"],
        )
        self.context = ContextEncoder(dataset.context.sizes, size) if dataset.context.fields else None
        self.fusion = Fusion(size, config["n_heads"], config["hidden_dropout_prob"])
        if len(dataset.instructions) > 1:
            self._build_instruction_side(config, dataset, text_encoder, texts, has_text, given)

        self.attribute_names: list[str] = list(dataset.attributes.names)
        self.catalogue = Catalogue.of(dataset, text_encoder)
        self.made_for = self._made_for(dataset, text_encoder)
        popularity = np.log1p(dataset.target_counts()) if config["popularity_prior"] else np.zeros(self.n_items)
        self.item_bias = nn.Parameter(torch.from_numpy(popularity).float())
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config["temperature"])))
        self.repeat = nn.Parameter(torch.tensor(0.0)) if config["repeat_bias"] else None
        self.neighbours = nn.ModuleList(self._item_neighbours(config, dataset, texts, has_text))
        self.network_weight = as_meant(config, "network_weight") if len(self.neighbours) else 1.0
        self._tables = Kept()
        if pretrained is not None:
            pretrained.transfer(self)

    # --- parts -------------------------------------------------------------------------------

    @staticmethod
    def _text_encoder(config: Any, dataset: Any) -> FrozenTextEncoder | None:
        reads = config["instruction_encoder"] == "transformer" and len(dataset.instructions) > 1
        if not reads and not any(dataset.item_texts):
            return None
        return FrozenTextEncoder(
            config["text_encoder"], config["max_text_tokens"], config["text_cache_dir"], bool(config["show_progress"])
        )

    @staticmethod
    def _item_text_vectors(dataset: Any, encoder: FrozenTextEncoder | None) -> tuple[np.ndarray, np.ndarray]:
        has_text = np.array([bool(text) for text in dataset.item_texts])
        if encoder is None or not has_text.any():
            return np.zeros((len(has_text), 0), dtype=np.float32), np.zeros(len(has_text), dtype=bool)
        vectors = np.zeros((len(has_text), encoder.size), dtype=np.float32)
        vectors[has_text] = encoder([text for text in dataset.item_texts if text])
        return vectors, has_text

    @staticmethod
    def _item_neighbours(config: Any, dataset: Any, texts: np.ndarray, has_text: np.ndarray) -> list[ItemNeighbours]:
        found, longest = [], config["MAX_ITEM_LIST_LENGTH"]
        if weight := config["neighbour_weight"]:
            counts, taken = dataset.transition_counts(as_meant(config, "neighbour_back")), dataset.target_counts()
            share, decay = config["neighbour_text"], config["neighbour_decay"]
            found.append(ItemNeighbours.of_transitions(counts, taken, texts, has_text, weight, share, decay, longest))
        if weight := as_meant(config, "cooccurrence_weight"):
            found.append(ItemNeighbours.of_users(dataset.taken_by_users(), weight, longest))
        return found

    def _made_for(self, dataset: Any, encoder: FrozenTextEncoder | None) -> dict[str, str]:
        """Hashes of what the rows of the parameters stand for, in their order."""
        parts: dict[str, Any] = {
            "catalogue": dataset.field2id_token[dataset.iid_field],
            "attributes": dataset.attributes.names,
            "context fields": [(name, list(dataset.field2id_token.get(name, []))) for name in dataset.context.fields],
        }
        if encoder is not None and (self.match is not None or isinstance(self.instructions, FrozenInstructions)):
            parts["text encoder"] = [encoder.fingerprint]
            if isinstance(self.intent, ReadIntents) and self.intent.encoder != encoder.fingerprint:
                parts["reader of requests"] = self.intent.comes_with  # the packaged reader has adapters of its own
        if isinstance(self.instructions, BiLSTMInstructions):
            parts["vocabulary"] = list(self.instructions.vocabulary)
        return {name: fingerprint_of(values) for name, values in parts.items()}

    def get_extra_state(self) -> dict[str, str]:
        """Stored with the weights, so that they are never loaded for other items or words."""
        return dict(self.made_for)

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Refuse weights that stand for other items, attributes, words or profiles.

        Raises
        ------
        CheckpointError
            Naming what differs.
        """
        for name, value in self.made_for.items():
            if state.get(name) != value:
                if name == "reader of requests":
                    raise CheckpointError(
                        "these weights were trained with another packaged reader of requests than the one that is "
                        "installed. Train again, or install the version of recbole-instructrec they were trained with."
                    )
                raise CheckpointError(
                    f"these weights were trained on another {name}, not on that of the data set at hand. "
                    "Use the data set, the load_col and the filters they were trained with."
                )

    # --- the picture -------------------------------------------------------------------------

    def train(self, mode: bool = True) -> InstructRec:
        """As in torch; what was kept of the weights is forgotten."""
        self._tables.forget()
        return super().train(mode)

    def forward(self, state: torch.Tensor, said: Said, context: torch.Tensor | None) -> torch.Tensor:
        """The situation h = g(A, B, h(x)) of n requests.

        Parameters
        ----------
        state : Tensor
            Behaviour A, ``[n, d]``.
        said : Said
            The instructions h(x) of the n requests.
        context : Tensor or None
            Codes of the request-time fields, ``[n, n_fields]``.

        Returns
        -------
        Tensor
            ``[n, d]``.
        """
        speaks = torch.nonzero(said.line >= 0).flatten()
        heard = None if said.vectors is None or self.summary is None else self.summary(said.vectors)
        if self.context is None or context is None:
            if heard is None:
                return state
            tokens = heard[said.line[speaks]]
            fused, _ = self.fusion(
                state[speaks], tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
            )
            return state.index_copy(0, speaks, fused.to(state.dtype))
        tokens, present = self.context(context)
        if heard is not None:
            words = heard[said.line.clamp(min=0)]
            tokens = torch.cat([tokens, words.to(tokens.dtype)], dim=1)
            present = torch.cat([present, (said.line >= 0).unsqueeze(1).expand(-1, words.shape[1])], dim=1)
        return self.fusion(state, tokens, present)[0].to(state.dtype)

    def scores(
        self,
        state: torch.Tensor,
        directions: torch.Tensor,
        said: Said,
        context: torch.Tensor | None,
        seen: torch.Tensor,
        items: torch.Tensor | None = None,
        ranking: bool = True,
        moved: Moved | None = None,
    ) -> Scores:
        """What the scores r = k(I', I) of n requests are made of.

        Where neighbours join, what the network makes of behaviour, words and context counts ``network_weight``, so
        that the sum, a logarithmic opinion pool, is no surer of itself than its parts, and what is asked for weighs
        as much as it did in training.

        Parameters
        ----------
        state, said, context
            As in :meth:`forward`.
        directions : Tensor
            Item vectors of length 1, float32, ``[n_items, d]``.
        seen : Tensor
            Items in each request's history, 0 for none, ``[n, n_seen]``.
        items : Tensor, optional
            Only these are scored, in this order; the repeat score is left to the caller then.
        ranking : bool
            Whether neighbours join; not in training, where their counts would hold the targets.
        moved : Moved, optional
            What moves the histories that neighbours see; the situations are the caller's to move.

        Returns
        -------
        Scores

        References
        ----------
        Genest and Zidek, Combining Probability Distributions, Statistical Science 1986, for the pool.
        """
        situation = self.forward(state, said, context)
        hidden = F.normalize(situation.float(), dim=-1) * self.scale
        if items is None:
            bias = self.item_bias.index_fill(0, torch.zeros(1, dtype=torch.long, device=self.item_bias.device), _NEVER)
        else:
            bias = self.item_bias[items].masked_fill(items == 0, _NEVER)
        repeat = hidden.new_zeros(()) if self.repeat is None else self.repeat_score
        history, further = seen, None
        if ranking and len(self.neighbours):
            hidden, bias, repeat = (self.network_weight * part for part in (hidden, bias, repeat))
            rows = torch.arange(len(seen), device=seen.device)
            further = Further(lambda rows: self._nearness(history[rows], items, moved and moved.part(rows)), rows)
        if items is not None:
            directions, seen = directions[items], seen[:, :0]
        extra, line = hidden.new_zeros(0, len(bias)), said.line
        if said.vectors is not None:
            if self.match is not None:
                extra = self.match(said.vectors, items).float()
                if self.frozen_match is not None and said.frozen is not None:
                    tuned, frozen = self._encoders_heard(len(extra))
                    extra = extra * tuned + self.frozen_match(said.frozen, items).float() * frozen
                    heard = torch.where(line >= 0, tuned[line.clamp(min=0), 0], torch.ones_like(hidden[:, 0]))
                    hidden = hidden * heard.unsqueeze(1)
            if self.answers is not None and said.intent is not None:
                answer = self.answers(said.intent, items).float()
                extra = extra + answer if len(extra) else answer
            if self.near is not None and any(said.mentions):
                near = self.near(said.mentions, said.numbers.tolist())
                near = near if items is None else near[:, items]
                extra = extra + near if len(extra) else near
            # An instruction side without attributes and without item texts works through the fusion alone.
            line = line if len(extra) else torch.full_like(line, -1)
        if self.repeat is None:
            seen = seen[:, :0]
        return Scores(hidden, directions, bias, extra, line, seen, repeat, further)

    def _nearness(self, history: torch.Tensor, items: torch.Tensor | None, moved: Moved | None) -> torch.Tensor:
        """What neighbours add after n histories, ``[n, n_items]``."""
        first, *others = (cast(ItemNeighbours, near) for near in self.neighbours)
        nearness = first.of_histories(history, items, moved)
        for near in others:
            nearness += near.of_histories(history, items, moved)
        return nearness

    def _item_vectors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Item vectors, and the same with length 1 in float32, ``[n_items, d]`` each."""
        table = self.items()
        return table, F.normalize(table.float(), dim=-1)

    @property
    def scale(self) -> torch.Tensor:
        """What a cosine of situation and item counts where nothing joins, a scalar."""
        return self.log_scale.exp().clamp(max=100.0)

    @property
    def repeat_score(self) -> torch.Tensor:
        """What is added to the score of items that the history holds already, a scalar."""
        assert self.repeat is not None
        return _REPEAT_SPEED * self.repeat

    def item_directions(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Item vectors, and the same with length 1, ``[n_items, d]`` each; in evaluation mode kept, to be read only."""
        return self._tables(self.items, self._item_vectors)  # type: ignore[return-value]

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Cross-entropy of every target in a batch, plus the intent head's loss.

        Parameters
        ----------
        interaction : Interaction
            Training rows of :class:`InstructRecDataset` (targets
            ``[batch_size, length + 1]``), or RecBole's own rows (one target a row).

        Returns
        -------
        Tensor
            Scalar.
        """
        items, targets = interaction[self.ITEM_SEQ], interaction[self.POS_ITEM_ID]
        if targets.dim() == 1:
            earlier, items, step = self.latest(items, interaction[self.ITEM_SEQ_LEN])
            row, target = torch.arange(len(items), device=items.device), targets
            at: tuple[torch.Tensor, ...] = (row,)
        else:
            earlier = interaction[EARLIER] if EARLIER in interaction else items[:, :0]
            row, step = torch.nonzero(targets, as_tuple=True)
            target = targets[row, step]
            at = (row, step)
        table, directions = self._item_vectors()
        state = self.behaviour(items, table)[row, step]  # [n_targets, d]
        said = self._read(interaction[INSTRUCTION][at])
        context = interaction[CONTEXT][at] if self.context is not None else None
        seen = torch.cat(
            [earlier[row], items[row] * (torch.arange(items.shape[1], device=items.device) < step.unsqueeze(1))], dim=1
        )
        scores = self.scores(state, directions, said, context, seen, ranking=False)
        first = self._first_seen(scores.seen, torch.cat([earlier, items], dim=1), row)
        own = None
        if self.sampled is not None:
            scores, target, first, own = self.sampled(scores, target, first)
        loss = softmax_cross_entropy(scores, target, first, self.loss_chunk, own)
        if isinstance(self.intent, SentenceIntent) and said.intent is not None:
            loss = loss + self.intent_weight * intent_loss(said.intent, self._known(said.numbers))
        penalty = self.transformer.penalty() if self.transformer is not None else None
        return loss if penalty is None else loss + penalty

    @staticmethod
    def _first_seen(seen: torch.Tensor, items: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """1.0 for the first occurrence of an item in its row, ``[n_targets, n_seen]``."""
        if not seen.shape[1]:
            return seen.float()
        ordered, order = items.sort(dim=1, stable=True)
        new = torch.ones_like(ordered, dtype=torch.bool)
        new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        first = torch.zeros_like(new).scatter_(1, order, new)
        return (first[row] & (seen > 0)).float()

    def latest(self, items: torch.Tensor, length: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Part histories into what the encoder reads and what came before, both left aligned.

        Parameters
        ----------
        items : Tensor
            ``[batch_size, MAX_ITEM_LIST_LENGTH]``.
        length : Tensor
            ``[batch_size]``.

        Returns
        -------
        tuple of Tensor
            Earlier items (zeros in between), items for the encoder, their number.
        """
        items = items[:, : max(1, int(length.max()))]
        if items.shape[1] <= self.encoder_length:
            return items[:, :0], items, length
        skipped = (length - self.encoder_length).clamp(min=0)
        place = skipped.unsqueeze(1) + torch.arange(self.encoder_length, device=items.device)
        read = items.gather(1, place.clamp(max=items.shape[1] - 1)) * (place < length.unsqueeze(1))
        before = torch.arange(items.shape[1], device=items.device) < skipped.unsqueeze(1)
        return items * before, read, length - skipped

    def request(self, interaction: Any, said: Said) -> Scores:
        """Scores of n requests: evaluation rows, and what their users say.

        Parameters
        ----------
        interaction : Interaction
            Evaluation rows (item list and its length), ``[n, ...]``.
        said : Said
            From :meth:`hear`.

        Returns
        -------
        Scores
            For :func:`~recbole_instructrec.model.losses.all_scores`.

        Raises
        ------
        RuntimeError
            In training mode, in which lists are random.
        ValueError
            When there are not as many texts as rows.
        """
        state, context, seen = self.situations(interaction, said)
        return self.scores(state, self.item_directions()[1], said, context, seen)

    def situations(self, interaction: Any, said: Said) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """What :meth:`scores` needs of n requests: behaviour, context and what was seen; as :meth:`request`."""
        if self.training:
            raise RuntimeError(
                "request: the model is in training mode, where dropout makes lists random; model.eval()."
            )
        if len(said.line) != len(interaction):
            raise ValueError(f"request: {len(interaction)} rows, but {len(said.line)} texts were heard.")
        earlier, items, length = self.latest(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        table, _ = self.item_directions()
        state = self.behaviour(items, table)[torch.arange(len(items), device=items.device), length]
        context = interaction[CONTEXT] if self.context is not None and CONTEXT in interaction else None
        return state, context, torch.cat([earlier, items], dim=1)

    def _request(self, interaction: Any) -> Scores:
        length = interaction[self.ITEM_SEQ_LEN]
        numbers = interaction[INSTRUCTION] if INSTRUCTION in interaction else torch.zeros_like(length)
        return self.request(interaction, self._read(numbers))

    @torch.no_grad()
    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Scores of all items for evaluation rows, ``[batch_size, n_items]``."""
        return all_scores(self._request(interaction))

    @torch.no_grad()
    def predict(self, interaction: Any) -> torch.Tensor:
        """Scores of each row's own item, ``[batch_size]``."""
        return all_scores(self._request(interaction)).gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)


def fingerprint_of(values: Iterable[Any]) -> str:
    """Hash of a list of names in its order."""
    text = "\n".join(map(str, values))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
