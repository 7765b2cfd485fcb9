"""Vacuum deletes what is nobody's, and nothing that anybody names, reads or could still commit."""

import os
import re
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from assay.jobs.committer import Committer
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.datafile import write_observations, write_verdicts
from assay.jobs.generation import generations
from assay.jobs.ledger import DataFile
from assay.jobs.manifest import ManifestWriter, Shard, ShardSpec
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.store import Store
from assay.jobs.vacuum import VacuumFacts, VacuumSpec, vacuum
from assay.jobs.work import Receipt, Task, Work, digest_of_keys
from assay.jobs.written_sizes import written_sizes
from assay.platform.errors import AssayError, CommitError, ConservationError, FencedError, SpecError
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.store_doubles import (
    PARTITION,
    judge,
    judged_rows,
    new_store,
    observe,
    observed_rows,
    refs_of,
    reopened,
    tree,
)

DAY = 86_400


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of eight files."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(8):
        (folder / str(number)).write_bytes(b"1")
    return folder


@pytest.fixture
def store(tmp_path: Path, source: Path) -> Store:
    """A store of four shards, all observed and judged."""
    store = new_store(Storage(), tmp_path / "store")
    plan(store, str(source), PlanSpec(shard=ShardSpec(images=2)))
    store = reopened(store)
    for shard in range(4):
        observe(store, shard, refs_of(2, f"s3://b/{shard}/"))
        judge(store, shard, refs_of(2, f"s3://b/{shard}/"))
    return store


def run(store: Store, **more: object) -> VacuumFacts:
    settings = {"store": store.uri, "storage": store.storage.spec.model_dump(), **more}
    return vacuum(VacuumSpec.model_validate(settings))


def at_once(store: Store) -> VacuumFacts:
    """All that may go, however young."""
    return run(store, older_than="0", no_reader_is_left=True)


def age(folder: Path, days: float) -> None:
    """Make everything below a folder look `days` older than it is."""
    then = time.time() - days * DAY
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def whole(store: Store) -> bool:
    """Whether every file that the tables name is there, and all manifests."""
    again = reopened(store)
    named = [f"observations/{file.path}" for file in again.observations.files()]
    named += [f"verdicts/{file.path}" for file in again.verdicts.files()]
    named += [f"manifests/{one.folder}/{part.name}" for one in generations(again) for part in one.parts]
    return bool(named) and all(again.size_of(name) for name in named)


def orphan(store: Store, shard: int = 9) -> str:
    rows = observed_rows(shard, refs_of(2))
    return f"observations/{write_observations(store.storage, store.uri, shard, rows).path}"


def test_what_nobody_names_goes_once_it_is_old(store: Store) -> None:
    place = Path(store.shown)
    names = [orphan(store), f"verdicts/{write_verdicts(store.storage, store.uri, 9, judged_rows(9, refs_of(2))).path}"]
    others = ["probe-" + 32 * "0", "runs/.x.json.123.0011aabb.tmp", "verdicts/_delta_log/00000000000000000009.json#1"]
    others.append("manifests/generation-000000/part-00000-00112233.parquet")
    for name in others:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"left over")
    kept = ["notes.txt", "observations/data/.hidden", "releases/probe-" + 32 * "0", "probe-1"]
    for name in kept[:1] + kept[3:]:
        (place / name).write_bytes(b"somebody's")
    before = set(tree(place))
    young = run(store)
    assert (young.data_files, young.manifest_parts, young.leftovers, young.spared) == (0, 0, 0, 2)
    assert before <= set(tree(place))
    age(place, 8)
    facts = run(store, dry_run=True)
    assert (facts.data_files, facts.manifest_parts, facts.leftovers, facts.spared) == (2, 1, 3, 0)
    assert before <= set(tree(place))
    done = run(store)
    assert done == facts.model_copy(update={"dry_run": False})
    assert before - set(tree(place)) == {*names, *others}
    assert whole(store)


