"""A release goes to another registry with its evidence: the same bytes, once; and has a gate of its own there."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.platform.errors import AssayError, RegistryError, SpecError
from assay.platform.release import Release, bundled_release
from assay.platform.scorecard import Estimate, LabelCard, Quality, Scorecard, ScorecardSpec, Subject
from assay.registry.copying import CopyFacts, CopySpec, copy_release
from assay.registry.evidence import FACTS_FILE, KINDS
from assay.registry.models import Models
from assay.registry.place import RegistrySpec
from assay.registry.promotion import PromoteSpec, promote
from assay.registry.registering import RegisterSpec, register
from assay.registry.registry import Registry
from assay.registry.resolving import resolve
from assay.registry.runs import RunFacts, Runs
from tests.jobs.colour_releases import colour_release
from tests.small_registry import move, small_registry

GOLDEN = "a" * 64
PICTURE = "s3://bucket/a-private-picture.jpg"
PAGE = b"<html>the scorecard</html>"


def scorecard(release: Release) -> str:
    known = Estimate(value=0.02, low=0.01, high=0.03)
    quality = Quality(slice="", value="", images=100, positives=50, negatives=50, figures={"calibration_error": known})
    card = Scorecard(
        subject=Subject(release=release.id, policy=release.manifest.default_policy, golden=GOLDEN),
        images=100,
        population=100.0,
        spec=ScorecardSpec(),
        labels=(LabelCard(label="weapons", thresholds={}, overall=quality, slices=()),),
        confusions=(),
        gaps=(),
    )
    return json.dumps({"scorecard": card.model_dump(mode="json"), "comparison": None, "recorded": "itself"})


def documents(release: Release) -> dict[str, dict[str, bytes]]:
    """The files of a run, by its kind: as jobs record them, samples and all."""
    policy = {"before": "strict", "after": "strict", "images": 3, "labels": [{"sample": [{"uri": PICTURE}]}]}
    policy |= {"moves": {"counts": [[3, 0, 0], [0, 0, 0], [0, 0, 0]], "newly_flagged": 0, "newly_cleared": 0}}
    diff = {"before": "old-000000000000", "after": release.id, "store": "s3://store", "written": "now", "observed": 3}
    replay = {"release": release.id, "policy": "strict", "replayed": 3, "exact": 3, "golden": GOLDEN, "uri": PICTURE}
    return {
        "evaluate": {FACTS_FILE: scorecard(release).encode(), "scorecard.html": PAGE, "plots/a b.txt": b"a plot"},
        "diff": {FACTS_FILE: json.dumps({**diff, "policies": [policy]}).encode(), "diff.html": PICTURE.encode()},
        "replay": {FACTS_FILE: json.dumps(replay).encode()},
    }


def record(spec: RegistrySpec, kind: str, release: str, files: dict[str, bytes], folder: Path) -> str:
    runs = Registry(spec).runs
    tags = {"assay.kind": kind, "assay.release": release, "assay.golden": GOLDEN, "mlflow.user": "measurer"}
    with runs.writing(f"{kind} {release}", tags, (1_700_000_000.0, 1_700_000_123.456)) as run:
        for name, content in files.items():
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / kind / name).write_bytes(content)
        runs.upload(run, folder / kind, "")
        runs.log_values(run, {"store": "s3://store"}, {"images": 100.0})
        runs.log_dataset(run, "golden", GOLDEN, "s3://golden.parquet")
    return run


def measured(folder: Path, release: Release) -> RegistrySpec:
    """A registry with this release and all that was measured of it."""
    spec = RegistrySpec(uri=f"sqlite:///{folder}/mlflow.db", cache=folder / "cache")
    register(release, RegisterSpec(registry=spec, parent="the-one-before"))
    for kind, files in documents(release).items():
        record(spec, kind, release.id, files, folder / "made")
    record(spec, "backfill", release.id, {FACTS_FILE: b"{}"}, folder / "made")
    return spec


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> RegistrySpec:
    """A small release, measured and promoted."""
    folder = tmp_path_factory.mktemp("staging")
    spec = measured(folder, colour_release(folder / "release"))
    assert move(spec, 1)[0].moved
    return spec


@pytest.fixture
def production(empty_database: Path, tmp_path: Path) -> RegistrySpec:
    """Another server, as far as anyone can tell; nothing is kept of the first one's."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return RegistrySpec(uri=f"sqlite:///{tmp_path}/mlflow.db", name="production", cache=tmp_path / "cache")


