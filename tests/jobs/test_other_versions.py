"""Stores that another version or hand has changed: every command says so, and changes nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from assay.jobs.cli import main
from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from tests.store_damage import READERS, WRITERS, Told, a_table_without_a_column, change_json, filled, run, source_of
from tests.store_doubles import PARTITION, tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(place: Path, tmp_path: Path) -> Store:
    return filled(place, tmp_path / "source")


def newer(place: Path) -> None:
    change_json(place / "store.json", lambda facts: facts.update(schema_version=2))


def older(place: Path) -> None:
    change_json(place / "store.json", lambda facts: facts.update(schema_version=0))


def generation_without_a_field(place: Path) -> None:
    change_json(place / "manifests/generation-000000/generation.json", lambda facts: facts.pop("parts"))


def generation_that_is_no_json(place: Path) -> None:
    (place / "manifests/generation-000000/generation.json").write_text("{")


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
