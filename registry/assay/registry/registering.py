"""Registering a release: its encoder, its library and itself become versions that never change.

Knows in which order, and what each version says of itself. Registering is done again without harm: what has a version
by its digest is not registered twice, and a version appears only when all its files are stored. Does not promote.
"""

import tempfile
from contextlib import AbstractContextManager
from importlib.metadata import version as installed
from pathlib import Path

from pydantic import Field

from assay.platform.errors import RegistryError
from assay.platform.release import Release
from assay.platform.spec import Spec
from assay.registry.fetching import find_part
from assay.registry.models import Version
from assay.registry.parts import Part, encoder_part, lay_out_rest, library_part
from assay.registry.place import RegistrySpec
from assay.registry.registry import Registry

DIGEST, ID, ENCODER, LIBRARY = "assay.digest", "assay.release", "assay.encoder", "assay.library"
ENCODER_DIGEST, PARENT = "assay.encoder_digest", "assay.parent"
"""Tags of versions. An encoder and a library are told by the digest of their files."""


class RegisterSpec(Spec):
    """Where to register a release, and what is known of it."""

    registry: RegistrySpec = Field(RegistrySpec(), description="where it is registered")
    parent: str | None = Field(None, description="release it was made from, by its id; unset: the champion")
    note: str = Field("", description="what is new in it, for people")


def register(release: Release, spec: RegisterSpec, registry: Registry | None = None) -> Version:
    """Register a release with its parts; the version it has already, if it has one.

    Raises:
        RegistryError: the registry cannot be asked, or does not store it.
        CredentialsError: it refuses who asks.
    """
    registry = registry or Registry(spec.registry)
    registry.establish()
    known = registry.models.versions("release", {DIGEST: release.digest})
    if known:
        return restore_parts(registry, known[0], release)
    with _registering(registry, release) as run:
        encoder = _register_part(registry, release, encoder_part(release.manifest), run)
        library = _register_part(registry, release, library_part(release.manifest), run)
        with tempfile.TemporaryDirectory() as aside:
            lay_out_rest(release, Path(aside))
            source = registry.runs.upload(run, Path(aside), "release")
        parts = {ENCODER: encoder.uri, LIBRARY: library.uri}
        tags = {DIGEST: release.digest, ID: release.id, **parts, **_lineage(registry, release, spec)}
        return registry.models.publish("release", source, run, tags, _describe_release(release, parts, spec.note))


def restore_parts(registry: Registry, version: Version, release: Release) -> Version:
    """Register again what a registered release lost: parts that were deleted, or that its tags no longer name.

    Raises:
        RegistryError: the registry cannot be asked, or does not store it.
    """
    parts = (encoder_part(release.manifest), library_part(release.manifest))
    lost = [part for part in parts if not _has(registry, version, part)]
    if not lost:
        return version
    with _registering(registry, release) as run:
        tags = {f"assay.{part.kind}": _register_part(registry, release, part, run).uri for part in lost}
    registry.models.correct_version(version, tags)
    return version.model_copy(update={"tags": {**version.tags, **tags}})


def _has(registry: Registry, version: Version, part: Part) -> bool:
    try:
        return find_part(registry, version, part.kind).digest == part.digest
    except RegistryError:  # what is not there is registered again, which fails as well if nobody answers
        return False


def _registering(registry: Registry, release: Release) -> AbstractContextManager[str]:
    return registry.runs.writing(f"register {release.id}", {"assay.kind": "register", ID: release.id})


def _register_part(registry: Registry, release: Release, part: Part, run: str) -> Version:
    known = registry.models.versions(part.kind, {DIGEST: part.digest})
    if known:
        return known[0]
    with tempfile.TemporaryDirectory() as aside:
        part.lay_out(release.directory, Path(aside))
        source = registry.runs.upload(run, Path(aside), part.kind)
    tags = {DIGEST: part.digest, "assay.code": _code(), "assay.from": release.id}
    return registry.models.publish(part.kind, source, run, tags, _describe_part(release, part))


def _lineage(registry: Registry, release: Release, spec: RegisterSpec) -> dict[str, str]:
    manifest = release.manifest
    newest = registry.log.last()
    parent = spec.parent or (newest.aliases["champion"].release if newest and "champion" in newest.aliases else "")
    golden = sorted({one.golden for one in release.calibration().labels.values()})
    return {
        PARENT: parent,
        "assay.dataset": ",".join(golden)[:250],
        "assay.code": _code(),
        ENCODER_DIGEST: manifest.encoder.digest,
        "assay.library_digest": manifest.library.digest,
        "assay.policies": ",".join(manifest.policies),
        "assay.scoring": str(manifest.scoring.version),
    }


def _describe_part(release: Release, part: Part) -> str:
    if part.kind == "encoder":
        pinned = release.manifest.encoder
        return f"{pinned.dim} dimensions, {pinned.precision}; first registered with {release.id}"
    library = release.library()
    counts = f"{len(library.labels):,} labels in {len(library.categories):,} categories"
    return f"{counts}; digest {library.digest[:12]}; first registered with {release.id}"


def _describe_release(release: Release, parts: dict[str, str], note: str) -> str:
    manifest, calibrated = release.manifest, len(release.calibration().labels)
    policies = (f"**{name}**" if name == manifest.default_policy else name for name in manifest.policies)
    rows = [
        ("release", f"`{release.id}`"),
        ("encoder", parts[ENCODER]),
        ("library", parts[LIBRARY]),
        ("policies", ", ".join(policies)),
        ("calibrated", f"{calibrated} of {len(release.library().labels)} labels"),
        ("digest", f"`{release.digest}`"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return "\n\n".join(filter(None, [note or manifest.description, f"| | |\n|---|---|\n{table}"]))


def _code() -> str:
    return f"assay {installed('assay')}"
