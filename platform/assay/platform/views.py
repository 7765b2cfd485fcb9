"""The views of a picture: which parts of it the encoder sees, and how they are fitted into its square input.

Knows geometry and scaling. Does not know files, formats or colours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay.platform.errors import SpecError

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1; of a view in fractions of width and height, after EXIF rotation."""
Pixels = npt.NDArray[np.uint8]

Decode = Literal["full", "scaled"]
"""`scaled`: a JPEG is made smaller while it is decoded, to at least twice the size needed: a camera's photo takes a
quarter to half the time, and its pixels are within 2/255 in the mean. But that turns over verdicts that lie on a
threshold (the guard, `infra/bench/guards.py`), so an encoder must ask for it."""

MAX_VIEWS = 8
"""Views of one image, at most: what an image may cost the encoder."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
HIDDEN_MAX = 0.3
"""A centre crop that hides more of a still than this gets two more views, at both ends."""
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
FITS = {"shortest": "crop", "longest": "pad", "squash": "squash"}
"""open_clip's `resize_mode` in our words."""
FILTERS = {"bicubic": FilterType.catmull_rom, "bilinear": FilterType.bilinear}
"""Pillow's filters, in a fifth of its time: with Pillow, scaling a small JPEG took longer than decoding it."""


class Preprocess(BaseModel):
    """What the encoder wants to see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(gt=0, le=4096, description="edge of the square input, pixels")
    fit: Literal["pad", "crop", "squash"] = Field(description="how a picture that is not square gets into it")
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int = Field(default=0, ge=0, le=255, description="grey level around a padded picture")
    decode: Decode = Field(default="full", description="scaled: large JPEGs faster, and one verdict in ninety another")
    mean: tuple[float, float, float] = Field(description="of red, green, blue, on a scale of 0 to 1")
    std: tuple[float, float, float] = Field(description="of red, green, blue, on a scale of 0 to 1")

    @classmethod
    def from_open_clip(cls, preprocess_cfg: Mapping[str, object]) -> "Preprocess":
        """Read open_clip's `preprocess_cfg` (of `open_clip_config.json`); open_clip's defaults fill in."""
        given = {key: value for key, value in preprocess_cfg.items() if value is not None}
        fit = FITS.get(str(given.get("resize_mode", "shortest")))
        try:
            return cls.model_validate(
                {
                    "size": _square(given.get("size")),
                    "fit": fit,
                    "interpolation": given.get("interpolation", "bicubic"),
                    "fill": given.get("fill_color", 0),
                    "mean": given.get("mean", OPENAI_MEAN),
                    "std": given.get("std", OPENAI_STD),
                }
            )
        except ValidationError as error:
            wrong = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
            raise SpecError(
                "The encoder's preprocessing cannot be followed",
                where="preprocess_cfg",
                why=wrong,
                fix="use a square, bicubic or bilinear encoder; resize_mode shortest, longest or squash",
            ) from error


def _square(size: object) -> object:
    if isinstance(size, list | tuple) and len(set(size)) == 1 and len(size) <= 2:
        return size[0]
    return size


@dataclass(frozen=True, slots=True)
class View:
    """One look at an image. `kind` is whole, tile, frame or on_black; `time_s` is of an animation's frame."""

    kind: str
    box: Box
    time_s: float | None

    def row(self) -> dict[str, object]:
        """As `rows.VIEW` has it."""
        x0, y0, x1, y1 = self.box
        return {"kind": self.kind, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "time_s": self.time_s}


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the picture, and the size in pixels it is scaled to."""

    kind: Literal["whole", "tile"]
    box: Box
    size: tuple[int, int]


def windows(width: int, height: int, preprocess: Preprocess, tiles: bool) -> list[Window]:
    """The parts of a picture to look at: the whole or most of it; with `tiles`, then both ends of a long one.

    Rounding follows open_clip's own transforms, so that the encoder sees what it was trained on.
    """
    edge = preprocess.size
    if preprocess.fit == "squash":
        return [Window("whole", WHOLE, (edge, edge))]
    if preprocess.fit == "pad":
        ratio = max(width, height) / edge
        return [Window("whole", WHOLE, (max(1, round(width / ratio)), max(1, round(height / ratio))))]
    short, long = sorted((width, height))
    scaled = int(edge * long / short)
    starts = [round((scaled - edge) / 2)]
    if tiles and 1 - short / long > HIDDEN_MAX:
        starts += [0, scaled - edge]
    kinds: list[Literal["whole", "tile"]] = ["whole", "tile", "tile"]
    return [
        Window(kind, _along(width, height, start / scaled, (start + edge) / scaled), (edge, edge))
        for kind, start in zip(kinds, starts, strict=False)
    ]


def _along(width: int, height: int, start: float, end: float) -> Box:
    return (start, 0.0, end, 1.0) if width >= height else (0.0, start, 1.0, end)


def draft_size(width: int, height: int, window: Window) -> tuple[int, int]:
    """The least size of the whole picture with twice the pixels each way that the window is scaled to."""
    x0, y0, x1, y1 = window.box
    return (
        min(width, int(2 * window.size[0] / (x1 - x0)) + 1),
        min(height, int(2 * window.size[1] / (y1 - y0)) + 1),
    )


def scale(image: Image.Image, window: Window, preprocess: Preprocess) -> Image.Image:
    """Cut the window out of the picture and scale it, up or down.

    First across, then down, as Pillow did when today's encoders were trained. Pixels are rounded between the two, so in
    the other order a fifth of them come out otherwise, by up to 20/255 at hard edges, and verdicts with them; in this
    order nearly all are Pillow's, and the others one level off.
    """
    x0, y0, x1, y1 = window.box
    width, height = image.size
    left, top, right, bottom = x0 * width, y0 * height, min(x1 * width, width), min(y1 * height, height)
    if (right - left, bottom - top) == window.size and left.is_integer() and top.is_integer():
        return image.crop((int(left), int(top), int(right), int(bottom)))  # nothing to scale, so nothing to round
    # A see-through pixel's colour counts by its opacity, as in Pillow; taken once, not once in each pass.
    ready = image.convert("RGBa") if image.mode == "RGBA" else image
    convolution = ResizeAlg.convolution(FILTERS[preprocess.interpolation])
    across = _resample(ready, (left, 0, right, height), (window.size[0], height), convolution)
    small = _resample(across, (0, top, window.size[0], bottom), window.size, convolution)
    return small.convert(image.mode)


def _resample(image: Image.Image, box: Box, size: tuple[int, int], convolution: ResizeAlg) -> Image.Image:
    left, top, right, bottom = box
    options = ResizeOptions(resize_alg=convolution, crop_box=CropBox(left, top, right - left, bottom - top))
    small = Image.new(image.mode, size)
    Resizer().resize_pil(image, small, options)  # a new one each time: threads may not share one
    return small


def place(image: Image.Image, preprocess: Preprocess) -> Pixels:
    """One input, uint8[size, size, 3], with a scaled RGB picture at its centre and the fill around it."""
    width, height = image.size
    left, top = (preprocess.size - width) // 2, (preprocess.size - height) // 2
    pixels = np.full((preprocess.size, preprocess.size, 3), preprocess.fill, np.uint8)
    pixels[top : top + height, left : left + width] = np.asarray(image)
    return pixels
