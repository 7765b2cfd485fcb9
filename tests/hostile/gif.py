"""GIF files written block by block.

Knows the GIF specification. Does not know what a reader makes of the file.
"""

import struct

import numpy as np

from tests.hostile.case import Samples

TRAILER = b";"
LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
INTERLACED = 0x40
PASSES = ((0, 8), (4, 8), (2, 4), (1, 2))
"""First row and row step of each interlaced pass."""


def blocks(data: bytes) -> bytes:
    """Data in sub-blocks, with their terminator."""
    return b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255)) + b"\0"


def lzw(samples: Samples, bits: int = 8) -> bytes:
    """Valid LZW that compresses nothing: the table is cleared before codes could grow."""
    clear, size = 1 << bits, bits + 1
    codes: list[int] = []
    for place, sample in enumerate(samples.reshape(-1).tolist()):
        if place % (clear - 2) == 0:
            codes.append(clear)
        codes.append(sample)
    codes.append(clear + 1)
    spread = np.array(codes)[:, None] >> np.arange(size) & 1
    packed = np.packbits(spread.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    return bytes([bits]) + blocks(packed)


def palette(colours: Samples) -> bytes:
    """256 colours, black where none is given."""
    return colours.astype(np.uint8).tobytes().ljust(768, b"\0")


def screen(width: int, height: int, colours: Samples | None, background: int = 0, version: bytes = b"89a") -> bytes:
    """The signature, the screen, and its palette."""
    flags = 0 if colours is None else 0xF7
    head = b"GIF" + version + struct.pack("<HHBBB", width, height, flags, background, 0)
    return head + (b"" if colours is None else palette(colours))


def control(disposal: int = 0, transparent: int | None = None, hundredths: int = 10) -> bytes:
    """How the next frame is shown. Disposal: 1 leave, 2 clear, 3 previous."""
    flags = disposal << 2 | (transparent is not None)
    return b"\x21\xf9\x04" + struct.pack("<BHBB", flags, hundredths, transparent or 0, 0)


def frame(
    samples: Samples,
    at: tuple[int, int] = (0, 0),
    colours: Samples | None = None,
    flags: int = 0,
    size: tuple[int, int] | None = None,
) -> bytes:
    """One frame at x, y; `size` is a lie where given."""
    width, height = size or samples.shape[1::-1]
    rows = np.vstack([samples[first::step] for first, step in PASSES]) if flags & INTERLACED else samples
    flags |= 0 if colours is None else 0x87
    own = b"" if colours is None else palette(colours)
    return b"\x2c" + struct.pack("<HHHHB", *at, width, height, flags) + own + lzw(rows)
