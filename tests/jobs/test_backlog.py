from pathlib import Path

import pytest

from assay.jobs.backlog import TRANSIENT, Backlog, find_backlog, read_work
from assay.jobs.generation import generations
from assay.jobs.manifest import Shard, ShardSpec, read_shards
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.store import Store
from assay.jobs.work import Task, Work, digest_of_keys
from assay.platform.faults import FaultKind
from assay.platform.storage import Storage
from tests.store_doubles import PARTITION, judge, new_store, observe, reopened

OTHER = {"release": "release-2", "policy": "strict"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two generations: shards 0, 1, 2 and 3, 4, of two images each."""
    source = tmp_path / "source"
    source.mkdir()
    for numbers in (range(6), range(6, 10)):
        for number in numbers:
            (source / f"{number:02d}").write_bytes(b"1")
        known = Store.attach(Storage(), str(tmp_path / "store"))
        plan(known, str(source), PlanSpec(shard=ShardSpec(images=2)))
    return new_store(Storage(), tmp_path / "store")


def shards(store: Store) -> list[Shard]:
    return [shard for one in generations(store) for shard in read_shards(store, one, set(range(5)))]


def backlog(store: Store, *, retry: bool = False, partition: dict[str, str] = PARTITION) -> Backlog:
    again = reopened(store)
    return find_backlog(again, generations(again), partition, retry_faults=retry)


def keys_of(shard: Shard) -> str:
    return digest_of_keys((ref.uri, ref.etag) for ref in shard.refs)


def work(store: Store, found: Backlog) -> list[Work]:
    return list(read_work(store, generations(store), found))


def test_all_is_to_observe_at_first(store: Store) -> None:
    found = backlog(store, retry=True)
    assert found.observe == frozenset(range(5))
    assert (found.shards, found.rows_done) == (5, 0)
    assert not found.judge
    assert not found.retry
    assert work(store, found) == [
        Work(shard=shard.number, task=Task.OBSERVE, rows=2, keys=keys_of(shard), refs=shard.refs)
        for shard in shards(store)
    ]


def test_what_is_observed_and_judged_is_done(store: Store) -> None:
    for shard in shards(store)[1:4]:
        observe(store, shard.number, shard.refs)
        judge(store, shard.number, shard.refs)
    found = backlog(store)
    assert (found.observe, found.rows_done) == (frozenset({0, 4}), 6)
    assert not found.judge
    assert [one.shard for one in work(store, found)] == [0, 4]


def test_what_is_observed_only_is_judged_without_its_source(store: Store) -> None:
    files = {shard.number: observe(store, shard.number, shard.refs) for shard in shards(store)[:2]}
    judge(store, 0, shards(store)[0].refs)
    found = backlog(store)
    assert set(found.judge) == {1}
    assert set(found.observed) == {1}
    [judging] = [one for one in work(store, found) if one.task is Task.JUDGE]
    assert judging == Work(shard=1, last_shard=1, task=Task.JUDGE, rows=2, observed=(files[1].path,))


def test_another_release_or_policy_judges_all_again(store: Store) -> None:
    for shard in shards(store):
        observe(store, shard.number, shard.refs)
        judge(store, shard.number, shard.refs)
    assert backlog(store).shards == 0
    for partition in (OTHER, {**PARTITION, "policy": "lenient"}):
        found = backlog(store, partition=partition)
        assert set(found.judge) == set(range(5))
        assert not found.observe
        assert {one.task for one in work(store, found)} == {Task.JUDGE}


def test_transient_faults_are_retried_when_asked_for(store: Store) -> None:
    outcomes = [["ok", "UNREACHABLE"], ["CORRUPT", "ok"], ["GONE", "CHANGED"], ["ok", "ok"]]
    files = []
    for shard, ends in zip(shards(store), outcomes, strict=False):
        files.append(observe(store, shard.number, shard.refs, ends))
        judge(store, shard.number, shard.refs)
        judge(store, shard.number, shard.refs, partition=OTHER)
    assert backlog(store).retry == {}
    found = backlog(store, retry=True)
    known = shards(store)
    assert found.retry == {0: known[0].refs[1:], 2: known[2].refs}
    assert set(found.observe) == {4}
    assert found.shards == 3
    assert {shard: file.path for shard, file in found.observed.items()} == {0: files[0].path, 2: files[2].path}
    assert {shard: len(old) for shard, old in found.judged.items()} == {0: 2, 2: 2}  # of both releases
    retries = [one for one in work(store, found) if one.task is Task.RETRY]
    again = {"task": Task.RETRY, "rows": 2}
    assert retries == [
        Work(shard=0, keys=keys_of(known[0]), refs=known[0].refs[1:], observed=(files[0].path,), **again),
        Work(shard=2, keys=keys_of(known[2]), refs=known[2].refs, observed=(files[2].path,), **again),
    ]


def test_a_retry_comes_before_judging(store: Store) -> None:
    shard = shards(store)[0]
    observe(store, 0, shard.refs, ["ok", "UNREACHABLE"])
    assert set(backlog(store).judge) == {0}
    found = backlog(store, retry=True)
    assert set(found.retry) == {0}
    assert not found.judge


@pytest.mark.parametrize("kind", FaultKind)
def test_which_faults_trying_again_can_mend(store: Store, kind: FaultKind) -> None:
    observe(store, 0, shards(store)[0].refs, ["ok", kind.value])
    assert bool(backlog(store, retry=True).retry) == (kind.value in TRANSIENT)


def test_an_empty_store_has_nothing_to_do(tmp_path: Path) -> None:
    store = new_store(Storage(), tmp_path / "empty")
    found = find_backlog(store, [], PARTITION, retry_faults=True)
    assert (found.shards, found.rows_done) == (0, 0)
    assert work(store, found) == []
    nothing = Store.attach(Storage(), str(tmp_path / "none"))
    assert find_backlog(nothing, [], PARTITION, retry_faults=True).shards == 0
