"""Whole objects in a bucket: written, read, removed, listed.

Knows the requests of S3 and which answers are no errors. Does not know clients, nor how often and how long a request is
asked again; `disk.py` is its counterpart for folders.
"""

from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import botocore.exceptions

from assay.platform.body import BodyReader
from assay.platform.refusals import REQUEST_ERRORS, Trouble, error_code, job_error, trouble_of
from assay.platform.stored import StoredFile
from assay.platform.uris import Location

PAGE = 1000
"""Objects of one answer to a listing; S3 gives no more."""

T = TypeVar("T")
Ask = Callable[[Any], Coroutine[Any, Any, T]]
"""One request, made with the client it is given."""


class Asker(Protocol):
    """Makes requests; `storage.Storage` is the one there is."""

    def request(self, ask: Ask[T], *, place: Location | None = None, alone: bool = False) -> T:
        """Make a request, again while it fails."""

    def reader(self, place: Location) -> BodyReader:
        """A reader for the body of one object."""


async def first_key(client: Any, place: Location) -> None:
    """The cheapest request that says how the store is and what it thinks of the credentials."""
    await client.list_objects_v2(Bucket=place.bucket, Prefix=place.key, MaxKeys=1)


def put_object(asker: Asker, place: Location, data: bytes, *, if_absent: bool) -> bool:
    """Write one object. With `if_absent`, False when another is there; one with the very same bytes is ours, since the
    answer to a first try may have been lost."""
    condition = {"IfNoneMatch": "*"} if if_absent else {}

    async def put(client: Any) -> None:
        await client.put_object(Bucket=place.bucket, Key=place.key, Body=data, **condition)

    try:
        asker.request(put, place=place)
    except botocore.exceptions.ClientError as error:
        if if_absent and error_code(error) in {"PreconditionFailed", "412"}:
            return get_object(asker, place) == data
        raise job_error(error, place) from error
    except REQUEST_ERRORS as error:
        raise job_error(error, place) from error
    return True


def get_object(asker: Asker, place: Location) -> bytes | None:
    """One whole object, or None when it is not there."""
    reader = asker.reader(place)

    async def get(client: Any) -> bytes:
        return await reader.read(await client.get_object(Bucket=place.bucket, Key=place.key))

    try:
        return asker.request(get, place=place)
    except botocore.exceptions.ClientError as error:
        if error_code(error) in {"NoSuchKey", "404"}:
            return None
        raise job_error(error, place) from error
    except REQUEST_ERRORS as error:
        raise job_error(error, place) from error


def delete_object(asker: Asker, place: Location) -> None:
    """Remove one object; nothing happens when it is not there."""

    async def delete(client: Any) -> None:
        await client.delete_object(Bucket=place.bucket, Key=place.key)

    try:
        asker.request(delete, place=place)
    except (botocore.exceptions.ClientError, *REQUEST_ERRORS) as error:
        raise job_error(error, place) from error


def head_object(asker: Asker, place: Location) -> StoredFile | None:
    """Size and time of one object, or None when it is not there."""
    try:
        return _head(asker, place)
    except botocore.exceptions.ClientError as error:
        if error_code(error) in {"404", "NoSuchKey"}:
            return None
        raise job_error(error, place) from error
    except REQUEST_ERRORS as error:
        raise job_error(error, place) from error


def _head(asker: Asker, place: Location) -> StoredFile:
    async def head(client: Any) -> StoredFile:
        answer = await client.head_object(Bucket=place.bucket, Key=place.key)
        return StoredFile("", int(answer["ContentLength"]), answer["LastModified"].timestamp())

    try:
        return asker.request(head, place=place)
    except botocore.exceptions.ClientError as error:
        if trouble_of(error) is not Trouble.DENIED:
            raise
        # The refusal of a HEAD has no body, so no reason. Another request hears it, and waits if it passes.
        asker.request(partial(first_key, place=place), place=place)
        return asker.request(head, place=place)


def list_objects(asker: Asker, place: Location, after: str = "") -> Iterator[StoredFile]:
    """Every object below a prefix whose name there is greater than `after`, page by page, as the store orders them."""
    stem = f"{place.key.rstrip('/')}/" if place.key else ""
    token: str | None = None
    while True:
        page = _page(asker, Location(place.bucket, stem), after and f"{stem}{after}", token)
        for one in page.get("Contents", []):
            if one["Key"] != stem:
                yield StoredFile(one["Key"][len(stem) :], int(one["Size"]), one["LastModified"].timestamp())
        token = page.get("NextContinuationToken")
        if not page.get("IsTruncated"):
            return


def _page(asker: Asker, place: Location, after: str, token: str | None) -> dict[str, Any]:
    following = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}

    async def page(client: Any) -> dict[str, Any]:
        return dict(await client.list_objects_v2(Bucket=place.bucket, Prefix=place.key, MaxKeys=PAGE, **following))

    try:
        return asker.request(page, place=place)
    except (botocore.exceptions.ClientError, *REQUEST_ERRORS) as error:
        raise job_error(error, place) from error
