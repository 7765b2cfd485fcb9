"""Bare decoders: bytes to the encoder's input, as fast as a library can, without the product's checks.

The baseline of the null regime is the fastest of those that give the product's own output. Knows the candidates and how
they are told apart. A candidate that cannot read a file (CMYK, a file cut short) hands it to the product's decoder, as
any bare loop would have to.
"""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from assay.platform.budget import Budget
from assay.platform.faults import Fault
from assay.platform.images import decode
from assay.platform.views import Preprocess, draft_size, place, scale, windows

Pixels = npt.NDArray[np.uint8]
Decode = Callable[[bytes, Preprocess], Pixels | None]
"""One view, uint8[size, size, 3]; None where there is no picture."""

SAME = {"full": 0.1, "scaled": 1.0}
"""Mean difference, in levels of 255, up to which two decoders' outputs are the same, by what the encoder asks for."""


class Unread(Exception):
    """A fast decoder does not read this kind of file."""


def product(data: bytes, preprocess: Preprocess) -> Pixels | None:
    """The product's decoder, in this process."""
    seen = decode(data, preprocess, Budget())
    return None if isinstance(seen, Fault) else seen.pixels[0]


def plain_pillow(data: bytes, preprocess: Preprocess) -> Pixels | None:
    """What anybody writes with Pillow: decode in full, scale in one step. None for a broken file."""
    try:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
    except OSError:
        return None
    window = windows(*picture.size, preprocess, tiles=False)[0]
    x0, y0, x1, y1 = window.box
    box = (x0 * picture.width, y0 * picture.height, x1 * picture.width, y1 * picture.height)
    return place(picture.resize(window.size, Image.Resampling[preprocess.interpolation.upper()], box), preprocess)


def bare_pillow(data: bytes, preprocess: Preprocess) -> Pixels:
    """Pillow, scaled while decoding if the encoder asks for that, and nothing else."""
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.mode != "RGB":
            raise Unread(picture.mode)
        window = windows(*picture.size, preprocess, tiles=False)[0]
        if preprocess.decode == "scaled":
            picture.draft(None, draft_size(*picture.size, window))
        return place(scale(picture, window, preprocess), preprocess)
    except OSError as error:
        raise Unread(str(error)) from error


def _simplejpeg() -> Decode:
    import simplejpeg  # of the `bench` group, which may not be installed

    def read(data: bytes, preprocess: Preprocess) -> Pixels:
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if colours != "YCbCr":
                raise Unread(colours)
            window = windows(width, height, preprocess, tiles=False)[0]
            least = draft_size(width, height, window) if preprocess.decode == "scaled" else (width, height)
            pixels = simplejpeg.decode_jpeg(data, min_width=least[0], min_height=least[1], min_factor=1)
        except ValueError as error:
            raise Unread(str(error)) from error
        return place(scale(Image.fromarray(pixels), window, preprocess), preprocess)

    return read


def _torchvision() -> Decode:
    import torch  # 3 s and 400 MB, only for the process that tries it
    from torchvision.io import ImageReadMode, decode_jpeg

    def read(data: bytes, preprocess: Preprocess) -> Pixels:
        try:
            pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
        except RuntimeError as error:
            raise Unread(str(error)) from error
        picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        return place(scale(picture, windows(*picture.size, preprocess, tiles=False)[0], preprocess), preprocess)

    return read


CANDIDATES: Mapping[str, Callable[[], Decode]] = {
    "assay": lambda: product,
    "Pillow": lambda: bare_pillow,
    "simplejpeg": _simplejpeg,
    "torchvision, in full": _torchvision,
}


def find_fastest(sample: Sequence[bytes], preprocess: Preprocess, threads: int) -> tuple[str, Decode]:
    """The candidate that decodes `sample` fastest among those with the product's output."""
    wanted = [product(data, preprocess) for data in sample]
    timed: list[tuple[float, str, Decode]] = []
    for name, make in CANDIDATES.items():
        try:
            read: Decode = partial(_or_product, make())
        except (ImportError, RuntimeError, OSError):  # not installed here, or its C library does not load
            continue
        same = SAME[preprocess.decode]
        if all(_is_same(one, read(data, preprocess), same) for one, data in zip(wanted, sample, strict=True)):
            timed.append((_time(read, sample, preprocess, threads), name, read))
    _, name, read = min(timed, key=lambda one: one[0])
    return name, read


def _or_product(read: Decode, data: bytes, preprocess: Preprocess) -> Pixels | None:
    try:
        return read(data, preprocess)
    except Unread:
        return product(data, preprocess)


def _is_same(wanted: Pixels | None, got: Pixels | None, same: float) -> bool:
    if wanted is None or got is None:
        return wanted is got
    return float(np.abs(wanted.astype(np.int16) - got).mean()) <= same


def _time(read: Decode, sample: Sequence[bytes], preprocess: Preprocess, threads: int) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda data: read(data, preprocess), sample):
            pass
    return time.monotonic() - began
