import errno
import os
import pickle
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore import exceptions
from deltalake import DeltaTable
from pydantic import SecretStr

from assay.platform.errors import AssayError, BucketError, CredentialsError, StorageError
from assay.platform.other_clients import arrow_place, delta_place, outlast
from assay.platform.refusals import job_error
from assay.platform.storage import Storage, StorageSpec
from assay.platform.uris import Location
from tests.conftest import S3Server
from tests.fault_proxy import FaultOf, FaultProxy, fault_proxy
from tests.storage_doubles import Answer, told_server

TABLE = pa.table({"number": [1, 2, 3]})
STRANGER = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong"}


@pytest.fixture(scope="module")
def bucket(s3_place: str) -> str:
    return s3_place


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own AWS set-up."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")


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


def set_all(patch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        patch.setenv(name, value)


def write_profile(s3: S3Server, patch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "config").write_text(f"[profile moderation]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n")
    keys = f"aws_access_key_id = {s3.access_key}\naws_secret_access_key = {s3.secret_key}\n"
    (folder / "credentials").write_text(f"[default]\naws_access_key_id = nobody\n\n[moderation]\n{keys}")
    patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))


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


def test_a_storage_crosses_process_borders(s3: S3Server, bucket: str) -> None:
    storage = Storage(s3.spec())
    storage.write(f"{bucket}/pickled", b"1")  # connected before it is sent
    assert pickle.loads(pickle.dumps(storage)).read(f"{bucket}/pickled") == b"1"


def test_secrets_are_not_shown(s3: S3Server) -> None:
    spec = s3.spec().model_copy(update={"session_token": SecretStr("not-a-token-4711")})
    shown = [repr(spec), str(spec), spec.model_dump_json(), repr(spec.model_dump()), repr(Storage(spec))]
    shown += [repr(vars(Storage(spec)))]
    for text in shown:
        assert s3.secret_key not in text
        assert s3.access_key not in text
        assert "not-a-token-4711" not in text


@pytest.mark.parametrize("refused", ["access_key", "secret_key"])
def test_wrong_credentials(s3: S3Server, bucket: str, refused: str) -> None:
    storage = Storage(s3.spec().model_copy(update={refused: SecretStr("wrong-and-secret")}))
    Storage(s3.spec()).write(f"{bucket}/there", b"1")
    asks: list[Callable[[], object]] = [
        lambda: storage.read(f"{bucket}/there"),
        lambda: storage.write(f"{bucket}/new", b"1"),
        lambda: storage.write(f"{bucket}/new", b"1", if_absent=True),
        lambda: storage.remove(f"{bucket}/there"),
    ]
    for ask in asks:
        with pytest.raises(CredentialsError) as refusal:
            ask()
        told = "".join(traceback.format_exception(refusal.value))
        assert refusal.value.exit_code == 5
        assert refusal.value.fix
        assert s3.secret_key not in told
        assert "wrong-and-secret" not in told
    assert Storage(s3.spec()).read(f"{bucket}/there") == b"1"


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


def test_half_a_key_pair_is_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    with pytest.raises(CredentialsError):
        Storage(StorageSpec(endpoint="http://127.0.0.1:9")).keys()
    with pytest.raises(CredentialsError):
        Storage(StorageSpec(endpoint="http://127.0.0.1:9")).read("s3://bucket/x")


