"""A Serve replica: one process with a champion, which judges images of many requests as one batch.

Knows Serve: when a replica is healthy, how it hears of the watcher. Does not know how batches form (`batcher.py`), what
is judged (`judging.py`), asked (`ingress.py`), or how a release is taken on (`swapping.py`).

User code runs in Serve's own event loop, so nothing here may block: decoding, encoding and loading have threads.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.types import ASGIApp

from assay.platform.errors import AssayError
from assay.serving.access_log import access_logger, write_line
from assay.serving.batcher import Batcher
from assay.serving.champion import Machine
from assay.serving.door import Door, this_gate
from assay.serving.ingress import build_api
from assay.serving.job_desk import JobDesk
from assay.serving.job_server import JobServer
from assay.serving.judging import Item, Judged, Seen, judge_items
from assay.serving.metrics import page
from assay.serving.orders import Orders, Report
from assay.serving.proof import read_golden
from assay.serving.serve_args import ServeArgs
from assay.serving.service import Service
from assay.serving.swapping import Swapper, take_on
from assay.serving.watcher import Watcher

STUCK_S = 120.0
"""A batch that takes longer than this on its device will not come back: Serve starts another replica."""
TOGETHER_S = 1.0
"""Seconds between two talks with the watcher."""


class WatcherDeployment:
    """The watcher as a deployment; one replica of it."""

    def __init__(self, args: ServeArgs) -> None:
        self._watcher = Watcher.start(args)
        self._looking = asyncio.get_event_loop().create_task(self._look(args.poll_s))

    async def _look(self, poll_s: float) -> None:
        while True:
            await asyncio.to_thread(self._watcher.look)
            await asyncio.sleep(poll_s)

    async def sync(self, report: Report) -> Orders:
        """Take a replica's report; tell it what should be."""
        return self._watcher.sync(report)

    async def metrics(self) -> bytes:
        """All replicas' numbers as one page."""
        return page(self._watcher.metrics())

    def check_health(self) -> None:
        """Whether it still looks."""
        if self._looking.done():
            self._looking.result()


class Replica:
    """Answers requests. Ready once its release has got the golden image right."""

    async def __init__(self, args: ServeArgs, watcher: Any) -> None:  # type: ignore[misc]  # Serve awaits it
        self._watcher, self._args = watcher, args
        self._name = serve.get_replica_context().replica_id.unique_id
        machine = Machine(args.registry, args.device, args.budget, args.replicas.decoders)
        orders: Orders = await watcher.sync.remote(Report(self._name, ""))
        golden = await asyncio.to_thread(read_golden, args.golden, args.storage)
        champion = await asyncio.to_thread(take_on, orders.champion, machine, golden)
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._began: float | None = None
        admission = this_gate().admission
        self._batcher = Batcher(args.batch, self._judge_batch, lambda: admission.images)
        self._service = Service(args, this_gate(), champion, self._batcher.judge)
        self._service.crown(champion)
        self._swapper = Swapper(self._service, machine, golden, self._name)
        self._swapper.follow(orders)
        self._together = asyncio.create_task(self._talk())

    def __serve_build_asgi_app__(self) -> ASGIApp:
        desk = JobDesk(self._args.jobs, JobServer.of(self._args.jobs), self._args.registry)
        return Door(build_api(self._service, self._watcher.metrics.remote, desk), this_gate())

    async def _talk(self) -> None:
        """Report and follow, for as long as the replica lives. Without a watcher it goes on as it is."""
        while True:
            try:
                self._swapper.follow(await self._watcher.sync.remote(self._swapper.report()))
            except (RayError, RayServeException, AssayError) as error:
                write_line(access_logger(), "watcher", {"why": str(error)[:500]})
            await asyncio.sleep(TOGETHER_S)

    async def _judge_batch(self, items: list[Item]) -> list[Judged]:
        loop = asyncio.get_running_loop()
        judged, seen = await loop.run_in_executor(self._device, self._judge, items)
        if self._swapper.challenger is not None:
            loop.run_in_executor(self._device, self._shadow, seen)
        return judged

    def _judge(self, items: Sequence[Item]) -> tuple[list[Judged], list[Seen]]:
        self._began = began = time.monotonic()
        try:
            return judge_items(items)
        finally:
            self._began = None
            metrics = self._service.gate.metrics
            metrics.batch.observe(sum(item.views for item in items))
            metrics.encode_seconds.observe(time.monotonic() - began)

    def _shadow(self, seen: Sequence[Seen]) -> None:
        challenger = self._swapper.challenger
        if challenger is None:
            return
        for one in seen:
            try:
                for line in challenger.shadow(one, self._service.gate.metrics):
                    write_line(access_logger(), "shadow", line)
            except Exception as error:  # noqa: BLE001  # it answers nobody: what goes wrong is told, and costs no request
                write_line(access_logger(), "shadow failed", {"why": str(error)})

    def check_health(self) -> None:
        """Serve asks this: a device that hangs, or a talk that ended, is no health."""
        if self._together.done():
            self._together.result()
        self._batcher.check()
        began = self._began
        if began is not None and time.monotonic() - began > STUCK_S:
            raise RuntimeError(f"a batch has been on the device for over {STUCK_S:g} s, process {os.getpid()}")

    async def __del__(self) -> None:
        self._together.cancel()
        self._batcher.close()
        self._swapper.close()
        await self._service.close()
