"""The ledger's laws, one suite for every log: in memory, as a Delta table on disk, and on the real S3 server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from assay.jobs.delta_log import DeltaLog
from assay.jobs.ledger import APP, APP_EPOCH, TRIES, DataFile, Ledger, Transaction
from assay.platform.errors import CommitError, FencedError
from assay.platform.rows import VERDICT_PARTITIONS, VERDICTS
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.ledger_doubles import LossyLog, MemoryLog

Open = Callable[[], Ledger]
"""Opens one and the same table, as another process would."""

PARTITION = {"release": "r/1 <b>%41", "policy": "strict=ü?#"}


@pytest.fixture(params=["memory", "disk", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """A table that is there, and how to open it."""
    table: list[Transaction] = []
    storage, where = Storage(), str(tmp_path / "a table")
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        storage, where = s3.storage, f"{request.getfixturevalue('s3_place')}/{tmp_path.name}/a table"

    def make() -> Ledger:
        log = MemoryLog(table) if request.param == "memory" else DeltaLog(storage, where, VERDICTS, VERDICT_PARTITIONS)
        return Ledger(LossyLog(log), pause=lambda _seconds: None)

    make().create()
    return make


def file(number: int, shard: int | None = None) -> DataFile:
    """A file that only the log needs to know."""
    shard = number if shard is None else shard
    return DataFile(f"data/{number}.parquet", 9 + number, 2, shard, shard, f"s3://b/{number}/ü", "s3://b/z", PARTITION)


def paths(ledger: Ledger) -> list[str]:
    return sorted(one.path for one in ledger.files())


def fates(ledger: Ledger, *plan: str) -> None:
    assert isinstance(ledger.log, LossyLog)
    ledger.log.plan = list(plan)


def test_versions_follow_on_each_other(opened: Open) -> None:
    ledger = opened()
    assert (ledger.version, ledger.files()) == (0, [])
    assert [ledger.commit([file(number)]) for number in range(3)] == [1, 2, 3]
    assert (ledger.version, opened().version) == (3, 3)


def test_file_facts_come_back(opened: Open) -> None:
    wanted = [file(0), file(1)]
    opened().commit(wanted, note={"assay.run": "run-1"})
    found = sorted(opened().files(), key=lambda one: one.path)
    assert found == wanted
    note = opened().log.note_of(1)
    assert note is not None
    assert note["assay.run"] == "run-1"
    assert opened().log.note_of(2) is None


@pytest.mark.parametrize("rearranged", [False, True])
def test_replacing_is_one_version(opened: Open, rearranged: bool) -> None:
    ledger = opened()
    ledger.commit([file(0), file(1)])
    before = opened()
    assert before.version == 1
    ledger.commit([file(2, shard=0)], [file(0)], rearranged=rearranged)
    assert paths(ledger) == paths(opened()) == ["data/1.parquet", "data/2.parquet"]
    assert paths(before) == ["data/0.parquet", "data/1.parquet"]


def test_another_driver_is_refused(opened: Open) -> None:
    first, second = opened(), opened()
    assert first.version == second.version == 0
    first.commit([file(0)])
    for _ in range(3):  # trying again must not slip in between the other's commits
        with pytest.raises(FencedError, match="another driver"):
            second.commit([file(1)])
        first.commit([file(first.version + 10)])
    assert "data/1.parquet" not in paths(opened())


def test_a_fence_shuts_out_earlier_drivers(opened: Open) -> None:
    early, late = opened(), opened()
    early.fence(1)
    early.commit([file(0)])
    late.fence(2)
    assert paths(late) == ["data/0.parquet"]
    with pytest.raises(FencedError):
        early.commit([file(1)])
    late.commit([file(2)])
    assert paths(opened()) == ["data/0.parquet", "data/2.parquet"]


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_driver_that_comes_late_with_an_old_epoch_is_refused(opened: Open, epoch: int) -> None:
    """Reloading does not help it: the table remembers the highest epoch."""
    opened().fence(2)
    with pytest.raises(FencedError, match="epoch 2"):
        opened().fence(epoch)
    assert opened().version == 1


def test_a_fence_lets_a_last_commit_come_first(opened: Open) -> None:
    """What an earlier driver committed while we fenced is seen, not lost."""
    early, late = opened(), opened()
    early.fence(1)
    fates(late, "lost")
    slow, sent = late.log.append, list[Transaction]()

    def append(transaction: Transaction) -> None:
        if not sent:
            early.commit([file(0)])
        sent.append(transaction)
        slow(transaction)

    late.log.append = append  # type: ignore[method-assign]  # the moment in between
    late.fence(2)
    assert len(sent) > 1
    assert paths(late) == ["data/0.parquet"]


@pytest.mark.parametrize("plan", [["unacknowledged"], ["lost"], ["lost", "unacknowledged"], ["lost"] * (TRIES - 1)])
def test_a_lost_answer_is_looked_up(opened: Open, plan: list[str]) -> None:
    ledger = opened()
    fates(ledger, *plan)
    assert ledger.commit([file(0)]) == 1
    assert ledger.commit([file(1)]) == 2
    assert paths(opened()) == ["data/0.parquet", "data/1.parquet"]
    assert opened().log.number(APP) == 2


def test_a_lost_answer_to_a_fence(opened: Open) -> None:
    ledger = opened()
    fates(ledger, "unacknowledged")
    ledger.fence(7)
    assert (opened().version, opened().log.number(APP_EPOCH)) == (1, 7)
    ledger.commit([file(0)])


def test_a_log_that_takes_nothing(opened: Open) -> None:
    ledger = opened()
    fates(ledger, *["lost"] * TRIES)
    with pytest.raises(CommitError, match="not accepted") as refusal:
        ledger.commit([file(0)])
    assert not isinstance(refusal.value, FencedError)
    assert opened().version == 0
    ledger.commit([file(0)])


def test_an_answer_lost_to_another_driver_is_no_success(opened: Open) -> None:
    """Ours did not arrive, and somebody else's stands there."""
    first, second = opened(), opened()
    assert first.version == second.version == 0
    second.commit([file(0)])
    fates(first, "lost")
    with pytest.raises(FencedError):
        first.commit([file(1)])
    assert paths(opened()) == ["data/0.parquet"]
