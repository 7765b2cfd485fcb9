"""Fetching one image: its bytes, a fault of its own, or an error of the job; one request where one will do."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore import exceptions

from assay.platform.errors import BucketError, CredentialsError, StorageError
from assay.platform.faults import FAULTS, OK, Fault, FaultKind
from assay.platform.fetch import fetch, file_etag, refuse_blanket_denial
from assay.platform.listing import list_objects
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from assay.platform.uris import file_uri
from tests.conftest import S3Server
from tests.platform.fetched import BUDGET, kind_of
from tests.storage_doubles import Answer, StorageOf, told_server


def local_ref(path: Path) -> ImageRef:
    facts = path.stat()
    return ImageRef(file_uri(os.fsencode(path)), file_etag(facts), facts.st_size)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"12345")
    return path


def test_a_file(file: Path) -> None:
    assert fetch(Storage(), local_ref(file), BUDGET) == b"12345"
    assert fetch(Storage(), ImageRef(local_ref(file).uri, "", 0), BUDGET) == b"12345"  # from a list: etag unknown


def test_a_file_with_any_name(tmp_path: Path) -> None:
    for name in (b"\xff", b"a\nb", b"%41", b"#?"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.write_bytes(name)
    refs = list(list_objects(Storage(), str(tmp_path)))
    assert {bytes(fetch(Storage(), ref, BUDGET)) for ref in refs} == {b"\xff", b"a\nb", b"%41", b"#?"}  # type: ignore[arg-type]  # a Fault fails


def test_an_empty_file_is_fetched(file: Path) -> None:
    file.write_bytes(b"")
    assert fetch(Storage(), local_ref(file), BUDGET) == b""  # decoding says EMPTY


def rewritten(file: Path) -> None:
    file.write_bytes(b"123456")


def replaced_alike(file: Path) -> None:
    """Another file of the same size and time: only the inode tells."""
    facts = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"54321")
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.replace(file)


def touched(file: Path) -> None:
    facts = file.stat()
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))


def made_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("change", [rewritten, replaced_alike, touched, made_a_folder])
def test_a_file_that_changed(file: Path, change: Callable[[Path], None]) -> None:
    ref = local_ref(file)
    change(file)
    assert kind_of(fetch(Storage(), ref, BUDGET)) is FaultKind.CHANGED


def test_a_file_that_is_gone(file: Path) -> None:
    ref = local_ref(file)
    file.unlink()
    assert kind_of(fetch(Storage(), ref, BUDGET)) is FaultKind.GONE


def test_a_file_that_may_not_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = local_ref(file)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # tests may run as root
    assert fetch(Storage(), ref, BUDGET) == Fault(FaultKind.FORBIDDEN, "Permission denied")


def test_a_disk_that_fails(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = local_ref(file)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    assert kind_of(fetch(Storage(), ref, BUDGET)) is FaultKind.UNREACHABLE


def test_too_large_by_the_listing_is_not_even_opened() -> None:
    with told_server(Answer(200, b"x")) as told:
        for uri in ("file:///nonexistent", "s3://bucket/key"):
            found = fetch(told.storage(), ImageRef(uri, "etag", BUDGET + 1), BUDGET)
            assert found == Fault(FaultKind.TOO_LARGE, f"{BUDGET + 1} bytes, budget {BUDGET}")
        assert told.asked == []


def test_too_large_by_what_is_there(file: Path) -> None:
    """The size in a list or manifest may be missing or wrong: the body must not be read into memory all the same."""
    file.write_bytes(b"x" * (BUDGET + 1))
    assert kind_of(fetch(Storage(), ImageRef(local_ref(file).uri, "", 0), BUDGET)) is FaultKind.TOO_LARGE
    with told_server(Answer(200, b"x", promised=10**15)) as told:  # reading would end as UNREACHABLE
        found = fetch(told.storage(), ImageRef("s3://bucket/key", "", 0), BUDGET)
        assert kind_of(found) is FaultKind.TOO_LARGE
        assert len(told.asked) == 1


def test_exactly_as_large_as_allowed(file: Path) -> None:
    file.write_bytes(b"x" * BUDGET)
    assert fetch(Storage(), local_ref(file), BUDGET) == b"x" * BUDGET


def test_one_request_for_one_image() -> None:
    with told_server(Answer(200, b"picture")) as told:
        assert fetch(told.storage(retries=6), ImageRef("s3://bucket/a b", "e-2", 7), BUDGET) == b"picture"
        [(method, path, headers)] = told.asked
    assert (method, path) == ("GET", "/bucket/a%20b")
    assert headers["If-Match"] == '"e-2"'


def test_an_unknown_etag_is_not_pinned() -> None:
    with told_server(Answer(200, b"picture")) as told:
        fetch(told.storage(), ImageRef("s3://bucket/a", "", 0), BUDGET)
        assert "If-Match" not in told.asked[0][2]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer.error(404, "NoSuchKey"), FaultKind.GONE),
        (Answer.error(412, "PreconditionFailed"), FaultKind.CHANGED),
        (Answer.error(403, "AccessDenied"), FaultKind.FORBIDDEN),
        (Answer.error(403, "InvalidObjectState"), FaultKind.FORBIDDEN),
        (Answer.error(400, "InvalidRequest"), FaultKind.UNREACHABLE),
    ],
)
def test_what_is_a_fault_of_one_image(answer: Answer, kind: FaultKind) -> None:
    with told_server(answer) as told:
        found = fetch(told.storage(), ImageRef("s3://bucket/key", "etag", 7), BUDGET)
        assert kind_of(found) is kind
        assert FAULTS[kind].transient
        assert len(told.asked) == 1
    assert isinstance(found, Fault)
    assert "not-a-secret" not in found.detail


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer.error(400, "ExpiredToken"), CredentialsError),
        (Answer.error(403, "InvalidAccessKeyId"), CredentialsError),
        (Answer.error(403, "SignatureDoesNotMatch"), CredentialsError),
        (Answer.error(403, "RequestTimeTooSkewed"), CredentialsError),
        (Answer.error(404, "NoSuchBucket"), BucketError),
    ],
)
def test_what_stops_the_job(answer: Answer, kind: type[StorageError]) -> None:
    with told_server(answer) as told, pytest.raises(kind) as refusal:
        fetch(told.storage(), ImageRef("s3://bucket/key", "etag", 7), BUDGET)
    assert refusal.value.exit_code == 5


@pytest.mark.parametrize(
    "error",
    [
        exceptions.NoCredentialsError(),
        exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        exceptions.CredentialRetrievalError(provider="process", error_msg="the helper failed"),
        exceptions.TokenRetrievalError(provider="sso", error_msg="expired"),
        exceptions.UnauthorizedSSOTokenError(),
    ],
)
def test_who_cannot_sign_has_no_faults(error: Exception) -> None:
    class Unsigned:
        async def get_object(self, **_: object) -> None:
            raise error

    with pytest.raises(CredentialsError):
        fetch(StorageOf(Unsigned()), ImageRef("s3://bucket/key", "etag", 7), BUDGET)


def test_a_real_object(s3: S3Server, s3_place: str) -> None:
    bucket, storage = s3_place, s3.storage
    keys = ["a b", "new\nline", "%41", "é<b>", "..x", "+"]
    for key in [*keys, "changed", "gone"]:
        s3.put(f"{bucket}/{key}", key.encode())
    refs = {ref.uri.removeprefix(f"{bucket}/"): ref for ref in list_objects(storage, bucket)}
    s3.put(f"{bucket}/changed", b"another")
    storage.remove(f"{bucket}/gone")
    assert {key: fetch(storage, refs[key], BUDGET) for key in keys} == {key: key.encode() for key in keys}
    assert kind_of(fetch(storage, refs["changed"], BUDGET)) is FaultKind.CHANGED
    assert kind_of(fetch(storage, refs["gone"], BUDGET)) is FaultKind.GONE
    with pytest.raises(BucketError):
        fetch(storage, ImageRef("s3://never-made/x", "", 0), BUDGET)


@pytest.mark.parametrize(
    ("outcomes", "kind"),
    [([FaultKind.FORBIDDEN.value] * 8, BucketError), ([FaultKind.UNREACHABLE.value] * 9, StorageError)],
)
def test_what_fails_for_all_is_no_fault_of_one(outcomes: list[str], kind: type[StorageError]) -> None:
    with pytest.raises(kind) as refusal:
        refuse_blanket_denial(outcomes, "here")
    assert type(refusal.value) is kind
    assert refusal.value.where == "here"
    refuse_blanket_denial(outcomes[:7], "too few to tell")
    refuse_blanket_denial([*outcomes, OK], "one could be read")
    refuse_blanket_denial([*outcomes, FaultKind.GONE], "another reason")


def test_other_faults_may_be_of_all() -> None:
    for kind in set(FaultKind) - {FaultKind.FORBIDDEN, FaultKind.UNREACHABLE}:
        refuse_blanket_denial([kind.value] * 100, "here")
    refuse_blanket_denial([], "nowhere")


def test_etags_that_look_like_md5_and_are_not() -> None:
    """The same bytes twice are believed; a bucket whose etags never were MD5s is asked once for each image."""
    with told_server(Answer(200, b"picture", etag="0" * 32)) as told:
        storage = told.storage(retries=6)
        assert fetch(storage, ImageRef("s3://bucket/a", "0" * 32, 7), BUDGET) == b"picture"
        assert len(told.asked) == 2
        assert fetch(storage, ImageRef("s3://bucket/b", "0" * 32, 7), BUDGET) == b"picture"
        assert len(told.asked) == 3
