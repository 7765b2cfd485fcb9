"""Chaos: driver, decode worker, encoder, a node and the head are killed with -9 at random points of real jobs on a real
cluster. Whatever dies, the same command run until it succeeds ends with the digest of a run that nobody disturbed.

How far a run is, is seen from outside: by what the S3 server has handed out.
"""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.jobs.verify import VerifySpec, verify
from tests.conftest import S3Server, write_pictures
from tests.ray_cluster import RayCluster, kill_dead, wait_until
from tests.serial_backfill import run_alone

ASSAY = str(Path(sys.executable).with_name("assay"))
IMAGES, SHARD = 400, 8
NODES, CPUS = 2, 2
MOST_TWICE = {"look": 4 * SHARD, "judge": 0, "raylet": IMAGES // 2, "driver": IMAGES, "head": IMAGES}
"""Images fetched twice at most: what a decoder had in its hands; nothing, for pixels outlive an encoder; what was on a
node; and for driver and head all that was not committed, which `resume` counts to the image."""


@dataclass
class Bench:
    """One bucket, and the stores that backfills of it go to."""

    s3: S3Server
    source: str
    release: Path
    folder: Path
    digest: str = ""

    def start(self, cluster: RayCluster, store: str) -> subprocess.Popen[str]:
        """The real command, on a cluster."""
        flags = ["--store", str(self.folder / store), "--release", str(self.release), "--shard.images", str(SHARD)]
        keys = {f"ASSAY_STORAGE_{name}": value for name, value in self.s3.settings().items()}
        return subprocess.Popen(
            [ASSAY, "backfill", self.source, *flags, "--json"],
            env={**cluster.environment, **keys},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run_undisturbed(self) -> None:
        """A run that nobody disturbs, without a cluster."""
        settings = {"source": self.source, "store": str(self.folder / "undisturbed"), "release": str(self.release)}
        with pytest.MonkeyPatch.context() as patch:
            run_alone({**settings, "shard": {"images": SHARD}, "storage": self.s3.spec()}, patch)
        self.prove("undisturbed")

    def gets(self) -> int:
        """Images handed out so far."""
        return self.s3.gets(self.source.removeprefix("s3://"))

    def prove(self, store: str) -> None:
        """The store holds every image once, and just what an undisturbed run's holds."""
        proof = verify(VerifySpec(store=str(self.folder / store)))
        assert proof.sound, proof
        assert proof.planned == IMAGES
        self.digest = self.digest or proof.digest
        assert proof.digest == self.digest


@pytest.fixture(scope="module")
def bench(s3: S3Server, release_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("chaos")
    source = s3.bucket(f"chaos-{os.urandom(4).hex()}")
    for path in write_pictures(folder / "pictures", IMAGES):
        s3.put(f"{source}/{path.name}", path.read_bytes())
    return Bench(s3, source, release_dir, folder)


def finish(driver: subprocess.Popen[str], seconds: float = 240) -> tuple[int, str, str]:
    out, told = driver.communicate(timeout=seconds)
    return driver.returncode, out, told


def victim_of(cluster: RayCluster, kind: str, driver: subprocess.Popen[str], dice: random.Random) -> int:
    """The process to kill."""
    found = {
        "driver": lambda: [driver.pid] if driver.poll() is None else [],
        "look": lambda: cluster.processes("LookActor"),
        "judge": lambda: cluster.processes("JudgeActor"),
        "raylet": lambda: cluster.raylets,
        "head": lambda: [cluster.gcs],
    }[kind]()
    return dice.choice(found) if found else 0


def disturb(bench: Bench, cluster: RayCluster, kind: str, seed: int) -> tuple[int, float, str]:
    """Start a run, kill `kind` at a random point; the run's exit code, the point, and what it told."""
    dice = random.Random(f"{kind}-{seed}")
    store, before = f"{kind}-{seed}", bench.gets()
    point = dice.uniform(0.05, 0.95)
    driver = bench.start(cluster, store)
    wait_until(lambda: bench.gets() - before >= point * IMAGES or driver.poll() is not None, 200, "progress")
    victim = victim_of(cluster, kind, driver, dice)
    if victim:  # actors may be gone when the last image has just been judged
        kill_dead(victim)
    code, out, told = finish(driver)
    assert code != 0 or json.loads(out)["planned"] == IMAGES, "one JSON object and nothing else, also when nodes die"
    return code, (bench.gets() - before if not victim else point * IMAGES) / IMAGES, told


KINDS = ("driver", "look", "judge", "raylet", "head")
GOES_ON = ("look", "judge", "raylet")
"""Victims that the run itself survives."""


def resume(bench: Bench, cluster: RayCluster, store: str) -> None:
    """The same command again: it fetches what is not committed, and not one image more."""
    time.sleep(3)  # workers of a dead driver finish what they had in hand; their files are nobody's
    before = bench.gets()
    code, out, told = finish(bench.start(cluster, store))
    assert code == 0, told
    facts = json.loads(out)
    assert bench.gets() - before == facts["fetched"] == IMAGES - facts["already_done"]


def recover(bench: Bench, cluster: RayCluster, kind: str, seed: int, code: int, told: str) -> None:
    """The same command again where the job died, on a cluster that lives."""
    assert kind not in GOES_ON or code == 0, told
    if code != 0 and kind == "head":
        assert "the head of the Ray cluster is gone" in told
        with RayCluster(CPUS) as fresh:
            resume(bench, fresh, f"{kind}-{seed}")
    elif code != 0:
        resume(bench, cluster, f"{kind}-{seed}")


def run_chaos(bench: Bench, seed: int) -> None:
    """One kill of each kind; the head last, for it takes the cluster with it."""
    if not bench.digest:
        bench.run_undisturbed()
    with RayCluster(*[CPUS] * NODES) as cluster:
        print("\nvictim  seed  killed at  seconds  fetched twice")
        for kind in KINDS:
            began, before = time.monotonic(), bench.gets()
            code, point, told = disturb(bench, cluster, kind, seed)
            recover(bench, cluster, kind, seed, code, told)
            bench.prove(f"{kind}-{seed}")
            twice = bench.gets() - before - IMAGES
            print(f"{kind:7} {seed:4} {point:10.0%} {time.monotonic() - began:8.1f} {twice:14}", flush=True)
            assert twice <= MOST_TWICE[kind]


@pytest.mark.timeout(1200)
def test_one_kill_of_each_kind(bench: Bench) -> None:
    run_chaos(bench, 0)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(1, 12))
def test_eleven_more_kills_of_each_kind(bench: Bench, seed: int) -> None:
    run_chaos(bench, seed)
