"""Stores that something is wrong with: a clear error or a repair command, never a wrong "verified", nothing changed."""

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from assay.jobs.backlog import find_backlog
from assay.jobs.cli import main
from assay.jobs.committer import Committer
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.datafile import write_observations, write_verdicts
from assay.jobs.generation import generations
from assay.jobs.manifest import ShardSpec, read_shards
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.repair import refuse_stranded
from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from assay.jobs.work import Receipt, Task, Work, digest_of_keys
from assay.platform.errors import ConservationError, StorageError, StoreVersionError
from assay.platform.rows import OBSERVATIONS
from assay.platform.storage import Storage
from tests.store_doubles import PARTITION, judge, judged_rows, new_store, observe, observed_rows, reopened, tree

READERS = ("verify", "status", "repair --dry-run", "vacuum --dry-run")
"""Commands that change nothing, whatever they find."""
WRITERS = ("compact", "vacuum", "repair")


def filled(place: Path, source: Path) -> Store:
    """A sound store of four shards of two images."""
    source.mkdir()
    for number in range(8):
        (source / str(number)).write_bytes(b"1")
    plan(Store.attach(Storage(), str(place)), str(source), PlanSpec(shard=ShardSpec(images=2)))
    store = new_store(Storage(), place)
    for shard in read_shards(store, generations(store)[0], {0, 1, 2, 3}):
        observe(store, shard.number, shard.refs)
        judge(store, shard.number, shard.refs)
    store.write_run("run-1", {"run": "run-1", **PARTITION})
    return reopened(store)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(place: Path, tmp_path: Path) -> Store:
    return filled(place, tmp_path / "source")


def run(command: str, place: Path) -> int:
    verb, *flags = command.split()
    return main([verb, str(place), *flags])


def source_of(place: Path) -> list[str]:
    return ["plan", str(place.parent / "source"), "--store", str(place)]


Told = pytest.CaptureFixture[str]


def test_the_store_is_sound_before_anything_happens(store: Store, place: Path) -> None:
    assert verify(VerifySpec(store=store.uri)).sound
    assert [run(command, place) for command in READERS] == [0, 0, 0, 0]


# Two drivers

