"""Planning a source of packs: what is in them is planned, once, and nothing of them passes in silence."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.generation import generations
from assay.jobs.manifest import Shard, ShardSpec, cut, read_shards
from assay.jobs.plan import PlanFacts, PlanSpec, plan
from assay.jobs.store import Store
from assay.jobs.unpacking import list_pack, says_no_image, unpack
from assay.platform.errors import ManifestError, StorageError
from assay.platform.faults import FaultKind
from assay.platform.members import Member, Row, Slice, is_pack, order_of, pack_of, parse_member
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.fault_proxy import fault_proxy
from tests.pack_files import file_ref, parquet_of, tar_of
from tests.storage_doubles import Answer, told_server
from tests.store_doubles import tree

PACKED = PlanSpec(packed=True)


def planned(
    source: Path | str, store: Path | str, spec: PlanSpec = PACKED, storage: Storage | None = None
) -> PlanFacts:
    return plan(Store.attach(storage or Storage(), str(store)), str(source), spec)


def shards(store: Path | str, storage: Storage | None = None) -> list[Shard]:
    opened = Store.open(storage or Storage(), str(store))
    return [shard for one in generations(opened) for shard in read_shards(opened, one, set(range(one.next_shard)))]


def refs(store: Path | str, storage: Storage | None = None) -> list[ImageRef]:
    return [ref for shard in shards(store, storage) for ref in shard.refs]


def names(some: Sequence[ImageRef]) -> list[str]:
    """Pack, member and fault, for people."""
    told = []
    for ref in some:
        member = parse_member(ref.uri)
        if member is None:
            told.append(ref.uri.rpartition("/")[2])
            continue
        fault = f"?{member.fault}" if member.fault else ""
        told.append(f"{member.pack.rpartition('/')[2]}: {member.name.decode(errors='backslashreplace')}{fault}")
    return told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tars"
    folder.mkdir()
    return folder


def test_a_web_dataset(folder: Path, tmp_path: Path) -> None:
    sample = [("0.jpg", b"a"), ("0.json", b"{}"), ("0.cls", b"7"), ("1.jpg", b"b"), ("1.txt", b"t"), ("1.JSON", b"{}")]
    (folder / "0000.tar").write_bytes(tar_of(sample))
    (folder / "0001.tar").write_bytes(tar_of([("é ü.png", b"c"), ("new\nline", b"d"), ("é ü.png", b"twice")]))
    (folder / "0001_stats.json").write_text("{}")
    pq.write_table(pa.table({"url": ["u"], "key": ["k"]}), folder / "0000.parquet")
    (folder / "loose.jpg").write_bytes(b"loose")
    facts = planned(folder, tmp_path / "store")
    assert names(refs(tmp_path / "store")) == [
        "0000.tar: 0.jpg",
        "0000.tar: 1.jpg",
        "0001.tar: é ü.png",
        "0001.tar: new\nline",
        "0001.tar: é ü.png",
        "loose.jpg",
    ]
    assert (facts.images, facts.new_images, facts.left_out) == (6, 6, 6)
    assert facts.bytes == sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".json")
    uris = [ref.uri for ref in refs(tmp_path / "store")]
    assert uris == sorted(set(uris))
    assert {pack_of(ref.uri) for shard in shards(tmp_path / "store") for ref in shard.refs} - {""} == {
        (folder / name).as_uri() for name in ("0000.tar", "0001.tar")
    }
    assert all(len({pack_of(ref.uri) for ref in shard.refs}) == 1 for shard in shards(tmp_path / "store"))


@pytest.mark.parametrize("name", ["a.json", "d/e.TXT", "a.b.cls", "0001_stats.json"])
def test_names_of_no_images(name: str) -> None:
    assert says_no_image(name)


@pytest.mark.parametrize("name", ["a.jpg", "json", "a.json/b", "a.mp4", "a.svg", "x.html", "noending", ".jpg", ""])
def test_other_names_may_be_of_images(name: str) -> None:
    assert not says_no_image(name)


def test_damaged_empty_and_foreign_packs_are_rows(folder: Path, tmp_path: Path) -> None:
    whole = tar_of([("a.jpg", b"a" * 600), ("b.jpg", b"b" * 600)])
    (folder / "cut.tar").write_bytes(whole[:2000])
    (folder / "broken.tar").write_bytes(whole[:1536] + b"\xff" * 512 + whole[2048:])
    (folder / "empty.tar").write_bytes(tar_of([]))
    (folder / "nothing.tar").write_bytes(b"")
    (folder / "page.tar").write_bytes(b"<html>" * 200)
    (folder / "page.parquet").write_bytes(b"<html>" * 200)
    (folder / "nothing.parquet").write_bytes(b"")
    planned(folder, tmp_path / "store")
    assert names(refs(tmp_path / "store")) == [
        "broken.tar: a.jpg",
        "broken.tar: ?CORRUPT",
        "cut.tar: a.jpg",
        "cut.tar: ?TRUNCATED",
        "nothing.parquet: ?EMPTY",
        "nothing.tar: ?EMPTY",
        "page.parquet: ?CORRUPT",
        "page.tar: ?CORRUPT",
    ]
    [broken] = [ref for ref in refs(tmp_path / "store") if "broken" in ref.uri and "?" in ref.uri]
    assert "!/000000000001536+" in broken.uri, "it says where the damage begins"


def test_a_source_of_empty_tars_is_empty(folder: Path, tmp_path: Path) -> None:
    (folder / "a.tar").write_bytes(tar_of([]))
    (folder / "b.tar").write_bytes(tar_of([("a.json", b"{}")]))
    with pytest.raises(ManifestError, match="empty") as empty:
        planned(folder, tmp_path / "store")
    assert "1 hold no images" in empty.value.why
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["a.tar.gz", "a.TGZ", "a.tar.zst", "a.tar"])
def test_a_compressed_tar_is_refused_with_a_word(name: str, folder: Path, tmp_path: Path) -> None:
    with tarfile.open(folder / name, "w:gz") as out:
        out.addfile(tarfile.TarInfo("a.jpg"))
    (folder / "0.tar").write_bytes(tar_of([("a.jpg", b"a")]))
    with pytest.raises(ManifestError, match="compressed"):
        planned(folder, tmp_path / "store")
    assert not (tmp_path / "store" / "store.json").exists()
    assert planned(folder, tmp_path / "store", PlanSpec(packed=True, exclude=(name,))).images == 1


def test_packs_that_nobody_said_are_packs(folder: Path, tmp_path: Path) -> None:
    for name in ("a.tar", "b.parquet"):
        (folder / name).write_bytes(tar_of([("a.jpg", b"a")]))
    with pytest.raises(ManifestError, match="holds packs") as refused:
        planned(folder, tmp_path / "store", PlanSpec())
    assert "--packed" in refused.value.fix
    assert not [name for name in tree(tmp_path / "store") if "part" in name]
    (folder / "loose.jpg").write_bytes(b"x")
    assert planned(folder, tmp_path / "store", PlanSpec()).images == 3, (
        "among images they are objects of no known format"
    )


def test_a_pack_is_opened_once_for_each_version(s3: S3Server, s3_place: str) -> None:
    source, store = f"{s3_place}/once", f"{s3_place}/once-store"
    for number in range(3):
        s3.put(f"{source}/{number}.tar", tar_of([(f"{n}.jpg", bytes([n])) for n in range(5)]))
    with fault_proxy(s3.endpoint) as proxy:
        storage = Storage(s3.spec().model_copy(update={"endpoint": proxy.endpoint}))

        def opened() -> list[str]:
            before = len(proxy.asked)
            planned(source, store, storage=storage)
            return sorted(path.rpartition("/")[2] for method, path in proxy.asked[before:] if path.endswith(".tar"))

        assert opened() == ["0.tar", "1.tar", "2.tar"]
        assert opened() == []
        s3.put(f"{source}/1.tar", tar_of([("new.jpg", b"new")]))
        s3.put(f"{source}/3.tar", tar_of([("more.jpg", b"more")]))
        assert opened() == ["1.tar", "3.tar"]
        facts = planned(source, store, storage=storage)
    assert (facts.images, facts.new_images, facts.generation) == (12, 0, None)
    assert len(refs(store, s3.storage)) == 15 + 2


def test_sources_that_name_packs(folder: Path, tmp_path: Path) -> None:
    tar, parquet = folder / "a.tar", folder / "b.parquet"
    tar.write_bytes(tar_of([("a.jpg", b"a")]))
    parquet.write_bytes(parquet_of([b"x", None]))
    listing = tmp_path / "packs.txt"
    listing.write_text(f"{tar}\n{parquet}\n{folder / 'missing.tar'}\n{folder / 'missing.parquet'}\n")
    sources: list[tuple[Path | str, list[str]]] = [
        (tar, ["a.tar: a.jpg"]),
        (tar.as_uri(), ["a.tar: a.jpg"]),
        (parquet, ["b.parquet: image.bytes"] * 2),
        (
            listing,
            ["a.tar: a.jpg", *["b.parquet: image.bytes"] * 2, "missing.parquet: ?GONE", "missing.tar: ?GONE"],
        ),
    ]
    for number, (source, expected) in enumerate(sources):
        planned(source, tmp_path / f"store{number}")
        assert names(refs(tmp_path / f"store{number}")) == expected


def test_a_single_pack_in_a_bucket(s3: S3Server, s3_place: str) -> None:
    s3.put(f"{s3_place}/one/a.tar", tar_of([("a.jpg", b"a")]))
    s3.put(f"{s3_place}/one/a.tar.jpg", b"beside")
    planned(f"{s3_place}/one/a.tar", f"{s3_place}/one-store", storage=s3.storage)
    assert names(refs(f"{s3_place}/one-store", s3.storage)) == ["a.tar: a.jpg"]


def test_a_pack_that_is_refused_or_out_of_reach_stops_the_plan() -> None:
    for answer in (Answer.error(403, "AccessDenied"), Answer.error(500, "InternalError")):
        for name in ("a.tar", "a.parquet"):
            with told_server(answer) as told, pytest.raises(StorageError):
                list_pack(told.storage(), ImageRef(f"s3://bucket/{name}", "e", 5000))


@pytest.mark.parametrize(("status", "kind"), [(404, FaultKind.GONE), (412, FaultKind.CHANGED)])
def test_a_pack_that_changes_while_it_is_listed_is_a_row(status: int, kind: FaultKind) -> None:
    for name in ("a.tar", "a.parquet"):
        with told_server(Answer.error(status, "AsTold")) as told:
            [ref] = list_pack(told.storage(), ImageRef(f"s3://bucket/{name}", "e", 5000)).refs
        member = parse_member(ref.uri)
        assert member == Member(f"s3://bucket/{name}", Slice(0, 5000), b"", kind)


def test_columns_of_parquet_files(folder: Path, tmp_path: Path) -> None:
    table = pa.table({"blob": [b"x", b"y"], "photo": [b"p", b"q"], "png": [b"r", b"s"], "label": [1, 2]})
    pq.write_table(table, folder / "a.parquet")
    pack = file_ref(folder / "a.parquet")
    assert names(list(list_pack(Storage(), pack).refs)) == ["a.parquet: photo", "a.parquet: png"] * 2
    assert names(list(list_pack(Storage(), pack, ("blob",)).refs)) == ["a.parquet: blob"] * 2
    pq.write_table(table.select(["blob", "label"]), folder / "a.parquet")
    with pytest.raises(ManifestError, match="which column") as refused:
        planned(folder, tmp_path / "store")
    assert "blob" in refused.value.why
    assert planned(folder, tmp_path / "store", PlanSpec(packed=True, image_columns=("blob",))).images == 2
    pq.write_table(table.select(["label"]), folder / "a.parquet")
    assert list_pack(Storage(), file_ref(folder / "a.parquet")).left_out == 1


# How they are cut


def rows_of(pack: str, groups: Sequence[int], size: int = 10) -> list[ImageRef]:
    places = [Row(group, row) for group, rows in enumerate(groups) for row in range(rows)]
    return [ImageRef(Member(f"s3://b/{pack}.parquet", place, b"jpg").uri, "e", size) for place in places]


def sizes(some: Sequence[ImageRef], **spec: int) -> list[int]:
    found = list(cut(some, 0, ShardSpec(**spec)))
    assert [ref for shard in found for ref in shard.refs] == list(some)
    assert [shard.number for shard in found] == list(range(len(found)))
    assert all(len({pack_of(ref.uri) for ref in shard.refs}) == 1 for shard in found)
    return [len(shard.refs) for shard in found]


def test_a_shard_is_made_of_whole_row_groups_where_they_fit() -> None:
    assert sizes(rows_of("a", [100] * 5), images=256) == [200, 200, 100]
    assert sizes(rows_of("a", [100, 600, 50]), images=256) == [100, 256, 256, 138]
    assert sizes(rows_of("a", [100] * 5), images=256, bytes=1500) == [100] * 5
    assert sizes(rows_of("a", [3], size=1000), bytes=10) == [1, 1, 1]


def test_no_shard_has_two_packs() -> None:
    tars = [ImageRef(Member(f"s3://b/{n}.tar", Slice(512 * k, 9), b"x").uri, "e", 9) for n in "ab" for k in range(3)]
    loose = [ImageRef(f"s3://b/{n}", "e", 9) for n in "cd"]
    assert sizes([*tars, *loose, *rows_of("e", [2, 2]), *rows_of("f", [1])], images=100) == [3, 3, 2, 4, 1]
    assert sizes([*tars, *loose], images=2) == [2, 1, 2, 1, 2]


ODD_KEYS = st.sets(
    st.lists(st.sampled_from(["a.tar", ".parquet", " ", "!", "/x", "\x01", "#", "é", "b"]), min_size=1, max_size=4).map(
        "".join
    ),
    min_size=1,
    max_size=6,
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(ODD_KEYS)
def test_whatever_packs_are_called_their_images_come_sorted(keys: set[str]) -> None:
    """With every pack a tar of two: the stream that is merged with manifests must be in their order."""
    from assay.jobs.source import _packs_last
    from assay.platform.uris import Location

    listed = sorted((ImageRef(Location("b", key).uri, "e", 1) for key in keys), key=lambda ref: ref.uri)
    ordered = list(_packs_last(iter(listed)))
    assert sorted(ordered, key=lambda ref: ref.uri) == listed
    assert ordered == sorted(listed, key=order_of)
    inside = [
        uri
        for ref in ordered
        for uri in ([Member(ref.uri, Slice(k, 1), b"x").uri for k in (0, 9)] if is_pack(ref.uri) else [ref.uri])
    ]
    assert inside == sorted(set(inside))


def test_packs_are_unpacked_in_their_places(folder: Path) -> None:
    """Many packs and objects between them, each in its turn, however long one takes."""
    found = []
    for number in range(40):
        path = folder / (f"{number:03d}.tar" if number % 3 else f"{number:03d}.jpg")
        path.write_bytes(tar_of([(f"{n}.jpg", b"x" * 9000 * (number % 5)) for n in range(3)]))
        found.append(file_ref(path))
    left_out: list[int] = []
    some = list(unpack(Storage(), found, (), left_out.append))
    assert [ref.uri for ref in some] == sorted(ref.uri for ref in some)
    assert len(some) == 14 + 3 * 26
    assert len(left_out) == 26


def test_an_error_in_one_pack_ends_the_unpacking(folder: Path) -> None:
    with io.BytesIO() as sink, tarfile.open(fileobj=sink, mode="w:gz") as out:
        out.addfile(tarfile.TarInfo("a"))
        out.close()
        (folder / "5.tar").write_bytes(sink.getvalue())
    for number in (1, 9):
        (folder / f"{number}.tar").write_bytes(tar_of([("a.jpg", b"a")]))
    with pytest.raises(ManifestError, match="compressed"):
        list(unpack(Storage(), [file_ref(path) for path in sorted(folder.iterdir())], (), lambda _: None))
