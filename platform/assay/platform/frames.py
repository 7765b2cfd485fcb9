"""The frames and pages of one opened file: counted, chosen, decoded, set upright.

Knows Pillow's file objects, EXIF rotation, and how a decoder's failure becomes a fault. Does not know what the
pictures are for, nor how an animation's frames are drawn over each other (`animation.py`).
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import Image
from PIL.ImageFile import ImageFile

from assay.platform import animation, formats
from assay.platform.budget import Meter, Refused
from assay.platform.colour import AS_THEY_ARE, Colours, colours_of, mend_key, plain
from assay.platform.faults import FaultKind
from assay.platform.views import Preprocess, draft_size, windows

SHEETS = {"GIF": animation.gif_sheets, "PNG": animation.png_sheets}
"""Formats whose animations are drawn here, frame by frame."""
PAGED = ("TIFF", "MPO", "HEIF")
"""Formats whose frames are pages: read in any order, without times."""
DECODER_ERRORS = (
    # What Pillow's plugins raise on bad content: seen in 400,000 mutated files, or written in their source.
    # Caught around the decoder only: our own errors still surface.
    OSError,  # most failures; UnidentifiedImageError
    SyntaxError,  # "not this format after all"
    ValueError,  # bad values in headers; UnicodeDecodeError
    EOFError,  # a frame that is not there
    LookupError,  # IndexError, KeyError: short tables, unknown modes
    TypeError,  # a tag of an unexpected type
    AttributeError,  # tags missing after a broken header
    ArithmeticError,  # OverflowError, ZeroDivisionError: absurd sizes and rationals
    AssertionError,  # Pillow's own invariants
    RuntimeError,  # pillow_heif; NotImplementedError, RecursionError in nested directories
    MemoryError,  # what a codec claims, within the pixel budget all the same
    struct.error,  # short headers
    zlib.error,  # broken PNG streams
    Image.DecompressionBombError,  # an Exception of its own
)
TIMED_WHEN_DECODED = ("WEBP", "AVIF")
"""Formats whose frames' durations Pillow tells only once they are decoded."""
EARLY_END = ("truncated", "premature", "unexpected end", "incomplete")
"""Words of decoders for a file that stops too soon."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what sets it upright."""
ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose header was read. `image` moves from frame to frame."""

    image: ImageFile
    format: str
    data: bytes
    meter: Meter


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a file, upright. `colours` is left to apply; `size` is that before any DCT scaling.

    Use it before asking for the next one: the decoder draws that one over it.
    """

    image: Image.Image
    colours: Colours
    size: tuple[int, int]
    time_s: float | None


