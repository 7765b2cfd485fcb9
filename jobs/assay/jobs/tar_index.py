"""The index of a tar: where each file in it lies, told from its headers alone.

Knows the formats of tar (v7, ustar, GNU, PAX). Does not know what files hold, nor how bytes are had. Nothing of a
damaged tar passes in silence: what cannot be listed is an entry with a fault.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from assay.platform.faults import FaultKind

BLOCK = 512
NAME_BYTES = 2**20
"""A long name or PAX header of more is no name."""
ZEROS_AT_ONCE = 2**16

At = Callable[[int, int], bytes]
"""`at(start, length)`: bytes of the tar, fewer only behind its end."""

_EMPTY_TYPES = frozenset(
    {tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE}
)
_NO_FILES = frozenset({b"D", b"V"})  # GNU: the names in a folder, the label of a volume
_PAX, _PAX_OF_ALL = frozenset({tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}), tarfile.XGLTYPE
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tar or, with a `fault`, what could not be listed, and where."""

    start: int
    size: int
    name: bytes
    fault: FaultKind | None = None


class _Damaged(Exception):
    """Nothing behind `start` can be told."""

    def __init__(self, start: int, fault: FaultKind, name: bytes = b"") -> None:
        super().__init__(start, fault)
        self.start, self.fault, self.name = start, fault, name


@dataclass(slots=True)
class _Walk:
    at: At
    size: int
    place: int = 0
    ended: bool = False
    """Whether the last thing read was the mark of an end."""
    pax: dict[str, bytes] = field(default_factory=dict)
    """What headers said of all that follow."""
    said: dict[str, bytes] = field(default_factory=dict)
    """What headers said of the next one."""

    def entries(self) -> Iterator[Entry]:
        if not self.size:
            yield Entry(0, 0, b"", FaultKind.EMPTY)
            return
        try:
            while self.place < self.size:
                entry = self._step()
                if entry is not None:
                    yield entry
        except _Damaged as damage:
            yield Entry(damage.start, self.size - damage.start, damage.name, damage.fault)
            return
        if self.said or not self.ended:  # cut just there, or never finished
            yield Entry(self.size, 0, b"", FaultKind.TRUNCATED)

    def _step(self) -> Entry | None:
        """Read one header and leap over what belongs to it; the file it begins, if it begins one."""
        begin, header = self.place, self._header()
        if header is None:
            self._skip_zeros()
            return None
        self.ended = False
        self.place += BLOCK
        if header.type in _PAX or header.type == _PAX_OF_ALL or header.type in _LONG:
            self._read_words(begin, header)
            return None
        said, self.said = {**self.pax, **self.said}, {}
        name = said.get("path", header.name.encode("utf-8", "surrogateescape"))
        if header.type in _EMPTY_TYPES or (header.type == tarfile.AREGTYPE and name.endswith(b"/")):
            return None
        is_sparse = header.type == tarfile.GNUTYPE_SPARSE or any(word.startswith("GNU.sparse.") for word in said)
        if header.type == tarfile.GNUTYPE_SPARSE:
            self._skip_sparse_map(begin)
        start, size = self.place, _size(begin, header, said)
        if start + size > self.size:
            raise _Damaged(min(start, self.size), FaultKind.TRUNCATED, name)
        self.place += -(-size // BLOCK) * BLOCK
        if header.type in _NO_FILES:
            return None
        return Entry(start, size, name, FaultKind.UNSUPPORTED_FORMAT if is_sparse else None)

    def _header(self) -> tarfile.TarInfo | None:
        """The header here; None for a block of zeros."""
        block = self.at(self.place, BLOCK)
        if not any(block):
            return None
        if len(block) < BLOCK:
            raise _Damaged(self.place, FaultKind.TRUNCATED)
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _Damaged(self.place, FaultKind.CORRUPT) from error
        if block[156:157] == tarfile.AREGTYPE and header.isdir():
            # A folder of old, by its name's slash; but only the whole name, which may stand elsewhere, tells.
            header.type, header.name = tarfile.AREGTYPE, f"{header.name}/"
        return header

    def _skip_zeros(self) -> None:
        """Zeros mark the end. What follows them is read all the same: tars that were put one behind the other."""
        if self.said:
            raise _Damaged(self.place, FaultKind.CORRUPT)
        zeros = self.at(self.place, ZEROS_AT_ONCE)
        blank = len(zeros) - len(zeros.lstrip(b"\0"))
        self.ended = True
        self.place += blank if blank == len(zeros) else blank // BLOCK * BLOCK

    def _read_words(self, begin: int, header: tarfile.TarInfo) -> None:
        size = header.size
        if not 0 <= size <= NAME_BYTES:
            raise _Damaged(begin, FaultKind.CORRUPT)
        data = self.at(self.place, size)
        if len(data) < size:
            raise _Damaged(begin, FaultKind.TRUNCATED)
        self.place += -(-size // BLOCK) * BLOCK
        if header.type in _LONG:
            self.said.setdefault(_LONG[header.type], data.split(b"\0", 1)[0])
            return
        words = dict(_pax_words(begin, data))
        if header.type == _PAX_OF_ALL:
            self.pax |= words
        else:
            self.said = words | self.said

    def _skip_sparse_map(self, begin: int) -> None:
        more = self.at(begin, BLOCK)[482]
        while more:
            block = self.at(self.place, BLOCK)
            if len(block) < BLOCK:
                raise _Damaged(begin, FaultKind.TRUNCATED)
            self.place, more = self.place + BLOCK, block[504]


def read_tar(at: At, size: int) -> Iterator[Entry]:
    """The files of a tar of `size` bytes, in the order of their places. Links, folders and devices are none.

    Raises:
        OSError: as `at` does.
    """
    return _Walk(at, size).entries()


def _size(begin: int, header: tarfile.TarInfo, said: dict[str, bytes]) -> int:
    try:
        size = int(said["size"]) if "size" in said else header.size
    except ValueError as error:
        raise _Damaged(begin, FaultKind.CORRUPT) from error
    if size < 0:
        raise _Damaged(begin, FaultKind.CORRUPT)
    return size


def _pax_words(begin: int, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The records of a PAX header: `LENGTH KEYWORD=VALUE` and a line's end, of LENGTH bytes in all."""
    place = 0
    while place < len(data) and data[place]:
        digits, _, _ = data[place : place + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = data[place : place + length]
        word, mark, value = record[len(digits) + 1 : -1].partition(b"=")
        if not mark or len(record) < length or record[-1:] != b"\n":
            raise _Damaged(begin, FaultKind.CORRUPT)
        yield word.decode("utf-8", "surrogateescape"), value
        place += length
