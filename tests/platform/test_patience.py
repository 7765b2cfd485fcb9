"""One pause for all threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from assay.platform.patience import Patience


def test_one_asks_for_all() -> None:
    patience = Patience(patience_s=30, poll_s=0.05)
    askers: list[str] = []

    def well() -> bool:
        askers.append(threading.current_thread().name)
        return len(askers) >= 6

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda _: patience.wait("away", well), range(8)))
    assert ended == [True] * 8
    assert len(set(askers[:6])) == 1, "one thread polls a pause"
    assert patience.pauses >= 1
    assert patience.paused_since is None
    assert patience.reason == "away"


def test_those_who_come_meanwhile_wait_too() -> None:
    patience, back = Patience(patience_s=30, poll_s=0.02), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(patience.wait, "away", back.is_set)
        while patience.paused_since is None:
            time.sleep(0.001)
        late = pool.submit(patience.join)
        time.sleep(0.1)
        assert not late.done()
        back.set()
        assert first.result(5)
        late.result(5)
    patience.join()  # nothing to wait for


def test_a_pause_ends_for_all_and_is_not_begun_again() -> None:
    patience = Patience(patience_s=0.2, poll_s=0.02)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: patience.wait("away", lambda: False), range(4))) == [False] * 4
    assert patience.pauses == 1
    assert not patience.wait("away", lambda: pytest.fail("patience is spent"))
    patience.succeed()
    assert patience.worked
    assert patience.wait("away again", lambda: True)
    assert patience.pauses == 2


def test_an_error_while_asking_is_the_askers() -> None:
    patience = Patience(patience_s=30, poll_s=0.02)

    def broken() -> bool:
        raise ValueError("as told")

    with pytest.raises(ValueError, match="as told"):
        patience.wait("away", broken)
    assert patience.paused_since is None
    assert patience.wait("away", lambda: True)


def test_who_is_in_a_hurry_waits_no_longer() -> None:
    patience = Patience(patience_s=300, poll_s=300)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(patience.wait, "away", lambda: False) for _ in range(3)]
        while patience.paused_since is None:
            time.sleep(0.001)
        patience.hurry()
        assert [one.result(10) for one in waiting] == [False] * 3
    assert not patience.wait("away", lambda: pytest.fail("there is no other pause"))
