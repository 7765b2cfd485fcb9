"""The doctor: checks what a backfill needs, one finding each, and says how to mend what is wrong.

Knows what to look at. Starts nothing that outlives it, and writes nothing but a probe object, which it removes.
"""

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table
from rich.text import Text

import assay.jobs.pipeline as ray_pipeline
from assay.jobs.pools import ClusterSpec, size_pools
from assay.jobs.release_choice import RegistryChoice, choose_release
from assay.jobs.store import Store, probe_store
from assay.platform.errors import AssayError
from assay.platform.listing import list_objects
from assay.platform.release import Release
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.registry.place import RegistrySpec
from assay.registry.resolving import Resolved


class DoctorSpec(Spec):
    """What to examine."""

    source: str | None = Field(None, description="a source to list")
    store: str | None = Field(None, description="a store to write a probe to")
    release: str | None = Field(None, description="release: directory or models:/…; unset: the bundled one")
    cluster: ClusterSpec = Field(ClusterSpec(), description="where it would run")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")
    registry: RegistryChoice = RegistrySpec()


class Finding(BaseModel):
    """One thing looked at."""

    model_config = ConfigDict(frozen=True)

    subject: str
    well: bool
    found: str
    fix: str = ""


def examine(spec: DoctorSpec) -> list[Finding]:
    """Look at everything; a finding that is not well does not keep the others from being made."""
    storage = Storage(spec.storage)
    choose = functools.cache(lambda: choose_release(spec.release, spec.registry))  # once, when it is there
    checks: list[tuple[str, Callable[[], str]]] = [
        ("machine", _machine),
        ("ray", lambda: _ray(spec.cluster)),
        ("release", lambda: _release(choose())),
        ("encoder", lambda: _encoder(choose().release)),
    ]
    if any(uri and uri.startswith("s3://") for uri in (spec.source, spec.store)):
        checks.append(("credentials", lambda: _credentials(storage)))
    if spec.source is not None:
        checks.append(("source", lambda: _source(storage, str(spec.source))))
    if spec.store is not None:
        checks.append(("store", lambda: _store(storage, str(spec.store))))
    return [_find(subject, look) for subject, look in checks]


def _find(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject=subject, well=True, found=look())
    except AssayError as error:
        where = f" ({error.where})" if error.where else ""
        return Finding(subject=subject, well=False, found=f"{error.what}{where}: {error.why}", fix=error.fix)


def _machine() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return f"{os.cpu_count()} CPUs, {free:.0f} GiB free on this disk"


def _ray(spec: ClusterSpec) -> str:
    with ray_pipeline.joined(spec) as cluster:
        pools = size_pools(cluster.cpus, cluster.gpus, spec, cluster.nodes)
    return (
        f"{cluster.cpus:g} CPUs, {cluster.gpus:g} GPUs, {cluster.nodes} nodes; "
        f"pools: look {pools.look.span} of {pools.look.each}, "
        f"judge {pools.judge.span} of {pools.judge.each}"
    )


def _release(chosen: Resolved) -> str:
    release, origin = chosen.release, chosen.origin
    where = "" if origin is None else f", version {origin.version} of {origin.model} in {origin.registry}"
    policies, labels = ", ".join(release.manifest.policies), len(release.library().labels)
    return f"{release.id}{where}, policies {policies}, {labels} labels"


def _encoder(release: Release) -> str:
    encoder = release.encoder()
    vectors = encoder.encode_texts(["a photo", "another photo"])
    told = f"loads, {vectors.shape[1]} dimensions, {release.preprocess.size} px, digest {encoder.digest[:12]}"
    return "; ".join((told, *encoder.notes))


def _credentials(storage: Storage) -> str:
    key, _, token = storage.keys()
    kind = "temporary" if token else "long-lived"
    return f"{kind} key …{key[-4:]}, region {storage.region}, endpoint {storage.endpoint or 'AWS'}"


def _source(storage: Storage, source: str) -> str:
    first = next(iter(list_objects(storage, source)), None)
    if first is None:
        raise AssayError("the source is empty", where=source, why="no object is listed", fix="check the prefix")
    return f"listed; first object has {first.size:,} bytes"


def _store(storage: Storage, uri: str) -> str:
    store = Store.attach(storage, uri)
    probe_store(storage, store.uri)
    return "writable, honours conditional put"


def table(findings: list[Finding]) -> Table:
    """The findings for a terminal."""
    shown = Table("", "what", "found", "how to mend", box=None)
    for finding in findings:
        mark = "[green]ok[/]" if finding.well else "[red]bad[/]"
        shown.add_row(mark, finding.subject, Text(finding.found), Text(finding.fix))
    return shown
