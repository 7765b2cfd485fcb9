"""Evidence runs of one registry as runs of another: what was measured of a release goes where the release goes.

Knows which runs are evidence, and that a copy is what its original is: same tags, parameters, metrics, times and, of
what the gate reads, the same bytes. Names of images stay behind: `assay forget` could not find them there.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from assay.platform.encoder import encoder_digest, file_sha256
from assay.platform.errors import RegistryError
from assay.registry.evidence import FACTS_FILE, KINDS, content_of, read_recorded
from assay.registry.registry import Registry
from assay.registry.runs import RunFacts

RUN, DIGEST, REGISTRY = "assay.copied_run", "assay.copied_digest", "assay.copied_from"
"""Tags of a copy: the run it is one of, one digest over its files, and the registry that has the original."""
NAME_IMAGES = {"diff", "replay"}
"""Kinds whose other files show or name images."""
_LEFT = {"mlflow.parentRunId", "mlflow.runName", "mlflow.artifacts"}
"""Tags that speak of the registry that the run was in, or are set anew."""


class CopiedRun(BaseModel, frozen=True):
    """One run of evidence."""

    kind: str
    original: str
    run: str
    """The copy."""
    is_new: bool
    """Whether it was made now."""


def copy_evidence(source: Registry, target: Registry, release: str) -> Iterator[CopiedRun]:
    """Copy what was measured of a release (by its id), oldest first; what was copied before is left as it is.

    Raises:
        RegistryError: a registry cannot be asked, or a run is not what it recorded.
    """
    for kind in KINDS:
        for run in reversed(source.runs.runs({"assay.kind": kind, "assay.release": release})):
            before = target.runs.runs({RUN: run.id})
            copy = before[0].id if before else _copy(source, target, run)
            yield CopiedRun(kind=kind, original=run.id, run=copy, is_new=not before)


def _copy(source: Registry, target: Registry, run: RunFacts) -> str:
    with tempfile.TemporaryDirectory() as aside:
        files = _fetch(source, run, Path(aside) / "files")
        digest = _digest(files)
        kept = {name: value for name, value in run.tags.items() if name not in _LEFT}
        tags = {**kept, RUN: run.id, DIGEST: digest, REGISTRY: source.place.uri}
        with target.runs.writing(run.name, tags, (run.start, run.end)) as copy:
            target.runs.log_values(copy, run.params, run.metrics)
            for data in run.data:
                target.runs.log_dataset(copy, *data)
            target.runs.upload(copy, files, "")
            arrived = target.runs.fetch(target.runs.run_artifacts(copy), Path(aside) / "arrived")
            if _digest(arrived) != digest:
                why = "the files that arrived are not those that were sent"
                raise RegistryError("evidence was not copied as it is", where=f"run {run.id}", why=why)
    return _keep_one(target, run.id, copy)


def _keep_one(target: Registry, original: str, copy: str) -> str:
    """Of copies that two commands made at once, one counts: the same for both."""
    copies = sorted(one.id for one in target.runs.runs({RUN: original}))
    for other in copies[1:]:
        target.runs.end_run(other, "KILLED")
    return copies[0] if copies else copy


def _fetch(source: Registry, run: RunFacts, folder: Path) -> Path:
    """A run's files, without what names images: its facts as the gate reads them."""
    folder.mkdir()
    if run.tags["assay.kind"] not in NAME_IMAGES:
        folder = source.runs.fetch(source.runs.run_artifacts(run.id), folder)
    facts = read_recorded(source, run.id, run.tags["assay.release"])
    (folder / FACTS_FILE).write_bytes(content_of(facts))
    return folder


def _digest(folder: Path) -> str:
    found = (path for path in folder.rglob("*") if path.is_file())
    return encoder_digest({path.relative_to(folder).as_posix(): file_sha256(path) for path in found})
