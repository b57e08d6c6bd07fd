"""How long torch's threads wait for each other before they let go of their cores."""

from __future__ import annotations

import os

#: Turns of GNU OpenMP's waiting loop, some tenths of a millisecond. Its own 300,000 take milliseconds after every
#: small operation as soon as something else runs on the same cores.
TURNS = 30_000


def wait_briefly() -> None:
    """Let waiting threads sleep sooner, unless the environment says how they are to wait.

    GNU OpenMP reads it once, so it must be set before torch is imported.
    """
    if "GOMP_SPINCOUNT" not in os.environ and "OMP_WAIT_POLICY" not in os.environ:
        os.environ["GOMP_SPINCOUNT"] = str(TURNS)
