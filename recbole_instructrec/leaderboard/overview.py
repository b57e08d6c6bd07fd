"""One line for each table, for the front pages of the repository."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_instructrec.leaderboard.markdown import markdown, metric_name, number, with_interval, with_sd
from recbole_instructrec.leaderboard.page import minutes
from recbole_instructrec.leaderboard.plan import FIRST

if TYPE_CHECKING:
    from recbole_instructrec.leaderboard.table import Row, Table

#: Files whose part between the marks is written anew, and the words of its head.
PAGES = {
    "README.md": [
        "data set", "best reported by others: {first}", "best other model calculated", "{first}", "{second}", "minutes",
        "InstructRec: {first}", "{second}", "minutes", "difference in {first}, 95 % interval",
        "other models calculated",
    ],
    "README_CN.md": [
        "数据集", "他人报告的最好 {first}", "最好的其他实测模型", "{first}", "{second}", "训练分钟数",
        "InstructRec：{first}", "{second}", "训练分钟数", "{first} 之差，95% 区间",
        "已实测的其他模型",
    ],
}  # fmt: skip

BEGIN, END = "<!-- made by `instructrec leaderboard report` -->", "<!-- end -->"

_SECOND = "recall@10"


def overview(tables: Sequence[Table], head: Sequence[str]) -> str:
    """The overview as Markdown.

    Parameters
    ----------
    tables : sequence of Table
        Those without a figure of InstructRec are left out.
    head : sequence of str
        One of :data:`PAGES`.

    Returns
    -------
    str
    """
    lines = []
    for table in tables:
        own = table.own_row
        if own is None:
            continue
        title = f"[{table.plan.title}](leaderboard/{table.plan.name}.md)"
        lines.append([title, _reported(table), *_other(table), *_own(table, own)])
    names = {"first": metric_name(FIRST), "second": metric_name(_SECOND)}
    return markdown([name.format(**names) for name in head], lines)


def _reported(table: Table) -> str:
    """The best figure that others report."""
    told = table.best_reported
    if told is None:
        return "-"
    note = f"; {told['note']}" if told.get("note") else ""
    return f"{number(told['metrics'][FIRST])} ({told['model']}{note})"


def _other(table: Table) -> list[str]:
    """The best calculated model."""
    if not table.baselines:
        return ["-"] * 4
    best = table.baselines[0]
    return [best.name, with_sd(best.of(FIRST)), with_sd(best.of(_SECOND)), minutes(best)]


def _own(table: Table, own: Row) -> list[str]:
    """InstructRec's figures and minutes, and its distance to the best calculated model."""
    against = table.differences.get((own.line.entry.name, own.row), {})
    gap = against.get(table.baselines[0].line.entry.name) if table.baselines else None
    interval = "-" if gap is None else with_interval(gap[0])
    done, planned = table.others
    of_others = f"{done} of {planned}"
    return [table.figure(own, FIRST), table.figure(own, _SECOND), minutes(own), interval, of_others]


def write_overviews(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write the overview into the pages that have the marks for it.

    Parameters
    ----------
    tables : sequence of Table
        The tables.
    folder : path
        Of the pages.

    Returns
    -------
    list of Path
        Pages that were written.
    """
    written = []
    for name, head in PAGES.items():
        file = folder / name
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        found = re.search(f"{re.escape(BEGIN)}.*?{re.escape(END)}", text, re.DOTALL)
        if found:
            part = f"{BEGIN}\n\n{overview(tables, head)}\n\n{END}"
            file.write_text(text[: found.start()] + part + text[found.end() :], encoding="utf-8")
            written.append(file)
    return written
