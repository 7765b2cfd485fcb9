"""Handmade WebP files: odd but valid ones, and broken ones.

Knows what each must look like, or which fault it must end with. Does not know how they are read.
"""

from collections.abc import Iterator

import numpy as np

from assay.platform.faults import FaultKind
from tests.hostile import exif, icc
from tests.hostile.case import SIZE, Case, moving, refused, still
from tests.hostile.pictures import flat, gradient, soft_gradient, stored_for, veil, with_opacity
from tests.hostile.webp import (
    ALPHA,
    ANIMATION,
    EXIF,
    PROFILE,
    chunk,
    chunks,
    extended,
    frame,
    loop,
    picture,
    riff,
    webp,
)

PLAIN = gradient()
FILE = webp(PLAIN)
PIXELS = picture(FILE)


def webp_cases() -> Iterator[Case]:
    """Every handmade WebP."""
    yield from _stills()
    yield from _turned()
    yield from _animated()
    yield from _broken()
    yield from _bombs()


def _stills() -> Iterator[Case]:
    soft = soft_gradient()
    yield still("webp lossless", FILE, PLAIN)
    yield still("webp lossy", webp(soft, lossless=False), soft, lossy=True)
    yield still("webp lossless with alpha", webp(veil()), veil())
    lossy = webp(np.dstack([soft, veil()[:, :, 3]]), lossless=False)
    yield still("webp lossy with alpha", lossy, np.dstack([soft, veil()[:, :, 3]]), lossy=True)
    hidden = with_opacity(PLAIN, np.zeros((SIZE, SIZE)))
    yield still("webp picture under alpha 0", webp(hidden), hidden)
    for width, height in ((1, 1), (7, 3), (1, 5000), (211, 199)):
        size = gradient(width, height)
        yield still(f"webp {width}x{height}", webp(size), size)
    told = extended(SIZE, SIZE, PROFILE) + chunk(b"ICCP", icc.matrix_profile(icc.EXCHANGED)) + PIXELS
    yield still("webp profile red and green exchanged", riff(told), icc.through_matrix(PLAIN, icc.EXCHANGED))
    yield still("webp extended without need", riff(extended(SIZE, SIZE, 0), PIXELS), PLAIN)
    yield still("webp unknown chunks", riff(extended(SIZE, SIZE, 0), chunk(b"ASAY", b"odd"), PIXELS), PLAIN)
    yield still("webp rubbish after its end", FILE + bytes(range(256)) * 40, PLAIN)
    yield still("webp another picture after its end", FILE + webp(255 - PLAIN), PLAIN)


def _turned() -> Iterator[Case]:
    upright = gradient(40, 24)
    for orientation in range(1, 9):
        stored = stored_for(upright, orientation)
        head = extended(stored.shape[1], stored.shape[0], EXIF)
        block = chunk(b"EXIF", exif.turned(orientation, "<>"[orientation % 2]))
        yield still(f"webp exif {orientation}", riff(head, picture(webp(stored)), block), upright)
    ring = chunk(b"EXIF", exif.ring())
    yield still("webp exif ring", riff(extended(SIZE, SIZE, EXIF), PIXELS, ring), PLAIN)


def _animated() -> Iterator[Case]:
    solid = np.full((SIZE, SIZE), 255)
    base, small = with_opacity(PLAIN, solid), flat((0, 200, 0, 255), 16, 16)
    first = frame(webp(base), SIZE, SIZE)
    green = webp(small)
    pasted, hole = base.copy(), base.copy()
    pasted[8:24, 4:20] = small
    hole[8:24, 4:20] = 0
    dot = frame(webp(flat((0, 0, 0, 0), 1, 1)), 1, 1)
    head = extended(SIZE, SIZE, ANIMATION | ALPHA) + loop()
    left = riff(head, first, frame(green, 16, 16, (4, 8)), dot)
    yield moving("webp frame left in place", left, [base, pasted, pasted])
    cleared = riff(head, first, frame(green, 16, 16, (4, 8), clear=True), dot)
    yield moving("webp frame cleared", cleared, [base, pasted, hole])
    thin = flat((0, 0, 200, 128), 16, 16)
    mixed, replaced = base.astype(np.float64), base.copy()
    mixed[8:24, 4:20, :3] = (mixed[8:24, 4:20, :3] * 127 + np.array([0, 0, 200]) * 128) / 255
    replaced[8:24, 4:20] = thin
    over = riff(head, first, frame(webp(thin), 16, 16, (4, 8)))
    yield moving("webp half-clear frame over another", over, [base, mixed])
    instead = riff(head, first, frame(webp(thin), 16, 16, (4, 8), over=False))
    yield moving("webp half-clear frame instead of another", instead, [base, replaced])
    # The header's white background is for nobody: browsers leave it clear.
    alone = riff(head, frame(green, 16, 16, (4, 8)), dot)
    placed = np.zeros((SIZE, SIZE, 4), np.uint8)
    placed[8:24, 4:20] = small
    yield moving("webp first frame smaller than the canvas", alone, [placed, placed])


