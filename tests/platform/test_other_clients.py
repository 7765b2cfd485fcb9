"""pyarrow and delta-rs beside our own client: one spec serves all three, and they are as patient."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from assay.platform.errors import BucketError, CredentialsError, StorageError
from assay.platform.other_clients import arrow_place, delta_place, outlast
from assay.platform.storage import Storage, StorageSpec
from tests.conftest import S3Server
from tests.fault_proxy import FaultOf, FaultProxy, fault_proxy
from tests.platform.s3_setup import set_all, through, without_aws, write_profile

TABLE = pa.table({"number": [1, 2, 3]})
STRANGER = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong"}


@pytest.fixture(scope="module")
def bucket(s3_place: str) -> str:
    return s3_place


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    without_aws(monkeypatch)


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint) as proxy:
        yield proxy


def explicit(s3: S3Server, _: pytest.MonkeyPatch, __: Path) -> StorageSpec:
    return s3.spec()


def with_slash(s3: S3Server, _: pytest.MonkeyPatch, __: Path) -> StorageSpec:
    return s3.spec().model_copy(update={"endpoint": f"{s3.endpoint}/"})


def over_a_stranger(s3: S3Server, patch: pytest.MonkeyPatch, _: Path) -> StorageSpec:
    """What a spec says wins over the environment; a stranger's session token does not mix in."""
    set_all(patch, {**STRANGER, "AWS_SESSION_TOKEN": "of-a-stranger", "AWS_REGION": "eu-west-3"})
    return s3.spec()


def variables(s3: S3Server, patch: pytest.MonkeyPatch, _: Path) -> StorageSpec:
    set_all(patch, s3.environment())
    return StorageSpec()


def profile_variable(s3: S3Server, patch: pytest.MonkeyPatch, folder: Path) -> StorageSpec:
    write_profile(s3, patch, folder)
    patch.setenv("AWS_PROFILE", "moderation")
    return StorageSpec()


def profile_field(s3: S3Server, patch: pytest.MonkeyPatch, folder: Path) -> StorageSpec:
    write_profile(s3, patch, folder)
    return StorageSpec(profile="moderation")


def profile_over_variables(s3: S3Server, patch: pytest.MonkeyPatch, folder: Path) -> StorageSpec:
    set_all(patch, STRANGER)
    return profile_field(s3, patch, folder)


WAYS = [explicit, with_slash, over_a_stranger, variables, profile_variable, profile_field, profile_over_variables]
Way = Callable[[S3Server, pytest.MonkeyPatch, Path], StorageSpec]


