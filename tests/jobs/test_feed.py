"""The feed: in order, no further ahead than told, nothing forgotten before its receipt; and how it ends."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.feed import Feed
from assay.jobs.work import Task, Work
from assay.platform.errors import AssayError, StorageError

PATIENCE_S = 30.0
QUIET_S = 0.1
"""Long enough for a thread that may go on to do so; one that may not, never does."""


class Packet:
    """What a shard is packed into here: something whose end is seen."""

    def __init__(self, work: Work) -> None:
        self.shard = work.shard


class Source:
    """Work that counts how far it was read."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error = count, error
        self.read = 0

    def __iter__(self) -> Iterator[Work]:
        for shard in range(self.count):
            self.read += 1
            yield Work(shard=shard, task=Task.OBSERVE, rows=1)
        if self.error is not None:
            raise self.error


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def drain(feed: Feed[Packet]) -> Iterator[Packet]:
    """What is handed on until it is over, as Ray's loop asks for it."""
    while not feed.over:
        if feed.ready():
            yield feed.next()


def test_work_is_handed_on_in_its_order() -> None:
    with Feed(Source(500), Packet) as feed:
        handed = []
        for packet in drain(feed):
            handed.append(packet.shard)
            feed.note_taken(len(handed))
            feed.forget(packet.shard)
        feed.finish()
    assert handed == list(range(500))


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["hand", "take", "come"]), max_size=60), st.integers(1, 5), st.integers(1, 8))
def test_no_more_is_read_than_may_be_ahead_and_under_way(steps: list[str], ahead: int, under_way: int) -> None:
    source = Source(40)
    handed, taken, came = 0, 0, 0
    with Feed(source, Packet, ahead, under_way) as feed:
        for step in steps:
            allowed = min(40, taken + ahead, came + under_way)
            # One more is read, and waits for its place.
            wait_until(lambda allowed=allowed: source.read >= min(40, allowed + 1))  # type: ignore[misc]  # bound now
            if step == "hand" and handed < allowed:
                wait_until(feed.ready)
                assert feed.next().shard == handed
                handed += 1
            elif step == "take" and taken < handed:
                taken += 1
                feed.note_taken(taken)
            elif step == "come" and came < taken:
                feed.forget(came)
                came += 1
        assert source.read <= min(40, min(taken + ahead, came + under_way) + 1)


def test_what_was_read_of_a_shard_lives_until_its_receipt_comes() -> None:
    """A node that dies takes what stages made with it; it is made again from what is kept here."""
    with Feed(Source(3), Packet) as feed:
        seen = [weakref.ref(packet) for packet in drain(feed)]
        feed.note_taken(3)
        gc.collect()
        assert [one() is not None for one in seen] == [True, True, True]
        feed.forget(1)
        feed.forget(1)  # its receipt came twice
        gc.collect()
        assert [one() is not None for one in seen] == [True, False, True]


def test_an_empty_feed_is_over_at_once() -> None:
    with Feed(Source(0), Packet) as feed:
        assert list(drain(feed)) == []
        feed.finish()


def test_work_that_cannot_be_read_is_told_after_what_could_be() -> None:
    lost = StorageError("the manifest cannot be read", where="s3://b", why="403", fix="keys")
    with Feed(Source(5, lost), Packet) as feed:
        assert [packet.shard for packet in drain(feed)] == [0, 1, 2, 3, 4]
        with pytest.raises(StorageError, match="manifest"):
            feed.finish()


def test_a_shard_that_cannot_be_packed_is_told_too() -> None:
    def pack(work: Work) -> Packet:
        if work.shard == 2:
            raise AssayError("no room")
        return Packet(work)

    source = Source(5)
    with Feed(source, pack) as feed:
        assert [packet.shard for packet in drain(feed)] == [0, 1]
        with pytest.raises(AssayError, match="no room"):
            feed.finish()
    assert source.read == 3


def test_a_feed_that_is_left_reads_no_more() -> None:
    """Also while it waits for room; and nothing is packed any more, for whom it is packed is gone."""
    source, packed = Source(1000), list[int]()

    def pack(work: Work) -> Packet:
        packed.append(work.shard)
        return Packet(work)

    with Feed(source, pack, ahead=4) as feed:
        wait_until(lambda: source.read == 5)
    feed.note_taken(1000)
    time.sleep(QUIET_S)
    assert packed == [0, 1, 2, 3]
    assert source.read == 5
    assert not [thread for thread in threading.enumerate() if thread.name == "feed"]


def test_a_feed_that_waits_for_its_source_starves_and_one_that_waits_for_receipts_does_not() -> None:
    going_on = threading.Event()

    def slow() -> Iterator[Work]:
        yield from Source(2)
        going_on.wait(PATIENCE_S)

    with Feed(slow(), Packet) as feed:
        for _ in range(2):
            wait_until(feed.ready)
            feed.next()
        feed.note_taken(2)
        feed.forget(0)
        assert not feed.starves, "shard 1 is under way"
        feed.forget(1)
        assert feed.starves
        assert not feed.ready()
        assert not feed.over
        going_on.set()
        wait_until(lambda: feed.over)
        assert not feed.starves, "nothing is waited for any more"
