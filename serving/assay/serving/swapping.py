"""How a replica takes on what the watcher orders: another release beside the one that answers, then the change.

Knows the order of things: load, prove, and only then answer under it. Does not know Ray, nor who orders. Everything
that takes time runs in a thread of its own; what fails leaves the champion of before where it is.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from assay.platform.errors import AssayError
from assay.platform.moderator import Moderator
from assay.serving.access_log import access_logger, write_line
from assay.serving.champion import Champion, Machine, encoder_key, fetch_pinned
from assay.serving.orders import Orders, Pin, Report
from assay.serving.proof import GoldenImage, prove
from assay.serving.service import Service
from assay.serving.shadow import Challenger

AGAIN_S = 30.0
"""When a release that failed is tried again: a store or a registry may have been away."""
Golden = Sequence[tuple[GoldenImage, bytes]]


def take_on(pin: Pin, machine: Machine, golden: Golden, before: Champion | None = None) -> Champion:
    """Load a release and show that it works; blocks.

    Raises:
        AssayError: it cannot be loaded, or gets the golden images wrong.
    """
    champion = Champion.load(pin, machine, before)
    prove(champion, golden)
    return champion


class Swapper:
    """Keeps a service at what is ordered."""

    def __init__(self, service: Service, machine: Machine, golden: Golden, replica: str) -> None:
        self._service, self._machine, self._golden, self._replica = service, machine, golden, replica
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._loading: asyncio.Task[None] | None = None
        self._wanted, self._waits = "", False
        """What was ordered last, and whether it has another encoder, for which turns are taken."""
        self._failed_at = 0.0
        self.challenger: Challenger | None = None
        self._unfit = ""
        """Digest of a challenger that cannot be shadowed here."""

    def report(self) -> Report:
        """What the watcher is told."""
        standing = self._service.standing
        metrics = tuple(self._service.gate.metrics.families())
        return Report(self._replica, standing.champion.pin.digest, dict(standing.failed), self._waits, metrics)

    def follow(self, orders: Orders) -> None:
        """Do what is ordered; what takes time is only begun here."""
        self._service.follow(orders)
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._approach(orders))

    async def _approach(self, orders: Orders) -> None:
        standing = self._service.standing
        pin = orders.champion
        if pin.digest != self._wanted:
            self._wanted, self._waits = pin.digest, False
        standing.failed = {digest: why for digest, why in standing.failed.items() if digest == pin.digest}
        if pin.digest == standing.champion.pin.digest:
            self._waits = False
        elif pin.digest not in standing.failed or time.monotonic() - self._failed_at > AGAIN_S:
            await self._swap(orders)
        await self._shadow(orders.challenger)

    async def _swap(self, orders: Orders) -> None:
        pin, before = orders.champion, self._service.standing.champion
        try:
            if not self._waits:
                self._waits = await self._aside(self._needs_encoder, pin, before)
            if self._waits and not orders.may_load:
                return
            champion = await self._aside(take_on, pin, self._machine, self._golden, before)
        except Exception as error:  # noqa: BLE001  # whatever a release makes libraries raise, it costs that release only
            self._fail(pin, error)
            return
        self._service.crown(champion)
        self._waits = False
        self._service.gate.metrics.swaps.labels("done").inc()
        facts = {"release": pin.release, "version": pin.version, "entry": pin.entry, "before": before.release.id}
        write_line(access_logger(), "swap", facts)

    def _needs_encoder(self, pin: Pin, before: Champion) -> bool:
        return encoder_key(fetch_pinned(pin, self._machine.registry)) != before.encoder_key

    def _fail(self, pin: Pin, error: BaseException) -> None:
        why = f"{error.what}: {error.why}" if isinstance(error, AssayError) else f"{type(error).__name__}: {error}"
        self._service.standing.failed[pin.digest] = why[:500]
        self._waits, self._failed_at = False, time.monotonic()
        self._service.gate.metrics.swaps.labels("failed").inc()
        self._service.gate.metrics.degraded.set(1)
        write_line(access_logger(), "swap failed", {"release": pin.release, "version": pin.version, "why": why})

    async def _shadow(self, pin: Pin | None) -> None:
        champion = self._service.standing.champion
        if pin is None or pin.digest == champion.pin.digest:
            self.challenger, self._unfit = None, ""
            return
        key = f"{pin.digest} beside {champion.encoder_key}"
        if self._unfit == key or (self.challenger is not None and self.challenger.beside == key):
            return
        try:
            self.challenger = await self._aside(_challenge, pin, champion, self._machine, key)
            said = "" if self.challenger else "it has another encoder"
        except Exception as error:  # noqa: BLE001  # as above; and it answers nobody
            self.challenger, said = None, f"{type(error).__name__}: {error}"
        self._unfit = key if said else ""
        write_line(access_logger(), "challenger", {"release": pin.release, "shadowed": not said, "why": said})

    async def _aside(self, do: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._loader, do, *arguments)

    def close(self) -> None:
        """Begin nothing more."""
        self._loader.shutdown(wait=False, cancel_futures=True)


def _challenge(pin: Pin, champion: Champion, machine: Machine, key: str) -> Challenger | None:
    """The challenger, if it judges the champion's embeddings."""
    release = fetch_pinned(pin, machine.registry)
    if encoder_key(release) != champion.encoder_key:
        return None
    first = Moderator(release, encoder=champion.moderator(None).encoder)
    names = [name for name in release.manifest.policies if name in champion.moderators]
    return Challenger(pin, {name: first.under(name) for name in names}, champion.encoder_key, key)
