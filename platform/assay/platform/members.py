"""Members of packs: the images that lie, many together, in one stored object, and how their uris are written.

    s3://bucket/0001.tar!/000000000001536+48211/cats/1.jpg      48,211 bytes of a tar, from byte 1,536 on
    s3://bucket/a.parquet!/000003.000000012/image.bytes         row 12 of row group 3, and its column
    s3://bucket/0001.tar!/000000000900096+512/?TRUNCATED        what of a damaged pack could not be listed, and why

A uri says where the bytes are: nobody needs the manifest to find them. The place comes before the name so that uris
sort as bytes lie, and so that names that occur twice stay apart. Names are percent-encoded as those of local files are.
Knows spellings. Does not know how packs are listed or read.
"""

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from assay.platform.faults import FaultKind
from assay.platform.rows import ImageRef
from assay.platform.uris import quote_name

MARK = "!/"
"""Between a pack's uri and what lies in it; no other uri has it after such an ending (`uris.py`)."""
MAX_GROUPS, MAX_GROUP_ROWS = 10**6, 10**9
"""What the digits of a row's uri have room for."""

_MEMBER = re.compile(
    r"(?P<pack>.*?\.(?i:tar|parquet))!/"
    r"(?:(?P<start>\d{15})\+(?P<size>\d+)|(?P<group>\d{6})\.(?P<row>\d{9}))"
    r"/(?P<name>[^?]*)(?:\?(?P<fault>[A-Z_]+))?",
    re.DOTALL | re.ASCII,
)
_FAULTS = {kind.value: kind for kind in FaultKind}
_TAR, _PARQUET = ".tar", ".parquet"


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes of a tar."""

    start: int
    size: int

    @property
    def stop(self) -> int:
        """The first byte after it."""
        return self.start + self.size

    def __str__(self) -> str:
        return f"{self.start:015d}+{self.size}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a Parquet file, counted within its row group."""

    group: int
    row: int

    def __str__(self) -> str:
        return f"{self.group:06d}.{self.row:09d}"


@dataclass(frozen=True, slots=True)
class Member:
    """Something in a pack: an image or, with a `fault`, what could not be listed. `name` is the column of a row."""

    pack: str
    place: Slice | Row
    name: bytes
    fault: FaultKind | None = None

    @property
    def uri(self) -> str:
        """The member in writing; `parse_member` is its inverse."""
        fault = f"?{self.fault.value}" if self.fault else ""
        return f"{self.pack}{MARK}{self.place}/{quote_name(self.name)}{fault}"


def is_pack(uri: str) -> bool:
    """Whether an object's name says that it holds many."""
    return uri.lower().endswith((_TAR, _PARQUET))


def is_tar(pack: str) -> bool:
    """Whether a pack is a tar, not a Parquet file."""
    return pack.lower().endswith(_TAR)


def parse_member(uri: str) -> Member | None:
    """The member a uri names; None for the uri of a whole object."""
    found = _MEMBER.fullmatch(uri) if MARK in uri else None
    if found is None:
        return None
    is_slice = found["start"] is not None
    place = Slice(int(found["start"]), int(found["size"])) if is_slice else Row(int(found["group"]), int(found["row"]))
    fault = _FAULTS.get(found["fault"], FaultKind.CORRUPT) if found["fault"] else None
    return Member(found["pack"], place, unquote_to_bytes(found["name"]), fault)


def pack_of(uri: str) -> str:
    """The uri of the pack a member lies in; empty for a whole object."""
    member = parse_member(uri)
    return member.pack if member else ""


def order_of(ref: ImageRef) -> str:
    """What a listing's objects are sorted by, so that the uris of what lies in them are sorted, too."""
    return ref.uri + MARK if is_pack(ref.uri) else ref.uri


def column_of(member: Member) -> str:
    """The column of a Parquet row."""
    return os.fsdecode(member.name)
