"""Reading members: each gets its own bytes or its own fault, in few requests, whatever becomes of the pack."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from assay.jobs.unpacking import list_pack
from assay.platform.errors import StorageError
from assay.platform.faults import Fault, FaultKind
from assay.platform.fetch import Range, fetch_range
from assay.platform.members import Member, Row, Slice, parse_member
from assay.platform.packs import PackReader
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.fault_proxy import FaultOf, FaultProxy, fault_proxy
from tests.pack_files import file_ref, parquet_of, tar_of
from tests.storage_doubles import Answer, told_server

BUDGET = 5000
FILES = [(f"{number:03d}.jpg", bytes([number % 251]) * (number * 37)) for number in range(100)]


def read(storage: Storage, refs: Sequence[ImageRef]) -> dict[str, bytes | Fault]:
    """Each ref once, whatever the lots."""
    found = [one for lot in PackReader(storage, BUDGET).read(refs) for one in lot]
    assert len(found) == len(refs)
    assert {ref for ref, _ in found} == set(refs)
    return {ref.uri: content for ref, content in found}


def kinds(found: dict[str, bytes | Fault]) -> set[FaultKind | None]:
    return {one.kind if isinstance(one, Fault) else None for one in found.values()}


def listed(path: Path) -> list[ImageRef]:
    return list(list_pack(Storage(), file_ref(path)).refs)


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "0001.tar"
    path.write_bytes(tar_of(FILES))
    return path


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_of([data for _, data in FILES], rows=30))
    return path


@pytest.fixture(scope="module")
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint) as proxy:
        yield proxy


def through(s3: S3Server, proxy: FaultProxy) -> Storage:
    return Storage(s3.spec().model_copy(update={"endpoint": proxy.endpoint}))


def listed_on(s3: S3Server, uri: str) -> list[ImageRef]:
    """Members of a pack in a bucket."""
    storage = s3.storage
    place = uri.removeprefix("s3://").partition("/")
    head = storage.request(lambda client: client.head_object(Bucket=place[0], Key=place[2]))
    return list(list_pack(storage, ImageRef(uri, head["ETag"].strip('"'), head["ContentLength"])).refs)


@pytest.mark.parametrize("window", [700, 20_000, 2**25])
def test_every_member_has_its_own_bytes(tar: Path, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.platform.packs.WINDOW_BYTES", window)
    found = read(Storage(), listed(tar))
    assert list(found.values()) == [data for _, data in FILES]
    some = listed(tar)[90:10:-7]
    assert set(read(Storage(), some).values()) == {FILES[number][1] for number in range(90, 10, -7)}


def test_every_row_has_its_own_bytes(parquet: Path) -> None:
    refs = listed(parquet)
    assert list(read(Storage(), refs).values()) == [data for _, data in FILES]
    assert set(read(Storage(), [refs[5], refs[95], refs[31]]).values()) == {FILES[number][1] for number in (5, 31, 95)}


def test_a_reader_fetches_members_and_whole_objects_alike(tar: Path, tmp_path: Path) -> None:
    (tmp_path / "loose.jpg").write_bytes(b"loose")
    reader = PackReader(Storage(), BUDGET)
    assert reader.fetch(file_ref(tmp_path / "loose.jpg")) == b"loose"
    ref = listed(tar)[7]
    assert reader.fetch(ImageRef(ref.uri, ref.etag, 0)) == FILES[7][1], "a report knows no sizes"


def test_too_large_empty_and_damaged_members_are_told_without_reading(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of([("large.jpg", b"x" * (BUDGET + 1)), ("none.jpg", b""), ("good.jpg", b"good")])[:7168])
    found = {parse_member(uri).name: one for uri, one in read(Storage(), listed(path)).items()}  # type: ignore[union-attr]  # it is one
    assert found[b"none.jpg"] == b""
    assert found[b"good.jpg"] == b"good"
    assert found[b"large.jpg"] == Fault(FaultKind.TOO_LARGE, "5001 bytes, budget 5000")
    assert isinstance(found[b""], Fault)
    assert found[b""].kind is FaultKind.TRUNCATED, "the mark of the end was cut off"


def test_rows_that_are_null_or_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_of([b"one", None, b"", b"x" * (BUDGET + 1), b"five"], rows=2))
    first, null, empty, large, last = read(Storage(), listed(path)).values()
    assert (first, empty, last) == (b"one", b"", b"five")
    assert null == Fault(FaultKind.EMPTY, "null")
    assert isinstance(large, Fault)
    assert large.kind is FaultKind.TOO_LARGE


def test_rows_behind_damage_are_corrupt_and_others_are_not(parquet: Path) -> None:
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    parquet.write_bytes(parquet_of([data for _, data in FILES], rows=30, **plain))
    refs = listed(parquet)
    data = bytearray(parquet.read_bytes())
    middle = data.index(FILES[45][1])
    data[middle - 4 : middle] = b"\xff" * 4  # its length
    parquet.write_bytes(data)
    found = read(Storage(), [ImageRef(ref.uri, file_ref(parquet).etag, 0) for ref in refs])
    values = list(found.values())
    assert values[:30] == [data for _, data in FILES[:30]]
    assert values[60:] == [data for _, data in FILES[60:]]
    assert {one.kind for one in values[30:60] if isinstance(one, Fault)} == {FaultKind.CORRUPT}
    assert all(isinstance(value, Fault) or value == data for value, (_, data) in zip(values, FILES, strict=True))


def test_a_parquet_file_that_is_none_any_more(parquet: Path) -> None:
    refs = listed(parquet)
    parquet.write_bytes(b"no Parquet at all")
    assert kinds(read(Storage(), [ImageRef(ref.uri, file_ref(parquet).etag, 0) for ref in refs])) == {FaultKind.CORRUPT}
    pack = file_ref(parquet)
    parquet.write_bytes(parquet_of([b"x"]))
    odd = [
        Member(pack.uri, Row(group, 9), name, None)
        for group, name in ((0, b"image.bytes"), (5, b"image.bytes"), (0, b"z"))
    ]
    found = read(Storage(), [ImageRef(one.uri, file_ref(parquet).etag, 0) for one in odd])
    assert kinds(found) == {FaultKind.CHANGED}


@pytest.mark.parametrize("name", ["tar", "parquet"])
def test_a_pack_that_changed_or_went_takes_its_members_along(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    refs = listed(path)
    path.write_bytes(path.read_bytes() + b"!")
    assert kinds(read(Storage(), refs)) == {FaultKind.CHANGED}
    path.unlink()
    assert kinds(read(Storage(), refs)) == {FaultKind.GONE}
    path.mkdir()
    assert kinds(read(Storage(), refs)) == {FaultKind.CHANGED}


def test_a_slice_behind_the_end_is_no_crash(tar: Path) -> None:
    pack = file_ref(tar)
    beyond = [Member(pack.uri, Slice(start, 10), b"x").uri for start in (pack.size - 5, pack.size + 5)]
    assert kinds(read(Storage(), [ImageRef(uri, pack.etag, 10) for uri in beyond])) == {FaultKind.CHANGED}


# On a real server


@pytest.mark.parametrize(("name", "requests"), [("0001.tar", 1), ("a.parquet", 1)])
def test_one_request_reads_a_pack(name: str, requests: int, s3: S3Server, s3_place: str, proxy: FaultProxy) -> None:
    data = tar_of(FILES) if name.endswith("tar") else parquet_of([data for _, data in FILES], rows=30)
    s3.put(f"{s3_place}/{name}", data)
    refs = listed_on(s3, f"{s3_place}/{name}")
    before = len(proxy.asked)
    storage = through(s3, proxy)
    assert list(read(storage, refs).values()) == [data for _, data in FILES]
    assert len(proxy.asked) - before == requests
    assert storage.etags.seen == {}, "a range is not held against the etag of the whole"


def test_groups_that_lie_near_each_other_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(storage: Storage, uri: str, etag: str, start: int, length: int) -> Range | Fault:
        asked.append(length)
        return fetch_range(storage, uri, etag, start, length)

    monkeypatch.setattr("assay.platform.ranges.fetch_range", counted)
    path = tmp_path / "a.parquet"
    pictures = [bytes([number]) + os.urandom(90_000) for number in range(200)]
    path.write_bytes(parquet_of(pictures, rows=20))
    refs = listed(path)
    reader = PackReader(Storage(), 2**20)
    asked.clear()
    for first in range(0, 200, 40):
        some = [content for lot in reader.read(refs[first : first + 40]) for _, content in lot]
        assert some == pictures[first : first + 40]
    assert len(asked) == 1 + 5, "the footer, and one request for every two row groups"
    assert sum(asked[1:]) < 1.01 * sum(map(len, pictures))


@pytest.mark.parametrize(
    "fault", [FaultOf.SLOW_DOWN, FaultOf.RESET, FaultOf.TRUNCATED, FaultOf.INTERNAL, FaultOf.LOST_ANSWER]
)
def test_what_passes_is_asked_again(fault: FaultOf, s3: S3Server, s3_place: str, proxy: FaultProxy) -> None:
    s3.put(f"{s3_place}/again.tar", tar_of(FILES))
    refs = listed_on(s3, f"{s3_place}/again.tar")
    proxy.script.append(fault)
    before = len(proxy.asked)
    storage = through(s3, proxy)
    assert list(read(storage, refs).values()) == [data for _, data in FILES]
    assert not proxy.script
    assert len(proxy.asked) - before == 2


@pytest.mark.parametrize("name", ["c.tar", "c.parquet"])
def test_on_s3_a_pack_that_changed_or_went_takes_its_members_along(name: str, s3: S3Server, s3_place: str) -> None:
    make = tar_of if name.endswith("tar") else lambda files: parquet_of([data for _, data in files])
    uri = f"{s3_place}/{name}"
    s3.put(uri, make(FILES))
    refs = listed_on(s3, uri)
    s3.put(uri, make(FILES[:50]))
    assert kinds(read(s3.storage, refs)) == {FaultKind.CHANGED}
    s3.storage.remove(uri)
    assert kinds(read(s3.storage, refs)) == {FaultKind.GONE}


def test_a_store_that_ignores_ranges_stops_the_job() -> None:
    ref = ImageRef(Member("s3://bucket/a.tar", Slice(512, 7), b"x").uri, "e", 7)
    with told_server(Answer(200, b"everything there is")) as told, pytest.raises(StorageError, match="range"):
        read(told.storage(), [ref])


def test_one_forbidden_pack_is_a_fault_of_its_members() -> None:
    ref = ImageRef(Member("s3://bucket/a.tar", Slice(512, 7), b"x").uri, "e", 7)
    with told_server(Answer.error(403, "AccessDenied")) as told:
        assert kinds(read(told.storage(), [ref])) == {FaultKind.FORBIDDEN}
    with told_server(Answer.error(416, "InvalidRange")) as told:
        assert kinds(read(told.storage(), [ref])) == {FaultKind.CHANGED}
