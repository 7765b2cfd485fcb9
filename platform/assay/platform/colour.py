"""The colours people see: pixels of any mode, profile and transparency into plain sRGB.

Knows Pillow's modes, ICC profiles, PNG gamma and alpha. Does not know files, faults or views.

Every rule here closes a way to show people one picture and the model another.
"""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""ICC colour space of a profile -> the Pillow mode it describes."""
SRGB_TOLERANCE = 3
"""A profile that moves no colour further than this (of 255) is sRGB under another name."""
TAME_TOLERANCE = 40
"""A profile whose greys move no further may be applied after scaling: Display P3, Adobe RGB, ProPhoto."""
PRECISION = {"L": ImageCms.Flags.NOOPTIMIZE, "CMYK": ImageCms.Flags.HIGHRESPRECALC}
"""Little CMS replaces a transform by a coarse table: off by 10 of 255 in the shadows of a grey curve, by 3 for inks."""
CACHED_PROFILE_BYTES = 65_536
GREY_KEYS = {"L;2": 85, "L;4": 17}
"""PNG raw mode -> what Pillow multiplies grey samples by, but not their transparent key."""
Lut = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Colours:
    """How a file's samples become sRGB: by a profile (for `mode`), by a table of 256 values, or as they are.

    A `wild` one must be applied before scaling: averaging first would mix samples that people see far apart,
    which is how a picture is hidden inside another. The others are applied to the small picture, which is cheap.
    """

    mode: str = "RGB"
    transform: ImageCms.ImageCmsTransform | None = None
    lut: Lut | None = None
    wild: bool = False

    def apply(self, image: Image.Image) -> Image.Image:
        """Convert an L, RGB, RGBA or CMYK picture, plain from the same file, to sRGB, keeping its alpha."""
        if self.lut is not None:
            return image.point(self.lut * _num_colours(image) + tuple(range(256)) * (image.mode == "RGBA"))
        if self.transform is None:
            return image
        colours = self.transform.apply(image if image.mode == self.mode else image.convert(self.mode))
        if image.mode == "RGBA":
            colours.putalpha(image.getchannel("A"))
        return colours


AS_THEY_ARE = Colours()


def _num_colours(image: Image.Image) -> int:
    return 3 if image.mode == "RGBA" else len(image.getbands())


def colours_of(image: Image.Image) -> Colours:
    """Read an opened file's profile, or a PNG's gamma where there is none; pixels need not be decoded yet."""
    icc = image.info.get("icc_profile")
    if isinstance(icc, bytes) and icc:
        found = _profiled(icc) if len(icc) <= CACHED_PROFILE_BYTES else _profiled.__wrapped__(icc)
        return found if found.mode in _profile_modes(image.mode) else AS_THEY_ARE
    gamma = image.info.get("gamma")
    if not isinstance(gamma, float) or "srgb" in image.info or gamma <= 0 or abs(gamma * 2.2 - 1) < 0.05:
        return AS_THEY_ARE
    linear = (np.arange(256) / 255) ** (1 / gamma)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Colours(lut=tuple(int(value) for value in np.rint(shown * 255)), wild=True)


def _profile_modes(mode: str) -> tuple[str, ...]:
    """The modes whose profiles fit a file's mode. One for other inks is broken: it is ignored, as viewers do."""
    if mode == "CMYK":
        return ("CMYK",)
    is_grey = mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")
    return ("L", "RGB") if is_grey else ("RGB",)


# Building a transform takes as long as decoding a small JPEG, and most files share a few profiles.
@lru_cache(maxsize=32)
def _profiled(icc: bytes) -> Colours:
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        mode = PROFILE_MODES.get(profile.profile.xcolor_space, "")
        # NOCACHE: one transform is then safe to use from many threads (Little CMS manual, "Multithreading").
        flags = ImageCms.Flags.NOCACHE | PRECISION.get(mode, ImageCms.Flags.NONE)
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return AS_THEY_ARE  # a broken profile is ignored, as viewers do
    if mode == "CMYK":
        return Colours(mode, transform, wild=True)
    colours, greys = _moves(transform, mode)
    if colours <= SRGB_TOLERANCE:
        return AS_THEY_ARE
    return Colours(mode, transform, wild=greys > TAME_TOLERANCE or not profile.profile.is_matrix_shaper)


def _moves(transform: ImageCms.ImageCmsTransform, mode: str) -> tuple[int, int]:
    """How far a transform moves any colour of a coarse grid, and any grey, out of 255."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    probe = Image.fromarray(np.concatenate([ramp, grid if mode == "RGB" else ramp])[None])
    before = np.asarray(probe).astype(int)
    moved = np.abs(np.asarray(transform.apply(probe.convert(mode))).astype(int) - before).max(axis=2)[0]
    return int(moved.max()), int(moved[:256].max())


def mend_key(image: Image.Image) -> None:
    """Bring a PNG's transparent colour to the 8-bit scale of its pixels; call once, after opening.

    Pillow scales 2-, 4- and 16-bit samples but not the tRNS key, and so would show what viewers hide.
    """
    key = image.info.get("transparency")
    tile = getattr(image, "tile", None)
    raw_mode = str(tile[0].args) if tile else ""
    if isinstance(key, int) and raw_mode in GREY_KEYS:
        image.info["transparency"] = min(key * GREY_KEYS[raw_mode], 255)
    if isinstance(key, tuple) and raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(sample >> 8 for sample in key)


def plain(image: Image.Image) -> Image.Image:
    """A decoded picture of any mode as L, RGB, RGBA or CMYK; its colours are not yet sRGB."""
    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        return _grey(image)
    if mode == "La":
        image = image.convert("LA")  # straight to RGBA would lose the alpha
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled, not clipped. Where no white is agreed, the range found is stretched."""
    samples = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        depth = min(max(int(tags.get(258, (16,))[0]), 1), 16)  # BitsPerSample: 12 bits are left as is
        grey = _to_bytes(samples, 0, 2**depth - 1)
    else:
        finite = np.nan_to_num(samples.astype(np.float64), posinf=0.0, neginf=0.0)
        low, high = float(finite.min()), float(finite.max())
        ceilings = [1.0, 255.0, 65535.0] if image.mode == "F" else [255.0, 65535.0]
        white = next((ceiling for ceiling in ceilings if low >= 0 and high <= ceiling), None)
        grey = _to_bytes(finite, 0, white) if white else _to_bytes(finite, low, max(high - low, 1e-300))
    if tags.get(262) == 0:  # TIFF PhotometricInterpretation: 0 is white; Pillow inverts up to 8 bits only
        grey = 255 - grey
    picture = Image.fromarray(grey)
    key = image.info.get("transparency")
    if isinstance(key, int):
        picture = picture.convert("RGBA")
        picture.putalpha(Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8)))
    return picture


def _to_bytes(samples: npt.NDArray[np.generic], black: float, span: float) -> npt.NDArray[np.uint8]:
    scaled = (samples.astype(np.float32) - np.float32(black)) * np.float32(255 / span)
    bounded: npt.NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return bounded


def is_see_through(image: Image.Image) -> bool:
    """Whether any pixel lets the background through."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] != 255


def over(image: Image.Image, background: str) -> Image.Image:
    """The RGB picture as it looks on a background colour."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")
