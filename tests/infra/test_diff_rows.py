"""The store that comparing is timed on is one that the product accepts."""

from pathlib import Path

from assay.jobs.diff import DiffSpec, diff
from infra.bench.diff_rows import LABELS, SHARD, make_store


def test_a_timed_store_is_compared(tmp_path: Path) -> None:
    images = 3 * SHARD + 5
    store, (before, after) = make_store(tmp_path, images)
    (change,) = diff(DiffSpec(store=store.uri, before=before.id, after=after.id)).policies
    assert (change.images, len(change.labels)) == (images, LABELS)
    assert {label.causes for label in change.labels} == {("thresholds",)}
    assert change.moves.newly_flagged > 0 == change.moves.newly_cleared
