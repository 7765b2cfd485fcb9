"""Receipts as they arrive from a pipeline that runs in a thread of its own.

Knows waiting, and for how long it has been quiet. Does not know what a receipt says, what the pipeline is, nor when
quiet is a standstill.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from assay.jobs.work import Receipt
from assay.platform.errors import AssayError

RECEIPTS = "receipts"
"""The name of the pipeline's thread."""


def _trust(_quiet_s: float) -> AssayError | None:
    return None


class Arrivals:
    """Receipts as they arrive, and None whenever a while passes without one: commits and stops do not wait for work.

    `trouble` is asked while it is quiet, with the seconds of quiet; the error it answers with ends the iteration.
    """

    WHILE_S = 0.25
    GRACE_S = 5.0
    """How long leaving waits for the pipeline to end in good order."""

    def __init__(self, receipts: Generator[Receipt], trouble: Callable[[float], AssayError | None] = _trust) -> None:
        self.error: AssayError | None = None
        self._left = False
        self._trouble = trouble
        self._queue: queue.Queue[Receipt | None] = queue.Queue()
        self._receipts = receipts
        self._thread = threading.Thread(target=self._fill, name=RECEIPTS, daemon=True)
        self._thread.start()

    def leave(self, end: Callable[[], None]) -> None:
        """Take no more receipts; `end` ends the pipeline. Whoever leaves the cluster looks whether it has ended."""
        self._left = True
        end()
        self._thread.join(self.GRACE_S)

    def _fill(self) -> None:
        try:
            # Closed now, while its cluster lives: collected later, Ray's iterator would look for its cluster, not find
            # it, and join one by itself, which as the interpreter ends never comes back.
            with closing(self._receipts) as receipts:
                for receipt in receipts:
                    self._queue.put(receipt)
                    if self._left:
                        break
        except AssayError as error:
            if not self._left:
                self.error = self.error or error  # what ended the iteration is the cause, what follows is its echo
        except Exception:
            # A pipeline ended under an iteration nobody waits for any more raises whatever it likes.
            if not self._left:
                raise
        finally:
            self._queue.put(None)

    def __iter__(self) -> Iterator[Receipt | None]:
        # Quiet is counted in waits, not read from a clock: a driver that was stopped for an hour has heard nothing.
        waits = 0
        while True:
            try:
                receipt = self._queue.get(timeout=self.WHILE_S)
            except queue.Empty:
                waits += 1
                self.error = self.error or self._trouble(waits * self.WHILE_S)
                if self.error is not None:
                    return
                yield None
                continue
            waits = 0
            if receipt is None:
                return
            yield receipt
