"""Unpacking a listing: each pack in it gives way to the images that lie in it.

Knows which objects are packs, which members are images by their names, and how several packs are listed at once. Does
not know how members are read (`platform/packs.py`) nor what the store has planned before.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from assay.jobs.tar_index import read_tar
from assay.platform.errors import ManifestError, StorageError
from assay.platform.faults import FaultKind
from assay.platform.members import MAX_GROUP_ROWS, MAX_GROUPS, Member, Row, Slice, is_pack, is_tar
from assay.platform.parquet_rows import FOOTER_BYTES, Columns, chunk_span, find_columns
from assay.platform.ranges import PackUnread, RangeFile
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from assay.platform.uris import quote_name

PACKS_AT_ONCE = 4
"""Packs listed at the same time; each holds up to two windows."""
WAITING = 1024
"""Objects between two packs that wait for their turn."""

NOT_IMAGES = frozenset(
    {"cls", "cls2", "csv", "id", "idx", "index", "info", "json", "jsonl", "log", "md", "npy", "npz", "pickle", "pkl"}
    | {"pt", "pth", "pyd", "text", "transcript", "tsv", "txt", "xml", "yaml", "yml"}
)
"""Endings of names that, in and beside packs, are of texts, labels and numbers: WebDataset's companions of images."""

