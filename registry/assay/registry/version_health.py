"""Whether what the promotion log pins, and all else that is registered, is there and as it was registered.

Knows versions, their parts, their tags and the runs that hold their files. Mends tags by what the log says, parts by
what this machine keeps by digest, and deleted runs as long as MLflow has them.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from assay.platform.errors import AssayError, RegistryError
from assay.registry.fetching import cached_release, check_parts, fetch_release
from assay.registry.finding import Finding
from assay.registry.log_health import MEND
from assay.registry.lookup import side_of
from assay.registry.models import Version
from assay.registry.promotion_entry import Side
from assay.registry.registering import DIGEST, ENCODER_DIGEST, ID, restore_parts
from assay.registry.registry import Registry

Pinned = Mapping[int, Side]
_AGAIN = "register the release again from its directory: `assay release register DIR`"


def look_at_versions(registry: Registry, pinned: Pinned) -> Iterator[Finding]:
    """All releases, and those that the log pins, by what MLflow says of them."""
    versions = {version.number: version for version in registry.models.versions("release")}
    for number in sorted(set(pinned) - set(versions)):
        said = f"the promotion log names {pinned[number].shown}, and it was deleted from the registry"
        fix = "nobody can go back to it; register the release again, as another version, to have it"
        yield Finding(name=f"version {number}", well=False, said=said, fix=fix)
    ill = [one for version in versions.values() for one in _look_at(registry, version, pinned.get(version.number))]
    ill += _erased(registry, (versions[number] for number in sorted(set(pinned) & set(versions))))
    yield from ill
    if not ill:
        said = f"{len(versions):,} releases, each with an encoder and a library"
        yield Finding(name="releases", well=True, said=said)


def _look_at(registry: Registry, version: Version, side: Side | None) -> Iterator[Finding]:
    if side is not None and side_of(version) != side:
        said = f"its tags say {version.tags.get(ID)}, digest {version.digest[:12]}; the log says {side.release}, "
        mend = partial(registry.models.correct_version, version, {DIGEST: side.digest, ID: side.release})
        name = f"version {version.number}"
        yield Finding(name=name, well=False, said=f"{said}digest {side.digest[:12]}", fix=MEND, mend=mend)
    name = f"parts of version {version.number}"
    kept = partial(_restore, registry, version, side.digest if side else version.digest)
    try:
        encoder = check_parts(registry, version)["encoder"]
    except RegistryError as error:
        yield Finding.of(name, error, kept)
        return
    asked = version.tags.get(ENCODER_DIGEST, encoder.digest)
    if encoder.digest != asked:
        said = f"{encoder.uri} has digest {encoder.digest[:12]}, the release was registered with {asked[:12]}"
        yield Finding(name=name, well=False, said=said, fix=_AGAIN, mend=kept)


def _restore(registry: Registry, version: Version, digest: str) -> None:
    """Register lost parts again, if this machine keeps the release."""
    release = cached_release(registry, digest)
    if release is not None:
        restore_parts(registry, version, release)


def _erased(registry: Registry, versions: Iterable[Version]) -> Iterator[Finding]:
    """Runs with files of some versions that were deleted: MLflow still has them, until somebody tidies up."""
    holding: dict[str, list[str]] = {}
    for version in versions:
        for run in _runs_of(registry, version):
            holding.setdefault(run, []).append(version.uri)
    for run, uris in holding.items():
        name = f"run {run}"
        try:
            erased = registry.runs.is_run_erased(run)
        except RegistryError as error:
            yield Finding.of(name, error)
            continue
        if erased:
            said = f"it holds files of {', '.join(uris)} and was deleted: `mlflow gc` would remove them"
            yield Finding(name=name, well=False, said=said, fix=MEND, mend=partial(registry.runs.restore_run, run))


def _runs_of(registry: Registry, version: Version) -> set[str]:
    try:
        return {version.run, *(part.run for part in check_parts(registry, version).values())}
    except RegistryError:  # was told already, with the parts
        return {version.run}


def look_at_files(registry: Registry, pinned: Pinned) -> Iterator[Finding]:
    """The files of what the log pins, fetched anew and held against their digests."""
    registry.place.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=registry.place.cache, prefix=".") as aside:
        fresh = Registry(registry.spec.model_copy(update={"cache": Path(aside)}))
        for number, side in sorted(pinned.items()):
            version = registry.models.version("release", number)
            if version is not None:  # else it was told already
                yield _fetched(fresh, version, side)


def _fetched(registry: Registry, version: Version, side: Side) -> Finding:
    name = f"files of version {version.number}"
    try:
        release = fetch_release(registry, version)
    except AssayError as error:
        return Finding.of(name, error)
    if release.digest != side.digest:
        said = f"they are another release, {release.id}; the log says {side.release}"
        fix = "do not use it: find out who wrote there; roll back, if it is champion"
        return Finding(name=name, well=False, said=said, fix=fix)
    return Finding(name=name, well=True, said=f"as registered, digest {side.digest[:12]}")
