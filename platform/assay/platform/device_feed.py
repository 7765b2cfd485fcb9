"""The feed of a device: parts of a batch on their way to it and back, more than one under way at a time.

Knows buffers that are used in turn, streams and events, and that nothing is overwritten before it has been read. Does
not know what the device computes.

A part is laid into page-locked memory, copied to the device on a stream of its own, and only then computed; its results
are fetched when the next part is under way, so the device never waits for the host. It travels as uint8: a quarter of
what fp32 would take. On a CPU torch's streams and events do nothing, and there is one lane: the same lines, no overlap.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from assay.platform.encoder import Embeddings, Pixels

_LANES = {"cuda": 2}
"""Parts under way at once: one is computed while the other one's pixels arrive. Elsewhere one."""

Compute = Callable[[torch.Tensor], torch.Tensor]
"""uint8[height, size, size, 3] on the device to float16[height, dim] there; takes nothing from the host, and waits for
nothing."""


class Lane(Protocol):
    """A way to the device and back for one part at a time."""

    def send(self, part: Pixels) -> None:
        """Start a part. The one before must have been taken."""

    def take(self) -> Embeddings:
        """The results of the part that was sent, once they are there."""


def feed(parts: Iterable[Pixels], lanes: Sequence[Lane]) -> Iterator[Embeddings]:
    """The results of `parts`, in their order. As many parts are under way as there are lanes."""
    under_way = deque[Lane]()
    for number, part in enumerate(parts):
        results = [under_way.popleft().take()] if len(under_way) == len(lanes) else []
        lane = lanes[number % len(lanes)]  # the one just taken from, or one that was never used
        lane.send(part)
        under_way.append(lane)
        yield from results  # only now: whoever gets them may take their time
    while under_way:
        yield under_way.popleft().take()


class Copies:
    """A device's stream for copies to it, which the calls of all threads share."""

    def __init__(self, device: torch.device, streams: Any = None) -> None:
        """`streams`: what makes the device's streams and events; on a CPU torch has stand-ins, which do nothing."""
        self.streams = streams or (torch.cuda if device.type == "cuda" else torch.cpu)
        self.stream = self.streams.Stream(device) if device.type == "cuda" else self.streams.Stream()


class DeviceLane:
    """A lane of fixed height: shorter parts are padded with black, so that every pass runs the same kernels.

    Let go of amid the work, it leaves its memory to torch's allocators, which wait for what is under way.
    """

    def __init__(
        self, shape: tuple[int, ...], dim: int, device: torch.device, compute: Compute, copies: Copies
    ) -> None:
        """`shape` is of a part, [height, size, size, 3]; `dim` is the length of a result."""
        self._device, self._compute, self._copies = device, compute, copies
        locked = _only_on_gpu(device, pin_memory=True)
        self._pixels = torch.empty(shape, dtype=torch.uint8, **locked)
        self._found = torch.empty((shape[0], dim), dtype=torch.float16, **locked)
        self._there = self._place(shape)
        self._arrived = copies.streams.Event()
        self._done = copies.streams.Event(**_only_on_gpu(device, blocking=True))  # leaves the core to the decoders
        self._length = 0

    def send(self, part: Pixels) -> None:
        """Start a part; on a GPU this returns before it is done."""
        assert len(part) <= len(self._pixels), "a part is no higher than its lane"
        pixels, self._length = self._pixels.numpy(), len(part)
        pixels[: len(part)] = part
        pixels[len(part) :] = 0
        computing = self._copies.streams.current_stream(self._device)
        with self._copies.streams.stream(self._copies.stream):
            self._there.copy_(self._pixels, **self._unawaited())
            self._arrived.record(self._copies.stream)
        self._arrived.wait(computing)
        self._found.copy_(self._compute(self._there), **self._unawaited())
        self._done.record(computing)

    def take(self) -> Embeddings:
        """A copy of the results: the buffer is used again."""
        self._done.synchronize()
        found: Embeddings = self._found.numpy()[: self._length].copy()
        return found

    def _place(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Memory on the device, from the copying stream's own: what the computing one has just let go of may still be
        read by work that waits there."""
        with self._copies.streams.stream(self._copies.stream):
            place = torch.empty(shape, dtype=torch.uint8, device=self._device)
        if self._device.type == "cuda":
            place.record_stream(torch.cuda.current_stream(self._device))
        return place

    def _unawaited(self) -> dict[str, Any]:
        return {"non_blocking": self._copies.streams is not torch.cpu}


class DeviceFeed:
    """Feeds whole batches to a device. Any thread may call it; each call has lanes of its own.

    Two calls at once keep a GPU busy also between the last pass of one and the first of the other.
    """

    def __init__(self, dim: int, device: torch.device, compute: Compute) -> None:
        self._dim, self._device, self._compute = dim, device, compute
        self._copies = Copies(device)

    def run(self, pixels: Pixels, height: int) -> Embeddings:
        """The results of pixels[n, size, size, 3], `height` of them a pass: float16[n, dim]."""
        starts = range(0, len(pixels), height)
        num_lanes = max(1, min(_LANES.get(self._device.type, 1), len(starts)))
        lanes = [self._lane((height, *pixels.shape[1:])) for _ in range(num_lanes)]
        found = np.empty((len(pixels), self._dim), np.float16)
        parts = (pixels[start : start + height] for start in starts)
        for start, rows in zip(starts, feed(parts, lanes), strict=True):
            found[start : start + len(rows)] = rows
        return found

    def _lane(self, shape: tuple[int, ...]) -> DeviceLane:
        # Made anew for each call: torch keeps the memory, and gives it out again in microseconds.
        return DeviceLane(shape, self._dim, self._device, self._compute, self._copies)


def _only_on_gpu(device: torch.device, **options: Any) -> dict[str, Any]:
    return options if device.type == "cuda" else {}
