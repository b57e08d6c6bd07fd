"""Teach the reader of requests that comes with the package, and write it there.

    python tools/teach_reader.py

It is taught with attributes of films, and with those of many other things, so that it reads requests about attributes that
it has not met. Some of the others are kept out, and tell how well it does that. The states of the requests' tokens are
written to ``--states`` once and read again by further runs: about 60 KB a request.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.reading.lessons import Group, Known, Lessons, make_requests, teach
from recbole_instructrec.model.reading.reader import IntentReader, Shape, vectors_of_names
from recbole_instructrec.model.reading.readers import save_packaged
from recbole_instructrec.model.text import PACKAGED_NAME
from recbole_instructrec.model.text_vectors import FrozenTextEncoder

#: One in so many attributes of the vocabulary is kept out.
KEPT_OUT = 12

#: Domains whose attributes are stories': what asks for one may well speak of a film's genre.
STORIES = ("books", "games", "films")

# Above this cosine of two names, or of a phrase and a name, what asks for one may speak of the other.
_ALIKE = 0.5


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
    others = templates.vocabulary()
    phrases = {name: words for named in others.values() for name, words in named.items()}
    for place, name in enumerate(names):
        said = phrases.get(name) or templates.phrases(name)
        near = (torch.from_numpy(encoder(list(said))) @ vectors.T).numpy().max(0)
        alike[place] = np.maximum(alike[place], near)
    close = alike > _ALIKE
    n = len(films)
    # Genres of films tell each other apart, but for two names of one ("animation", "animated").
    close[:n, :n] = [[a[:5] == b[:5] and not a[0].isdigit() for b in films] for a in films]
    np.fill_diagonal(close, False)
    groups, begin = [Group(range(n), 0.55)], n
    for domain, named in domains.items():
        members = range(begin, begin + len(named))
        if domain in STORIES:
            close[begin : begin + len(named), :n] = True
        groups.append(Group(members, 0.35 / len(domains)))
        begin += len(named)
    groups.append(Group(range(len(names)), 0.1))
    return names, Known(vectors, np.arange(len(names)) < n, close), groups


def states_of(texts: list[str], encoder: FrozenTextEncoder, folder: Path) -> list[torch.Tensor]:
    """States of the texts' tokens, from disk where they have been written before."""
    name = hashlib.sha256("\n".join([encoder.fingerprint, *texts]).encode()).hexdigest()[:16]
    file, lengths = folder / f"states-{name}.npy", folder / f"states-{name}.json"
    if not lengths.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        states = encoder.token_states(texts)
        np.save(file, torch.cat(states).numpy())
        lengths.write_text(json.dumps([len(state) for state in states]))
        del states
    ends = np.cumsum(json.loads(lengths.read_text()))
    rows = torch.from_numpy(np.load(file))
    return [rows[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=100_000, help="requests that are made")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--hidden_size", type=int, default=192)
    parser.add_argument("--n_layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--states", type=Path, default=Path("saved/reader"), help="folder of the states")
    parser.add_argument("--output", type=Path, help="write the reader here instead of into the package")
    args = parser.parse_args()
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
    states = states_of(texts, encoder, args.states)
    torch.manual_seed(args.seed)
    reader = IntentReader(encoder.size, Shape(args.hidden_size, args.n_layers))
    lessons = Lessons(args.texts, args.epochs)
    loss = teach(reader, states, wishes, told, lessons, args.seed)
    about = {
        "encoder": PACKAGED_NAME,
        "templates": templates.fingerprint,
        "lessons": dict(lessons._asdict()),
        "shape": dict(reader.shape._asdict()),
        "seed": args.seed,
        "loss": round(loss, 4),
        "kept_out": out,
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip(),
    }
    assert encoder.weights is not None
    if args.output:
        torch.save({"weights": reader.state_dict(), "about": about}, args.output)
        file = args.output
    else:
        file = save_packaged(reader, encoder.weights, templates.languages, about)
    logging.info(f"Written: {file}, loss {loss:.3f}, {time.perf_counter() - begin:.0f} s.")


if __name__ == "__main__":
    main()
