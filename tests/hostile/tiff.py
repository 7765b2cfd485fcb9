"""TIFF files written tag by tag, in either byte order.

Knows the TIFF specification. Does not know what a reader makes of the file.
"""

import struct
from dataclasses import dataclass, field

import numpy as np

from tests.hostile.case import Samples

SHORT, LONG = 3, 4
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_AT, ORIENTATION = 256, 257, 258, 259, 262, 273, 274
PER_PIXEL, ROWS, STRIP_BYTES, PLANAR, PREDICTOR, COLOUR_MAP = 277, 278, 279, 284, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILE_AT, TILE_BYTES, INK_SET, EXTRA, FORMAT = 322, 323, 324, 325, 332, 338, 339
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, INKS = 0, 1, 2, 3, 5
PLAIN, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773

Tags = dict[int, list[int]]


@dataclass(frozen=True)
class Page:
    """One directory: its tags, and the strips or tiles of pixels."""

    tags: Tags
    pieces: list[bytes] = field(default_factory=list)

    def but(self, **changes: list[int]) -> "Page":
        """The same with other tags, named `tag_256=[...]`; an empty list leaves a tag out."""
        merged = {**self.tags, **{int(name.removeprefix("tag_")): value for name, value in changes.items()}}
        return Page({tag: value for tag, value in merged.items() if value}, self.pieces)


def page(samples: Samples, photometric: int, bits: int = 8, order: str = "<", rows: int = 0, **tags: list[int]) -> Page:
    """A page of strips without compression; `rows` is how many rows each strip has."""
    shaped = samples if samples.ndim == 3 else samples[:, :, None]
    height, width, channels = shaped.shape
    step = rows or height
    pieces = [packed(shaped[at : at + step], bits, order) for at in range(0, height, step)]
    known: Tags = {
        WIDTH: [width],
        HEIGHT: [height],
        BITS: [bits] * channels,
        COMPRESSION: [PLAIN],
        PHOTOMETRIC: [photometric],
        PER_PIXEL: [channels],
        ROWS: [step],
    }
    return Page(known, pieces).but(**tags)


def packed(samples: Samples, bits: int, order: str) -> bytes:
    """Samples in file order, each row filled up to a byte."""
    if bits == 16:
        return samples.astype(order + "u2").tobytes()
    if bits == 8:
        return samples.astype(np.uint8).tobytes()
    digits = np.unpackbits(samples.astype(np.uint8).reshape(len(samples), -1, 1), axis=2)[:, :, 8 - bits :]
    return np.packbits(digits.reshape(len(samples), -1), axis=1).tobytes()


def tiled(samples: Samples, edge: int) -> Page:
    """8-bit RGB in square tiles, the last ones filled up with black."""
    height, width, channels = samples.shape
    pieces = []
    for top in range(0, height, edge):
        for left in range(0, width, edge):
            tile = np.zeros((edge, edge, channels), np.uint8)
            part = samples[top : top + edge, left : left + edge]
            tile[: part.shape[0], : part.shape[1]] = part
            pieces.append(tile.tobytes())
    tags = {TILE_WIDTH: [edge], TILE_HEIGHT: [edge]}
    kept = {tag: value for tag, value in page(samples, RGB).tags.items() if tag != ROWS}
    return Page({**kept, **tags}, pieces)


def tiff(*pages: Page, order: str = "<", last: int = 0, big: bool = False) -> bytes:
    """A whole file; `last` is where the last page says that the next one lies."""
    mark = b"II" if order == "<" else b"MM"
    word, size = ("Q", 8) if big else ("I", 4)
    out = bytearray(
        mark + struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else mark + struct.pack(order + "HI", 42, 8)
    )
    for number, one in enumerate(pages):
        following = last if number == len(pages) - 1 else None
        out += _directory(one, len(out), order, word, size, following)
    return bytes(out)


def _directory(one: Page, start: int, order: str, word: str, size: int, following: int | None) -> bytes:
    tags = dict(one.tags)
    where, lengths = (TILE_AT, TILE_BYTES) if TILE_WIDTH in tags else (STRIP_AT, STRIP_BYTES)
    tags.setdefault(where, [0] * len(one.pieces))
    tags.setdefault(lengths, [len(piece) for piece in one.pieces])
    entry = 4 + 2 * size
    count = struct.pack(order + ("Q" if size == 8 else "H"), len(tags))
    end_of_entries = start + len(count) + entry * len(tags) + size
    tail, placed = b"", {}
    for tag in sorted(tags):
        kind = "I" if tag in (where, lengths, WIDTH, HEIGHT) else "H"
        if len(tags[tag]) * struct.calcsize(kind) > size:
            placed[tag] = end_of_entries + len(tail)
            tail += struct.pack(order + kind * len(tags[tag]), *tags[tag])
            tail += b"\0" * (len(tail) % 2)
    at = end_of_entries + len(tail)
    if where not in one.tags:
        tags[where] = [at + sum(len(piece) for piece in one.pieces[:n]) for n in range(len(one.pieces))]
        if where in placed:
            begin = placed[where] - end_of_entries
            fresh = struct.pack(order + "I" * len(tags[where]), *tags[where])
            tail = tail[:begin] + fresh + tail[begin + len(fresh) :]
    entries = b""
    for tag in sorted(tags):
        kind, code = ("I", LONG) if tag in (where, lengths, WIDTH, HEIGHT) else ("H", SHORT)
        entries += struct.pack(order + "HH" + word, tag, code, len(tags[tag]))
        inline = struct.pack(order + kind * len(tags[tag]), *tags[tag]) if tag not in placed else b""
        entries += inline.ljust(size, b"\0") if tag not in placed else struct.pack(order + word, placed[tag])
    pixels = b"".join(one.pieces)
    pixels += b"\0" * (-(at + len(pixels)) % 8)
    next_at = at + len(pixels) if following is None else following
    return count + entries + struct.pack(order + word, next_at) + tail + pixels