def runs_of(spec: RegistrySpec, kind: str) -> list[RunFacts]:
    return Registry(spec).runs.runs({"assay.kind": kind})


def files_of(spec: RegistrySpec, run: str, folder: Path) -> dict[str, bytes]:
    runs = Registry(spec).runs
    found = runs.fetch(runs.run_artifacts(run), folder)
    return {path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*") if path.is_file()}


def copy(source: RegistrySpec, target: RegistrySpec, release: str = "@champion") -> CopyFacts:
    return copy_release(CopySpec(release=release, registry=source, to=target))


def test_the_gate_of_the_target_passes_it_on_what_was_copied(
    production: RegistrySpec, empty_database: Path, tmp_path: Path
) -> None:
    (tmp_path / "staging").mkdir()
    shutil.copyfile(empty_database, tmp_path / "staging" / "mlflow.db")
    staging = measured(tmp_path / "staging", Release.load(bundled_release()))  # which is calibrated
    assert promote(PromoteSpec(release="1", registry=staging)).moved
    facts = copy(staging, production)
    assert (facts.version, facts.uri) == (1, "models:/production-release/1")
    assert Registry(production).log.last() is None, "copying promotes nothing"
    moved = promote(PromoteSpec(release="1", registry=production))
    assert moved.moved, moved.refused
    assert {one.run for check in moved.checks for one in check.evidence} == {
        one.run for one in facts.evidence if one.kind != "diff"
    }
    entries = [Registry(spec).log.read(1) for spec in (staging, production)]
    cited = [{one.sha256 for check in entry.checks for one in check.evidence} for entry in entries]
    assert len(cited[0]) == 2
    assert cited[0] == cited[1], "the very same evidence"
    assert resolve("models:/production-release@champion", production).release.digest == facts.digest


def test_it_says_where_it_came_from(staging: RegistrySpec, production: RegistrySpec) -> None:
    copy(staging, production)
    made = Registry(production).models.version("release", 1)
    assert made is not None
    origin = json.loads(made.tags["assay.copied_from"])
    known = {name: origin[name] for name in ("registry", "model", "version", "alias", "entry", "digest")}
    assert known == {
        "registry": staging.uri,
        "model": "assay-release",
        "version": 1,
        "alias": "champion",
        "entry": 1,
        "digest": made.digest,
    }
    assert made.tags["assay.parent"] == "the-one-before"
    assert made.tags["assay.encoder"] == "models:/production-encoder/1"
    assert f"Copied from models:/assay-release/1 of {staging.uri}." in made.description


def test_a_copied_run_is_what_its_original_is(staging: RegistrySpec, production: RegistrySpec, tmp_path: Path) -> None:
    facts = copy(staging, production)
    assert Counter(one.kind for one in facts.evidence) == Counter(KINDS)
    assert runs_of(production, "backfill") == []
    for one in facts.evidence:
        (original,), (made,) = runs_of(staging, one.kind), runs_of(production, one.kind)
        assert (made.id, original.id) == (one.run, one.original)
        assert made.tags.items() >= {name: said for name, said in original.tags.items() if "assay" in name}.items()
        assert made.tags["mlflow.user"] == "measurer"
        assert made.tags["assay.copied_run"] == original.id
        assert made.tags["assay.copied_from"] == staging.uri
        assert (made.name, made.params, made.metrics) == (original.name, original.params, original.metrics)
        assert made.data == original.data == (("golden", GOLDEN[:36], "s3://golden.parquet"),)
        assert (made.start, made.end) == (original.start, original.end), "no newer than what it is a copy of"
    (evaluated,) = runs_of(production, "evaluate")
    files = files_of(production, evaluated.id, tmp_path / "looked")
    assert set(files) == {FACTS_FILE, "scorecard.html", "plots/a b.txt"}
    assert files["scorecard.html"] == PAGE


def test_no_image_is_named_where_forget_could_not_find_it(
    staging: RegistrySpec, production: RegistrySpec, tmp_path: Path
) -> None:
    facts = copy(staging, production)
    for one in facts.evidence:
        assert PICTURE.encode() not in b"".join(files_of(production, one.run, tmp_path / one.kind).values())
    (diff,) = (one.run for one in facts.evidence if one.kind == "diff")
    assert set(files_of(production, diff, tmp_path / "again")) == {FACTS_FILE}


def test_again_is_once(staging: RegistrySpec, production: RegistrySpec) -> None:
    first, second = copy(staging, production), copy(staging, production)
    assert all(one.is_new for one in first.evidence)
    assert not any(one.is_new for one in second.evidence)
    assert [one.run for one in second.evidence] == [one.run for one in first.evidence]
    assert second.version == first.version
    assert {kind: len(runs_of(production, kind)) for kind in KINDS} == dict.fromkeys(KINDS, 1)
    registry = Registry(production)
    assert [len(registry.models.versions(kind)) for kind in ("encoder", "library", "release")] == [1, 1, 1]


class Killed(BaseException):
    """As a signal."""


def struck(patch: pytest.MonkeyPatch, at: int) -> None:
    """Let the command die at this one of its writes to the target, whatever it is."""
    count = 0

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def step(self: Any, *given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count >= at:  # what is dead ends no run either
                raise Killed
            return write(self, *given, **named)

        return step

    writes = {
        Runs: ("start_run", "end_run", "log_values", "upload"),
        Models: ("establish", "publish", "tag_version"),
    }
    for kind, names in writes.items():
        for name in names:
            patch.setattr(kind, name, counted(getattr(kind, name)))


def test_killed_at_any_write_it_is_finished_by_the_next(
    staging: RegistrySpec, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, was_killed = 1, True
    while was_killed:
        folder = tmp_path / str(at)
        folder.mkdir()
        shutil.copyfile(empty_database, folder / "mlflow.db")
        spec = RegistrySpec(uri=f"sqlite:///{folder}/mlflow.db", cache=tmp_path / "cache")
        with monkeypatch.context() as patched:
            struck(patched, at)
            try:
                copy(staging, spec)
                was_killed = False
            except Killed:
                was_killed = True
        visible = {kind: len(runs_of(spec, kind)) for kind in KINDS}
        assert max(visible.values()) <= 1
        if Registry(spec).models.versions("release"):
            assert visible == dict.fromkeys(KINDS, 1), "the version comes last"
        facts = copy(staging, spec)
        assert facts.version == 1
        assert {kind: len(runs_of(spec, kind)) for kind in KINDS} == dict.fromkeys(KINDS, 1)
        made = Registry(spec).models.version("release", 1)
        assert made is not None
        assert "assay.copied_from" in made.tags
        at += 4
    assert at > 20


def test_two_at_once_leave_one_of_each(
    staging: RegistrySpec, production: RegistrySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Runs.upload

    def late(self: Runs, run: str, path: Path, folder: str) -> str:
        monkeypatch.setattr(Runs, "upload", upload)
        copy(staging, production)  # somebody else, from the beginning to the end
        return upload(self, run, path, folder)

    monkeypatch.setattr(Runs, "upload", late)
    facts = copy(staging, production)
    for one in facts.evidence:
        (left,) = runs_of(production, one.kind)
        assert left.id == one.run


def test_another_environment_of_one_server(tmp_path: Path) -> None:
    source = small_registry(tmp_path, 2, promoted=2)
    target = source.model_copy(update={"name": "production"})
    facts = copy(source, RegistrySpec(name="production"), release="1")
    assert facts.origin.alias is None
    assert facts.uri == "models:/production-release/1"
    made = Registry(target).models.version("release", 1)
    assert made is not None
    assert made.tags["assay.library"] == "models:/production-library/1"
    assert move(target, 1)[0].moved
    assert Registry(source).models.pointed("release") == {"champion": 2}


def test_to_a_server_that_asks_for_passwords_and_keeps_files_in_a_bucket(
    staging: RegistrySpec, remote: RegistrySpec, tmp_path: Path
) -> None:
    facts = copy(staging, remote)
    assert "not-a-secret" not in facts.model_dump_json()
    assert {one.kind for one in facts.evidence if one.is_new} == set(KINDS)
    (evaluated,) = runs_of(remote, "evaluate")
    assert files_of(remote, evaluated.id, tmp_path / "looked")["scorecard.html"] == PAGE
    assert not any(one.is_new for one in copy(staging, remote).evidence)
    fresh = remote.model_copy(update={"cache": tmp_path / "fresh"})
    assert move(fresh, 1)[0].moved
    back = copy(fresh, RegistrySpec(uri=staging.uri, name="back", cache=tmp_path / "third"))
    assert back.digest == facts.digest
    assert back.origin.registry == remote.uri, "an address without a user"


def test_onto_itself_is_refused(staging: RegistrySpec) -> None:
    with pytest.raises(SpecError, match="is not copied onto itself"):
        copy(staging, staging)


def test_on_one_server_only_what_was_said_is_another(tmp_path: Path) -> None:
    source = RegistrySpec(uri="https://mlflow.example.org", username="promoter", log="s3://logs/staging", retries=1)
    asked = CopySpec(release="1", registry=source, to=RegistrySpec(name="production", log="s3://logs/production"))
    assert asked.target == source.model_copy(update={"name": "production", "log": "s3://logs/production"})
    assert CopySpec(release="1", registry=source, to=RegistrySpec(name="production")).target.log is None
    elsewhere = RegistrySpec(uri="https://other.example.org")
    assert CopySpec(release="1", registry=source, to=elsewhere).target == elsewhere, "and no user of the first one"


def test_a_release_that_is_not_there(staging: RegistrySpec, production: RegistrySpec) -> None:
    with pytest.raises(SpecError, match="no registered release '7'"):
        copy(staging, production, release="7")
    assert Registry(production).models.versions("release") == []


def _spoil_file(spec: RegistrySpec) -> None:
    version = Registry(spec).models.version("library", 1)
    assert version is not None
    file = Path(version.source.removeprefix("file://")) / "library.yaml"
    file.write_text(file.read_text() + "\n")


def _spoil_digest(spec: RegistrySpec) -> None:
    registry = Registry(spec)
    version = registry.models.version("release", 1)
    assert version is not None
    registry.models.correct_version(version, {"assay.digest": "f" * 64})


def _spoil_evidence(spec: RegistrySpec) -> None:
    version = Registry(spec).models.version("release", 1)
    assert version is not None
    folder = Path(version.source.removeprefix("file://")).parent
    record(spec, "replay", version.tags["assay.release"], {FACTS_FILE: b'{"replayed": "all"}'}, folder / "spoilt")


def _spoil_subject(spec: RegistrySpec) -> None:
    version = Registry(spec).models.version("release", 1)
    assert version is not None
    folder = Path(version.source.removeprefix("file://")).parent
    other = {"release": "another-111111111111", "policy": "plain", "replayed": 1, "exact": 1, "golden": GOLDEN}
    files = {FACTS_FILE: json.dumps(other).encode()}
    record(spec, "replay", version.tags["assay.release"], files, folder / "spoilt")


SPOILT: dict[str, tuple[Callable[[RegistrySpec], None], str]] = {
    "file": (_spoil_file, "what the registry holds is not what was registered"),
    "digest": (_spoil_digest, "the promoted version was changed"),
    "evidence": (_spoil_evidence, "a run's evidence is not what it recorded"),
    "subject": (_spoil_subject, "a run's evidence is not what it recorded"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_was_tampered_with_goes_nowhere(
    name: str, empty_database: Path, production: RegistrySpec, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    shutil.copyfile(empty_database, tmp_path / "source" / "mlflow.db")
    source = small_registry(tmp_path / "source", 1, promoted=1)
    source = source.model_copy(update={"cache": tmp_path / "cache"})  # what was kept of it would do as well
    spoil, said = SPOILT[name]
    spoil(source)
    with pytest.raises(RegistryError, match=said):
        copy(source, production, release="1")
    assert Registry(production).models.versions("release") == []


def test_a_target_that_does_not_answer_is_told(staging: RegistrySpec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AssayError) as told:
        copy(staging, RegistrySpec(uri=f"sqlite:///{tmp_path}/file/mlflow.db", cache=tmp_path / "cache"))
    assert told.value.exit_code == 5
    assert told.value.fix