def test_conditional_put(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    storage = Storage(s3.spec())
    for uri in (f"{bucket}/once", str(tmp_path / "deep" / "once")):
        assert storage.write(uri, b"first", if_absent=True)
        assert not storage.write(uri, b"second", if_absent=True)
        assert storage.read(uri) == b"first"
        assert storage.write(uri, b"third")
        assert storage.read(uri) == b"third"
        storage.remove(uri)
        storage.remove(uri)
        assert storage.read(uri) is None


def test_a_bucket_that_is_not_there(s3: S3Server) -> None:
    storage = Storage(s3.spec())
    with pytest.raises(BucketError) as refusal:  # a write is no test here: SeaweedFS makes the bucket
        storage.read("s3://no-such-bucket/x")
    assert refusal.value.exit_code == 5
    assert refusal.value.where == "s3://no-such-bucket"


@pytest.mark.parametrize("uri", ["s3://Not a bucket/x", "s3://bucket/"])
def test_a_name_no_store_can_have(uri: str) -> None:
    with pytest.raises(BucketError, match="check the uri"):
        Storage(StorageSpec.model_validate({"access_key": "k", "secret_key": "s", "region": "us-east-1"})).read(uri)


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


@pytest.mark.parametrize(
    ("answer", "kind", "exit_code"),
    [
        (Answer.error(400, "ExpiredToken"), CredentialsError, 5),
        (Answer.error(403, "RequestTimeTooSkewed"), CredentialsError, 5),
        (Answer.error(403, "AccessDenied"), CredentialsError, 5),
        (Answer.error(404, "NoSuchBucket"), BucketError, 5),
        (Answer.error(503, "SlowDown"), StorageError, 5),
        (Answer(200, b"half", promised=8), StorageError, 5),
    ],
)
def test_what_an_answer_means_for_the_job(answer: Answer, kind: type[AssayError], exit_code: int) -> None:
    with told_server(answer) as told, pytest.raises(StorageError) as refusal:
        told.storage().read("s3://bucket/key")
    assert type(refusal.value) is kind
    assert refusal.value.exit_code == exit_code
    assert refusal.value.where.startswith("s3://bucket")
    assert "not-a-secret" not in "".join(traceback.format_exception(refusal.value))


def test_a_missing_object_is_no_error() -> None:
    with told_server(Answer.error(404, "NoSuchKey")) as told:
        assert told.storage().read("s3://bucket/key") is None


@pytest.mark.parametrize(
    "error",
    [
        exceptions.NoCredentialsError(),
        exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        exceptions.CredentialRetrievalError(provider="process", error_msg="the helper failed"),
        exceptions.TokenRetrievalError(provider="sso", error_msg="expired"),
        exceptions.UnauthorizedSSOTokenError(),
        exceptions.SSOTokenLoadError(error_msg="no such file"),
        exceptions.ProfileNotFound(profile="nobody"),
    ],
)
def test_who_cannot_sign_has_no_credentials(error: Exception) -> None:
    assert type(job_error(error, Location("bucket", "key"))) is CredentialsError


def test_a_local_write_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    storage = Storage()
    assert storage.write(str(tmp_path / "a" / "b"), b"new")
    assert storage.write(str(tmp_path / "a" / "b"), b"newer")
    assert not storage.write(str(tmp_path / "a" / "b"), b"newest", if_absent=True)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert storage.read(str(tmp_path / "a" / "b")) == b"newer"
    assert storage.read(str(tmp_path / "a" / "c")) is None


@pytest.mark.parametrize("step", ["fsync", "replace", "link"])
def test_a_local_write_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    storage, path = Storage(), tmp_path / "file"
    if step != "link":
        storage.write(str(path), b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path if step == "replace" else os, step, full)
    with pytest.raises(StorageError, match="No space left") as refusal:
        storage.write(str(path), b"new" * 1000, if_absent=step == "link")
    assert refusal.value.where == str(path)
    assert [found.name for found in tmp_path.iterdir()] == ([] if step == "link" else ["file"])
    assert storage.read(str(path)) == (None if step == "link" else b"old")


@pytest.mark.parametrize("below", ["file/name", "file/deep/name"])
@pytest.mark.parametrize("if_absent", [True, False])
def test_a_file_where_a_folder_should_be(tmp_path: Path, below: str, if_absent: bool) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    storage = Storage()
    with pytest.raises(StorageError) as refusal:
        storage.write(str(tmp_path / below), b"new", if_absent=if_absent)
    assert refusal.value.exit_code == 5
    with pytest.raises(StorageError):
        storage.read(str(tmp_path / below))
    with pytest.raises(StorageError):
        storage.remove(str(tmp_path / below))
    assert (tmp_path / "file").read_bytes() == b"in the way"


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError):
        Storage().write(str(tmp_path / "folder"), b"new")
    with pytest.raises(StorageError):
        Storage().read(str(tmp_path / "folder"))
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint) as proxy:
        yield proxy


def through(s3: S3Server, proxy: FaultProxy, **fields: object) -> Storage:
    return Storage(s3.spec().model_copy(update={"endpoint": proxy.endpoint, "poll_s": 0.1, **fields}))


@pytest.mark.parametrize("if_absent", [True, False])
@pytest.mark.parametrize("again", [1, 3])
def test_a_write_whose_answer_is_lost_is_done(
    s3: S3Server, proxy: FaultProxy, bucket: str, if_absent: bool, again: int
) -> None:
    storage, uri = through(s3, proxy), f"{bucket}/{uuid.uuid4().hex}"
    proxy.script.extend([FaultOf.LOST_ACK] * again)
    assert storage.write(uri, b"ours", if_absent=if_absent)
    assert proxy.faults[FaultOf.LOST_ACK] == again
    assert storage.read(uri) == b"ours"
    assert not storage.write(uri, b"another's", if_absent=True)


@pytest.mark.parametrize(
    "fault", [FaultOf.INTERNAL, FaultOf.SLOW_DOWN, FaultOf.TOO_MANY, FaultOf.DENIED, FaultOf.RESET]
)
def test_every_request_is_made_again(s3: S3Server, proxy: FaultProxy, bucket: str, fault: FaultOf) -> None:
    storage, uri = through(s3, proxy), f"{bucket}/{uuid.uuid4().hex}/name"
    steps: list[Callable[[], object]] = [
        lambda: storage.write(uri, b"data"),
        lambda: storage.read(uri),
        lambda: storage.modified(uri),
        lambda: [found.name for found in storage.list(uri.removesuffix("/name"))],
        lambda: storage.remove(uri),
        lambda: storage.read(uri),
    ]
    results = []
    for step in steps:
        proxy.script.append(fault)
        results.append(step())
    assert results[:2] == [True, b"data"]
    assert results[3:] == [["name"], None, None]
    assert proxy.faults[fault] == len(steps)


