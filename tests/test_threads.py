"""Pieces that are worked on by several threads."""

import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from recbole_instructrec.model import threads
from recbole_instructrec.model.threads import in_threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_pieces_are_worked_on_at_once_and_come_in_order(two_threads: None):
    both = threading.Barrier(2)

    def work(piece: int) -> tuple[int, int]:
        if piece < 2:
            both.wait(30)  # passes only where two pieces are under way
        return piece, torch.get_num_threads()

    assert list(in_threads(work, range(5), torch.device("cpu"))) == [(piece, 1) for piece in range(5)]
    assert torch.get_num_threads() == 2
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [2], "threads that begin later are not bound by those of the pool"


def test_one_piece_and_one_thread_need_no_other(two_threads: None):
    here = threading.get_ident()
    assert list(in_threads(lambda _: threading.get_ident(), [0], torch.device("cpu"))) == [here]
    torch.set_num_threads(1)
    assert set(in_threads(lambda _: threading.get_ident(), range(3), torch.device("cpu"))) == {here}


def test_whoever_begins_at_once_has_all_threads_and_work_does_not_run_far_ahead(two_threads: None):
    threads._POOLS.clear()
    found = []
    begin = threading.Barrier(4)

    def first() -> None:
        torch.get_num_threads()
        begin.wait(30)
        list(in_threads(str, range(4), torch.device("cpu")))
        found.append(torch.get_num_threads())

    callers = [threading.Thread(target=first) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert found == [2] * 4
    done: list[int] = []
    results = in_threads(done.append, range(100), torch.device("cpu"))
    next(results)
    time.sleep(0.2)
    assert len(done) <= 5
    results.close()
    assert len(done) <= 5


def test_an_error_of_a_piece_is_raised(two_threads: None):
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda piece: 1 // piece, [1, 0, 2], torch.device("cpu")))


@pytest.mark.parametrize(
    ("told", "spins"),
    [({}, "30000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "30000000000")],
)
def test_threads_wait_briefly_unless_the_environment_says_otherwise(told: dict[str, str], spins: str):
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    shown = subprocess.run(
        [sys.executable, "-c", "import recbole_instructrec"],
        env={**kept, **told, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr  # written by the library itself, when it is loaded
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("torch does not use GNU OpenMP here")
    assert f"GOMP_SPINCOUNT = '{spins}'" in shown
