"""Receipts as they arrive from a pipeline that runs in a thread of its own.

Knows waiting. Does not know what a receipt says, nor what the pipeline is.
"""

import queue
import threading
from collections.abc import Iterator

from assay.jobs.work import Receipt
from assay.platform.errors import AssayError


class Arrivals:
    """Receipts as they arrive, and None whenever a while passes without one: commits and stops do not wait for work."""

    WHILE_S = 0.25
    GRACE_S = 5.0
    """How long leaving waits for the pipeline to end in good order."""

    def __init__(self, receipts: Iterator[Receipt]) -> None:
        self.error: AssayError | None = None
        self._left = False
        self._queue: queue.Queue[Receipt | None] = queue.Queue()
        self._receipts = receipts
        self._thread = threading.Thread(target=self._fill, name="receipts", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Take no more receipts; the pipeline ends with the next one, or with the cluster."""
        self._left = True
        self._thread.join(self.GRACE_S)

    def _fill(self) -> None:
        try:
            for receipt in self._receipts:
                self._queue.put(receipt)
                if self._left:
                    break
        except AssayError as error:
            self.error = error
        except Exception:
            # Ray pulled away from under an iteration nobody waits for any more raises whatever it likes.
            if not self._left:
                raise
        finally:
            self._queue.put(None)

    def __iter__(self) -> Iterator[Receipt | None]:
        while True:
            try:
                receipt = self._queue.get(timeout=self.WHILE_S)
            except queue.Empty:
                yield None
                continue
            if receipt is None:
                return
            yield receipt
