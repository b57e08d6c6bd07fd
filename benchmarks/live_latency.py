"""Milliseconds of ``ask``: a new instruction each time, list, reasons, and the request in the feedback store.

With many items (``--items=1000000``) titles are few, so that few texts are encoded. The floor is printed, too: one pass
of the encoder, and one pass over a float matrix of as many rows and 64 columns with the ten best.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import build, record, start, table
from benchmarks.latency import new_texts, write_catalogue

#: With more items than this, texts are not encoded but drawn.
_ENCODED = 20_000


def recommender(folder: Path, n_items: int, seed: int) -> Any:
    """An untrained model of a synthetic catalogue, served; its time does not depend on its weights."""
    from recbole_instructrec.live import Recommender

    rng = np.random.default_rng(seed)
    write_catalogue(folder, min(n_items, _ENCODED), rng)
    if n_items > _ENCODED:
        _widen(folder / "catalogue", n_items, rng)
    side = build(
        "InstructRec",
        seed,
        "catalogue",
        same=False,
        data_path=str(folder),
        use_gpu=False,
        text_cache_dir=str(folder / "texts"),
        load_col={"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title", "genre"]},
        item_text_fields=["title", "genre"] if n_items <= _ENCODED else ["title"],
        intent_field="genre",
        item_fusion="none",
    )
    side["model"].intent.learn()
    return Recommender(side["model"], side["dataset"], folder / "feedback.sqlite")


def _widen(target: Path, n_items: int, rng: np.random.Generator) -> None:
    """Many more items: their titles are few, so that few texts are encoded, and each is taken once."""
    from benchmarks.latency import GENRES

    genres = [" ".join(rng.choice(GENRES, int(rng.integers(1, 4)), replace=False)) for _ in range(997)]
    titles = [f"The {number}th story" for number in range(_ENCODED // 10)]
    with open(target / "catalogue.item", "w", encoding="utf-8") as stream:
        stream.write("item_id:token\ttitle:token_seq\tgenre:token_seq\n")
        for item in range(n_items):
            stream.write(f"i{item}\t{titles[item % len(titles)]}\t{genres[item % 997]}\n")
    with open(target / "catalogue.inter", "w", encoding="utf-8") as stream:
        stream.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for item in range(n_items):
            stream.write(f"u{item // 60}\ti{item}\t{880_000_000 + item}\n")


def floor(model: Any, texts: list[str]) -> dict[str, float]:
    """Medians, in milliseconds: one text encoded, and one pass over as large a matrix with the ten best."""
    encoded, passed = [], []
    matrix, query = torch.randn(model.n_items, 64), torch.randn(64)
    for text in texts:
        begin = time.perf_counter()
        model.instructions.encode([text])
        middle = time.perf_counter()
        (matrix @ query).topk(10)
        encoded.append(middle - begin)
        passed.append(time.perf_counter() - middle)
    return {"encoder": 1000 * float(np.median(encoded)), "one pass over 64 columns": 1000 * float(np.median(passed))}


def main() -> None:
    args = start(__doc__ or "", items=10_000, requests=300, warm_up=20, shortest=5, longest=25, reasons=1, seed=2020)
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        served = recommender(Path(folder), args.items, args.seed)
        texts = new_texts(args.warm_up + args.requests, args.shortest, args.longest, rng)
        print("ready", flush=True)
        spent = []
        for place, text in enumerate(texts):
            session = served.session(f"u{place % 400}")
            begin = time.perf_counter()
            answer = session.ask(text, 10, reasons=bool(args.reasons))
            spent.append(1000 * (time.perf_counter() - begin))
            assert len(answer) == 10
        least = floor(served.model, texts[:50])
    percentiles = [round(float(np.percentile(spent[args.warm_up :], q)), 2) for q in (50, 90, 99)]
    table(["milliseconds", "median", "90%", "99%"], [("ask", *[f"{value:.1f}" for value in percentiles])])
    load = round(os.getloadavg()[0], 2)
    goal = "20, and of 60 at 99 %" if args.items <= _ENCODED else "45"
    print(f"{args.requests} requests, {args.items} items (goal: a median of at most {goal}), load {load}")
    print("floor: " + ", ".join(f"{what} {value:.1f}" for what, value in least.items()))
    told = dict(vars(args))
    record(
        "live_latency", {**told, "milliseconds": percentiles, "percentiles": [50, 90, 99], "floor": least, "load": load}
    )


if __name__ == "__main__":
    main()
