import json
from pathlib import Path
from typing import Any

import pytest

from assay.jobs.binding import read_binding
from assay.jobs.store import Store, new_run, now, probe_store
from assay.platform.errors import BucketError, SpecError, StorageError, StoreVersionError
from assay.platform.rows import SCHEMA_VERSION
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.store_doubles import established, tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store"


def test_opening_what_is_not_there(place: Path) -> None:
    with pytest.raises(SpecError, match="no store here") as refusal:
        Store.open(Storage(), str(place))
    assert refusal.value.exit_code == 2
    assert refusal.value.where == str(place)
    assert not place.parent.exists()


def test_attaching_writes_nothing(place: Path) -> None:
    store = Store.attach(Storage(), str(place))
    assert read_binding(store) is None
    assert store.run() is None
    assert store.observations.files() == []
    assert store.size_of("x") is None
    assert not place.parent.exists()


def test_establishing(place: Path) -> None:
    store = established(place)
    assert set(tree(place)) == {"store.json"}  # the probe left nothing behind
    facts = json.loads((place / "store.json").read_text())
    assert facts["schema_version"] == SCHEMA_VERSION
    before = tree(place)
    store.establish()
    established(place)
    assert tree(place) == before
    assert Store.open(Storage(), f"{place}/").uri == store.uri
    assert store.shown == str(place)


def test_a_store_in_a_bucket(s3: S3Server, s3_place: str) -> None:
    where = f"{s3_place}/store"
    established(where, s3.storage)
    assert Store.open(s3.storage, f"{where}/").shown == where
    bucket, _, prefix = s3_place.removeprefix("s3://").partition("/")
    found = s3.storage.request(lambda client: client.list_objects_v2(Bucket=bucket, Prefix=prefix))
    assert [one["Key"] for one in found["Contents"]] == [f"{prefix}/store/store.json"]
    with pytest.raises(BucketError):
        Store.attach(s3.storage, "s3://never-made/store")


@pytest.mark.parametrize("way", [Store.open, Store.attach, lambda storage, uri: established(uri, storage)])
@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"schema_version": SCHEMA_VERSION + 1, "store_id": "x", "created": "y", "more": 1}, "newer Assay"),
        ({"schema_version": SCHEMA_VERSION + 1000, "store_id": "x", "created": "y"}, "upgrade"),
        ({"schema_version": "what"}, "cannot be read"),
        ({}, "cannot be read"),
        ("not JSON {", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_a_store_that_must_not_be_touched(place: Path, way: Any, facts: Any, told: str) -> None:
    established(place)
    data = facts if isinstance(facts, bytes) else (facts if isinstance(facts, str) else json.dumps(facts)).encode()
    (place / "store.json").write_bytes(data)
    before = tree(place)
    with pytest.raises(StoreVersionError, match=told) as refusal:
        way(Storage(), str(place))
    assert refusal.value.exit_code == 2
    assert "store.json" in refusal.value.where
    assert tree(place) == before


def test_facts_that_are_new_do_no_harm(place: Path) -> None:
    established(place)
    facts = json.loads((place / "store.json").read_text())
    (place / "store.json").write_text(json.dumps(facts | {"colour": "blue"}))
    Store.open(Storage(), str(place))


@pytest.mark.parametrize("name", ["a%41b", "new\nline", "\x7f", "\udcff"])
def test_a_name_that_tables_cannot_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match="another --store") as refusal:
        Store.attach(Storage(), f"{tmp_path}/{name}")
    assert str(refusal.value).isprintable() or "\n" in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "#x", "q?", "ü", "50%", "shard=7", "[x]", "'"])
def test_a_name_that_is_merely_odd(tmp_path: Path, name: str) -> None:
    store = established(tmp_path / name)
    store.observations.create()
    assert Store.open(Storage(), str(tmp_path / name)).observations.version == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(StorageError) as refusal:
        established(tmp_path / "file" / "store")
    assert refusal.value.exit_code == 5
    assert tree(tmp_path) == {"file": b"in the way"}


class Careless(Storage):
    """A store that ignores If-None-Match, as some S3 servers do."""

    def write(self, uri: str, data: bytes, *, if_absent: bool = False) -> bool:  # noqa: ARG002  # the point
        return super().write(uri, data)


class Deceitful(Storage):
    """A store that says no and does it all the same."""

    def write(self, uri: str, data: bytes, *, if_absent: bool = False) -> bool:  # noqa: ARG002  # the point
        return super().write(uri, data) and data == b"assay"


@pytest.mark.parametrize("kind", [Careless, Deceitful])
def test_a_store_without_conditional_put_is_refused(place: Path, kind: type[Storage]) -> None:
    with pytest.raises(StorageError, match="If-None-Match") as refusal:
        established(place, kind())
    assert refusal.value.exit_code == 5
    assert tree(place) == {}


def test_the_probe_leaves_nothing(place: Path, s3: S3Server, s3_place: str) -> None:
    probe_store(Storage(), str(place))
    assert tree(place) == {}
    probe_store(s3.storage, f"{s3_place}/probed")
    bucket, _, prefix = s3_place.removeprefix("s3://").partition("/")
    found = s3.storage.request(lambda client: client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/probed"))
    assert found.get("KeyCount") == 0


def test_run_records(place: Path) -> None:
    store = established(place)
    store.write_run("first", {"state": "running"})
    store.write_run("first", {"state": "done", "path": place})
    store.write_run("second", {"state": "running"})
    assert store.run("first") == {"state": "done", "path": str(place)}
    assert store.run() == {"state": "running"}
    assert store.run("third") is None


def test_sizes_of_files(place: Path, s3: S3Server, s3_place: str) -> None:
    for store in (established(place), established(f"{s3_place}/sizes", s3.storage)):
        store.storage.write(store.path("observations", "data", "a b"), b"12345")
        assert store.size_of("observations/data/a b") == 5
        assert store.size_of("observations/data") is None
        assert store.size_of("observations/none") is None


def test_names_of_runs_are_in_the_order_of_time() -> None:
    assert len({new_run() for _ in range(50)}) == 50
    assert now() <= now()
    assert now().endswith("Z")
    assert len(now()) == len("2026-01-01T00:00:00.000Z")
