"""Hard constraints of the caller: which items may stand in a list at all."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.utils import FeatureType

from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.spelling import did_you_mean

_BOUNDS = {"min", "max"}
_KEPT = 64


class Rules:
    """Compiles rules over the columns of the ``.item`` file.

    A rule maps columns to conditions, which all must hold: ``{"genre": "Comedy", "price": {"max": 20}}``. A condition
    is a value, a list of which one is enough, ``{"all": [...]}``, or for numbers ``{"min": a, "max": b}``, one of
    them or both, bounds included.

    Parameters
    ----------
    dataset : InstructRecDataset
        With ``item_feat``.

    Notes
    -----
    An item whose column is empty fulfils no condition on it, whether it is demanded or excluded by a bound: it stays
    out of ``must``, and ``must_not`` leaves it in.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset, self._n = dataset, dataset.item_num
        feat = dataset.item_feat
        self.columns = [name for name in ([] if feat is None else feat) if name != dataset.iid_field]
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._values: dict[str, dict[str, list[int]]] = {}

    def allowed(self, must: Mapping[str, Any] | None, must_not: Mapping[str, Any] | None) -> torch.Tensor | None:
        """Items that may stand in a list.

        Parameters
        ----------
        must, must_not : mapping, optional
            Rules: all conditions of ``must`` hold, none of ``must_not`` does.

        Returns
        -------
        Tensor or None
            Bool, ``[n_items]``; None where everything is allowed.

        Raises
        ------
        LiveError
            For a column or value that the catalogue does not have, or a condition that cannot be read.
        """
        if not must and not must_not:
            return None
        try:
            key = json.dumps([must, must_not], sort_keys=True)
        except (TypeError, ValueError, RecursionError):
            raise LiveError("rules: texts, numbers, lists and mappings of these are expected.") from None
        found = self._kept.get(key)
        if found is None:
            allowed = np.ones(self._n, dtype=bool)
            for name, rules, wanted in (("must", must, True), ("must_not", must_not, False)):
                for column, condition in self._pairs(name, rules):
                    fulfils = self._fulfil(name, column, condition)
                    allowed &= fulfils if wanted else ~fulfils
            found = self._kept[key] = torch.from_numpy(allowed)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _pairs(self, name: str, rules: Any) -> list[tuple[str, Any]]:
        if not rules:
            return []
        if not isinstance(rules, Mapping):
            raise LiveError(f"{name}: a mapping of columns to conditions is expected, such as {{'genre': 'Comedy'}}.")
        for column in rules:
            if column not in self.columns:
                hint, there = did_you_mean(str(column)[:100], self.columns), ", ".join(self.columns) or "none"
                raise LiveError(
                    f"{name}: the items have no column {column!r:.60} that is loaded{hint} (there are: {there})"
                )
        return list(rules.items())

    def _fulfil(self, name: str, column: str, condition: Any) -> np.ndarray:
        if self._dataset.field2type[column] == FeatureType.FLOAT_SEQ:
            raise LiveError(f"{name}: {column} holds several numbers a cell; no rule can be made of it.")
        if self._dataset.field2type[column] == FeatureType.FLOAT:
            return self._within(name, column, self._numbers(column), condition)
        if isinstance(condition, Mapping) and set(condition) <= _BOUNDS and condition:
            return self._within(name, column, self._numbers_of_tokens(name, column), condition)
        every = isinstance(condition, Mapping) and set(condition) == {"all"}
        values = condition["all"] if every else condition
        values = list(values) if isinstance(values, (list, tuple)) else [values]
        if not values or not all(isinstance(value, (str, int, float)) for value in values):
            raise LiveError(
                f"{name}: {column} takes a value, a list of values, {{'all': [...]}}, or {{'min': a, 'max': b}}."
            )
        parts = [self._has(name, column, str(value)) for value in values]
        return np.logical_and.reduce(parts) if every else np.logical_or.reduce(parts)

    def _has(self, name: str, column: str, value: str) -> np.ndarray:
        if column not in self._values:
            names = self._dataset.field2id_token[column]
            by_name: dict[str, list[int]] = {}  # what a person calls "comedy" may stand there as Comedy
            for code in range(1, len(names)):
                by_name.setdefault(str(names[code]).lower(), []).append(code)
            self._values[column] = by_name
        codes = self._values[column].get(value.lower())
        if codes is None:
            known = [str(one) for one in self._dataset.field2id_token[column][1:]]
            shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
            hint = did_you_mean(value[:100], known) if len(known) < 20_000 else ""
            raise LiveError(f"{name}: no item has {value!r:.60} in {column}{hint} (there are: {shown})")
        cells = np.asarray(self._dataset.item_feat[column])
        found = np.isin(cells, codes)
        return found if found.ndim == 1 else found.any(1)

    def _numbers(self, column: str) -> np.ndarray:
        return np.asarray(self._dataset.item_numbers[column])

    def _numbers_of_tokens(self, name: str, column: str) -> np.ndarray:
        """A token column that holds numbers, such as a year."""
        names = self._dataset.field2id_token[column]
        cells = np.asarray(self._dataset.item_feat[column])
        if cells.ndim == 1:
            numbers = np.array([_number(token) for token in names])
            if np.isfinite(numbers[1:]).mean() >= 0.9:
                return numbers[cells]
        raise LiveError(f"{name}: {column} holds no numbers; give a value or a list of values.")

    @staticmethod
    def _within(name: str, column: str, numbers: np.ndarray, condition: Any) -> np.ndarray:
        if not isinstance(condition, Mapping):
            condition = {"min": condition, "max": condition}
        bounds = [condition.get("min", -np.inf), condition.get("max", np.inf)]
        plain = all(isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in bounds)
        if not condition or not set(condition) <= _BOUNDS or not plain or any(bound != bound for bound in bounds):
            raise LiveError(f"{name}: {column} takes a number, or {{'min': a, 'max': b}}, one of them or both.")
        with np.errstate(invalid="ignore"):
            return (numbers >= bounds[0]) & (numbers <= bounds[1])


def _number(token: object) -> float:
    try:
        return float(str(token))
    except ValueError:
        return float("nan")
