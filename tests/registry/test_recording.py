"""A finished job in MLflow: all of it under a finished run, or a run that says that it failed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from assay.platform.errors import RegistryError, SpecError
from assay.registry.place import RegistrySpec
from assay.registry.recording import Data, OpenRun, Recording, record
from assay.registry.registry import Registry
from assay.registry.runs import Runs

if TYPE_CHECKING:
    from mlflow.entities import Run

GOLDEN = Data("golden", "d" * 64, "s3://golden/set.parquet")
RECORDING = Recording(
    "evaluate",
    "mine-0123456789ab",
    "0123456789ab" + "c" * 52,
    {"split": "test", "golden": "x" * 600},
    {"images": 12, "review.precision/red_things": 0.5},
    (GOLDEN,),
    {"assay.golden": GOLDEN.digest},
)


def nothing(_run: OpenRun) -> Mapping[str, bytes]:
    return {}


def as_it_is(spec: RegistrySpec, run: str) -> "Run":
    """A run as a stranger finds it."""
    from mlflow import MlflowClient  # two seconds

    return MlflowClient(tracking_uri=str(spec.uri)).get_run(run)


def test_all_of_it_is_there(registry_spec: RegistrySpec, tmp_path: Path) -> None:
    places: list[Path | str] = []

    def files(run: OpenRun) -> Mapping[str, bytes]:
        places.extend(run.place(name) for name in ("facts.json", "page.html"))
        return {"facts.json": b"{}", "page.html": b"<p>"}

    run = record(registry_spec, RECORDING, files)
    registry = Registry(registry_spec)
    [found] = registry.runs.runs({"assay.kind": "evaluate", "assay.release": RECORDING.release})
    assert (found.id, found.name) == (run, f"evaluate {RECORDING.release}")
    assert found.tags["assay.release_digest"] == RECORDING.digest
    assert found.tags["assay.golden"] == GOLDEN.digest
    assert found.params == {"split": "test", "golden": "x" * 500}
    assert found.metrics == {"images": 12.0, "review.precision/red_things": 0.5}
    is_here = [isinstance(place, Path) for place in places]
    assert is_here == [registry.place.is_local] * 2
    where = [place.as_uri() if isinstance(place, Path) else place for place in places]
    fetched = [registry.runs.fetch(one, tmp_path / "fetched").read_bytes() for one in where]
    assert fetched == [b"{}", b"<p>"]


def test_data_are_named_and_not_copied(local: RegistrySpec) -> None:
    run = record(local, RECORDING, nothing)
    inputs = as_it_is(local, run).inputs
    assert inputs is not None
    [seen] = inputs.dataset_inputs
    assert (seen.dataset.name, seen.dataset.digest) == ("golden", GOLDEN.digest[:36])
    assert GOLDEN.uri in seen.dataset.source


def test_a_run_that_was_cut_off_is_no_evidence(local: RegistrySpec) -> None:
    begun: list[str] = []

    def stopped(run: OpenRun) -> Mapping[str, bytes]:
        begun.append(run.id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(local, RECORDING, stopped)
    assert Registry(local).runs.runs({"assay.kind": "evaluate"}) == []
    assert as_it_is(local, begun[0]).info.status == "FAILED"


def test_an_artifact_store_that_raises_what_it_likes_is_told(
    local: RegistrySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_bucket(*_all: object) -> str:
        raise RuntimeError("NoSuchBucket")

    monkeypatch.setattr(Runs, "upload", no_bucket)
    with pytest.raises(RegistryError, match="did not take a run's files") as told:
        record(local, RECORDING, nothing)
    assert "NoSuchBucket" in told.value.why


def test_where_no_registry_can_be(tmp_path: Path) -> None:
    for uri, what in (("ftp://registry", "no registry can be"), ("http://me:canary@registry", "a user stands")):
        with pytest.raises(SpecError, match=what) as told:
            record(RegistrySpec(uri=uri), RECORDING, nothing)
        assert "canary" not in str(told.value)
    away = RegistrySpec(uri="http://127.0.0.1:9", retries=0, cache=tmp_path)
    with pytest.raises(RegistryError, match="could not"):
        record(away, RECORDING, nothing)


def test_files_elsewhere_have_no_path_here() -> None:
    assert OpenRun("r", "s3://bucket/1/r/artifacts").place("a.json") == "s3://bucket/1/r/artifacts/a.json"
    assert OpenRun("r", "mlflow-artifacts:/1/r").place("a.json") == "mlflow-artifacts:/1/r/a.json"
    assert OpenRun("r", "file:///a%20b/artifacts").place("a.json") == Path("/a b/artifacts/a.json")