def test_what_never_worked_is_refused_at_once(s3: S3Server, proxy: FaultProxy, bucket: str) -> None:
    proxy.window = FaultOf.EXPIRED
    with pytest.raises(CredentialsError, match="ExpiredToken"):
        through(s3, proxy).read(f"{bucket}/x")
    assert len(proxy.asked) == 1
    proven = through(s3, proxy, proven=True, patience_s=0.3)  # for another process of the job it does work
    with pytest.raises(CredentialsError, match="since"):
        proven.read(f"{bucket}/x")
    assert proven.patience.pauses == 1


def test_a_stranger_is_not_waited_for(s3: S3Server, bucket: str) -> None:
    """`proven` speaks of the store: credentials of this process that are wrong from the start are its own fault."""
    fields = {"access_key": SecretStr("nobody"), "secret_key": SecretStr("wrong"), "proven": True}
    storage = Storage(s3.spec().model_copy(update=fields))
    with pytest.raises(CredentialsError, match="InvalidAccessKeyId"):
        storage.read(f"{bucket}/x")
    assert not storage.patience.pauses


def test_patience_ends(s3: S3Server, proxy: FaultProxy, bucket: str) -> None:
    storage = through(s3, proxy, patience_s=0.5)
    assert storage.write(f"{bucket}/patience", b"kept")
    proxy.window = FaultOf.EXPIRED
    with pytest.raises(CredentialsError, match=r"since \d\d:\d\d:\d\d UTC") as refusal:
        storage.read(f"{bucket}/patience")
    assert "not-a-secret" not in "".join(traceback.format_exception(refusal.value))
    with pytest.raises(CredentialsError):  # as the job stops, each thing it still does must not wait again
        storage.read(f"{bucket}/patience")
    assert storage.patience.pauses == 1
    proxy.window = None
    assert storage.read(f"{bucket}/patience") == b"kept"
    proxy.window = FaultOf.EXPIRED
    with pytest.raises(CredentialsError, match="since"):
        storage.read(f"{bucket}/patience")
    assert storage.patience.pauses == 2, "what has worked again is waited for again"
    assert storage.settled().proven


def test_writes_and_reads_outlast_a_store_that_restarts(s3: S3Server, proxy: FaultProxy, bucket: str) -> None:
    storage = through(s3, proxy, retries=2)
    storage.write(f"{bucket}/before", b"1")
    timer = proxy.go_away_for(1.5)
    assert storage.write(f"{bucket}/during", b"2")
    timer.join()
    timer = proxy.go_away_for(1.5)
    assert storage.read(f"{bucket}/during") == b"2"
    timer.join()
    timer = proxy.go_away_for(1.5)
    assert "during" in {found.name for found in storage.list(bucket)}
    timer.join()
    assert storage.patience.pauses >= 3


def test_keys_that_change_in_a_file(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A long-lived storage is refused, waits, and goes on with the keys that someone wrote meanwhile."""
    write_profile(s3, monkeypatch, tmp_path)
    storage = Storage(StorageSpec(profile="moderation", poll_s=0.1))
    assert storage.write(f"{bucket}/keys", b"1")
    good = (tmp_path / "credentials").read_text()
    (tmp_path / "credentials").write_text(good.replace(s3.access_key, "nobody"))
    storage.renew()
    assert storage.keys()[0] == "nobody"
    mended = threading.Timer(1.0, lambda: (tmp_path / "credentials").write_text(good))
    mended.start()
    assert storage.read(f"{bucket}/keys") == b"1"
    mended.join()
    assert storage.patience.pauses == 1
    assert storage.keys()[0] == s3.access_key
    fs, path = arrow_place(storage, f"{bucket}/keys")
    assert fs.get_file_info(path).is_file


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


@pytest.mark.parametrize("on_s3", [True, False])
def test_what_lies_there(
    s3: S3Server, bucket: str, tmp_path: Path, on_s3: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.platform.bucket.PAGE", 3)
    storage = Storage(s3.spec())
    place = f"{bucket}/{uuid.uuid4().hex}" if on_s3 else str(tmp_path / "place")
    assert list(storage.list(place)) == []
    assert storage.modified(f"{place}/none") is None
    names = ["a b", "é", "deep/er/%41", "+", *(f"many/{n}" for n in range(6))]
    began = time.time()
    for size, name in enumerate(names):
        storage.write(f"{place}/{name}", b"x" * size)
    storage.write(f"{place}-beside", b"another place")
    found = {one.name: one for one in storage.list(place)}
    assert {one.name: one.size for one in found.values()} == {name: size for size, name in enumerate(names)}
    for name, one in found.items():
        assert abs(one.modified - began) < 60
        assert abs((storage.modified(f"{place}/{name}") or 0) - one.modified) <= 1  # S3 tells whole seconds of a HEAD
    facts = storage.facts(f"{place}/many/5")
    assert facts is not None
    assert facts.size == 9


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
