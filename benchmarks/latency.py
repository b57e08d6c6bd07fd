"""Measure 7: milliseconds of one instructed request, from a new text to the ten best of 10,000 items.

One request at a time, as a service gets them: the text is read by the packaged encoder, none of it is known from
before, and the whole catalogue is scored. The weights of the recommender are untrained, which does not change its time.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import build, record, start, table

N_USERS, HISTORY, N_BEST = 400, 60, 10

GENRES = [
    "Action",
    "Adventure",
    "Animation",
    "Biography",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Family",
    "Fantasy",
    "History",
    "Horror",
    "Musical",
    "Mystery",
    "Noir",
    "Romance",
    "Science-Fiction",
    "Thriller",
    "War",
    "Western",
]

_FIRST = ["Silent", "Broken", "Golden", "Distant", "Hidden", "Burning", "Frozen", "Last", "Paper", "Quiet"]
_SECOND = ["Harbour", "Lantern", "Orchard", "Station", "River", "Letter", "Captain", "Circus", "Island", "Secret"]


def write_catalogue(folder: Path, n_items: int, rng: np.random.Generator) -> None:
    """Atomic files of ``n_items`` items with a title and one to three genres, each taken by somebody.

    Parameters
    ----------
    folder : Path
        Becomes the data path; the data set is named ``catalogue``.
    n_items : int
        Items.
    rng : Generator
        Draws titles, genres and histories.
    """
    target = folder / "catalogue"
    target.mkdir()
    lines = ["item_id:token\ttitle:token_seq\tgenre:token_seq"]
    for item in range(n_items):
        first, second, third = rng.choice(_FIRST), *rng.choice(_SECOND, 2, replace=False)
        genres = rng.choice(GENRES, int(rng.integers(1, 4)), replace=False)
        lines.append(f"i{item}\tThe {first} {second} of the {third} {item % 97}\t{' '.join(genres)}")
    (target / "catalogue.item").write_text("\n".join(lines) + "\n", encoding="utf-8")
    n = max(N_USERS * HISTORY, n_items)
    taken = np.concatenate([rng.permutation(n_items) for _ in range(-(-n // n_items))])[: N_USERS * HISTORY]
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"u{place // HISTORY}\ti{item}\t{880_000_000 + 3600 * place}" for place, item in enumerate(taken)]
    (target / "catalogue.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")


def new_texts(n: int, shortest: int, longest: int, rng: np.random.Generator) -> list[str]:
    """Different requests in the wordings of training, of a number of words that is drawn.

    Parameters
    ----------
    n : int
        Requests.
    shortest, longest : int
        Bounds of the number of words.
    rng : Generator
        Draws.

    Returns
    -------
    list of str
        ``[n]``.
    """
    from recbole_instructrec.data.instructions.words import Templates

    templates = Templates(["en"])
    found: dict[str, None] = {}
    while len(found) < n:
        length, words = int(rng.integers(shortest, longest + 1)), list[str]()
        while len(words) < length:
            words += templates.compose("but_not", list(rng.choice(GENRES, 2, replace=False)), rng).split()
        found[" ".join(words[:length])] = None
    return list(found)


class Clock:
    """Seconds that methods take, added up by part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    def watch(self, owner: Any, method: str, part: str) -> None:
        """Count a method of one object to a part."""
        work: Callable[..., Any] = getattr(owner, method)

        @wraps(work)
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self.spent[part] += time.perf_counter() - begin

        setattr(owner, method, timed)


def requests(side: dict[str, Any], texts: list[str], clock: Clock) -> Iterator[dict[str, float]]:
    """Serve one text after another; seconds by part.

    Parameters
    ----------
    side : dict
        As from :func:`benchmarks.common.build`.
    texts : list of str
        One a request.
    clock : Clock
        Watches the encoder and the reader.

    Yields
    ------
    dict of str to float
        Seconds of the whole and of its parts, and its processor seconds.
    """
    from recbole_instructrec.model.losses import all_scores

    model, rows = side["model"].eval(), side["test"]._dataset
    for place, text in enumerate(texts):
        row = rows[[place % len(rows)]]
        clock.spent.clear()
        begin, processor = time.perf_counter(), time.process_time()
        with torch.no_grad():
            said = model.hear([text])
            heard = time.perf_counter()
            best = all_scores(model.request(row, said)).topk(N_BEST).indices.tolist()
        end = time.perf_counter()
        assert len(best[0]) == N_BEST and 0 not in best[0]
        yield {
            "whole": end - begin,
            **clock.spent,
            "ranking": end - heard,
            "processor": time.process_time() - processor,
        }


def main() -> None:
    args = start(
        __doc__ or "", items=10_000, requests=300, warm_up=20, shortest=5, longest=25, item_fusion="none", seed=2020
    )
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        write_catalogue(Path(folder), args.items, rng)
        side = build(
            "InstructRec",
            args.seed,
            "catalogue",
            same=False,
            data_path=folder,
            use_gpu=False,
            text_cache_dir=str(Path(folder) / "texts"),
            load_col={"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title", "genre"]},
            item_text_fields=["title", "genre"],
            intent_field="genre",
            item_fusion=args.item_fusion,
        )
        model = side["model"]
        model.intent.learn()
        clock = Clock()
        clock.watch(model.intent._encoder, "read", "encoder")
        clock.watch(model.intent.reader, "read", "intent reading")
        texts = new_texts(args.warm_up + args.requests, args.shortest, args.longest, rng)
        measured = list(requests(side, texts, clock))[args.warm_up :]
    # How busy the machine was: the goal is one of a quiet machine.
    load = round(os.getloadavg()[0], 2)
    figures = {
        part: [round(1000 * float(np.percentile([one[part] for one in measured], q)), 2) for q in (50, 90, 99)]
        for part in measured[0]
    }
    rows = [(part, *[f"{value:.1f}" for value in values]) for part, values in figures.items()]
    table(["milliseconds", "median", "90%", "99%"], rows)
    print(f"{args.requests} requests, each a new text, {args.items} items (goal: a median of at most 20), load {load}")
    told = {name: value for name, value in vars(args).items() if name != "threads"}
    record("latency", {**told, "milliseconds": figures, "percentiles": [50, 90, 99], "load": load})


if __name__ == "__main__":
    main()
