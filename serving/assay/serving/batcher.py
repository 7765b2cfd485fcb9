"""Images of many requests become one batch: all that are there when the device is free, up to so many views.

Knows the queue before the device. Does not know what is judged, nor Ray. Serve's own `serve.batch` (2.60) closes a
batch when its first image has waited long enough, whether the device is free or not: while one batch is encoded it
lines up others of one or two images, each of which then takes as long as a full one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from assay.serving.judging import Item, Judged
from assay.serving.limits import BatchSpec

JudgeBatch = Callable[[list[Item]], Awaitable[list[Judged]]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    item: Item
    since: float
    judged: asyncio.Future[Judged]


class Batcher:
    """One device's queue. For one event loop."""

    def __init__(self, spec: BatchSpec, judge: JudgeBatch, under_way: Callable[[], int]) -> None:
        """`under_way` is how many images were let in and are not answered: once all of them are here, there is nobody
        to wait for."""
        self._spec, self._judge, self._under_way = spec, judge, under_way
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def judge(self, item: Item) -> Judged:
        """One image's verdict.

        Raises:
            AssayError: its batch could not be judged.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(item, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.judged

    async def _run(self) -> None:
        while True:
            await self._fill()
            batch = self._take()
            if batch:
                await self._answer(batch)

    async def _fill(self) -> None:
        """Wait for the first image, then for as many as fit, come, or may be waited for."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        until = self._waiting[0].since + self._spec.wait_s
        while not self._is_full() and (left_s := until - asyncio.get_running_loop().time()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _is_full(self) -> bool:
        views = sum(one.item.views for one in self._waiting)
        return views >= self._spec.views or len(self._waiting) >= self._under_way()

    def _take(self) -> list[_Waiting]:
        """The first ones that fit; one that never does goes alone. Who has left is not judged."""
        batch: list[_Waiting] = []
        views = 0
        while self._waiting:
            first = self._waiting[0]
            if not first.judged.done():
                if batch and views + first.item.views > self._spec.views:
                    break
                batch.append(first)
                views += first.item.views
            self._waiting.popleft()
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        try:
            judged = await self._judge([one.item for one in batch])
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told to those who wait, and the next batch is judged
            for one in batch:
                if not one.judged.done():
                    one.judged.set_exception(error)
            return
        for one, its in zip(batch, judged, strict=True):
            if not one.judged.done():
                one.judged.set_result(its)

    def check(self) -> None:
        """Whether it still runs.

        Raises:
            Exception: what ended it.
        """
        if self._running.done():
            self._running.result()

    def close(self) -> None:
        """Judge nothing more."""
        self._running.cancel()
