"""Compaction changes where rows lie and nothing else: digests, resumes, re-judging, retries and older readers."""

import itertools
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import assay.jobs.job as job
from assay.jobs import committer as committer_module
from assay.jobs import compact as compact_module
from assay.jobs.compact import CompactSpec, compact, compact_grown, groups_of, take_apart
from assay.jobs.datafile import read_shard
from assay.jobs.ledger import DataFile
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store
from assay.jobs.verify import VerifyFacts, VerifySpec, verify
from assay.platform.errors import ConservationError, FencedError, SpecError
from assay.platform.storage import Storage
from tests.conftest import S3Server, write_pictures
from tests.serial_backfill import ForkServer, run_alone
from tests.store_doubles import PARTITION, judge, new_store, observe, observed_rows, refs_of, reopened, tree

OLDER = {"release": "older", "policy": "lenient"}


def fill(store: Store, shards: range, partitions: tuple[dict[str, str], ...] = (PARTITION,)) -> None:
    """Commit shards of three images each."""
    for shard in shards:
        refs = refs_of(3, f"s3://b/{shard:03d}/")
        observe(store, shard, refs)
        for partition in partitions:
            judge(store, shard, refs, partition=partition)


def spec_of(store: Store, **more: object) -> CompactSpec:
    return CompactSpec.model_validate(
        {"store": store.uri, "segment_shards": 4, "storage": store.storage.spec.model_dump(), **more}
    )


def ranges(files: list[DataFile]) -> list[tuple[int, int]]:
    return sorted((file.first_shard, file.last_shard) for file in files)


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store."""
    if request.param == "disk":
        return new_store(Storage(), tmp_path / "store")
    s3: S3Server = request.getfixturevalue("s3")
    return new_store(s3.storage, f"{request.getfixturevalue('s3_place')}/{tmp_path.name}")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """An empty store on disk."""
    return new_store(Storage(), tmp_path / "store")


def test_whole_segments_become_one_file_each(store: Store) -> None:
    fill(store, range(10), (PARTITION, OLDER))
    before = rows_of(store)
    facts = compact(spec_of(store))
    assert (facts.files_before, facts.files_after, facts.written, facts.rows) == (30, 12, 6, 72)
    again = reopened(store)
    assert ranges(again.observations.files()) == [(0, 3), (4, 7), (8, 8), (9, 9)]
    assert ranges(again.verdicts.files()) == sorted(2 * [(0, 3), (4, 7), (8, 8), (9, 9)])
    assert rows_of(again) == before
    assert list(ShardRanges.of(again.observations.files())) == list(range(10))
    once_more = compact(spec_of(store))
    assert (once_more.written, once_more.files_before) == (0, 12)


def rows_of(store: Store) -> list[list[dict[str, object]]]:
    """All rows, in an order of their own."""
    tables = (ledger.dataset().to_table().to_pylist() for ledger in (store.observations, store.verdicts))
    return [sorted(rows, key=str) for rows in tables]


def test_each_shard_comes_out_of_a_wide_file_as_it_went_in(store: Store) -> None:
    fill(store, range(4))
    compact(spec_of(store))
    [wide] = reopened(store).observations.files()
    assert (wide.rows, wide.first_uri, wide.last_uri) == (12, "s3://b/000/0000", "s3://b/003/0002")
    for shard in range(4):
        rows = observed_rows(shard, refs_of(3, f"s3://b/{shard:03d}/"))
        assert read_shard(store.storage, store.uri, wide.path, shard) == rows


def test_a_segment_with_a_gap_is_left_alone(local: Store) -> None:
    fill(local, range(3))
    fill(local, range(4, 8))
    facts = compact(spec_of(local))
    assert ranges(reopened(local).observations.files()) == [(0, 0), (1, 1), (2, 2), (4, 7)]
    assert facts.written == 2


def test_files_are_no_wider_than_asked(local: Store) -> None:
    fill(local, range(8))
    sizes = [file.size for file in local.observations.files()]
    compact(spec_of(local, segment_shards=8, max_bytes=3 * max(sizes)))
    found = reopened(local).observations.files()
    assert ranges(found) == [(0, 2), (3, 5), (6, 7)]
    assert all(file.size <= 3 * max(sizes) for file in found)


def test_readers_of_the_old_version_go_on(local: Store) -> None:
    fill(local, range(4))
    reader = reopened(local)
    before = rows_of(reader)
    compact(spec_of(local))
    assert rows_of(reader) == before
    assert reader.observations.version < reopened(local).observations.version


def test_a_rearrangement_is_no_change_of_data(local: Store) -> None:
    """Who follows the table's changes must not see the rows a second time."""
    fill(local, range(4))
    compact(spec_of(local))
    log = sorted((Path(local.shown) / "observations" / "_delta_log").glob("*.json"))[-1].read_text()
    assert log.count('"dataChange":false') == 5
    assert '"dataChange":true' not in log


