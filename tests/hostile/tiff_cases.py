"""Handmade TIFF files: odd but valid ones, and broken ones.

Knows what each must look like, or which fault it must end with. Does not know how they are read.
"""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from assay.platform.faults import FaultKind
from tests.hostile import icc
from tests.hostile.case import SIZE, Case, Samples, moving, refused, still
from tests.hostile.pictures import flat, from_cmyk, gradient, grey, ramp, stored_for, veil, with_opacity
from tests.hostile.tiff import (
    BLACK_IS_ZERO,
    DEFLATE,
    INKS,
    PACKBITS,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    Page,
    page,
    tiff,
    tiled,
)

PLAIN = gradient()
PAGE = page(PLAIN, RGB)
FILE = tiff(PAGE)


def tiff_cases() -> Iterator[Case]:
    """Every handmade TIFF."""
    yield from _depths()
    yield from _layouts()
    yield from _codecs()
    yield from _see_through()
    yield from _turned()
    yield from _pages()
    yield from _broken_tags()
    yield from _broken_places()
    yield from _bombs()


def _depths() -> Iterator[Case]:
    for bits in (1, 2, 4, 8, 16):
        samples = ramp(2**bits)
        seen = grey(samples, 2**bits - 1)
        yield still(f"tiff grey {bits} bit", tiff(page(samples, BLACK_IS_ZERO, bits)), seen)
        yield still(f"tiff grey {bits} bit, 0 is white", tiff(page(samples, WHITE_IS_ZERO, bits)), 255 - seen)
    shades = ramp(65536)
    motorola = tiff(page(shades, BLACK_IS_ZERO, 16, ">"), order=">")
    yield still("tiff grey 16 bit big-endian", motorola, grey(shades, 65535))
    wide = PLAIN.astype(np.int64) * 256 + 255 - PLAIN
    yield still("tiff rgb 16 bit", tiff(page(wide, RGB, 16)), wide / 257)
    yield still("tiff rgb 16 bit big-endian", tiff(page(wide, RGB, 16, ">"), order=">"), wide / 257)
    colours = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 40)], axis=-1)
    table = (colours.T.reshape(-1) * 257).tolist()
    yield still("tiff palette", tiff(page(ramp(256), PALETTE, tag_320=table)), colours[ramp(256)])
    inks = np.dstack([gradient(), ramp(256) // 3]).astype(np.uint8)
    yield still("tiff cmyk", tiff(page(inks, INKS)), from_cmyk(inks))
    inks //= 2  # colours that a screen has: beyond them, each viewer cuts off in its own way
    profile = _saved(Image.fromarray(inks, "CMYK"), icc_profile=icc.ink_profile())
    yield still("tiff cmyk with a profile", profile, icc.through_inks(inks))


def _saved(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "TIFF", **options)
    return file.getvalue()


def _layouts() -> Iterator[Case]:
    yield still("tiff", FILE, PLAIN)
    yield still("tiff big-endian", tiff(page(PLAIN, RGB, order=">"), order=">"), PLAIN)
    yield still("tiff of 64 bits", tiff(PAGE, big=True), PLAIN)
    yield still("tiff one row per strip", tiff(page(PLAIN, RGB, rows=1)), PLAIN)
    yield still("tiff last strip shorter", tiff(page(PLAIN, RGB, rows=5)), PLAIN)
    yield still("tiff tiled", tiff(tiled(PLAIN, 16)), PLAIN)
    odd = gradient(37, 29)
    yield still("tiff tiled, tiles beyond the edge", tiff(tiled(odd, 16)), odd)
    planes = Page({**PAGE.tags, 284: [2]}, [np.ascontiguousarray(PLAIN[:, :, at]).tobytes() for at in range(3)])
    yield still("tiff one plane per colour", tiff(planes), PLAIN)
    for width, height in ((1, 1), (7, 3), (1, 5000), (10_000, 1)):
        picture = gradient(width, height)
        yield still(f"tiff {width}x{height}", tiff(page(picture, RGB)), picture)
    yield still("tiff rubbish after its end", FILE + bytes(range(256)) * 40, PLAIN)
    reversed_bits = bytes(int(f"{byte:08b}"[::-1], 2) for byte in PAGE.pieces[0])
    yield still("tiff bits in reverse", tiff(Page({**PAGE.tags, 266: [2]}, [reversed_bits])), PLAIN)
    yield still("tiff unknown tags", tiff(PAGE.but(tag_65000=[1, 2, 3], tag_50001=[7])), PLAIN)


def _codecs() -> Iterator[Case]:
    raw = PLAIN.tobytes()
    deflated = Page({**PAGE.tags, 259: [DEFLATE]}, [zlib.compress(raw)])
    yield still("tiff deflate", tiff(deflated), PLAIN)
    difference = PLAIN.copy()
    difference[:, 1:] -= PLAIN[:, :-1]
    predicted = Page({**PAGE.tags, 259: [DEFLATE], 317: [2]}, [zlib.compress(difference.tobytes())])
    yield still("tiff deflate of differences", tiff(predicted), PLAIN)
    literal = b"".join(b"\x7f" + raw[at : at + 128] for at in range(0, len(raw), 128))
    yield still("tiff packbits", tiff(Page({**PAGE.tags, 259: [PACKBITS]}, [literal])), PLAIN)
    yield still("tiff lzw", _saved(Image.fromarray(PLAIN), compression="tiff_lzw"), PLAIN)
    black = ramp(2)
    fax = _saved(Image.fromarray(black.astype(bool)), compression="group4")
    yield still("tiff fax group 4", fax, grey(black, 1))
    photo = _saved(Image.fromarray(PLAIN), compression="jpeg", quality=100)
    yield still("tiff jpeg", photo, PLAIN, lossy=True)


def _see_through() -> Iterator[Case]:
    yield still("tiff alpha", tiff(page(veil(), RGB, tag_338=[2])), veil())
    opacity = veil()[:, :, 3:] / 255.0
    multiplied = with_opacity(np.rint(PLAIN * opacity), veil()[:, :, 3])
    yield still("tiff alpha multiplied in", tiff(page(multiplied, RGB, tag_338=[1])), veil())
    # Extra samples of no stated meaning are not opacity.
    yield still("tiff fourth sample of no meaning", tiff(page(veil(), RGB, tag_338=[0])), PLAIN)
    hidden = with_opacity(PLAIN, np.zeros((SIZE, SIZE)))
    yield still("tiff picture under alpha 0", tiff(page(hidden, RGB, tag_338=[2])), hidden)
    pair = np.dstack([ramp(256), ramp(256)[::-1]])
    seen = np.dstack([grey(ramp(256)), ramp(256)[::-1]])
    yield still("tiff grey alpha", tiff(page(pair, BLACK_IS_ZERO, tag_338=[2])), seen)


def _turned() -> Iterator[Case]:
    upright = gradient(40, 24)
    for orientation in range(1, 9):
        stored = page(stored_for(upright, orientation), RGB, tag_274=[orientation])
        yield still(f"tiff orientation {orientation}", tiff(stored), upright)
    for orientation in (0, 9, 65535):
        yield still(f"tiff orientation {orientation}", tiff(page(upright, RGB, tag_274=[orientation])), upright)


def _pages() -> Iterator[Case]:
    second, third = gradient(20, 30), ramp(256, 9, 9)
    file = tiff(PAGE, page(second, RGB), page(third, BLACK_IS_ZERO))
    yield moving("tiff three pages of three kinds", file, [PLAIN, second, grey(third)])
    twice = tiff(PAGE, PAGE)
    yield moving("tiff two pages", twice, [PLAIN, PLAIN])
    many = tiff(*[page(flat((at, at, at), 4, 4), RGB) for at in range(200)])
    chosen: list[Samples] = [flat((at, at, at), 4, 4) for at in (0, 66, 133, 199)]
    yield moving("tiff 200 pages", many, chosen, frames=200)


def _broken_tags() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    yield refused("tiff width 0", tiff(PAGE.but(tag_256=[0])), corrupt)
    yield refused("tiff height 0", tiff(PAGE.but(tag_257=[0])), corrupt)
    yield refused("tiff no width", tiff(PAGE.but(tag_256=[])), corrupt)
    yield refused("tiff no tags", b"II*\0" + struct.pack("<IHI", 8, 0, 0), corrupt)
    yield refused("tiff compression 9999", tiff(PAGE.but(tag_259=[9999])), corrupt)
    yield refused("tiff photometric 99", tiff(PAGE.but(tag_262=[99])), corrupt)
    yield refused("tiff 65535 bits", tiff(PAGE.but(tag_258=[65535] * 3)), corrupt)
    yield refused("tiff 7 bits", tiff(PAGE.but(tag_258=[7] * 3)), corrupt)
    yield refused("tiff 65535 samples per pixel", tiff(PAGE.but(tag_277=[65535])), corrupt)
    yield refused("tiff floats in 8 bits", tiff(PAGE.but(tag_339=[3])), corrupt)
    yield refused("tiff deflate that is not", tiff(PAGE.but(tag_259=[DEFLATE])), corrupt)
    yield refused("tiff no strips", tiff(Page(PAGE.tags)), corrupt)
    entry = struct.pack("<HHII", 256, 4, 0xFFFFFFFF, 8)
    yield refused("tiff tag of four billion values", b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4), corrupt)
    kinds = struct.pack("<HHII", 256, 99, 1, 8)
    yield refused("tiff tag of no type", b"II*\0" + struct.pack("<IH", 8, 1) + kinds + bytes(4), corrupt)
    yield refused("tiff 65535 tags told", b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(40), cut)


def _broken_places() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    yield refused("tiff directory nowhere", b"II*\0" + struct.pack("<I", 0) + bytes(64), corrupt)
    yield refused("tiff directory beyond the end", b"II*\0" + struct.pack("<I", 2**31) + bytes(64), cut)
    yield refused("tiff directory within the header", b"II*\0" + struct.pack("<I", 2) + bytes(64), cut)
    yield refused("tiff strips beyond the end", tiff(PAGE.but(tag_273=[2**32 - 16])), cut)
    yield still("tiff strips told longer than the file", tiff(PAGE.but(tag_279=[2**32 - 16])), PLAIN)
    yield refused("tiff strip of half the rows", tiff(Page({**PAGE.tags}, [PAGE.pieces[0][: SIZE * SIZE]])), cut)
    short = Page({**PAGE.tags, 259: [DEFLATE]}, [zlib.compress(PAGE.pieces[0][:999])])
    yield refused("tiff deflate of too little", tiff(short), corrupt)
    first = len(tiff(PAGE))
    # A ring has as many pages as it has directories.
    yield still("tiff its own next page", tiff(PAGE, last=8), PLAIN)
    yield moving("tiff two pages in a ring", tiff(PAGE, PAGE, last=8), [PLAIN, PLAIN])
    yield refused("tiff next page beyond the end", tiff(PAGE, last=2**31), cut)
    yield refused("tiff next page is rubbish", tiff(PAGE, last=first) + b"\xff" * 999, cut)


def _bombs() -> Iterator[Case]:
    huge = FaultKind.TOO_MANY_PIXELS
    yield refused("tiff claims 60000x60000", tiff(PAGE.but(tag_256=[60000], tag_257=[60000])), huge)
    yield refused("tiff claims four billion squared", tiff(PAGE.but(tag_256=[2**32 - 1], tag_257=[2**32 - 1])), huge)
    tile = tiled(PLAIN, 16)
    yield refused("tiff tiles of 60000x60000", tiff(tile.but(tag_322=[60000], tag_323=[60000])), huge)
    yield refused("tiff tiles of no size", tiff(tile.but(tag_322=[0], tag_323=[0])), FaultKind.CORRUPT)
    flood = Page({**PAGE.tags, 259: [DEFLATE]}, [zlib.compress(PLAIN.tobytes() + bytes(32 * 2**20), 1)])
    yield still("tiff picture, then 32 MiB of zeros", tiff(flood), PLAIN)
    second = page(PLAIN, RGB, tag_256=[50_000], tag_257=[50_000])
    yield refused("tiff second page a bomb", tiff(PAGE, second), huge)
    dots: list[Samples] = [flat((at % 256,) * 3, 1, 1) for at in (0, 3333, 6666, 9999)]
    many = tiff(*[page(flat((at % 256,) * 3, 1, 1), RGB) for at in range(10_000)])
    yield moving("tiff 10,000 pages", many, dots, frames=10_000)
