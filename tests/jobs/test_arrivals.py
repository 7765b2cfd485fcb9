"""Waiting for receipts: none is lost, silence is told, errors are kept, and leaving ends a pipeline that goes on."""

import threading
import time
from collections.abc import Generator

from assay.jobs.arrivals import Arrivals
from assay.jobs.work import Receipt, Task
from assay.platform.errors import AssayError


def receipts(count: int, pause_s: float = 0.0) -> Generator[Receipt]:
    for shard in range(count):
        time.sleep(pause_s)
        yield Receipt(shard=shard, task=Task.OBSERVE, rows=1)


def nothing() -> None: ...


def test_every_receipt_arrives_in_turn() -> None:
    assert [one.shard for one in Arrivals(receipts(50)) if one is not None] == list(range(50))


def test_silence_is_told() -> None:
    arrived = list(Arrivals(receipts(1, pause_s=3 * Arrivals.WHILE_S)))
    assert arrived.count(None) >= 2
    assert arrived[-1] is not None


def test_an_error_is_kept_with_what_came_before() -> None:
    def failing() -> Generator[Receipt]:
        yield from receipts(3)
        raise AssayError("the pipeline failed")

    arrivals = Arrivals(failing())
    assert len([one for one in arrivals if one is not None]) == 3
    assert str(arrivals.error) == "the pipeline failed"


def test_leaving_ends_the_pipeline() -> None:
    closed = threading.Event()

    def endless() -> Generator[Receipt]:
        try:
            while True:
                yield from receipts(1, pause_s=0.01)
        finally:
            closed.set()

    arrivals = Arrivals(endless())
    next(iter(arrivals))
    arrivals.leave(nothing)
    assert closed.is_set(), "while its cluster lives, not when it is collected"


def test_what_an_abandoned_pipeline_raises_is_nobodys() -> None:
    gone = threading.Event()

    def pulled_away() -> Generator[Receipt]:
        yield from receipts(1)
        gone.wait(5)
        raise TypeError("no owner found for object")

    arrivals = Arrivals(pulled_away())
    next(iter(arrivals))
    threading.Timer(0.2, gone.set).start()
    arrivals.leave(nothing)
    assert arrivals.error is None


def test_leaving_does_not_wait_for_a_receipt() -> None:
    ended, closed = threading.Event(), threading.Event()

    def silent() -> Generator[Receipt]:
        yield from receipts(1)
        assert ended.wait(60)
        closed.set()
        raise AssayError("an echo of the end")

    arrivals = Arrivals(silent())
    next(iter(arrivals))
    arrivals.leave(ended.set)
    assert closed.is_set()
    assert arrivals.error is None, "nobody waits for it any more"


def test_trouble_in_the_quiet_ends_the_wait_with_its_error() -> None:
    held = threading.Event()
    asked: list[float] = []

    def hanging() -> Generator[Receipt]:
        yield from receipts(2)
        held.wait(30)
        raise AssayError("an echo of the end")

    def trouble(quiet_s: float) -> AssayError | None:
        asked.append(quiet_s)
        return AssayError("it stands still") if quiet_s >= 3 * Arrivals.WHILE_S else None

    arrivals = Arrivals(hanging(), trouble)
    assert [one.shard for one in arrivals if one is not None] == [0, 1]
    assert asked == [Arrivals.WHILE_S, 2 * Arrivals.WHILE_S, 3 * Arrivals.WHILE_S]
    arrivals.leave(held.set)
    assert str(arrivals.error) == "it stands still"


def test_every_receipt_ends_the_quiet() -> None:
    asked: list[float] = []
    turns = threading.Semaphore(0)

    def slow() -> Generator[Receipt]:
        for receipt in receipts(3):
            assert turns.acquire(timeout=30)
            assert turns.acquire(timeout=30)
            yield receipt

    def trouble(quiet_s: float) -> AssayError | None:
        asked.append(quiet_s)
        turns.release()
        return None

    assert len([one for one in Arrivals(slow(), trouble) if one is not None]) == 3
    assert asked.count(Arrivals.WHILE_S) >= 3, "counting starts again after each receipt"
