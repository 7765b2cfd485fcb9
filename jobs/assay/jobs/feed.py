"""The feed: a job's work on its way into the pipeline, read a little ahead by a thread of its own.

Knows how much is read ahead, in which order it is handed on, and which shards are under way: what was read of a shard
is kept until its receipt comes, so that whatever was made of it can be made again. Does not know Ray, nor what a shard
is packed into.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, TypeVar

from assay.jobs.work import Work

AHEAD = 256
"""Shards read that no stage has taken yet, at most: some 40 KB each, in the object store; Ray takes two seconds or more
to hand so many on."""
UNDER_WAY = 16_384
"""Shards read whose receipt has not come, at most. What actors have in hand is bounded by their number, and pixels by
the room there is for them; where no pixels are made, one stage must not run away from the next for ever."""
BREATH_S = 0.01
"""Seconds the pipeline waits for work when it has none at all: it asks in a loop, which waits for nothing else then."""
FEED = "feed"
"""The thread's name."""
LEAVE_S = 5.0
"""Seconds that leaving waits for the thread, which may stand in a request to storage."""

Packed = TypeVar("Packed")


def _nothing() -> None: ...


class Feed(Generic[Packed]):
    """Hands `work` on in its order, each shard packed by `pack`; use as a context, in which the thread reads."""

    def __init__(
        self,
        work: Iterable[Work],
        pack: Callable[[Work], Packed],
        ahead: int = AHEAD,
        under_way: int = UNDER_WAY,
    ) -> None:
        self._work, self._pack = work, pack
        self._ahead, self._under_way = ahead, under_way
        self._change = threading.Condition()
        self._waiting: deque[Packed] = deque()
        self._kept: dict[int, Packed] = {}
        self._read = self._taken = 0
        self._ended = self._stopped = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=FEED, daemon=True)
        self.at_stop: Callable[[], None] = _nothing
        """Ends what the shards were handed to."""

    def __enter__(self) -> "Feed[Packed]":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def ready(self) -> bool:
        """Whether there is a shard to hand on; waits a moment while nothing at all is under way."""
        with self._change:
            if not self._kept and not self._ended:
                self._change.wait(BREATH_S)
            return bool(self._waiting)

    def next(self) -> Packed:
        """The next shard; ask `ready` before."""
        return self._waiting.popleft()

    def note_taken(self, count: int) -> None:
        """So many of the shards that were handed on have been taken by a stage, in all."""
        with self._change:
            self._taken = count
            self._change.notify_all()

    def forget(self, shard: int) -> None:
        """The receipt of a shard came: nothing will be made of it again."""
        with self._change:
            self._kept.pop(shard, None)
            self._change.notify_all()

    @property
    def over(self) -> bool:
        """Whether nothing more will be handed on."""
        with self._change:
            return self._ended and not self._waiting

    @property
    def starves(self) -> bool:
        """Whether all that was read has come back, and more is to be read: what is waited for is the source."""
        with self._change:
            return not self._kept and not self._ended

    def finish(self) -> None:
        """Say how reading ended, once it is over.

        Raises:
            AssayError: the work could not be read; what was read before came back.
        """
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Read no more, and end what the shards were handed to."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        self.at_stop()
        if self._thread.is_alive():
            self._thread.join(LEAVE_S)

    def _run(self) -> None:
        try:
            for one in self._work:
                if not self._has_room():
                    break
                self._add(one.shard, self._pack(one))
        except Exception as error:  # noqa: BLE001  # it is raised where the receipts are waited for
            self._error = error
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()

    def _has_room(self) -> bool:
        """Wait for room; False when the feed was stopped."""
        with self._change:
            self._change.wait_for(lambda: self._stopped or not self._is_full())
            return not self._stopped

    def _is_full(self) -> bool:
        return self._read - self._taken >= self._ahead or len(self._kept) >= self._under_way

    def _add(self, shard: int, packed: Packed) -> None:
        with self._change:
            self._waiting.append(packed)
            self._kept[shard] = packed
            self._read += 1
            self._change.notify_all()
