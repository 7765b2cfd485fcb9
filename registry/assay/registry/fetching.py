"""Fetching a registered release: downloaded once, held against its digests, and kept by digest on this machine.

Knows the cache and which parts make a release. Trusts nothing that it fetched: a file that is not listed, or not as it
was listed, is refused, and nothing of it is loaded. Does not know aliases.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from assay.platform.encoder import file_sha256
from assay.platform.errors import RegistryError, ReleaseError, SpecError
from assay.platform.release import Release
from assay.platform.release_manifest import RELEASE_FILE, ReleaseManifest
from assay.registry.models import Kind, Version
from assay.registry.parts import Part, encoder_part, library_part, rest_of
from assay.registry.registry import Registry

_URI = re.compile(r"models:/([a-z0-9_-]+)/(\d+)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTS: tuple[Kind, ...] = ("encoder", "library")


def cached_release(registry: Registry, digest: str) -> Release | None:
    """The release of this digest as it is kept here; None when it is not, or is damaged."""
    if _DIGEST.fullmatch(digest) is None:  # anybody may write a tag, and this one names a folder
        return None
    kept = registry.place.cache / "releases" / digest
    if not (kept / RELEASE_FILE).is_file():
        return None
    try:
        release = Release.load(kept)
    except SpecError:  # a disk's fault, or somebody's: fetched again
        shutil.rmtree(kept, ignore_errors=True)
        return None
    return release if release.digest == digest else None


def fetch_release(registry: Registry, version: Version) -> Release:
    """A registered release, from the cache or from the registry.

    Raises:
        RegistryError: a part is missing, changed, unlisted or of another registry.
    """
    kept = cached_release(registry, version.digest)
    if kept is not None:
        return _as_named(kept, version)
    parts = check_parts(registry, version)
    with _aside(registry) as aside:
        whole = _fetch_folder(registry, version, aside / "release")
        manifest = _read_manifest(whole, version)
        expected = {**rest_of(manifest), RELEASE_FILE: file_sha256(whole / RELEASE_FILE)}
        _refuse_changed(whole, expected, version)
        for part in (encoder_part(manifest), library_part(manifest)):
            folder = _fetch_part(registry, parts[part.kind], part, version)
            part.put_into(folder, whole)
        release = _as_named(_load(whole, version), version)
        _keep(whole, registry.place.cache / "releases" / release.digest)
    found = cached_release(registry, version.digest)
    if found is None:
        why = "another process, or the disk, damaged it at once"
        raise RegistryError("the cache does not keep what is put there", where=str(registry.place.cache), why=why)
    return found


def check_parts(registry: Registry, version: Version) -> dict[Kind, Version]:
    """The versions of a release's parts, looked up.

    Raises:
        RegistryError: one is not named, deleted, or of another registry.
    """
    return {kind: find_part(registry, version, kind) for kind in _PARTS}


def find_part(registry: Registry, version: Version, kind: Kind) -> Version:
    """The version of one of a release's parts, looked up; the same errors."""
    named = version.tags.get(f"assay.{kind}", "")
    match = _URI.fullmatch(named)
    fix = "register the release again from its directory: `assay release register DIR`"
    if match is None:
        why = f"tag assay.{kind} is {named!r}"
        raise RegistryError(f"the release does not say which {kind} it has", where=version.uri, why=why, fix=fix)
    registry.refuse_strangers(match[1], f"{version.uri}, {named}")
    if match[1] != registry.models.model(kind):
        why = f"tag assay.{kind} is {named!r}, which is no {kind}"
        raise RegistryError(f"the release does not say which {kind} it has", where=version.uri, why=why, fix=fix)
    part = registry.models.version(kind, int(match[2]))
    if part is None:
        why = f"{named} was deleted from the registry"
        raise RegistryError(f"the release's {kind} is gone", where=version.uri, why=why, fix=fix)
    return part


def _fetch_part(registry: Registry, version: Version, part: Part, of: Version) -> Path:
    """One part's folder, from the cache or fetched into it."""
    kept = registry.place.cache / f"{part.kind}s" / part.digest
    if version.digest != part.digest:
        why = f"{version.uri} has digest {version.digest[:12]}, the release asks for {part.digest[:12]}"
        raise _not_what_was_registered(of, why)
    if kept.is_dir():
        if _changes(kept, part.stored) == []:
            return kept
        shutil.rmtree(kept, ignore_errors=True)
    with _aside(registry) as aside:
        folder = _fetch_folder(registry, version, aside / part.kind)
        _refuse_changed(folder, part.stored, version)
        _keep(folder, kept)
    return kept


def _fetch_folder(registry: Registry, version: Version, target: Path) -> Path:
    return registry.runs.fetch(version.source, target)


def _read_manifest(folder: Path, version: Version) -> ReleaseManifest:
    try:
        manifest = ReleaseManifest.read(folder)
    except ReleaseError as error:
        raise _not_what_was_registered(version, f"{error.what}: {error.why}") from error
    if manifest.digest != version.digest:
        why = f"its digest is {manifest.digest[:12]}, registered as {version.digest[:12]}"
        raise _not_what_was_registered(version, why)
    outside = [file.path for file in manifest.files if not _is_inside(file.path)]
    if outside or manifest.unlisted():
        why = f"it names files outside itself, or does not list its own: {', '.join(outside or manifest.unlisted())}"
        raise _not_what_was_registered(version, why)
    return manifest


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _load(folder: Path, version: Version) -> Release:
    try:
        return Release.load(folder)
    except SpecError as error:
        raise _not_what_was_registered(version, f"{error.what}: {error.why}") from error


def _as_named(release: Release, version: Version) -> Release:
    """The log, and people, know a version by its release's id: it must not be another one's."""
    named = version.tags.get("assay.release", "")
    if named != release.id:
        raise _not_what_was_registered(version, f"it is called {named!r} and is {release.id}")
    return release


def _refuse_changed(folder: Path, files: Mapping[str, str], version: Version) -> None:
    changes = _changes(folder, files)
    if changes:
        raise _not_what_was_registered(version, "; ".join(changes[:5]))


def _changes(folder: Path, files: Mapping[str, str]) -> list[str]:
    """What of a folder is not as listed, in words."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    changes = [f"{name} is missing" for name in sorted(set(files) - set(found))]
    changes += [f"{name} is not listed" for name in sorted(set(found) - set(files))]
    for name in sorted(set(files) & set(found)):
        if found[name].is_symlink():
            changes.append(f"{name} is a link")
        elif file_sha256(found[name]) != files[name]:
            changes.append(f"{name} was changed")
    return changes


def _not_what_was_registered(version: Version, why: str) -> RegistryError:
    return RegistryError(
        "what the registry holds is not what was registered",
        where=version.uri,
        why=why,
        fix="do not use it: find out who wrote there; then register the release again from its directory",
    )


@contextmanager
def _aside(registry: Registry) -> Iterator[Path]:
    """A folder on the cache's own disk, so that what is whole can be named in one step."""
    cache = registry.place.cache
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".") as folder:
            yield Path(folder)
    except OSError as error:
        why, fix = error.strerror or str(error), "free space there, or name another place: --registry.cache"
        raise RegistryError("a release cannot be kept on this machine", where=str(cache), why=why, fix=fix) from error


def _keep(folder: Path, kept: Path) -> None:
    """Name a whole folder; processes that race for it all win."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(kept)
    except OSError:  # another process was first, which is as good
        if not kept.is_dir():
            raise
