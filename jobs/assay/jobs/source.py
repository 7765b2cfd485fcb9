"""A source: the folder, bucket prefix, Parquet manifest or text list that names the images of a corpus.

Knows how each becomes a sorted stream of `ImageRef`s. Does not know shards, stores or what was seen before, nor what
lies in packs (`unpacking.py`).
"""

import fnmatch
import heapq
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import botocore.exceptions
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from assay.platform.errors import ManifestError
from assay.platform.fetch import file_etag
from assay.platform.listing import list_objects
from assay.platform.members import is_pack, order_of
from assay.platform.refusals import CREDENTIAL_CODES, REQUEST_ERRORS, Trouble, error_code, job_error, trouble_of
from assay.platform.rows import ImageRef
from assay.platform.spec import Spec
from assay.platform.storage import Storage
from assay.platform.uris import Location, file_uri, parse_uri, relative_uri, shown_name

LOOKUPS_AT_ONCE = 32
"""Uris of a list without etags asked for at the same time."""

_LISTS = (".txt", ".lst", ".list", ".uris")


class SourceSpec(Spec):
    """Which images: everything under the source, unless patterns say otherwise."""

    include: tuple[str, ...] = Field(
        (), description="plan only names that match one of these patterns (* also matches /)"
    )
    exclude: tuple[str, ...] = Field((), description="leave out names that match one of these patterns")
    packed: bool = Field(
        False,
        description="objects whose names end in .tar or .parquet are packs: plan the images in them; patterns choose "
        "whole packs",
    )
    image_columns: tuple[str, ...] = Field(
        (), description="columns of Parquet packs that hold images; unset: told from names and types"
    )

    def wants(self, name: str) -> bool:
        """Whether an object of this name, relative to the source, is planned."""
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.include)


def source_root(source: str) -> str:
    """The uri that names are relative to: the folder or prefix itself; empty for a list, whose uris stand whole."""
    place = parse_uri(source)
    if _is_parquet(source) or _is_list(source):  # a Parquet file that is a pack has whole uris, too
        return ""
    return place.uri.rstrip("/") if place.is_s3 else file_uri(os.fsencode(Path(place.key).resolve()))


def read_source(storage: Storage, source: str, spec: SourceSpec) -> Iterator[ImageRef]:
    """The images of `source` that the spec wants, sorted by uri, each uri once; packs among them are whole still, and
    stand where what lies in them will (`order_of`).

    Raises:
        ManifestError: a manifest or list that cannot be read, or names a uri twice.
        BucketError, CredentialsError, StorageError: as `list_objects`.
    """
    shown_root = shown_name(source_root(source))
    refs = _read_refs(storage, source, spec)
    wanted = (ref for ref in refs if spec.wants(relative_uri(shown_name(ref.uri), shown_root)))
    return _packs_last(wanted) if spec.packed else wanted


def _read_refs(storage: Storage, source: str, spec: SourceSpec) -> Iterator[ImageRef]:
    if _is_list(source):
        return _look_up(storage, _read_list(storage, source))
    place = parse_uri(source)
    if spec.packed and is_pack(source) and (place.is_s3 or not Path(place.key).is_dir()):
        return _look_up(storage, [place.uri if place.is_s3 else file_uri(os.fsencode(Path(place.key).resolve()))])
    return _read_manifest(storage, source) if _is_parquet(source) else list_objects(storage, source)


def _packs_last(refs: Iterator[ImageRef]) -> Iterator[ImageRef]:
    """`refs`, sorted by uri, in the order of what lies in them: `a.tar b` comes before `a.tar!/…`."""
    held: list[tuple[str, ImageRef]] = []
    for ref in refs:
        while held and held[0][0] <= ref.uri:
            yield heapq.heappop(held)[1]
        if is_pack(ref.uri):
            heapq.heappush(held, (order_of(ref), ref))
        else:
            yield ref
    yield from (ref for _, ref in sorted(held, key=lambda one: one[0]))


def _is_parquet(source: str) -> bool:
    return source.lower().endswith(".parquet")


def _is_list(source: str) -> bool:
    return source.lower().endswith(_LISTS)


def _refuse_twins(uris: Sequence[str], source: str) -> list[str]:
    """`uris`, sorted; a listing of a bucket cannot name an object twice, a manifest or a list can."""
    ordered = sorted(uris)
    for one, other in itertools.pairwise(ordered):
        if one == other:
            raise ManifestError(
                "the source names an image twice",
                where=source,
                why=f"duplicate uri: {one}",
                fix="name each uri once; two versions of one object cannot both be its content",
            )
    return ordered


def _read_bytes(storage: Storage, source: str) -> bytes:
    data = storage.read(source)
    if data is None:
        raise ManifestError("no such manifest or list", where=source, why="nothing is there", fix="check the path")
    return data


