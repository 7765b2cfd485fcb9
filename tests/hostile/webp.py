"""WebP files put together from chunks.

Knows the RIFF container; the pictures within are Pillow's work. Does not know what a reader makes of the file.
"""

import io
import struct

import numpy as np
from PIL import Image

from tests.hostile.case import Samples

PROFILE, ALPHA, EXIF, XMP, ANIMATION = 0x20, 0x10, 0x08, 0x04, 0x02
"""Flags of the extended header."""


def webp(samples: Samples, lossless: bool = True, **options: object) -> bytes:
    """A plain file, lossless with the colours under alpha 0 kept, unless told otherwise."""
    file = io.BytesIO()
    settings = {"lossless": lossless, "quality": 100, "exact": True, **options}
    Image.fromarray(np.ascontiguousarray(samples, np.uint8)).save(file, "WEBP", **settings)
    return file.getvalue()


def chunk(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    """One chunk, filled up to an even length; `length` is a lie where given."""
    return kind + struct.pack("<I", len(body) if length is None else length) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes, length: int | None = None) -> bytes:
    """A whole file; `length` is a lie where given."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def chunks(data: bytes) -> dict[bytes, bytes]:
    """The body of each chunk, by name."""
    found, at = {}, 12
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        found[data[at : at + 4]] = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return found


def picture(data: bytes) -> bytes:
    """The chunks of a plain file that hold its pixels, to be put elsewhere."""
    return b"".join(chunk(kind, body) for kind, body in chunks(data).items() if kind in (b"VP8 ", b"VP8L", b"ALPH"))


def extended(width: int, height: int, flags: int) -> bytes:
    """The extended header."""
    return chunk(
        b"VP8X", struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )


def loop() -> bytes:
    """The animation's header: a white background, for ever."""
    return chunk(b"ANIM", b"\xff\xff\xff\xff\0\0")


def frame(
    data: bytes, width: int, height: int, at: tuple[int, int] = (0, 0), clear: bool = False, over: bool = True
) -> bytes:
    """A frame at x, y (even numbers), 100 ms long; `clear` it afterwards, draw it `over` what is there."""
    numbers = (at[0] // 2, at[1] // 2, width - 1, height - 1, 100)
    head = b"".join(number.to_bytes(3, "little") for number in numbers)
    return chunk(b"ANMF", head + bytes([int(clear) | (not over) << 1]) + picture(data))
