"""The pictures drawn into handmade files, and the arithmetic of what people see of them.

Knows numpy. Does not know any file format.
"""

import numpy as np
import numpy.typing as npt

from tests.hostile.case import SIZE, Picture, Samples

Bytes = npt.NDArray[np.uint8]


def gradient(width: int = SIZE, height: int = SIZE) -> Bytes:
    """Smooth, and unlike itself after any turn or flip: red to the right, green downwards, blue at the top left."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    blue = (1 - x) * (1 - y)
    drawn: Bytes = np.rint(255 * np.stack([x, y, blue], axis=-1)).astype(np.uint8)
    return drawn


def soft_gradient(width: int = SIZE, height: int = SIZE) -> Bytes:
    """The same with less contrast: no sample is clipped on its way through YCbCr."""
    drawn: Bytes = np.rint(64 + gradient(width, height) / 2.0).astype(np.uint8)
    return drawn


def ramp(levels: int, width: int = SIZE, height: int = SIZE) -> npt.NDArray[np.int64]:
    """Grey samples of a file with `levels` levels, [height, width]: darker at the top left."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.rint((x * 0.75 + y * 0.25) * (levels - 1)).astype(np.int64)


def grey(samples: Samples, white: float = 255.0) -> Picture:
    """Grey samples as a screen shows them."""
    return np.repeat(samples.astype(np.float64)[:, :, None] * (255 / white), 3, axis=2)


def flat(colour: tuple[int, ...], width: int = SIZE, height: int = SIZE) -> Bytes:
    """One colour all over."""
    return np.tile(np.array(colour, np.uint8), (height, width, 1))


def veil(width: int = SIZE, height: int = SIZE) -> Bytes:
    """The gradient, clear at the top and solid at the bottom."""
    opacity = np.rint(np.linspace(0, 255, height)).astype(np.uint8)
    return with_opacity(gradient(width, height), np.repeat(opacity[:, None], width, axis=1))


def with_opacity(picture: Samples, opacity: Samples) -> Bytes:
    """A picture with a fourth channel."""
    return np.concatenate([picture[:, :, :3], opacity[:, :, None]], axis=2).astype(np.uint8)


def stored_for(upright: Samples, orientation: int) -> Samples:
    """How a camera stores a picture that the EXIF orientation sets upright again, by the table of the standard.

    The standard names where the stored row 0 and column 0 lie: 6 says row 0 is the right-hand side, column 0 the top.
    """
    swapped = np.swapaxes(upright, 0, 1)
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: swapped,
        6: swapped[::-1],
        7: swapped[::-1, ::-1],
        8: swapped[:, ::-1],
    }[orientation]


def from_cmyk(inks: Samples) -> Picture:
    """Inks of 0 to 255 on white paper, without a profile, as browsers show them: each ink takes its share of light."""
    light = 1 - inks.astype(np.float64) / 255
    return np.asarray(255 * light[:, :, :3] * light[:, :, 3:])


def linear(picture: Samples) -> Picture:
    """sRGB values of 0 to 255 as amounts of light, 0 to 1."""
    values = picture.astype(np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def shown(light: Picture) -> Picture:
    """Amounts of light as sRGB values of 0 to 255."""
    bounded = np.clip(light, 0, 1)
    return np.asarray(255 * np.where(bounded <= 0.0031308, 12.92 * bounded, 1.055 * bounded ** (1 / 2.4) - 0.055))