HOLD = """
import sys, time
from assay.jobs.store import Store
from assay.platform.storage import Storage
with Store.open(Storage(), sys.argv[1]).hold("assay backfill s3://bucket"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("command", WRITERS)
def test_the_second_driver_is_told_who_has_the_store(store: Store, place: Path, command: str, capsys: Told) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, store.shown], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        try:
            assert driver.stdout.readline() == "held\n"
            before = tree(place / "observations")
            assert run(command, place) == 5
            told = capsys.readouterr().err
            assert "assay backfill s3://bucket" in told
            assert f"process {driver.pid}" in told
            assert tree(place / "observations") == before
        finally:
            driver.send_signal(signal.SIGKILL)
    assert run(command, place) == 0, "a dead driver keeps nobody waiting"
    assert verify(VerifySpec(store=store.uri)).sound


# Stores of other versions, and half of a store


def change_json(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def newer(place: Path) -> None:
    change_json(place / "store.json", lambda facts: facts.update(schema_version=2))


def older(place: Path) -> None:
    change_json(place / "store.json", lambda facts: facts.update(schema_version=0))


def generation_without_a_field(place: Path) -> None:
    change_json(place / "manifests/generation-000000/generation.json", lambda facts: facts.pop("parts"))


def generation_that_is_no_json(place: Path) -> None:
    (place / "manifests/generation-000000/generation.json").write_text("{")


def a_table_without_a_column(place: Path) -> None:
    shutil.rmtree(place / "observations")
    schema = pa.schema([field for field in OBSERVATIONS if field.name != "sha256"])
    DeltaTable.create(place / "observations", schema)


def run_record_unreadable(place: Path) -> None:
    (place / "runs/run-1.json").write_text("{")


def run_pointer_unreadable(place: Path) -> None:
    (place / "runs/latest.json").write_text('["x"]')


def no_store_file(place: Path) -> None:
    (place / "store.json").unlink()


@pytest.mark.parametrize(
    ("damage", "told", "commands"),
    [
        (newer, "newer Assay", (*READERS, *WRITERS)),
        (older, "older Assay", (*READERS, *WRITERS)),
        (no_store_file, "no store here", (*READERS, *WRITERS)),
        (generation_without_a_field, "generation.json", ("verify", "status", "vacuum", "vacuum --dry-run")),
        (generation_that_is_no_json, "generation.json", ("verify", "status", "vacuum", "vacuum --dry-run")),
        (a_table_without_a_column, "no column sha256", (*READERS, *WRITERS)),
        (run_record_unreadable, "run-1.json", ("verify", "status")),
        (run_pointer_unreadable, "latest.json", ("verify", "status")),
    ],
)
def test_what_another_version_or_hand_left(
    store: Store,
    place: Path,
    damage: Callable[[Path], None],
    told: str,
    commands: tuple[str, ...],
    capsys: Told,
) -> None:
    damage(place)
    before = {name: data for name, data in tree(place).items() if not name.startswith("lease/")}
    for command in commands:
        assert run(command, place) == 2, command
        err = capsys.readouterr().err
        assert told in err, command
        assert "fix: " in err
    assert {name: data for name, data in tree(place).items() if not name.startswith("lease/")} == before


@pytest.mark.parametrize("damage", [newer, older, generation_without_a_field, a_table_without_a_column])
def test_planning_refuses_them_too(store: Store, place: Path, damage: Callable[[Path], None], capsys: Told) -> None:
    damage(place)
    before = tree(place)
    assert main(source_of(place)) == 2
    assert "fix: " in capsys.readouterr().err
    assert tree(place) == before


def test_an_unreadable_run_record_is_no_obstacle_to_verifying_by_name(store: Store, place: Path) -> None:
    digest = verify(VerifySpec(store=store.uri)).digest
    (place / "runs/latest.json").unlink()
    named = VerifySpec(store=store.uri, release=PARTITION["release"], policy=PARTITION["policy"])
    assert verify(named).digest == digest


def test_tables_of_a_time_without_leases(store: Store, place: Path) -> None:
    """Also when the folder of leases is lost later: tables remember who fenced them."""
    for _ in range(3):
        shutil.rmtree(place / "lease", ignore_errors=True)
        for _ in range(2):
            with reopened(store).hold("test") as lease:
                held = lease.epoch
    assert held == 6
    assert verify(VerifySpec(store=store.uri)).sound


def test_a_generation_that_was_not_published_does_not_exist(store: Store, place: Path) -> None:
    folder = place / "manifests/generation-000001"
    folder.mkdir()
    shutil.copy(next((place / "manifests/generation-000000").glob("*.parquet")), folder / "part-00000-1.parquet")
    assert verify(VerifySpec(store=store.uri)).sound
    (place.parent / "source" / "more").write_bytes(b"1")
    assert main(source_of(place)) == 0
    assert [one.images for one in generations(reopened(store))] == [8, 1]


def test_a_lost_generation_is_not_planned_anew(store: Store, place: Path, capsys: Told) -> None:
    """The new one's shards would be taken for done."""
    (place / "manifests/generation-000000/generation.json").unlink()
    assert run("verify", place) == 5
    (place.parent / "source" / "0-first").write_bytes(b"1")
    before = tree(place)
    assert main(source_of(place)) == 5
    assert "restore the missing generation.json" in capsys.readouterr().err
    assert tree(place) == before


def test_a_generation_that_is_there_twice(store: Store, place: Path) -> None:
    """By name it is refused; renumbered as if it were the next one, its images are planned twice."""
    shutil.copytree(place / "manifests/generation-000000", place / "manifests/generation-000001")
    with pytest.raises(ConservationError, match="follow on"):
        verify(VerifySpec(store=store.uri))
    change_json(
        place / "manifests/generation-000001/generation.json", lambda facts: facts.update(number=1, first_shard=4)
    )
    facts = verify(VerifySpec(store=store.uri))
    assert facts.duplicated == 8
    assert not facts.sound


