"""R14: how long a rollback takes, from the command as it is typed until MLflow says so, too.

Knows a real server, the promotion log in a bucket beside its artifacts, and two releases around the bundled encoder,
kept on this machine already.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from assay.platform.release import Release, bundled_release
from assay.registry.gate import CHECKS
from assay.registry.place import RegistrySpec
from assay.registry.promotion import PromoteSpec, promote
from assay.registry.registering import RegisterSpec, register
from assay.registry.registry import Registry
from infra.bench.bench import Bench
from infra.bench.figure import Figure, Result
from infra.bench.mlflow_server import PASSWORD, MlflowServer, mlflow_server
from infra.bench.object_store import ObjectStore, object_store
from infra.bench.race import SideError

COMMAND = str(Path(sys.executable).with_name("assay"))
WAIVED = tuple(f"{name}=the bench measures what comes after the gate" for name in CHECKS)
WORKERS = 2
TURNS = 4
"""Rollbacks for each start that the spec asks for."""


def measure(bench: Bench) -> Result:
    """Promote and roll back, again and again: with the server's memory for passwords, and without it."""
    turns = TURNS * bench.spec.starts
    seconds = {cache_s: _rollbacks(bench, cache_s, turns) for cache_s in (60, 0)}
    slow = {key: statistics.quantiles(found, n=20, method="inclusive")[-1] for key, found in seconds.items()}
    return Result(
        title="`assay release rollback`, p95, s",
        figure=Figure.of([slow[60]], 10.0, "at most"),
        bound_by="imports of MLflow, then some fifteen requests",
        more={
            "p95 with MLflow's default, a password hashed with every request, s": Figure.of([slow[0]], 10.0, "at most"),
            "median, s": Figure.of(seconds[60]),
            "median with that default, s": Figure.of(seconds[0]),
        },
        facts={"rollbacks": turns, "workers": WORKERS, "release": "starter"},
    )


def _rollbacks(bench: Bench, cache_s: int, turns: int) -> list[float]:
    """Seconds of each, on a server of its own; the first does not count."""
    with object_store(bench.scratch()) as store:
        bucket = store.make_bucket("registry")
        keys = _keys(store)
        with mlflow_server(bench.scratch(), f"{bucket}/artifacts", keys, workers=WORKERS, cache_s=cache_s) as server:
            server.add_user("promoter")
            spec = _spec(server, store, f"{bucket}/promotions", bench.scratch())
            _register_two(spec, bench.scratch())
            seconds = [_turn_s(spec, keys) for _ in range(turns + 1)][1:]
    bench.say(f"  rollback, passwords remembered for {cache_s} s: {min(seconds):.1f} to {max(seconds):.1f} s")
    return seconds


def _keys(store: ObjectStore) -> dict[str, str]:
    spec = store.spec
    assert spec.access_key, "a store of the bench has keys"
    assert spec.secret_key
    return {
        "AWS_ENDPOINT_URL": store.endpoint,
        "MLFLOW_S3_ENDPOINT_URL": store.endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": spec.access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": spec.secret_key.get_secret_value(),
    }


def _spec(server: MlflowServer, store: ObjectStore, log: str, cache: Path) -> RegistrySpec:
    settings = {"uri": server.uri, "username": "promoter", "password": PASSWORD, "log": log, "cache": cache}
    return RegistrySpec.model_validate({**settings, "storage": store.spec})


def _register_two(spec: RegistrySpec, folder: Path) -> None:
    """The bundled release, and the same under another name."""
    first, second = Release.load(bundled_release()), folder / "second"
    shutil.copytree(first.directory, second)
    first.manifest.model_copy(update={"name": "second"}).write(second)
    for number, release in enumerate((first, Release.load(second)), start=1):
        register(release, RegisterSpec(registry=spec))
        promote(PromoteSpec(release=str(number), registry=spec, waive=WAIVED))


def _turn_s(spec: RegistrySpec, keys: dict[str, str]) -> float:
    """Seconds of one rollback; then its release is promoted away again."""
    assert spec.uri
    typed = [COMMAND, "release", "rollback", "--registry.uri", spec.uri, "--registry.cache", str(spec.cache), "--json"]
    signed = {"MLFLOW_TRACKING_USERNAME": "promoter", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    began = time.monotonic()
    done = subprocess.run(typed, env={**os.environ, **keys, **signed}, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    pointed = Registry(spec).models.pointed("release")
    if done.returncode or pointed != {"champion": 1}:
        raise SideError(f"no rollback: {pointed}; {(done.stderr or done.stdout)[-500:]}")
    promote(PromoteSpec(release="2", registry=spec, waive=WAIVED))
    return seconds
