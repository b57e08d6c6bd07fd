"""Train and evaluate a RecBole model; InstructRec and every mend of the plugin included."""

import sys

import recbole_instructrec  # noqa: F401  registers InstructRec, in spawned workers too
from recbole_instructrec.main import run_recbole_main

if __name__ == "__main__":
    sys.exit(run_recbole_main())