# Manifests


def part_of(place: Path) -> Path:
    return next((place / "manifests/generation-000000").glob("*.parquet"))


def gone(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage")


def flipped(path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b"\x28\xb5\x2f\xfd") + 8  # inside the first compressed page
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize("damage", [gone, cut_short, emptied, garbage, flipped])
def test_a_damaged_manifest_part(store: Store, place: Path, damage: Callable[[Path], None], capsys: Told) -> None:
    damage(part_of(place))
    before = tree(place)
    for command in (["verify", str(place)], source_of(place)):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "a manifest part cannot be read" in err
        assert part_of(place).name in err if damage is not gone else "part-" in err
    assert tree(place) == before


def test_a_manifest_part_with_other_rows(store: Store, place: Path, capsys: Told) -> None:
    """Sound by itself, and of another store: what it plans is not what was observed."""
    filled(place.parent / "other", place.parent / "other-source")
    shutil.copy(part_of(place.parent / "other"), part_of(place))
    assert run("verify", place) == 5
    assert "unplanned" in capsys.readouterr().out


# Receipts


def test_receipts_for_unknown_shards(store: Store) -> None:
    """Of a shard that no manifest has, and of one that is not under way."""
    refs = next(read_shards(store, generations(store)[0], {0})).refs
    keys = digest_of_keys((ref.uri, ref.etag) for ref in refs)
    committer = Committer(store.observations, store.verdicts, PARTITION, "run-2", store.size_of)
    committer.expect([Work(shard=3, task=Task.OBSERVE, rows=2, keys=keys)])
    before = reopened(store).observations.files()
    for shard in (0, 99):
        receipt = Receipt(
            shard=shard,
            task=Task.OBSERVE,
            rows=2,
            keys=keys,
            outcomes=Counter(ok=2),
            observed=write_observations(store.storage, store.uri, shard, observed_rows(shard, refs)),
            judged=write_verdicts(store.storage, store.uri, shard, judged_rows(shard, refs)),
        )
        with pytest.raises(ConservationError, match=f"shard {shard}"):
            committer.take(receipt)
    assert committer.commit() == []
    assert reopened(store).observations.files() == before
    assert verify(VerifySpec(store=store.uri)).sound


# The Delta log


def entry(place: Path, version: int) -> Path:
    return place / "observations/_delta_log" / f"{version:020d}.json"


def checkpoint(place: Path) -> Path:
    DeltaTable(place / "observations").create_checkpoint()
    return next((place / "observations/_delta_log").glob("*.checkpoint.parquet"))


def last_is_cut(place: Path) -> None:
    cut_short(entry(place, 4))


def middle_is_cut(place: Path) -> None:
    cut_short(entry(place, 2))


def middle_is_garbage(place: Path) -> None:
    entry(place, 2).write_bytes(b"\xff\x00garbage")


def middle_is_missing(place: Path) -> None:
    entry(place, 2).unlink()


def first_is_missing(place: Path) -> None:
    entry(place, 0).unlink()


def first_is_empty(place: Path) -> None:
    emptied(entry(place, 0))


def checkpoint_is_garbage(place: Path) -> None:
    garbage(checkpoint(place))


def checkpoint_is_empty(place: Path) -> None:
    emptied(checkpoint(place))


def checkpoint_is_cut(place: Path) -> None:
    cut_short(checkpoint(place))


def pointer_leads_nowhere(place: Path) -> None:
    (place / "observations/_delta_log/_last_checkpoint").write_text('{"version":3,"size":5}')


def log_is_gone(place: Path) -> None:
    shutil.rmtree(place / "observations/_delta_log")


def log_is_emptied(place: Path) -> None:
    for path in (place / "observations/_delta_log").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        last_is_cut,
        middle_is_cut,
        middle_is_garbage,
        middle_is_missing,
        first_is_missing,
        first_is_empty,
        checkpoint_is_garbage,
        checkpoint_is_empty,
        checkpoint_is_cut,
        pointer_leads_nowhere,
        log_is_gone,
        log_is_emptied,
    ],
)
def test_a_log_that_cannot_be_read(store: Store, place: Path, damage: Callable[[Path], None], capsys: Told) -> None:
    damage(place)
    before = tree(place)
    for command in (*READERS, *WRITERS):
        assert run(command, place) == 5, command
        err = capsys.readouterr().err
        assert "observations" in err
        assert "_delta_log" in err, "the fix says what to restore"
        assert "<unknown>" not in err, "no frames of another language"
    assert main(source_of(place)) == 5
    assert tree(place) == before


