"""The table, the JSON file and the picture of a steering run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recbole_instructrec.steering.axes import MODEL, Line

#: Half the width of a 95 % interval, in standard errors.
INTERVAL = 1.96


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
    rows = [["axis", "wording", "measure", "rows", *rankers]]
    for line in lines:
        n = max(int(value["n"]) for value in line.values.values())
        rows.append([line.axis, line.wording, line.measure, str(n), *[_cell(line.values.get(r)) for r in rankers]])
    width = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    text = ["  ".join(cell.ljust(size) for cell, size in zip(row, width, strict=True)).rstrip() for row in rows]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def _cell(value: dict[str, float] | None) -> str:
    if value is None or math.isnan(value["value"]):
        return "-"
    return f"{value['value']:.4f} ±{INTERVAL * value['error']:.4f}"


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
