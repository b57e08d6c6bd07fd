"""The side of InstructRec that hears: from instruction texts to vectors, wishes and named items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_instructrec.data.mentions import ItemMentions
from recbole_instructrec.data.words import legible
from recbole_instructrec.model.instructions import (
    BiLSTMInstructions,
    FrozenInstructions,
    InstructionSummary,
    Said,
    TunedInstructions,
)
from recbole_instructrec.model.intent import Intent, IntentScores, SentenceIntent, Wishes
from recbole_instructrec.model.match import TextMatch
from recbole_instructrec.model.mention_scores import MentionScores
from recbole_instructrec.model.projection import Projection, fit_principal_components, given_or_fitted
from recbole_instructrec.model.reading.lessons import Lessons
from recbole_instructrec.model.reading.read_intents import ReadIntents
from recbole_instructrec.model.reading.readers import packaged
from recbole_instructrec.model.text import TransformerEncoder
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.model.tuning import TunedTransformer
from recbole_instructrec.model.understood import Understood, silenced, understood


class Hearing(SequentialRecommender):
    """What a recommender needs to hear instructions; the base of :class:`~.instructrec.InstructRec`.

    Attributes
    ----------
    instructions : Module or None
        h(x), None without instruction texts.
    summary : InstructionSummary or None
        What the fusion attends to.
    intent : ReadIntents, SentenceIntent or None
        f(h(x)), None without attributes to ask for.
    answers : IntentScores or None
        What intents do to the scores.
    match : TextMatch or None
        Instruction and item texts compared, None without item texts.
    frozen_instructions, frozen_match : Module or None
        Where the encoder is tuned: the encoder as it came, and its match with the item texts.
    near : MentionScores or None
        Items near those that an instruction names, None where no text names any.
    attribute_names : list of str
        What can be asked for.
    """

    attribute_names: list[str]

    #: Whether :meth:`hear` reads in bfloat16, where the processor multiplies that: in half of the time.
    low_precision = False

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.instructions: FrozenInstructions | TunedInstructions | BiLSTMInstructions | None = None
        self.summary: InstructionSummary | None = None
        self.intent: ReadIntents | SentenceIntent | None = None
        self.answers: IntentScores | None = None
        self.match: TextMatch | None = None
        self.frozen_instructions: FrozenInstructions | None = None
        self.frozen_match: TextMatch | None = None
        self.frozen_match_share: float = config["frozen_match_share"]
        self.near: MentionScores | None = None
        self._wishes: Wishes | None = None
        self._mentions: ItemMentions | None = None

    def _build_instruction_side(
        self,
        config: Any,
        dataset: Any,
        encoder: FrozenTextEncoder | None,
        texts: np.ndarray,
        has_text: np.ndarray,
        given: Mapping[str, Projection],
    ) -> None:
        kind = config["instruction_encoder"]
        if kind not in ("transformer", "bilstm"):
            raise ValueError(f"instruction_encoder must be transformer or bilstm, not {kind!r}.")
        if kind == "transformer" and encoder is None:
            raise ValueError("instruction_encoder: transformer needs a text_encoder.")
        reading = self._reading(config, dataset, encoder) if kind == "transformer" else None
        self.instructions = self._instructions(config, dataset, encoder, reading)
        width = self.instructions.size
        self.summary = InstructionSummary(width, config["hidden_size"], config["instruction_tokens"])
        if len(dataset.attributes):
            self.answers = IntentScores(dataset.attributes.matrix, dataset.attributes.n_main)
            self._wishes = Wishes.of(dataset.instructions.asked, len(dataset.attributes))
            self.intent = self._intent(config, dataset, encoder, reading)
        if not has_text.any():
            return
        projection = given_or_fitted(
            given.get("match.projection"), fit_principal_components, texts, has_text, config["item_text_size"]
        )
        learned = bool(config["match_learned"])
        self.match = TextMatch(width, texts, has_text, projection, kind == "transformer", learned)
        if isinstance(self.instructions, TunedInstructions):
            assert encoder is not None and reading is not None
            self.frozen_instructions = FrozenInstructions(reading, dataset.instructions.texts)
            self.frozen_match = TextMatch(encoder.size, texts, has_text, projection, True, learned)
        if config["instruction_mentions"] and "file" in dataset.sources:
            finder = ItemMentions(dataset.item_names, dataset.item_texts)
            mentions = [finder.find(text) for text in dataset.instructions.texts]
            if any(mentions):
                self._mentions, self.near = finder, MentionScores(mentions, dataset.told_targets(), texts)

    @staticmethod
    def _instructions(
        config: Any, dataset: Any, encoder: FrozenTextEncoder | None, reading: FrozenTextEncoder | None
    ) -> FrozenInstructions | TunedInstructions | BiLSTMInstructions:
        """h(x)."""
        texts, tuning = dataset.instructions.texts, config["encoder_tuning"]
        if encoder is None or reading is None:
            return BiLSTMInstructions(
                texts,
                2 * config["hidden_size"],
                config["word_size"],
                config["word_vectors"],
                config["word_vectors_trainable"],
                config["max_text_tokens"],
            )
        if tuning == "frozen":
            return FrozenInstructions(reading, texts)
        if encoder.encoder is None:
            raise ValueError(f"encoder_tuning: {tuning} needs the encoder's weights, and only cached vectors are here.")
        if not isinstance(encoder.encoder, TransformerEncoder):
            raise ValueError(f"encoder_tuning: {tuning} is not possible with {config['text_encoder']}, only frozen.")
        # Another copy of the transformer: what is asked for is read with the weights as they came.
        tuned = TransformerEncoder(config["text_encoder"], config["max_text_tokens"])
        return TunedInstructions(tuned, texts, tuning, config["encoder_rank"])

    def _intent(
        self, config: Any, dataset: Any, encoder: FrozenTextEncoder | None, reading: FrozenTextEncoder | None
    ) -> ReadIntents | SentenceIntent:
        """f(h(x)), for a data set with attributes."""
        if encoder is None or reading is None:
            assert self.instructions is not None
            return SentenceIntent(self.instructions.size, len(dataset.attributes), config["hidden_size"])
        return ReadIntents(
            reading,
            encoder,
            dataset.instructions.texts,
            dataset.attributes.names,
            dataset.templates,
            [text for text in dataset.item_names if text],
            Lessons(texts=config["intent_texts"]) if config["intent_texts"] else None,
            bool(config["show_progress"]),
        )

    @staticmethod
    def _reading(config: Any, dataset: Any, encoder: FrozenTextEncoder | None) -> FrozenTextEncoder | None:
        """The encoder of instructions: with the adapter of the packaged reader, where that is used."""
        if encoder is None or not len(dataset.attributes) or config["intent_texts"]:
            return encoder
        found = packaged(encoder.weights, dataset.templates.languages)
        if found is None:
            return encoder
        return FrozenTextEncoder(
            config["text_encoder"],
            config["max_text_tokens"],
            config["text_cache_dir"],
            bool(config["show_progress"]),
            found["adapter"],
        )

    @torch.no_grad()
    def hear(self, texts: Sequence[str]) -> Said:
        """What n requests say in words of any kind; what holds nothing legible says nothing.

        Nothing is kept, neither in memory nor on disk. A text in which no attribute
        is recognised ranks by its match with the items' texts and by behaviour.

        Parameters
        ----------
        texts : sequence of str
            One a request.

        Returns
        -------
        Said
            For :meth:`request`.

        Raises
        ------
        TypeError
            For anything but a list of texts; one text alone would be read letter by letter.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"hear: a list of texts is expected, one for each request, not {texts!r:.80}.")
        said = [legible(text) for text in texts]
        distinct = {text: line for line, text in enumerate(dict.fromkeys(text for text in said if text))}
        line = torch.tensor([distinct.get(text, -1) for text in said], device=self.device)
        if self.instructions is None or not distinct:
            return Said(torch.full_like(line, -1), line[:0])
        words = list(distinct)
        intent, vectors, frozen, attention = None, None, None, list[torch.Tensor]()
        plain = self.instructions if isinstance(self.instructions, FrozenInstructions) else self.frozen_instructions
        if isinstance(self.intent, ReadIntents) and plain is not None:
            frozen, states = plain.read(words, self.low_precision)  # one pass of the transformer serves both
            intent, attention = self.intent.attend(states)
        elif plain is not None:
            frozen = plain.encode(words)
        if plain is self.instructions:
            vectors, frozen = frozen, None
        else:
            vectors = self.instructions.encode(words).to(self.device)
            if isinstance(self.intent, ReadIntents) and plain is None:
                intent = self.intent.read(words)
            elif isinstance(self.intent, SentenceIntent):
                intent = self.intent(vectors)
        intent = None if intent is None else silenced(intent)
        mentions = [] if self._mentions is None else [self._mentions.find(text) for text in words]
        numbers = torch.zeros(len(words), dtype=torch.long, device=self.device)
        cut = self.instructions.are_cut(words)
        return Said(line, numbers, vectors, intent, mentions, frozen, cut, attention)

    def reads_whole(self, text: str) -> bool:
        """Whether all of a text is read, and not its beginning alone (``max_text_tokens``)."""
        return self.instructions is None or not self.instructions.are_cut([legible(text)])[0]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the tokens of a text stand in it, as :class:`~.instructions.Said` has the attention to them.

        Parameters
        ----------
        text : str
            Legible already (:func:`~recbole_instructrec.data.words.legible`).

        Returns
        -------
        list of tuple of int
            First character and the one after the last; empty spans for tokens that are no part of the text. Empty
            where no reader attends to tokens.
        """
        encoder = self.intent.tokens_of if isinstance(self.intent, ReadIntents) else None
        return [] if encoder is None else encoder.token_spans(text)

    def understood(self, said: Said) -> list[Understood]:
        """Which attributes n requests were understood to ask for, and how sure that is.

        Parameters
        ----------
        said : Said
            From :meth:`hear`.

        Returns
        -------
        list of Understood
            One a request.
        """
        return understood(said, self.attribute_names)

    def _read(self, numbers: torch.Tensor) -> Said:
        """What the rows with these instruction numbers say, ``[n]``."""
        if self.instructions is None:
            return Said(torch.full_like(numbers, -1), numbers[:0])
        distinct, line = torch.unique(numbers, return_inverse=True)
        if len(distinct) and distinct[0] == 0:
            distinct, line = distinct[1:], line - 1
        if not len(distinct):
            return Said(line, distinct)
        vectors = self.instructions(distinct)
        intent = self._intent_of(distinct, vectors)
        mentions = [] if self.near is None else [self.near.mentions[number] for number in distinct.tolist()]
        frozen = None if self.frozen_instructions is None else self.frozen_instructions(distinct)
        return Said(line, distinct, vectors, intent, mentions, frozen)

    def _encoders_heard(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether the tuned encoder and the one as it came are heard in n instructions, 1 or 0, ``[n, 1]`` each.

        In training some instructions are read by one of them alone: side by side
        from the first step, the tuned one would learn all there is to learn, and
        two readers who err apart are better than one.
        """
        drawn = torch.rand(n, 1, device=self.device) if self.training else torch.full((n, 1), 0.5, device=self.device)
        half = self.frozen_match_share / 2
        return (drawn >= half).float(), (drawn < 1.0 - half).float()

    def _intent_of(self, numbers: torch.Tensor, vectors: torch.Tensor) -> Intent | None:
        """What texts of the data set ask for, ``[n]``.

        In training that is taken as known where it is: learned from a reader's
        mistakes, the weight of an avoidance would shrink until it avoids nothing.
        """
        if not isinstance(self.intent, ReadIntents):
            return None if self.intent is None else self.intent(vectors)
        if not self.training or self._wishes is None:
            return silenced(self.intent(numbers))
        self.intent.learn()  # also where it is not needed now: checkpoints hold the reader
        wishes = self._known(numbers)
        if wishes.known.all():
            return wishes.read_without_error()
        pairs = zip(wishes.read_without_error(), silenced(self.intent(numbers)), strict=True)
        return Intent(*(torch.where(wishes.known.unsqueeze(1), sure, read) for sure, read in pairs))

    def _known(self, numbers: torch.Tensor) -> Wishes:
        """What texts of the data set are known to ask for, on the device of their numbers."""
        assert self._wishes is not None
        wishes = self._wishes.take(numbers.to(self._wishes.degree.device))
        return Wishes(*[values.to(numbers.device) for values in wishes])

    @property
    def transformer(self) -> TunedTransformer | None:
        """The transformer that is trained with the recommender, if one is."""
        return self.instructions.transformer if isinstance(self.instructions, TunedInstructions) else None