def test_a_dry_run_changes_nothing(store: Store) -> None:
    orphan(store)
    age(Path(store.shown), 8)
    before = tree(Path(store.shown))
    assert run(store, dry_run=True).data_files == 1
    assert tree(Path(store.shown)) == before


def test_files_of_before_a_compaction_stay_for_readers_of_then(store: Store) -> None:
    reader = reopened(store)
    before = reader.observations.dataset().to_table()
    compact(CompactSpec(store=store.uri, segment_shards=4))
    facts = run(store, older_than="1h")
    assert (facts.data_files, facts.spared) == (0, 8)
    assert reader.observations.dataset().to_table() == before
    assert at_once(store).data_files == 8
    assert whole(store)
    assert reopened(store).observations.dataset().count_rows() == 8


@pytest.mark.parametrize("older_than", ["0", "59m", "3599s"])
def test_too_young_is_refused(store: Store, older_than: str) -> None:
    before = tree(Path(store.shown))
    with pytest.raises(SpecError, match="no-reader-is-left") as refusal:
        run(store, older_than=older_than)
    assert refusal.value.exit_code == 2
    assert tree(Path(store.shown)) == before


@pytest.mark.parametrize("older_than", ["", "-1d", "7", "1w", "1.5h", "d"])
def test_an_age_nobody_understands(older_than: str) -> None:
    with pytest.raises(ValidationError):
        VacuumSpec(store="x", older_than=older_than)


def test_ages() -> None:
    told = {one: VacuumSpec(store="x", older_than=one).age_s for one in ("0", "90s", "90m", "12h", "7d")}
    assert told == {"0": 0, "90s": 90, "90m": 5400, "12h": 43_200, "7d": 7 * DAY}


