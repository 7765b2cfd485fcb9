"""From what a user calls a release to the release: `models:/assay-release@champion`, `…/4`, or a path.

The promotion log says who is champion, not MLflow's alias, which anybody may move. A reference is resolved once and
then pinned. Does not know what a job does with the release.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from assay.platform.errors import RegistryError, ReleaseError
from assay.platform.release import Release, resolve_release
from assay.platform.storage import Storage
from assay.registry.fetching import cached_release, fetch_release
from assay.registry.known import Known
from assay.registry.models import Version
from assay.registry.place import RegistrySpec
from assay.registry.promotion_entry import Side
from assay.registry.promotion_log import PromotionLog
from assay.registry.registry import Registry

SCHEME = "models:/"
REF = re.compile(r"models:/(?P<name>[a-z][a-z0-9_-]*)-release(?:@(?P<alias>[a-z]+)|/(?P<version>\d+))")
Tell = Callable[[str], None]


class Origin(BaseModel, frozen=True):
    """Where a release came from, as it is written down with a run."""

    asked: str
    registry: str
    model: str
    version: int
    alias: str | None
    entry: int | None
    """Number of the promotion log's entry that made it so; None for a version asked for by its number."""
    digest: str


@dataclass(frozen=True)
class Resolved:
    """A release, and where it came from; None when not from a registry."""

    release: Release
    origin: Origin | None = None


def is_registered(ref: str | None) -> bool:
    """Whether a reference names a registered release."""
    return ref is not None and ref.startswith(SCHEME)


def resolve(ref: str | None, spec: RegistrySpec, tell: Tell = lambda _line: None) -> Resolved:
    """The release that a user names. Nothing here is asked twice: what it answers is pinned.

    Raises:
        ReleaseError: there is no such release, or the reference is none.
        RegistryError: the registry cannot be asked, or does not hold what was registered.
        CredentialsError: it refuses who asks.
    """
    if ref is None or not is_registered(ref):
        return Resolved(resolve_release(ref))
    match = REF.fullmatch(ref)
    if match is None:
        raise ReleaseError(
            f"no release can be called {ref!r}",
            where=ref,
            why="it is neither models:/NAME-release@ALIAS nor models:/NAME-release/VERSION",
            fix="`assay release list` tells what there is",
        )
    registry = Registry(spec.model_copy(update={"name": match["name"]}))
    if match["alias"]:
        return _resolve_alias(registry, ref, match["alias"], tell)
    return _resolve_version(registry, ref, int(match["version"]), tell)


def _resolve_alias(registry: Registry, ref: str, alias: str, tell: Tell) -> Resolved:
    entry = find_log(registry, tell).last()
    side = next((side for name, side in entry.aliases.items() if name == alias), None) if entry else None
    if entry is None or side is None:
        known = ", ".join(entry.aliases) if entry else "nothing was ever promoted"
        raise ReleaseError(
            f"no release is {alias}",
            where=f"{registry.place.uri}, {registry.models.model('release')}",
            why=f"the promotion log knows: {known}",
            fix="`assay release promote VERSION` first; an alias set in MLflow by hand does not count",
        )
    release = cached_release(registry, side.digest)
    if release is None:
        release = fetch_release(registry, _version_of(registry, side, ref))
    return Resolved(release, _origin(registry, ref, side, alias, entry.number))


def _version_of(registry: Registry, side: Side, ref: str) -> Version:
    version = registry.models.version("release", side.version)
    if version is None:
        why = f"the promotion log says {side.shown}, and that was deleted from the registry"
        fix = "`assay registry doctor` tells what is amiss; `assay release rollback` goes back to the one before"
        raise RegistryError(f"{ref} points nowhere", where=registry.place.uri, why=why, fix=fix)
    if version.digest != side.digest:
        why = f"it was promoted with digest {side.digest[:12]} and has {version.digest[:12]} now"
        raise RegistryError("the promoted version was changed", where=version.uri, why=why, fix="ask who did it")
    return version


def _resolve_version(registry: Registry, ref: str, number: int, tell: Tell) -> Resolved:
    known = Known.of(registry.place, registry.spec.name)
    try:
        version = registry.models.version("release", number)
    except RegistryError as error:
        side = known.versions.get(number)
        release = cached_release(registry, side.digest) if side else None
        if side is None or release is None:
            raise
        tell(f"the registry does not answer ({error.why}); {ref} is taken from the cache, by its digest")
        return Resolved(release, _origin(registry, ref, side, None, None))
    if version is None:
        fix = "`assay release list` tells what there is"
        raise ReleaseError(f"no release {ref!r}", where=registry.place.uri, why="no such version", fix=fix)
    release = fetch_release(registry, version)
    side = Side(version=number, release=release.id, digest=release.digest)
    known.remember(side=side)
    return Resolved(release, _origin(registry, ref, side, None, None))


def find_log(registry: Registry, tell: Tell) -> PromotionLog:
    """The promotion log; where it lies is remembered for when the registry does not answer.

    Raises:
        RegistryError: the registry does not answer, and this machine never knew.
    """
    known = Known.of(registry.place, registry.spec.name)
    try:
        log = registry.log
    except RegistryError as error:
        if not known.log:
            raise
        tell(f"the registry does not answer ({error.why}); its promotion log is read in {known.log}")
        return PromotionLog(Storage(registry.spec.storage), known.log)
    known.remember(log=log.uri)
    return log


def _origin(registry: Registry, ref: str, side: Side, alias: str | None, entry: int | None) -> Origin:
    return Origin(
        asked=ref,
        registry=registry.place.uri,
        model=registry.models.model("release"),
        version=side.version,
        alias=alias,
        entry=entry,
        digest=side.digest,
    )
