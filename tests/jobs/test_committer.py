import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.backlog import find_backlog
from assay.jobs.committer import GROUP, WAIT_S, Committer
from assay.jobs.datafile import write_observations, write_verdicts
from assay.jobs.generation import generations
from assay.jobs.ledger import DataFile
from assay.jobs.manifest import ShardSpec, cut
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.store import Store
from assay.jobs.work import Receipt, Task, Work, WrittenFile, digest_of_keys
from assay.platform.errors import CommitError, ConservationError
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.store_doubles import PARTITION, judge, judged_rows, new_store, observe, observed_rows, refs_of, reopened

Step = tuple[str, list[str], list[str]]


@dataclass
class MemoryLedger:
    """A table in memory: the double of `DeltaLedger`. `log` is shared, so that the order over two tables shows."""

    name: str
    log: list[Step]
    fail: bool = False
    known: dict[str, DataFile] = field(default_factory=dict)

    def files(self) -> list[DataFile]:
        return list(self.known.values())

    def commit(
        self, adds: Sequence[DataFile], removes: Sequence[DataFile] = (), note: Mapping[str, str] | None = None
    ) -> int:
        if self.fail:
            raise CommitError("as told")
        assert note == {"assay.run": "run-1"}
        for file in removes:
            del self.known[file.path]
        self.known.update({file.path: file for file in adds})
        self.log.append((self.name, [file.path for file in adds], [file.path for file in removes]))
        return len(self.log)


@dataclass
class Desk:
    """A committer over two ledgers in memory, and the sizes of the files that exist."""

    log: list[Step] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.observations = MemoryLedger("observations", self.log)
        self.verdicts = MemoryLedger("verdicts", self.log)
        self.committer = Committer(self.observations, self.verdicts, PARTITION, "run-1", self.size_of)
        self.expect(Task.OBSERVE, *range(GROUP * 3))

    def expect(self, task: Task, *shards: int) -> None:
        """Have shards planned for a task."""
        planned = {shard: Work(shard=shard, task=task, rows=2, keys=f"keys of {shard}") for shard in shards}
        self.committer.expect({**self.committer.planned, **planned}.values())

    def size_of(self, name: str) -> int | None:
        return self.sizes.get(name)

    def receipt(self, shard: int, task: Task = Task.OBSERVE, rows: int = 2) -> Receipt:
        observed, judged = self.written(f"o{shard}-{task}"), self.written(f"v{shard}-{task}")
        if task is not Task.JUDGE:
            self.sizes[f"observations/{observed.path}"] = observed.size
        self.sizes[f"verdicts/{judged.path}"] = judged.size
        seen = None if task is Task.JUDGE else observed
        return Receipt(
            shard=shard,
            task=task,
            rows=rows,
            keys=f"keys of {shard}",
            outcomes=Counter(ok=2),
            observed=seen,
            judged=judged,
        )

    def written(self, path: str) -> WrittenFile:
        return WrittenFile(path=path, size=9, first_uri="a", last_uri="b")

    def stored(self, ledger: MemoryLedger, path: str, shard: int) -> DataFile:
        file = DataFile(path, 9, 2, shard, shard, "a", "b")
        ledger.known[path] = file
        return file


def test_observations_come_before_verdicts() -> None:
    desk = Desk()
    for shard in (4, 2):
        desk.committer.take(desk.receipt(shard))
    assert desk.log == []
    assert [receipt.shard for receipt in desk.committer.commit()] == [4, 2]
    assert desk.log == [
        ("observations", ["o4-observe", "o2-observe"], []),
        ("verdicts", ["v4-observe", "v2-observe"], []),
    ]
    assert all(dict(file.partition) == PARTITION for file in desk.verdicts.files())
    assert all(file.partition == {} for file in desk.observations.files())
    [file] = [file for file in desk.observations.files() if file.path == "o4-observe"]
    assert (file.rows, file.size, file.first_shard, file.last_shard) == (2, 9, 4, 4)


def test_judging_leaves_observations_alone() -> None:
    desk = Desk()
    desk.expect(Task.JUDGE, 1)
    desk.committer.take(desk.receipt(1, Task.JUDGE))
    desk.committer.commit()
    assert desk.log == [("verdicts", ["v1-judge"], [])]


def test_a_retry_takes_the_old_verdicts_away_first() -> None:
    """Of whatever release: they were made from rows that are about to go."""
    desk = Desk()
    desk.committer.observed = {1: desk.stored(desk.observations, "old-o", 1)}
    desk.committer.judged = {
        1: [desk.stored(desk.verdicts, "old-v", 1), desk.stored(desk.verdicts, "older-release-v", 1)]
    }
    desk.stored(desk.verdicts, "of-another-shard", 2)
    desk.expect(Task.RETRY, 1)
    desk.committer.take(desk.receipt(0))
    desk.committer.take(desk.receipt(1, Task.RETRY))
    desk.committer.commit()
    assert desk.log == [
        ("verdicts", [], ["old-v", "older-release-v"]),
        ("observations", ["o0-observe", "o1-retry"], ["old-o"]),
        ("verdicts", ["v0-observe", "v1-retry"], []),
    ]
    assert set(desk.verdicts.known) == {"of-another-shard", "v0-observe", "v1-retry"}