def test_only_the_clock_of_the_store_counts(s3: S3Server, s3_place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock may be a year ahead."""
    store = new_store(s3.storage, f"{s3_place}/clock")
    observe(store, 0, refs_of(1))
    store.storage.write(store.path("manifests", "generation-000000", "generation.json"), EMPTY.encode())
    orphan(store)
    real = time.time
    monkeypatch.setattr("assay.jobs.store.time.time", lambda: real() + 365 * DAY)
    assert (run(store).data_files, run(store).spared) == (0, 1)
    monkeypatch.undo()
    time.sleep(1.1)  # S3 tells times to the second
    assert at_once(store).data_files == 1
    assert reopened(store).observations.dataset().count_rows() == 1


EMPTY = (
    '{"number": 0, "source": "", "root": "", "created": "", "listed": 1, "images": 1, "bytes": 1,'
    ' "first_shard": 0, "shards": 1, "parts": []}'
)


def test_only_the_driver_vacuums(store: Store) -> None:
    name = orphan(store)
    with reopened(store).hold("assay backfill of somebody"), pytest.raises(FencedError, match="somebody"):
        at_once(store)
    assert store.size_of(name)


def zombie_of(store: Store, shard: int) -> Committer:
    """A driver whose workers have written a shard, and which lost its lease before its commit."""
    with store.hold("the zombie, while it lived"):
        pass
    refs = refs_of(2, f"s3://b/{shard}/")
    keys = digest_of_keys((ref.uri, ref.etag) for ref in refs)
    committer = Committer(store.observations, store.verdicts, PARTITION, "run-1", partial(written_sizes, store))
    committer.expect([Work(shard=shard, task=Task.OBSERVE, rows=2, keys=keys)])
    receipt = Receipt(
        shard=shard,
        task=Task.OBSERVE,
        rows=2,
        keys=keys,
        outcomes=Counter(ok=2),
        observed=write_observations(store.storage, store.uri, shard, observed_rows(shard, refs)),
        judged=write_verdicts(store.storage, store.uri, shard, judged_rows(shard, refs)),
    )
    committer.take(receipt)
    return committer


@pytest.mark.parametrize("looked", [False, True])
def test_a_zombie_cannot_commit_what_was_vacuumed(
    tmp_path: Path, source: Path, looked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are gone, whether it looks for them after the vacuum or looked before: nothing names them."""
    place = tmp_path / "store"
    plan(Store.attach(Storage(), str(place)), str(source), PlanSpec(shard=ShardSpec(images=2)))
    new_store(Storage(), place)
    committer = zombie_of(Store.open(Storage(), str(place)), 0)
    time.sleep(0.05)  # what was written in the same tick as the vacuum began stays
    other = Store.open(Storage(), str(place))
    facts = at_once(other)
    assert facts.data_files == 2
    if looked:
        monkeypatch.setattr(Committer, "_check_files", lambda _self, _receipts: None)
    with pytest.raises(FencedError if looked else ConservationError):
        committer.commit()
    again = reopened(other)
    assert again.observations.files() == again.verdicts.files() == []
    at_once(again)
    assert [path for path in tree(place) if "/data/" in path] == []


def test_without_the_fence_the_zombie_would_ruin_the_table(store: Store) -> None:
    """The test above can fail: a driver that is not fenced out commits files that are gone."""
    name = orphan(store)
    store.storage.remove(store.path(name))
    store.observations.commit([DataFile(name.removeprefix("observations/"), 9, 2, 9, 9, "a", "b")])
    assert not whole(store)


def test_a_file_written_in_the_vacuums_own_time_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later driver's: the lease may be lost while a vacuum sleeps between its look at the clock and its listing."""
    late: list[str] = []
    real = Storage.list

    def listing(self: Storage, uri: str) -> object:
        if uri == store.uri:
            late.append(orphan(store))
        return real(self, uri)

    monkeypatch.setattr(Storage, "list", listing)
    facts = at_once(store)
    assert (facts.data_files, facts.spared) == (0, 1)
    assert store.size_of(late[0])


def test_a_planner_that_was_cut_off_leaves_nothing(store: Store, source: Path) -> None:
    writer = ManifestWriter(store, "generation-000001")
    writer.add(Shard(4, refs_of(2)))
    writer.close()
    parts = {name for name in tree(Path(store.shown)) if re.match(r"manifests/generation-000001/part", name)}
    assert len(parts) == 1
    assert run(store).manifest_parts == 0
    age(Path(store.shown), 8)
    assert run(store, dry_run=True).manifest_parts == 1
    assert run(store).manifest_parts == 1
    assert not parts & set(tree(Path(store.shown)))
    assert [(one.number, one.images) for one in generations(store)] == [(0, 8), (1, 0)]
    (source / "more").write_bytes(b"1")
    facts = plan(reopened(store), str(source), PlanSpec())
    assert (facts.generation, facts.new_images) == (2, 1)
    assert whole(store)


def test_a_planner_that_still_lists_is_told_to_begin_again(store: Store, source: Path) -> None:
    """Its parts are gone, so what it then publishes must not name them."""
    (source / "more").write_bytes(b"1")
    planner = reopened(store)
    real = ManifestWriter.close

    def slow(writer: ManifestWriter) -> object:
        parts = real(writer)
        age(Path(store.shown), 8)
        assert run(store).manifest_parts == 1
        return parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ManifestWriter, "close", slow)
        with pytest.raises(CommitError, match="another driver planned"):
            plan(planner, str(source), PlanSpec())
    assert plan(reopened(store), str(source), PlanSpec()).new_images == 1
    assert whole(store)


def test_a_planner_that_publishes_first_keeps_its_parts(store: Store, source: Path) -> None:
    (source / "more").write_bytes(b"1")
    facts = plan(reopened(store), str(source), PlanSpec())
    age(Path(store.shown), 8)
    run(store)
    assert whole(store)
    assert [one.number for one in generations(store)] == [0, facts.generation]


def test_a_store_whose_generation_was_lost_is_not_touched(store: Store) -> None:
    (Path(store.shown) / "manifests" / "generation-000000" / "generation.json").unlink()
    age(Path(store.shown), 8)
    before = {name for name in tree(Path(store.shown)) if name.startswith("manifests/")}
    with pytest.raises(AssayError, match="restore"):
        at_once(store)
    assert {name for name in tree(Path(store.shown)) if name.startswith("manifests/")} == before