def _broken() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    yield refused("webp no chunks", riff(), corrupt)
    yield refused("webp extended header alone", riff(extended(SIZE, SIZE, 0)), corrupt)
    yield refused("webp empty picture", riff(chunk(b"VP8L", b"")), corrupt)
    yield refused("webp file told longer than it is", riff(PIXELS, length=2**31), cut)
    yield refused("webp file told shorter than it is", riff(PIXELS, length=20), corrupt)
    yield refused("webp file told of no length", riff(PIXELS, length=0), corrupt)
    body = chunks(FILE)[b"VP8L"]
    yield refused("webp chunk told longer than the file", riff(chunk(b"VP8L", body, length=2**31)), corrupt)
    yield refused("webp chunk told of four billion", riff(chunk(b"VP8L", body, length=2**32 - 1)), corrupt)
    yield refused("webp picture without its first byte", riff(chunk(b"VP8L", body[1:])), corrupt)
    yield refused("webp canvas larger than its picture", riff(extended(2 * SIZE, SIZE, 0), PIXELS), corrupt)
    yield refused("webp canvas smaller than its picture", riff(extended(SIZE // 2, SIZE, 0), PIXELS), corrupt)
    head = extended(SIZE, SIZE, ANIMATION) + loop()
    outside = frame(FILE, SIZE, SIZE, (16, 16))
    yield refused("webp frame outside of the canvas", riff(head, outside), corrupt)
    yield refused("webp animation of no frames", riff(head), corrupt)
    short = chunk(b"ANMF", b"\0" * 16)
    yield refused("webp frame without a picture", riff(head, short), corrupt)
    yield refused(
        "webp lossless version 7", riff(chunk(b"VP8L", body[:4] + bytes([body[4] | 0xE0]) + body[5:])), corrupt
    )
    key = chunks(webp(PLAIN, lossless=False))[b"VP8 "]
    yield refused("webp not a key frame", riff(chunk(b"VP8 ", bytes([key[0] | 1]) + key[1:])), corrupt)
    yield refused("webp lossy of no size", riff(chunk(b"VP8 ", key[:6] + bytes(4) + key[10:])), corrupt)


def _bombs() -> Iterator[Case]:
    huge = FaultKind.TOO_MANY_PIXELS
    yield refused("webp canvas of 16 million squared", riff(extended(2**24, 2**24, 0), PIXELS), huge)
    yield refused("webp canvas of 16383x16383", riff(extended(16383, 16383, 0), PIXELS), huge)
    body = chunks(FILE)[b"VP8L"]
    vast = body[:1] + b"\xff\xff\xff\x0f" + body[5:]
    yield refused("webp lossless claims 16384x16384", riff(chunk(b"VP8L", vast)), huge)
    key = chunks(webp(PLAIN, lossless=False))[b"VP8 "]
    yield refused("webp lossy claims 16383x16383", riff(chunk(b"VP8 ", key[:6] + b"\xff\x3f\xff\x3f" + key[10:])), huge)
    hidden = extended(SIZE, SIZE, 0) + chunk(b"VP8L", vast)
    yield refused("webp picture larger than a small canvas", riff(hidden), FaultKind.CORRUPT)
    canvas = extended(16000, 16000, ANIMATION) + loop()
    tiny = frame(webp(flat((1, 2, 3), 2, 2)), 2, 2)
    yield refused("webp huge canvas of tiny frames", riff(canvas, tiny, tiny), huge)
    many = riff(extended(SIZE, SIZE, ANIMATION), loop(), tiny * 2000)
    dot = np.zeros((SIZE, SIZE, 4), np.uint8)
    dot[:2, :2] = (1, 2, 3, 255)
    yield moving("webp 2,000 frames", many, [dot] * 4, frames=2000)
