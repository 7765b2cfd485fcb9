"""The colours people see: transparency, inks, many bits, profiles and gamma."""

import io
import struct

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from tests.platform.sample_files import (
    BLACK,
    BLUE,
    GREEN,
    RED,
    SIZE,
    WHITE,
    Pixels,
    flat,
    photo,
    png,
    profile,
    quarters,
    save,
    see,
)


def test_transparent_picture_is_seen_on_white_and_on_black() -> None:
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 20, 40))
    for data in (save(image, "PNG"), save(image, "WEBP", lossless=True)):
        seen = see(data)
        assert [view.kind for view in seen.views] == ["whole", "on_black"]
        assert flat(seen.pixels[0, :, 20:], WHITE)
        assert flat(seen.pixels[1, :, 20:], BLACK)
        assert flat(seen.pixels[:, :, :12], RED)


def test_white_text_on_nothing_is_seen_on_black() -> None:
    image = Image.new("LA", (40, 40), (255, 0))
    image.paste((255, 255), (10, 10, 30, 30))
    seen = see(save(image, "PNG"))
    assert flat(seen.pixels[0], WHITE)
    assert seen.pixels[1].min() == 0
    assert seen.pixels[1].max() == 255


def test_opaque_alpha_gets_one_view() -> None:
    assert len(see(save(photo(40, 40).convert("RGBA"), "PNG")).views) == 1


def test_colours_under_alpha_zero_are_not_seen() -> None:
    """AlphaDog: a reader that drops alpha sees a picture that nobody else sees."""
    hidden = photo(64, 64)
    hidden.putalpha(0)
    for data in (save(hidden, "PNG"), save(hidden, "WEBP", lossless=True, exact=True)):
        seen = see(data)
        assert flat(seen.pixels[0], WHITE, within=0)
        assert flat(seen.pixels[1], BLACK, within=0)


@pytest.mark.parametrize("key", [0, b"\x00\xff\xff\xff"])
def test_palette_with_transparency(key: object) -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([*BLUE, *RED, *GREEN, *WHITE])
    image.paste(1, (20, 0, 40, 40))
    for format in ("PNG", "GIF") if key == 0 else ("PNG",):
        seen = see(save(image, format, transparency=key))
        assert [view.kind for view in seen.views] == ["whole", "on_black"]
        assert flat(seen.pixels[0, :, :14], WHITE)
        assert flat(seen.pixels[1, :, :14], BLACK)
        assert flat(seen.pixels[0, :, 18:], RED)


@pytest.mark.parametrize(
    ("depth", "colour", "row", "key"),
    [
        (2, 0, bytes([0b01010101] * 4), struct.pack(">H", 1)),
        (4, 0, bytes([0x55] * 8), struct.pack(">H", 5)),
        (8, 0, bytes([90] * 16), struct.pack(">H", 90)),
        (16, 0, struct.pack(">H", 0x1234) * 16, struct.pack(">H", 0x1234)),
        (8, 2, bytes([9, 90, 200] * 16), struct.pack(">3H", 9, 90, 200)),
        (16, 2, struct.pack(">3H", 0x1234, 0x5678, 0x9ABC) * 16, struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)),
    ],
)
def test_transparent_colour_of_any_depth(depth: int, colour: int, row: bytes, key: bytes) -> None:
    """Pillow leaves the key unscaled at 2, 4 and 16 bits, and would show what viewers hide."""
    seen = see(png(depth, colour, [row] * 16, 16, (b"tRNS", key)))
    assert flat(seen.pixels[0], WHITE)
    assert flat(seen.pixels[1], BLACK)


def test_cmyk() -> None:
    seen = see(save(quarters().convert("CMYK"), "JPEG", quality=95))
    assert flat(seen.pixels[0, 2:12, 2:12], RED, within=12)
    assert flat(see(save(quarters().convert("CMYK"), "TIFF")).pixels[0, 2:12, 2:12], RED)


def ramp(top: float, dtype: str) -> npt.NDArray[np.generic]:
    return np.tile(np.linspace(0, top, 64), (16, 1)).astype(dtype)


