"""Fetching one image, or a range of one object: one request, made again while it fails, pinned to the version the
listing saw.

Knows which answer of a store is a fault of one image and which is an error of the job. Does not know what bytes mean.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import botocore.exceptions

from assay.platform.body import BodyReader
from assay.platform.bucket import Ask
from assay.platform.errors import BucketError, StorageError
from assay.platform.faults import Fault, FaultKind
from assay.platform.refusals import (
    CONNECTION_ERRORS,
    CREDENTIAL_CODES,
    REQUEST_ERRORS,
    error_code,
    error_status,
    job_error,
)
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from assay.platform.uris import Location, parse_uri

T = TypeVar("T")

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Range:
    """Some bytes of an object from `start` on, and the `total` it has."""

    data: bytes
    start: int
    total: int


def file_etag(facts: os.stat_result) -> str:
    """A local file's etag: size, modification time and inode. Rewriting in place within the clock's tick escapes it."""
    return f"{facts.st_size:x}-{facts.st_mtime_ns:x}-{facts.st_ino:x}"


def fetch(storage: Storage, ref: ImageRef, max_bytes: int) -> bytes | Fault:
    """The bytes of one image, or why there are none.

    Raises:
        CredentialsError, BucketError, StorageError: what fails for every image alike stops the job.
    """
    if ref.size > max_bytes:
        return Fault(FaultKind.TOO_LARGE, f"{ref.size} bytes, budget {max_bytes}")
    place = parse_uri(ref.uri)
    return _fetch_object(storage, place, ref, max_bytes) if place.is_s3 else _fetch_file(place, ref, max_bytes)


def _fetch_file(place: Location, ref: ImageRef, max_bytes: int) -> bytes | Fault:
    try:
        with Path(place.key).open("rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                return Fault(FaultKind.CHANGED, "no longer a regular file")
            if ref.etag and file_etag(facts) != ref.etag:
                return Fault(FaultKind.CHANGED, "size, time or inode differ from the listing")
            if facts.st_size > max_bytes:
                return Fault(FaultKind.TOO_LARGE, f"{facts.st_size} bytes, budget {max_bytes}")
            data = file.read(max_bytes + 1)
            if file_etag(os.fstat(file.fileno())) != file_etag(facts) or len(data) != facts.st_size:
                return Fault(FaultKind.CHANGED, "written to while it was read")
            return data
    except OSError as error:
        return _file_fault(error)


def fetch_range(storage: Storage, uri: str, etag: str, start: int, length: int) -> Range | Fault:
    """At most `length` bytes of an object from `start` on, or, with a negative `start`, its last ones.

    Raises:
        CredentialsError, BucketError, StorageError: as `fetch`; or the store does not know ranges.
    """
    place = parse_uri(uri)
    if not place.is_s3:
        return _file_range(place, etag, start, length)
    reader = storage.reader(place)
    return _answered(storage, place, lambda client: _get_range(client, place, etag, (start, length), reader))


def _file_range(place: Location, etag: str, start: int, length: int) -> Range | Fault:
    try:
        with Path(place.key).open("rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                return Fault(FaultKind.CHANGED, "no longer a regular file")
            begin = max(0, facts.st_size + start) if start < 0 else start
            data = os.pread(file.fileno(), length, begin)
            if file_etag(os.fstat(file.fileno())) != (etag or file_etag(facts)):
                return Fault(FaultKind.CHANGED, "size, time or inode differ from the listing")
            return Range(data, begin, facts.st_size)
    except OSError as error:
        return _file_fault(error)


def _file_fault(error: OSError) -> Fault:
    if isinstance(error, FileNotFoundError):
        return Fault(FaultKind.GONE)
    if isinstance(error, IsADirectoryError):
        return Fault(FaultKind.CHANGED, "now a folder")
    if isinstance(error, PermissionError):
        return Fault(FaultKind.FORBIDDEN, error.strerror or "")
    return Fault(FaultKind.UNREACHABLE, error.strerror or type(error).__name__)


async def _get_range(
    client: Any, place: Location, etag: str, wanted: tuple[int, int], reader: BodyReader
) -> Range | Fault:
    start, length = wanted
    asked = f"bytes={start}" if start < 0 else f"bytes={start}-{start + length - 1}"
    pinned = {"IfMatch": f'"{etag}"'} if etag else {}
    response = await client.get_object(Bucket=place.bucket, Key=place.key, Range=asked, **pinned)
    found = _CONTENT_RANGE.fullmatch(str(response.get("ContentRange", "")))
    first, last, total = (int(one) for one in found.groups()) if found else (0, 0, 0)
    begin = max(0, total + start) if start < 0 else start
    if not found or (first, last) != (begin, min(begin + length, total) - 1):
        async with response["Body"]:  # the whole object: it may be any size
            raise StorageError(
                "the store does not answer with the range it was asked for",
                where=place.uri,
                why=f"asked for {asked}, got {response.get('ContentRange', 'everything')}",
                fix="packs need a store that knows ranges; unpack them, or leave out --packed",
            )
    return Range(await reader.read(response), first, total)


def _fetch_object(storage: Storage, place: Location, ref: ImageRef, max_bytes: int) -> bytes | Fault:
    reader = storage.reader(place)
    return _answered(storage, place, lambda client: _get(client, place, ref.etag, max_bytes, reader))


def _answered(storage: Storage, place: Location, ask: Ask[T | Fault]) -> T | Fault:
    """The answer to a GET that may fail for this one object, or its fault."""
    try:
        return storage.request(ask, place=place, alone=True)
    except botocore.exceptions.ClientError as error:
        return _answer(error, place)
    except CONNECTION_ERRORS as error:
        return Fault(FaultKind.UNREACHABLE, f"{type(error).__name__} in {storage.spec.retries} tries")
    except REQUEST_ERRORS as error:  # a request that cannot be made is no fault of the image
        raise job_error(error, place) from error


async def _get(client: Any, place: Location, etag: str, max_bytes: int, reader: BodyReader) -> bytes | Fault:
    pinned = {"IfMatch": f'"{etag}"'} if etag else {}
    response = await client.get_object(Bucket=place.bucket, Key=place.key, **pinned)
    promised = int(response["ContentLength"])
    if promised > max_bytes:  # a list or manifest may not know the size, or be wrong
        async with response["Body"]:
            return Fault(FaultKind.TOO_LARGE, f"{promised} bytes, budget {max_bytes}")
    return await reader.read(response)


def _answer(error: botocore.exceptions.ClientError, place: Location) -> Fault:
    code, status = error_code(error), error_status(error)
    if code == "NoSuchBucket" or code in CREDENTIAL_CODES:
        raise job_error(error, place) from error
    if status == 404:
        return Fault(FaultKind.GONE, code)
    if status in {412, 416}:  # it is another one, or so much shorter that the range lies behind its end
        return Fault(FaultKind.CHANGED, code)
    if status in {401, 403}:
        return Fault(FaultKind.FORBIDDEN, code)
    return Fault(FaultKind.UNREACHABLE, f"{status} {code}")


def refuse_blanket_denial(outcomes: list[str], where: str) -> None:
    """Stop the job when a whole shard is forbidden or unreachable: that is the store's state, not the images'.

    Raises:
        BucketError: when all of at least 8 images are `FORBIDDEN`.
        StorageError: when all of at least 8 images are `UNREACHABLE`.
    """
    if len(outcomes) < 8 or len(set(outcomes)) != 1:
        return
    if outcomes[0] == FaultKind.FORBIDDEN:
        raise BucketError(
            "every object of a shard is forbidden",
            where=where,
            why="the credentials may list but not read",
            fix="grant s3:GetObject, then run again",
        )
    if outcomes[0] == FaultKind.UNREACHABLE:
        raise StorageError(
            "no object of a shard can be reached",
            where=where,
            why="the store fails for all alike",
            fix="run the same command again when the store is back",
        )
