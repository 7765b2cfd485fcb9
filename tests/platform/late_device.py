"""A device that does everything as late as it may: what is put on a stream is done when somebody waits for it.

It takes the place of `torch.cuda` in a feed. A copy that nobody has to wait for never happens, so whoever reads or
overwrites a buffer too early gets what a real device might have given on a bad day.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class LateStream:
    """Work in its order, done as far as somebody asked."""

    def __init__(self) -> None:
        self.work: list[Callable[[], object]] = []
        self.done = 0

    def run(self, until: int) -> None:
        while self.done < until:
            self.done += 1
            self.work[self.done - 1]()


class LateEvent:
    """A place in a stream's work."""

    def __init__(self) -> None:
        self.stream, self.place = LateStream(), 0

    def record(self, stream: LateStream) -> None:
        self.stream, self.place = stream, len(stream.work)

    def wait(self, stream: LateStream) -> None:
        place, other = self.place, self.stream  # of now: the event will be recorded again
        stream.work.append(lambda: other.run(place))

    def synchronize(self) -> None:
        self.stream.run(self.place)


class LateDevice(TorchFunctionMode):
    """Streams and events of such a device; inside its context copies that are not waited for are put on a stream."""

    Stream, Event = LateStream, LateEvent

    def __init__(self) -> None:
        super().__init__()
        self.computing = self._current = LateStream()

    def current_stream(self, _device: torch.device) -> LateStream:
        return self._current

    @contextmanager
    def stream(self, stream: LateStream) -> Iterator[None]:
        before, self._current = self._current, stream
        yield
        self._current = before

    def put(self, work: Callable[[], object]) -> None:
        """Have something done on the current stream."""
        self._current.work.append(work)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func is torch.Tensor.copy_ and options.pop("non_blocking", False):
            self.put(lambda: func(*args, **options))
            return args[0]
        return func(*args, **options)
