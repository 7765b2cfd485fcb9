"""Runs: what was done with the registry's releases, as MLflow shows it; and artifacts, which all belong to a run.

Knows experiments, runs and artifacts. Does not know what is worth writing down of a job, nor what is in a file.
"""

import contextlib
import json
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from assay.registry.client import Client, ExistsError, quoted

PAGE = 200


class RunFacts(BaseModel, frozen=True):
    """A finished run."""

    id: str
    name: str
    end: float
    """Seconds since the epoch."""
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]


class Runs:
    """The runs of one environment: of its one experiment."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @cached_property
    def experiment(self) -> str:
        """Id of the experiment that this environment's runs are in; made when it is not there."""
        client, name = self._client.mlflow, self._client.spec.name
        with self._client.asking("look for its experiment"):
            found = client.get_experiment_by_name(name)
        if found is None:
            here = self._client.place.folder
            location = None if here is None else (here / "artifacts").as_uri()
            with contextlib.suppress(ExistsError), self._client.asking("make its experiment"):
                return str(client.create_experiment(name, artifact_location=location))
            with self._client.asking("look for its experiment"):
                found = client.get_experiment_by_name(name)
        assert found is not None, "it was just made"
        return str(found.experiment_id)

    def start_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Begin a run; its id."""
        experiment = self.experiment
        with self._client.asking(f"begin run {name!r}"):
            return str(self._client.mlflow.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id)

    def end_run(self, run: str, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Say that a run is over."""
        with self._client.asking("end a run"):
            self._client.mlflow.set_terminated(run, status)

    def log_values(self, run: str, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Write down what a run was asked and what it measured."""
        from mlflow.entities import Metric, Param

        at = int(time.time() * 1000)
        asked = [Param(key, str(value)[:500]) for key, value in params.items()]
        measured = [Metric(key, float(value), at, 0) for key, value in metrics.items()]
        with self._client.asking("log a run's values"):
            for start in range(0, max(len(asked), len(measured)), 100):
                self._client.mlflow.log_batch(run, measured[start : start + 100], asked[start : start + 100])

    def log_dataset(self, run: str, name: str, digest: str, source: str) -> None:
        """Say which data a run read; the data stay where they are."""
        from mlflow.entities import Dataset, DatasetInput

        seen = Dataset(name, digest[:36], "assay", json.dumps({"uri": source}))
        with self._client.asking("log a run's data"):
            self._client.mlflow.log_inputs(run, [DatasetInput(seen)])

    def tag_run(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        with self._client.asking("tag a run"):
            for key, value in tags.items():
                self._client.mlflow.set_tag(run, key, value)

    def upload(self, run: str, path: Path, folder: str) -> str:
        """Store a file, or all of a folder, with a run; where it lies, as MLflow names it."""
        with self._client.asking(f"store {folder or path.name}"):
            if path.is_dir():
                self._client.mlflow.log_artifacts(run, str(path), folder)
            else:
                self._client.mlflow.log_artifact(run, str(path), folder)
            return f"{self._client.mlflow.get_run(run).info.artifact_uri}/{folder}"

    def runs(self, tags: Mapping[str, str], limit: int = PAGE) -> list[RunFacts]:
        """Finished runs with these tags, newest first."""
        wanted = [f"tags.`{key}` = '{quoted(value)}'" for key, value in tags.items()]
        query = " and ".join(["attributes.status = 'FINISHED'", *wanted])
        experiment = self.experiment
        with self._client.asking("look for runs"):
            found = self._client.mlflow.search_runs([experiment], query, max_results=limit, order_by=["end_time DESC"])
        return [
            RunFacts(
                id=one.info.run_id,
                name=one.info.run_name or "",
                end=(one.info.end_time or 0) / 1000,
                tags=dict(one.data.tags),
                params=dict(one.data.params),
                metrics=dict(one.data.metrics),
            )
            for one in found
        ]

    def fetch(self, source: str, target: Path) -> Path:
        """Copy artifacts into a folder; where they are then. Whether they are what they should be is the caller's."""
        from mlflow.artifacts import download_artifacts

        target.mkdir(parents=True, exist_ok=True)
        with self._client.asking("fetch artifacts"):
            uri = self._client.place.signed_uri
            return Path(download_artifacts(artifact_uri=source, dst_path=str(target), tracking_uri=uri))

    def run_artifacts(self, run: str) -> str:
        """Where the artifacts of a run lie, as MLflow names it."""
        with self._client.asking("look for a run"):
            return str(self._client.mlflow.get_run(run).info.artifact_uri)
