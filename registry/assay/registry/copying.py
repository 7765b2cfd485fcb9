"""Copying a release from one registry to another, staging to production, with its evidence.

Knows in which order: what is fetched is held against its digests, evidence goes first, and the version appears when all
else is there. Done again without harm. Does not promote: the target has a gate of its own, which finds the evidence.
"""

from collections.abc import Callable

from pydantic import BaseModel, Field

from assay.platform.errors import RegistryError, SpecError
from assay.platform.spec import Spec
from assay.registry.evidence_copy import CopiedRun, copy_evidence
from assay.registry.fetching import fetch_release
from assay.registry.lookup import find_version
from assay.registry.models import Version
from assay.registry.place import RegistrySpec
from assay.registry.registering import PARENT, RegisterSpec, register
from assay.registry.registry import Registry
from assay.registry.resolving import Origin

COPIED_FROM = "assay.copied_from"
Tell = Callable[[str], None]


class CopySpec(Spec):
    """Which release, from where to where."""

    release: str = Field(kw_only=False, description="version, models:/…, @alias, or id of a registered release")
    registry: RegistrySpec = Field(RegistrySpec(), description="where it is registered")
    to: RegistrySpec = Field(RegistrySpec(), description="where it is copied to; without --to.uri on the same server")

    @property
    def target(self) -> RegistrySpec:
        """Where it is copied to, settled. No environment has the log of another one."""
        if self.to.uri is not None:
            return self.to
        said = {name: getattr(self.to, name) for name in self.to.model_fields_set}
        return self.registry.model_copy(update={"log": None, **said})


class CopyFacts(BaseModel, frozen=True):
    """What was copied."""

    release: str
    digest: str
    origin: Origin
    registry: str
    """The target."""
    version: int
    uri: str
    evidence: tuple[CopiedRun, ...]


def copy_release(spec: CopySpec, tell: Tell = lambda _line: None) -> CopyFacts:
    """Copy a release; what of it is there already stays as it is.

    Raises:
        SpecError: no such release, or the target is the source.
        RegistryError: a registry cannot be asked, or what the source holds is not what was registered or promoted.
        CredentialsError: one refuses who asks.
    """
    source, target = Registry(spec.registry), Registry(spec.target)
    if (source.place.uri, source.spec.name) == (target.place.uri, target.spec.name):
        why, fix = (
            "the target is the source",
            "name another server with --to.uri, or another environment with --to.name",
        )
        raise SpecError("a release is not copied onto itself", where=target.place.uri, why=why, fix=fix)
    version = find_version(source, spec.release)
    origin = _origin(source, version, spec.release)
    tell(f"fetching {version.uri}")
    release = fetch_release(source, version)
    target.establish()
    tell("copying its evidence")
    evidence = tuple(copy_evidence(source, target, release.id))
    tell(f"registering {release.id}")
    note = f"Copied from {version.uri} of {source.place.uri}."
    asked = RegisterSpec(registry=target.spec, parent=version.tags.get(PARENT) or None, note=note)
    made = register(release, asked, target)
    if COPIED_FROM not in made.tags:
        target.models.tag_version(made, {COPIED_FROM: origin.model_dump_json()})
    return CopyFacts(
        release=release.id,
        digest=release.digest,
        origin=origin,
        registry=target.place.uri,
        version=made.number,
        uri=made.uri,
        evidence=evidence,
    )


def _origin(source: Registry, version: Version, asked: str) -> Origin:
    """Where it comes from, and which alias it has there.

    Raises:
        RegistryError: the promotion log pins another digest.
    """
    last = source.log.last()
    side = last.pinned.get(version.number) if last else None
    if side is not None and side.digest != version.digest:
        why = f"it was promoted with digest {side.digest[:12]} and has {version.digest[:12]} now"
        fix = "`assay registry doctor` tells what is amiss"
        raise RegistryError("the promoted version was changed", where=version.uri, why=why, fix=fix)
    alias = next((alias for alias, one in last.aliases.items() if one == side), None) if last and side else None
    return Origin(
        asked=asked,
        registry=source.place.uri,
        model=version.model,
        version=version.number,
        alias=alias,
        entry=last.number if last and alias else None,
        digest=version.digest,
    )
