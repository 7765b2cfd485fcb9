"""One file of each format, and the few questions that the decoder's tests ask of what was seen.

Knows how Pillow writes files. Does not know what a right answer is.
"""

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from assay.platform.faults import Fault, FaultKind
from assay.platform.images import Budget, Decoded, Preprocess, decode

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


SIZE = 32


SQUASH = Preprocess(size=SIZE, fit="squash", mean=MEAN, std=STD)


PAD = Preprocess(size=SIZE, fit="pad", fill=7, mean=MEAN, std=STD)


CROP = Preprocess(size=SIZE, fit="crop", mean=MEAN, std=STD)


BUDGET = Budget()


RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


Pixels = npt.NDArray[np.uint8]


def save(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, format, **options)  # a copy: Pillow leaves an encoder's settings on what it saved
    return file.getvalue()


def see(data: bytes, preprocess: Preprocess = SQUASH, budget: Budget = BUDGET) -> Decoded:
    seen = decode(data, preprocess, budget)
    assert isinstance(seen, Decoded), seen
    return seen


def fault(data: bytes, budget: Budget = BUDGET) -> FaultKind:
    seen = decode(data, SQUASH, budget)
    assert isinstance(seen, Fault), seen.views
    assert len(seen.detail) < 80
    return seen.kind


def flat(pixels: Pixels, colour: tuple[int, int, int], within: int = 3) -> bool:
    return bool((np.abs(pixels.astype(int) - np.array(colour)) <= within).all())


def far(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth shapes with some grain: as a photo compresses and scales."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8))


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Four colours in the corners: any turn or flip shows."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(WHITE, (width // 2, height // 2, width, height))
    return image


def one_of_each() -> dict[str, bytes]:
    """A file of each format that is read, and of the modes that take another path through the decoder."""
    image, frames = photo(96, 72), [photo(40, 30, seed) for seed in range(3)]
    many = {"save_all": True, "append_images": frames[1:], "duration": 100}
    pages = [photo(40, 30, seed) for seed in range(3)]
    return {
        "JPEG": save(image, "JPEG", quality=85),
        "JPEG progressive": save(image, "JPEG", progressive=True),
        "JPEG CMYK": save(image.convert("CMYK"), "JPEG"),
        "MPO": save(frames[0], "MPO", save_all=True, append_images=frames[1:]),
        "PNG": save(image, "PNG"),
        "PNG palette": save(image.quantize(16), "PNG", transparency=3),
        "PNG animated": save(frames[0], "PNG", **many),
        "WEBP": save(image, "WEBP"),
        "WEBP lossless": save(image.convert("RGBA"), "WEBP", lossless=True),
        "WEBP animated": save(frames[0], "WEBP", **many),
        "GIF": save(image, "GIF"),
        "GIF animated": save(frames[0], "GIF", **many),
        "BMP": save(image, "BMP"),
        "TIFF": save(image, "TIFF"),
        "TIFF deflate": save(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF pages": save(pages[0], "TIFF", save_all=True, append_images=pages[1:]),
        "AVIF": save(image, "AVIF", speed=10),
        "AVIF animated": save(frames[0], "AVIF", speed=10, **many),
    }


FILES = one_of_each()


EVERY_FILE = pytest.mark.parametrize("name", list(FILES))


def png(depth: int, colour: int, rows: list[bytes], width: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG as Pillow would not write it."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def profile(gamma: float, swap: bool = False) -> bytes:
    """An ICC profile: sRGB's, with another tone curve, and red and green exchanged if asked."""
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in range(132, 132 + 12 * struct.unpack_from(">I", icc, 128)[0], 12):
        tag, start, _ = struct.unpack_from(">4sII", icc, at)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):  # a parametric curve of type 0 is a plain power
            struct.pack_into(">4sIHHi", icc, start, b"para", 0, 0, 0, round(gamma * 65536))
        if swap and tag in (b"rXYZ", b"gXYZ"):
            icc[at : at + 4] = b"gXYZ" if tag == b"rXYZ" else b"rXYZ"
    return bytes(icc)
