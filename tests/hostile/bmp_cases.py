"""Handmade BMP files: odd but valid ones, and broken ones.

Knows what each must look like, or which fault it must end with. Does not know how they are read.
"""

import struct
from collections.abc import Iterator

import numpy as np

from assay.platform.faults import FaultKind
from tests.hostile.bmp import BITFIELDS, RLE4, RLE8, bmp, os2, rows, runs
from tests.hostile.case import SIZE, Case, refused, still
from tests.hostile.pictures import flat, gradient, ramp, veil

PLAIN = gradient()
BODY = rows(np.ascontiguousarray(PLAIN[:, :, ::-1]), 24)
FILE = bmp(SIZE, SIZE, 24, BODY)
COLOURS = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 40)], axis=-1)


def bmp_cases() -> Iterator[Case]:
    """Every handmade BMP."""
    yield from _depths()
    yield from _layouts()
    yield from _broken()
    yield from _bombs()


def _depths() -> Iterator[Case]:
    for bits in (1, 4, 8):
        samples, colours = ramp(2**bits), COLOURS[:: 256 // 2**bits]
        yield still(
            f"bmp {bits} bit", bmp(SIZE, SIZE, bits, rows(samples.astype(np.uint8), bits), colours), colours[samples]
        )
    few = ramp(16)
    short = bmp(SIZE, SIZE, 8, rows(few.astype(np.uint8), 8), COLOURS[:16], used=16)
    yield still("bmp 8 bit of 16 colours", short, COLOURS[few])
    fifths = PLAIN.astype(np.int64) >> 3
    words = fifths[:, :, 0] << 10 | fifths[:, :, 1] << 5 | fifths[:, :, 2]
    seen = fifths * 255 / 31
    yield still("bmp 16 bit", bmp(SIZE, SIZE, 16, rows(words.astype("<u2"), 16)), seen)
    sixths = PLAIN[:, :, 1].astype(np.int64) >> 2
    words = fifths[:, :, 0] << 11 | sixths << 5 | fifths[:, :, 2]
    seen = np.dstack([fifths[:, :, 0] * 255 / 31, sixths * 255 / 63, fifths[:, :, 2] * 255 / 31])
    masks = (0xF800, 0x07E0, 0x001F)
    file = bmp(SIZE, SIZE, 16, rows(words.astype("<u2"), 16), compression=BITFIELDS, masks=masks)
    yield still("bmp 16 bit by masks", file, seen)
    yield still("bmp 24 bit", FILE, PLAIN)
    unused = rows(np.ascontiguousarray(np.dstack([PLAIN[:, :, ::-1], np.full((SIZE, SIZE), 77, np.uint8)])), 32)
    yield still("bmp 32 bit, the fourth byte means nothing", bmp(SIZE, SIZE, 32, unused), PLAIN)
    opaque = rows(np.ascontiguousarray(veil()[:, :, [2, 1, 0, 3]]), 32)
    with_alpha = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for header in (56, 108, 124):
        file = bmp(SIZE, SIZE, 32, opaque, compression=BITFIELDS, masks=with_alpha, header_bytes=header)
        yield still(f"bmp 32 bit with alpha, header of {header}", file, veil())


def _layouts() -> Iterator[Case]:
    downwards = rows(np.ascontiguousarray(PLAIN[::-1, :, ::-1]), 24)
    yield still("bmp from the top down", bmp(SIZE, -SIZE, 24, downwards), PLAIN)
    yield still("bmp of os/2", os2(ramp(256), COLOURS), COLOURS[ramp(256)])
    yield still("bmp a gap before its pixels", bmp(SIZE, SIZE, 24, BODY, gap=100), PLAIN)
    yield still("bmp rubbish after its end", FILE + bytes(999), PLAIN)
    for width, height in ((1, 1), (7, 3), (3, 7), (1, 5000), (5000, 1)):
        picture = gradient(width, height)
        body = rows(np.ascontiguousarray(picture[:, :, ::-1]), 24)
        yield still(f"bmp {width}x{height}", bmp(width, height, 24, body), picture)
    coarse = ramp(8) * 30
    yield still("bmp runs", bmp(SIZE, SIZE, 8, runs(coarse), COLOURS, RLE8), COLOURS[coarse])
    nibbles = b"".join(bytes([SIZE, at % 16 * 17]) + b"\0\0" for at in range(SIZE)) + b"\0\1"
    rising = np.repeat(np.arange(SIZE)[::-1, None] % 16, SIZE, axis=1)
    yield still("bmp runs of 4 bits", bmp(SIZE, SIZE, 4, nibbles, COLOURS[::16], RLE4), COLOURS[::16][rising])


def _broken() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    yield refused("bmp width 0", bmp(0, SIZE, 24, BODY), corrupt)
    yield refused("bmp height 0", bmp(SIZE, 0, 24, BODY), corrupt)
    yield refused("bmp width below 0", bmp(-SIZE, SIZE, 24, BODY), FaultKind.TOO_MANY_PIXELS)  # read as four billion
    for bits in (0, 2, 7, 48, 255):
        yield refused(f"bmp {bits} bit", bmp(SIZE, SIZE, bits, BODY), corrupt)
    yield refused("bmp compression 9", bmp(SIZE, SIZE, 24, BODY, compression=9), corrupt)
    yield refused("bmp a jpeg inside", bmp(SIZE, SIZE, 0, BODY, compression=4), corrupt)
    one_bit = bmp(SIZE, SIZE, 32, BODY * 2, compression=BITFIELDS, masks=(1, 2, 4))
    yield refused("bmp masks of one bit", one_bit, corrupt)
    yield refused("bmp pixels beyond the end", bmp(SIZE, SIZE, 24, BODY, start=2**31), cut)
    yield refused("bmp half of its rows", bmp(SIZE, SIZE, 24, BODY[: len(BODY) // 2]), cut)
    yield refused("bmp header alone", FILE[:54], cut)
    short = runs(np.zeros((SIZE // 2, SIZE), np.uint8))[:-2]
    yield refused("bmp runs that stop", bmp(SIZE, SIZE, 8, short, COLOURS, RLE8), corrupt)
    away = b"\0\2\xff\xff" * 99 + b"\0\1"
    # Nothing is drawn; Windows shows the first colour there, browsers nothing.
    jumped = bmp(SIZE, SIZE, 8, away, COLOURS, RLE8)
    yield still("bmp runs that jump out of the picture", jumped, flat(tuple(COLOURS[0])))
    yield refused(
        "bmp header of 13 bytes", b"BM" + bytes(12) + struct.pack("<I", 13) + bytes(99), FaultKind.UNSUPPORTED_FORMAT
    )


def _bombs() -> Iterator[Case]:
    huge = FaultKind.TOO_MANY_PIXELS
    for width, height in ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (60_000, -60_000), (1, -(2**31))):
        yield refused(f"bmp claims {width}x{height}", bmp(width, height, 24, BODY), huge)
    yield refused("bmp runs claim 60000x60000", bmp(60_000, 60_000, 8, b"\0\1", COLOURS, RLE8), huge)
    yield refused("bmp four billion colours", bmp(SIZE, SIZE, 8, b"", COLOURS, used=2**32 - 1), FaultKind.CORRUPT)
