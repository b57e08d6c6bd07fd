"""A process that executes one run and stores its result: ``python -m recbole_instructrec.leaderboard.worker``."""

from __future__ import annotations

import json
import sys

from recbole_instructrec.leaderboard.execute import Conditions, Paused, clear, execute
from recbole_instructrec.leaderboard.runs import Run
from recbole_instructrec.leaderboard.store import DONE, Store, StoreError, Taken

#: What a worker's exit status says.
ENDED, FAILED_RUN, PAUSED, TAKEN, NOT_STORED = 0, 3, 4, 5, 6


def main() -> int:
    """Execute what standard input describes.

    Returns
    -------
    int
        One of :data:`ENDED`, :data:`FAILED_RUN`, :data:`PAUSED`, :data:`TAKEN` (another process is at it) and
        :data:`NOT_STORED` (the result could not be written; what was trained is kept).
    """
    told = json.load(sys.stdin)
    run, conditions, store = Run.of(told["run"]), Conditions.of(told["conditions"]), Store(told["store"])
    try:
        with store.claim(run.id):
            done = any(r["id"] == run.id and r["status"] == DONE for r in store.read(run.dataset)[0])
            if done:
                return ENDED
            record = execute(run, conditions)
            store.append(record)
            if record["status"] != DONE:
                print(record["error"], file=sys.stderr)
                return FAILED_RUN
            clear(run, conditions)
            return ENDED
    except Taken:
        return TAKEN
    except Paused:
        return PAUSED
    except StoreError as error:
        print(error, file=sys.stderr)
        return NOT_STORED


if __name__ == "__main__":
    sys.exit(main())
