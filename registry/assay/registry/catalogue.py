"""What is registered, as people look at it: a list, one release whole, two side by side, and the log.

Knows versions, runs and entries. Changes nothing. What a release decides otherwise over images is for `assay diff`.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import BaseModel, Field

from assay.platform.library_diff import LibraryDiff
from assay.platform.library_diff import compare as compare_libraries
from assay.platform.release import Release
from assay.platform.spec import Spec
from assay.registry.evidence import KINDS
from assay.registry.lookup import find_version
from assay.registry.models import Version
from assay.registry.place import RegistrySpec
from assay.registry.promotion_entry import Entry
from assay.registry.registry import Registry
from assay.registry.resolving import resolve

Tell = Callable[[str], None]


class ListSpec(Spec):
    """Which registry."""

    registry: RegistrySpec = Field(RegistrySpec(), description="which registry")


class NamedOrChampion(Spec):
    """Which release, where it may go without saying."""

    release: str = Field("@champion", kw_only=False, description="version, models:/…, @alias, or id")


class ShowSpec(ListSpec, NamedOrChampion):
    """Which release."""


class Pair(Spec):
    """Two releases, registered or not."""

    before: str = Field(kw_only=False, description="models:/…, or a release directory")
    after: str = Field(kw_only=False, description="models:/…, or a release directory")


class CompareSpec(ListSpec, Pair):
    """Which two."""


class Registered(BaseModel, frozen=True):
    """One registered release."""

    version: int
    uri: str
    release: str
    digest: str
    registered: str
    """UTC."""
    aliases: tuple[str, ...]
    """As the promotion log has them."""
    was_champion: int
    """How often it became champion."""
    encoder: str
    library: str
    parent: str
    code: str


class Listed(BaseModel, frozen=True):
    """All of them, oldest first."""

    registry: str
    log: str
    releases: tuple[Registered, ...]


class Measurement(BaseModel, frozen=True):
    """A run that measured a release."""

    kind: str
    run: str
    at: str
    metrics: dict[str, float]


class Shown(BaseModel, frozen=True):
    """One release, whole."""

    release: Registered
    description: str
    link: str
    """Of its page in MLflow; empty without a server."""
    evidence: tuple[Measurement, ...]
    entries: tuple[Entry, ...]


class Logged(BaseModel, frozen=True):
    """The promotion log, oldest first; its hash chain holds."""

    log: str
    entries: tuple[Entry, ...]


class Compared(BaseModel, frozen=True):
    """Two releases, part by part."""

    before: str
    after: str
    same_encoder: bool
    library: LibraryDiff
    policies: dict[str, str]
    """By name: same, changed, new or gone."""
    default_policy: tuple[str, str]
    calibrated: tuple[str, ...]
    """Labels that are calibrated only after."""
    uncalibrated: tuple[str, ...]
    """Labels that were calibrated only before."""


def list_releases(spec: ListSpec) -> Listed:
    """All releases that are registered."""
    registry = Registry(spec.registry)
    entries = list(registry.log.entries())
    rows = tuple(_row(version, entries) for version in registry.models.versions("release"))
    return Listed(registry=registry.place.uri, log=registry.log.uri, releases=rows)


def show_release(spec: ShowSpec) -> Shown:
    """One release with what was measured of it, and what the log says of it.

    Raises:
        SpecError: there is no such one.
    """
    registry = Registry(spec.registry)
    version = find_version(registry, spec.release)
    entries = list(registry.log.entries())
    row = _row(version, entries)
    measured = (
        Measurement(kind=kind, run=run.id, at=_time(run.end), metrics=run.metrics)
        for kind in KINDS
        for run in registry.runs.runs({"assay.kind": kind, "assay.release": row.release})
    )
    place = registry.place
    link = "" if place.is_local else f"{place.uri}/#/models/{version.model}/versions/{version.number}"
    return Shown(
        release=row,
        description=version.description,
        link=link,
        evidence=tuple(measured),
        entries=tuple(one for one in entries if version.number in _numbers(one)),
    )


def read_log(spec: ListSpec) -> Logged:
    """The promotion log.

    Raises:
        RegistryError: it was changed, or an entry is gone.
    """
    log = Registry(spec.registry).log
    return Logged(log=log.uri, entries=tuple(log.entries()))


def compare_releases(spec: CompareSpec, tell: Tell = lambda _line: None) -> Compared:
    """Two releases, registered or not, part by part; no image is looked at.

    Raises:
        ReleaseError: there is no such one.
    """
    before, after = (resolve(ref, spec.registry, tell).release for ref in (spec.before, spec.after))
    ours, theirs = (set(one.calibration().labels) for one in (after, before))
    return Compared(
        before=before.id,
        after=after.id,
        same_encoder=before.manifest.encoder == after.manifest.encoder,
        library=compare_libraries(before.library(), after.library()),
        policies=_policies(before, after),
        default_policy=(before.manifest.default_policy, after.manifest.default_policy),
        calibrated=tuple(sorted(ours - theirs)),
        uncalibrated=tuple(sorted(theirs - ours)),
    )


def _policies(before: Release, after: Release) -> dict[str, str]:
    old, new = ({name: one.digest for name, one in release.manifest.policies.items()} for release in (before, after))
    state = {True: "same", False: "changed"}
    return {
        name: "new" if name not in old else "gone" if name not in new else state[old[name] == new[name]]
        for name in sorted({*old, *new})
    }


def _row(version: Version, entries: list[Entry]) -> Registered:
    tags, aliases = version.tags, entries[-1].aliases if entries else {}
    return Registered(
        version=version.number,
        uri=version.uri,
        release=tags.get("assay.release", ""),
        digest=version.digest,
        registered=_time(version.created),
        aliases=tuple(alias for alias, side in aliases.items() if side.version == version.number),
        was_champion=sum(one.alias == "champion" and one.after.version == version.number for one in entries),
        encoder=tags.get("assay.encoder", ""),
        library=tags.get("assay.library", ""),
        parent=tags.get("assay.parent", ""),
        code=tags.get("assay.code", ""),
    )


def _numbers(entry: Entry) -> set[int]:
    return {side.version for side in (entry.before, entry.after) if side is not None}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
