"""A folder on disk as object storage: whole files or none, and what lies in the way stays."""

import errno
import os
from pathlib import Path

import pytest

from assay.platform.errors import StorageError
from assay.platform.storage import Storage


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
