"""LEADERBOARD.md, the pages of the tables and the READMEs' overview, made from the store alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_instructrec.leaderboard.markdown import metric_name, number
from recbole_instructrec.leaderboard.overview import write_overviews
from recbole_instructrec.leaderboard.page import TERMS, page, plain
from recbole_instructrec.leaderboard.plan import Plan, PlanError
from recbole_instructrec.leaderboard.store import Store
from recbole_instructrec.leaderboard.table import RecordedAgenda, Table
from recbole_instructrec.leaderboard.verify import sound


def write(plans: Sequence[Path], store: Store, output: Path, front: bool = True) -> list[Path]:
    """Write ``LEADERBOARD.md``, for each plan ``leaderboard/<plan>.md`` and its pictures, and the READMEs' overview.

    Results that are damaged, or whose metrics are not those of their ranks, are named and left aside.

    Parameters
    ----------
    plans : sequence of path
        Plans in the order of the page.
    store : Store
        Results.
    output : path
        Folder of ``LEADERBOARD.md``.
    front : bool
        Whether what shows all tables is written, too: ``LEADERBOARD.md`` and the overviews.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    PlanError
        For a plan that cannot be run, or when there is none.
    """
    if not plans:
        raise PlanError("there is no plan to report: run this where leaderboard/plans/ stands, or name plans.")
    tables = []
    for plan in map(Plan.read, plans):
        records, aside = sound(store, plan.dataset)
        for message in aside:
            print(f"left aside: {message}")
        tables.append(Table(plan, RecordedAgenda(plan, records), records))
        if tables[-1].outdated:
            print(f"{plan.name}: {tables[-1].outdated} results of other files than the newest run read are not shown.")
    folder = output / "leaderboard"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for table in tables:
        file = folder / f"{table.plan.name}.md"
        file.write_text(page(table), encoding="utf-8")
        files.append(file)
        if table.rows:
            from recbole_instructrec.leaderboard.pictures import draw

            files += draw(table, folder)
    if not front:
        return files
    shown = [table for table in tables if table.own_row is not None]
    if shown:
        from recbole_instructrec.leaderboard.pictures import draw_overview

        files.append(draw_overview(shown, folder / "overview.png"))
    page_of_all = output / "LEADERBOARD.md"
    page_of_all.write_text(front_page(tables), encoding="utf-8")
    return [page_of_all, *files, *write_overviews(tables, output)]


def front_page(tables: Sequence[Table]) -> str:
    """LEADERBOARD.md."""
    parts = [
        "# Leaderboard",
        "Sequential recommenders under RecBole's own protocol: leave-one-out in order of time, all items ranked. Made "
        "by `instructrec leaderboard report`, not edited by hand; how figures come about and how to add a line: "
        "[docs/leaderboard.md](docs/leaderboard.md).",
        TERMS,
    ]
    for table in tables:
        parts.append(f"## [{table.plan.title}](leaderboard/{table.plan.name}.md)")
        if not table.rows:
            parts.append("No run has ended well yet.")
            continue
        parts += [plain(table.rows, table), *table.caveat]
        if table.unfinished:
            parts.append(f"Still to be calculated: {', '.join(table.unfinished)}.")
        best = table.best_reported
        if best is not None:
            parts.append(
                f"Best reported by others: {best['model']}, "
                + ", ".join(f"{metric_name(name)} {number(value)}" for name, value in best["metrics"].items())
                + f" ({best['source']})."
            )
        parts.append(f"![accuracy against training time](leaderboard/{table.plan.name}-time.png)")
    return "\n\n".join(parts) + "\n"
