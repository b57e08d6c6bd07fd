"""Figures as the pages print them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from recbole_instructrec.leaderboard.statistics import Difference, Interval, Summary


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; bars in its cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def number(value: float, digits: int = 4) -> str:
    """Without the zero before the point."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def signed(value: float) -> str:
    """With its sign."""
    return ("+" if value >= 0 else "-") + number(abs(value))


def with_interval(found: Interval | Difference) -> str:
    """A difference and the limits of its interval."""
    return f"{signed(found.mean)} ({signed(found.low)} to {signed(found.high)})"


def p_value(value: float) -> str:
    """Of a test."""
    return "< .001" if value < 0.001 else number(value, 3)


def metric_name(name: str) -> str:
    """RecBole's key of a metric, as it is usually written."""
    kind, _, k = name.partition("@")
    return f"{ {'recall': 'Recall', 'ndcg': 'NDCG', 'mrr': 'MRR', 'hit': 'Hit'}.get(kind, kind) }@{k}"


def with_sd(found: Summary) -> str:
    """Mean and standard deviation over seeds."""
    return number(found.mean) + ("" if math.isnan(found.sd) else f" ± {number(found.sd)}")
