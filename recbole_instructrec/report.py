"""The table of evaluation rows that follows the usual test result."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

#: What the model is told in each row, for the table.
TOLD = {
    "none": "nothing",
    "history": "a sentence about the user's own earlier interactions",
    "file": "a real text that came with the data",
    "intent": "a request made from the target (an oracle)",
    "shuffled": "another user's request (a control)",
}


def bare(row: str) -> str:
    """Name of an evaluation row, whether or not the model is told the context of requests, too."""
    return row.partition("+")[0]


class RowResults(OrderedDict[str, float]):
    """The metrics of one evaluation row, with those of the other rows beside it.

    Parameters
    ----------
    result : mapping of str to float
        Metrics of the row that was asked for: the test result.
    rows : mapping of str to mapping
        Metrics by row.
    with_context : bool
        Whether the model also reads request-time context.

    Attributes
    ----------
    rows : dict of str to dict
        Metrics by row label, such as ``none`` or ``none+context``.
    """

    def __init__(
        self,
        result: Mapping[str, float] | Any = (),
        rows: Mapping[str, Mapping[str, float]] | None = None,
        with_context: bool = False,
    ) -> None:
        super().__init__(result)
        suffix = "+context" if with_context else ""
        self.rows = {f"{name}{suffix}": dict(metrics) for name, metrics in (rows or {}).items()}

    def __reduce__(self) -> Any:
        return RowResults, (list(self.items()), self.rows)

    def __repr__(self) -> str:
        return f"OrderedDict({list(self.items())})"  # RecBole prints the test result so

    def table(self) -> str:
        """The rows as text, one line each."""
        metrics = list(self)
        width = max((len(name) for name in self.rows), default=0)
        head = " ".join([" " * width, *[f"{metric:>9}" for metric in metrics], " the model is told"])
        lines = [head]
        for name, values in self.rows.items():
            told = TOLD[bare(name)] + ("; and request-time context" if "+" in name else "")
            lines.append(" ".join([f"{name:<{width}}", *[f"{values[m]:>9.4f}" for m in metrics], f" {told}"]))
        return "\n".join(lines)


class _AfterTestResult(logging.Handler):
    """Waits for RecBole's line ``test result`` and logs the table once after it."""

    def __init__(self, logger: logging.Logger, result: RowResults, then: str) -> None:
        super().__init__(logging.INFO)
        self._logger, self._result, self._then = logger, result, then

    def emit(self, record: logging.LogRecord) -> None:
        if "test result" in str(record.msg):
            self._logger.removeHandler(self)
            self._logger.info(f"evaluation rows (not comparable with each other):\n{self._result.table()}{self._then}")


def log_after_test_result(logger: logging.Logger, result: RowResults, then: str = "") -> None:
    """Print the table right after RecBole has printed the test result.

    Parameters
    ----------
    logger : logging.Logger
        The one RecBole logs to.
    result : RowResults
        What to print.
    then : str
        What to print below it.
    """
    for handler in list(logger.handlers):
        if isinstance(handler, _AfterTestResult):
            logger.removeHandler(handler)  # of an evaluation whose result was never printed
    logger.addHandler(_AfterTestResult(logger, result, then))
