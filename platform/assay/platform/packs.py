"""Reading images out of packs: the members a shard wants, with few large requests for ranges.

Knows how members become ranges, and what the fault of a range means for each of them. Does not know how packs are
listed, nor what images are. A body that is a range cannot be held against the etag, which speaks of the whole object:
its length and `If-Match` are all that vouches for it.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from assay.platform.errors import SpecError
from assay.platform.faults import Fault, FaultKind
from assay.platform.fetch import fetch, fetch_range
from assay.platform.members import Member, Row, Slice, column_of, parse_member
from assay.platform.parquet_rows import FOOTER_BYTES, read_ahead_limits, read_values
from assay.platform.ranges import WINDOW_BYTES, PackUnread, RangeFile
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage

GAP_BYTES = 2**20
"""Bytes between two wanted members that are read rather than leapt over."""
FOOTERS_KEPT = 16

Content = tuple[ImageRef, bytes | Fault]
"""A member, and its bytes or why there are none."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    ref: ImageRef
    member: Member


class PackReader:
    """Reads members. Keeps the footers of the last Parquet files; may be used from many threads."""

    def __init__(self, storage: Storage, max_bytes: int) -> None:
        self.storage, self.max_bytes = storage, max_bytes
        self._footers: OrderedDict[tuple[str, str], tuple[pq.FileMetaData, int]] = OrderedDict()
        self._turn = threading.Lock()

    def fetch(self, ref: ImageRef) -> bytes | Fault:
        """One image, whether it lies in a pack or is an object of its own.

        Raises:
            CredentialsError, BucketError, StorageError: as `fetch.fetch`.
        """
        if parse_member(ref.uri) is None:
            return fetch(self.storage, ref, self.max_bytes)
        [[(_, content)]] = self.read([ref])
        return content

    def read(self, refs: Sequence[ImageRef]) -> Iterator[list[Content]]:
        """The content of some members, each once, in lots of at most a window's bytes (or one large member).

        Raises:
            CredentialsError, BucketError, StorageError: what fails for every object alike.
        """
        wanted = [_Wanted(ref, _member_of(ref)) for ref in refs]
        for (pack, etag), some in groupby(wanted, key=lambda one: (one.member.pack, one.ref.etag)):
            members = list(some)
            known: list[Content] = [(one.ref, fault) for one in members if (fault := self._known_fault(one))]
            if known:
                yield known
            left = [one for one in members if self._known_fault(one) is None]
            yield from self._read_slices([one for one in left if isinstance(one.member.place, Slice)])
            rows = [one for one in left if isinstance(one.member.place, Row)]
            if rows:
                yield from self._read_rows(ImageRef(pack, etag, 0), rows)

    def _known_fault(self, one: _Wanted) -> Fault | None:
        """What is known without reading: planning found damage, or the member is too large."""
        place, fault = one.member.place, one.member.fault
        if fault is not None:
            return Fault(fault, "the pack is damaged here: what it holds of this could not be listed")
        if isinstance(place, Slice) and place.size > self.max_bytes:
            return Fault(FaultKind.TOO_LARGE, f"{place.size} bytes, budget {self.max_bytes}")
        return None

    def _read_slices(self, wanted: Sequence[_Wanted]) -> Iterator[list[Content]]:
        for run in _runs(wanted):
            first, (start, stop) = run[0], _span(run)
            found = (
                fetch_range(self.storage, first.member.pack, first.ref.etag, start, stop - start)
                if stop > start
                else None
            )
            if isinstance(found, Fault):
                yield [(one.ref, found) for one in run]
                continue
            data = memoryview(found.data if found else b"")
            yield [(one.ref, _cut(data, one.member.place, start)) for one in run]

    def _read_rows(self, pack: ImageRef, wanted: Sequence[_Wanted]) -> Iterator[list[Content]]:
        try:
            file, facts = self._open(pack)
        except PackUnread as error:
            yield [(one.ref, error.fault) for one in wanted]
            return
        except (OSError, pa.ArrowException) as error:
            yield [(one.ref, _corrupt(error)) for one in wanted]
            return
        for column in sorted({column_of(one.member) for one in wanted}):
            mine = [one for one in wanted if column_of(one.member) == column]
            yield from self._read_column(file, facts, column, mine)

    def _read_column(
        self, file: RangeFile, facts: pq.FileMetaData, column: str, wanted: Sequence[_Wanted]
    ) -> Iterator[list[Content]]:
        by_group = dict[int, dict[int, _Wanted]]()
        for one in wanted:
            assert isinstance(one.member.place, Row)
            by_group.setdefault(one.member.place.group, {})[one.member.place.row] = one
        try:
            limits = read_ahead_limits(facts, list(by_group), column)
        except KeyError:
            yield [(one.ref, Fault(FaultKind.CHANGED, "no such row group or column")) for one in wanted]
            return
        for group, rows in sorted(by_group.items()):
            file.limit = limits[group]
            yield from self._read_group(read_values(file, facts, group, column), rows)

    def _read_group(self, values: Iterator[bytes | None], rows: dict[int, _Wanted]) -> Iterator[list[Content]]:
        lot, held, left = list[Content](), 0, dict(rows)
        fault = Fault(FaultKind.CHANGED, "no such row")
        try:
            for number, value in enumerate(values):
                one = left.pop(number, None)
                if one is not None:
                    lot.append((one.ref, self._value(value)))
                    held += len(value or b"")
                if held >= WINDOW_BYTES:
                    yield lot
                    lot, held = [], 0
                if not left:
                    break
        except PackUnread as error:
            fault = error.fault
        except (OSError, pa.ArrowException) as error:
            fault = _corrupt(error)
        lot += [(one.ref, fault) for one in left.values()]
        if lot:
            yield lot

    def _value(self, value: bytes | None) -> bytes | Fault:
        if value is None:
            return Fault(FaultKind.EMPTY, "null")
        if len(value) > self.max_bytes:
            return Fault(FaultKind.TOO_LARGE, f"{len(value)} bytes, budget {self.max_bytes}")
        return value

    def _open(self, pack: ImageRef) -> tuple[RangeFile, pq.FileMetaData]:
        key = (pack.uri, pack.etag)
        with self._turn:
            known = self._footers.get(key)
        if known is not None:
            facts, size = known
            return RangeFile(self.storage, ImageRef(*key, size)), facts
        file = RangeFile.by_its_end(self.storage, pack, FOOTER_BYTES)
        facts = pq.read_metadata(file)
        with self._turn:
            self._footers[key] = facts, file.size
            while len(self._footers) > FOOTERS_KEPT:
                self._footers.popitem(last=False)
        return file, facts


