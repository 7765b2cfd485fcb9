"""Handmade GIF files: odd but valid ones, and broken ones.

Knows what each must look like, or which fault it must end with. Does not know how they are read.
"""

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from assay.platform.faults import FaultKind
from tests.hostile.case import SIZE, Case, Samples, moving, refused, still
from tests.hostile.gif import INTERLACED, LOOP, TRAILER, control, frame, lzw, screen
from tests.hostile.pictures import flat, ramp

LEVELS = np.arange(256)
COLOURS = np.stack([LEVELS, np.abs(255 - 2 * LEVELS), 255 - LEVELS], axis=-1).astype(np.uint8)
"""Neighbours look alike, so that scaling a picture leaves no room for taste."""
PLAIN = ramp(256)
SEEN = COLOURS[PLAIN]
HEAD = screen(SIZE, SIZE, COLOURS)
FRAME = frame(PLAIN)
FILE = HEAD + FRAME + TRAILER
CLEAR = flat((0, 0, 0, 0))


def gif_cases() -> Iterator[Case]:
    """Every handmade GIF."""
    yield from _stills()
    yield from _see_through()
    yield from _disposals()
    yield from _layouts()
    yield from _broken()
    yield from _bombs()


def _solid(picture: Samples) -> Samples:
    return np.dstack([picture, np.full(picture.shape[:2], 255)])


def _stills() -> Iterator[Case]:
    yield still("gif", FILE, SEEN)
    yield still("gif 87a", screen(SIZE, SIZE, COLOURS, version=b"87a") + FRAME + TRAILER, SEEN)
    yield still("gif interlaced", HEAD + frame(PLAIN, flags=INTERLACED) + TRAILER, SEEN)
    own = frame(PLAIN, colours=COLOURS[::-1])
    yield still("gif palette of its frame", HEAD + own + TRAILER, COLOURS[::-1][PLAIN])
    yield still("gif palette of its frame alone", screen(SIZE, SIZE, None) + own + TRAILER, COLOURS[::-1][PLAIN])
    greys = np.arange(256).repeat(3).reshape(256, 3)
    yield still("gif grey", screen(SIZE, SIZE, greys) + FRAME + TRAILER, greys[PLAIN])
    for width, height in ((1, 1), (7, 3), (1, 5000), (31, 37)):
        picture = ramp(256, width, height)
        yield still(
            f"gif {width}x{height}", screen(width, height, COLOURS) + frame(picture) + TRAILER, COLOURS[picture]
        )
    comment = b"\x21\xfe" + b"\xffc" * 1 + b"c" * 254 + b"\0"
    yield still("gif comments and a loop", HEAD + LOOP + comment * 50 + FRAME + TRAILER, SEEN)
    yield still("gif rubbish after its end", FILE + bytes(range(256)) * 40, SEEN)
    yield still("gif another gif after its end", FILE + HEAD + frame(255 - PLAIN) + TRAILER, SEEN)
    script = b"GIF89a" + struct.pack("<HHBBB", 0x2A2F, SIZE, 0xF7, 0, 0) + COLOURS.tobytes()
    yield refused("gif and script, nothing else", script + b"*/=1;alert(1);//", FaultKind.CORRUPT)
    comment_script = b"\x21\xfe\x10*/=1;alert(1)//-\0"
    yield still("gif and script", HEAD + comment_script + FRAME + TRAILER + b"*/alert(1)", SEEN)


