"""The store's own copy of every release it was judged with: workers read it from there, and verdicts stay replayable.

Knows how a release directory travels to and from a store, and that a node's cache of it may be damaged. What a release
is made of, and whether it is sound, is for `assay.platform.release`.
"""

import contextlib
import fcntl
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from assay.jobs.store import Store
from assay.platform.errors import ReleaseError
from assay.platform.release import Release
from assay.platform.release_manifest import RELEASE_FILE, ReleaseManifest
from assay.platform.storage import Storage
from assay.platform.uris import parse_uri

FINGERPRINTS_FILE = "fingerprints.json"
"""What each label's scores are made of (`Scorer.fingerprints`): not a part of the release."""


def keep_release(store: Store, release: Release) -> None:
    """Copy a release into the store, its `release.json` last; nothing is done when it is there. Beside it lies what
    each label's scores are made of, so that a re-audit knows what it may carry over without the release itself."""
    base = store.path("releases", release.id)
    if store.storage.read(f"{base}/{RELEASE_FILE}") is not None:
        return
    names = [entry.path for entry in release.manifest.files]
    made_of = json.dumps(release.scorer().fingerprints(), indent=1).encode()
    store.storage.write(f"{base}/{FINGERPRINTS_FILE}", made_of)
    for name in [*names, RELEASE_FILE]:
        store.storage.write(f"{base}/{name}", (release.directory / name).read_bytes())


def lend_release(store: Store, release: Release) -> None:
    """Put a release that lies here where this node's workers look for it: they need not ask a bucket for it."""
    cache = _cache(release.id)
    if not parse_uri(store.uri).is_s3 or (cache / RELEASE_FILE).is_file():
        return
    with contextlib.suppress(OSError):  # a full or closed disk here: workers fetch it, and tell what is wrong
        _fill_aside(cache, lambda name: (release.directory / name).read_bytes())


def fetch_release(storage: Storage, store: str, release_id: str) -> Release:
    """The release `release_id` as the store keeps it, verified; from a bucket it is copied to this node once, and again
    when that copy is found damaged.

    Raises:
        ReleaseError: the store does not have it, or its files are not what they were.
    """
    place = parse_uri(f"{store}/releases/{release_id}")
    if not place.is_s3:
        return _load(Path(place.key), release_id)
    cache = _cache(release_id)
    try:
        if not (cache / RELEASE_FILE).is_file():
            _download(storage, place.uri, cache)
        return _load(cache, release_id)
    except (ReleaseError, OSError):
        # Cleaners of temporary folders and full disks leave half a copy. What the store has decides.
        return _heal(storage, place.uri, cache, release_id)


def _cache(release_id: str) -> Path:
    return Path(tempfile.gettempdir()) / "assay-releases" / release_id


def _load(directory: Path, release_id: str) -> Release:
    release = Release.load(directory)
    if release.id != release_id:
        raise ReleaseError(
            "the store's copy of the release is another release",
            where=str(directory),
            why=f"expected {release_id}, found {release.id}",
            fix="remove that folder, then run the same command from where the release is",
        )
    return release


def _heal(storage: Storage, base: str, cache: Path, release_id: str) -> Release:
    """Throw this node's copy away and make another. One process at a time: the next one finds it whole."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with (cache.parent / f".{release_id}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            return _load(cache, release_id)
        except (ReleaseError, OSError):
            shutil.rmtree(cache, ignore_errors=True)
        _download(storage, base, cache)
        return _load(cache, release_id)


def _download(storage: Storage, base: str, cache: Path) -> None:
    _fill_aside(cache, lambda name: _part(storage, base, name))


def _fill_aside(cache: Path, read: Callable[[str], bytes]) -> None:
    """Fill a folder aside, then name it: processes of one node that race for it all win."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=cache.parent))
    try:
        _fill(aside, f"release {cache.name}", read)
        aside.rename(cache)
    except OSError:  # another process named its copy first, which is as good
        if not (cache / RELEASE_FILE).is_file():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _fill(folder: Path, named: str, read: Callable[[str], bytes]) -> None:
    (folder / RELEASE_FILE).write_bytes(read(RELEASE_FILE))
    for entry in ReleaseManifest.read(folder).files:
        target = folder / entry.path
        if not target.resolve().is_relative_to(folder.resolve()):
            fix = "do not use it: a path like this is not made by Assay"
            raise ReleaseError("a release names a file outside itself", where=named, why=entry.path, fix=fix)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read(entry.path))


def _part(storage: Storage, base: str, name: str) -> bytes:
    data = storage.read(f"{base}/{name}")
    if data is None:
        raise ReleaseError(
            "the store's copy of the release is not whole",
            where=f"{base}/{name}",
            why="missing",
            fix="run the same command from where the release is",
        )
    return data
