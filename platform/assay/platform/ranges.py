"""One stored object as a file that is read by range: few large requests, however small the reads.

Knows windows. Does not know what the object holds; each request is pinned to the version that was listed.
"""

import io
from dataclasses import dataclass

from assay.platform.faults import Fault
from assay.platform.fetch import Range, fetch_range
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage

WINDOW_BYTES = 48 * 2**20
"""Bytes of one request, at most: a shard of 256 images of 190 KB."""
PEEK_BYTES = 2**16
"""Bytes asked for after a leap over more than a window: large members follow on each other, and only heads are read."""


class PackUnread(OSError):
    """A range could not be had. Carries the fault through whoever reads the file."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.kind}: {fault.detail}")
        self.fault = fault


@dataclass(slots=True)
class _Window:
    start: int
    data: bytes

    @property
    def stop(self) -> int:
        return self.start + len(self.data)


class RangeFile(io.RawIOBase):
    """A seekable file. `limit`, when set, is where reading ahead ends.

    Reads raise `PackUnread` when the object is gone, changed or refused.
    """

    def __init__(self, storage: Storage, pack: ImageRef, window_bytes: int = WINDOW_BYTES) -> None:
        self.pack = pack
        self.size = pack.size
        self.limit: int | None = None
        self.requests = 0
        self._storage, self._window_bytes = storage, window_bytes
        self._window, self._place = _Window(0, b""), 0

    @classmethod
    def by_its_end(cls, storage: Storage, pack: ImageRef, length: int) -> "RangeFile":
        """A file whose last `length` bytes are read first; that also tells its size."""
        file = cls(storage, pack)
        found = file._fetch(-length, length)
        file.size = found.total
        file._window = _Window(found.start, found.data)
        return file

    def at(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on, less behind the end of the file."""
        stop = min(start + length, self.size)
        if start >= stop:
            return b""
        if not self._window.start <= start <= stop <= self._window.stop:
            self._read_ahead(start, stop)
        first = start - self._window.start
        return self._window.data[first : first + stop - start]

    def _read_ahead(self, start: int, stop: int) -> None:
        """Move the window so that it has the bytes; what it has of them already is not asked for again."""
        held = self._window
        kept = held.data[start - held.start :] if held.start <= start < held.stop else b""
        begin = start + len(kept)
        leapt = bool(held.data) and self.limit is None and start - held.stop > self._window_bytes
        ahead = begin + (PEEK_BYTES if leapt else self._window_bytes)
        end = max(stop, min(ahead, self.size if self.limit is None else min(self.limit, self.size)))
        data = self._fetch(begin, end - begin).data
        self._window = _Window(start, kept + data)

    def _fetch(self, start: int, length: int) -> Range:
        self.requests += 1
        found = fetch_range(self._storage, self.pack.uri, self.pack.etag, start, length)
        if isinstance(found, Fault):
            raise PackUnread(found)
        return found

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        self._place = origin + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self.at(self._place, self.size if size < 0 else size)
        self._place += len(data)
        return data
