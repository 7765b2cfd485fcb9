"""Two sides in step: every image of either once, however the rows of each lie in files, and no more of them at a time
than asked for.
"""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.jobs import pairing
from assay.jobs.judged import Judged
from assay.jobs.pairing import pair_up
from assay.jobs.side import Side
from assay.jobs.store import Store
from assay.platform.errors import ConservationError, StorageError
from assay.platform.release import Release
from tests.jobs.change_stores import SHARD, commit_verdicts, judge_by, observed_store, release_of
from tests.jobs.colour_releases import FIRM, LIBRARY, POLICY
from tests.store_doubles import reopened

IMAGES = 83
SHARDS = 9


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    library = LIBRARY.replace("RED", "red").replace("BLUE", "blue")
    return release_of(tmp_path_factory.mktemp("colours") / "colours", library, POLICY, FIRM)


def side(store: Store, release: Release, policy: str) -> Side:
    return Side.of(reopened(store), Judged(release, release.policy(policy)))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_image_is_paired_or_alone_once(
    data: st.DataObject, release: Release, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any cut into files, any shards and any images missing on either side, rows of a shard in any order."""
    monkeypatch.setattr(pairing, "AT_LEAST", data.draw(st.sampled_from([1, 15, 16_384])))
    store = observed_store(tmp_path_factory.mktemp("store") / "store", release, IMAGES)
    kept: dict[str, dict[str, str]] = {}
    for policy in ("plain", "firm"):
        without = data.draw(st.sets(st.integers(0, SHARDS - 1)), f"shards not judged under {policy}")
        lost = data.draw(st.sets(st.integers(0, IMAGES - 1), max_size=5), f"images lost under {policy}")
        cut = data.draw(st.sampled_from([1, 2, 5, SHARDS]))
        rows = judge_by(store, release, policy, cut=cut, without=without, lost=lost, shuffled=data.draw(st.booleans()))
        kept[policy] = dict(zip(rows["uri"].to_pylist(), rows["action"].to_pylist(), strict=True))
    found: list[tuple[str, str]] = []
    alone: dict[str, list[str]] = {"plain": [], "firm": []}
    for pairs in pair_up(side(store, release, "plain"), side(store, release, "firm")):
        assert pairs.before.uris.equals(pairs.after.uris)
        assert pairs.before.etags.equals(pairs.after.etags)
        for rows, policy in ((pairs.before, "plain"), (pairs.after, "firm")):
            names = ("pass", "review", "block")
            assert [kept[policy][uri] for uri in rows.uris.to_pylist()] == [names[rank] for rank in rows.ranks]
            found += [(policy, uri) for uri in rows.uris.to_pylist()]
        alone["plain"] += pairs.only_before.uris.to_pylist()
        alone["firm"] += pairs.only_after.uris.to_pylist()
    both = set(kept["plain"]) & set(kept["firm"])
    assert sorted(found) == sorted((policy, uri) for policy in kept for uri in both)
    assert {policy: sorted(uris) for policy, uris in alone.items()} == {
        policy: sorted(set(uris) - both) for policy, uris in kept.items()
    }


def test_scores_stay_with_their_images(release: Release, tmp_path: Path) -> None:
    store = observed_store(tmp_path / "store", release, IMAGES, faults=[4, 50])
    rows = judge_by(store, release, "plain", cut=3)
    judge_by(store, release, "firm", cut=1, shuffled=True)
    expected = dict(zip(rows["uri"].to_pylist(), rows["scores"].to_pylist(), strict=True))
    for pairs in pair_up(side(store, release, "plain"), side(store, release, "firm")):
        for found in (pairs.before, pairs.after):
            for uri, is_readable, scores in zip(found.uris.to_pylist(), found.readable, found.scores, strict=True):
                said = expected[uri]
                assert is_readable == (said is not None)
                assert said is None or [score for _, score in said] == scores.tolist()


def test_no_more_than_a_few_shards_are_held_at_a_time(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "AT_LEAST", SHARD)
    store = observed_store(tmp_path / "store", release, 200)
    for policy in ("plain", "firm"):
        judge_by(store, release, policy)
    sizes = [len(pairs.before) for pairs in pair_up(side(store, release, "plain"), side(store, release, "firm"))]
    assert sum(sizes) == 200
    assert max(sizes) <= 2 * SHARD


def test_an_image_judged_twice_is_refused(release: Release, tmp_path: Path) -> None:
    store = observed_store(tmp_path / "store", release, 20)
    rows = judge_by(store, release, "plain")
    judge_by(store, release, "firm")
    commit_verdicts(store, release, "firm", {1: rows.slice(SHARD, 1)})
    with pytest.raises(ConservationError, match="judged twice"):
        list(pair_up(side(store, release, "plain"), side(store, release, "firm")))


def test_verdicts_of_another_release_under_this_name_are_damage(release: Release, tmp_path: Path) -> None:
    store = observed_store(tmp_path / "store", release, 20)
    rows = judge_by(store, release, "plain", without=[1])
    at = rows.schema.get_field_index("scores")
    fewer = [[("red_things", 0.1)]] * SHARD
    strange = rows.set_column(at, rows.schema.field(at), pa.array(fewer, rows.schema.field(at).type))
    commit_verdicts(store, release, "plain", {1: strange})
    with pytest.raises(StorageError, match="a committed file cannot be read") as told:
        list(side(store, release, "plain").rows())
    assert f"not those of release {release.id}" in str(told.value)


def test_a_lost_file_is_told(release: Release, tmp_path: Path) -> None:
    store = observed_store(tmp_path / "store", release, 20)
    judge_by(store, release, "plain")
    for path in (tmp_path / "store" / "verdicts").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(StorageError, match="a committed file cannot be read"):
        list(side(store, release, "plain").rows())
