"""A bucket behind a proxy, and jobs on it that are killed at a request of theirs, before or after it is answered."""

import os
import signal
import time
import uuid
from pathlib import Path

from assay.jobs.verify import VerifyFacts, VerifySpec, verify
from tests.conftest import S3Server
from tests.fault_proxy import FaultProxy
from tests.serial_backfill import ForkServer

IMAGES, SHARD = 6, 2


class Rig:
    """A bucket of pictures behind a proxy, and backfills of it."""

    def __init__(self, proxy: FaultProxy, s3: S3Server, source: str, release: Path, folder: Path) -> None:
        self.proxy, self.s3, self.source, self.release, self.folder = proxy, s3, source, release, folder
        self.server = ForkServer()
        self.bucket = source.rpartition("/")[0]

    def settings(self) -> dict[str, object]:
        """A backfill into a store of its own."""
        keys = {"access_key": self.s3.access_key, "secret_key": self.s3.secret_key, "region": "us-east-1"}
        return {
            "source": self.source,
            "store": f"{self.bucket}/store-{uuid.uuid4().hex}",
            "release": str(self.release),
            "shard": {"images": SHARD},
            "threads": 1,
            "storage": {**keys, "endpoint": self.proxy.endpoint},
        }

    def finish(self, settings: dict[str, object]) -> VerifyFacts:
        """Run to the end; the proof."""
        self.server.finish(settings, self.folder / "told")
        return verify(VerifySpec(store=str(settings["store"]), storage=self.s3.spec()))

    def kill_at(self, number: int, when: str, settings: dict[str, object]) -> str:
        """Run until the request with this number (counted from now), and no further; the request, if it came."""
        first, met = len(self.proxy.asked), list[str]()

        def strike(k: int, method: str, path: str) -> None:
            if k - first == number:
                met.append(f"{method} {path}")
                assert victim.pid
                os.kill(victim.pid, signal.SIGKILL)
                wait_until_dead(victim.pid)

        setattr(self.proxy, when, strike)
        try:
            victim = self.server.start(settings, self.folder / "told")
            victim.join(120)
        finally:
            setattr(self.proxy, when, lambda _k, _method, _path: None)
        assert bool(met) == (victim.exitcode != 0), (met, victim.exitcode)
        return met[0] if met else ""


def wait_until_dead(pid: int) -> None:
    """Until a process, though perhaps not buried yet, does nothing any more."""
    while True:
        try:
            facts = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return
        if facts.rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.002)


def kill_everywhere(rig: Rig, strides: dict[str, int]) -> None:
    """Kill at every so many requests, before or after they are answered."""
    settings = rig.settings()
    before = len(rig.proxy.asked)
    wanted = rig.finish(settings)
    requests = len(rig.proxy.asked) - before
    assert wanted.sound
    assert wanted.planned == IMAGES
    kills = 0
    for when, stride in strides.items():
        for number in range(1 + os.getpid() % stride, requests + 1, stride):
            settings = rig.settings()
            struck = rig.kill_at(number, when, settings)
            if not struck:
                continue  # this run needed fewer requests than the undisturbed one
            kills += 1
            proof = rig.finish(settings)
            assert proof.sound, (when, number, struck, proof)
            assert proof.digest == wanted.digest, (when, number, struck)
    print(f"{kills} kills; an undisturbed run makes {requests} requests")
    assert kills >= sum(requests // stride for stride in strides.values()) - 6