def _see_through() -> Iterator[Case]:
    opacity = np.where(PLAIN == 128, 0, 255)
    yield still("gif one colour clear", HEAD + control(transparent=128) + FRAME + TRAILER, np.dstack([SEEN, opacity]))
    half = PLAIN.copy()
    half[: SIZE // 2] = 5
    cut = np.where(half == 5, 0, 255)
    yield still(
        "gif half clear", HEAD + control(transparent=5) + frame(half) + TRAILER, np.dstack([COLOURS[half], cut])
    )
    clear = np.full((SIZE, SIZE), 5)
    first = control(transparent=5) + frame(clear)
    yield moving("gif first frame clear", HEAD + first + control() + FRAME + TRAILER, [CLEAR, _solid(SEEN)])
    small = ramp(256, 16, 16)
    placed = CLEAR.copy()
    placed[8:24, 4:20] = _solid(COLOURS[small])
    # Browsers leave the rest of the screen clear, whatever background the header names.
    only = screen(SIZE, SIZE, COLOURS, background=9) + control(transparent=255) + frame(small % 255, (4, 8)) + TRAILER
    placed[8:24, 4:20] = _solid(COLOURS[small % 255])
    yield still("gif frame smaller than the screen", only, placed)
    without = screen(SIZE, SIZE, COLOURS, background=9) + frame(small, (4, 8)) + TRAILER
    placed = placed.copy()
    placed[8:24, 4:20] = _solid(COLOURS[small])
    yield still("gif frame smaller than the screen, nothing clear", without, placed)
    # Frame 1 is cleared, and 2 is a figure in the background's colour: on a browser's page it is plain to see.
    figure = PLAIN.copy()
    figure[:, 16:] = 200
    drawn = CLEAR.copy()
    drawn[:, :16] = _solid(COLOURS[np.full((SIZE, 16), 9)])
    figure[:, :16] = 9
    hidden = screen(SIZE, SIZE, COLOURS, background=9) + control(2) + FRAME
    hidden += control(1, transparent=200) + frame(figure) + TRAILER
    yield moving("gif figure in the colour of the background", hidden, [_solid(SEEN), drawn])


def _disposals() -> Iterator[Case]:
    small = ramp(256, 16, 16)
    pasted, hole = _solid(SEEN), _solid(SEEN)
    pasted[8:24, 4:20] = _solid(COLOURS[small])
    hole[8:24, 4:20] = 0
    dot = control(transparent=0) + frame(np.zeros((1, 1), np.uint8))
    for name, disposal, last in (("left", 1, pasted), ("cleared", 2, hole), ("taken back", 3, _solid(SEEN))):
        parts = control(1) + FRAME + control(disposal) + frame(small, (4, 8)) + dot
        yield moving(f"gif frame {name}", HEAD + parts + TRAILER, [_solid(SEEN), pasted, last])
    # A late frame beyond the screen is cut off, in browsers; it does not make the others small.
    corner = _solid(SEEN)
    corner[24:, 24:] = _solid(COLOURS[PLAIN[:8, :8]])
    beyond = HEAD + control(1) + FRAME + control(1) + frame(PLAIN, (24, 24)) + dot + TRAILER
    yield moving("gif late frame beyond the screen", beyond, [_solid(SEEN), corner, corner])
    outside = HEAD + control(1) + FRAME + control(1) + frame(PLAIN, (300, 300)) + TRAILER
    yield moving("gif late frame outside of the screen", outside, [_solid(SEEN), _solid(SEEN)])
    tight = screen(8, 8, COLOURS) + control(1) + FRAME + control(1) + frame(PLAIN) + TRAILER
    yield moving("gif screen smaller than its first frame", tight, [_solid(SEEN), _solid(SEEN)])
    swapped = frame(PLAIN, colours=COLOURS[::-1])
    both = HEAD + control(1) + FRAME + control(1) + swapped + TRAILER
    yield moving("gif each frame its own palette", both, [SEEN, COLOURS[::-1][PLAIN]])
    quick = HEAD + (control(1, hundredths=0) + FRAME) * 3 + TRAILER
    yield moving("gif frames without delay", quick, [SEEN] * 3)
    many = b"".join(control(1) + frame(np.full((SIZE, SIZE), at)) for at in range(100))
    chosen = [flat(tuple(COLOURS[at])) for at in (0, 33, 66, 99)]
    yield moving("gif 100 frames", HEAD + many + TRAILER, chosen, frames=100)


def _layouts() -> Iterator[Case]:
    lying = HEAD + b"\x21\xf9\x02\x01\x02\0" + FRAME + TRAILER
    yield refused("gif control block too short", lying, FaultKind.CORRUPT)
    yield still("gif zeros between blocks", HEAD + bytes(99) + FRAME + TRAILER, SEEN)
    yield still("gif unknown extension", HEAD + b"\x21\x77\x03abc\0" + FRAME + TRAILER, SEEN)
    yield still("gif no trailer", HEAD + FRAME, SEEN)
    more = frame(np.vstack([PLAIN, PLAIN]), size=(SIZE, SIZE))
    yield still("gif twice its rows", HEAD + more + TRAILER, SEEN)


def _broken() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    yield refused("gif header alone", HEAD, cut)
    yield refused("gif header and trailer", HEAD + TRAILER, corrupt)
    yield refused("gif screen cut", HEAD[:9], cut)
    yield refused("gif palette cut", HEAD[:200], cut)
    place = b"\x2c" + struct.pack("<HHHHB", 0, 0, SIZE, SIZE, 0)
    yield refused("gif frame without data", HEAD + place + b"\x08\0" + TRAILER, cut)
    yield refused("gif codes of 200 bits", HEAD + place + b"\xc8" + lzw(PLAIN)[1:] + TRAILER, corrupt)
    yield refused("gif codes of 0 bits", HEAD + place + b"\0\x01\x01\0" + TRAILER, cut)
    yield refused("gif codes beyond the table", HEAD + place + b"\x08\x04\xff\xff\xff\xff\0" + TRAILER, corrupt)
    yield refused("gif block longer than the file", HEAD + place + b"\x08\xff\x00\x01", cut)
    yield refused("gif half of its rows", HEAD + frame(PLAIN[:16], size=(SIZE, SIZE)) + TRAILER, cut)
    woven = frame(PLAIN[::8], size=(SIZE, SIZE))
    told = woven[:9] + bytes([INTERLACED]) + woven[10:]
    yield refused("gif first of four passes", HEAD + told + TRAILER, cut)
    yield refused("gif frame of no size", HEAD + frame(PLAIN, size=(0, 0)) + TRAILER, corrupt)


def _bombs() -> Iterator[Case]:
    huge = FaultKind.TOO_MANY_PIXELS
    tiny = frame(np.zeros((1, 1), np.uint8))
    yield refused("gif screen of 65535x65535", screen(65535, 65535, COLOURS) + tiny + TRAILER, huge)
    yield refused("gif frame of 65535x65535", HEAD + frame(PLAIN, size=(65535, 65535)) + TRAILER, huge)
    away = HEAD + FRAME + frame(PLAIN, (65000, 65000)) + TRAILER
    yield refused("gif second frame far outside", away, huge)
    small = screen(1, 1, COLOURS)
    dots = small + (control() + tiny) * 10_000 + TRAILER
    yield moving("gif 10,000 frames", dots, [flat(tuple(COLOURS[0]), 1, 1)] * 4, frames=10_000)
    canvas = screen(5000, 5000, COLOURS) + (control() + tiny) * 8 + TRAILER
    yield refused("gif huge canvas of tiny frames", canvas, huge)
    run = np.zeros((2000, 2000), np.uint8)
    yield still(
        "gif 4 million pixels", screen(2000, 2000, COLOURS) + _run(run) + TRAILER, flat(tuple(COLOURS[0]), 2000, 2000)
    )
    yield still("gif a gradient's worth of comments", HEAD + b"\x21\xfe\x01c\0" * 100_000 + FRAME + TRAILER, SEEN)


def _run(samples: Samples) -> bytes:
    """A frame of one colour through LZW that grows: the whole in a few KB."""
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "GIF")
    data = file.getvalue()
    return data[data.index(b"\x2c" + struct.pack("<HHHH", 0, 0, *samples.shape[::-1])) : -1]