def last_is_missing(place: Path) -> None:
    entry(place, 4).unlink()


def middle_is_empty(place: Path) -> None:
    emptied(entry(place, 2))


def middle_has_lost_lines(place: Path) -> None:
    lines = entry(place, 2).read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"add"' not in line]
    assert len(kept) < len(lines)
    entry(place, 2).write_bytes(b"".join(kept))


@pytest.mark.parametrize("damage", [last_is_missing, middle_is_empty, middle_has_lost_lines])
def test_a_log_that_has_forgotten_a_commit(store: Store, place: Path, damage: Callable[[Path], None]) -> None:
    """It reads well and lacks a shard. Judging it a second time would double its verdicts."""
    damage(place)
    facts = verify(VerifySpec(store=store.uri))
    assert (facts.missing, facts.sound) == (2, False)
    held = reopened(store)
    with held.hold("test"), pytest.raises(ConservationError, match="assay repair"):
        refuse_stranded(held)
    assert run("repair", place) == 0
    again = reopened(store)
    refuse_stranded(again)
    backlog = find_backlog(again, generations(again), PARTITION, retry_faults=False)
    assert (len(backlog.observe), len(backlog.judge)) == (1, 0)
    mended(again, backlog.observe)
    assert verify(VerifySpec(store=store.uri)).sound


def mended(store: Store, shards: frozenset[int]) -> None:
    """What the backfill then does."""
    for shard in read_shards(store, generations(store)[0], shards):
        observe(store, shard.number, shard.refs)
        judge(store, shard.number, shard.refs)


def test_a_table_whose_log_is_lost_is_made_again(store: Store, place: Path) -> None:
    """The way out that the error names, when there is no backup."""
    digest = verify(VerifySpec(store=store.uri)).digest
    log_is_gone(place)
    shutil.move(place / "observations", place.parent / "aside")
    assert run("repair", place) == 0
    again = reopened(store)
    backlog = find_backlog(again, generations(again), PARTITION, retry_faults=False)
    assert backlog.observe == {0, 1, 2, 3}
    mended(again, backlog.observe)
    facts = verify(VerifySpec(store=store.uri))
    assert (facts.sound, facts.digest) == (True, digest)


def test_a_compaction_that_a_log_has_half_forgotten_shows(store: Store, place: Path) -> None:
    """The new file came and the old ones did not go: rows are doubled, and nothing may be called sound."""
    compact(CompactSpec(store=store.uri, segment_shards=4))
    last = sorted((place / "observations/_delta_log").glob("*.json"))[-1]
    last.write_bytes(b"".join(line for line in last.read_bytes().splitlines(True) if b'"remove"' not in line))
    facts = verify(VerifySpec(store=store.uri))
    assert (facts.duplicated, facts.sound) == (8, False)
    assert run("compact", place) == 5


def test_errors_say_what_where_why_and_how(store: Store, place: Path) -> None:
    log_is_gone(place)
    with pytest.raises(StorageError) as lost:
        reopened(store).observations.files()
    a_table_without_a_column(place)
    with pytest.raises(StoreVersionError) as other:
        reopened(store).observations.files()
    for refusal in (lost.value, other.value):
        assert all((refusal.what, refusal.where, refusal.why, refusal.fix))
