"""Whole backfills over a store that fails: source and store lie on a real S3 server, behind a proxy that breaks things.

Nothing that passes by itself may become an outcome, and what comes out must be what an undisturbed run finds.
"""

import itertools
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from assay.jobs.backfill import BackfillSpec, backfill
from assay.jobs.run import BackfillFacts
from assay.jobs.store import Store
from assay.jobs.verify import VerifyFacts, VerifySpec, verify
from assay.platform.errors import StorageError
from assay.platform.storage import Storage
from tests.conftest import S3Server, Silent, write_pictures
from tests.fault_proxy import FaultOf, FaultProxy, fault_proxy

IMAGES, SHARD = 300, 16


@dataclass
class Bench:
    """Pictures in a bucket, and backfills of them into stores of their own."""

    s3: S3Server
    proxy: FaultProxy
    bucket: str
    release: Path
    pictures: dict[str, bytes]
    runs: int = 0

    @property
    def source(self) -> str:
        """Where the pictures lie that no test changes."""
        return f"{self.bucket}/pictures"

    def put(self, prefix: str) -> str:
        """Store the pictures below a prefix; its uri."""
        for name, data in self.pictures.items():
            self.s3.put(f"{self.bucket}/{prefix}/{name}", data)
        return f"{self.bucket}/{prefix}"

    def spec(self, source: str = "", **storage: object) -> BackfillSpec:
        """A backfill into a new store, all of it through the proxy."""
        self.runs += 1
        asked = {**self.s3.spec().model_dump(), "endpoint": self.proxy.endpoint, "poll_s": 0.5, **storage}
        places = {"source": source or self.source, "store": f"{self.bucket}/stores/{self.runs}"}
        settings = {"release": str(self.release), "shard": {"images": SHARD}, "storage": asked}
        return BackfillSpec.model_validate({**places, **settings})

    def run(self, spec: BackfillSpec) -> tuple[BackfillFacts, float]:
        """Its facts, and the seconds it took."""
        began = time.monotonic()
        facts = backfill(spec, Silent(), threading.Event(), "assay backfill …")
        return facts, time.monotonic() - began

    def proof(self, spec: BackfillSpec) -> VerifyFacts:
        """What lies in the store, looked at without the proxy."""
        return verify(VerifySpec.model_validate({"store": spec.store, "storage": self.s3.spec().model_dump()}))

    @cached_property
    def digest(self) -> str:
        """What an undisturbed run finds."""
        spec = self.spec()
        self.run(spec)
        return self.proof(spec).digest

    def observations(self, spec: BackfillSpec) -> list[dict[str, Any]]:
        """What lies in the store, by row."""
        store = Store.open(Storage(self.s3.spec()), spec.store)
        rows = store.observations.dataset().to_table(columns=["uri", "outcome", "sha256"])
        return list(rows.to_pylist())


