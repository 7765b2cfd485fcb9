"""A judged store of real pictures without Ray, for tests of golden sets: some are copies of one another."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import write_pictures
from tests.serial_backfill import run_alone

PICTURES, COPIES = 40, 6


def judged(folder: Path, release: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`PICTURES` pictures, a near-duplicate of each of the first `COPIES`, and two faults; the store's place."""
    bucket = folder / "bucket"
    paths = write_pictures(bucket, PICTURES)
    for path in paths[:COPIES]:
        (bucket / f"copy-{path.name}").write_bytes(_again(path))
    (bucket / "notes.txt").write_text("no picture")
    (bucket / "empty.jpg").write_bytes(b"")
    settings = {"source": str(bucket), "store": str(folder / "store"), "release": str(release)}
    run_alone({**settings, "shard": {"images": 8}, "max_fault_rate": 1.0}, monkeypatch)
    return folder / "store"


def _again(path: Path) -> bytes:
    """The same picture, compressed once more."""
    sink = io.BytesIO()
    Image.open(path).save(sink, "JPEG", quality=70)
    return sink.getvalue()
