"""The committer over two tables in memory: what is committed when, in which order, and what never is."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.committer import GROUP, WAIT_S, Committer
from assay.jobs.ledger import DataFile
from assay.jobs.work import Receipt, Task, Work, WrittenFile
from assay.platform.errors import CommitError, ConservationError
from tests.store_doubles import PARTITION

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
        self.committer = Committer(self.observations, self.verdicts, PARTITION, "run-1", self.sizes_of)
        self.expect(Task.OBSERVE, *range(GROUP * 3))

    def expect(self, task: Task, *shards: int) -> None:
        """Have shards planned for a task."""
        planned = {shard: Work(shard=shard, task=task, rows=2, keys=f"keys of {shard}") for shard in shards}
        self.committer.expect({**self.committer.planned, **planned}.values())

    def sizes_of(self, names: Sequence[str]) -> list[int | None]:
        return [self.sizes.get(name) for name in names]

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