def test_taking_apart_is_the_way_back(store: Store) -> None:
    fill(store, range(8), (PARTITION, OLDER))
    before = rows_of(store)
    compact(spec_of(store))
    held = reopened(store)
    with held.hold("test"):
        assert take_apart(held, {2, 77}) == 3
        assert take_apart(held, {2}) == 0
    again = reopened(store)
    assert ranges(again.observations.files()) == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 7)]
    assert ranges(again.verdicts.files()) == sorted(2 * [(0, 0), (1, 1), (2, 2), (3, 3), (4, 7)])
    assert rows_of(again) == before
    assert compact(spec_of(store)).written == 3


def test_a_shard_whose_rows_are_all_gone_stays_done(local: Store) -> None:
    """As after `assay forget`: it must not be observed again."""
    for shard in range(4):
        observe(local, shard, () if shard == 1 else refs_of(2, f"s3://b/{shard}/"))
    compact(spec_of(local))
    assert ranges(reopened(local).observations.files()) == [(0, 3)]
    held = reopened(local)
    with held.hold("test"):
        take_apart(held, {3})
    files = reopened(local).observations.files()
    assert sorted((file.first_shard, file.rows) for file in files) == [(0, 2), (1, 0), (2, 2), (3, 2)]
    assert reopened(local).observations.dataset().count_rows() == 6


def test_tables_of_many_files_are_compacted_by_a_run_itself(local: Store) -> None:
    fill(local, range(600))
    before, held = rows_of(local), reopened(local)
    with held.hold("test") as lease:
        assert compact_grown(held, lease.check, grown=600) == 0
        assert compact_grown(held, lease.check, grown=599) == 4
        assert compact_grown(held, lease.check, grown=0) == 0, "what is left is no whole segment"
    wide = [(0, 255), (256, 511)]
    assert ranges(reopened(local).observations.files()) == wide + [(shard, shard) for shard in range(512, 600)]
    assert ranges(reopened(local).verdicts.files())[:2] == wide
    assert rows_of(reopened(local)) == before


def test_who_lost_the_store_compacts_no_more(local: Store) -> None:
    fill(local, range(256))

    def check() -> None:
        raise FencedError("another driver has this store", where="here", why="told", fix="none")

    held = reopened(local)
    with held.hold("test"), pytest.raises(FencedError, match="another"):
        compact_grown(held, check, grown=0)
    assert len(reopened(local).observations.files()) == 256


@pytest.mark.parametrize("second", [{"policy": "lenient"}, {"retry_faults": True}])
def test_a_run_compacts_while_shards_are_under_way(
    local: Store, tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch, second: dict[str, object]
) -> None:
    """What is still to do, to judge what was observed or to try again, goes on over files that moved."""
    pictures = write_pictures(tmp_path / "bucket", 11)
    listing = tmp_path / "uris.txt"
    listing.write_text("\n".join([*map(str, pictures), str(tmp_path / "bucket" / "late.jpg")]))
    monkeypatch.setattr(committer_module, "GROUP", 3)
    monkeypatch.setattr(job, "TIDY", 3)
    monkeypatch.setattr(compact_module, "CompactSpec", lambda **places: CompactSpec(segment_shards=2, **places))
    monkeypatch.setattr(job, "compact_grown", partial(compact_grown, grown=4))
    places = {"source": str(listing), "store": local.uri, "release": str(release_dir), "shard": {"images": 1}}
    run_alone(places | {"max_fault_rate": 1.0}, monkeypatch)
    assert ranges(reopened(local).observations.files()) == [(at, at + 1) for at in range(0, 12, 2)]
    if "retry_faults" in second:
        shutil.copy(pictures[0], tmp_path / "bucket" / "late.jpg")
    facts = run_alone(places | {"max_fault_rate": 1.0} | second, monkeypatch)
    assert verify(VerifySpec(store=local.uri, deep=True)).sound
    proof = verify(VerifySpec(store=local.uri, policy=facts.policy, deep=True))
    assert proof.sound
    assert (facts.judged, facts.retried, proof.faulted) in [(12, 0, 1), (0, 1, 0)]


def test_two_files_with_one_shard_are_refused(local: Store) -> None:
    fill(local, range(4))
    observe(local, 2, refs_of(1))
    before = reopened(local).observations.files()
    with pytest.raises(ConservationError, match="same shard"):
        compact(spec_of(local))
    assert reopened(local).observations.files() == before


