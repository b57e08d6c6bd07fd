"""How well requests are read, by kind: attributes, signs and degree.

The reader reads ``--n`` requests of every kind about ml-100k's attributes in the wordings of a part: ``dev``, by which
readers are chosen, or ``held_out``, which nothing is chosen by. It is the packaged one, or, with ``--texts``, one that
is taught for these attributes alone. With ``--attributes=kept_out`` the requests are about attributes of music, books,
products and so on that the packaged reader was not taught with. Of ``dev`` also sentences that ask for nothing,
requests that do not name what they ask for (``unnamed_dev.yaml``), and some with "or" in them (``either_dev.yaml``).
The degree counts only where something is asked for.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.common import build, record, start, table
from recbole_instructrec.data.instructions.wish import KINDS, Wish, wish_of
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.intent import Intent, Wishes
from recbole_instructrec.model.reading.lessons import Lessons
from recbole_instructrec.model.reading.memory import RequestMemory, whole_of
from recbole_instructrec.model.reading.reader import vectors_of_names
from recbole_instructrec.model.reading.readers import Encoder, packaged, reader_of
from recbole_instructrec.model.text_vectors import FrozenTextEncoder

UNNAMED = Path(__file__).parent / "unnamed_dev.yaml"
EITHER = Path(__file__).parent / "either_dev.yaml"

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
    degree = (intent.degree.argmax(1) == wishes.degree) | (wishes.present.sum(1) == 0)
    return torch.stack([attributes, signs, degree, attributes & signs & degree]).numpy()


def unnamed(names: list[str]) -> tuple[list[str], list[Wish], list[str]]:
    """Requests that want or avoid an attribute without its name, what they ask for, and which of the two."""
    number = {name.lower(): place for place, name in enumerate(names)}
    texts, wishes, signs = [], [], []
    for sign, wordings in yaml.safe_load(UNNAMED.read_text(encoding="utf-8")).items():
        for attribute, said in wordings.items():
            texts += said
            wish = (number[attribute],)
            wishes += [Wish(wish) if sign == "want" else Wish((), wish)] * len(said)
            signs += [f"{sign}, unnamed"] * len(said)
    return texts, wishes, signs


def composed(names: list[str], n: int = 400) -> tuple[list[str], list[Wish], list[str]]:
    """Two short requests of :func:`unnamed` in one: two wishes, or a wish and an avoidance."""
    texts, wishes, signs = unnamed(names)
    short = [place for place, text in enumerate(texts) if len(text.split()) <= 9]
    want = [place for place in short if signs[place].startswith("want")]
    avoid = [place for place in short if not signs[place].startswith("want")]
    rng = np.random.default_rng(3)
    found: tuple[list[str], list[Wish], list[str]] = ([], [], [])
    while len(found[0]) < n:
        two = len(found[0]) % 2 == 0
        one, other = rng.choice(want), rng.choice(want if two else avoid)
        if set(wishes[one].want) & set(wishes[other].want + wishes[other].avoid):
            continue
        first, second = texts[one].rstrip(" .!?"), texts[other]
        found[0].append(f"{first}, and {second}" if two else f"{first}, but {second}")
        found[1].append(Wish(wishes[one].want + wishes[other].want, wishes[other].avoid))
        found[2].append("two wishes, unnamed" if two else "a wish and an avoidance, unnamed")
    return found


def either(names: list[str], n: int = 12) -> tuple[list[str], list[Wish], list[str]]:
    """Requests for one thing or another, and for neither the one nor the other in such words; ``n`` of each wording."""
    rng = np.random.default_rng(4)
    texts, wishes, signs = list[str](), list[Wish](), list[str]()
    for sign, wordings in yaml.safe_load(EITHER.read_text(encoding="utf-8")).items():
        for wording in wordings:
            for _ in range(n):
                a, b = (int(v) for v in rng.choice(len(names), 2, replace=False))
                texts.append(wording.format(a=names[a].lower(), b=names[b].lower()))
                wishes.append(Wish((a, b)) if sign == "want" else Wish((), (a, b)))
                signs.append(f"{sign}, or")
    return texts, wishes, signs


def nothing_asked(templates: Templates, names: list[str]) -> tuple[list[str], list[Wish], list[str]]:
    """Sentences that ask for no attribute."""
    rng = np.random.default_rng(2)
    texts, kinds = templates.texts("nothing", "dev", []), []
    kinds += ["nothing"] * len(texts)
    for _ in range(4):
        values = [names[v] for v in rng.choice(len(names), 2, replace=False)]
        past = templates.texts("past", "dev", values)
        texts, kinds = texts + past, kinds + ["past"] * len(past)
    return texts, [Wish()] * len(texts), kinds


def main() -> None:
    args = start(
        __doc__ or "",
        part="dev",
        n=300,
        seed=2020,
        attributes="ml-100k",
        language="en",
        taught="en",
        texts=0,
        epochs=Lessons().epochs,
        text_encoder="",
        text_cache_dir="",
    )
    encoders = {"text_encoder": args.text_encoder} if args.text_encoder else {}
    config = build("InstructRec", dataset="ml-100k", same=False, instruction_source="none", **encoders)
    names, others = config["dataset"].attributes.names, [name for name in config["dataset"].item_names if name]
    options = config["config"]
    told = (options["text_encoder"], options["max_text_tokens"], args.text_cache_dir or options["text_cache_dir"])
    of_names = FrozenTextEncoder(*told)
    taught = Templates(args.taught.split(","))
    found = None if args.texts else packaged(of_names.weights, taught.languages)
    if args.attributes == "kept_out":
        if found is None:
            sys.exit(
                "--attributes=kept_out is about the packaged reader; leave out --texts, --taught and --text_encoder"
            )
        names, others = found["about"]["kept_out"], []
    encoder = of_names if found is None else FrozenTextEncoder(*told, adapter=found["adapter"])
    begin = time.perf_counter()
    reader = reader_of(
        Encoder(encoder.fingerprint, encoder.weights, encoder.size, encoder.token_states, of_names, encoder.contextual),
        taught,
        names,
        others,
        encoder.folder,
        lessons=Lessons(args.texts or Lessons().texts, args.epochs),
        seed=args.seed,
        own=bool(args.texts),
    )
    seconds = time.perf_counter() - begin
    vectors = vectors_of_names(names, of_names)
    memory = None if found is None or "memory" not in found else RequestMemory.of(found["memory"], names)

    def read_part(states: list[torch.Tensor]) -> Intent:
        intent = reader.read(states, vectors)[0]
        return intent if memory is None else memory(intent, whole_of(states))

    said = Templates([args.language])
    texts, wishes, number = requests(said, args.part, names, args.n)
    kinds = [list(KINDS)[place] for place in number]
    if args.part == "dev" and args.language == "en" and args.attributes == "ml-100k":
        for more in (nothing_asked(said, names), unnamed(names), composed(names), either(names)):
            texts, wishes, kinds = texts + more[0], wishes + more[1], kinds + more[2]
    with torch.no_grad():
        read = [read_part(encoder.token_states(texts[place : place + 256])) for place in range(0, len(texts), 256)]
    right_ones = right(Intent.of(torch.cat([intent.flat() for intent in read])), Wishes.of(wishes, len(names)))
    of_kind = np.array(kinds)
    rows = {name: right_ones[:, of_kind == name].mean(1) for name in dict.fromkeys(kinds)}
    rows["all kinds of wishes"] = right_ones[:, np.isin(of_kind, list(KINDS))].mean(1)
    table(("kind", *MEASURES), [(name, *[f"{share:.3f}" for share in shares]) for name, shares in rows.items()])
    print(f"{len(texts)} requests in {args.part} wordings; the reader was there after {seconds:.0f} s")
    about = {name: value for name, value in vars(args).items() if name not in ("threads", "text_cache_dir")}
    shares = {name: dict(zip(MEASURES, np.round(values, 4).tolist(), strict=True)) for name, values in rows.items()}
    record("reading", {**about, "packaged": found is not None, "seconds": round(seconds, 1), "shares": shares})


if __name__ == "__main__":
    main()
