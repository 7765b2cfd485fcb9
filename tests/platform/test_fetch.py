import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from tests.fault_proxy import FaultOf, FaultProxy, fault_proxy
from tests.storage_doubles import Answer, StorageOf, told_server

BUDGET = 1000
PICTURE = os.urandom(BUDGET)


def kind_of(found: bytes | Fault) -> FaultKind:
    assert isinstance(found, Fault), found
    return found.kind


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


@pytest.fixture(scope="module")
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint, scripted=re.compile(r"\.jpg$")) as proxy:
        yield proxy


@pytest.fixture
def picture(s3: S3Server, s3_place: str) -> ImageRef:
    s3.put(f"{s3_place}/a b.jpg", PICTURE)
    return next(ref for ref in list_objects(s3.storage, s3_place) if ref.uri.endswith("/a b.jpg"))


def through(s3: S3Server, proxy: FaultProxy, **fields: object) -> Storage:
    proxy.script.clear()
    quick = {"endpoint": proxy.endpoint, "poll_s": 0.1, **fields}
    return Storage(s3.spec().model_copy(update=quick))


PASSING = [*FaultOf]
PASSING.remove(FaultOf.EXPIRED)


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again(s3: S3Server, proxy: FaultProxy, picture: ImageRef, fault: FaultOf) -> None:
    storage = through(s3, proxy, grace_s=0.2, least_bytes_per_s=10_000)  # a picture at 1 KB/s takes a second
    proxy.script.extend([fault, fault])
    before, met = proxy.requests["GET"], proxy.faults[fault]
    assert fetch(storage, picture, BUDGET) == PICTURE
    assert proxy.faults[fault] - met == 2
    assert proxy.requests["GET"] - before == 3, "two tries in vain, one that did it"


@pytest.mark.parametrize(
    ("fault", "kind", "tries"),
    [
        (FaultOf.INTERNAL, FaultKind.UNREACHABLE, 4),
        (FaultOf.RESET, FaultKind.UNREACHABLE, 4),
        (FaultOf.TRUNCATED, FaultKind.UNREACHABLE, 4),
        (FaultOf.FLIPPED, FaultKind.UNREACHABLE, 4),
        (FaultOf.DENIED, FaultKind.FORBIDDEN, 5),
    ],
)
def test_what_does_not_pass_is_a_fault_in_the_end(
    s3: S3Server, proxy: FaultProxy, picture: ImageRef, fault: FaultOf, kind: FaultKind, tries: int
) -> None:
    """The object alone fails: that the store is well is asked of something else."""
    storage = through(s3, proxy, retries=tries + (fault is FaultOf.DENIED))
    proxy.script.extend([fault] * 20)
    met = proxy.faults[fault]
    found = fetch(storage, picture, BUDGET)
    assert kind_of(found) is kind
    assert proxy.faults[fault] - met >= tries  # aiohttp asks once more by itself when a kept connection was reset
    assert storage.retried.total() == tries
    assert not storage.patience.pauses


def test_a_clock_that_is_off(s3: S3Server, proxy: FaultProxy, picture: ImageRef) -> None:
    storage = through(s3, proxy)
    proxy.script.extend([FaultOf.SKEWED] * 20)
    met = proxy.faults[FaultOf.SKEWED]
    with pytest.raises(CredentialsError, match="set the clock"):
        fetch(storage, picture, BUDGET)
    assert proxy.faults[FaultOf.SKEWED] - met == 3


@pytest.mark.parametrize(("change", "kind"), [("changed", FaultKind.CHANGED), ("gone", FaultKind.GONE)])
def test_what_is_final_is_not_asked_again(
    s3: S3Server, proxy: FaultProxy, s3_place: str, change: str, kind: FaultKind
) -> None:
    uri = f"{s3_place}/final/{change}.jpg"
    s3.put(uri, PICTURE)
    [ref] = [ref for ref in list_objects(s3.storage, s3_place) if ref.uri == uri]
    if change == "gone":
        s3.storage.remove(uri)
    else:
        s3.put(uri, b"another")
    storage, before = through(s3, proxy), proxy.requests["GET"]
    assert kind_of(fetch(storage, ref, BUDGET)) is kind
    assert proxy.requests["GET"] - before == 1


