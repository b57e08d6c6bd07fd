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

from recbole_instructrec.data.dataset import INSTRUCTION


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
    model, trainer, test = side["model"], side["trainer"], side["test"]
    data = test._dataset
    has = torch.from_numpy(data.attributes.matrix[:, : data.attributes.n_main].toarray())  # [n_items, n_main]
    share = torch.log(has / has.sum(1, keepdim=True).clamp(min=1))
    scores_of, data_source = model.full_sort_predict, data._source
    rows, trainer.config["report_rows"] = trainer.config["report_rows"], []

    def reader(per_attribute: torch.Tensor) -> Any:
        def score(interaction: Any) -> torch.Tensor:
            asked = [data.instructions.asked[n].want for n in interaction[INSTRUCTION].tolist()]
            interaction[INSTRUCTION] = torch.zeros_like(interaction[INSTRUCTION])
            scores = scores_of(interaction)
            for row, attributes in enumerate(asked):
                for attribute in attributes:
                    scores[row] += per_attribute[:, attribute]
            return scores

        return score

    results = {}
    data.use_instructions("intent")
    try:
        for name, per_attribute in (("filter", torch.where(has > 0, 0.0, -np.inf)), ("bound", share)):
            model.full_sort_predict = reader(per_attribute)
            found = trainer.evaluate(test, load_best_model=False)
            results[name] = {metric: round(float(value), 6) for metric, value in found.items()}
    finally:
        model.full_sort_predict = scores_of
        data.use_instructions(data_source)
        trainer.config["report_rows"] = rows
    return results
