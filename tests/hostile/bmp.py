"""BMP files written field by field.

Knows the bitmap formats of Windows and OS/2. Does not know what a reader makes of the file.
"""

import struct

import numpy as np

from tests.hostile.case import Samples

NO_COMPRESSION, RLE8, RLE4, BITFIELDS = 0, 1, 2, 3


def rows(samples: Samples, bits: int) -> bytes:
    """Rows from the bottom up, each filled up to four bytes."""
    out = b""
    for row in samples[::-1]:
        if bits >= 8:
            packed = row.tobytes()
        else:
            digits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - bits :]
            packed = np.packbits(digits.reshape(-1)).tobytes()
        out += packed + b"\0" * (-len(packed) % 4)
    return out


def bmp(
    width: int,
    height: int,
    bits: int,
    pixels: bytes,
    colours: Samples | None = None,
    compression: int = NO_COMPRESSION,
    masks: tuple[int, ...] = (),
    header_bytes: int = 40,
    gap: int = 0,
    planes: int = 1,
    start: int | None = None,
    used: int = 0,
) -> bytes:
    """A whole file; `masks` follow the 40 bytes of fields, within the header where it is longer."""
    fields = struct.pack("<IiiHHIIiiII", header_bytes, width, height, planes, bits, compression, 0, 2835, 2835, used, 0)
    fields += b"".join(struct.pack("<I", mask) for mask in masks)
    fields = fields.ljust(header_bytes, b"\0")
    table = b"" if colours is None else np.insert(colours[:, ::-1], 3, 0, axis=1).astype(np.uint8).tobytes()
    body_at = 14 + len(fields) + len(table) + gap
    size = body_at + len(pixels)
    return (
        b"BM"
        + struct.pack("<IHHI", size, 0, 0, body_at if start is None else start)
        + fields
        + table
        + bytes(gap)
        + pixels
    )


def os2(samples: Samples, colours: Samples) -> bytes:
    """The oldest header, of 12 bytes, with three bytes per colour."""
    height, width = samples.shape
    table = colours[:, ::-1].astype(np.uint8).tobytes()
    pixels = rows(samples.astype(np.uint8), 8)
    start = 14 + 12 + len(table)
    head = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return head + struct.pack("<IHHHH", 12, width, height, 1, 8) + table + pixels


def runs(samples: Samples) -> bytes:
    """RLE8: each row as runs, then the end of the row."""
    out = b""
    for row in samples[::-1].tolist():
        at = 0
        while at < len(row):
            end = at
            while end < len(row) and row[end] == row[at] and end - at < 255:
                end += 1
            out += bytes([end - at, row[at]])
            at = end
        out += b"\0\0"
    return out + b"\0\1"
