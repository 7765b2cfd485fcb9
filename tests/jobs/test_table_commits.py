"""The committer over real tables: what a reader finds after a commit, a crash between two, or a second driver."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from assay.jobs.backlog import find_backlog
from assay.jobs.committer import Committer
from assay.jobs.datafile import write_observations, write_verdicts
from assay.jobs.generation import generations
from assay.jobs.ledger import DataFile
from assay.jobs.manifest import ShardSpec, cut
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.store import Store
from assay.jobs.work import Receipt, Task, Work, digest_of_keys
from assay.jobs.written_sizes import written_sizes
from assay.platform.errors import CommitError, ConservationError
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.store_doubles import PARTITION, judge, judged_rows, new_store, observe, observed_rows, refs_of, reopened


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of three planned shards of two images."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / str(number)).write_bytes(b"1")
    plan(Store.attach(Storage(), str(tmp_path / "store")), str(source), PlanSpec(shard=ShardSpec(images=2)))
    return new_store(Storage(), tmp_path / "store")


def real_receipt(store: Store, shard: int, task: Task, refs: Sequence[ImageRef], outcomes: Sequence[str]) -> Receipt:
    observed = write_observations(store.storage, store.uri, shard, observed_rows(shard, refs, outcomes))
    judged = write_verdicts(store.storage, store.uri, shard, judged_rows(shard, refs, outcomes))
    seen = None if task is Task.JUDGE else observed
    keys = digest_of_keys((ref.uri, ref.etag) for ref in refs)
    counted = Counter(outcomes)
    return Receipt(shard=shard, task=task, rows=len(refs), keys=keys, outcomes=counted, observed=seen, judged=judged)


def real_committer(store: Store, retry: bool = False) -> Committer:
    backlog = find_backlog(store, generations(store), PARTITION, retry_faults=retry)
    keys = digest_of_keys((ref.uri, ref.etag) for ref in refs_of(2))
    tasks = {**dict.fromkeys(range(3), Task.OBSERVE), **dict.fromkeys(backlog.retry, Task.RETRY)}
    committer = Committer(
        store.observations,
        store.verdicts,
        PARTITION,
        "run-1",
        partial(written_sizes, store),
        backlog.observed,
        backlog.judged,
    )
    committer.expect(Work(shard=shard, task=task, rows=2, keys=keys) for shard, task in tasks.items())
    return committer


def test_a_real_commit(store: Store) -> None:
    committer = real_committer(store)
    for shard in (0, 2):
        committer.take(real_receipt(store, shard, Task.OBSERVE, refs_of(2), ["ok", "GONE"]))
        committer.commit()
    again = reopened(store)
    assert {file.first_shard for file in again.observations.files()} == {0, 2}
    assert again.verdicts.dataset().to_table(columns=["shard"])["shard"].to_pylist().count(2) == 2
    assert find_backlog(again, generations(again), PARTITION, retry_faults=False).observe == {1}


def test_a_missing_file_is_not_committed(store: Store) -> None:
    committer = real_committer(store)
    receipt = real_receipt(store, 0, Task.OBSERVE, refs_of(2), ["ok", "ok"])
    committer.take(receipt)
    assert receipt.judged is not None
    store.storage.remove(store.path("verdicts", receipt.judged.path))
    with pytest.raises(ConservationError):
        committer.commit()
    assert reopened(store).observations.files() == reopened(store).verdicts.files() == []


def test_a_real_retry(store: Store) -> None:
    refs = refs_of(2)
    for shard in (0, 1):
        observe(store, shard, refs, ["ok", "UNREACHABLE"])
        judge(store, shard, refs)
        judge(store, shard, refs, partition={"release": "older", "policy": "p"})
    again = reopened(store)
    committer = real_committer(again, retry=True)
    committer.take(real_receipt(again, 0, Task.RETRY, refs, ["ok", "ok"]))
    committer.commit()
    rows = reopened(store).observations.dataset().to_table(columns=["shard", "outcome"]).to_pylist()
    assert sorted((row["shard"], row["outcome"]) for row in rows) == [
        (0, "ok"), (0, "ok"), (1, "UNREACHABLE"), (1, "ok")
    ]  # fmt: skip
    verdicts = reopened(store).verdicts.files()
    assert sorted((file.first_shard, file.partition["release"]) for file in verdicts) == [
        (0, "release-1"), (1, "older"), (1, "release-1")
    ]  # fmt: skip


@pytest.mark.parametrize("task", [Task.OBSERVE, Task.RETRY])
def test_a_crash_between_two_commits_is_judged_next_time(
    store: Store, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = refs_of(2)
    if task is Task.RETRY:
        observe(store, 0, refs, ["ok", "UNREACHABLE"])
        judge(store, 0, refs)
    running = reopened(store)
    committer = real_committer(running, retry=task is Task.RETRY)
    committer.take(real_receipt(running, 0, task, refs, ["ok", "ok"]))
    real = running.verdicts.commit

    def crash(adds: Sequence[DataFile], removes: Sequence[DataFile] = (), note: Mapping[str, str] | None = None) -> int:
        if adds:
            raise KeyboardInterrupt
        return real(adds, removes, note)

    monkeypatch.setattr(running.verdicts, "commit", crash)
    with pytest.raises(KeyboardInterrupt):
        committer.commit()
    backlog = find_backlog(reopened(store), generations(store), PARTITION, retry_faults=True)
    assert set(backlog.observe) == {1, 2}
    assert set(backlog.judge) == {0}
    assert backlog.retry == {}
    assert reopened(store).observations.dataset().to_table(columns=["outcome"])["outcome"].to_pylist() == ["ok", "ok"]


def test_a_crash_before_a_retry_s_new_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old rows without verdicts: the next run judges them, or retries them again."""
    refs = refs_of(2)
    observe(store, 0, refs, ["ok", "UNREACHABLE"])
    judge(store, 0, refs)
    running = reopened(store)
    committer = real_committer(running, retry=True)
    committer.take(real_receipt(running, 0, Task.RETRY, refs, ["ok", "ok"]))

    def crash(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(running.observations, "commit", crash)
    with pytest.raises(KeyboardInterrupt):
        committer.commit()
    assert find_backlog(reopened(store), generations(store), PARTITION, retry_faults=False).judge == {0}
    assert set(find_backlog(reopened(store), generations(store), PARTITION, retry_faults=True).retry) == {0}


def test_a_second_driver_is_refused_and_changes_nothing(store: Store) -> None:
    first, second = real_committer(reopened(store)), real_committer(reopened(store))
    first.take(real_receipt(store, 0, Task.OBSERVE, refs_of(2), ["ok", "ok"]))
    second.take(real_receipt(store, 0, Task.OBSERVE, refs_of(2), ["ok", "ok"]))
    first.commit()
    with pytest.raises(CommitError):
        second.commit()
    assert len(reopened(store).observations.files()) == len(reopened(store).verdicts.files()) == 1


def test_the_shards_of_these_tests_are_the_planner_s(store: Store) -> None:
    assert generations(store)[0].shards == len(list(cut(refs_of(6), 0, ShardSpec(images=2)))) == 3
