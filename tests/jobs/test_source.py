import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from assay.jobs.source import SourceSpec, read_source, source_root
from assay.platform.errors import BucketError, CredentialsError, ManifestError, SpecError, StorageError
from assay.platform.faults import Fault, FaultKind
from assay.platform.fetch import fetch, file_etag
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from assay.platform.uris import file_uri
from tests.conftest import S3Server
from tests.storage_doubles import Answer, told_server

ALL = SourceSpec()


def read(source: Path | str, spec: SourceSpec = ALL, storage: Storage | None = None) -> list[ImageRef]:
    return list(read_source(storage or Storage(), str(source), spec))


def uri(path: Path) -> str:
    return file_uri(os.fsencode(path))


def ref(path: Path) -> ImageRef:
    return ImageRef(uri(path), file_etag(path.stat()), path.stat().st_size)


def names(refs: Sequence[ImageRef]) -> list[str]:
    return [ref.uri.rpartition("/")[2] for ref in refs]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few files, one of them in a folder."""
    folder = tmp_path / "a folder"
    for name in ("b.jpg", "a.jpg", "new\nline.txt", "deep/er/c.png", "%41 ü.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture(scope="module")
def bucket(s3: S3Server, s3_place: str) -> str:
    for key in ("in/b.jpg", "in/a b%41.jpg", "in/deep/\nc.png", "in2/d.jpg"):
        s3.put(f"{s3_place}/{key}", key.encode())
    return s3_place


def manifest(path: Path, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


# Folders and prefixes


def test_everything_in_a_folder_is_planned(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert read(folder) == sorted((ref(path) for path in files), key=lambda ref: ref.uri)
    assert len(files) == 5


def test_a_prefix(s3: S3Server, bucket: str) -> None:
    storage = s3.storage
    found = [ref.uri.removeprefix(bucket) for ref in read(f"{bucket}/in/", storage=storage)]
    assert found == ["/in/a b%41.jpg", "/in/b.jpg", "/in/deep/\nc.png"]
    assert len(read(f"{bucket}/in", storage=storage)) == 4  # a prefix is a beginning of keys, as everywhere on S3


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (SourceSpec(include=("*.jpg",)), ["%41 ü.jpg", "a.jpg", "b.jpg"]),
        (SourceSpec(include=("deep/*",)), ["deep/er/c.png"]),
        (SourceSpec(include=("c.png",)), []),  # names are relative to the source, not of the last folder
        (SourceSpec(exclude=("*.jpg",)), ["deep/er/c.png", "new\nline.txt"]),
        (SourceSpec(include=("*.jpg",), exclude=("a*",)), ["%41 ü.jpg", "b.jpg"]),
        (SourceSpec(include=("new?line.*", "%41*")), ["%41 ü.jpg", "new\nline.txt"]),
        (SourceSpec(include=("*.JPG",)), []),
        (SourceSpec(exclude=("*",)), []),
    ],
)
def test_patterns(folder: Path, spec: SourceSpec, expected: list[str]) -> None:
    found = read(folder, spec)
    assert sorted(ref.uri for ref in found) == sorted(uri(folder / name) for name in expected)
    assert read(f"{folder}/", spec) == found
    assert read(uri(folder), spec) == found


def test_patterns_of_a_prefix(s3: S3Server, bucket: str) -> None:
    storage = s3.storage
    for source in (f"{bucket}/in", f"{bucket}/in/"):
        found = read(source, SourceSpec(include=("deep/*", "a b%41.jpg")), storage)
        assert names(found) == ["a b%41.jpg", "\nc.png"]
    assert names(read(bucket, SourceSpec(include=("in*",), exclude=("in/*",)), storage)) == ["d.jpg"]


def test_where_names_begin(folder: Path, tmp_path: Path) -> None:
    assert source_root(str(folder)) == source_root(f"{folder}/") == uri(folder)
    assert source_root("s3://b/p/") == source_root("s3://b/p") == "s3://b/p"
    assert source_root("s3://b") == "s3://b"
    assert source_root("list.txt") == source_root("s3://b/m.parquet") == ""
    (tmp_path / "link").symlink_to(folder)
    assert source_root(str(tmp_path / "link")) == uri(folder)


def test_a_source_that_is_not_there(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(BucketError):
        read(tmp_path / "nothing")
    with pytest.raises(BucketError):
        read("s3://never-made/x", storage=s3.storage)
    with pytest.raises(SpecError, match="gs://"):
        read("gs://bucket")


# Lists


def test_a_list_of_many_kinds(s3: S3Server, bucket: str, folder: Path, tmp_path: Path) -> None:
    lines = ["# comment", "", f"  {folder}/b.jpg\t", uri(folder / "new\nline.txt"), f"{bucket}/in/a b%41.jpg", "   "]
    for text in ("\n".join(lines), "\r\n".join(lines), "\ufeff" + "\n".join(lines) + "\n"):
        source = tmp_path / "list.txt"
        source.write_bytes(text.encode())
        found = read(source, storage=s3.storage)
        assert [one.uri for one in found] == sorted(one.uri for one in found)
        assert found[:2] == [ref(folder / "b.jpg"), ref(folder / "new\nline.txt")]
        assert (found[2].uri, found[2].size) == (f"{bucket}/in/a b%41.jpg", 13)
        assert fetch(s3.storage, found[2], 100) == b"in/a b%41.jpg"


def test_only_a_newline_ends_a_line(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    keys = ["line\u2028separator", "next\x85line", "form\x0cfeed", "no-break\u00a0"]
    for key in keys:
        s3.put(f"{bucket}/odd/{key}", key.encode())
    source = tmp_path / "list.txt"
    source.write_bytes("\n".join(f"{bucket}/odd/{key}" for key in keys).encode())
    found = read(source, storage=s3.storage)
    assert [one.uri for one in found] == sorted(f"{bucket}/odd/{key}" for key in keys)
    assert all(one.etag for one in found)


@pytest.mark.parametrize("name", ["list.txt", "images.LST", "x.list", "x.uris"])
def test_lists_are_known_by_their_names(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"{folder}/a.jpg")
    assert read(tmp_path / name) == [ref(folder / "a.jpg")]


def test_a_list_in_a_bucket(s3: S3Server, bucket: str) -> None:
    s3.put(f"{bucket}/list.txt", f"{bucket}/in/b.jpg".encode())
    assert names(read(f"{bucket}/list.txt", storage=s3.storage)) == ["b.jpg"]


def test_what_is_missing_stays_planned(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    """It ends as GONE in its row, not as silence."""
    source = tmp_path / "list.txt"
    source.write_text(f"{tmp_path}/nothing.jpg\n{bucket}/nothing.jpg\n{bucket}/in/b.jpg")
    storage = s3.storage
    local, there, gone = read(source, storage=storage)
    assert (local.etag, local.size, gone.etag, gone.size) == ("", 0, "", 0)
    assert there.etag
    assert fetch(storage, local, 100) == Fault(FaultKind.GONE)
    assert fetch(storage, gone, 100) == Fault(FaultKind.GONE, "NoSuchKey")


def test_one_forbidden_object_stays_planned(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3://bucket/key")
    with told_server(Answer.error(403, "AccessDenied")) as told:
        assert read(tmp_path / "list.txt", storage=told.storage()) == [ImageRef("s3://bucket/key", "", 0)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer.error(400, "ExpiredToken"), CredentialsError),
        (Answer.error(403, "SignatureDoesNotMatch"), CredentialsError),
        (Answer.error(404, "NoSuchBucket"), BucketError),
    ],
)
def test_what_concerns_all_of_a_list_is_no_gap_in_it(tmp_path: Path, answer: Answer, kind: type[StorageError]) -> None:
    """The answer to a HEAD has no body, so its code tells nothing: 403 may be one object's or the caller's."""
    (tmp_path / "list.txt").write_text("s3://bucket/key")
    with told_server(answer) as told, pytest.raises(kind):
        read(tmp_path / "list.txt", storage=told.storage())


def test_wrong_credentials_and_a_list(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{bucket}/in/b.jpg")
    wrong = Storage(s3.spec().model_copy(update={"secret_key": SecretStr("wrong")}))
    with pytest.raises(CredentialsError):
        read(tmp_path / "list.txt", storage=wrong)
    (tmp_path / "list.txt").write_text("s3://never-made/b.jpg")
    with pytest.raises(BucketError):
        read(tmp_path / "list.txt", storage=s3.storage)


def test_patterns_see_whole_uris_of_a_list(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{folder}/a.jpg\n{folder}/deep/er/c.png")
    assert names(read(tmp_path / "list.txt", SourceSpec(include=("*/deep/*",)))) == ["c.png"]
    assert read(tmp_path / "list.txt", SourceSpec(include=("deep/*",))) == []


# Manifests


def test_a_manifest_is_taken_at_its_word(tmp_path: Path) -> None:
    """No request for any image: etags and sizes are the manifest's."""
    uris = ["s3://b/z", "s3://b/a\n%41", "file:///x%0A", "/y"]
    path = manifest(tmp_path / "m.parquet", uri=[*uris], etag=['"e1"', "e2-3", "e3", None], size=[5, 6, 7, None])
    assert read(path) == [
        ImageRef("file:///x%0A", "e3", 7),
        ImageRef("file:///y", "", 0),
        ImageRef("s3://b/a\n%41", "e2-3", 6),
        ImageRef("s3://b/z", "e1", 5),
    ]


