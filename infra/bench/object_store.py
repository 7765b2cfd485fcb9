"""A real object store on loopback: SeaweedFS, started and stopped here, that counts its requests and may answer late.

Knows the server, its own counts by bucket and kind, and a relay that delays. Does not know images.
"""

import asyncio
import contextlib
import random
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import urlsplit

from assay.platform.errors import AssayError
from assay.platform.storage import Storage, StorageSpec

ACCESS_KEY, SECRET_KEY = "assay-bench", "not-a-secret-4711"  # of a server that lives as long as a part of the bench
IDENTITIES = f"""{{"identities": [{{"name": "bench", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
"credentials": [{{"accessKey": "{ACCESS_KEY}", "secretKey": "{SECRET_KEY}"}}]}}]}}"""
COUNT = re.compile(r'^SeaweedFS_s3_request_total\{bucket="([^"]*)",code="(\d+)",type="([^"]*)"\} (\d+)', re.M)
START_S = 60.0
CHUNK = 65_536


@dataclass(frozen=True)
class ObjectStore:
    """A running store."""

    endpoint: str
    metrics: str

    @property
    def spec(self) -> StorageSpec:
        """How to reach it."""
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        return StorageSpec.model_validate({"endpoint": self.endpoint, "region": "us-east-1", **keys})

    def make_bucket(self, name: str) -> str:
        """A new bucket; its uri."""
        Storage(self.spec).request(lambda client: client.create_bucket(Bucket=name))
        return f"s3://{name}"

    def requests(self) -> Counter[tuple[str, str]]:
        """Requests answered so far, by (bucket, kind), as the server itself counts them."""
        with urllib.request.urlopen(self.metrics) as answer:
            told = answer.read().decode()
        counts: Counter[tuple[str, str]] = Counter()
        for bucket, _, kind, count in COUNT.findall(told):
            counts[bucket, kind] += int(count)
        return counts


@contextmanager
def object_store(folder: Path, latency_s: float = 0.0) -> Iterator[ObjectStore]:
    """Start one, with its files in `folder`; its answers come `latency_s` later than it gives them."""
    (folder / "s3.json").write_text(IDENTITIES)
    ports = {name: free_port() for name in ("s3.port", "master.port", "volume.port", "filer.port", "metricsPort")}
    addresses = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", *(f"-{name}={port}" for name, port in ports.items())]
    # Iceberg and Lance would each take a fixed port, which a second server on the machine could not have.
    modes = ["-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.max=100"]
    folders = [f"-dir={folder}", f"-s3.config={folder / 's3.json'}"]
    weed = str(Path(sys.executable).with_name("weed"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([weed, "server", *folders, *addresses, *modes], stdout=log, stderr=log)
        try:
            direct = f"http://127.0.0.1:{ports['s3.port']}"
            metrics = f"http://127.0.0.1:{ports['metricsPort']}/metrics"
            _wait_for(ObjectStore(direct, metrics), process)
            with _delayed(direct, latency_s) as endpoint:
                yield ObjectStore(endpoint, metrics)
        finally:
            process.kill()  # its data is thrown away, so a graceful end (20 s) buys nothing
            process.wait()


def free_port() -> int:
    """A port nobody listens on now, with the one 10,000 above it (SeaweedFS takes that too)."""
    while True:
        port = random.randrange(11_000, 21_000)  # below the range the system hands out
        if all(_is_free(one) for one in (port, port + 10_000)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _wait_for(server: ObjectStore, process: subprocess.Popen[bytes]) -> None:
    deadline, last = time.monotonic() + START_S, "it said nothing"
    once = server.spec.model_copy(update={"retries": 1})
    while time.monotonic() < deadline and process.poll() is None:
        try:
            Storage(once).request(lambda client: client.list_buckets())
        except (AssayError, OSError) as error:
            last = str(error)
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"SeaweedFS did not come up: {last}")


@contextmanager
def _delayed(endpoint: str, latency_s: float) -> Iterator[str]:
    """An endpoint before `endpoint` whose answers come later. It passes bytes on as they are, so signatures hold."""
    if not latency_s:
        yield endpoint
        return
    place = urlsplit(endpoint)
    relay = _Relay(str(place.hostname), int(place.port or 80), latency_s)
    thread = threading.Thread(target=lambda: asyncio.run(relay.run()), name="relay", daemon=True)
    thread.start()
    port, stop = relay.started.get()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop()
        thread.join()


@dataclass(frozen=True)
class _Relay:
    """Passes connections on; what the server says, it passes back after a while, in order."""

    host: str
    port: int
    latency_s: float
    started: Queue[tuple[int, Callable[[], object]]] = field(default_factory=Queue)
    """Where it listens, and what ends it; there once it listens."""

    async def run(self) -> None:
        """Listen until told to end; connections end with it."""
        over, loop = asyncio.Event(), asyncio.get_running_loop()
        async with await asyncio.start_server(self._serve, "127.0.0.1") as server:
            self.started.put((server.sockets[0].getsockname()[1], partial(loop.call_soon_threadsafe, over.set)))
            await over.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(self.host, self.port)
        there = _pass_on(reader, behind_writer, 0.0)
        back = _pass_on(behind_reader, writer, self.latency_s)
        try:
            with contextlib.suppress(ConnectionError):  # clients leave when they like
                await asyncio.gather(there, back)
        finally:
            writer.close()
            behind_writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency_s: float) -> None:
    """Each piece `latency_s` after it came; pieces travel beside each other, so this is latency and no throttle."""
    loop, last = asyncio.get_running_loop(), 0.0
    while data := await reader.read(CHUNK):
        last = max(last, loop.time() + latency_s)
        _at(loop, last, writer, data)
    await asyncio.sleep(max(0.0, last - loop.time()) + 0.001)
    writer.close()


def _at(loop: asyncio.AbstractEventLoop, when: float, writer: Any, data: bytes) -> None:
    if when <= loop.time():
        writer.write(data)
    else:
        loop.call_at(when, writer.write, data)
