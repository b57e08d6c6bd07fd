"""What variety costs: lists of ten for every test user of a checkpoint, by how much diversity is asked for.

NDCG@10 of the test target, the mean cosine of the item vectors in a list, and how many attributes a list has.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.common import record, start, table

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)


def measure(served: Any, rows: Any, share: float) -> dict[str, float]:
    """Figures of one share, means over users."""
    from recbole_instructrec.live.ranking import Want
    from recbole_instructrec.live.users import UserState

    field, length = served.dataset.iid_field, rows[served.dataset.item_list_length_field].tolist()
    lists = rows[field + served.dataset.config["LIST_SUFFIX"]].tolist()
    wants = [Want(UserState(items[:n]), diversity=share) for items, n in zip(lists, length, strict=True)]
    found = [one for begin in range(0, len(wants), 128) for one in served._ranker(wants[begin : begin + 128])]
    _, directions = served.model.item_directions()
    gains, likeness, attributes = [], [], []
    for one, target in zip(found, rows[field].tolist(), strict=True):
        gains.append(1.0 / np.log2(2 + one.items.index(target)) if target in one.items else 0.0)
        cosine = directions[one.items] @ directions[one.items].T
        likeness.append(float(np.mean([cosine[a, b].item() for a, b in combinations(range(len(one.items)), 2)])))
        attributes.append(len({name for item in one.items for name in served.catalogue.attributes_of(item)}))
    told = {"ndcg@10": np.mean(gains), "cosine": np.mean(likeness), "attributes": np.mean(attributes)}
    return {name: round(float(value), 4) for name, value in told.items()}


def main() -> None:
    args = start(__doc__ or "", checkpoint="saved")
    from recbole_instructrec.live.loading import load
    from recbole_instructrec.live.recommender import Recommender

    _, model, dataset, parts = load(args.checkpoint)
    served = Recommender(model, dataset, ":memory:", parts=parts)
    test = parts[2]
    rows = test[np.arange(len(test))]
    figures = {share: measure(served, rows, share) for share in SHARES}
    table(("diversity", *figures[0.0]), [(share, *found.values()) for share, found in figures.items()])
    record("diversity", {"dataset": dataset.dataset_name, "users": len(test), "figures": figures})


if __name__ == "__main__":
    main()
