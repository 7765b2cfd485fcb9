"""The decode guard: images are decoded by children that may be killed, so a hostile one costs itself, not the job.

Knows how many children there are, when one is replaced, and two strikes. Does not know how a child is asked
(`decoder_child.py`), what decoding is (`images.py`), nor where bytes come from.

Two strikes: a child that dies, hangs or runs out of memory over an image is killed, and the image is tried once more
in a fresh one, as the first may have been killed by somebody else. The second time is the image's fault.

Not promised: a child that a crafted image has taken over can still lie about the images after it, and runs under the
same user. It cannot run code in here.
"""

import sys
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import LifoQueue
from typing import Self

from assay.platform.decoder_child import DecoderChild, Strike
from assay.platform.decoder_process import Settings
from assay.platform.errors import AssayError
from assay.platform.faults import Fault
from assay.platform.images import Budget, Decoded, Preprocess

DECODER = (sys.executable, "-P", "-m", "assay.platform.decoder_process")
"""-P: a module is never taken from the folder we happen to be in."""
SOFT_SHARE, HARD_SHARE = 0.45, 0.48
"""Of an image's seconds: when a try's decoder gives up by itself, and when it is killed. Twice that leaves some to
start the second one."""
LEAST_TRY_S = 0.5
"""A try lasts this long at least, whatever the budget: a decoder that gives up at once must be able to say so."""
STARTS = 2
"""A decoder that does not start may have been killed by somebody else; that it does so again is told."""


class Guard:
    """A pool of decoders, each started when first needed. Any thread may call it. Close it, or let go of it.

    Example:
        with Guard(preprocess, Budget(), decoders=2) as guard:
            seen = guard.decode(data)
    """

    def __init__(self, preprocess: Preprocess, budget: Budget, decoders: int, command: Sequence[str] = DECODER) -> None:
        """`decoders` is how many images are decoded at once; `command` starts one."""
        self._try_s = max(HARD_SHARE * budget.max_seconds, LEAST_TRY_S)
        each = budget.model_copy(update={"max_seconds": SOFT_SHARE * budget.max_seconds})
        self._settings = Settings(preprocess=preprocess, budget=each)
        self._command = tuple(command)
        self._places = [_Place() for _ in range(decoders)]
        self._free: LifoQueue[_Place] = LifoQueue()  # last in, first out: what is not needed is never started
        for place in self._places:
            self._free.put(place)
        # Linux ends a child with the *thread* that started it (prctl(2)); this one lives as long as we do.
        self._births = ThreadPoolExecutor(1, thread_name_prefix="decoder-births")
        self._children: set[DecoderChild] = set()
        self._end = weakref.finalize(self, _end_all, self._children)

    def decode(self, data: bytes) -> Decoded | Fault:
        """As `images.decode`. Whatever the decoder does, this returns within the budget's seconds of getting one.

        Raises:
            AssayError: a decoder cannot be started.
            ValueError: the guard is closed.
        """
        place = self._free.get()
        try:
            first = self._try(place, data)
            if not isinstance(first, Strike):
                return first
            second = self._try(place, data)
            return second.after(first) if isinstance(second, Strike) else second
        finally:
            self._free.put(place)

    def close(self) -> None:
        """End all children, once they are done with the images in hand."""
        for _ in self._places:
            self._free.get()
        self._end()
        self._births.shutdown()
        for place in self._places:
            place.child = None
            self._free.put(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _try(self, place: "_Place", data: bytes) -> Decoded | Fault | Strike:
        # The place is empty meanwhile: if something interrupts us, a child with half an image is not asked again.
        child, place.child = place.child, None
        if child is not None and not child.is_idle():  # it has died, or talks without being asked
            self._bury(child)
            child = None
        child = child or self._new_child()
        seen = child.decode(data, self._try_s)
        if isinstance(seen, Strike):
            self._bury(child)
        else:
            place.child = child
        return seen

    def _new_child(self) -> DecoderChild:
        if not self._end.alive:
            raise ValueError("the guard is closed")
        return self._births.submit(self._bear).result()

    def _bear(self) -> DecoderChild:
        why = ""
        for _ in range(STARTS):
            try:
                child = DecoderChild(self._command, self._settings)
            except OSError as error:
                why = str(error)
                continue
            self._children.add(child)
            why = child.greet()
            if not why:
                return child
            self._bury(child)
        raise AssayError(
            "the image decoder does not start",
            where=" ".join(self._command),
            why=why,
            fix="start it by hand: it should wait for input. See whether memory or processes are limited",
        )

    def _bury(self, child: DecoderChild) -> None:
        child.end()
        self._children.discard(child)


@dataclass(slots=True)
class _Place:
    """Room for one child."""

    child: DecoderChild | None = None


def _end_all(children: set[DecoderChild]) -> None:
    for child in list(children):
        child.end()
    children.clear()
