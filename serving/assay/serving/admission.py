"""What a replica has under way, and when it says no: overload is refused at once, before memory grows.

Knows counts and bytes. Does not know HTTP. Everything here happens in one event loop, so nothing needs a lock.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from assay.serving.limits import BatchSpec, LimitSpec, images_at_once, requests_at_once
from assay.serving.metrics import Metrics
from assay.serving.problem import Code, Problem

AGAIN_S = 1.0
"""When a client that was refused may ask again: a busy replica is through with what it has in about a second."""


class Admission:
    """Room for requests, bytes and images."""

    def __init__(self, limits: LimitSpec, batch: BatchSpec, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._most_requests, self._most_images = requests_at_once(limits, batch), images_at_once(limits, batch)
        self.requests = self.images = self.held = self.unsized = 0

    def enter(self) -> None:
        """Take a request in; `leave` it.

        Raises:
            Problem: there are too many.
        """
        if self.requests >= self._most_requests:
            raise _overloaded(f"{self.requests} requests are under way")
        self.requests += 1

    def leave(self) -> None:
        """A request is answered."""
        self.requests -= 1

    def hold(self, num_bytes: int, *, unsized: bool) -> None:
        """Hold so many more bytes of a body; `release` them.

        Raises:
            Problem: there is no room.
        """
        over = self.held + num_bytes > self._limits.bytes_at_once
        if over or (unsized and self.unsized + num_bytes > self._limits.unsized_bytes_at_once):
            raise _overloaded(f"{self.held} bytes of other requests are held")
        self.held += num_bytes
        self.unsized += num_bytes if unsized else 0
        self._metrics.held.set(self.held)

    def release(self, num_bytes: int, *, unsized: bool) -> None:
        """Let go of a body."""
        self.held -= num_bytes
        self.unsized -= num_bytes if unsized else 0
        self._metrics.held.set(self.held)

    @contextmanager
    def room_for(self, images: int) -> Iterator[None]:
        """Room for a request's images, while they are judged.

        Raises:
            Problem: too many are under way.
        """
        if self.images + images > self._most_images:
            raise _overloaded(f"{self.images} images are under way")
        self.images += images
        self._metrics.under_way.set(self.images)
        try:
            yield
        finally:
            self.images -= images
            self._metrics.under_way.set(self.images)


def _overloaded(why: str) -> Problem:
    what = "the service has more to do than it can"
    return Problem(Code.OVERLOADED, what, why=why, fix="ask again after the seconds said", retry_after_s=AGAIN_S)
