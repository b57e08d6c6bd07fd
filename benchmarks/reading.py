"""How well requests are read, by kind: attributes, signs and degree.

The reader of ml-100k's attributes reads ``--n`` requests of every kind in the wordings of a part: ``dev``, by which
readers are chosen, or ``held_out``, which nothing is chosen by. A reader that is not on disk is taught first.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.common import build, record, start, table
from recbole_instructrec.data.instructions.wish import KINDS, Wish, wish_of
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.intent import Intent, Wishes
from recbole_instructrec.model.intent_reader import Lessons, reader_of
from recbole_instructrec.model.text_vectors import FrozenTextEncoder

MEASURES = ("attributes", "signs", "degree", "in full")


def requests(templates: Templates, part: str, names: list[str], n: int) -> tuple[list[str], list[Wish], np.ndarray]:
    """``n`` requests of every kind, what they ask for, and the number of their kind."""
    rng = np.random.default_rng(1)
    texts, wishes = [], []
    for kind in KINDS:
        for _ in range(n):
            values = tuple(int(v) for v in rng.choice(len(names), sum(KINDS[kind][:2]), replace=False))
            options = templates.texts(kind, part, [names[v] for v in values])
            texts.append(options[rng.integers(len(options))])
            wishes.append(wish_of(kind, values))
    return texts, wishes, np.repeat(np.arange(len(KINDS)), n)


def right(intent: Intent, wishes: Wishes) -> np.ndarray:
    """What of each request was read rightly, in the order of :data:`MEASURES`, ``[4, n]``."""
    attributes = ((intent.presence > 0) == (wishes.present > 0)).all(1)
    signs = (((intent.sign > 0) == (wishes.wanted > 0)) | (wishes.present == 0)).all(1)
    degree = intent.degree.argmax(1) == wishes.degree
    return torch.stack([attributes, signs, degree, attributes & signs & degree]).numpy()


def main() -> None:
    args = start(
        __doc__ or "",
        part="dev",
        n=150,
        seed=2020,
        language="en",
        taught="en",
        texts=Lessons().texts,
        epochs=Lessons().epochs,
        text_encoder="",
        text_cache_dir="",
    )
    encoders = {"text_encoder": args.text_encoder} if args.text_encoder else {}
    config = build("InstructRec", dataset="ml-100k", same=False, instruction_source="none", **encoders)
    names, others = config["dataset"].attributes.names, [name for name in config["dataset"].item_names if name]
    options = config["config"]
    encoder = FrozenTextEncoder(
        options["text_encoder"], options["max_text_tokens"], args.text_cache_dir or options["text_cache_dir"]
    )
    begin = time.perf_counter()
    reader = reader_of(
        encoder.fingerprint,
        encoder.size,
        encoder.token_states,
        Templates(args.taught.split(",")),
        names,
        others,
        encoder.folder,
        lessons=Lessons(texts=args.texts, epochs=args.epochs),
        seed=args.seed,
    )
    taught = time.perf_counter() - begin
    texts, wishes, kind = requests(Templates([args.language]), args.part, names, args.n)
    with torch.no_grad():
        read = [reader.read(encoder.token_states(texts[place : place + 256]))[0] for place in range(0, len(texts), 256)]
    found = right(Intent.of(torch.cat([intent.flat() for intent in read])), Wishes.of(wishes, len(names)))
    rows = {name: found[:, kind == number].mean(1) for number, name in enumerate(KINDS)} | {"all": found.mean(1)}
    table(("kind", *MEASURES), [(name, *[f"{share:.3f}" for share in shares]) for name, shares in rows.items()])
    print(f"{len(texts)} requests in {args.part} wordings; taught, or taken from disk, in {taught:.0f} s")
    told = {name: value for name, value in vars(args).items() if name not in ("threads", "text_cache_dir")}
    shares = {name: dict(zip(MEASURES, np.round(values, 4).tolist(), strict=True)) for name, values in rows.items()}
    record("reading", {**told, "seconds": round(taught, 1), "shares": shares})


if __name__ == "__main__":
    main()
