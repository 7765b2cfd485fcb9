"""Rows out == rows in: what a run counts at its end, and what it does not."""

from pathlib import Path

import pytest

from assay.jobs.plan import PlanSpec, plan
from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from assay.platform.storage import Storage
from tests.conftest import S3Server, Silent, write_pictures
from tests.fault_proxy import fault_proxy
from tests.serial_backfill import run_alone


class Planner(Silent):
    """Plans the same store for a bucket that grew, amid the run."""

    def __init__(self, bucket: Path, store: Path) -> None:
        self.bucket, self.store = bucket, store
        self.planned_more = 0

    def received(self, receipt: object) -> None:
        if receipt and not self.planned_more:
            write_pictures(self.bucket, 4, start=6)
            self.planned_more = plan(Store.open(Storage(), str(self.store)), str(self.bucket), PlanSpec()).new_images


def test_what_another_planner_adds_meanwhile_is_the_next_runs(
    tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "bucket", 6)
    places = {"source": str(tmp_path / "bucket"), "store": str(tmp_path / "store"), "release": str(release_dir)}
    settings = places | {"shard": {"images": 2}}
    planner = Planner(tmp_path / "bucket", tmp_path / "store")
    first = run_alone(settings, monkeypatch, planner)
    assert (first.state, first.planned, first.ok, planner.planned_more) == ("done", 6, 6, 4)
    second = run_alone(settings, monkeypatch)
    assert (second.planned, second.already_done, second.ok) == (10, 6, 4)
    assert verify(VerifySpec(store=str(tmp_path / "store"))).sound


def test_the_requests_of_a_small_run(
    tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch, s3: S3Server, s3_place: str
) -> None:
    """One GET per image, two PUTs per shard, and so many for all else, in two commits. More means money."""
    images, shards, others = 24, 12, 88
    for path in write_pictures(tmp_path / "bucket", images):
        s3.storage.write(f"{s3_place}/images/{path.name}", path.read_bytes())
    with fault_proxy(s3.endpoint) as proxy:
        storage = s3.spec().model_copy(update={"endpoint": proxy.endpoint})
        places = {"source": f"{s3_place}/images", "store": f"{s3_place}/store", "release": str(release_dir)}
        assert run_alone(places | {"storage": storage, "shard": {"images": 2}}, monkeypatch).ok == images
        assert sum(path.partition("?")[0].endswith(".jpg") for _, path in proxy.asked) == images
        assert len(proxy.asked) <= images + 2 * shards + others
