"""PNG files written chunk by chunk: what Pillow would not write, and what nobody should.

Knows the PNG specification. Does not know what a reader makes of the file.
"""

import struct
import zlib
from collections.abc import Iterable

import numpy as np

from tests.hostile.case import Samples

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""Colour types."""
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, row step, column step of each interlaced pass."""
END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))


def chunk(kind: bytes, body: bytes = b"", length: int | None = None, crc: int | None = None) -> bytes:
    """One chunk; `length` and `crc` are lies where given."""
    told = len(body) if length is None else length
    return struct.pack(">I", told) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)


def header(width: int, height: int, depth: int, colour: int, interlace: int = 0) -> bytes:
    """The IHDR chunk."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def pack(row: Samples, depth: int) -> bytes:
    """One row of samples, in file order."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    if depth == 8:
        return row.astype(np.uint8).tobytes()
    bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).tobytes()


def scanlines(samples: Samples, depth: int) -> bytes:
    """Rows of a picture or pass, each after filter 0; nothing for an empty pass."""
    return b"".join(b"\0" + pack(row, depth) for row in samples) if samples.size else b""


def interlaced(samples: Samples, depth: int) -> bytes:
    """All seven passes."""
    return b"".join(scanlines(samples[row::down, column::across], depth) for row, column, down, across in ADAM7)


def filtered(samples: Samples) -> bytes:
    """8-bit RGB rows that go through all five filters in turn."""
    out, above = b"", np.zeros(samples.shape[1] * 3, np.int64)
    for place, row in enumerate(samples.reshape(len(samples), -1).astype(np.int64)):
        left = np.concatenate([np.zeros(3, np.int64), row[:-3]])
        corner = np.concatenate([np.zeros(3, np.int64), above[:-3]])
        guess = [np.zeros_like(row), left, above, (left + above) // 2, _paeth(left, above, corner)][place % 5]
        out += bytes([place % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        above = row
    return out


def _paeth(left: Samples, above: Samples, corner: Samples) -> Samples:
    near = np.stack([left, above, corner]).astype(np.int64)
    distance = np.abs(near - (near[0] + near[1] - near[2]))
    return np.asarray(np.take_along_axis(near, distance.argmin(axis=0)[None], axis=0)[0])


def png(
    samples: Samples,
    depth: int,
    colour: int,
    before: Iterable[bytes] = (),
    after: Iterable[bytes] = (),
    interlace: bool = False,
) -> bytes:
    """A whole file; `before` and `after` are chunks around the pixels."""
    height, width = samples.shape[:2]
    body = interlaced(samples, depth) if interlace else scanlines(samples, depth)
    parts = [header(width, height, depth, colour, int(interlace)), *before, chunk(b"IDAT", zlib.compress(body))]
    return SIGNATURE + b"".join([*parts, *after, END])


class Animation:
    """An animated PNG, frame by frame: 8-bit RGBA."""

    def __init__(self, width: int, height: int, count: int | None = None) -> None:
        self.size = (width, height)
        self.count = count
        self.num_frames = 0
        self.sequence = 0
        self.body = b""

    def add(self, samples: Samples, at: tuple[int, int] = (0, 0), dispose: int = 0, blend: int = 0) -> "Animation":
        """Append a frame at x, y. Dispose: 0 leave, 1 clear, 2 previous. Blend: 0 replace, 1 over."""
        height, width = samples.shape[:2]
        control = struct.pack(">IIIIIHHBB", self._next(), width, height, *at, 1, 10, dispose, blend)
        pixels = zlib.compress(scanlines(samples, 8))
        first = b"IDAT" not in self.body
        self.body += chunk(b"fcTL", control)
        self.body += chunk(b"IDAT", pixels) if first else chunk(b"fdAT", struct.pack(">I", self._next()) + pixels)
        self.num_frames += 1
        return self

    def default(self, samples: Samples) -> "Animation":
        """A picture before the animation, for viewers that do not animate."""
        self.body += chunk(b"IDAT", zlib.compress(scanlines(samples, 8)))
        return self

    def finish(self) -> bytes:
        """The file."""
        count = self.num_frames if self.count is None else self.count
        control = chunk(b"acTL", struct.pack(">II", count, 0))
        return SIGNATURE + header(*self.size, 8, RGB_ALPHA) + control + self.body + END

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence - 1
