"""EXIF blocks written by hand: orientations, thumbnails, rings and bombs.

Knows TIFF directories. Does not know which picture carries the block.
"""

import struct

SHORT, LONG = 3, 4
ORIENTATION, EXIF_IFD, THUMBNAIL_AT, THUMBNAIL_BYTES = 0x0112, 0x8769, 0x0201, 0x0202


def directory(order: str, entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """One directory of (tag, type, count, value), the values within it."""
    body = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        inline = struct.pack(order + "HH", value, 0) if kind == SHORT else struct.pack(order + "I", value)
        body += struct.pack(order + "HHI", tag, kind, count) + inline
    return body + struct.pack(order + "I", following)


def block(entries: list[tuple[int, int, int, int]], order: str = "<", following: int = 0, tail: bytes = b"") -> bytes:
    """A TIFF header, one directory at byte 8, and what follows it."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + directory(order, entries, following) + tail


def turned(orientation: int, order: str = "<") -> bytes:
    """A block that says only which way is up."""
    return block([(ORIENTATION, SHORT, 1, orientation)], order)


def with_thumbnail(thumbnail: bytes) -> bytes:
    """A second directory that holds a small JPEG."""
    start = 8 + 2 + 12 + 4
    entries = [(THUMBNAIL_AT, LONG, 1, start + 2 + 24 + 4), (THUMBNAIL_BYTES, LONG, 1, len(thumbnail))]
    return block([(ORIENTATION, SHORT, 1, 1)], following=start, tail=directory("<", entries) + thumbnail)


def ring() -> bytes:
    """A directory that names itself as its successor and as its own part."""
    return block([(ORIENTATION, SHORT, 1, 1), (EXIF_IFD, LONG, 1, 8)], following=8)


def huge_count() -> bytes:
    """A tag that claims four billion values."""
    return block([(ORIENTATION, SHORT, 1, 1), (0x9286, 7, 0xFFFFFFFF, 8)])
