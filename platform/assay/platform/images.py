"""One stored image: from its bytes to the pixels the encoder sees, once, canonically and within a budget.

Knows the order of things: refuse what the bytes give away, open, look at the frames, fit the views. Does not know
where bytes come from. `formats.py` says what the bytes claim, `frames.py` decodes, `colour.py` gives the colours,
`views.py` the parts and sizes.

What the model sees must be what people see; anything else is a way to evade it.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import AvifImagePlugin, TiffImagePlugin, WebPImagePlugin

from assay.platform import formats
from assay.platform.budget import Budget, Meter, Refused
from assay.platform.colour import is_see_through, over
from assay.platform.faults import Fault, FaultKind
from assay.platform.frames import Frame, count_frames, open_file, read_frames
from assay.platform.views import MAX_VIEWS, Pixels, Preprocess, View, place, scale, windows

__all__ = ["MAX_VIEWS", "Budget", "Decoded", "Preprocess", "View", "decode"]

LOADED = (AvifImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""Imported by name. Pillow loads BMP, GIF, JPEG and PNG itself, and for any other would load all its forty formats."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was seen of an image: `pixels` is uint8[views, size, size, 3]; `width`, `height` are after EXIF rotation.

    `views` has every frame's views in order of time, and after them, on black, the frames that are see-through.
    """

    pixels: Pixels
    views: tuple[View, ...]
    format: str
    width: int
    height: int
    frames: int


def decode(data: bytes, preprocess: Preprocess, budget: Budget) -> Decoded | Fault:
    """Decode a stored file into views for the encoder, or say what is wrong. Any thread may call it."""
    _hush()
    try:
        return _decode(data, preprocess, Meter(budget))
    except Refused as refusal:
        return refusal.fault


def _decode(data: bytes, preprocess: Preprocess, meter: Meter) -> Decoded:
    format = _admit(data, meter)
    opened = open_file(data, format, meter)
    num_frames = count_frames(opened)
    looks: list[tuple[View, Pixels]] = []
    size = None
    for frame in read_frames(opened, num_frames, preprocess):
        size = size or frame.size
        looks += _look(frame, num_frames == 1, preprocess)
        meter.tick()
    assert size, "every file has a first frame, or is refused"
    # If the cap bites, it is the second look at a frame that goes, not a frame.
    looks = sorted(looks, key=lambda look: look[0].kind == "on_black")[:MAX_VIEWS]
    pixels = np.stack([inputs for _, inputs in looks])
    return Decoded(pixels, tuple(view for view, _ in looks), opened.format, *size, num_frames)


def _admit(data: bytes, meter: Meter) -> str:
    """Refuse what can be refused without a decoder; otherwise name the one format to try."""
    if not data:
        raise Refused(FaultKind.EMPTY)
    if len(data) > meter.budget.max_bytes:
        raise Refused(FaultKind.TOO_LARGE, f"{len(data)} bytes, budget {meter.budget.max_bytes}")
    format = formats.sniff(data)
    heif_readable = _set_up()
    if format is None or (format == "HEIF" and not heif_readable):
        raise Refused(FaultKind.UNSUPPORTED_FORMAT, format or formats.foreign_name(data))
    meter.check(*formats.declared_size(format, data, meter.tick))
    return format


@cache
def _set_up() -> bool:
    """Settle Pillow's process-wide options, once, at the first image. Says whether HEIF can be read."""
    # Otherwise every AVIF starts as many threads as there are cores; our parallelism is one image per thread.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    try:
        # Optional: HEVC is patent-encumbered and the wheel bundles LGPL libheif (the `heic` extra).
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _hush() -> None:
    """Keep Pillow's warnings to itself: what they warn of ends as a fault, or does not matter here.

    `warnings.catch_warnings` is not thread-safe in Python 3.11, so a filter is set for the process, and again
    where somebody (pytest, after each test) has put the filters back.
    """
    for module in (r"PIL\.", r"pillow_heif\."):
        if all(getattr(known[3], "pattern", None) != module for known in warnings.filters):
            warnings.filterwarnings("ignore", module=module)


def _look(frame: Frame, is_still: bool, preprocess: Preprocess) -> Iterator[tuple[View, Pixels]]:
    see_through = is_see_through(frame.image)
    for window in windows(*frame.size, preprocess, tiles=is_still):
        small = frame.colours.apply(scale(frame.image, window, preprocess))
        kind = window.kind if is_still else "frame"
        yield View(kind, window.box, frame.time_s), place(over(small, "white"), preprocess)
        if see_through and window.kind == "whole":
            yield View("on_black", window.box, frame.time_s), place(over(small, "black"), preprocess)
