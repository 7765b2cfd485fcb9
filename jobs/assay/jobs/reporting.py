"""Reporting on a store: from its tables, its release and its latest run to `report.html` and `report.json`.

Knows where a report's inputs come from and where it is written. Does not count (`report.py`) nor draw (`page.py`).
"""

import math
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.forgotten import unerased
from assay.jobs.gallery import fetch_stored, make_gallery
from assay.jobs.generation import generations
from assay.jobs.page import render_page
from assay.jobs.release_copy import fetch_release
from assay.jobs.report import ReportInputs, collect_report
from assay.jobs.report_trace import leave_trace
from assay.jobs.standing import standing
from assay.jobs.store import Store
from assay.platform.errors import SpecError
from assay.platform.release import Release
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec


class ReportSpec(Spec):
    """Which store, and where the report goes."""

    store: str = Field(kw_only=False, description="the store")
    out: Path = Field(Path("report.html"), description="the HTML file; report.json is written beside it")
    run: str | None = Field(None, description="run to report on; unset: the latest")
    trace: bool = Field(True, description="say in the store where the report lies, so that `assay forget` finds it")
    storage: StorageSpec = Field(StorageSpec(), description="object storage of store and source")


class ReportFacts(BaseModel):
    """What was written."""

    model_config = ConfigDict(frozen=True)

    html: str
    json_file: str
    html_bytes: int
    images: int
    labels: dict[str, int]
    """Flagged images by label."""


def report(spec: ReportSpec) -> ReportFacts:
    """Write the report of a store's latest (or named) run: its release and policy over all the store holds.

    Raises:
        SpecError: there is no store, or no such run.
        CommitError: an erasure is under way or was cut off.
        StorageError: committed rows cannot be read, or the report cannot be written.
    """
    storage = Storage(spec.storage)
    store = Store.open(storage, spec.store)
    facts = spec.out.with_suffix(".json")
    with unerased(store):  # an erasure that begins after this finds the trace
        inputs = _inputs(store, *_subject(store, spec))
        data = collect_report(inputs)
        page = render_page(data, make_gallery(data, inputs.fetch)).encode()
        files = {spec.out: page, facts: data.model_dump_json(indent=1).encode()}
        if spec.trace:
            leave_trace(store, data, files)
    for path, content in files.items():
        storage.write(str(path.absolute()), content)
    return ReportFacts(
        html=str(spec.out),
        json_file=str(facts),
        html_bytes=len(page),
        images=data.images,
        labels={name: label.flagged for name, label in data.labels.items()},
    )


def _subject(store: Store, spec: ReportSpec) -> tuple[Release, dict[str, Any]]:
    """The release and the record of the run that is reported on."""
    record = store.run(spec.run)
    if record is None:
        raise SpecError(
            "no such run", where=store.shown, why=f"run {spec.run or 'latest'}", fix="run `assay backfill` first"
        )
    planned = sum(generation.images for generation in generations(store))
    # What was forgotten since the run is no longer planned; what was planned since is not the run's.
    record = {**record, "planned": min(record.get("planned") or planned, planned)}
    return fetch_release(store.storage, store.uri, str(record["release"])), record


def _inputs(store: Store, release: Release, record: dict[str, Any]) -> ReportInputs:
    library, policy = release.library(), release.policy(record["policy"])
    mine = (pc.field("release") == release.id) & (pc.field("policy") == policy.name)
    thresholds = policy.thresholds(tuple(library.labels), release.operating_points().of(policy.name))
    return ReportInputs(
        observations=store.observations.dataset(),
        verdicts=store.verdicts.dataset().filter(mine),
        run=record,
        thresholds={
            label: {"review": _score(review), "block": _score(block)}
            for label, review, block in zip(library.labels, *thresholds, strict=True)
        },
        standing=standing(release, policy),
        titles={label: label.replace("_", " ") for label in library.labels},
        no_evidence=frozenset(name for name, label in library.labels.items() if label.no_evidence),
        fetch=fetch_stored(store.storage),
    )


def _score(threshold: float) -> float | None:
    return float(threshold) if math.isfinite(threshold) else None
