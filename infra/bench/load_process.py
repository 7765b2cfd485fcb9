"""The process that puts load on a service: `python -m infra.bench.load_process SPEC`; prints its facts as JSON.

Knows connections and clocks. A connection has one request at a time; an open load opens another one whenever none is
free, as new clients would.
"""

import asyncio
import math
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

from infra.bench.load import LoadFacts, LoadSpec

PROBLEM = b"application/problem+json"


@dataclass(slots=True)
class Shot:
    """One request: when it was due, when it left, when it was answered, and how."""

    due: float
    sent: float = 0.0
    ended: float = 0.0
    status: int = 0
    odd: str = ""
    """Why it counts as failed."""

    @property
    def is_odd(self) -> bool:
        """Whether it was answered in no way that a service should."""
        return bool(self.odd) or not self.ended


class Wire(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._got = bytearray()
        self._waiting: asyncio.Future[tuple[bytes, bool]] | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio calls this."""
        # uvloop's transports are registered as no one's subclass.
        self._transport, self.is_open = cast(asyncio.Transport, transport), True

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio calls this."""
        self.is_open = False
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError("closed amid an answer"))

    def data_received(self, data: bytes) -> None:
        """asyncio calls this."""
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0 or self._waiting is None or self._waiting.done():
            return
        head = bytes(self._got[:end]).lower()
        if len(self._got) < end + 4 + _length(head):
            return
        self._got.clear()
        self._waiting.set_result((head, b"connection: close" in head))

    async def ask(self, request: bytes) -> bytes:
        """Send a request; gives the answer's head, in lower case."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        head, ends = await self._waiting
        if ends:
            self.close()
        return head

    def close(self) -> None:
        """Ask nothing more."""
        self.is_open = False
        self._transport.close()


def _length(head: bytes) -> int:
    _, found, rest = head.partition(b"content-length:")
    if not found:
        raise ValueError(f"an answer of no told length: {head[:80]!r}")
    return int(rest.split(b"\r\n", 1)[0])


@dataclass
class Load:
    """One run."""

    spec: LoadSpec
    shots: list[Shot] = field(default_factory=list)
    connections: int = 0
    _free: list[Wire] = field(default_factory=list)

    def __post_init__(self) -> None:
        where = urlsplit(self.spec.url)
        self._host, self._port = where.hostname or "127.0.0.1", where.port or 80
        self._requests = cycle([self._request(path) for path in sorted(Path(self.spec.pictures).rglob("*.jpg"))])

    def _request(self, picture: Path) -> bytes:
        body = picture.read_bytes()
        told = {"host": f"{self._host}:{self._port}", "content-type": "image/jpeg", "content-length": str(len(body))}
        lines = [f"{name}: {value}" for name, value in (told | self.spec.headers).items()]
        return "\r\n".join([f"POST {self.spec.path} HTTP/1.1", *lines, "", ""]).encode() + body

    async def run(self) -> None:
        """Put the load, and wait for what is still to be answered."""
        began = time.monotonic()
        self._counts_from = began + self.spec.warm_s
        until = self._counts_from + self.spec.seconds
        if self.spec.clients:
            await asyncio.gather(*(self._client(until) for _ in range(self.spec.clients)))
        else:
            await self._arrivals(began, until)
        for wire in self._free:
            wire.close()

    async def _client(self, until: float) -> None:
        while (now := time.monotonic()) < until:
            await self._shoot(now)

    async def _arrivals(self, began: float, until: float) -> None:
        assert self.spec.rate, "an open load has a rate"
        chance, due, tasks = random.Random(self.spec.seed), began, set()
        while (due := due + chance.expovariate(self.spec.rate)) < until:
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self._shoot(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=self.spec.grace_s)

    async def _shoot(self, due: float) -> None:
        shot = Shot(due)
        self.shots.append(shot)
        try:
            wire = await self._wire()
            shot.sent = time.monotonic()
            head = await wire.ask(next(self._requests))
        except (OSError, ValueError) as error:
            shot.ended, shot.odd = time.monotonic(), f"{type(error).__name__}: {error}"[:120]
            return
        shot.ended = time.monotonic()
        shot.status = int(head[9:12])
        shot.odd = _oddity(shot.status, head)
        if wire.is_open:
            self._free.append(wire)

    async def _wire(self) -> Wire:
        while self._free:
            if (wire := self._free.pop()).is_open:
                return wire
        self.connections += 1
        _, wire = await asyncio.get_running_loop().create_connection(Wire, self._host, self._port)
        return wire

    def facts(self) -> LoadFacts:
        """What came of it."""
        counted = [shot for shot in self.shots if shot.due >= self._counts_from]
        until = self._counts_from + self.spec.seconds
        good = sorted(shot.ended - shot.due for shot in counted if shot.status == 200)
        refused = sorted(shot.ended - shot.due for shot in counted if shot.status == 429)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return LoadFacts(
            asked=len(counted),
            statuses=dict(Counter(str(shot.status) for shot in counted)),
            odd=dict(Counter(shot.odd if shot.ended else "no answer" for shot in self.shots if shot.is_odd)),
            good_rate=sum(self._counts_from <= one.ended <= until for one in self.shots if one.status == 200)
            / self.spec.seconds,
            p50=quantile(good, 0.5),
            p95=quantile(good, 0.95),
            p99=quantile(good, 0.99),
            worst=quantile(good, 1.0),
            refusal_p99=quantile(refused, 0.99),
            lag_p99=quantile(sorted(shot.sent - shot.due for shot in counted if shot.sent), 0.99),
            connections=self.connections,
            own_cpu=(used.ru_utime + used.ru_stime) / (self.spec.warm_s + self.spec.seconds),
        )


def _oddity(status: int, head: bytes) -> str:
    if status == 200 or (status == 429 and b"\r\nretry-after:" in head and PROBLEM in head):
        return ""
    return f"status {status}"


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least value that `share` of all do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def main() -> None:
    """Run one load."""
    load = Load(LoadSpec.model_validate_json(sys.argv[1]))
    uvloop.run(load.run())
    print(load.facts().model_dump_json())


if __name__ == "__main__":
    main()
