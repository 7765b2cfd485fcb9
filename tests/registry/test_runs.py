"""Runs and artifacts: in a file and on a server alike."""

import os
import time
from pathlib import Path

import pytest

from assay.platform.errors import RegistryError
from assay.registry.client import Client
from assay.registry.place import RegistrySpec
from assay.registry.runs import Runs


@pytest.fixture
def runs(registry_spec: RegistrySpec) -> Runs:
    return Runs(Client(registry_spec))


def write_files(folder: Path) -> dict[str, bytes]:
    """A release's kind of folder: nested, large and empty files."""
    files = {
        "release.json": b"{}",
        "library.yaml": "# Ünïcode\n".encode(),
        "policies/strict.yaml": b"",
        "policies/a b.yaml": b"a name with a space",
        "encoder/open_clip_config.json": b"[]",
        "encoder/deep/er/model.safetensors": os.urandom(3_000_000),
        ".hidden": b"too",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "nothing in it").mkdir()
    return files


def read_files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


def test_a_folder_comes_back_as_it_was_and_nothing_with_it(runs: Runs, tmp_path: Path) -> None:
    files = write_files(tmp_path / "mine")
    run = runs.start_run("register", {})
    source = runs.upload(run, tmp_path / "mine", "release")
    found = runs.fetch(source, tmp_path / "back")
    assert found == tmp_path / "back" / "release"
    assert read_files(tmp_path / "back") == {f"release/{name}": content for name, content in files.items()}
    assert read_files(tmp_path / "mine") == files, "and ours are still there"
    (found / "release.json").write_bytes(b"changed here")
    assert read_files(runs.fetch(source, tmp_path / "again")) == files, "what is fetched is a copy"


def test_one_file_comes_back(runs: Runs, tmp_path: Path) -> None:
    run = runs.start_run("evaluate", {})
    (tmp_path / "facts.json").write_bytes(b'{"a": 1}')
    (tmp_path / "plot.svg").write_bytes(b"<svg/>")
    assert runs.upload(run, tmp_path / "plot.svg", "plots") == f"{runs.run_artifacts(run)}/plots"
    runs.upload(run, tmp_path / "facts.json", "")
    found = runs.fetch(f"{runs.run_artifacts(run)}/facts.json", tmp_path / "back")
    assert found.read_bytes() == b'{"a": 1}'
    assert read_files(tmp_path / "back") == {"facts.json": b'{"a": 1}'}
    assert set(read_files(runs.fetch(runs.run_artifacts(run), tmp_path / "all"))) == {"facts.json", "plots/plot.svg"}


def test_artifacts_that_are_not_there(runs: Runs, tmp_path: Path) -> None:
    run = runs.start_run("register", {})
    for source in (f"{runs.run_artifacts(run)}/release", f"{runs.run_artifacts(run)}/facts.json"):
        with pytest.raises(RegistryError, match="could not fetch artifacts"):
            runs.fetch(source, tmp_path / "back")


def test_a_run_is_found_when_it_is_over(runs: Runs) -> None:
    before = time.time()
    mine = runs.start_run("evaluate", {"assay.kind": "evaluate", "assay.release": "r-1"})
    other = runs.start_run("evaluate", {"assay.kind": "evaluate", "assay.release": "r-2"})
    runs.log_values(mine, {"golden": "x" * 9000, "images": 12}, {"recall": 0.5, "nothing": float("nan")})
    assert runs.runs({"assay.kind": "evaluate"}) == []
    for run in (mine, other):
        runs.end_run(run)
    found = runs.runs({"assay.kind": "evaluate", "assay.release": "r-1"})
    assert [one.id for one in found] == [mine]
    assert found[0].name == "evaluate"
    assert found[0].params == {"golden": "x" * 500, "images": "12"}
    assert found[0].metrics["recall"] == 0.5
    assert before - 60 < found[0].end < time.time() + 60
    assert [one.id for one in runs.runs({"assay.kind": "evaluate"})] == [other, mine], "newest first"
    assert [one.id for one in runs.runs({"assay.kind": "evaluate"}, limit=1)] == [other]
    assert runs.runs({"assay.release": "r-3"}) == []
    with pytest.raises(RegistryError, match="quote"):
        runs.runs({"assay.release": "' or 1"})


def test_a_failed_run_is_no_evidence(runs: Runs) -> None:
    runs.end_run(runs.start_run("evaluate", {"assay.kind": "evaluate"}), "FAILED")
    runs.end_run(runs.start_run("evaluate", {"assay.kind": "evaluate"}), "KILLED")
    assert runs.runs({"assay.kind": "evaluate"}) == []


def test_more_values_than_a_batch_takes(runs: Runs) -> None:
    run = runs.start_run("backfill", {"assay.kind": "backfill"})
    params = {f"p{number}": number for number in range(250)}
    runs.log_values(run, params, {f"m{number}": number for number in range(350)})
    runs.log_values(run, {}, {})
    runs.end_run(run)
    (found,) = runs.runs({"assay.kind": "backfill"})
    assert found.params == {name: str(value) for name, value in params.items()}
    assert found.metrics == {f"m{number}": float(number) for number in range(350)}


def test_tags_and_data_of_a_run(runs: Runs, registry_spec: RegistrySpec) -> None:
    run = runs.start_run("reaudit", {"assay.kind": "reaudit", "assay.store": "s3://bucket/store"})
    runs.log_dataset(run, "golden", "ab" * 32, "s3://bucket/golden")
    runs.log_dataset(run, "golden", "ab" * 32, "s3://bucket/golden")
    runs.end_run(run)
    (found,) = runs.runs({"assay.kind": "reaudit"})
    assert found.tags["assay.store"] == "s3://bucket/store"
    inputs = Client(registry_spec).mlflow.get_run(run).inputs
    assert inputs
    (seen,) = inputs.dataset_inputs
    assert (seen.dataset.name, seen.dataset.digest) == ("golden", ("ab" * 32)[:36])
    assert seen.dataset.source == '{"uri": "s3://bucket/golden"}'


def test_a_run_that_is_not_there(open_spec: RegistrySpec, tmp_path: Path) -> None:
    runs = Runs(Client(open_spec))
    (tmp_path / "facts.json").write_text("{}")
    nobody = "0" * 32
    for ask in (
        lambda: runs.run_artifacts(nobody),
        lambda: runs.end_run(nobody),
        lambda: runs.log_values(nobody, {"a": 1}, {}),
        lambda: runs.log_dataset(nobody, "a", "b", "c"),
        lambda: runs.upload(nobody, tmp_path / "facts.json", "x"),
    ):
        with pytest.raises(RegistryError, match="could not"):
            ask()


def test_the_experiment_is_made_once(runs: Runs, registry_spec: RegistrySpec) -> None:
    assert Runs(Client(registry_spec)).experiment == runs.experiment
    found = Client(registry_spec).mlflow.get_experiment(runs.experiment)
    assert found.name == registry_spec.name
    if registry_spec.uri and registry_spec.uri.startswith("sqlite:"):
        folder = Path(registry_spec.uri.removeprefix("sqlite:///")).parent
        assert found.artifact_location == (folder / "artifacts").as_uri(), "beside the file, wherever one stands"


def test_an_experiment_deleted_by_hand(runs: Runs, registry_spec: RegistrySpec) -> None:
    client = Client(registry_spec)
    client.mlflow.delete_experiment(runs.experiment)
    with pytest.raises(RegistryError, match="could not begin run 'evaluate'") as told:
        Runs(client).start_run("evaluate", {})
    assert "active" in told.value.why
