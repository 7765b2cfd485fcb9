import json
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.jobs.release_copy import FINGERPRINTS_FILE, fetch_release, keep_release, lend_release
from assay.jobs.store import Store
from assay.platform.errors import ReleaseError
from assay.platform.release import Release
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.store_doubles import tree


@pytest.fixture
def release(release_dir: Path) -> Release:
    return Release.load(release_dir)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.attach(Storage(), str(tmp_path / "store"))
    store.establish()
    return store


@pytest.fixture
def remote(s3: S3Server, s3_place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in a bucket; this node's cache is a folder of the test's own."""
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    store = Store.attach(s3.storage, f"{s3_place}/{tmp_path.name}")
    store.establish()
    return store


def kept(store: Store, release: Release) -> Path:
    return Path(store.shown) / "releases" / release.id


def test_a_release_on_disk(store: Store, release: Release) -> None:
    keep_release(store, release)
    found = fetch_release(store.storage, store.uri, release.id)
    assert (found.id, found.digest) == (release.id, release.digest)
    assert found.scorer().labels == release.scorer().labels
    listed = {entry.path for entry in release.manifest.files} | {"release.json", FINGERPRINTS_FILE}
    assert set(tree(kept(store, release))) == listed


def test_a_release_in_a_bucket(remote: Store, release: Release, tmp_path: Path) -> None:
    keep_release(remote, release)
    found = fetch_release(remote.storage, remote.uri, release.id)
    assert found.digest == release.digest
    assert tree(found.directory) == {
        name: data for name, data in tree(release.directory).items() if name in tree(found.directory)
    }
    bucket_is_asked_no_more = Storage()
    assert fetch_release(bucket_is_asked_no_more, remote.uri, release.id).digest == release.digest
    assert [path.name for path in (tmp_path / "node" / "assay-releases").iterdir()] == [release.id]


def test_a_release_that_lies_on_the_node_is_not_fetched(remote: Store, release: Release, tmp_path: Path) -> None:
    for _ in range(2):
        lend_release(remote, release)
    bucket_is_not_asked = Storage()
    found = fetch_release(bucket_is_not_asked, remote.uri, release.id)
    assert (found.digest, found.directory) == (release.digest, tmp_path / "node" / "assay-releases" / release.id)


def test_a_release_that_cannot_be_lent_is_fetched(remote: Store, release: Release, tmp_path: Path) -> None:
    keep_release(remote, release)
    (tmp_path / "node" / "assay-releases").write_text("no folder")
    lend_release(remote, release)
    (tmp_path / "node" / "assay-releases").unlink()
    assert fetch_release(remote.storage, remote.uri, release.id).digest == release.digest


def test_a_store_on_disk_lends_nothing(
    store: Store, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    lend_release(store, release)
    assert list((tmp_path / "node").iterdir()) == []


def test_keeping_again_changes_nothing(store: Store, release: Release) -> None:
    keep_release(store, release)
    before = {path: path.stat().st_mtime_ns for path in kept(store, release).rglob("*")}
    keep_release(store, release)
    assert {path: path.stat().st_mtime_ns for path in kept(store, release).rglob("*")} == before


def test_a_copy_that_was_cut_short_is_no_release(store: Store, release: Release) -> None:
    keep_release(store, release)
    (kept(store, release) / "release.json").unlink()
    (kept(store, release) / "library.yaml").write_text("half")
    with pytest.raises(ReleaseError):
        fetch_release(store.storage, store.uri, release.id)
    keep_release(store, release)
    assert fetch_release(store.storage, store.uri, release.id).digest == release.digest


def a_file(directory: Path) -> None:
    path = directory / "policies" / "strict.yaml"
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))


def a_missing_file(directory: Path) -> None:
    (directory / "library.yaml").unlink()


def a_statement(directory: Path) -> None:
    """All files are as release.json says; it just says another thing, and so is another release."""
    path = directory / "release.json"
    facts = json.loads(path.read_text())
    facts["default_policy"] = "lenient"
    path.write_text(json.dumps(facts))


def not_json(directory: Path) -> None:
    (directory / "release.json").write_text("{")


@pytest.mark.parametrize("tamper", [a_file, a_missing_file, a_statement, not_json])
def test_a_tampered_copy(store: Store, release: Release, tamper: Callable[[Path], None]) -> None:
    keep_release(store, release)
    tamper(kept(store, release))
    with pytest.raises(ReleaseError) as refusal:
        fetch_release(store.storage, store.uri, release.id)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("tamper", [a_file, a_missing_file, a_statement, not_json])
def test_a_tampered_copy_in_a_bucket(
    remote: Store, release: Release, tmp_path: Path, tamper: Callable[[Path], None]
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(release.directory, changed)
    tamper(changed)
    for name, data in tree(changed).items():
        remote.storage.write(remote.path("releases", release.id, name), data)
    for _ in range(2):  # nor does the node's cache make it good
        with pytest.raises(ReleaseError):
            fetch_release(remote.storage, remote.uri, release.id)


def a_cleaned_folder(directory: Path) -> None:
    """As a cleaner of temporary files leaves it: folders, and what was used of late."""
    for name in ("release.json", "library.yaml"):
        (directory / name).unlink()


def a_folder_in_its_place(directory: Path) -> None:
    (directory / "library.yaml").unlink()
    (directory / "library.yaml").mkdir()


@pytest.mark.parametrize(
    "damage", [a_file, a_missing_file, a_statement, not_json, a_cleaned_folder, a_folder_in_its_place]
)
def test_a_damaged_copy_on_a_node_heals(
    remote: Store, release: Release, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    keep_release(remote, release)
    whole = tree(fetch_release(remote.storage, remote.uri, release.id).directory)
    cache = tmp_path / "node" / "assay-releases" / release.id
    damage(cache)
    assert tree(cache) != whole
    assert fetch_release(remote.storage, remote.uri, release.id).digest == release.digest
    assert tree(cache) == whole
    bucket_is_asked_no_more = Storage()
    assert fetch_release(bucket_is_asked_no_more, remote.uri, release.id).digest == release.digest
    assert {path.name for path in cache.parent.iterdir()} == {release.id, f".{release.id}.lock"}


def test_processes_of_one_node_heal_a_copy_together(remote: Store, release: Release, tmp_path: Path) -> None:
    keep_release(remote, release)
    cache = fetch_release(remote.storage, remote.uri, release.id).directory
    a_file(cache)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fetch_release(remote.storage, remote.uri, release.id).digest, range(4)))
    assert found == 4 * [release.digest]
    assert {path.name for path in (tmp_path / "node" / "assay-releases").iterdir()} == {
        release.id, f".{release.id}.lock"
    }  # fmt: skip


def test_a_copy_that_cannot_be_made_leaves_no_half_one(remote: Store, release: Release, tmp_path: Path) -> None:
    keep_release(remote, release)
    remote.storage.remove(remote.path("releases", release.id, "library.yaml"))
    with pytest.raises(ReleaseError, match="not whole") as refusal:
        fetch_release(remote.storage, remote.uri, release.id)
    assert "library.yaml" in refusal.value.where
    assert [path for path in (tmp_path / "node" / "assay-releases").iterdir() if path.is_dir()] == []


def test_a_release_that_would_write_elsewhere(remote: Store, release: Release, tmp_path: Path) -> None:
    facts = json.loads((release.directory / "release.json").read_text())
    facts["files"].append({"path": "../../../planted", "sha256": "0" * 64, "size": 1})
    remote.storage.write(remote.path("releases", release.id, "release.json"), json.dumps(facts).encode())
    for entry in release.manifest.files:
        remote.storage.write(remote.path("releases", release.id, entry.path), b"x")
    with pytest.raises(ReleaseError, match="outside itself"):
        fetch_release(remote.storage, remote.uri, release.id)
    assert list(tmp_path.rglob("planted")) == []


def test_a_release_the_store_does_not_have(store: Store, remote: Store) -> None:
    for one in (store, remote):
        with pytest.raises(ReleaseError):
            fetch_release(one.storage, one.uri, "nothing-000000000000")


def test_processes_of_one_node_race(remote: Store, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process names its copy while this one still downloads."""
    keep_release(remote, release)
    real = Path.rename

    def late(aside: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", real)
        fetch_release(remote.storage, remote.uri, release.id)
        return real(aside, target)

    monkeypatch.setattr(Path, "rename", late)
    found = fetch_release(remote.storage, remote.uri, release.id)
    assert found.digest == release.digest
    assert [path.name for path in found.directory.parent.iterdir()] == [release.id]
