"""Handmade PNG files: odd but valid ones, and broken ones.

Knows what each must look like, or which fault it must end with. Does not know how they are read.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from assay.platform.faults import FaultKind
from tests.hostile import exif, icc
from tests.hostile.case import SIZE, Case, moving, refused, still
from tests.hostile.pictures import Bytes, flat, gradient, grey, ramp, shown, stored_for, veil, with_opacity
from tests.hostile.png import (
    ADAM7,
    END,
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SIGNATURE,
    Animation,
    chunk,
    filtered,
    header,
    png,
    scanlines,
)

PLAIN = gradient()
IDAT = chunk(b"IDAT", zlib.compress(scanlines(PLAIN, 8)))
IHDR = header(SIZE, SIZE, 8, RGB)
BOMB = zlib.compress(bytes(100 * 2**20), 1)
"""A hundred MiB of zeros in half a MB."""


def png_cases() -> Iterator[Case]:
    """Every handmade PNG."""
    yield from _depths()
    yield from _transparent()
    yield from _layouts()
    yield from _colours()
    yield from _turned()
    yield from _animated()
    yield from _odd_sizes()
    yield from _broken_chunks()
    yield from _broken_pixels()
    yield from _bombs()


def _wide(picture: Bytes) -> npt.NDArray[np.int64]:
    """8-bit samples as 16-bit ones whose low byte says something else."""
    levels = picture.astype(np.int64)
    return levels * 256 + 255 - levels


def _depths() -> Iterator[Case]:
    for depth in (1, 2, 4, 8, 16):
        samples = ramp(2**depth)
        for interlace in (False, True):
            name = f"png grey {depth} bit{' interlaced' * interlace}"
            yield still(name, png(samples, depth, GREY, interlace=interlace), grey(samples, 2**depth - 1))
    for depth in (1, 2, 4, 8):
        colours = np.random.default_rng(depth).integers(0, 256, (2**depth, 3)).astype(np.uint8)
        samples, table = ramp(2**depth), chunk(b"PLTE", colours.tobytes())
        yield still(f"png palette {depth} bit", png(samples, depth, PALETTE, [table]), colours[samples])
    wide = _wide(PLAIN)
    yield still("png rgb 16 bit", png(wide, 16, RGB), wide / 257)
    yield still("png rgb 16 bit interlaced", png(wide, 16, RGB, interlace=True), wide / 257)
    # Pillow cuts 16 bits of colour to 8 instead of rounding: off by up to 1. Of opacity as well, it would be up to 2.
    veiled = np.dstack([_wide(gradient()), veil()[:, :, 3].astype(np.int64) * 257])
    yield still("png rgb alpha 16 bit", png(veiled, 16, RGB_ALPHA), veiled / 257)
    shades, opacity = ramp(65536), ramp(65536)[::-1]
    pair = np.stack([shades, opacity], axis=-1)
    seen = np.concatenate([grey(shades, 65535), opacity[:, :, None] / 257], axis=2)
    yield still("png grey alpha 16 bit", png(pair, 16, GREY_ALPHA), seen)


def _transparent() -> Iterator[Case]:
    yield still("png rgb alpha", png(veil(), 8, RGB_ALPHA), veil())
    yield still("png rgb alpha interlaced", png(veil(), 8, RGB_ALPHA, interlace=True), veil())
    shades = ramp(256)
    pair = np.stack([shades, shades[::-1]], axis=-1)
    yield still("png grey alpha", png(pair, 8, GREY_ALPHA), np.dstack([grey(shades), shades[::-1]]))
    hidden = with_opacity(PLAIN, np.zeros((SIZE, SIZE)))
    yield still("png picture under alpha 0", png(hidden, 8, RGB_ALPHA), hidden)
    solid = with_opacity(PLAIN, np.full((SIZE, SIZE), 255))
    yield still("png alpha that is solid", png(solid, 8, RGB_ALPHA), PLAIN)
    overlay = np.zeros((SIZE, SIZE, 4), np.uint8)
    overlay[8:24, 8:24] = 255
    yield still("png white on nothing", png(overlay, 8, RGB_ALPHA), overlay)
    for depth in (1, 2, 4, 8, 16):
        samples = ramp(2**depth)
        key = int(samples[SIZE // 2, SIZE // 2])
        opacity = np.where(samples == key, 0, 255)
        data = png(samples, depth, GREY, [chunk(b"tRNS", struct.pack(">H", key))])
        yield still(f"png grey {depth} bit with a key", data, np.dstack([grey(samples, 2**depth - 1), opacity]))
    for depth in (8, 16):
        samples = PLAIN.astype(np.int64) * (257 if depth == 16 else 1)
        samples[8:24, 8:24] = samples[4, 4]
        opacity = np.where((samples == samples[4, 4]).all(axis=2), 0, 255)
        data = png(samples, depth, RGB, [chunk(b"tRNS", struct.pack(">3H", *samples[4, 4]))])
        yield still(f"png rgb {depth} bit with a key", data, np.dstack([samples / (2**depth - 1) * 255, opacity]))
    colours = np.random.default_rng(9).integers(0, 256, (16, 3)).astype(np.uint8)
    samples, opacities = ramp(16), np.full(16, 255)
    opacities[:3] = (0, 100, 200)
    parts = [chunk(b"PLTE", colours.tobytes()), chunk(b"tRNS", bytes([0, 100, 200]))]
    seen = np.dstack([colours[samples], opacities[samples]])
    yield still("png palette with three opacities", png(samples, 4, PALETTE, parts), seen)
    yield still("png with a background chunk", png(veil(), 8, RGB_ALPHA, [chunk(b"bKGD", bytes([0, 255] * 3))]), veil())


def _layouts() -> Iterator[Case]:
    squeezed = zlib.compress(scanlines(PLAIN, 8))
    yield still("png all five filters", SIGNATURE + IHDR + chunk(b"IDAT", zlib.compress(filtered(PLAIN))) + END, PLAIN)
    bits = b"".join(chunk(b"IDAT", squeezed[at : at + 1]) for at in range(len(squeezed)))
    yield still("png one byte per IDAT", SIGNATURE + IHDR + bits + END, PLAIN)
    yield still("png an empty IDAT first", SIGNATURE + IHDR + chunk(b"IDAT") + IDAT + END, PLAIN)
    stored = zlib.compress(scanlines(PLAIN, 8), 0)
    yield still("png not compressed", SIGNATURE + IHDR + chunk(b"IDAT", stored) + END, PLAIN)
    yield still("png a palette it does not need", png(PLAIN, 8, RGB, [chunk(b"PLTE", bytes(range(30)))]), PLAIN)
    yield still("png unknown chunks", png(PLAIN, 8, RGB, [chunk(b"asAy", b"x" * 99)], [chunk(b"zzZz")]), PLAIN)
    yield still("png time and text", png(PLAIN, 8, RGB, [chunk(b"tEXt", b"Title\0" + b"a" * 9999)]), PLAIN)
    yield still("png rubbish after its end", png(PLAIN, 8, RGB) + bytes(range(256)) * 40, PLAIN)
    html = b"<html><script>alert(1)</script></html>"
    yield still("png and html", png(PLAIN, 8, RGB, [chunk(b"tEXt", b"Comment\0" + html)]) + html, PLAIN)
    yield still("png twice", png(PLAIN, 8, RGB) + png(255 - PLAIN, 8, RGB), PLAIN)


def _colours() -> Iterator[Case]:
    half = chunk(b"gAMA", struct.pack(">I", 55556))
    light = (PLAIN / 255) ** (1 / 0.55556)
    yield still("png gamma 1/1.8", png(PLAIN, 8, RGB, [half]), shown(light))
    yield still("png gamma 1", png(PLAIN, 8, RGB, [chunk(b"gAMA", struct.pack(">I", 100000))]), shown(PLAIN / 255))
    told = [chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100000))]
    yield still("png gamma 1 but sRGB", png(PLAIN, 8, RGB, told), PLAIN)
    yield still("png gamma 0", png(PLAIN, 8, RGB, [chunk(b"gAMA", bytes(4))]), PLAIN)
    yield still("png gamma of sRGB", png(PLAIN, 8, RGB, [chunk(b"gAMA", struct.pack(">I", 45455))]), PLAIN)
    for name, matrix in (("Display P3", icc.DISPLAY_P3), ("red and green exchanged", icc.EXCHANGED)):
        data = png(PLAIN, 8, RGB, [_iccp(icc.matrix_profile(matrix))])
        yield still(f"png profile {name}", data, icc.through_matrix(PLAIN, matrix))
    veiled = png(veil(), 8, RGB_ALPHA, [_iccp(icc.matrix_profile(icc.EXCHANGED))])
    yield still("png profile and alpha", veiled, np.dstack([icc.through_matrix(PLAIN, icc.EXCHANGED), veil()[:, :, 3]]))
    shades = ramp(256)
    yield still("png grey profile", png(shades, 8, GREY, [_iccp(icc.grey_profile(1.0))]), icc.through_grey(shades, 1.0))
    broken = icc.matrix_profile(icc.EXCHANGED)[:200]
    yield still("png broken profile", png(PLAIN, 8, RGB, [_iccp(broken)]), PLAIN)
    yield still("png profile that is no profile", png(PLAIN, 8, RGB, [_iccp(b"rubbish" * 99)]), PLAIN)
    yield still("png profile for inks", png(PLAIN, 8, RGB, [_iccp(icc.ink_profile())]), PLAIN)
    yield still("png profile not compressed", png(PLAIN, 8, RGB, [chunk(b"iCCP", b"x\0\0" + bytes(99))]), PLAIN)


def _iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))


def _turned() -> Iterator[Case]:
    upright = gradient(40, 24)
    for orientation in range(1, 9):
        block = chunk(b"eXIf", exif.turned(orientation, "<>"[orientation % 2]))
        yield still(f"png exif {orientation}", png(stored_for(upright, orientation), 8, RGB, [block]), upright)
    late = png(stored_for(upright, 6), 8, RGB, after=[chunk(b"eXIf", exif.turned(6))])
    yield still("png exif after the pixels", late, upright)


def _animated() -> Iterator[Case]:
    green, blue = flat((0, 200, 0, 255), 16, 16), flat((0, 0, 200, 128), 16, 16)
    base = with_opacity(PLAIN, np.full((SIZE, SIZE), 255))
    pasted, mixed = base.copy(), base.astype(np.float64)
    pasted[8:24, 4:20] = green
    mixed[0:16, 16:32, :3] = (mixed[0:16, 16:32, :3] * 127 + np.array([0, 0, 200]) * 128) / 255
    hole = base.copy()
    hole[8:24, 4:20] = 0
    replaced = base.copy()
    replaced[0:16, 16:32] = blue
    size = (SIZE, SIZE)
    left = Animation(*size).add(base).add(green, (4, 8)).add(base)
    yield moving("apng frame left in place", left.finish(), [base, pasted, base])
    cleared = Animation(*size).add(base).add(green, (4, 8), dispose=1).add(flat((9, 9, 9, 0), 1, 1), blend=1)
    yield moving("apng frame cleared", cleared.finish(), [base, pasted, hole])
    back = Animation(*size).add(base).add(green, (4, 8), dispose=2).add(blue, (16, 0), blend=1)
    yield moving("apng frame taken back", back.finish(), [base, pasted, mixed])
    over = Animation(*size).add(base).add(blue, (16, 0), blend=0)
    yield moving("apng frame that replaces opacity", over.finish(), [base, replaced])
    nothing, haze = flat((0, 0, 0, 0)), flat((200, 0, 0, 64))
    faint = Animation(*size).add(nothing).add(haze, blend=1)
    yield moving("apng half-clear frame over nothing", faint.finish(), [nothing, haze])
    still_too = Animation(*size).default(base).add(pasted).add(base)
    yield moving("apng with a picture for still viewers", still_too.finish(), [base, pasted, base])
    lie = Animation(*size, count=3).add(base).add(pasted).finish()
    yield refused("apng promises a third frame", lie, FaultKind.TRUNCATED)
    outside = Animation(*size).add(base).add(green, (24, 24)).finish()
    yield refused("apng frame outside of the picture", outside, FaultKind.CORRUPT)


def _odd_sizes() -> Iterator[Case]:
    for width, height in ((1, 1), (7, 3), (3, 7), (31, 37), (1, 10_000), (10_000, 1), (2, 3), (211, 199)):
        picture = gradient(width, height)
        yield still(f"png {width}x{height}", png(picture, 8, RGB), picture)
    for width, height in ((1, 1), (3, 2), (5, 9)):
        picture = gradient(width, height)
        yield still(f"png {width}x{height} interlaced", png(picture, 8, RGB, interlace=True), picture)


def _broken_chunks() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    yield refused("png no IDAT", SIGNATURE + IHDR + END, corrupt)
    yield refused("png no IHDR", SIGNATURE + IDAT + END, corrupt)
    yield refused("png no IEND, no pixels", SIGNATURE + IHDR, cut)
    yield refused("png IHDR too short", SIGNATURE + chunk(b"IHDR", bytes(8)) + IDAT + END, cut)
    yield refused("png wrong checksum of IHDR", SIGNATURE + IHDR[:-1] + b"x" + IDAT + END, corrupt)
    text = chunk(b"tEXt", b"a\0b", crc=0)
    yield refused("png wrong checksum of a text", SIGNATURE + IHDR + text + IDAT + END, corrupt)
    yield refused("png chunk longer than told", SIGNATURE + IHDR + chunk(b"IDAT", IDAT, length=9) + END, corrupt)
    long = chunk(b"IDAT", zlib.compress(scanlines(PLAIN, 8)), length=2**31 - 1)
    yield still("png last chunk told far too long", SIGNATURE + IHDR + long + END, PLAIN)
    early = SIGNATURE + IHDR + chunk(b"tEXt", b"a\0b", length=0xFFFFFFF0) + IDAT + END
    yield refused("png text told four billion long", early, cut)
    yield refused("png chunk named by no letters", SIGNATURE + IHDR + chunk(b"\0\1\2\3") + IDAT + END, corrupt)
    yield refused("png palette missing", png(ramp(4), 2, PALETTE), corrupt)
    yield refused("png pixels before IHDR", SIGNATURE + IDAT + IHDR + END, corrupt)
    twice = SIGNATURE + IHDR + header(SIZE // 2, SIZE // 2, 8, RGB) + IDAT + END
    yield refused("png two IHDR", twice, corrupt)
    larger = SIGNATURE + IHDR + header(SIZE, SIZE * 2, 8, RGB) + IDAT + END
    below = np.vstack([PLAIN, np.zeros_like(PLAIN)])
    yield still("png two IHDR, the second larger", larger, below)
    vast = SIGNATURE + IHDR + header(60_000, 60_000, 8, RGB) + IDAT + END
    yield refused("png two IHDR, the second a bomb", vast, FaultKind.TOO_MANY_PIXELS)


def _broken_pixels() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    for name, depth, colour in (("depth 3", 3, RGB), ("depth 0", 0, GREY), ("depth 32", 32, RGB), ("colour 7", 8, 7)):
        yield refused(f"png {name}", SIGNATURE + header(SIZE, SIZE, depth, colour) + IDAT + END, corrupt)
    yield refused("png interlace 9", SIGNATURE + header(SIZE, SIZE, 8, RGB, 9) + IDAT + END, cut)
    # There is but one compression, so the number tells nothing; browsers refuse it, and looking harms nobody.
    yield still("png compression 5", SIGNATURE + _method(5, 0) + IDAT + END, PLAIN)
    yield refused("png filter method 5", SIGNATURE + _method(0, 5) + IDAT + END, corrupt)
    yield refused("png width 0", SIGNATURE + header(0, SIZE, 8, RGB) + IDAT + END, corrupt)
    yield refused("png height 0", SIGNATURE + header(SIZE, 0, 8, RGB) + IDAT + END, corrupt)
    odd_filter = zlib.compress(b"\x09" + scanlines(PLAIN, 8)[1:])
    yield refused("png row filter 9", SIGNATURE + IHDR + chunk(b"IDAT", odd_filter) + END, corrupt)
    half = zlib.compress(scanlines(PLAIN[: SIZE // 2], 8))
    rows_there = PLAIN.copy()
    rows_there[SIZE // 2 :] = 0  # browsers, too, show the rows that are there
    yield still("png half of its rows", SIGNATURE + IHDR + chunk(b"IDAT", half) + END, rows_there)
    raw = SIGNATURE + IHDR + chunk(b"IDAT", scanlines(PLAIN, 8)) + END
    yield refused("png pixels not deflated", raw, corrupt)
    more = zlib.compress(scanlines(np.vstack([PLAIN, PLAIN]), 8))
    yield still("png twice its rows", SIGNATURE + IHDR + chunk(b"IDAT", more) + END, PLAIN)
    rows = b"".join(scanlines(PLAIN[row::down, at::across], 8) for row, at, down, across in ADAM7[:3])
    passes = SIGNATURE + header(SIZE, SIZE, 8, RGB, 1) + chunk(b"IDAT", zlib.compress(rows)) + END
    yield refused("png three of seven passes", passes, cut)


def _method(compression: int, filtering: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", SIZE, SIZE, 8, RGB, compression, filtering, 0))


def _bombs() -> Iterator[Case]:
    huge = FaultKind.TOO_MANY_PIXELS
    for width, height in ((60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1), (0xFFFFFFFF, 0xFFFFFFFF), (8001, 8000)):
        yield refused(f"png claims {width}x{height}", SIGNATURE + header(width, height, 8, RGB) + IDAT + END, huge)
    grey_bomb = SIGNATURE + header(50_000, 50_000, 1, GREY) + chunk(b"IDAT", BOMB) + END
    yield refused("png bomb of one bit", grey_bomb, huge)
    flood = SIGNATURE + IHDR + chunk(b"IDAT", zlib.compress(scanlines(PLAIN, 8) + bytes(32 * 2**20), 1)) + END
    yield still("png picture, then 32 MiB of zeros", flood, PLAIN)
    yield refused("png iCCP bomb", png(PLAIN, 8, RGB, [chunk(b"iCCP", b"x\0\0" + BOMB)]), FaultKind.CORRUPT)
    yield refused("png zTXt bomb", png(PLAIN, 8, RGB, [chunk(b"zTXt", b"x\0\0" + BOMB)]), FaultKind.CORRUPT)
    yield refused("png iTXt bomb", png(PLAIN, 8, RGB, [chunk(b"iTXt", b"x\0\1\0\0\0" + BOMB)]), FaultKind.CORRUPT)
    many = [chunk(b"tEXt", b"k%d\0v" % at) for at in range(50_000)]
    yield still("png 50,000 texts", png(PLAIN, 8, RGB, many), PLAIN)
    canvas = Animation(60_000, 60_000).add(flat((1, 2, 3, 255), 4, 4)).add(flat((1, 2, 3, 255), 4, 4)).finish()
    yield refused("apng huge canvas of tiny frames", canvas, huge)
    body = exif.turned(1) + bytes(2**20)
    yield still("png exif of a MiB", png(PLAIN, 8, RGB, [chunk(b"eXIf", body)]), PLAIN)
    yield still("png exif ring", png(PLAIN, 8, RGB, [chunk(b"eXIf", exif.ring())]), PLAIN)
