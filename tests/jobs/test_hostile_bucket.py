"""A bucket of nothing but odd, broken and hostile files through the whole job: each row says what was written down."""

import threading
from pathlib import Path

import polars as pl
import pytest

from assay.jobs.backfill import BackfillSpec, backfill
from assay.jobs.verify import VerifySpec, verify
from assay.platform.faults import OK
from tests.conftest import Silent
from tests.hostile.table import handmade

pytestmark = pytest.mark.usefixtures("ray_session")


def test_every_handmade_file_ends_as_a_row_with_its_outcome(tmp_path: Path, release_dir: Path) -> None:
    cases = list(handmade().values())
    bucket, store = tmp_path / "bucket", tmp_path / "store"
    bucket.mkdir()
    for number, case in enumerate(cases):
        (bucket / f"{number:04d}.jpg").write_bytes(case.data)  # the name is wrong nine times out of ten
    settings = {"source": str(bucket), "store": str(store), "release": str(release_dir)}
    spec = BackfillSpec.model_validate({**settings, "shard": {"images": 64}})
    facts = backfill(spec, Silent(), threading.Event(), "assay backfill …")
    sound = sum(case.outcome == OK for case in cases)
    assert (facts.planned, facts.ok, facts.faulted) == (len(cases), sound, len(cases) - sound)

    rows = pl.scan_delta(str(store / "observations")).collect()
    assert len(rows) == len(cases), "rows out == rows in"
    for row in rows.iter_rows(named=True):
        case = cases[int(Path(row["uri"]).stem)]
        assert row["outcome"] == case.outcome, case.name
        if case.outcome == OK:
            assert (row["width"], row["height"], row["frames"]) == (case.width, case.height, case.frames), case.name
    proof = verify(VerifySpec(store=str(store)))
    assert proof.sound
    assert (proof.planned, proof.missing, proof.duplicated) == (len(cases), 0, 0)