def _read_list(storage: Storage, source: str) -> list[str]:
    """Uris or local paths, one a line; blank lines and lines that begin with # are skipped."""
    try:
        lines = _read_bytes(storage, source).decode("utf-8-sig").split("\n")  # keys may hold any other line break
    except UnicodeDecodeError as error:
        raise ManifestError(
            "the list is not UTF-8 text", where=source, why=str(error), fix="percent-encode odd bytes in file:// uris"
        ) from error
    stripped = (line.strip(" \t\r") for line in lines)
    named = [line for line in stripped if line and not line.startswith("#")]
    return _refuse_twins([parse_uri(name).uri for name in named], source)


def _read_manifest(storage: Storage, source: str) -> Iterator[ImageRef]:
    """Columns uri, etag, size; or those of an S3 inventory: bucket, key, e_tag, size.

    Keys of an inventory are url-encoded in its CSV form only, not in Parquet.
    """
    try:
        table = pq.read_table(pa.BufferReader(_read_bytes(storage, source)))
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(
            "not a Parquet file", where=source, why=str(error), fix="write it with columns uri, etag, size"
        ) from error
    names = set(table.column_names)
    uris = _manifest_uris(table, names, source)
    ordered = _refuse_twins(uris, source)
    etags = next((table[name].to_pylist() for name in ("etag", "e_tag") if name in names), None)
    if etags is None or "size" not in names:
        return _look_up(storage, ordered)
    sizes = table["size"].to_pylist()
    refs = [ImageRef(u, str(e or "").strip('"'), int(s or 0)) for u, e, s in zip(uris, etags, sizes, strict=True)]
    return iter(sorted(refs, key=lambda ref: ref.uri))


def _manifest_uris(table: pa.Table, names: set[str], source: str) -> list[str]:
    if "uri" in names:
        written = table["uri"].to_pylist()
    elif {"bucket", "key"} <= names:
        buckets, keys = table["bucket"].to_pylist(), table["key"].to_pylist()
        written = [f"s3://{bucket}/{key}" for bucket, key in zip(buckets, keys, strict=True)]
    else:
        raise ManifestError(
            "the manifest has no uris",
            where=source,
            why=f"columns: {', '.join(sorted(names))}",
            fix="name the column `uri` (or `bucket` and `key`, as S3 inventories do)",
        )
    if not all(isinstance(uri, str) and uri for uri in written):
        raise ManifestError(
            "the manifest has an empty uri", where=source, why="null or empty", fix="leave such rows out"
        )
    return [parse_uri(uri).uri for uri in written]


def _look_up(storage: Storage, uris: Sequence[str]) -> Iterator[ImageRef]:
    """Sizes and etags of named objects. What is not there is planned all the same: it ends as GONE, not as silence."""
    with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
        yield from pool.map(lambda uri: _look(storage, uri), uris)


def _head(storage: Storage, place: Location) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        return storage.request(lambda client: client.head_object(Bucket=place.bucket, Key=place.key), place=place)

    try:
        return ask()
    except botocore.exceptions.ClientError as error:
        # The refusal of a HEAD has no reason. This request hears it, and waits if it passes.
        _refuse_what_concerns_all(storage, place)
        if trouble_of(error) is not Trouble.DENIED:
            raise
        return ask()


def _look(storage: Storage, uri: str) -> ImageRef:
    place = parse_uri(uri)
    if not place.is_s3:
        try:
            facts = Path(place.key).stat()
        except OSError:  # fetching will say what is wrong with it, in its row
            return ImageRef(uri, "", 0)
        return ImageRef(uri, file_etag(facts), facts.st_size)
    try:
        head = _head(storage, place)
    except botocore.exceptions.ClientError:
        return ImageRef(uri, "", 0)
    except REQUEST_ERRORS as error:
        raise job_error(error, place) from error
    return ImageRef(uri, str(head["ETag"]).strip('"'), int(head["ContentLength"]))


def _refuse_what_concerns_all(storage: Storage, place: Location) -> None:
    """The answer to a refused HEAD has no body, and so no reason. Ask for the first byte, to hear the reason."""
    try:
        storage.request(lambda client: _first_byte(client, place))
    except botocore.exceptions.ClientError as error:
        if error_code(error) in CREDENTIAL_CODES | {"NoSuchBucket"}:
            raise job_error(error, place) from error
    except REQUEST_ERRORS as error:
        raise job_error(error, place) from error


async def _first_byte(client: Any, place: Location) -> None:
    response = await client.get_object(Bucket=place.bucket, Key=place.key, Range="bytes=0-0")
    async with response["Body"]:
        return
