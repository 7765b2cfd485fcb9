"""JPEG files taken apart into segments and put together otherwise.

Knows markers and segments; the compressed scans are Pillow's work. Does not know what a reader makes of the file.
"""

import io
import struct

import numpy as np
from PIL import Image

from tests.hostile.case import Samples

START, END = b"\xff\xd8", b"\xff\xd9"
SCAN = 0xDA
APP1, APP2, APP14, COMMENT = 0xE1, 0xE2, 0xEE, 0xFE


def jpeg(samples: Samples, mode: str = "RGB", **options: object) -> bytes:
    """As good as JPEG gets, unless told otherwise: quality 100, colours at full resolution."""
    file = io.BytesIO()
    settings = {"quality": 100, "subsampling": 0, **options}
    Image.fromarray(np.ascontiguousarray(samples, np.uint8), mode).save(file, "JPEG", **settings)
    return file.getvalue()


def segment(marker: int, body: bytes, length: int | None = None) -> bytes:
    """A marker with a body; `length` is a lie where given."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2 if length is None else length) + body


def parts(data: bytes) -> list[tuple[int, bytes]]:
    """(marker, body) of each segment; the last is the first scan with all that follows it."""
    found, at = [], 2
    while data[at + 1] != SCAN:
        (length,) = struct.unpack_from(">H", data, at + 2)
        found.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return [*found, (SCAN, data[at:])]


def join(segments: list[tuple[int, bytes]]) -> bytes:
    """The inverse of `parts`."""
    return START + b"".join(body if marker == SCAN else segment(marker, body) for marker, body in segments)


def insert(data: bytes, *extra: bytes) -> bytes:
    """Segments right after the start."""
    return START + b"".join(extra) + data[2:]


def without(data: bytes, *markers: int) -> bytes:
    """All segments but these."""
    return join([part for part in parts(data) if part[0] not in markers])


def resized(data: bytes, width: int, height: int) -> bytes:
    """Another size claimed, over the same scan."""
    return join(
        [
            (marker, body[:1] + struct.pack(">HH", height, width) + body[5:] if marker in (0xC0, 0xC2) else body)
            for marker, body in parts(data)
        ]
    )


def remarked(data: bytes, old: int, new: int) -> bytes:
    """One marker under another number."""
    return join([(new if marker == old else marker, body) for marker, body in parts(data)])


def exif_segment(block: bytes) -> bytes:
    """EXIF in its APP1."""
    return segment(APP1, b"Exif\0\0" + block)


def profile_segments(profile: bytes, pieces: int = 1) -> list[bytes]:
    """A profile in one or more APP2."""
    step = -(-len(profile) // pieces)
    cuts = [profile[at : at + step] for at in range(0, len(profile), step)]
    return [segment(APP2, b"ICC_PROFILE\0" + bytes([at + 1, len(cuts)]) + cut) for at, cut in enumerate(cuts)]
