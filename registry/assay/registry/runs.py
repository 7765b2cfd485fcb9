"""Runs: what was done with the registry's releases, as MLflow shows it; and artifacts, which all belong to a run.

Knows experiments, runs and artifacts. Does not know what is worth writing down of a job, nor what is in a file.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from assay.platform.errors import AssayError, RegistryError
from assay.registry.client import Client, ExistsError, quoted
from assay.registry.place import ARTIFACTS

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

PAGE = 200
DELETED = "deleted"
DATA = "assay"
"""Type of the data sets that Assay logs; who else logs some has a source of another form."""


class RunFacts(BaseModel, frozen=True):
    """A run."""

    id: str
    name: str
    start: float
    """Seconds since the epoch, as are all times."""
    end: float
    """0 when nobody ended it."""
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    data: tuple[tuple[str, str, str], ...]
    """Name, digest and uri of each data set that it read, as they were logged."""


class Runs:
    """The runs of one environment: of its one experiment."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @cached_property
    def experiment(self) -> str:
        """Id of the experiment that this environment's runs are in; made when it is not there."""
        found = self._find_experiment()
        if found is None:
            client, here = self._client.mlflow, self._client.place.folder
            location = None if here is None else (here / ARTIFACTS).as_uri()
            with contextlib.suppress(ExistsError), self._client.asking("make its experiment"):
                return str(client.create_experiment(self._client.spec.name, artifact_location=location))
            found = self._find_experiment()
        assert found is not None, "it was just made"
        return str(found.experiment_id)

    def _find_experiment(self) -> "Experiment | None":
        with self._client.asking("look for its experiment"):
            return self._client.mlflow.get_experiment_by_name(self._client.spec.name)

    def is_erased(self) -> bool:
        """Whether the experiment was deleted, by which MLflow hides it until it is restored or `mlflow gc` runs."""
        found = self._find_experiment()
        return found is not None and found.lifecycle_stage == DELETED

    def restore(self) -> None:
        """Take the experiment's deletion back."""
        with self._client.asking("restore its experiment"):
            self._client.mlflow.restore_experiment(self.experiment)

    def is_run_erased(self, run: str) -> bool:
        """The same of a run, whose files `mlflow gc` would take with it."""
        with self._client.asking("look for a run"):
            return self._client.mlflow.get_run(run).info.lifecycle_stage == DELETED

    def restore_run(self, run: str) -> None:
        """Take a run's deletion back."""
        with self._client.asking("restore a run"):
            self._client.mlflow.restore_run(run)

    def start_run(self, name: str, tags: Mapping[str, str], at: float | None = None) -> str:
        """Begin a run, now or at some time; its id."""
        experiment = self.experiment
        with self._client.asking(f"begin run {name!r}"):
            made = self._client.mlflow.create_run(experiment, _milliseconds(at), dict(tags), name)
            return str(made.info.run_id)

    def end_run(
        self, run: str, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED", at: float | None = None
    ) -> None:
        """Say that a run is over, now or at some time."""
        with self._client.asking("end a run"):
            self._client.mlflow.set_terminated(run, status, _milliseconds(at))

    @contextlib.contextmanager
    def writing(self, name: str, tags: Mapping[str, str], span: tuple[float, float] | None = None) -> Iterator[str]:
        """Write a run, of now or of another time: finished when all of it was written, failed when it was stopped."""
        start, end = span or (None, None)
        run = self.start_run(name, tags, start)
        try:
            yield run
        except BaseException:
            with contextlib.suppress(AssayError):  # what stopped it is told
                self.end_run(run, "FAILED")
            raise
        self.end_run(run, at=end)

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

        seen = Dataset(name, digest[:36], DATA, json.dumps({"uri": source}))
        with self._client.asking("log a run's data"):
            self._client.mlflow.log_inputs(run, [DatasetInput(seen)])

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
        return self._search(" and ".join(["attributes.status = 'FINISHED'", *wanted]), limit)

    def unended(self, before: float) -> list[RunFacts]:
        """Runs of Assay's that began before a time and that nobody ended; none where there is no experiment."""
        if self._find_experiment() is None:
            return []
        began = f"attributes.start_time < {_milliseconds(before)}"
        return self._search(f"attributes.status = 'RUNNING' and {began} and tags.`assay.kind` LIKE '%'", PAGE)

    def _search(self, query: str, limit: int) -> list[RunFacts]:
        experiment = self.experiment
        with self._client.asking("look for runs"):
            found = self._client.mlflow.search_runs([experiment], query, max_results=limit, order_by=["end_time DESC"])
        return [_facts(one) for one in found]

    def fetch(self, source: str, target: Path) -> Path:
        """Copy artifacts into a folder; where they are then. Whether they are what they should be is the caller's.

        Raises:
            RegistryError: they are not there, or are said to be somewhere else than in this registry.
        """
        if not self._client.place.may_hold(source):
            why = "who registered it said so; a password, or a file of this machine, would be told to others"
            fix = "delete that version; register it again with `assay release register`"
            raise RegistryError("a registry names artifacts of another place", where=source, why=why, fix=fix)
        from mlflow.artifacts import download_artifacts

        target.mkdir(parents=True, exist_ok=True)
        with self._client.asking("fetch artifacts"):
            uri = self._client.place.signed_uri
            return Path(download_artifacts(artifact_uri=source, dst_path=str(target), tracking_uri=uri))

    def run_artifacts(self, run: str) -> str:
        """Where the artifacts of a run lie, as MLflow names it."""
        with self._client.asking("look for a run"):
            return str(self._client.mlflow.get_run(run).info.artifact_uri)


def _facts(run: "Run") -> RunFacts:
    return RunFacts(
        id=run.info.run_id,
        name=run.info.run_name or "",
        start=run.info.start_time / 1000,
        end=(run.info.end_time or 0) / 1000,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        data=tuple(
            (one.dataset.name, one.dataset.digest, json.loads(one.dataset.source).get("uri", ""))
            for one in (run.inputs.dataset_inputs if run.inputs else ())
            if one.dataset.source_type == DATA
        ),
    )


def _milliseconds(at: float | None) -> int | None:
    return None if at is None else round(at * 1000)