def _member_of(ref: ImageRef) -> Member:
    member = parse_member(ref.uri)
    if member is None:
        raise SpecError("no member of a pack", where=ref.uri, why="a whole object", fix="fetch it as one")
    return member


def _runs(wanted: Sequence[_Wanted]) -> Iterator[list[_Wanted]]:
    """Slices in the order of their places, so that each run is one range of at most a window's bytes."""
    run = list[_Wanted]()
    for one in sorted(wanted, key=lambda one: (_slice(one).start, _slice(one).stop)):
        if run:
            start, stop = _span(run)
            place = _slice(one)
            if place.start - stop > GAP_BYTES or max(stop, place.stop) - start > WINDOW_BYTES:
                yield run
                run = []
        run.append(one)
    if run:
        yield run


def _slice(one: _Wanted) -> Slice:
    assert isinstance(one.member.place, Slice)
    return one.member.place


def _span(run: Sequence[_Wanted]) -> tuple[int, int]:
    return min(_slice(one).start for one in run), max(_slice(one).stop for one in run)


def _cut(data: memoryview, place: Slice | Row, origin: int) -> bytes | Fault:
    assert isinstance(place, Slice)
    content = bytes(data[place.start - origin : place.stop - origin])
    return content if len(content) == place.size else Fault(FaultKind.CHANGED, "the pack ends before this")


def _corrupt(error: Exception) -> Fault:
    return Fault(FaultKind.CORRUPT, f"the Parquet file cannot be read here: {str(error).splitlines()[0][:200]}")
