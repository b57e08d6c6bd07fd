"""Search hyper-parameters of a RecBole model; InstructRec included."""

import sys

import recbole_instructrec  # noqa: F401  registers InstructRec, in spawned workers too
from recbole_instructrec.main import run_hyper_main

if __name__ == "__main__":
    sys.exit(run_hyper_main())
