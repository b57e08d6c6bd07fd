"""Teach the reader of requests that comes with the package, together with adapters of its encoder, and write it there.

    python tools/teach_reader.py --work=work      # goes on where it was interrupted, if it was

It is taught with attributes of films, and with those of many other things, so that it reads requests about attributes
that it has not met. Some of the others are kept out, to tell how well it does that. While the adapters learn to read,
the vector of a text as a whole is held to what it was, so that it can still be compared with those of items.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.environment import source
from recbole_instructrec.model.reading.adapter import LowRank
from recbole_instructrec.model.reading.lessons import Group, Known, Lessons, make_requests, teach
from recbole_instructrec.model.reading.reader import IntentReader, Shape, vectors_of_names
from recbole_instructrec.model.reading.readers import save_packaged
from recbole_instructrec.model.text import PACKAGED_NAME, TransformerEncoder
from recbole_instructrec.model.text_vectors import FrozenTextEncoder

#: One in so many attributes of the vocabulary is kept out.
KEPT_OUT = 12

#: Domains whose attributes are stories': what asks for one may well speak of a film's genre.
STORIES = ("books", "games", "films")

# Above this cosine of two names, or of a phrase and a name, what asks for one may speak of the other: of attributes of
# other things, and of those that are listed side by side, which are told apart.
_ALIKE, _ALIKE_IN_DOMAIN = 0.5, 0.65

# Attributes that one is taken for most easily.
_NEAR = 8

# Weight of keeping a text's vector as it was.
_KEEP = 10.0


class AdaptedStates:
    """States under an encoder whose adapters are trained, and what it costs that vectors of texts move.

    Parameters
    ----------
    encoder : TransformerEncoder
        Its weights stay; adapters are put beside them.
    texts : list of str
        Requests.
    vectors : ndarray
        Of the texts under the encoder as it came, ``[n, size]``.
    rank : int
        Of the adapters.
    """

    def __init__(self, encoder: TransformerEncoder, texts: list[str], vectors: np.ndarray, rank: int) -> None:
        import peft

        self._encoder, self._texts, self._vectors = encoder, texts, torch.from_numpy(vectors)
        settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules="all-linear")
        self.adapters: nn.Module = peft.get_peft_model(encoder.model, settings)
        tokens = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_tokens)["input_ids"]
        self.length = np.array([len(ids) for ids in tokens])

    def of(self, batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States and mask of some requests, and how far their vectors have moved."""
        ids, mask = self._encoder.tokenize([self._texts[i] for i in batch])
        with torch.autocast("cpu", torch.bfloat16):
            layers = self.adapters(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        layers = [layer.float() for layer in layers]
        moved = 1.0 - (self._encoder.pool(layers[-1], mask) * self._vectors[torch.from_numpy(batch)]).sum(1)
        return self._encoder.of_two_layers(layers), mask.bool(), _KEEP * moved.mean()

    def learned(self) -> dict[str, torch.Tensor]:
        """What the adapters add, by the name of the weight."""
        return LowRank.of_peft(self.adapters)


def attributes(templates: Templates) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """Attributes of films, attributes that are kept out, and those of other things by domain."""
    films = templates.values()
    domains: dict[str, list[str]] = {}
    out = []
    for domain, named in templates.vocabulary().items():
        for place, name in enumerate(named):
            (out if place % KEPT_OUT == KEPT_OUT - 1 else domains.setdefault(domain, [])).append(name)
    return films, out, domains


def known(
    templates: Templates, encoder: FrozenTextEncoder, films: list[str], domains: dict[str, list[str]]
) -> tuple[list[str], Known, list[Group]]:
    """Names, what is known of them, and which are asked for together."""
    names = [*films, *(name for named in domains.values() for name in named)]
    vectors = vectors_of_names(names, encoder)
    alike = (vectors @ vectors.T).numpy()
    phrases = {name: words for named in templates.vocabulary().values() for name, words in named.items()}
    for place, name in enumerate(names):
        said = list(phrases.get(name) or templates.phrases(name))
        near = (torch.from_numpy(encoder(said)) @ vectors.T).numpy().max(0)
        alike[place] = np.maximum(alike[place], near)
    n = len(films)
    domain_of = np.repeat(np.arange(len(domains) + 1), [n, *map(len, domains.values())])
    close = alike > np.where(domain_of[:, None] == domain_of, _ALIKE_IN_DOMAIN, _ALIKE)
    # Genres of films tell each other apart, but for two names of one ("animation", "animated").
    close[:n, :n] = [[a[:5] == b[:5] and not a[0].isdigit() for b in films] for a in films]
    np.fill_diagonal(close, False)
    groups, begin = [Group(range(n), 0.6)], n
    for domain, named in domains.items():
        if domain in STORIES:
            close[begin : begin + len(named), :n] = True
        groups.append(Group(range(begin, begin + len(named)), 0.3 / len(domains)))
        begin += len(named)
    groups.append(Group(range(len(names)), 0.1))
    taken_for = np.where(close | np.eye(len(names), dtype=bool), -1.0, alike)
    near = np.argsort(-taken_for, axis=1)[:, :_NEAR]
    return names, Known(vectors, np.arange(len(names)) < n, close, near), groups


def vectors_of(encoder: FrozenTextEncoder, texts: list[str], work: Path | None) -> np.ndarray:
    """Vectors of texts, from a folder of work where they are there already."""
    if work is None:
        return encoder.encode(texts)
    work.mkdir(parents=True, exist_ok=True)
    file = work / f"vectors-{hashlib.sha256(chr(10).join(texts).encode()).hexdigest()[:16]}.npy"
    if not file.is_file():
        for other in [*work.glob("vectors-*.npy"), work / "teaching.pt"]:
            other.unlink(missing_ok=True)  # of other requests
        temporary = work / "vectors.tmp.npy"
        np.save(temporary, encoder.encode(texts).astype(np.float16))
        temporary.rename(file)
    return np.load(file).astype(np.float32)


def main() -> None:
    """Teach, and write the reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=90_000, help="requests that are made")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--hidden_size", type=int, default=128)
    parser.add_argument("--n_layers", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder of what is needed to go on after an interruption")
    parser.add_argument("--output", type=Path, help="write the reader here instead of into the package")
    args = parser.parse_args()
    taught_from = source()
    if taught_from["dirty"] and not args.output:
        sys.exit("the package has changes that no commit holds: commit them first, or write elsewhere with --output.")
    torch.set_num_threads(args.threads)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    templates = Templates(["en"])
    encoder = FrozenTextEncoder(PACKAGED_NAME, 64)
    films, out, domains = attributes(templates)
    names, told, groups = known(templates, encoder, films, domains)
    logging.info(f"{len(films)} attributes of films, {len(names) - len(films)} of other things, {len(out)} kept out.")
    begin = time.perf_counter()
    texts, wishes = make_requests(templates, names, [], args.texts, args.seed, groups)
    logging.info(f"{len(texts)} requests, such as {texts[0]!r}")
    vectors = vectors_of(encoder, texts, args.work)
    torch.manual_seed(args.seed)
    states = AdaptedStates(TransformerEncoder(PACKAGED_NAME, 64), texts, vectors, args.rank)
    reader = IntentReader(encoder.size, Shape(args.hidden_size, args.n_layers))
    lessons = Lessons(args.texts, args.epochs)
    loss = teach(reader, states, wishes, told, lessons, args.seed, work=args.work and args.work / "teaching.pt")
    with torch.no_grad():
        sample = np.random.default_rng(0).permutation(len(texts))[:512]
        moved = float(states.of(sample)[2]) / _KEEP
    about = {
        "encoder": PACKAGED_NAME,
        "templates": templates.fingerprint,
        "lessons": dict(lessons._asdict()),
        "shape": dict(reader.shape._asdict()),
        "rank": args.rank,
        "seed": args.seed,
        "loss": round(loss, 4),
        "moved": round(moved, 4),
        "kept_out": out,
        **taught_from,
    }
    assert encoder.weights is not None
    seconds = time.perf_counter() - begin
    file = save_packaged(reader, states.learned(), encoder.weights, templates.languages, about, args.output)
    logging.info(f"Written: {file}, loss {loss:.3f}, vectors moved by {moved:.4f}, {seconds:.0f} s.")


if __name__ == "__main__":
    main()
