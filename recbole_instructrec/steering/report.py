"""The table, the JSON file and the picture of a steering run."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

from recbole_instructrec.steering.axes import MODEL, Line

#: Half the width of a 95 % interval, in standard errors.
INTERVAL = 1.96


# Widths of the table's columns: it shall fit a terminal of 125 characters.
_MEASURE, _CELL = 27, 11

_LEGEND = """
± half of a 95 % interval (rows of one wording count together). NDCG@10 is that of the row's target; a share counts the
items of a list of 10; of a share that is left, less is better. reader without error: the same answer to a request, but
told what it asks for. RRF: reciprocal-rank fusion. unlike training: of the wordings those that resemble none of
training. Most requests are made from the target: an oracle, for comparing rankers that are told the same."""


def table(lines: Sequence[Line], rankers: Sequence[str]) -> str:
    """One row a figure, one column a ranker, values with two standard errors.

    Parameters
    ----------
    lines : sequence of Line
        Of a run.
    rankers : sequence of str
        Columns in their order.

    Returns
    -------
    str
        Text for a terminal.
    """
    head = _row("", list(rankers))
    text = [*head, "-" * max(map(len, head))]
    for (axis, wording), group in groupby(lines, lambda line: (line.axis, line.wording)):
        figures = list(group)
        n = max(int(value["n"]) for line in figures for value in line.values.values())
        text.append(f"{axis} ({wording}; {n} rows)")
        for line in figures:
            text += _row(
                line.measure,
                [
                    _cell(line.values.get(ranker)) if len(line.values) > 1 or ranker in line.values else ""
                    for ranker in rankers
                ],
            )
    return "\n".join([*text, _LEGEND])


def _row(label: str, cells: Sequence[str]) -> list[str]:
    """A row of the table; what is too long for its column goes on below."""
    parts = [
        textwrap.wrap(label, _MEASURE) or [""],
        *[textwrap.wrap(cell, _CELL) for cell in cells],
    ]
    text = []
    for words in zip_longest(*parts, fillvalue=""):
        text.append((f"  {words[0]:<{_MEASURE}}" + "".join(f" {word:<{_CELL}}" for word in words[1:])).rstrip())
    return text


def _cell(value: dict[str, float] | None) -> str:
    if value is None or math.isnan(value["value"]):
        return "-"
    return " ±".join(f"{number:.3f}".replace("0.", ".", 1) for number in (value["value"], INTERVAL * value["error"]))


def write_json(file: Path, about: dict[str, Any], lines: Sequence[Line]) -> None:
    """Everything that was measured, and of what."""
    text = json.dumps(_without_nan({**about, "lines": [asdict(line) for line in lines]}), indent=1, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """JSON has no nan: a figure that cannot be told is null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def draw(file: Path, lines: Sequence[Line], rankers: Sequence[str], title: str) -> None:
    """A bar for each ranker on the measures that several have.

    Raises
    ------
    ImportError
        When matplotlib is not installed; says how to get it.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "the picture of instructrec steer needs matplotlib: pip install -c constraints.txt -e '.[offline,steer]'"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [line for line in lines if len(line.values) > 2]
    columns = 3
    figure, axes = pyplot.subplots(
        math.ceil(len(shown) / columns), columns, figsize=(15, 2.4 * math.ceil(len(shown) / columns)), squeeze=False
    )
    for place, axis in enumerate(axes.flat):
        if place >= len(shown):
            axis.axis("off")
            continue
        line = shown[place]
        names = [name for name in rankers if name in line.values]
        values = [line.values[name]["value"] for name in names]
        errors = [INTERVAL * line.values[name]["error"] for name in names]
        colours = ["tab:red" if name == MODEL else "tab:gray" for name in names]
        axis.barh(range(len(names)), values, xerr=errors, color=colours)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.invert_yaxis()
        axis.set_title(f"{line.axis} ({line.wording})\n{line.measure}", fontsize=8)
        axis.tick_params(axis="x", labelsize=7)
    figure.suptitle(title, fontsize=10, y=1.0)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
