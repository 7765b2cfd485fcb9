"""The pause of a storage whose store is away, or refuses credentials that used to work.

Knows that one caller asks now and then whether all is well again while the others wait. Does not know what is asked,
nor what a refusal means.
"""

import threading
import time
from collections.abc import Callable


class Patience:
    """One pause, shared by the threads of a storage."""

    def __init__(self, patience_s: float, poll_s: float) -> None:
        self.patience_s, self.poll_s = patience_s, poll_s
        self.worked = False
        """Whether a request has ever succeeded."""
        self.spent = False
        """Whether a pause came to nothing, and no request has succeeded since: then there is no other."""
        self.paused_since: float | None = None
        """When the pause under way began, in seconds since the epoch; None when there is none."""
        self.began = 0.0
        """When the last pause began, in seconds since the epoch."""
        self.reason = ""
        """What began the last pause."""
        self.pauses = 0
        self._turn = threading.Condition()
        self._hurried = threading.Event()

    def succeed(self) -> None:
        """A request succeeded."""
        self.worked, self.spent = True, False

    def hurry(self) -> None:
        """End the pause under way, in vain, and have no other: the job was asked to stop. Safe in a signal handler's
        thread."""
        self._hurried.set()

    def wait(self, reason: str, well: Callable[[], bool]) -> bool:
        """Wait until `well()`, asked every `poll_s` seconds by one of the callers; False after `patience_s`.

        An error of `well` ends the pause and is its caller's.
        """
        with self._turn:
            if self.paused_since is not None:
                return self._sit_out()
            if self.spent or self._hurried.is_set():
                return False
            self.paused_since = self.began = time.time()
            self.reason, self.pauses = reason, self.pauses + 1
        try:
            self.spent = not self._poll(well)
        finally:
            with self._turn:
                self.paused_since = None
                self._turn.notify_all()
        return not self.spent

    def join(self) -> None:
        """Wait for the end of the pause under way, if there is one."""
        with self._turn:
            if self.paused_since is not None:
                self._sit_out()

    def _sit_out(self) -> bool:
        self._turn.wait_for(lambda: self.paused_since is None)
        return not self.spent

    def _poll(self, well: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self.patience_s
        while not well():
            left = deadline - time.monotonic()
            if left <= 0 or self._hurried.wait(min(self.poll_s, left)):
                return False
        return True