@pytest.mark.parametrize(
    ("image", "format"),
    [
        (Image.fromarray(ramp(65535, "uint16")), "PNG"),
        (Image.fromarray(ramp(65535, "uint16")), "TIFF"),
        (Image.fromarray(ramp(65535, "int32")), "TIFF"),
        (Image.fromarray(ramp(255, "int32")), "TIFF"),
        (Image.fromarray(ramp(1, "float32")), "TIFF"),
        (Image.fromarray(ramp(255, "float32")), "TIFF"),
        (Image.fromarray(ramp(9e6, "float32")), "TIFF"),
    ],
)
def test_grey_of_many_bits_is_scaled_not_clipped(image: Image.Image, format: str) -> None:
    row = see(save(image, format)).pixels[0, 16, :, 1].astype(int)
    assert np.abs(row - np.linspace(3, 252, SIZE)).max() < 4


def test_16_bit_tiff_where_zero_is_white() -> None:
    data = save(Image.fromarray(ramp(65535, "uint16")), "TIFF", tiffinfo={262: 0})
    assert see(data).pixels[0, 16, 0, 0] > 240


def test_one_bit() -> None:
    image = Image.new("1", (40, 40), 1)
    image.paste(0, (0, 0, 20, 40))
    for format in ("PNG", "TIFF", "BMP"):
        pixels = see(save(image, format)).pixels[0]
        assert flat(pixels[:, :14], BLACK)
        assert flat(pixels[:, 18:], WHITE)


def test_embedded_profile_is_applied() -> None:
    image = Image.new("RGB", (40, 40), RED)
    for format in ("JPEG", "PNG", "WEBP", "TIFF"):
        assert flat(see(save(image, format, icc_profile=profile(2.2, swap=True))).pixels[0], GREEN, within=30)
        assert flat(see(save(image, format, icc_profile=profile(2.2))).pixels[0], RED, within=6)
    see_through = image.convert("RGBA")
    see_through.putalpha(0)
    seen = see(save(see_through, "PNG", icc_profile=profile(2.2, swap=True)))
    assert flat(seen.pixels[0], WHITE)


@pytest.mark.parametrize("icc", [b"", b"rubbish", profile(2.2)[:200]])
def test_broken_profile_is_ignored(icc: bytes) -> None:
    assert flat(see(save(Image.new("RGB", (40, 40), RED), "PNG", icc_profile=icc)).pixels[0], RED)


def test_profile_for_other_inks_is_ignored() -> None:
    grey = bytearray(profile(1.0).replace(b"rTRC", b"kTRC"))
    grey[16:20] = b"GRAY"
    assert ImageCms.ImageCmsProfile(io.BytesIO(bytes(grey))).profile.xcolor_space == "GRAY"
    for image in (Image.new("RGB", (40, 40), RED), Image.new("RGB", (40, 40), RED).convert("CMYK")):
        assert flat(see(save(image, "TIFF", icc_profile=bytes(grey))).pixels[0], RED)
    dim = Image.new("LA", (40, 40), (128, 255))
    assert flat(see(save(dim, "PNG", icc_profile=bytes(grey))).pixels[0], (188, 188, 188))
    assert flat(see(save(dim.convert("L"), "JPEG", icc_profile=bytes(grey))).pixels[0], (188, 188, 188))


def double_picture() -> tuple[Image.Image, Pixels]:
    """Black picture for a viewer that honours an extreme curve, save for the brightest samples, one in four."""
    samples = np.full((128, 128, 3), 150, np.uint8)
    samples[::2, ::2] = 250
    return Image.fromarray(samples), samples


@pytest.mark.parametrize("carrier", ["PNG gamma", "PNG profile", "JPEG profile"])
def test_picture_hidden_by_an_extreme_curve(carrier: str) -> None:
    """What such a curve leaves visible must be found before scaling averages it away."""
    image, samples = double_picture()
    if carrier == "PNG gamma":
        rows = [row.tobytes() for row in samples]
        data = png(8, 2, rows, 128, (b"gAMA", struct.pack(">I", 5000)))
    else:
        data = save(
            image,
            carrier.split()[0],
            icc_profile=profile(20.0),
            **({"quality": 100, "subsampling": 0} if "JPEG" in carrier else {}),
        )
    bright = 255 * (1.055 * ((250 / 255) ** 20) ** (1 / 2.4) - 0.055)
    seen = see(data).pixels[0].astype(float)
    assert abs(seen.mean() - bright / 4) < 8, (seen.mean(), bright / 4)
