"""Handmade JPEG files: odd but valid ones, and broken ones.

Knows what each must look like, or which fault it must end with. Does not know how they are read.
"""

import io
import struct
import zipfile
from collections.abc import Iterator

import numpy as np

from assay.platform.faults import FaultKind
from tests.hostile import exif, icc
from tests.hostile.case import SIZE, Case, moving, refused, still
from tests.hostile.jpeg import (
    APP1,
    APP2,
    APP14,
    COMMENT,
    END,
    SCAN,
    START,
    exif_segment,
    insert,
    join,
    jpeg,
    parts,
    profile_segments,
    remarked,
    resized,
    segment,
    without,
)
from tests.hostile.pictures import flat, from_cmyk, grey, ramp, soft_gradient, stored_for

PLAIN = soft_gradient()
FILE = jpeg(PLAIN)


def jpeg_cases() -> Iterator[Case]:
    """Every handmade JPEG."""
    yield from _codings()
    yield from _inks()
    yield from _turned()
    yield from _segments()
    yield from _sizes()
    yield from _profiles()
    yield from _several()
    yield from _polyglots()
    yield from _broken_headers()
    yield from _broken_tables()
    yield from _bombs()


def _codings() -> Iterator[Case]:
    large = soft_gradient(160, 120)
    codings: dict[str, dict[str, object]] = {
        "progressive": {"progressive": True},
        "optimised": {"optimize": True},
        "4:2:0": {"subsampling": 2},
        "4:2:2": {"subsampling": 1},
        "restart markers": {"restart_marker_blocks": 1},
        "progressive with restart markers": {"progressive": True, "restart_marker_rows": 1},
        "quality 60": {"quality": 60},
    }
    for name, options in codings.items():
        yield still(f"jpeg {name}", jpeg(PLAIN, "RGB", **options), PLAIN, lossy=True)
        yield still(f"jpeg {name}, larger", jpeg(large, "RGB", **options), large, lossy=True)
    shades = ramp(256)
    yield still("jpeg grey", jpeg(shades, "L"), grey(shades), lossy=True)
    yield still("jpeg grey progressive", jpeg(shades, "L", progressive=True), grey(shades), lossy=True)
    stored = jpeg(PLAIN, keep_rgb=True)
    yield still("jpeg stored as RGB", stored, PLAIN, lossy=True)
    # Without a word on its colours, three components called R, G, B are taken as such.
    yield still("jpeg stored as RGB, by its names alone", without(stored, APP14), PLAIN, lossy=True)
    lossless_only = remarked(FILE, 0xC0, 0xC1)
    yield still("jpeg extended instead of baseline", lossless_only, PLAIN, lossy=True)


def _inks() -> Iterator[Case]:
    x, y = np.meshgrid(np.linspace(0, 200, SIZE), np.linspace(0, 200, SIZE))
    inks = np.rint(np.stack([x, y, 200 - x, y / 3], axis=-1)).astype(np.uint8)
    file = jpeg(inks, "CMYK")
    yield still("jpeg cmyk", file, from_cmyk(inks), lossy=True)
    yield still("jpeg cmyk progressive", jpeg(inks, "CMYK", progressive=True), from_cmyk(inks), lossy=True)
    # Pillow writes 255 minus each ink, as Adobe does. Read as Y, Cb, Cr and 255 - K, the same bytes are other inks:
    # the decoder takes 255 minus red, green and blue for what Adobe stored, which is 255 minus ink.
    ycck = join([(kind, body[:-1] + b"\2" if kind == APP14 else body) for kind, body in parts(file)])
    luma, blue, red = (255 - inks[:, :, at].astype(np.float64) for at in range(3))
    light = [luma + 1.402 * (red - 128), luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128)]
    light += [luma + 1.772 * (blue - 128)]
    rgb = np.clip(np.stack(light, axis=-1), 0, 255)
    seen = (255 - rgb) * (1 - inks[:, :, 3:].astype(np.float64) / 255)
    yield still("jpeg ycck", ycck, seen, lossy=True)
    printed = insert(file, *profile_segments(icc.ink_profile()))
    yield still("jpeg cmyk with a profile", printed, icc.through_inks(inks), lossy=True)
    wrong = insert(file, *profile_segments(icc.matrix_profile(icc.EXCHANGED)))
    yield still("jpeg cmyk with a profile for screens", wrong, from_cmyk(inks), lossy=True)
    yield still(
        "jpeg cmyk turned",
        insert(jpeg(stored_for(inks, 6), "CMYK"), exif_segment(exif.turned(6))),
        from_cmyk(inks),
        lossy=True,
    )


