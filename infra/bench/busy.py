"""How much of the time a device computes: the passes of an encoder's image tower, timed on the device's own stream.

Knows marks before and after each pass. On a GPU they are CUDA events, which it reaches in the order of its work: that
it waits for pixels or for the host between passes is seen, pauses between the kernels of one pass are not (where a pass
takes long, as a large tower's does, there are none: the host is ahead). On a CPU they are clock times.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any

import torch

from infra.bench.encoder_efficiency import settle


class Busy:
    """Watches a tower from now on. Threads may share the tower."""

    def __init__(self, tower: torch.nn.Module, device: torch.device) -> None:
        self._device = device
        self._began = threading.local()
        self._passes: list[tuple[Any, Any]] = []
        tower.register_forward_pre_hook(self._start)
        tower.register_forward_hook(self._end)
        self.begin()

    def begin(self) -> None:
        """Forget what was; time counts from here."""
        settle(self._device)
        self._passes.clear()
        self._zero = self._mark()

    def share(self) -> float:
        """Of the time between the first pass's begin and the last one's end, how much was in passes."""
        settle(self._device)
        return covered([(self._seconds(one), self._seconds(other)) for one, other in self._passes])

    def _start(self, *_: object) -> None:
        self._began.mark = self._mark()

    def _end(self, *_: object) -> None:
        self._passes.append((self._began.mark, self._mark()))

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch leaves it so
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _seconds(self, mark: Any) -> float:
        if self._device.type != "cuda":
            return float(mark) - float(self._zero)
        return float(self._zero.elapsed_time(mark)) / 1000


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """The share of the time from the first begin to the last end that lies in a span; spans may overlap.

    Raises:
        ValueError: there are none.
    """
    if not spans:
        raise ValueError("nothing ran")
    total, reached = 0.0, min(begin for begin, _ in spans)
    first = reached
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total / (reached - first)
