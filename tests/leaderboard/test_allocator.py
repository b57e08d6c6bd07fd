"""Memory that a run has freed stays with it, and what it computes is the same."""

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys, torch
from recbole_instructrec.leaderboard.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "kept" else False
def work():
    return float(torch.ones(32, 1024, 256).mul_(2).sum())
first = [work() for _ in range(3)][0]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
assert all(work() == first for _ in range(8))
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again():
    kept, few = _faults("kept")
    _, many = _faults("given back")
    assert kept == "True"
    assert few * 4 < many  # the heap may still grow by a block