_COMPRESSED = (".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4", ".tar.z")
_MAGICS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in a pack: its images in the order of their uris, and how many files were left out."""

    refs: Iterable[ImageRef]
    left_out: int = 0


def says_no_image(name: str) -> bool:
    """Whether a name says that it is of no image."""
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return bool(dot) and ending.lower() in NOT_IMAGES


def unpack(
    storage: Storage, refs: Iterable[ImageRef], columns: tuple[str, ...], left_out: Callable[[int], None]
) -> Iterator[ImageRef]:
    """`refs`, sorted by `order_of`, with the images of each pack in its place: sorted by uri.

    Raises:
        ManifestError: a pack is compressed, or nobody can tell which of its columns are images.
        StorageError: a pack cannot be read, so nobody knows what it holds.
    """
    pool = ThreadPoolExecutor(PACKS_AT_ONCE, thread_name_prefix="unpack")
    waiting = deque[ImageRef | Future[Contents]]()

    def next_ones() -> Iterator[ImageRef]:
        one = waiting.popleft()
        if isinstance(one, ImageRef):
            yield one
            return
        contents = one.result()
        left_out(contents.left_out)
        yield from contents.refs

    try:
        for ref in refs:
            waiting.append(pool.submit(list_pack, storage, ref, columns) if is_pack(ref.uri) else ref)
            while len(waiting) > WAITING or sum(isinstance(one, Future) for one in waiting) > PACKS_AT_ONCE:
                yield from next_ones()
        while waiting:
            yield from next_ones()
    finally:
        pool.shutdown(cancel_futures=True)


def refuse_compressed(ref: ImageRef) -> None:
    """Refuse a tar whose name says that it is compressed: its members have no place that could be asked for.

    Raises:
        ManifestError: with what to do.
    """
    if ref.uri.lower().endswith(_COMPRESSED):
        raise _compressed(ref.uri)


def _compressed(where: str) -> ManifestError:
    return ManifestError(
        "a compressed tar cannot be read by range",
        where=where,
        why="what lies in it has no place of its own",
        fix="decompress it (images hardly shrink), or leave it out with --exclude",
    )


def list_pack(storage: Storage, pack: ImageRef, columns: tuple[str, ...] = ()) -> Contents:
    """What lies in a pack. One that is gone, changed, no pack or damaged is, or ends with, one ref that says so.

    Raises:
        ManifestError, StorageError: as `unpack`.
    """
    try:
        return _list_tar(storage, pack) if is_tar(pack.uri) else _list_rows(storage, pack, columns)
    except PackUnread as error:
        if error.fault.kind not in {FaultKind.GONE, FaultKind.CHANGED}:
            raise StorageError(
                "a pack cannot be read, so nobody knows what images it holds",
                where=pack.uri,
                why=str(error),
                fix="grant read access or try again later; --exclude leaves it out",
            ) from error
        return Contents([_whole(pack, error.fault.kind)])


def _whole(pack: ImageRef, fault: FaultKind) -> ImageRef:
    """One ref for all that a pack may hold."""
    return ImageRef(Member(pack.uri, Slice(0, pack.size), b"", fault).uri, pack.etag, pack.size)


def _list_tar(storage: Storage, pack: ImageRef) -> Contents:
    if not (pack.etag or pack.size):  # named in a list, and not found
        return Contents([_whole(pack, FaultKind.GONE)])
    file = RangeFile(storage, pack)
    if file.at(0, 6).startswith(_MAGICS):
        raise _compressed(pack.uri)
    refs, left_out = list[ImageRef](), 0
    for entry in read_tar(file.at, pack.size):
        if entry.fault is None and says_no_image(entry.name.decode("utf-8", "replace")):
            left_out += 1
            continue
        member = Member(pack.uri, Slice(entry.start, entry.size), entry.name, entry.fault)
        refs.append(ImageRef(member.uri, pack.etag, entry.size))
    return Contents(sorted(refs, key=lambda ref: ref.uri), left_out)


def _list_rows(storage: Storage, pack: ImageRef, named: tuple[str, ...]) -> Contents:
    if not pack.size:
        return Contents([_whole(pack, FaultKind.EMPTY if pack.etag else FaultKind.GONE)])
    try:
        with pq.ParquetFile(RangeFile.by_its_end(storage, pack, FOOTER_BYTES)) as file:
            facts, found = file.metadata, find_columns(file.schema_arrow)
    except PackUnread:
        raise
    except (OSError, pa.ArrowException):
        return Contents([_whole(pack, FaultKind.CORRUPT)])
    images = _chosen(pack, facts, found, named)
    if not images:
        return Contents([], left_out=1)
    _refuse_endless(pack, facts)
    return Contents(_rows(pack, facts, images))


def _chosen(pack: ImageRef, facts: pq.FileMetaData, found: Columns, named: tuple[str, ...]) -> tuple[str, ...]:
    """The columns to read: those asked for that the file has, or those that are images for all we can tell."""
    have = {facts.schema.column(index).path for index in range(len(facts.schema))}
    asked = tuple(path for name in named for path in (name, f"{name}.bytes") if path in have)
    if not asked and not found.images and found.unknown:
        raise ManifestError(
            "nobody can tell which column of a Parquet file holds images",
            where=pack.uri,
            why=f"binary columns, or lists of such: {', '.join(found.unknown)}",
            fix="name it with --image-columns (not a list: its images have no row of their own), or --exclude the file",
        )
    return tuple(sorted(asked or found.images, key=lambda path: quote_name(path.encode())))


def _refuse_endless(pack: ImageRef, facts: pq.FileMetaData) -> None:
    rows = max((facts.row_group(group).num_rows for group in range(facts.num_row_groups)), default=0)
    if facts.num_row_groups > MAX_GROUPS or rows > MAX_GROUP_ROWS:
        raise ManifestError(
            "a Parquet file has more rows than a uri can count",
            where=pack.uri,
            why=f"{facts.num_row_groups} row groups of up to {rows} rows",
            fix="split it",
        )


def _rows(pack: ImageRef, facts: pq.FileMetaData, columns: tuple[str, ...]) -> Iterator[ImageRef]:
    """A row's size is not known before it is read: its share of what its row group takes stands for it."""
    for group in range(facts.num_row_groups):
        rows = facts.row_group(group).num_rows
        spans = [chunk_span(facts, group, column) for column in columns]
        sizes = [(stop - start) // max(1, rows) for start, stop in spans]
        for row in range(rows):
            for column, size in zip(columns, sizes, strict=True):
                yield ImageRef(Member(pack.uri, Row(group, row), column.encode()).uri, pack.etag, size)
