"""Object storage on a real server: whole objects, refusals that are told apart, and tries that outlast what passes."""

import pickle
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore import exceptions
from pydantic import SecretStr

from assay.platform.errors import AssayError, BucketError, CredentialsError, StorageError
from assay.platform.other_clients import arrow_place
from assay.platform.refusals import job_error
from assay.platform.storage import Storage, StorageSpec
from assay.platform.uris import Location
from tests.conftest import S3Server
from tests.fault_proxy import FaultOf, FaultProxy, fault_proxy
from tests.platform.s3_setup import through, without_aws, write_profile
from tests.storage_doubles import Answer, told_server


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