def _turned() -> Iterator[Case]:
    upright = soft_gradient(40, 24)
    for orientation in range(1, 9):
        stored = jpeg(stored_for(upright, orientation))
        block = exif_segment(exif.turned(orientation, "<>"[orientation % 2]))
        yield still(f"jpeg exif {orientation}", insert(stored, block), upright, lossy=True)
    wide = soft_gradient(400, 240)
    yield still("jpeg exif 8, large", insert(jpeg(stored_for(wide, 8)), exif_segment(exif.turned(8))), wide, lossy=True)
    for orientation in (0, 9, 65535):
        block = exif_segment(exif.turned(orientation))
        yield still(f"jpeg exif orientation {orientation}", insert(FILE, block), PLAIN, lossy=True)
    turned, upright_again = exif_segment(exif.turned(6)), exif_segment(exif.turned(1))
    yield still("jpeg exif twice: the first counts", insert(FILE, upright_again, turned), PLAIN, lossy=True)
    thumbnail = exif_segment(exif.with_thumbnail(jpeg(flat((255, 0, 0), 16, 16))))
    yield still("jpeg exif thumbnail of another picture", insert(FILE, thumbnail), PLAIN, lossy=True)
    for name, block in {
        "ring": exif.ring(),
        "huge count": exif.huge_count(),
        "rubbish": b"II*\0\xff\xff\xff\xff",
    }.items():
        yield still(f"jpeg exif {name}", insert(FILE, exif_segment(block)), PLAIN, lossy=True)
    yield still("jpeg exif empty", insert(FILE, exif_segment(b"")), PLAIN, lossy=True)
    large = [exif_segment(exif.turned(1) + bytes(60_000)) for _ in range(40)]
    yield still("jpeg exif of two MB", insert(FILE, *large), PLAIN, lossy=True)


def _segments() -> Iterator[Case]:
    many = [segment(0xE0 + at % 16, b"application %d" % at) for at in range(400) if at % 16 not in (0, 14)]
    yield still("jpeg 350 application segments", insert(FILE, *many), PLAIN, lossy=True)
    yield still("jpeg longest comment", insert(FILE, segment(COMMENT, b"c" * 65533)), PLAIN, lossy=True)
    yield still("jpeg rubbish after its end", FILE + bytes(range(256)) * 40, PLAIN, lossy=True)
    yield still("jpeg another picture after its end", FILE + jpeg(flat((255, 0, 0))), PLAIN, lossy=True)
    yield still("jpeg no JFIF", without(FILE, 0xE0), PLAIN, lossy=True)
    padded = START + b"\xff" * 5000 + FILE[3:]
    yield still("jpeg 5,000 padding bytes before a marker", padded, PLAIN, lossy=True)
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    yield still("jpeg orientation in XMP alone", insert(FILE, segment(APP1, xmp)), PLAIN, lossy=True)
    density = join(
        [(kind, body[:7] + b"\1\0\0\0\0" + body[12:] if kind == 0xE0 else body) for kind, body in parts(FILE)]
    )
    yield still("jpeg density of nought", density, PLAIN, lossy=True)


