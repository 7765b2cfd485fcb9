"""One replica's service: who may ask, what is bound to which release, and what is answered.

Knows keys, rates, admission, decoding and the champion of the moment. Does not know Ray, HTTP routes, nor how images of
many requests become one batch: it is given a function that judges one image.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.datastructures import Headers
from starlette.requests import Request

from assay.platform.batch import Looked
from assay.platform.faults import Fault
from assay.platform.rows import ImageRef
from assay.serving.champion import Champion
from assay.serving.door import FACTS, Gate, too_late
from assay.serving.intake import Posted
from assay.serving.judging import Item, Judged
from assay.serving.keys import Key, Keyring, Scope, presented_key
from assay.serving.orders import Orders, Pin
from assay.serving.problem import Problem
from assay.serving.proof import look
from assay.serving.rates import Rates
from assay.serving.remote_images import RemoteImages
from assay.serving.serve_args import ServeArgs

FETCHES = 8
"""Images that a replica fetches by their address and holds at once: no request's body bounds them."""
JudgeOne = Callable[[Item], Awaitable[Judged]]


@dataclass(frozen=True)
class Bound:
    """A request's verdicts, and the release and policy all of them are of."""

    champion: Champion
    policy: str
    judged: list[Judged]


@dataclass
class Standing:
    """How the replica stands: what answers, what could not be taken on."""

    champion: Champion
    since: str
    challenger: Pin | None = None
    failed: dict[str, str] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()

    @property
    def degraded(self) -> tuple[str, ...]:
        """Why it serves something older than it should; empty when all is well."""
        return (*self.troubles, *(f"release {digest[:12]}: {why}" for digest, why in self.failed.items()))


class Service:
    """What the routes call."""

    def __init__(self, args: ServeArgs, gate: Gate, champion: Champion, judge: JudgeOne) -> None:
        self.args, self.gate = args, gate
        self.standing = Standing(champion, now_utc())
        self.keyring, self._ring = Keyring(keys=args.keys), ""
        self.rates = Rates()
        most = min(args.remote.max_bytes, args.budget.max_bytes)
        self.remote = RemoteImages(args.remote.model_copy(update={"max_bytes": most}))
        self._fetches = asyncio.Semaphore(FETCHES)
        self._judge = judge
        gate.admits = self.known
        self._decoders = ThreadPoolExecutor(args.replicas.decoders, thread_name_prefix="decode")

    def known(self, headers: Headers) -> Key:
        """Whose key is shown.

        Raises:
            Problem: UNAUTHENTICATED.
        """
        presented = presented_key(headers.get("authorization"), headers.get("x-api-key"))
        return self.keyring.key(presented, datetime.now(UTC))

    def signed(self, request: Request, scope: Scope) -> Key:
        """Who asks, if they may.

        Raises:
            Problem: UNAUTHENTICATED or FORBIDDEN.
        """
        key = self.known(request.headers)
        request.scope.get(FACTS, {}).update(key=key.id, tenant=key.tenant)
        key.allow(scope)
        return key

    async def judge(self, request: Request, key: Key, posted: Sequence[Posted], policy: str | None) -> Bound:
        """Judge a request's images: bound here and now to one release and one policy.

        Raises:
            Problem: refused; no image of it was judged, or none is answered.
        """
        champion = self.standing.champion
        moderator = champion.moderator(key.policy(policy))
        facts = request.scope.get(FACTS, {})
        facts.update(images=len(posted), release=champion.release.id, policy=moderator.policy.name)
        with self.gate.admission.room_for(len(posted)):
            self.rates.take(key, len(posted), time.monotonic())
            tasks = [self._judge_posted(one, at, champion, moderator.policy.name) for at, one in enumerate(posted)]
            judged = await _all(tasks, self.args.limits.request_s)
        self._count(moderator.policy.name, judged)
        return Bound(champion, moderator.policy.name, judged)

    async def _judge_posted(self, posted: Posted, at: int, champion: Champion, policy: str) -> Judged:
        if posted.data is not None:
            looked = await self._look(champion, posted.data)
        else:
            async with self._fetches:
                data = await self._fetch(posted, at)
                looked = (
                    Looked(ImageRef("", "", 0), data) if isinstance(data, Fault) else await self._look(champion, data)
                )
        return await self._judge(Item(looked, champion, policy))

    async def _look(self, champion: Champion, data: bytes) -> Looked:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, look, champion, data)

    async def _fetch(self, posted: Posted, at: int) -> bytes | Fault:
        assert posted.url is not None, "without bytes there is an address"
        try:
            return await self.remote.fetch(posted.url)
        except Problem as problem:
            problem.where = problem.where or f"images.{at}.url"
            raise

    def _count(self, policy: str, judged: Sequence[Judged]) -> None:
        for one in judged:
            verdict = one.verdict
            self.gate.metrics.images.labels(policy, verdict["outcome"], verdict["action"]).inc()
            for finding in verdict["findings"]:
                self.gate.metrics.findings.labels(policy, finding["label"], finding["action"]).inc()

    def follow(self, orders: Orders) -> None:
        """Take on what costs nothing: keys, shares, and what is to be told."""
        if orders.keyring is not None and orders.keyring != self._ring:
            self._ring = orders.keyring
            self.keyring = Keyring.parse(orders.keyring, "the keyring", beside=self.args.keys)
        self.rates.divide(1 / max(1, orders.replicas), time.monotonic())
        self.standing.troubles = orders.troubles
        self.standing.challenger = orders.challenger
        self.gate.metrics.degraded.set(bool(self.standing.degraded))

    def crown(self, champion: Champion) -> None:
        """From here on requests are bound to this release; those under way keep theirs."""
        self.standing = Standing(champion, now_utc(), self.standing.challenger, troubles=self.standing.troubles)
        self.gate.metrics.serving(champion.release.id, str(champion.pin.version or ""))

    async def close(self) -> None:
        """Let go of connections and threads."""
        await self.remote.close()
        self._decoders.shutdown(wait=False)


async def _all(tasks: Sequence[Awaitable[Judged]], request_s: float) -> list[Judged]:
    """All in time, or the first error; nothing goes on behind the answer's back."""
    try:
        async with asyncio.timeout(request_s), asyncio.TaskGroup() as group:
            started = [group.create_task(_one(task)) for task in tasks]
    except* Problem as problems:
        raise problems.exceptions[0] from None
    except* TimeoutError:
        raise too_late(request_s) from None
    return [task.result() for task in started]


async def _one(task: Awaitable[Judged]) -> Judged:
    return await task


def now_utc() -> str:
    """The time as documents write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