def test_an_s3_inventory(tmp_path: Path) -> None:
    """In Parquet, unlike CSV, keys of an inventory are not url-encoded."""
    path = manifest(
        tmp_path / "inventory.parquet",
        bucket=["b", "b", "b"],
        key=["100%41", "a+b c", "d/é"],
        e_tag=["1", "2", "3"],
        size=[1, 2, 3],
        storage_class=["STANDARD"] * 3,
    )
    assert read(path) == [ImageRef(f"s3://b/{key}", str(n), n) for n, key in ((1, "100%41"), (2, "a+b c"), (3, "d/é"))]


def test_a_manifest_without_etags_is_looked_up(s3: S3Server, bucket: str, folder: Path, tmp_path: Path) -> None:
    uris: list[object] = [f"{bucket}/in/b.jpg", uri(folder / "a.jpg")]
    listed = {one.uri: one for one in read(f"{bucket}/in", storage=s3.storage)}
    for path in (
        manifest(tmp_path / "a.parquet", uri=uris),
        manifest(tmp_path / "b.parquet", uri=uris, size=[1, 1]),
        manifest(tmp_path / "c.parquet", uri=uris, etag=["x", "x"]),
    ):
        assert read(path, storage=s3.storage) == [ref(folder / "a.jpg"), listed[f"{bucket}/in/b.jpg"]]


