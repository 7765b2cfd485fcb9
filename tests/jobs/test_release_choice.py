"""A release of a registry wherever a release is taken: resolved once, pinned, and the same to the end of the job."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import assay.jobs.backfill as backfill_job
from assay.jobs.backfill import BackfillSpec
from assay.jobs.calibrate import CalibrateSpec
from assay.jobs.cli import main
from assay.jobs.diff import DiffSpec
from assay.jobs.doctor import DoctorSpec, _release
from assay.jobs.evaluate import EvaluateSpec
from assay.jobs.golden_exchange import ImportSpec
from assay.jobs.golden_sample import SampleSpec
from assay.jobs.library_check import LibraryLintSpec
from assay.jobs.library_compile import CompileSpec
from assay.jobs.migrate import MigrateSpec
from assay.jobs.prevalence_sample import PrevalenceSampleSpec
from assay.jobs.reaudit import ReauditSpec
from assay.jobs.release_choice import choose_release, pinned
from assay.jobs.replay import ReplaySpec
from assay.jobs.store import Store
from assay.jobs.suggestion import SuggestSpec
from assay.platform.errors import ReleaseError
from assay.platform.storage import Storage
from assay.registry.resolving import Resolved
from tests.conftest import Silent, write_pictures
from tests.registry_of_two import CHAMPION, RegistryOfTwo
from tests.serial_backfill import reaudit_alone, run_alone
from tests.test_architecture import imported, modules


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> RegistryOfTwo:
    return RegistryOfTwo(tmp_path_factory.mktemp("registered"))


@pytest.fixture
def place(registered: RegistryOfTwo, tmp_path: Path) -> dict[str, Any]:
    """A bucket of pictures, the place of a store, and who judges: the champion, which is version 1."""
    registered.promote(1)
    write_pictures(tmp_path / "bucket", 12)
    where = {"source": str(tmp_path / "bucket"), "store": str(tmp_path / "store"), "release": CHAMPION}
    return {**where, "registry": registered.settings, "shard": {"images": 4}}


def judges(store: str) -> set[str]:
    """Who left verdicts in a store, and in whose name."""
    return {release for release, _ in Store.open(Storage(), store).verdicts.table().partitions()}


def test_where_it_came_from_is_pinned(
    registered: RegistryOfTwo, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = run_alone(place, monkeypatch)
    record = Store.open(Storage(), place["store"]).run() or {}
    assert record["origins"] == {"release": facts.origins["release"].model_dump()}
    origin = facts.origins["release"]
    assert (origin.asked, origin.model, origin.version, origin.alias) == (CHAMPION, "assay-release", 1, "champion")
    assert (origin.digest, origin.registry) == (registered.first.digest, registered.settings["uri"])
    assert origin.entry is not None
    assert (facts.release, judges(place["store"])) == (registered.first.id, {registered.first.id})
    assert record["spec"]["release"] == CHAMPION


class Usurper(Silent):
    """Promotes version 2 as soon as the first verdicts are committed."""

    def __init__(self, registered: RegistryOfTwo) -> None:
        self.registered, self.heard = registered, list[str]()

    def committed(self, _receipts: object) -> None:
        self.registered.promote(2)

    def noticed(self, what: str) -> None:
        self.heard.append(what)


def test_a_champion_that_moves_meanwhile_changes_nothing(
    registered: RegistryOfTwo, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = run_alone(place, monkeypatch, Usurper(registered))
    assert choose_release(CHAMPION, registered.spec).release.id == registered.second.id
    assert facts.ok == 12
    assert judges(place["store"]) == {registered.first.id}
    record = Store.open(Storage(), place["store"]).run() or {}
    assert (record["release"], record["origins"]["release"]["version"]) == (registered.first.id, 1)
    # The same command, typed again, is another job: it asks anew.
    again = reaudit_alone({name: place[name] for name in ("store", "release", "registry")}, monkeypatch)
    assert (again.release, again.origins["release"].version) == (registered.second.id, 2)
    assert judges(place["store"]) == {registered.first.id, registered.second.id}


def killed(*_all: object) -> None:
    raise KeyboardInterrupt


def test_a_run_cut_off_under_another_champion_is_told(
    registered: RegistryOfTwo, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(backfill_job, "conserve", killed)
        with pytest.raises(KeyboardInterrupt):
            run_alone(place, monkeypatch)
    watcher = Usurper(registered)
    registered.promote(2)
    run_alone(place, monkeypatch, watcher)
    [told] = [line for line in watcher.heard if "was cut off" in line]
    assert "is version 2 now" in told
    assert "--release models:/assay-release/1" in told
    assert run_alone(place | {"release": "models:/assay-release/1"}, monkeypatch).release == registered.first.id


def test_what_a_name_means_tomorrow(registered: RegistryOfTwo) -> None:
    chosen = choose_release("models:/assay-release/2", registered.spec)
    assert chosen.release.id == registered.second.id
    assert pinned(CHAMPION, chosen) == "models:/assay-release/2"
    assert pinned("starter", Resolved(chosen.release)) == "starter"


def test_the_doctor_says_which_it_is(registered: RegistryOfTwo) -> None:
    told = _release(choose_release("models:/assay-release/2", registered.spec))
    assert f"{registered.second.id}, version 2 of assay-release in sqlite:///" in told
    assert " in sqlite" not in _release(Resolved(registered.second))


def test_in_every_command(
    registered: RegistryOfTwo,
    place: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_alone(place, monkeypatch)
    store, second = place["store"], "models:/assay-release/2"
    reaudit_alone({"store": store, "release": second, "registry": registered.settings}, monkeypatch)
    golden = tmp_path / "golden.parquet"
    typed: dict[str, tuple[list[str], str]] = {
        "golden build": ([store, str(golden), "--images", "8", "--release", second], registered.second.id),
        "replay": ([store, "--release", CHAMPION], registered.first.id),
        "diff": ([store, "--from", CHAMPION, "--to", second], registered.second.id),
        "prevalence sample": (
            [store, str(tmp_path / "drawn.parquet"), "--images", "10", "--release", CHAMPION],
            registered.first.id,
        ),
        "library lint": (["starter", "--release", CHAMPION], ""),
        "library compile": (["starter", "--release", CHAMPION, "--out", str(tmp_path / "v.safetensors")], ""),
    }
    for command, (words, judge) in typed.items():
        assert main([*command.split(), *words, "--json", *registered.flags]) == 0, command
        facts = json.loads(capsys.readouterr().out)
        assert judge in (facts.get("release", ""), facts.get("after", "")), command
        if judge:
            assert {one["asked"] for one in facts["origins"].values()} <= {CHAMPION, second}, command
            assert facts["origins"], command


def test_an_alias_that_nobody_has(registered: RegistryOfTwo, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["library", "lint", "starter", "--release", "models:/assay-release@challenger", *registered.flags]
    assert main(asked) == 2
    assert "no release is challenger" in capsys.readouterr().err
    with pytest.raises(ReleaseError, match="no release can be called"):
        choose_release("models:/assay-release", registered.spec)


def test_no_command_is_left_out() -> None:
    specs: tuple[type[BaseModel], ...] = (
        *(BackfillSpec, ReauditSpec, MigrateSpec, EvaluateSpec, CalibrateSpec, DiffSpec, ReplaySpec, DoctorSpec),
        *(SampleSpec, ImportSpec, PrevalenceSampleSpec, LibraryLintSpec, CompileSpec, SuggestSpec),
    )
    for spec in specs:
        assert "registry" in spec.model_fields, spec


def test_there_is_one_door() -> None:
    doors = {
        "assay.platform.release.resolve_release": ["release_commands.py"],  # registers what lies in a directory
        "assay.registry.resolving.resolve": ["release_choice.py"],
    }
    for name, knowing in doors.items():
        assert [path.name for path in modules("jobs") if name in imported(path)] == knowing, name


def test_mlflow_is_imported_only_when_it_is_asked(registered: RegistryOfTwo, tmp_path: Path) -> None:
    asked = (
        "import sys\nfrom assay.jobs import commands, evaluate, diff, replay, calibrate, reaudit\n"
        "from assay.jobs.release_choice import choose_release\nfrom assay.registry.place import RegistrySpec\n"
        "choose_release(sys.argv[1], RegistrySpec(uri=sys.argv[2], cache=sys.argv[3]))\n"
        "print('mlflow' in sys.modules)"
    )
    for release, is_asked in (("starter", "False"), ("models:/assay-release/1", "True")):
        words = [sys.executable, "-c", asked, release, registered.settings["uri"], str(tmp_path)]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == is_asked
