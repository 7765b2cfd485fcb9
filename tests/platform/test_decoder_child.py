"""A decoder's life as its parent sees it: how it starts, how it ends, and that nothing of it is left behind."""

import contextlib
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.platform.decoder_child import Strike
from assay.platform.errors import AssayError
from assay.platform.faults import Fault
from assay.platform.guard import Guard
from tests.platform.guard_watch import BUDGET, CRASHED, HUNG, PREPROCESS, is_alive, picture, pids, wait_until_gone
from tests.platform.planted_decoder import PLANTED, order


@pytest.fixture
def tries(tmp_path: Path) -> Path:
    folder = tmp_path / "tries"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(PREPROCESS, BUDGET, decoders=2) as guard:
        yield guard


def test_the_two_strikes_are_both_told() -> None:
    """A hang and then a crash: the second names the fault."""
    assert Strike(CRASHED, "died of SIGSEGV").after(Strike(HUNG, "no answer in 9.6 s")) == Fault(
        CRASHED, "no answer in 9.6 s, then died of SIGSEGV"
    )


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ((sys.executable, "-c", "import no_such_module"), "exited with 1: ModuleNotFoundError: No module named"),
        ((sys.executable, "-c", "import os; os.abort()"), "died of SIGABRT"),
        ((sys.executable, "-c", "print('hello, world')"), "it spoke out of form"),
        (("/no/such/program",), "No such file"),
    ],
)
def test_a_decoder_that_does_not_start_ends_the_job_and_says_why(command: tuple[str, ...], why: str) -> None:
    with Guard(PREPROCESS, BUDGET, 2, command) as guard:
        for _ in range(3):  # and no place is lost by it
            with pytest.raises(AssayError) as caught:
                guard.decode(picture())
            assert caught.value.what == "the image decoder does not start"
            assert caught.value.why.startswith(why) or why in caught.value.why
            assert caught.value.where == " ".join(command)
            assert caught.value.fix
        assert pids(guard) == []


def test_a_decoder_that_never_gets_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.platform.decoder_child.START_S", 0.2)
    with (
        Guard(PREPROCESS, BUDGET, 1, (sys.executable, "-c", "import time; time.sleep(600)")) as guard,
        pytest.raises(AssayError, match="does not start") as caught,
    ):
        guard.decode(picture())
    assert "not ready in 0.2 s" in caught.value.why


def test_closing_ends_the_children_and_the_guard() -> None:
    guard = Guard(PREPROCESS, BUDGET, 2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(guard.decode, [picture(number) for number in range(20)]))
    children = pids(guard)
    assert children
    guard.close()
    wait_until_gone(children)
    with pytest.raises(ValueError, match="closed"):
        guard.decode(picture())
    guard.close()  # again


def test_a_guard_that_is_let_go_leaves_no_children() -> None:
    guard = Guard(PREPROCESS, BUDGET, 1)
    guard.decode(picture())
    children = pids(guard)
    del guard
    wait_until_gone(children)


def test_children_outlive_the_thread_that_asked_first(guard: Guard) -> None:
    """Linux ends a child with the thread that started it: it must not be one that comes and goes."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(guard.decode, picture()).result()
    children = pids(guard)
    time.sleep(0.2)
    assert all(map(is_alive, children))


PARENT = """
import sys, threading
from pathlib import Path
from assay.platform.guard import Guard
from tests.platform.guard_watch import BUDGET, PREPROCESS, pids, picture
from tests.platform.planted_decoder import PLANTED, order

tries = Path(sys.argv[1])
guard = Guard(PREPROCESS, BUDGET, 2, PLANTED)
guard.decode(picture())
threading.Thread(target=guard.decode, args=(order("spin", tries),), daemon=True).start()
while not list(tries.iterdir()):
    pass
guard.decode(picture())
print(*pids(guard), flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child that hangs outlives a parent that was killed")
@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_outlives_its_parent(tries: Path, ended_by: signal.Signals) -> None:
    """One of them idle, and one hanging in C, deaf to the end of its stdin."""
    root = Path(__file__).parents[2]
    started = [sys.executable, "-c", PARENT, str(tries)]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root) as parent:
        assert parent.stdout
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        assert all(map(is_alive, children))
        parent.send_signal(ended_by)
    wait_until_gone(children)


def test_the_parent_does_not_grow_with_hostile_images(tries: Path) -> None:
    hostile = [order(deed, tries) for deed in ("shout", "promise_much", "lie", "babble", "gorge")]
    with Guard(PREPROCESS, BUDGET, 2, PLANTED) as guard, ThreadPoolExecutor(4) as pool:
        list(pool.map(guard.decode, [picture()] * 8))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        list(pool.map(guard.decode, hostile))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB
    assert len(list(tries.iterdir())) == 2 * len(hostile)


def test_no_descriptor_is_left_behind(tries: Path) -> None:
    """Told by name, not by number: other tests' servers and threads may still be ending in this process."""

    def pipes() -> set[str]:
        found = set[str]()
        for place in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the one that lists them
                found.add(str(place.readlink()))
        return {name for name in found if name.startswith("pipe:")}

    with Guard(PREPROCESS, BUDGET, 1, PLANTED) as guard:
        guard.decode(picture())
        before, threads = pipes(), set(threading.enumerate())
        for _ in range(5):
            guard.decode(order("segfault", tries))
        guard.decode(picture())
        assert len(pipes() - before) == len(("to the child", "from the child"))
        assert not set(threading.enumerate()) - threads
