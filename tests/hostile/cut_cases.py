"""One sound file of each format, cut off at many places.

Knows where a reader's attention lies: in the header, before and amid the pixels, at the last byte. Does not know how
files are read.
"""

from collections.abc import Iterator

from assay.platform.faults import FaultKind
from tests.hostile import avif_cases, gif_cases, jpeg_cases, webp_cases
from tests.hostile.bmp import bmp, rows
from tests.hostile.case import SIZE, Case, refused
from tests.hostile.jpeg import jpeg
from tests.hostile.pictures import gradient, soft_gradient
from tests.hostile.png import RGB, png
from tests.hostile.tiff import page, tiff
from tests.hostile.webp import webp

PLACES = (0.1, 0.25, 0.5, 0.75, 0.95)
"""Shares of the file that are left."""


def sound_files() -> dict[str, bytes]:
    """A file of each format, and of the kinds that take another path through a decoder."""
    return {
        "jpeg": jpeg_cases.FILE,
        "jpeg progressive": jpeg(soft_gradient(), progressive=True),
        "png": png(gradient(), 8, RGB),
        "png interlaced": png(gradient(), 8, RGB, interlace=True),
        "gif": gif_cases.FILE,
        "webp lossless": webp_cases.FILE,
        "webp lossy": webp(soft_gradient(), lossless=False),
        "tiff": tiff(page(gradient(), 2)),
        "bmp": bmp(SIZE, SIZE, 24, rows(gradient(), 24)),
        "avif": avif_cases.FILE,
    }


def cut_cases() -> Iterator[Case]:
    """Every cut. None leaves a whole picture, so each must be called what it is."""
    for name, data in sound_files().items():
        for place in PLACES:
            cut = data[: int(len(data) * place)]
            yield refused(f"{name} cut at {place:.0%}", cut, FaultKind.TRUNCATED)
        # A GIF without its trailer, or a byte of a PNG's last checksum, is all there: see their own cases.
        if name.split()[0] not in ("gif", "png"):
            yield refused(f"{name} cut by one byte", data[:-1], FaultKind.TRUNCATED)
