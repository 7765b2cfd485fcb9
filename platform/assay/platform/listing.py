"""Listing what a folder or bucket prefix holds: every object once, in the order of its uri, with size and etag.

Knows the listing requests. Never asks for an object by itself (no HEAD per image), and does not know what images are.
"""

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import botocore.exceptions

from assay.platform.errors import BucketError, StorageError
from assay.platform.fetch import file_etag
from assay.platform.refusals import REQUEST_ERRORS, job_error
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from assay.platform.uris import Location, file_uri, parse_uri

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What `stat` says of a name deleted while listing, and of a link to nothing, through a file, or to itself."""

PREFIXES_AT_ONCE = 16
"""Prefixes of a bucket listed at the same time; each is its own chain of pages."""


def list_objects(storage: Storage, source: str) -> Iterator[ImageRef]:
    """Every object below `source`, sorted by uri (as UTF-8 bytes).

    Raises:
        BucketError: the bucket or folder is not there.
        CredentialsError, StorageError: the store refuses to list.
    """
    place = parse_uri(source)
    return _list_bucket(storage, place) if place.is_s3 else iter(_list_folder(Path(place.key)))


def _list_folder(root: Path) -> list[ImageRef]:
    if not root.is_dir():
        raise BucketError("no such folder", where=str(root), why="it does not exist or is a file", fix="check the path")
    found = [
        ImageRef(file_uri(path), file_etag(facts), facts.st_size)
        for path, facts in _regular_files(os.fsencode(root.resolve()))
    ]
    return sorted(found, key=lambda ref: ref.uri)


def _regular_files(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Regular files below `root`, links to files followed, links to folders not."""

    def refuse(error: OSError) -> NoReturn:
        raise StorageError(
            "cannot list a folder", where=os.fsdecode(error.filename), why=str(error.strerror), fix="grant read access"
        )

    for folder, _, names in os.walk(root, onerror=refuse):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118  # bytes: names need not be UTF-8
            try:
                facts = os.stat(path)  # noqa: PTH116  # bytes
            except OSError as error:
                if error.errno in _NOT_THERE:
                    continue
                refuse(error)
            if stat.S_ISREG(facts.st_mode):
                yield path, facts


@dataclass(frozen=True, slots=True)
class _Page:
    """One answer of ListObjectsV2."""

    refs: list[ImageRef]
    prefixes: list[str]
    token: str | None


def _list_bucket(storage: Storage, place: Location) -> Iterator[ImageRef]:
    """List the first level, then its prefixes side by side; groups are yielded in key order, so the whole is sorted.

    A prefix without a slash at its end lists as S3 does: every key that begins with it.
    """
    top = _pages(storage, place, delimiter="/")
    groups: list[ImageRef | str] = []
    for page in top:
        groups += [*page.refs, *page.prefixes]
    order = sorted(groups, key=lambda one: Location(place.bucket, one).uri if isinstance(one, str) else one.uri)
    with ThreadPoolExecutor(PREFIXES_AT_ONCE) as pool:
        yield from _in_order(storage, place, order, pool)


def _in_order(
    storage: Storage, place: Location, order: list[ImageRef | str], pool: ThreadPoolExecutor
) -> Iterator[ImageRef]:
    prefixes = [one for one in order if isinstance(one, str)]
    running: dict[str, Future[list[ImageRef]]] = {}

    def start_some() -> None:
        while prefixes and len(running) < PREFIXES_AT_ONCE:
            prefix = prefixes.pop(0)
            running[prefix] = pool.submit(_whole, storage, Location(place.bucket, prefix))

    for one in order:
        start_some()
        if isinstance(one, ImageRef):
            yield one
        else:
            yield from running.pop(one).result()


def _whole(storage: Storage, place: Location) -> list[ImageRef]:
    """All keys with a prefix. Sorted here: S3 lists in the order of bytes, some stores (SeaweedFS) folder by folder."""
    found = [ref for page in _pages(storage, place, delimiter="") for ref in page.refs]
    return sorted(found, key=lambda ref: ref.uri)


def _pages(storage: Storage, place: Location, delimiter: str) -> Iterator[_Page]:
    token: str | None = None
    while True:
        page = _page(storage, place, delimiter, token)
        yield page
        token = page.token
        if token is None:
            return


def _page(storage: Storage, place: Location, delimiter: str, token: str | None) -> _Page:
    asked: dict[str, Any] = {"Bucket": place.bucket, "Prefix": place.key, "Delimiter": delimiter}
    if token:
        asked["ContinuationToken"] = token
    try:
        answer = storage.request(lambda client: client.list_objects_v2(**asked), place=place)
    except (botocore.exceptions.ClientError, *REQUEST_ERRORS) as error:
        raise job_error(error, place) from error
    refs = [
        ImageRef(Location(place.bucket, one["Key"]).uri, str(one["ETag"]).strip('"'), int(one["Size"]))
        for one in answer.get("Contents", [])
    ]
    prefixes = [str(one["Prefix"]) for one in answer.get("CommonPrefixes", [])]
    return _Page(refs, prefixes, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None)
