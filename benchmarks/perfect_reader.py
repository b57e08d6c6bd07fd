"""What could be done with row ``intent``: the un-instructed scores in the hands of somebody who reads without error.

Two controls for the same trained model and the same requests (one attribute of the target each):

filter
    the un-instructed list without the items that lack the attribute;
bound
    the same, each score plus log(1 / number of the item's attributes). The request names one of the target's
    attributes at random, so this is Bayes' rule for these requests, if the scores are log-probabilities: about the best
    that a reader without error can do with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.common import full_scores
from recbole_instructrec.leaderboard.ranks import per_user
from recbole_instructrec.steering.measures import rank_of
from recbole_instructrec.steering.rankers import Fixed, HardFilter, PerfectReader
from recbole_instructrec.steering.requests import Requests


def requests_of(dataset: Any, source: str) -> Requests:
    """What is said in each row of an evaluation part.

    Parameters
    ----------
    dataset : InstructRecDataset
        Part.
    source : str
        Evaluation row.

    Returns
    -------
    Requests
        ``[n]``, in the order of the rows.
    """
    dataset.use_instructions(source)
    rows, bank = np.arange(len(dataset)), dataset.instructions
    numbers = dataset.instruction_numbers(torch.from_numpy(rows)).tolist()
    return Requests(rows, [bank.texts[number] for number in numbers], [bank.asked[number] for number in numbers])


def controls(side: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Metrics of both controls on the test set.

    Parameters
    ----------
    side : dict
        As from :func:`benchmarks.common.build`, trained, best weights loaded.

    Returns
    -------
    dict of str to dict
        Metrics by control.
    """
    data = side["test"]._dataset
    source, n_main = data._source, data.attributes.n_main
    has = data.attributes.matrix[:, :n_main].toarray() > 0
    data.use_instructions("none")
    plain = Fixed(full_scores(side["model"], side["test"]))
    requests = requests_of(data, "intent")
    data.use_instructions(source)
    target = data.inter_feat[data.iid_field].numpy()
    results = {}
    for name, ranker in (("filter", HardFilter(plain, has)), ("bound", PerfectReader(plain, has, n_main))):
        rank = rank_of(ranker(requests), target)
        metrics = [f"{metric}@{k}" for k in side["config"]["topk"] for metric in ("recall", "ndcg", "mrr")]
        results[name] = {metric: round(float(per_user(rank, metric).mean()), 6) for metric in metrics}
    return results
