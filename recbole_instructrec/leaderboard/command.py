"""``instructrec leaderboard``: run, status, report, verify."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

STORE, PLANS = Path("leaderboard/results"), Path("leaderboard/plans")


def add_parser(commands: Any) -> None:
    """Add the command and its own commands to a command line."""
    parser = commands.add_parser("leaderboard", help="tables that can be cited: run a plan, report, verify")
    own = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = own.add_parser("run", help="do what a plan says, or go on with it")
    status = own.add_parser("status", help="what of a plan is done")
    report = own.add_parser("report", help="write the tables from the results")
    verify = own.add_parser("verify", help="compute the metrics again from the ranks of the results")
    for part in (run, status):
        part.add_argument("plan", type=Path, help="a YAML file, such as leaderboard/plans/ml-100k.yaml")
        part.add_argument("--data_path", help="folder of data sets (default: dataset/; of ml-100k, RecBole's)")
        part.add_argument("--models", default="", help="only these lines of the table, separated by commas")
        part.add_argument("--seeds", type=int, help="only so many seeds of each line")
        part.add_argument("--work", type=Path, help="folder of runs under way (default: work, beside the results)")
    for part in (run, status, report, verify):
        part.add_argument("--store", type=Path, default=STORE, help=f"folder of results (default: {STORE})")
    run.add_argument("--jobs", type=int, default=1, help="runs at a time")
    run.add_argument("--executor", choices=("local", "ray"), default="local", help="processes here, or a Ray cluster")
    run.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what runs train on")
    run.add_argument("--threads", type=int, default=1, help="of each run")
    run.add_argument("--max-minutes", type=float, help="begin no epoch after so many minutes; what is begun is kept")
    run.add_argument("--retry-failed", action="store_true", help="try again what has failed")
    verify.add_argument("--against", type=Path, help="folder of other results: their runs must have the same metrics")
    report.add_argument(
        "plans", type=Path, nargs="*", help=f"pages of these plans alone (default: all in {PLANS}, and the front pages)"
    )
    report.add_argument("--output", type=Path, default=Path("."), help="folder of LEADERBOARD.md (default: here)")


def work(args: argparse.Namespace) -> int:
    """Do what the command line says.

    Parameters
    ----------
    args : Namespace
        As parsed.

    Returns
    -------
    int
        Exit status.
    """
    from recbole_instructrec.leaderboard.store import Store

    store = Store(args.store)
    if args.action == "verify":
        from recbole_instructrec.leaderboard.verify import compare, verify

        wrong = verify(store)
        return max(wrong, compare(store, Store(args.against))) if args.against else wrong
    if args.action == "report":
        from recbole_instructrec.leaderboard.report import write

        plans = args.plans or sorted(PLANS.glob("*.yaml"))
        for file in write(plans, store, args.output, front=not args.plans):
            print(f"written: {file}")
        return 0

    from recbole_instructrec.leaderboard.agenda import Agenda, missing_data
    from recbole_instructrec.leaderboard.execute import Conditions
    from recbole_instructrec.leaderboard.plan import Plan
    from recbole_instructrec.leaderboard.schedule import (
        Executor,
        LocalExecutor,
        RayExecutor,
        Scheduler,
        folder_of_work,
    )

    data_path = os.path.abspath(args.data_path) if args.data_path else None
    plan = Plan.read(args.plan, lambda dataset: missing_data(dataset, data_path))
    if args.seeds is not None:
        if args.seeds < 1:
            raise ValueError("--seeds must be at least 1.")
        plan = plan.with_seeds(args.seeds)
    records = store.read(plan.dataset)[0]
    agenda = Agenda(plan, data_path, [name for name in args.models.split(",") if name], records)
    _report_damage(store, plan.dataset)
    if args.action == "status":
        return _status(agenda, store, args.work or folder_of_work(store))
    if args.jobs < 1 or args.threads < 1:
        raise ValueError("--jobs and --threads must be at least 1.")
    until = np.inf if args.max_minutes is None else time.time() + 60 * args.max_minutes
    store = Store(args.store.absolute())
    folder = (args.work or folder_of_work(store)).absolute()
    for name, wanted in (("--store", store.folder), ("--work", folder)):
        _can_be_written(name, wanted)
    conditions = Conditions(folder, data_path, args.device, args.threads, until)
    executor: Executor
    executor = RayExecutor(store, conditions) if args.executor == "ray" else LocalExecutor(store, conditions)
    return Scheduler(agenda, store, executor, conditions, args.jobs).run(args.retry_failed)


def _can_be_written(name: str, folder: Path) -> None:
    """Refuse a folder before hours are spent on what could not be kept in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{name}: nothing can be written into {folder} ({error}). Give another folder.") from None


def _report_damage(store: Any, dataset: str) -> None:
    for damaged in store.read(dataset)[1]:
        print(f"left aside: {damaged}")


def _status(agenda: Any, store: Any, folder: Path) -> int:
    from recbole_instructrec.leaderboard.execute import progress
    from recbole_instructrec.leaderboard.runs import work_folder
    from recbole_instructrec.leaderboard.schedule import clock
    from recbole_instructrec.leaderboard.store import DONE, of_runs

    records = of_runs(store.read(agenda.plan.dataset)[0], agenda.ids())
    width = max(len(line.entry.name) for line in agenda.lines)
    for line in agenda.lines:
        trials = sum(run.id in records for run in line.trials)
        ended = [records[run.id] for run in line.trials if run.id in records]
        failed = sum(record["status"] != DONE for record in ended)
        print(
            f"{line.entry.name:<{width}}  trials {trials}/{len(line.trials)}, "
            f"seeds of the best {len(line.figures(records))}/{len(line.entry.seeds)}"
            + (f", {failed} failed" if failed else "")
        )
    seconds = agenda.seconds_left(records, 1, lambda run: progress(work_folder(folder, run)))
    left = agenda.left(records)
    print(f"{left} runs left" + (f", about {clock(seconds)} in one process" if left and seconds is not None else ""))
    return 0
