"""Delta logs that are damaged: what cannot be read is an error, what was forgotten is found and made again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from assay.jobs.backlog import find_backlog
from assay.jobs.cli import main
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.generation import generations
from assay.jobs.manifest import read_shards
from assay.jobs.repair import refuse_stranded
from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from assay.platform.errors import ConservationError, StorageError, StoreVersionError
from tests.store_damage import (
    READERS,
    WRITERS,
    Told,
    a_table_without_a_column,
    cut_short,
    emptied,
    filled,
    garbage,
    run,
    source_of,
)
from tests.store_doubles import PARTITION, judge, observe, reopened, tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(place: Path, tmp_path: Path) -> Store:
    return filled(place, tmp_path / "source")


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
