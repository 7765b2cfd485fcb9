"""One handmade file with the outcome written down before it was ever decoded, and what people see in it.

Knows outcomes, backgrounds and scaling, in plain floating-point arithmetic. Does not know Pillow or the code under
test: both sides of a comparison must not share a mistake.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay.platform.faults import OK, FaultKind

Picture = npt.NDArray[np.float64]
"""What a screen shows: [height, width, 3] of sRGB from 0 to 255, or with a fourth channel, the opacity."""
Samples = npt.NDArray[np.generic]
"""Numbers as they stand in a file."""

SIZE = 32
"""Edge of the encoder's input in these tests, pixels. Most pictures are drawn in it, so that nothing is scaled."""
TOLERANCE = 2.0
"""How far an input may be from what people see, of 255: any pixel of a lossless file, the mean of a lossy one."""
LOSSY_LIMIT = 24.0
"""How far a single pixel of a lossy file may be off: its codec rounds, and rings at edges. A wrong turn, a wrong
profile or a missing background is further off in most pixels, and so far beyond the mean."""


@dataclass(frozen=True, slots=True)
class Look:
    """What people see in one view of an image, on the view's background."""

    kind: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class Case:
    """A file, how it must end, and where it ends well, what must be seen."""

    name: str
    data: bytes
    outcome: str
    looks: tuple[Look, ...] = ()
    width: int = 0
    height: int = 0
    frames: int = 1
    lossy: bool = False


def refused(name: str, data: bytes, kind: FaultKind) -> Case:
    """A file that must end with this fault."""
    return Case(name, data, kind)


def still(name: str, data: bytes, picture: Samples, lossy: bool = False) -> Case:
    """A file that must be seen as one picture: on white, and where it lets the background through, on black."""
    shown = picture.astype(np.float64)
    looks = [Look("whole", over(shown, 255))]
    if is_see_through(shown):
        looks.append(Look("on_black", over(shown, 0)))
    return Case(name, data, OK, tuple(looks), shown.shape[1], shown.shape[0], 1, lossy)


def moving(name: str, data: bytes, pictures: Sequence[Samples], lossy: bool = False, frames: int = 0) -> Case:
    """A file of several frames or pages; `pictures` are those looked at, of `frames` in all."""
    shown = [picture.astype(np.float64) for picture in pictures]
    looks = [Look("frame", over(picture, 255)) for picture in shown]
    looks += [Look("on_black", over(picture, 0)) for picture in shown if is_see_through(picture)]
    return Case(name, data, OK, tuple(looks), shown[0].shape[1], shown[0].shape[0], frames or len(shown), lossy)


def is_see_through(picture: Picture) -> bool:
    """Whether any pixel lets the background through."""
    return picture.shape[2] == 4 and bool((picture[:, :, 3] < 255).any())


def over(picture: Picture, background: float) -> Picture:
    """The picture on a grey background, as a browser composes it: plain arithmetic on sRGB values."""
    if picture.shape[2] == 3:
        return picture
    opacity = picture[:, :, 3:] / 255
    composed: Picture = picture[:, :, :3] * opacity + background * (1 - opacity)
    return composed


def squash(picture: Picture) -> Picture:
    """Scaled into the encoder's square: bicubic with antialiasing, along and then down, bounded after each."""
    narrow = np.clip(np.tensordot(cubic(picture.shape[1]), picture, axes=(1, 1)), 0, 255)  # [across, height, 3]
    squashed: Picture = np.clip(np.tensordot(cubic(picture.shape[0]), narrow, axes=(1, 1)), 0, 255)
    return squashed


def cubic(length: int) -> npt.NDArray[np.float64]:
    """What each of `SIZE` outputs takes from each of `length` inputs: the cubic kernel of Keys with a = -1/2."""
    stretch = max(length / SIZE, 1.0)
    centres = (np.arange(SIZE)[:, None] + 0.5) * length / SIZE
    away = np.abs(np.arange(length)[None] + 0.5 - centres) / stretch
    near = 1.5 * away**3 - 2.5 * away**2 + 1
    far = -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
    weights = np.where(away < 1, near, np.where(away < 2, far, 0.0))
    shares: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def misfit(case: Case, seen: npt.NDArray[np.uint8], kinds: list[str], size: tuple[int, int], frames: int) -> str:
    """What is wrong with how a file was seen; empty if nothing is."""
    wanted = [look.kind for look in case.looks]
    if kinds != wanted:
        return f"views {kinds}, wanted {wanted}"
    if size != (case.width, case.height) or frames != case.frames:
        return f"{size}, {frames} frames, wanted {(case.width, case.height)}, {case.frames}"
    for place, (look, pixels) in enumerate(zip(case.looks, seen, strict=True)):
        off = np.abs(squash(look.picture) - pixels)
        mean, most = float(off.mean()), float(off.max())
        if (mean if case.lossy else most) > TOLERANCE or most > LOSSY_LIMIT:
            return f"view {place} ({look.kind}) is off by {mean:.2f} in the mean, {most:.1f} at most"
    return ""
