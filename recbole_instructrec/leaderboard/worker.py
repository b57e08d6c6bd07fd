"""A process that executes one run and stores its result: ``python -m recbole_instructrec.leaderboard.worker FILE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from recbole_instructrec.leaderboard.execute import Conditions, Paused, execute
from recbole_instructrec.leaderboard.runs import Run, work_folder
from recbole_instructrec.leaderboard.store import DONE, Store

#: What a worker's exit status says.
ENDED, FAILED_RUN, PAUSED, TAKEN = 0, 3, 4, 5


def main() -> int:
    """Execute what the file describes.

    Returns
    -------
    int
        One of :data:`ENDED`, :data:`FAILED_RUN`, :data:`PAUSED` and :data:`TAKEN` (another process is at it).
    """
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    run, conditions, store = Run.of(told["run"]), Conditions.of(told["conditions"]), Store(told["store"])
    folder = work_folder(conditions.work, run)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            done = any(r["id"] == run.id and r["status"] == DONE for r in store.read(run.dataset)[0])
            if done:
                return ENDED
            record = execute(run, conditions)
            store.append(record)
            if record["status"] != DONE:
                print(record["error"], file=sys.stderr)
                return FAILED_RUN
            return ENDED
    except Timeout:
        return TAKEN
    except Paused:
        return PAUSED


if __name__ == "__main__":
    sys.exit(main())