def _sizes() -> Iterator[Case]:
    for width, height in ((1, 1), (7, 3), (17, 13), (1, 3000), (3000, 1), (641, 479), (1500, 1000)):
        picture = soft_gradient(width, height)
        yield still(f"jpeg {width}x{height}", jpeg(picture), picture, lossy=True)
    coarse = soft_gradient(17, 13)
    yield still("jpeg 17x13 4:2:0", jpeg(coarse, subsampling=2), coarse, lossy=True)


def _profiles() -> Iterator[Case]:
    for name, matrix in (("Display P3", icc.DISPLAY_P3), ("red and green exchanged", icc.EXCHANGED)):
        data = insert(FILE, *profile_segments(icc.matrix_profile(matrix)))
        yield still(f"jpeg profile {name}", data, icc.through_matrix(PLAIN, matrix), lossy=True)
    pieces = profile_segments(icc.matrix_profile(icc.EXCHANGED), 3)
    exchanged = icc.through_matrix(PLAIN, icc.EXCHANGED)
    yield still("jpeg profile in three pieces", insert(FILE, *pieces), exchanged, lossy=True)
    yield still("jpeg profile in three pieces, shuffled", insert(FILE, *pieces[::-1]), exchanged, lossy=True)
    yield still("jpeg profile, a piece missing", insert(FILE, *pieces[:2]), PLAIN, lossy=True)
    yield still("jpeg profile of nothing", insert(FILE, segment(APP2, b"ICC_PROFILE\0\1\1")), PLAIN, lossy=True)
    shades = ramp(256)
    dark = insert(jpeg(shades, "L"), *profile_segments(icc.grey_profile(1.0)))
    yield still("jpeg grey profile", dark, icc.through_grey(shades, 1.0), lossy=True)


def _several() -> Iterator[Case]:
    first, second = jpeg(PLAIN), jpeg(255 - PLAIN)
    entries = struct.pack(">IIIHH", 0x30000, len(first), 0, 0, 0)
    index = b"MPF\0MM\0*" + struct.pack(">IH", 8, 3)
    index += struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 2)
    index += struct.pack(">HHII", 0xB002, 7, 32, 8 + 2 + 36 + 4) + struct.pack(">I", 0)
    size = len(segment(APP2, index + bytes(32)))
    total = len(first) + size
    entries = struct.pack(">IIIHH", 0x30000, total, 0, 0, 0)
    # Offsets of later pictures count from the byte order mark: after the marker, its length and "MPF".
    entries += struct.pack(">IIIHH", 0, len(second), total - (2 + 4 + 4), 0, 0)
    data = insert(first, segment(APP2, index + entries)) + second
    yield moving("jpeg of two pictures (MPO)", data, [PLAIN, 255 - PLAIN], lossy=True)


def _polyglots() -> Iterator[Case]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("payload.txt", "hello")
    yield still("jpeg and zip", FILE + archive.getvalue(), PLAIN, lossy=True)
    yield still("jpeg and html", insert(FILE, segment(COMMENT, b"<html><script>alert(1)</script>")), PLAIN, lossy=True)
    yield still("jpeg and pdf", insert(FILE, segment(COMMENT, b"%PDF-1.4\n%%EOF")), PLAIN, lossy=True)


