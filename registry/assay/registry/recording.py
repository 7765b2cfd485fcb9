"""A finished job as an MLflow run: what it was asked, what it measured, which data it read, what it wrote.

Knows how a run is written: all of it, or marked as failed. Does not know jobs: what is worth writing down is for who
ran one, and who has a secret leaves it out.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from assay.platform.errors import AssayError, RegistryError
from assay.registry.client import Client
from assay.registry.place import RegistrySpec
from assay.registry.runs import Runs

KIND, RELEASE, RELEASE_DIGEST = "assay.kind", "assay.release", "assay.release_digest"
"""Tags of every recorded run; the promotion gate finds evidence by them."""


@dataclass(frozen=True)
class Data:
    """Data that a job read. They stay where they are."""

    name: str
    digest: str
    uri: str


@dataclass(frozen=True)
class Recording:
    """What there is to say of a job, but for its files."""

    kind: str
    release: str
    """Id of the release it is about."""
    digest: str
    """The release's whole digest."""
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    data: tuple[Data, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OpenRun:
    """A run that was begun."""

    id: str
    artifacts: str
    """Where its files will lie, as MLflow names it."""

    def place(self, name: str) -> Path | str:
        """Where a file will lie: a path, if it is on this machine."""
        parts = urlsplit(self.artifacts)
        return Path(unquote(parts.path)) / name if parts.scheme == "file" else f"{self.artifacts}/{name}"


def record(spec: RegistrySpec, recording: Recording, files: Callable[[OpenRun], Mapping[str, bytes]]) -> str:
    """Write a run; its id. `files` tells its files, by name, once it is known where they will lie.

    Raises:
        SpecError: no registry can be at the spec's address.
        RegistryError: the registry does not answer, or does not take it; the run is marked as failed, if it can be.
        CredentialsError: it refuses who asks.
    """
    runs = Runs(Client(spec))
    tags = {KIND: recording.kind, RELEASE: recording.release, RELEASE_DIGEST: recording.digest, **recording.tags}
    source = {"mlflow.source.name": f"assay {recording.kind}", "mlflow.source.type": "JOB"}
    with runs.writing(f"{recording.kind} {recording.release}", {**source, **tags}) as run:
        contents = files(OpenRun(run, runs.run_artifacts(run)))
        runs.log_values(run, recording.params, recording.metrics)
        for one in recording.data:
            runs.log_dataset(run, one.name, one.digest, one.uri)
        _upload(runs, run, contents)
    return run


def _upload(runs: Runs, run: str, contents: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as aside:
        for name, content in contents.items():
            (Path(aside) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(aside) / name).write_bytes(content)
        try:
            runs.upload(run, Path(aside), "")
        except AssayError:
            raise
        except Exception as error:  # a bucket's client raises what it likes
            what = "the registry's artifact store did not take a run's files"
            raise RegistryError(what, where=runs.run_artifacts(run), why=str(error)[:500]) from error