def test_nothing_held_is_nothing_committed() -> None:
    desk = Desk()
    assert desk.committer.commit() == []
    assert not desk.committer.due
    assert desk.log == []
    assert desk.committer.commits == 0


@pytest.mark.parametrize("rows", [1, 3, 0])
def test_rows_that_are_not_the_plan_s(rows: int) -> None:
    desk = Desk()
    with pytest.raises(ConservationError, match="shard 5") as refusal:
        desk.committer.take(desk.receipt(5, rows=rows))
    assert f"rows: planned 2, the receipt has {rows}" in refusal.value.why
    assert refusal.value.exit_code == 5
    assert desk.committer.commit() == []


def test_a_shard_nobody_asked_for() -> None:
    desk = Desk()
    with pytest.raises(ConservationError, match="no such shard"):
        desk.committer.take(desk.receipt(99_999))


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("task", {"task": Task.RETRY}),
        ("images", {"keys": "of other images"}),
        ("outcomes", {"outcomes": Counter(ok=1)}),
        ("observations", {"observed": None}),
        ("verdicts", {"judged": None}),
    ],
)
def test_a_receipt_that_is_not_the_plan_s(what: str, other: dict[str, object]) -> None:
    desk = Desk()
    with pytest.raises(ConservationError, match="shard 5") as refusal:
        desk.committer.take(desk.receipt(5).model_copy(update=other))
    assert refusal.value.why.startswith(f"{what}: planned ")
    assert desk.committer.commit() == []


def test_a_shard_that_comes_twice_is_taken_once() -> None:
    """Ray may run a task again; what the second run wrote stays nobody's."""
    desk = Desk()
    assert desk.committer.take(desk.receipt(5))
    again = desk.receipt(5).model_copy(update={"observed": desk.written("again-o"), "judged": desk.written("again-v")})
    assert not desk.committer.take(again)
    desk.committer.commit()
    assert not desk.committer.take(again)
    desk.committer.commit()
    assert set(desk.observations.known) == {"o5-observe"}
    assert set(desk.verdicts.known) == {"v5-observe"}


def test_a_retry_never_takes_other_shards_along() -> None:
    desk = Desk()
    wide = DataFile("wide", 9, 4, 1, 2, "a", "b")
    desk.committer.observed, desk.committer.judged = {1: wide}, {}
    desk.expect(Task.RETRY, 1)
    desk.committer.take(desk.receipt(1, Task.RETRY))
    with pytest.raises(ConservationError, match="wide"):
        desk.committer.commit()
    assert desk.log == []


@pytest.mark.parametrize("table", ["observations/o5-observe", "verdicts/v5-observe"])
@pytest.mark.parametrize("size", [None, 8, 10, 0])
def test_a_file_that_is_not_as_written(table: str, size: int | None) -> None:
    """A transaction that names a missing file ruins the table: nothing at all is committed."""
    desk = Desk()
    desk.committer.take(desk.receipt(4))
    desk.committer.take(desk.receipt(5))
    desk.sizes.pop(table)
    if size is not None:
        desk.sizes[table] = size
    with pytest.raises(ConservationError, match=table):
        desk.committer.commit()
    assert desk.log == []


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(time, "monotonic", lambda: self.now)


def test_when_a_commit_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, desk = Clock(monkeypatch), Desk()
    desk.committer.take(desk.receipt(0))
    assert desk.committer.due  # the first shows that all works
    desk.committer.commit()
    clock.now += 10 * WAIT_S
    assert not desk.committer.due  # nothing is held
    desk.committer.take(desk.receipt(1))
    assert not desk.committer.due
    clock.now += WAIT_S - 0.1
    desk.committer.take(desk.receipt(2))  # does not start the clock again
    assert not desk.committer.due
    clock.now += 0.1
    assert desk.committer.due
    desk.committer.commit()
    assert not desk.committer.due
    assert desk.committer.commits == 2


def test_a_full_group_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    desk = Desk()
    desk.committer.take(desk.receipt(0))
    desk.committer.commit()
    for shard in range(1, GROUP):
        desk.committer.take(desk.receipt(shard))
        assert not desk.committer.due
    desk.committer.take(desk.receipt(GROUP))
    assert desk.committer.due


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=40))
def test_every_receipt_is_committed_once(steps: list[tuple[int, bool]]) -> None:
    desk, taken, told = Desk(), [], []
    for shard, commit in steps:
        if shard not in taken:
            desk.committer.take(desk.receipt(shard))
            taken.append(shard)
        if commit:
            told += [receipt.shard for receipt in desk.committer.commit()]
    told += [receipt.shard for receipt in desk.committer.commit()]
    assert told == taken
    assert sorted(file.first_shard for file in desk.observations.files()) == sorted(taken)
    assert sorted(file.first_shard for file in desk.verdicts.files()) == sorted(taken)


# Against real tables


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
        store.observations, store.verdicts, PARTITION, "run-1", store.size_of, backlog.observed, backlog.judged
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
