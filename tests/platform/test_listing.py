import errno
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.errors import BucketError, CredentialsError, StorageError
from assay.platform.fetch import file_etag
from assay.platform.listing import list_objects
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from assay.platform.uris import file_uri
from tests.conftest import S3Server
from tests.storage_doubles import Answer, FakeBucket, StorageOf, told_server

BUCKET = "s3://bucket"
FILE_NAMES = st.binary(min_size=1, max_size=5).map(lambda name: b"_" + name.translate(None, b"/\0"))
NAMES = st.text(st.sampled_from("ab-.0/ \n%é\U0001f600\uffff"), min_size=1, max_size=6)


def listed(client: FakeBucket, prefix: str = "") -> list[ImageRef]:
    return list(list_objects(StorageOf(client), f"{BUCKET}/{prefix}"))


def keys_of(refs: Sequence[ImageRef], bucket: str = BUCKET) -> list[str]:
    return [ref.uri.removeprefix(f"{bucket}/") for ref in refs]


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.sets(NAMES, max_size=25), st.integers(1, 5), st.sampled_from(["", "a", "a/", "a/b", "-", "a//"]))
def test_a_listing_is_the_sorted_set_of_keys(keys: set[str], page: int, prefix: str) -> None:
    client = FakeBucket(keys, page)
    refs = listed(client, prefix)
    below = sorted((key for key in keys if key.startswith(prefix)), key=lambda key: key.encode())
    assert keys_of(refs) == below
    assert [ref.uri for ref in refs] == sorted(ref.uri for ref in refs)
    assert all(ref.etag == key.encode().hex() and ref.size == len(key) for key, ref in zip(below, refs, strict=True))


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.sets(NAMES, max_size=25), st.integers(1, 5))
def test_requests_are_bounded_by_pages(keys: set[str], page: int) -> None:
    """One chain of pages for the first level and one for each prefix, no page asked for twice, nothing but LIST."""
    client = FakeBucket(keys, page)
    listed(client)
    prefixes = {key.partition("/")[0] + "/" for key in keys if "/" in key}
    level = len(prefixes) + sum("/" not in key for key in keys)
    pages = max(1, math.ceil(level / page))
    pages += sum(math.ceil(sum(key.startswith(prefix) for key in keys) / page) for prefix in prefixes)
    assert len(client.requests) == pages
    assert len({tuple(sorted(asked.items())) for asked in client.requests}) == pages


def test_a_store_that_lists_folder_by_folder() -> None:
    """Some stores visit `a/` where S3 visits `a` with a slash after it: `p/a/x` comes before `p/a-b`."""

    class FolderByFolder(FakeBucket):
        async def list_objects_v2(self, **asked: Any) -> dict[str, Any]:
            answer = await super().list_objects_v2(**asked)
            answer["Contents"].sort(key=lambda one: one["Key"].split("/"))
            return answer

    keys = ["p/a-b", "p/a b", "p/a/x", "p/a", "p/a.b/c", "p/a/y/z"]
    assert keys_of(listed(FolderByFolder(keys))) == sorted(keys)


def test_a_listing_that_breaks_says_so() -> None:
    keys = [f"{folder}/{number}" for folder in "abc" for number in range(5)]
    whole = FakeBucket(keys, page=2)
    listed(whole)
    for at in range(len(whole.requests)):
        with pytest.raises(StorageError, match="as told"):
            listed(FakeBucket(keys, page=2, fail_at=at))


def test_an_empty_bucket() -> None:
    assert listed(FakeBucket([])) == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer.error(404, "NoSuchBucket"), BucketError),
        (Answer.error(403, "AccessDenied"), CredentialsError),
        (Answer.error(403, "SignatureDoesNotMatch"), CredentialsError),
        (Answer.error(400, "ExpiredToken"), CredentialsError),
        (Answer.error(500, "InternalError"), StorageError),
    ],
)
def test_a_store_that_refuses(answer: Answer, kind: type[StorageError]) -> None:
    with told_server(answer) as told, pytest.raises(kind) as refusal:
        list(list_objects(told.storage(), "s3://bucket/prefix"))
    assert type(refusal.value) is kind


ODD_KEYS = [
    "sp ace",
    "new\nline",
    "..x",
    "a..b",
    "<b>&amp;",
    "é",
    "\U0001f600",
    "100%",
    "%41",
    "+",
    "q?x#y",
    "\t",
    "\x7f",
]