def _broken_headers() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    yield refused("jpeg width 0", resized(FILE, 0, SIZE), corrupt)
    yield refused("jpeg height 0 (told after the scan)", resized(FILE, SIZE, 0), corrupt)
    yield refused("jpeg no end marker", FILE[:-2], cut)
    yield refused("jpeg start and end alone", START + END, cut)
    yield refused("jpeg no frame header", without(FILE, 0xC0), corrupt)
    yield refused("jpeg two frame headers", insert(FILE, segment(0xC0, dict(parts(FILE))[0xC0])), corrupt)
    for name, marker in {"lossless": 0xC3, "hierarchical": 0xC5, "of marker 0xC8": 0xC8}.items():
        yield refused(f"jpeg {name}", remarked(FILE, 0xC0, marker), corrupt)
    frame = dict(parts(FILE))[0xC0]
    for name, body in {
        "12 bits": b"\x0c" + frame[1:],
        "2 components": frame[:5] + b"\2" + frame[6:12],
        "5 components": frame[:5] + b"\5" + frame[6:] + frame[6:12],
        "sampling 0": frame[:7] + b"\0" + frame[8:],
        "sampling 15": frame[:7] + b"\xff" + frame[8:],
        "frame header too short": frame[:6],
    }.items():
        yield refused(f"jpeg {name}", join([(k, body if k == 0xC0 else b) for k, b in parts(FILE)]), corrupt)
    yield still("jpeg comment of length 0", insert(FILE, segment(COMMENT, b"", length=0)), PLAIN, lossy=True)
    yield refused("jpeg frame header of length 0", insert(without(FILE, 0xC0), segment(0xC0, b"", length=0)), corrupt)
    yield refused("jpeg segment longer than the file", insert(FILE, segment(COMMENT, b"x", length=65535)), cut)
    yield refused("jpeg padding without end", START + b"\xff" * 2**20, cut)
    yield refused("jpeg markers without end", START + b"\xff\xd0" * 2**19, cut)


def _broken_tables() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    yield refused("jpeg no quantisation table", without(FILE, 0xDB), corrupt)
    # Motion JPEG leaves them out; decoders have the standard's own.
    standard = jpeg(PLAIN)
    yield still("jpeg no Huffman tables", without(standard, 0xC4), PLAIN, lossy=True)
    overfull = join([(k, b"\0" + b"\xff" * 16 + bytes(255) if k == 0xC4 else b) for k, b in parts(FILE)])
    yield refused("jpeg overfull Huffman table", overfull, corrupt)
    many = segment(0xDB, b"\x09" + bytes(64))
    yield refused("jpeg quantisation table 9", insert(FILE, many), corrupt)
    scan = dict(parts(FILE))[SCAN]
    nobody = join([*parts(FILE)[:-1], (SCAN, scan[:5] + b"\x99" + scan[6:])])
    yield refused("jpeg scan of a component nobody knows", nobody, corrupt)
    yield refused("jpeg scan header alone", join([*parts(FILE)[:-1], (SCAN, scan[:14])]), cut)
    # What a scan leaves out is grey, in browsers as here: their decoder and ours are of one family.
    nothing = join([*parts(FILE)[:-1], (SCAN, scan[:14] + END)])
    yield still("jpeg scan header, then the end", nothing, flat((128, 128, 128)), lossy=True)
    level = flat((128, 128, 128))
    below = np.vstack([level, np.full((3 * SIZE, SIZE, 3), 128)])
    yield still("jpeg taller than its scan", resized(jpeg(level), SIZE, 4 * SIZE), below, lossy=True)


def _bombs() -> Iterator[Case]:
    huge = FaultKind.TOO_MANY_PIXELS
    yield refused("jpeg claims 65535x65535", resized(FILE, 65535, 65535), huge)
    yield refused("jpeg claims 60000x2000", resized(FILE, 60000, 2000), huge)
    progressive = jpeg(PLAIN, progressive=True)
    yield refused("jpeg progressive claims 65500x65500", resized(progressive, 65500, 65500), huge)
    restarts = jpeg(flat((128, 128, 128), 2048, 2048), subsampling=2, restart_marker_blocks=1)
    yield still("jpeg 16,000 restarts", restarts, flat((128, 128, 128), 2048, 2048), lossy=True)
    first = progressive.index(b"\xff\xda")
    second = progressive.index(b"\xff\xc4", first)
    scans = progressive[:first] + progressive[first:second] * 2000 + progressive[second:]
    yield still("jpeg its first scan 2,000 times", scans, PLAIN, lossy=True)