def test_etags_that_look_like_md5_and_are_not() -> None:
    """The same bytes twice are believed; a bucket whose etags never were MD5s is asked once for each image."""
    with told_server(Answer(200, b"picture", etag="0" * 32)) as told:
        storage = told.storage(retries=6)
        assert fetch(storage, ImageRef("s3://bucket/a", "0" * 32, 7), BUDGET) == b"picture"
        assert len(told.asked) == 2
        assert fetch(storage, ImageRef("s3://bucket/b", "0" * 32, 7), BUDGET) == b"picture"
        assert len(told.asked) == 3


def test_a_store_that_was_never_there(picture: ImageRef) -> None:
    with told_server(Answer(200)) as told:
        storage = told.storage()
    with pytest.raises(StorageError, match="cannot reach"):
        fetch(storage, picture, BUDGET)


def test_a_store_that_fails_for_all_is_no_fault_of_one(picture: ImageRef) -> None:
    with told_server(Answer.error(500, "InternalError")) as told, pytest.raises(StorageError) as refusal:
        fetch(told.storage(), picture, BUDGET)
    assert refusal.value.where == picture.uri


@pytest.mark.parametrize("how", ["resets", "500", "expired"])
def test_everyone_waits_together_while_the_store_is_away(
    s3: S3Server, proxy: FaultProxy, picture: ImageRef, how: str
) -> None:
    """Eight threads are refused; one of them asks now and then, and nothing becomes a fault."""
    storage = through(s3, proxy, retries=3, poll_s=0.25)
    assert fetch(storage, picture, BUDGET) == PICTURE, "it works before"
    before, scripted, proxy.scripted = len(proxy.asked), proxy.scripted, re.compile("")
    if how == "resets":
        timer = proxy.go_away_for(3)
    else:
        timer = proxy.expire_for(3, FaultOf.EXPIRED if how == "expired" else FaultOf.INTERNAL)
    seen: list[float | None] = []
    watch = threading.Timer(2, lambda: seen.append(storage.patience.paused_since))
    watch.start()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fetch(storage, picture, BUDGET), range(8)))
    timer.join()
    watch.join()
    proxy.scripted = scripted
    assert found == [PICTURE] * 8
    assert storage.patience.paused_since is None
    [paused_since] = seen
    assert paused_since is not None
    assert abs(time.time() - paused_since) < 60
    # Each thread's own tries (a reset of a kept connection counts double), then one poll each quarter of a second.
    assert len(proxy.asked) - before <= 8 * 3 * 2 + 8 + 2 * 3 / 0.25 + 8


def test_threads_keep_their_connections(s3: S3Server, proxy: FaultProxy, picture: ImageRef) -> None:
    storage, threads, images = through(s3, proxy), 8, 200
    opened, asked = proxy.connections, len(proxy.asked)
    with ThreadPoolExecutor(threads) as pool:
        assert set(pool.map(lambda _: fetch(storage, picture, BUDGET), range(images))) == {PICTURE}
    print(f"{images} images, {threads} threads: {proxy.connections - opened} connections")
    assert proxy.connections - opened <= threads
    assert len(proxy.asked) - asked == images


@pytest.mark.parametrize("retries", [1, 10])
def test_a_storm(s3: S3Server, picture: ImageRef, retries: int) -> None:
    """At 15 % faults of all kinds many images are lost without further tries, and none with them."""
    images = 100
    with fault_proxy(s3.endpoint, rate=0.15, seed=7) as stormy:
        storage = through(s3, stormy, retries=retries)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda _: _outcome(storage, picture), range(images)))
        met = {fault.value: count for fault, count in stormy.faults.items()}
    print(f"{retries} tries: {found.count(True)} of {images} whole; {met}")
    assert False not in found, "altered bytes were taken"
    assert (found.count(True) == images) == (retries == 10)


def _outcome(storage: Storage, ref: ImageRef) -> bool | None:
    """Whether the right bytes came; None for none."""
    try:
        found = fetch(storage, ref, BUDGET)
    except StorageError:  # with one try a second fault in a row passes for a store that is away
        return None
    return None if isinstance(found, Fault) else found == PICTURE
