"""Pictures of a table: accuracy against training time, and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_instructrec.leaderboard.plan import FIRST
from recbole_instructrec.leaderboard.table import epoch_seconds

# Points that a line across a picture is kept clear by.
_DOTS = 60

# Finds the line of the best figure that others report again.
_REPORTED = "reported"

# From a name to its point, where they are apart.
_THREAD = {"arrowstyle": "-", "color": "grey", "linewidth": 0.6}


def draw(table: Any, folder: Path) -> list[Path]:
    """Draw ``<plan>-time.png`` and ``<plan>-curves.png``.

    Parameters
    ----------
    table : Table
        With at least one row.
    folder : path
        Where.

    Returns
    -------
    list of Path

    Raises
    ------
    ImportError
        When matplotlib or adjustText is not installed; says how to get it.
    """
    pyplot = _pyplot()
    files = []
    figure, axes = pyplot.subplots(figsize=(7, 4.2), constrained_layout=True)
    _accuracy_and_time(axes, table)
    _place_names(figure)
    files.append(_save(figure, folder / f"{table.plan.name}-time.png"))
    pyplot.close(figure)

    figure, axes = pyplot.subplots(figsize=(7, 4.2), constrained_layout=True)
    drawn = set()
    for row in table.rows:
        if row.line.entry.name in drawn or not row.trains:
            continue
        drawn.add(row.line.entry.name)
        total, x, y = 0.0, [], []
        for epoch, spent in zip(row.records[0]["curve"], epoch_seconds(row.records[0]), strict=True):
            total += spent / 60
            x.append(total)
            y.append(epoch["score"])
        axes.plot(x, y, marker="." if len(x) < 4 else None, label=row.line.entry.name, linewidth=2 if row.ours else 1)
    axes.set(xscale="log", xlabel="minutes of training (log)", ylabel="validation NDCG@10", title=table.plan.title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    files.append(_save(figure, folder / f"{table.plan.name}-curves.png"))
    pyplot.close(figure)
    return files


def draw_overview(tables: Sequence[Any], file: Path) -> Path:
    """Accuracy against training time, a panel for each table.

    Parameters
    ----------
    tables : sequence of Table
        With at least one row each.
    file : path
        Where.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        When matplotlib or adjustText is not installed; says how to get it.
    """
    pyplot = _pyplot()
    columns = min(2, len(tables))
    lines = -(-len(tables) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(5.5 * columns, 3.4 * lines), constrained_layout=True, squeeze=False
    )
    for place, table in enumerate(tables):
        _accuracy_and_time(axes.flat[place], table)
    for axis in axes.flat[len(tables) :]:
        axis.axis("off")
    _place_names(figure)
    _save(figure, file)
    pyplot.close(figure)
    return file


def _pyplot() -> Any:
    try:
        import adjustText  # noqa: F401
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(
            "the pictures need matplotlib and adjustText: pip install -c constraints.txt -e '.[leaderboard]'"
        ) from None
    return pyplot


def _accuracy_and_time(axes: Any, table: Any) -> None:
    time = "minutes of training (log; .01: no epochs)"
    axes.set(xscale="log", xlabel=time, ylabel="test NDCG@10")
    axes.set_title(table.plan.title, loc="left")
    axes.grid(alpha=0.3)
    for row in table.rows:
        found, spent = row.of(FIRST), max(0.01, row.minutes)
        colour = "tab:red" if row.ours else "tab:blue"
        axes.errorbar(spent, found.mean, yerr=found.sd if found.n > 1 else None, fmt="o", color=colour, capsize=3)
        entry = row.line.entry
        label = f"{entry.name} ({row.row})" if len(entry.rows) > 1 else entry.name
        axes.text(spent, found.mean, label, fontsize=8)
    told = table.best_reported
    if told is not None:
        axes.axhline(told["metrics"][FIRST], color="grey", linestyle="--", linewidth=1, gid=_REPORTED)
        # Above the picture: in it, names would come to lie on these words.
        axes.set_title(f"dashed: best reported, {told['model']}", loc="right", color="grey", fontsize=8)
    axes.margins(x=0.15, y=0.15)


def _place_names(figure: Any) -> None:
    """Move the names beside their points to where they cover nothing."""
    from adjustText import adjust_text

    figure.draw_without_rendering()  # what stands where is known from here on
    for axes in figure.axes:
        names = list(axes.texts)
        if names:
            points, (left, right) = [text.get_position() for text in names], axes.get_xlim()
            for one in axes.lines:
                if one.get_gid() == _REPORTED:  # as the many points that it passes
                    points += [(x, one.get_ydata()[0]) for x in np.geomspace(left, right, _DOTS)]
            x, y = zip(*points, strict=True)
            adjust_text(names, x, y, ax=axes, iter_lim=1000, expand=(1.15, 1.4), arrowprops=_THREAD)


def _save(figure: Any, file: Path) -> Path:
    figure.savefig(file, dpi=120, metadata={"Software": None})
    return file
