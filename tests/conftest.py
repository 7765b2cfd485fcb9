"""What tests share: one Ray, one S3 server, one release, and small buckets of real pictures."""

import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.platform.release_build import hash_release
from assay.platform.storage import Storage, StorageSpec
from infra.bench.mlflow_server import MlflowServer, mlflow_server
from infra.bench.object_store import free_port

os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

# Twice the process of all tests died of a segmentation fault as it started another one, Ray and OpenVINO loaded, and
# without a word from pytest's handler: as it does while Python blocks signals around vfork. This is Python's documented
# way to do without.
setattr(subprocess, "_USE_VFORK", False)  # noqa: B010  # the type's stub does not have it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need Ray: `make test` runs them beside the others."""
    for item in items:
        if isinstance(item, pytest.Function) and (
            "ray_session" in item.fixturenames or hasattr(item.module, "RayCluster") or hasattr(item.module, "served")
        ):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def release_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole release around the hash encoder: no torch, real library, real policies."""
    directory = tmp_path_factory.mktemp("release")
    hash_release(directory)
    return directory


def write_pictures(folder: Path, count: int, start: int = 0) -> list[Path]:
    """`count` small JPEGs, each another picture."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(start, start + count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        path = folder / f"picture-{number:05d}.jpg"
        Image.fromarray(coarse).resize((96, 72), Image.Resampling.BILINEAR).save(path, quality=80)
        paths.append(path)
    return paths


@pytest.fixture
def pictures() -> Callable[[Path, int], list[Path]]:
    """Writes small pictures into a folder."""
    return write_pictures


@pytest.fixture(scope="session")
def ray_session() -> Iterator[str]:
    """The session's Ray, by its address: two CPUs and, so that placement is tested, two logical GPUs."""
    import ray  # four seconds, only for tests that need it

    # A cluster of our own, whatever else runs on the machine.
    ray.init(
        "local",
        num_cpus=2,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    yield str(ray.get_runtime_context().gcs_address)
    ray.shutdown()


@dataclass(frozen=True)
class S3Server:
    """A running S3 server and who may ask it."""

    endpoint: str
    metrics: str
    access_key: str = "assay-test"
    secret_key: str = "not-a-secret-4711"  # of a server that lives as long as the tests

    def spec(self) -> StorageSpec:
        """A storage spec with the server's keys."""
        return StorageSpec.model_validate(
            {
                "endpoint": self.endpoint,
                "region": "us-east-1",
                "access_key": self.access_key,
                "secret_key": self.secret_key,
            }
        )

    def settings(self) -> dict[str, str]:
        """The same as ASSAY_STORAGE_ variables, without that prefix."""
        keys = {"ACCESS_KEY": self.access_key, "SECRET_KEY": self.secret_key}
        return {"ENDPOINT": self.endpoint, "REGION": "us-east-1", **keys}

    def environment(self) -> dict[str, str]:
        """The same as the standard AWS variables."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    @cached_property
    def storage(self) -> Storage:
        """A storage of the server, already connected."""
        return Storage(self.spec())

    def bucket(self, name: str) -> str:
        """A new bucket; its uri."""
        self.storage.request(lambda client: client.create_bucket(Bucket=name))
        return f"s3://{name}"

    def gets(self, bucket: str) -> int:
        """Objects the server has handed out of a bucket since it started, by its own count."""
        with urllib.request.urlopen(self.metrics) as answer:
            told = answer.read().decode()
        counts = re.findall(
            rf'^SeaweedFS_s3_request_total\{{bucket="{bucket}",code="20\d",type="GET"\}} (\d+)', told, re.M
        )
        return sum(map(int, counts))

    def put(self, uri: str, data: bytes) -> None:
        """Store one object."""
        self.storage.write(uri, data)


_IDENTITIES = """{"identities": [{"name": "assay", "credentials":
[{"accessKey": "assay-test", "secretKey": "not-a-secret-4711"}],
"actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}"""


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server (SeaweedFS) on loopback, started here and stopped here."""
    folder = tmp_path_factory.mktemp("seaweed")
    (folder / "s3.json").write_text(_IDENTITIES)
    names = ("s3.port", "master.port", "volume.port", "filer.port", "metricsPort")
    ports = {name: free_port() for name in names}
    folders = [f"-dir={folder}", f"-s3.config={folder}/s3.json"]
    addresses = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", *(f"-{name}={port}" for name, port in ports.items())]
    # Every bucket takes several volumes, and tests make many buckets. Iceberg and Lance would each take a fixed
    # port, which a second server on the machine could not have.
    modes = ["-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.max=300"]
    weed = str(Path(sys.executable).with_name("weed"))
    log = (folder / "log").open("wb")
    process = subprocess.Popen([weed, "server", *folders, *addresses, *modes], stdout=log, stderr=subprocess.STDOUT)
    server = S3Server(f"http://127.0.0.1:{ports['s3.port']}", f"http://127.0.0.1:{ports['metricsPort']}/metrics")
    try:
        _wait_for(server, process, folder / "log")
        yield server
    finally:
        process.kill()  # by its id; its data is thrown away, so a graceful end (20 s) buys nothing
        process.wait()
        log.close()


@pytest.fixture(scope="session")
def s3_bucket(s3: S3Server) -> str:
    """A bucket that tests share: the first write into a new one costs SeaweedFS five seconds."""
    return s3.bucket("shared")


@pytest.fixture(scope="module")
def s3_place(s3_bucket: str) -> str:
    """A prefix of its own for each test file."""
    return f"{s3_bucket}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def mlflow(s3: S3Server, s3_bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server with passwords, its artifacts in S3: fifteen seconds, shared by all tests that need it."""
    settings = {**s3.environment(), "MLFLOW_S3_ENDPOINT_URL": s3.endpoint}
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), f"{s3_bucket}/mlflow-artifacts", settings) as server:
        yield server


def _wait_for(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    last: Exception | None = None
    while time.monotonic() < deadline and process.poll() is None:
        try:
            Storage(server.spec().model_copy(update={"retries": 1})).request(lambda client: client.list_buckets())
            server.bucket("ready-check")
        except Exception as error:  # noqa: BLE001  # whatever a starting server answers
            last = error
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"SeaweedFS did not come up: {last}\n{log.read_text(errors='replace')[-2000:]}")


class Silent:
    """A watcher that says nothing."""

    def listed(self, images: int, size: int) -> None: ...

    def planned(self, facts: object, backlog: object, release: object) -> None: ...

    def started(self, cluster: object, pools: object) -> None: ...

    def received(self, receipt: object) -> None: ...

    def committed(self, receipts: object) -> None: ...

    def noticed(self, what: str) -> None: ...


@pytest.fixture(scope="session")
def judged_store(ray_session: None, tmp_path_factory: pytest.TempPathFactory, release_dir: Path) -> Path:
    """A store after one whole backfill of 30 pictures and two faults; copy it before changing it."""
    # Imported here: this imports Ray, which most tests never need.
    from assay.jobs.backfill import BackfillSpec, backfill

    folder = tmp_path_factory.mktemp("judged")
    write_pictures(folder / "bucket", 30)
    (folder / "bucket" / "notes.txt").write_text("no picture")
    (folder / "bucket" / "<script>alert(1)<script>.jpg").write_bytes(b"")
    settings = {"source": str(folder / "bucket"), "store": str(folder / "store"), "release": str(release_dir)}
    spec = BackfillSpec.model_validate({**settings, "shard": {"images": 8}})
    backfill(spec, Silent(), threading.Event(), "assay backfill …")
    return folder / "store"