@contextmanager
def refusing(format: str, data: bytes) -> Iterator[None]:
    """The one place where a decoder's error becomes a fault. Its message is not told: it may quote content."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise Refused(FaultKind.TOO_MANY_PIXELS, f"{format}: {type(error).__name__}") from error
    except MemoryError as error:
        raise Refused(FaultKind.TOO_MUCH_MEMORY, f"{format}: {type(error).__name__}") from error
    except DECODER_ERRORS as error:
        early = any(word in str(error).lower() for word in EARLY_END) or formats.ends_early(format, data)
        kind = FaultKind.TRUNCATED if early else FaultKind.CORRUPT
        raise Refused(kind, f"{format}: {type(error).__name__}") from error


def open_file(data: bytes, format: str, meter: Meter) -> Opened:
    """Read the header, with the decoder of one format."""
    with refusing(format, data):
        image = Image.open(BytesIO(data), formats=[format])
        mend_key(image)
        if image.info.get("interlace") and format == "PNG" and formats.lacks_passes(data, meter.tick):
            raise Refused(FaultKind.TRUNCATED, "PNG: passes missing")
    if format == "WEBP" and getattr(image, "rawmode", "") == "RGBX":
        # Without a word on alpha, Pillow drops it; but what an animation's frames leave open is clear all the same.
        image.rawmode = image._mode = "RGBA"  # type: ignore[attr-defined]  # only WebP's has the first
    return Opened(image, image.format or format, data, meter)


def count_frames(opened: Opened) -> int:
    """How many frames or pages the file has. GIF and TIFF are walked here, where the deadline can interrupt it."""
    image, meter = opened.image, opened.meter
    if opened.format == "GIF":
        return max(1, formats.gif_outline(opened.data, meter.tick).num_frames)
    if opened.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    num_pages = 1
    with refusing(opened.format, opened.data):
        while _has_frame(image, num_pages):
            num_pages += 1
            meter.tick()
        image.seek(0)
    return num_pages


def _has_frame(image: ImageFile, index: int) -> bool:
    try:
        image.seek(index)
    except EOFError:
        return False
    return True


def read_frames(opened: Opened, num_frames: int, preprocess: Preprocess) -> Iterator[Frame]:
    """The frames to look at, one at a time."""
    chosen = _choose(num_frames, opened.meter.budget.max_frames, opened.image.tell())
    if opened.format in SHEETS and (num_frames > 1 or _is_smaller_than_its_canvas(opened)):
        yield from _drawn(opened, chosen, num_frames)
    elif num_frames == 1:
        yield _read(opened, None, preprocess)
    elif opened.format in PAGED:
        yield from _pages(opened, chosen)
    else:
        yield from _animation(opened, chosen, num_frames)


def _choose(num_frames: int, max_frames: int, primary: int) -> list[int]:
    """First, last and evenly between; the one that viewers show (HEIF may name any) in place of the first."""
    if num_frames <= max_frames:
        return list(range(num_frames))
    if max_frames == 1:
        return [primary]
    spread = [round(i * (num_frames - 1) / (max_frames - 1)) for i in range(max_frames)]
    return spread if primary in spread else sorted([primary, *spread[1:]])


def _pages(opened: Opened, chosen: list[int]) -> Iterator[Frame]:
    for index in chosen:
        try:
            with refusing(opened.format, opened.data):
                opened.image.seek(index)
            frame = _read(opened, None)
        except Refused as refusal:
            # Viewers show an MPO's first picture; editors often cut off the others and leave the index.
            unread = refusal.fault.kind in (FaultKind.CORRUPT, FaultKind.TRUNCATED)
            if opened.format == "MPO" and index and unread:
                continue
            raise
        yield frame


def _is_smaller_than_its_canvas(opened: Opened) -> bool:
    tiles = opened.image.tile
    return opened.format == "GIF" and bool(tiles) and tiles[0].extents != (0, 0, *opened.image.size)


def _drawn(opened: Opened, chosen: list[int], num_frames: int) -> Iterator[Frame]:
    """Every frame is decoded by itself and drawn over those before; the chosen ones are yielded."""
    meter, format = opened.meter, opened.format
    with refusing(format, opened.data):
        opened.image.load()  # to its end, where a PNG may keep its EXIF
        colours, turn = colours_of(opened.image), _orientation(opened.image)
    canvas = animation.Canvas(animation.canvas_size(format, opened.data, opened.image.size))
    for _ in chosen:  # all of them now: each is as large as the canvas, however small what is drawn
        meter.spend(*canvas.picture.size)
    elapsed_s, sheets = 0.0, SHEETS[format](opened.data, meter.tick)
    for index in range(chosen[-1] + 1):
        sheet = next(sheets, None)
        if sheet is None:
            raise Refused(FaultKind.TRUNCATED, f"{format}: {index} of {num_frames} frames")
        meter.check(*sheet.size)
        still = open_file(sheet.still, format, meter)
        with refusing(format, sheet.still):
            still.image.load()
            canvas.draw(sheet, plain(still.image))
        if index in chosen:
            yield _upright(canvas.picture, colours, turn, None if num_frames == 1 else elapsed_s)
        elapsed_s += sheet.duration_s
    if chosen[-1] == num_frames - 1 and next(sheets, None):  # we cannot say that the last frame was seen
        raise Refused(FaultKind.CORRUPT, f"{format}: frames beyond the {num_frames} counted")


def _animation(opened: Opened, chosen: list[int], num_frames: int) -> Iterator[Frame]:
    """Every frame is decoded in turn, as each is drawn over the one before; the chosen ones are yielded."""
    image, elapsed_s = opened.image, 0.0
    for index in range(chosen[-1] + 1):
        with refusing(opened.format, opened.data):
            image.seek(index)
        opened.meter.check(*image.size)
        if index in chosen:
            yield _read(opened, elapsed_s)
        elif opened.format in TIMED_WHEN_DECODED:
            with refusing(opened.format, opened.data):
                image.load()
        elapsed_s += float(image.info.get("duration") or 0) / 1000
    with refusing(opened.format, opened.data):
        surplus = _has_frame(image, num_frames)
    if surplus:  # the decoder counts otherwise than we do: we cannot say that the last frame was seen
        raise Refused(FaultKind.CORRUPT, f"{opened.format}: frames beyond the {num_frames} counted")


def _read(opened: Opened, time_s: float | None, draft_for: Preprocess | None = None) -> Frame:
    """Decode the frame the file stands at.

    With `draft_for`, a JPEG is scaled while it is decoded if that preprocessing asks for it. Not for an MPO's pictures
    (Pillow keeps the first one's scale for all) nor for HEIF (its plugin takes the embedded thumbnail, which may show
    another picture).
    """
    image, size = opened.image, opened.image.size
    opened.meter.spend(*_claimed(image))
    with refusing(opened.format, opened.data):
        colours = colours_of(image)
        if draft_for and draft_for.decode == "scaled" and opened.format == "JPEG" and not colours.wild:
            image.draft(None, draft_size(*size, windows(*size, draft_for, tiles=False)[0]))
        image.load()
        turn = _orientation(image)  # after the pixels: a PNG may have it at its end
        frame = _upright(plain(image), colours, turn, time_s, size)
    opened.meter.tick()
    return frame


def _upright(
    picture: Image.Image, colours: Colours, turn: int, time_s: float | None, size: tuple[int, int] | None = None
) -> Frame:
    """A frame the right way up; `size` is that of the file where decoding scaled it."""
    size = size or picture.size
    if colours.wild:
        picture, colours = colours.apply(picture), AS_THEY_ARE
    if picture.mode == "CMYK":
        picture = picture.convert("RGB")
    if turn in TURNS:
        picture = picture.transpose(TURNS[turn])
    return Frame(picture, colours, size[::-1] if turn >= 5 else size, time_s)


def _claimed(image: ImageFile) -> tuple[int, int]:
    """Width and height that decoding allocates: of a TIFF, at least one of its tiles."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(322), tags.get(323)
    if isinstance(width, int) and isinstance(height, int) and width * height > image.width * image.height:
        return width, height
    return image.size


def _orientation(image: ImageFile) -> int:
    """EXIF's only: Pillow would also follow XMP's, which browsers do not. A TIFF is upright once loaded."""
    if "exif" not in image.info:
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        turn = exif.get(ORIENTATION, 1)
    except DECODER_ERRORS:
        return 1  # broken EXIF is ignored, as viewers do
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1
