"""The service and what it is held against: the bare loop around the moderator, and the least that speaks HTTP.

Knows how each is started and asked for a lap; all decode with the same guard, the same budget and as many decoders.
Does not know which are compared (`online.py`).
"""

import hashlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from assay.platform.batch import ImageBatch, Looked
from assay.platform.guard import Guard
from assay.platform.moderator import Moderator
from assay.platform.release import Release
from assay.platform.rows import ImageRef
from assay.serving.limits import ONLINE_BUDGET
from infra.bench.load import LoadSpec, put_load
from infra.bench.object_store import free_port
from infra.bench.pictures import batches
from infra.bench.race import Lap, SideError
from infra.bench.served import Served, served
from infra.bench.side import ROOT, Task

CLIENTS = 32
SETTLE_S = 3.0
"""Until as many requests are under way as clients ask, and batches have formed."""
LISTENS_S = 60.0


class ModeratorLoop:
    """The moderator with nothing around it: a batch is decoded on all cores, then judged on all cores."""

    def __init__(self, task: Task) -> None:
        release = Release.load(Path(task.release))
        self._paths, self._batch = task.paths(), task.batch
        self._moderator = Moderator(release, device=task.device)
        self._moderator.warm_up()
        self._guard = Guard(release.preprocess, ONLINE_BUDGET, task.threads)
        self._pool = ThreadPoolExecutor(task.threads)

    def lap(self) -> Lap:
        """Every image once."""
        began, judged = time.monotonic(), 0
        for looked in self._batches():
            batch = ImageBatch.of(0, looked, self._moderator.preprocess.size)
            judged += self._moderator.judge(batch).verdicts.num_rows
        return Lap(judged, len(self._paths), time.monotonic() - began)

    def _batches(self) -> Iterator[list[Looked]]:
        for paths in batches(self._paths, self._batch):
            yield list(self._pool.map(self._look, paths))

    def close(self) -> None:
        """End the decoders."""
        self._pool.shutdown()
        self._guard.close()

    def _look(self, path: Path) -> Looked:
        data = path.read_bytes()
        digest = hashlib.sha256(data)
        return Looked(ImageRef("", digest.hexdigest(), len(data)), self._guard.decode(data), digest.digest())


class ModeratorLoopAhead(ModeratorLoop):
    """The same, but threads decode ahead while a batch is judged."""

    def _batches(self) -> Iterator[list[Looked]]:
        looked = self._pool.map(self._look, self._paths)
        for paths in batches(self._paths, self._batch):
            yield list(islice(looked, len(paths)))


class HttpSide:
    """Something that answers over HTTP, asked by 32 clients who ask again as soon as they are answered."""

    def __init__(self, url: str, headers: dict[str, str], pictures: Path, seconds: float, ends: ExitStack) -> None:
        self._ends, self._seconds = ends, seconds
        self._load = LoadSpec(
            url=url, headers=headers, pictures=str(pictures), seconds=seconds, warm_s=SETTLE_S, clients=CLIENTS
        )

    def lap(self) -> Lap:
        """So many seconds; every answer must be 200."""
        facts = put_load(self._load)
        told = {"p50 s": facts.p50, "p99 s": facts.p99, "generator's cores": round(facts.own_cpu, 3)}
        timed = round(facts.good_rate * self._seconds)
        return Lap(facts.good, facts.asked, self._seconds, facts=told, timed=timed)

    def close(self) -> None:
        """Stop it."""
        self._ends.close()


def online_side(folder: Path, release: Release, pictures: Path, seconds: float, cores: int) -> HttpSide:
    """The service."""
    ends = ExitStack()
    service = ends.enter_context(online(folder, release, cores))
    return HttpSide(service.url, service.headers, pictures, seconds, ends)


@contextmanager
def online(folder: Path, release: Release, cores: int) -> Iterator[Served]:
    """The service as `assay serve` starts it, with one replica that has all cores: Ray gives its arithmetic as many
    threads as it has CPUs."""
    flags = ["--release", str(release.directory), "--replicas.cpus", str(cores), "--replicas.decoders", str(cores)]
    with served(folder, flags) as service:
        yield service


def minimal_side(folder: Path, release: Release, pictures: Path, seconds: float, cores: int) -> HttpSide:
    """The least that answers."""
    ends = ExitStack()
    url = ends.enter_context(minimal(folder, release, cores))
    return HttpSide(url, {}, pictures, seconds, ends)


@contextmanager
def minimal(folder: Path, release: Release, decoders: int) -> Iterator[str]:
    """`minimal_service.py` in a process of its own; its address.

    Raises:
        SideError: it does not come up.
    """
    port = free_port()
    command = [sys.executable, "-m", "infra.bench.minimal_service", str(release.directory), str(port), str(decoders)]
    with (folder / "log").open("wb") as said, subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said) as process:
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + LISTENS_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SideError("the minimal service does not come up")
