"""The same image gets the same verdict from a batch job and over HTTP, hostile images too."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from assay.platform.release import resolve_release
from assay.serving.limits import ONLINE_BUDGET
from tests.conftest import write_pictures
from tests.hostile.table import handmade
from tests.serial_backfill import run_alone
from tests.service_double import Double, service_double

IMAGES, HOSTILE, AT_ONCE = 500, 250, 20
CLOSE = 1e-4


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of it handmade and hostile, half plain pictures."""
    folder = tmp_path_factory.mktemp("bucket")
    write_pictures(folder / "plain", IMAGES - HOSTILE)
    (folder / "hostile").mkdir()
    cases = sorted(handmade().values(), key=lambda case: case.name)
    for at, case in enumerate(random.Random(7).sample(cases, HOSTILE)):
        (folder / "hostile" / f"{at:03d}.jpg").write_bytes(case.data)
    return folder


@pytest.fixture(scope="module")
def online() -> Iterator[Double]:
    """The bundled release."""
    with service_double(resolve_release()) as running:
        yield running


def batch_verdicts(bucket: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What a backfill decides, by file."""
    settings = {"source": str(bucket), "store": str(store), "budget": ONLINE_BUDGET.model_dump()}
    run_alone(settings, monkeypatch)
    rows = DeltaTable(str(store / "verdicts")).to_pyarrow_table().to_pylist()
    return {row["uri"].rpartition("/")[2].removesuffix(".jpg"): row for row in rows}


def online_verdicts(bucket: Path, online: Double) -> dict[str, dict[str, Any]]:
    """What the service answers, by file."""
    files, found = sorted(bucket.rglob("*.jpg")), dict[str, dict[str, Any]]()
    for start in range(0, len(files), AT_ONCE):
        some = files[start : start + AT_ONCE]
        sent = [("image", (file.stem, file.read_bytes())) for file in some]
        told = online.client.post("/v1/analyze", files=sent).json()
        found |= {one["id"]: one for one in told["images"]}
    return found


def test_five_hundred_images_are_judged_alike(
    bucket: Path, online: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_verdicts(bucket, tmp_path / "store", monkeypatch)
    http = online_verdicts(bucket, online)
    assert batch.keys() == http.keys()
    assert len(batch) == IMAGES
    for name, row in batch.items():
        one = http[name]
        assert (one["outcome"], one["action"]) == (row["outcome"], row["action"]), name
        scores = dict(row["scores"]) if row["scores"] is not None else None
        assert (one["scores"] is None) == (scores is None), name
        if scores is not None:
            assert one["scores"] == pytest.approx(scores, abs=CLOSE), name
    faults = [row for row in batch.values() if row["outcome"] != "ok"]
    assert len(faults) > 50