def test_a_manifest_in_a_bucket(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.parquet", uri=["s3://b/k"], etag=["e"], size=[1])
    s3.put(f"{bucket}/m.parquet", path.read_bytes())
    assert read(f"{bucket}/m.parquet", storage=s3.storage) == [ImageRef("s3://b/k", "e", 1)]


# What cannot be planned


@pytest.mark.parametrize(
    "uris",
    [
        ["s3://b/twice", "s3://b/once", "s3://b/twice"],
        ["file:///a%20b", "/a b"],  # two spellings of one place
        ["/a//b", "/a/b"],
    ],
)
@pytest.mark.parametrize("kind", ["txt", "parquet"])
def test_an_image_named_twice(tmp_path: Path, kind: str, uris: list[object]) -> None:
    if kind == "parquet":
        source = manifest(tmp_path / "m.parquet", uri=uris, etag=[*"efg"[: len(uris)]], size=[1] * len(uris))
    else:
        source = tmp_path / "list.txt"
        source.write_text("\n".join(map(str, uris)))
    with pytest.raises(ManifestError, match="twice") as refusal:
        read(source)
    assert refusal.value.exit_code == 2
    assert refusal.value.where == str(source)
    assert {"s3://b/twice", "file:///a%20b", "file:///a/b"} & set(refusal.value.why.split())


def test_a_manifest_without_uris(tmp_path: Path) -> None:
    for columns in ({"url": ["s3://b/k"]}, {"key": ["k"]}, {"bucket": ["b"]}):
        with pytest.raises(ManifestError, match="`uri`") as refusal:
            read(manifest(tmp_path / "m.parquet", **columns))  # type: ignore[arg-type]  # lists of str
        assert next(iter(columns)) in refusal.value.why


@pytest.mark.parametrize("uris", [["s3://b/k", None], ["", "s3://b/k"], [1, 2]])
def test_a_manifest_with_an_empty_uri(tmp_path: Path, uris: list[object]) -> None:
    with pytest.raises(ManifestError, match="empty uri"):
        read(manifest(tmp_path / "m.parquet", uri=uris))


@pytest.mark.parametrize("damage", ["text", "cut", "empty"])
def test_not_parquet(tmp_path: Path, damage: str) -> None:
    path = manifest(tmp_path / "m.parquet", uri=["s3://b/k"], etag=["e"], size=[1])
    whole = path.read_bytes()
    path.write_bytes({"text": b"uri\ns3://b/k\n", "cut": whole[: len(whole) // 2] + b"PAR1", "empty": b""}[damage])
    with pytest.raises(ManifestError) as refusal:
        read(path)
    assert refusal.value.where == str(path)
    assert "uri, etag, size" in refusal.value.fix


def test_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"/a/\xff.jpg\n")
    with pytest.raises(ManifestError, match="UTF-8") as refusal:
        read(tmp_path / "list.txt")
    assert "percent-encode" in refusal.value.fix


@pytest.mark.parametrize("name", ["list.txt", "m.parquet"])
def test_no_such_list(s3: S3Server, bucket: str, tmp_path: Path, name: str) -> None:
    for source in (str(tmp_path / name), f"{bucket}/none/{name}"):
        with pytest.raises(ManifestError) as refusal:
            read(source, storage=s3.storage)
        assert refusal.value.where == source


def test_a_list_of_other_schemes(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("https://host/a.jpg")
    with pytest.raises(SpecError, match="https://"):
        read(tmp_path / "list.txt")


@pytest.mark.parametrize("name", ["s3://bucket", "s3://bucket/"])
def test_a_list_that_names_a_bucket(tmp_path: Path, name: str) -> None:
    (tmp_path / "list.txt").write_text(name)
    with told_server(Answer(200)) as told, pytest.raises((SpecError, BucketError)):
        read(tmp_path / "list.txt", storage=told.storage())