@pytest.fixture(scope="module")
def bench(
    s3: S3Server, ray_session: str, release_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("failing")
    pictures = {path.name: path.read_bytes() for path in write_pictures(folder, IMAGES)}
    with fault_proxy(s3.endpoint) as proxy:
        bench = Bench(s3, proxy, s3.bucket(f"failing-{os.urandom(4).hex()}"), release_dir, pictures)
        bench.put("pictures")
        yield bench


@pytest.fixture(autouse=True)
def calm(bench: Bench) -> Iterator[None]:
    """Every test begins and ends with a proxy that only passes on."""
    yield
    bench.proxy.rate, bench.proxy.window, bench.proxy.away = 0.0, None, False
    bench.proxy.before = lambda _k, _method, _path: None


def at_image(proxy: FaultProxy, number: int, act: Callable[[], None]) -> None:
    """Do something when the `number`-th image is asked for; those asked for meanwhile wait."""
    turn, images = threading.Lock(), itertools.count(1)

    def before(_k: int, method: str, path: str) -> None:
        if method == "GET" and path.endswith(".jpg"):
            with turn:
                if next(images) == number:
                    act()

    proxy.before = before


def disturbed(bench: Bench, seed: int) -> tuple[float, float]:
    """A run without faults and one with 15 %, which must come out alike; the seconds they took."""
    plain, broken = bench.spec(), bench.spec()
    _, calm_s = bench.run(plain)
    before = bench.proxy.faults.copy()
    bench.proxy.reseed(seed)
    bench.proxy.rate = 0.15
    facts, storm_s = bench.run(broken)
    bench.proxy.rate = 0.0
    met = bench.proxy.faults - before
    assert facts.faults == {}, f"seed {seed}: {facts.faults} of {met}"
    proof = bench.proof(broken)
    assert proof.sound, f"seed {seed}"
    assert (proof.planned, proof.ok, proof.faulted) == (IMAGES, IMAGES, 0)
    assert proof.digest == bench.digest == bench.proof(plain).digest, f"seed {seed}"
    told = ", ".join(f"{count} {fault}" for fault, count in met.items())
    print(f"seed {seed}: {calm_s:.1f} s -> {storm_s:.1f} s with {met.total()} faults: {told}")
    return calm_s, storm_s


def test_a_backfill_over_a_failing_store(bench: Bench) -> None:
    assert bench.digest
    calm_s, storm_s = disturbed(bench, seed=int.from_bytes(os.urandom(2)))  # printed, with what befell
    print(f"time ratio {storm_s / calm_s:.2f}")


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_twenty_backfills_over_a_failing_store(bench: Bench) -> None:
    assert bench.digest  # the first run also warms up what later ones find warm
    times = [disturbed(bench, seed) for seed in range(20)]
    ratios = sorted(round(storm_s / calm_s, 2) for calm_s, storm_s in times)
    print(f"time ratios {ratios}, median {statistics.median(ratios)}")
    assert statistics.median(ratios) <= 2.5


def outlasted(bench: Bench, fault: str, seconds: float) -> None:
    """In the middle of a run the store is away, or refuses the credentials, for a while."""
    timers: list[threading.Timer] = []

    def begin() -> None:
        away = fault == "away"
        timers.append(bench.proxy.go_away_for(seconds) if away else bench.proxy.expire_for(seconds))

    digest, spec = bench.digest, bench.spec()
    at_image(bench.proxy, IMAGES // 3, begin)
    asked = len(bench.proxy.asked)
    facts, took_s = bench.run(spec)
    timers[0].join()
    assert facts.faults == {}
    assert took_s > seconds
    assert bench.proof(spec).sound
    assert bench.proof(spec).digest == digest
    print(f"{fault} for {seconds} s: took {took_s:.1f} s, {len(bench.proxy.asked) - asked} requests")


@pytest.mark.parametrize("fault", ["expired", pytest.param("away", marks=pytest.mark.nightly)])
def test_a_job_outlasts_a_trouble_of_the_whole_store(bench: Bench, fault: str) -> None:
    outlasted(bench, fault, 6)


@pytest.mark.nightly
@pytest.mark.parametrize(("fault", "seconds"), [("expired", 60), ("away", 30)])
def test_a_job_outlasts_a_long_trouble(bench: Bench, fault: str, seconds: float) -> None:
    outlasted(bench, fault, seconds)


def test_credentials_that_stay_lost_end_the_job_and_it_goes_on_later(bench: Bench, ray_session: str) -> None:
    """The driver is a process of its own: as it ends, it cannot even give the store's lease back."""
    digest, spec = bench.digest, bench.spec()
    keys = {f"ASSAY_STORAGE_{name}": value for name, value in bench.s3.settings().items()}
    through = {"ASSAY_STORAGE_ENDPOINT": bench.proxy.endpoint, "ASSAY_STORAGE_PATIENCE_S": "2"}
    environment = {**os.environ, **keys, **through, "RAY_ADDRESS": ray_session, "RAY_AUTH_MODE": "token"}
    at_image(bench.proxy, IMAGES // 2, lambda: setattr(bench.proxy, "window", FaultOf.EXPIRED))
    typed = [str(Path(sys.executable).with_name("assay")), "backfill", spec.source, "--store", spec.store]
    typed += ["--release", str(bench.release), "--shard.images", str(SHARD), "--json"]
    ended = subprocess.run(typed, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert ended.returncode == 5, ended.stderr
    assert "ExpiredToken" in ended.stderr
    assert " since " in ended.stderr
    assert bench.s3.secret_key not in ended.stderr + ended.stdout
    bench.proxy.window = None
    facts, _ = bench.run(spec)
    assert facts.faults == {}
    assert bench.proof(spec).sound
    assert bench.proof(spec).digest == digest


def test_images_that_change_or_go_while_the_job_runs(bench: Bench) -> None:
    """One in a hundred is overwritten, one deleted, before it is fetched: none is judged on other bytes."""
    source = bench.put("changing")
    changed: set[str] = set()
    gone: set[str] = set()

    def meddle() -> None:
        asked = {path.rpartition("/")[2] for _, path in bench.proxy.asked if "/changing/" in path}
        left = sorted(bench.pictures.keys() - asked)
        changed.update(left[::20][:3])
        gone.update(left[10::20][:3])
        for name in changed:
            bench.s3.put(f"{source}/{name}", bench.pictures["picture-00000.jpg"])
        for name in gone:
            bench.s3.storage.remove(f"{source}/{name}")

    at_image(bench.proxy, IMAGES // 3, meddle)
    bench.proxy.rate = 0.15
    spec = bench.spec(source)
    facts, _ = bench.run(spec)
    assert facts.faults == {"CHANGED": 3, "GONE": 3}
    assert bench.proof(spec).sound
    rows = {row["uri"].rpartition("/")[2]: row for row in bench.observations(spec)}
    assert {name for name, row in rows.items() if row["outcome"] == "CHANGED"} == changed
    assert {name for name, row in rows.items() if row["outcome"] == "GONE"} == gone
    for name, data in bench.pictures.items():
        seen = None if name in changed | gone else sha256(data).digest()
        assert rows[name]["sha256"] == seen, name


def test_a_store_without_conditional_put_is_refused(bench: Bench, s3: S3Server) -> None:
    keys = (s3.access_key, s3.secret_key)
    with fault_proxy(s3.endpoint, stripped=frozenset({"if-none-match"}), keys=keys) as proxy:
        spec = bench.spec(endpoint=proxy.endpoint)
        with pytest.raises(StorageError, match="conditional put"):
            bench.run(spec)
    assert list(s3.storage.list(spec.store)) == [], "nothing is left of it"
