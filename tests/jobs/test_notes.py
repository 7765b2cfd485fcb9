"""What a worker notes of its machine reaches a person, once."""

from pathlib import Path

import pytest

from assay.jobs.doctor import _encoder
from assay.platform.hash_encoder import HashEncoder
from assay.platform.release import Release
from tests.conftest import Silent, write_pictures
from tests.serial_backfill import run_alone

NOTE = "bf16 is slow here"


class Listener(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def noticed(self, what: str) -> None:
        self.heard.append(what)


def test_a_note_of_many_receipts_is_told_once(
    tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "bucket", 6)
    places = {"source": str(tmp_path / "bucket"), "store": str(tmp_path / "store"), "release": str(release_dir)}
    settings = places | {"shard": {"images": 2}}
    monkeypatch.setattr(HashEncoder, "notes", (NOTE,))
    listener = Listener()
    assert run_alone(settings, monkeypatch, listener).ok == 6
    assert listener.heard == [NOTE]


def test_a_machine_without_notes_is_not_spoken_of(
    tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "bucket", 2)
    places = {"source": str(tmp_path / "bucket"), "store": str(tmp_path / "store"), "release": str(release_dir)}
    listener = Listener()
    assert run_alone(places, monkeypatch, listener).ok == 2
    assert listener.heard == []


def test_the_doctor_tells_it_too(release_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert NOTE not in _encoder(Release.load(release_dir))
    monkeypatch.setattr(HashEncoder, "notes", (NOTE,))
    assert NOTE in _encoder(Release.load(release_dir))