@pytest.mark.parametrize("way", WAYS)
def test_one_spec_serves_three_clients(
    s3: S3Server, bucket: str, way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each client writes what the other two read."""
    storage = Storage(way(s3, monkeypatch, tmp_path))
    base = f"{bucket}/{uuid.uuid4().hex}"

    sink = pa.BufferOutputStream()
    pq.write_table(TABLE, sink)
    storage.write(f"{base}/one.parquet", sink.getvalue().to_pybytes())  # s3fs
    fs, path = arrow_place(storage, f"{base}/one.parquet")
    assert pq.read_table(path, filesystem=fs) == TABLE

    fs, path = arrow_place(storage, f"{base}/two.parquet")
    pq.write_table(TABLE, path, filesystem=fs)
    written = storage.read(f"{base}/two.parquet")
    assert written is not None
    assert pq.read_table(pa.BufferReader(written)) == TABLE

    where, options = delta_place(storage, f"{base}/table")
    table = DeltaTable.create(where, TABLE.schema, storage_options=options)
    log = f"{base}/table/_delta_log/{0:020}.json"
    assert b'"protocol"' in (storage.read(log) or b"")
    fs, path = arrow_place(storage, log)
    assert fs.get_file_info(path).is_file
    assert DeltaTable(where, storage_options=options).version() == table.version() == 0


def test_no_credentials(s3: S3Server, bucket: str) -> None:
    storage = Storage(StorageSpec(endpoint=s3.endpoint, region="us-east-1"))
    asks: list[Callable[[], object]] = [
        lambda: storage.read(f"{bucket}/x"),
        lambda: arrow_place(storage, f"{bucket}/x"),
        lambda: delta_place(storage, f"{bucket}/x"),
    ]
    for ask in asks:
        with pytest.raises(CredentialsError, match="AWS_ACCESS_KEY_ID"):
            ask()


@pytest.mark.parametrize("fields", [{}, {"endpoint": "http://127.0.0.1:9", "region": "us-east-1"}])
def test_a_profile_that_is_not_there(fields: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(StorageSpec.model_validate({"profile": "nobody", **fields}))
    with pytest.raises(CredentialsError, match="nobody"):
        storage.read("s3://bucket/x")
    with pytest.raises(CredentialsError, match="nobody"):
        arrow_place(storage, "s3://bucket/x")


def test_an_endpoint_that_is_not_there() -> None:
    fields = {"endpoint": "http://127.0.0.1:9", "access_key": "k", "secret_key": "s", "retries": 1}
    storage = Storage(StorageSpec.model_validate(fields))
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9") as refusal:
        storage.read("s3://bucket/x")
    assert not isinstance(refusal.value, CredentialsError | BucketError)
    assert refusal.value.what == "cannot reach the store"
    where, options = delta_place(storage, "s3://bucket/table")
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9"):
        DeltaTable(where, storage_options=options)
    fs, path = arrow_place(storage, "s3://bucket/x")
    with pytest.raises(OSError, match="bucket"):
        fs.get_file_info(path)
    assert time.monotonic() - began < 60, "the tries of all three are bounded"


def test_another_client_is_as_patient(s3: S3Server, proxy: FaultProxy, bucket: str) -> None:
    """pyarrow does not ask again after a refusal of access, nor wait for a store that is away."""
    storage, uri = through(s3, proxy, retries=2), f"{bucket}/by-arrow"
    storage.write(uri, b"data")

    def read() -> bytes:
        fs, path = arrow_place(storage, uri)
        with fs.open_input_file(path) as file:
            return bytes(file.read())

    proxy.script.append(FaultOf.DENIED)
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        read()
    proxy.script.append(FaultOf.DENIED)
    assert outlast(storage, uri, read) == b"data"
    timer = proxy.expire_for(2)
    assert outlast(storage, uri, read) == b"data"
    timer.join()
    assert storage.patience.pauses == 1
    storage.remove(uri)
    with pytest.raises(FileNotFoundError):
        outlast(storage, uri, read)


def test_what_another_client_fails_at_for_good(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    def fail() -> None:
        tries.append(1)
        raise ValueError("no Parquet file")

    tries: list[int] = []
    with pytest.raises(ValueError, match="no Parquet"):
        outlast(Storage(), str(tmp_path), fail, (ValueError,))
    assert len(tries) == 1
    with pytest.raises(ValueError, match="no Parquet"):
        outlast(Storage(s3.spec().model_copy(update={"retries": 3})), bucket, fail, (ValueError,))
    assert len(tries) == 1 + 3


def test_the_proxy_passes_on_what_every_client_sends(s3: S3Server, proxy: FaultProxy, bucket: str) -> None:
    """Signed hosts, odd keys, chunked uploads, uploads in parts, conditional puts; each request is told once."""
    told: list[tuple[int, str]] = []
    proxy.before = lambda k, method, _path: told.append((k, method))
    proxy.after = lambda k, method, _path: told.append((-k, method))
    storage, base = through(s3, proxy), f"{bucket}/{uuid.uuid4().hex}"
    assert storage.write(f"{base}/a b+é%41", b"odd", if_absent=True)
    assert not storage.write(f"{base}/a b+é%41", b"other", if_absent=True)
    fs, path = arrow_place(storage, f"{base}/large")
    with fs.open_output_stream(path) as out:
        out.write(b"x" * 12_000_000)
    assert storage.read(f"{base}/large") == b"x" * 12_000_000
    where, options = delta_place(storage, f"{base}/table")
    DeltaTable.create(where, TABLE.schema, storage_options=options)
    assert DeltaTable(where, storage_options=options).version() == 0
    direct = {found.name: found.size for found in s3.storage.list(base)}
    assert direct["a b+é%41"] == 3
    assert direct["large"] == 12_000_000
    assert {"GET", "PUT", "POST"} <= set(proxy.requests)
    assert len(told) == 2 * len(proxy.asked)
    assert sorted(k for k, _ in told if k > 0) == list(range(1, len(proxy.asked) + 1))
    assert proxy.connections < len(proxy.asked)
    assert not proxy.faults