def test_a_file_with_other_rows_than_committed_is_not_rearranged(local: Store) -> None:
    fill(local, range(4))
    lying = local.observations.files()[0]
    twin = DataFile(lying.path, lying.size, lying.rows + 1, lying.first_shard, lying.last_shard, "", "z")
    local.observations.commit([], [lying])
    local.observations.commit([twin])
    with pytest.raises(ConservationError, match="rows out differ"):
        compact(spec_of(local))
    assert len(reopened(local).observations.files()) == 4


def test_a_file_that_the_store_lost_is_not_committed(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(local, range(4))
    monkeypatch.setattr(Store, "size_of", lambda _self, _name: None)
    with pytest.raises(ConservationError, match="missing"):
        compact(spec_of(local))
    assert len(reopened(local).observations.files()) == 4


def test_only_the_driver_compacts(local: Store) -> None:
    fill(local, range(4))
    before = tree(Path(local.shown) / "observations")
    with reopened(local).hold("assay backfill of somebody"):
        held = tree(Path(local.shown) / "observations")
        with pytest.raises(FencedError, match="somebody"):
            compact(spec_of(local))
        assert tree(Path(local.shown) / "observations") == held
    assert before.items() <= held.items()


def test_a_place_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no store"):
        compact(CompactSpec(store=str(tmp_path / "none")))
    assert list(tmp_path.iterdir()) == []


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.booleans()), max_size=30), st.integers(2, 6))
def test_groups_cover_whole_segments_without_gaps(pieces: list[tuple[int, int, bool]], segment: int) -> None:
    """Whatever lies in the table: a group has no gap, keeps to its segment, and its segment is all there."""
    files, at = [], 0
    for width, size, present in pieces:
        if present:
            files.append(DataFile(f"f{at}", size, width, at, at + width - 1, "a", "b", {}))
        at += width
    done = ShardRanges.of(files)
    seen: list[str] = []
    for group in groups_of(files, segment, 12):
        seen += [file.path for file in group]
        assert len(group) > 1
        assert sum(file.size for file in group) <= 12
        assert all(one.last_shard + 1 == other.first_shard for one, other in itertools.pairwise(group))
        number = group[0].first_shard // segment
        assert group[-1].last_shard // segment == number
        assert all(shard in done for shard in range(number * segment, (number + 1) * segment))
    assert len(seen) == len(set(seen))


def test_shards_that_were_emptied_are_no_gap() -> None:
    files = [DataFile(f"f{shard}", 1, 1, shard, shard, "a", "b", {}) for shard in (0, 1, 3)]
    assert list(groups_of(files, 4, 12)) == []
    assert list(groups_of(files, 4, 12, emptied=frozenset({2}))) == [files]


def test_the_whole_job_goes_on_over_compacted_tables(tmp_path: Path, release_dir: Path) -> None:
    """Verified, judged under another policy, grown, and retried; compacted before each."""
    pictures = write_pictures(tmp_path / "bucket", 15)
    late, listing, where = tmp_path / "bucket" / "late.jpg", tmp_path / "uris.txt", str(tmp_path / "store")
    listing.write_text("\n".join(str(path) for path in [*pictures, late]))
    driver = ForkServer()

    def run(**more: object) -> dict[str, Any]:
        """A backfill in a process of its own; what it recorded."""
        places = {"source": str(listing), "store": where, "release": str(release_dir), "shard": {"images": 2}}
        driver.finish(places | more, tmp_path / "told")
        return Store.open(Storage(), where).run() or {}

    def proof(policy: str = "strict") -> VerifyFacts:
        return verify(VerifySpec(store=where, policy=policy, deep=True))

    def compacted() -> int:
        before = proof().digest
        written = compact(CompactSpec(store=where, segment_shards=4)).written
        assert (proof().sound, proof().digest) == (True, before)
        return written

    first = run(max_fault_rate=1)
    assert (first["fetched"], first["faults"]) == (16, {"GONE": 1})
    assert compacted() == 4
    assert run()["run"] == first["run"], "there was nothing to do"

    assert run(policy="lenient")["judged"] == 16
    assert compacted() == 0, "judged again, shards lie together already"
    assert proof("lenient").sound

    more = write_pictures(tmp_path / "bucket", 2, start=50)
    listing.write_text("\n".join(str(path) for path in [*pictures, *more, late]))
    assert run()["fetched"] == 2

    shutil.copy(pictures[0], late)
    retried = run(retry_faults=True)
    assert (retried["retried"], retried["faults"]) == (1, {})
    assert (proof().sound, proof().faulted) == (True, 0)
    assert run(policy="lenient")["judged"] > 0
    assert proof("lenient").sound
    assert compacted() > 0