@pytest.fixture(scope="module")
def bucket(s3: S3Server, s3_place: str) -> tuple[str, list[str]]:
    """More than a page of keys under several prefixes, with odd ones among them."""
    keys = [f"many/{number:04d}" for number in range(1003)] + [f"{one}/x" for one in ("a-b", "a", "a.b")]
    keys += [f"odd/{key}" for key in ODD_KEYS] + [*ODD_KEYS[:2], "a0", "zz"]
    keys += ["deep/a/x", "deep/a-b", "deep/a b", "deep/a.b/c"]
    storage = s3.storage
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: storage.write(f"{s3_place}/{key}", key.encode()), keys))
    return s3_place, sorted(keys, key=lambda key: key.encode())


def test_a_real_bucket(s3: S3Server, bucket: tuple[str, list[str]]) -> None:
    uri, keys = bucket
    asked: list[str] = []
    storage = Storage(s3.spec())  # not shared: its requests are counted
    client = storage.request(_given)
    client.meta.events.register("before-send.s3", lambda request, **_: asked.append(f"{request.method} {request.url}"))
    refs = list(list_objects(storage, f"{uri}/"))
    assert keys_of(refs, uri) == keys
    assert {ref.size for ref in refs if "/odd/" in ref.uri} == {len(key.encode()) for key in keys if "odd/" in key}
    assert all(ref.etag and '"' not in ref.etag for ref in refs)
    prefixes = {key.partition("/")[0] for key in keys if "/" in key}
    assert len(asked) <= 1 + len(prefixes) + 2  # `many` has two pages; one is to spare
    assert all(one.startswith("GET ") and "list-type=2" in one for one in asked)


async def _given(client: Any) -> Any:
    return client


def test_a_real_prefix(s3: S3Server, bucket: tuple[str, list[str]]) -> None:
    uri, keys = bucket
    storage = s3.storage
    for prefix in ("odd/", "odd", "many/00", "deep/a", "nothing"):
        expected = [key for key in keys if key.startswith(prefix)]
        assert keys_of(list(list_objects(storage, f"{uri}/{prefix}")), uri) == expected


def test_a_real_bucket_that_is_not_there(s3: S3Server) -> None:
    with pytest.raises(BucketError):
        list(list_objects(s3.storage, "s3://never-made"))


def local(folder: Path | str) -> list[ImageRef]:
    return list(list_objects(Storage(), str(folder)))


@settings(derandomize=True, max_examples=30, deadline=None)
@given(names=st.sets(st.lists(FILE_NAMES, min_size=1, max_size=3).map(b"/".join), max_size=12))
def test_a_folder_is_the_sorted_set_of_its_files(names: set[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = os.fsencode(tmp_path_factory.mktemp("folder"))
    paths = []
    for name in sorted(names, reverse=True):
        path = root + b"/" + name
        if not any(other.startswith(name + b"/") for other in names):  # a file cannot be a folder too
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120  # bytes
            Path(os.fsdecode(path)).write_bytes(name)
            paths.append(path)
    refs = local(os.fsdecode(root))
    assert [ref.uri for ref in refs] == sorted(file_uri(path) for path in paths)
    for ref, path in zip(refs, sorted(paths, key=file_uri), strict=True):
        facts = os.stat(path)  # noqa: PTH116  # bytes
        assert (ref.etag, ref.size) == (file_etag(facts), facts.st_size)


def test_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "picture").write_bytes(b"12345")
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").symlink_to(tmp_path / "elsewhere" / "picture")
    (source / "folder").symlink_to(tmp_path / "elsewhere")
    (source / "dangling").symlink_to(tmp_path / "nowhere")
    (source / "loop").symlink_to(source / "loop")
    (source / "through").symlink_to(tmp_path / "elsewhere" / "picture" / "deeper")
    os.mkfifo(source / "pipe")
    refs = local(source)
    assert [(ref.uri, ref.size) for ref in refs] == [(file_uri(os.fsencode(source / "file")), 5)]


def test_a_linked_source_has_one_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    assert local(tmp_path / "link") == local(tmp_path / "real") != []
    assert local(file_uri(os.fsencode(tmp_path / "link"))) == local(tmp_path / "real")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert local(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    for missing in ("nothing", "file"):
        with pytest.raises(BucketError) as refusal:
            local(tmp_path / missing)
        assert refusal.value.where == str(tmp_path / missing)


@pytest.mark.parametrize("call", ["scandir", "stat"])
def test_what_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Skipping it would lose images without a word. (Tests may run as root, so the refusal is made here.)"""
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "x").write_bytes(b"1")
    real = getattr(os, call)

    def refuse(path: Any, *rest: Any, **named: Any) -> Any:
        if isinstance(path, bytes) and b"closed" in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *rest, **named)

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StorageError, match=r"closed.*\s+why: Permission denied"):
        local(tmp_path)
