"""What the encoder sees is what people see, and no file, however broken, raises or costs more than its budget."""

import io
import struct
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from pydantic import ValidationError

from assay.platform.errors import SpecError
from assay.platform.faults import Fault, FaultKind
from assay.platform.images import MAX_VIEWS, Budget, Decoded, Preprocess, View, decode
from assay.platform.rows import VIEW

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


def animation(colours: list[tuple[int, int, int]]) -> list[Image.Image]:
    return [Image.new("RGB", (40, 30), colour) for colour in colours]


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


# What people see ------------------------------------------------------------------------------------------------------


@EVERY_FILE
def test_each_format_is_read(name: str) -> None:
    seen = see(FILES[name])
    animated = "animated" in name or name in ("MPO", "TIFF pages")
    assert seen.format == name.split()[0]
    assert seen.frames == (3 if animated else 1)
    assert (seen.width, seen.height) == ((40, 30) if animated else (96, 72))
    assert seen.pixels.shape == (len(seen.views), SIZE, SIZE, 3)
    assert seen.pixels.dtype == np.uint8
    assert seen.pixels.flags.c_contiguous
    if not animated and name != "PNG palette":
        wanted = np.asarray(photo(96, 72).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        assert far(seen.pixels[0], wanted) < 8


def test_heif_is_read_where_its_plugin_is() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    seen = see(save(quarters(), "HEIF", quality=90))
    assert (seen.format, seen.width, seen.height, seen.frames) == ("HEIF", 64, 48, 1)
    assert flat(seen.pixels[0, :12, :12], RED, within=20)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format", "scale"), [("JPEG", 1), ("JPEG", 8), ("PNG", 1), ("WEBP", 1), ("TIFF", 1), ("AVIF", 1)]
)
def test_exif_orientations_look_alike(orientation: int, format: str, scale: int) -> None:
    upright = quarters(64 * scale, 48 * scale)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> the transposition a camera made
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"speed": 10} if format == "AVIF" else {}
    seen = see(save(stored, format, exif=exif, **options), PAD)
    assert (seen.width, seen.height) == upright.size
    rows, columns = slice(6, 12), slice(2, 12)
    assert flat(seen.pixels[0, rows, columns], RED, within=30)
    assert flat(seen.pixels[0, rows, 20:30], GREEN, within=30)
    assert flat(seen.pixels[0, 20:26, columns], BLUE, within=30)


def test_orientation_in_xmp_alone_is_not_followed_as_browsers_do_not() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    seen = see(save(quarters(), "JPEG", xmp=xmp))
    assert flat(seen.pixels[0, 2:12, 2:12], RED, within=30)


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


def png(depth: int, colour: int, rows: list[bytes], width: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG as Pillow would not write it."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


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


# Frames and pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animation_is_looked_at_first_last_and_between(format: str) -> None:
    colours = [RED, GREEN, BLUE, WHITE, BLACK, RED, GREEN, BLUE, BLACK, (255, 255, 0)]
    frames = animation(colours)
    options: dict[str, object] = {"speed": 10} if format == "AVIF" else {}
    seen = see(save(frames[0], format, save_all=True, append_images=frames[1:], duration=200, **options), CROP)
    assert (seen.format, seen.frames) == (format, 10)
    assert [view.kind for view in seen.views] == ["frame"] * 4
    assert [view.time_s for view in seen.views] == pytest.approx([0.0, 0.6, 1.2, 1.8])
    for pixels, index in zip(seen.pixels, (0, 3, 6, 9), strict=True):
        assert flat(pixels, colours[index], within=12)
    only = see(
        save(frames[0], format, save_all=True, append_images=frames[1:], duration=200, **options),
        CROP,
        Budget(max_frames=1),
    )
    assert [view.time_s for view in only.views] == [0.0]


def test_frames_are_seen_as_they_are_drawn_over_each_other() -> None:
    first = Image.new("RGBA", (40, 40), (*RED, 255))
    second = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    second.paste((*BLUE, 255), (0, 0, 20, 40))
    for data in (
        save(first, "GIF", save_all=True, append_images=[second], disposal=1, duration=100),
        save(first, "PNG", save_all=True, append_images=[second], blend=1, duration=100),
    ):
        seen = see(data)
        assert [view.kind for view in seen.views] == ["frame", "frame"]
        assert flat(seen.pixels[1, :, :12], BLUE)
        assert flat(seen.pixels[1, :, 20:], RED)


def test_animated_png_that_goes_back_to_an_earlier_frame() -> None:
    """Pillow draws other frames when earlier ones were looked at; people see those of a player."""
    frames = [Image.new("RGBA", (32, 32), (*RED, 255))]
    for place, colour in enumerate((GREEN, BLUE, WHITE)):
        frames.append(Image.new("RGBA", (32, 32), (0, 0, 0, 0)))
        frames[-1].paste((*colour, 255), (8 * place, 0, 8 * place + 8, 32))
    data = save(frames[0], "PNG", save_all=True, append_images=frames[1:], disposal=[0, 2, 2, 2], blend=1)
    seen = see(data)
    assert seen.frames == 4
    for pixels, (place, colour) in zip(seen.pixels[1:], enumerate((GREEN, BLUE, WHITE)), strict=True):
        inside = slice(8 * place, 8 * place + 8)
        assert flat(pixels[:, inside], colour)
        assert flat(np.delete(pixels, np.arange(32)[inside], axis=1), RED)


def test_see_through_animation_is_also_seen_on_black() -> None:
    frames = [Image.new("RGBA", (40, 40), (*colour, 0)) for colour in (RED, GREEN)]
    for frame in frames:
        frame.paste((*BLUE, 255), (0, 0, 20, 40))
    frames[1].paste((*GREEN, 255), (0, 0, 10, 40))
    seen = see(save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    assert [view.kind for view in seen.views] == ["frame", "frame", "on_black", "on_black"]
    assert flat(seen.pixels[1, :, 22:], WHITE)
    assert flat(seen.pixels[3, :, 22:], BLACK)


def test_views_are_capped() -> None:
    frames = [Image.new("RGBA", (20, 20), (0, 0, level, 90)) for level in range(0, 250, 20)]
    data = save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    seen = see(data, budget=Budget(max_frames=MAX_VIEWS))
    assert [view.kind for view in seen.views] == ["frame"] * MAX_VIEWS


@pytest.mark.parametrize("format", ["TIFF", "MPO"])
def test_pages_are_frames_without_times(format: str) -> None:
    pages = [
        Image.new("RGB", size, colour) for size, colour in [((640, 480), RED), ((80, 60), GREEN), ((40, 30), BLUE)]
    ]
    seen = see(save(pages[0], format, save_all=True, append_images=pages[1:]))
    assert [(view.kind, view.time_s) for view in seen.views] == [("frame", None)] * 3
    assert (seen.width, seen.height, seen.frames) == (640, 480, 3)
    for pixels, colour in zip(seen.pixels, (RED, GREEN, BLUE), strict=True):
        assert flat(pixels, colour, within=6)


def test_mpo_whose_other_pictures_were_cut_off_is_its_first() -> None:
    pages = [photo(80, 60, seed) for seed in range(2)]
    data = save(pages[0], "MPO", save_all=True, append_images=pages[1:])
    cut = data[: data.index(b"\xff\xd9") + 2]
    seen = see(cut)
    assert (len(seen.views), seen.frames) == (1, 2)


# Views ----------------------------------------------------------------------------------------------------------------


def test_pad_shows_the_whole_picture_centred_on_the_fill() -> None:
    seen = see(save(Image.new("RGB", (64, 32), RED), "PNG"), PAD)
    assert [view.box for view in seen.views] == [(0.0, 0.0, 1.0, 1.0)]
    assert flat(seen.pixels[0, 8:24], RED)
    assert flat(seen.pixels[0, :8], (7, 7, 7), within=0)
    assert flat(seen.pixels[0, 24:], (7, 7, 7), within=0)


def test_crop_shows_the_centre_and_says_so() -> None:
    seen = see(save(quarters(40, 32), "PNG"), CROP)
    assert [(view.kind, view.box) for view in seen.views] == [("whole", (0.1, 0.0, 0.9, 1.0))]


def test_crop_of_a_long_picture_also_shows_both_ends() -> None:
    for size, along in (((96, 32), 0), ((32, 96), 1)):
        image = Image.new("RGB", size, RED)
        image.paste(GREEN, (0, 0, 32, 32))
        image.paste(BLUE, (size[0] - 32, size[1] - 32, *size))
        seen = see(save(image, "PNG"), CROP)
        assert [view.kind for view in seen.views] == ["whole", "tile", "tile"]
        assert [view.box[along] for view in seen.views] == pytest.approx([1 / 3, 0, 2 / 3])
        for pixels, colour in zip(seen.pixels, (RED, GREEN, BLUE), strict=True):
            assert flat(pixels[2:-2, 2:-2], colour)


@pytest.mark.parametrize("preprocess", [PAD, CROP, SQUASH], ids=lambda preprocess: preprocess.fit)
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2), (33, 47), (2000, 3), (32, 32)])
@pytest.mark.parametrize("mode", ["RGB", "LA"])
def test_any_shape_fits(preprocess: Preprocess, size: tuple[int, int], mode: str) -> None:
    for format in ("PNG", "JPEG") if mode == "RGB" else ("PNG",):
        seen = see(save(Image.new(mode, size), format), preprocess)
        assert seen.pixels.shape == (len(seen.views), SIZE, SIZE, 3)
        assert (seen.width, seen.height) == size
        for view in seen.views:
            assert 0 <= view.box[0] < view.box[2] <= 1
            assert 0 <= view.box[1] < view.box[3] <= 1


@pytest.mark.parametrize("size", [(500, 375), (333, 777), (40, 30)])
def test_crop_agrees_with_resize_and_centre_crop(size: tuple[int, int]) -> None:
    """As open_clip's own transform does it, in two steps."""
    image = photo(*size)
    short = min(size)
    width, height = (SIZE if side == short else int(SIZE * side / short) for side in size)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    wanted = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + SIZE, top + SIZE))
    assert far(see(save(image, "PNG"), CROP).pixels[0], np.asarray(wanted)) < 1


@pytest.mark.parametrize("edge", [112, 224])
@pytest.mark.parametrize("size", [(500, 375), (1600, 1201), (3001, 2003)])
def test_scaled_jpeg_decoding_is_close_to_full(edge: int, size: tuple[int, int]) -> None:
    preprocess = Preprocess(size=edge, fit="squash", mean=MEAN, std=STD)
    data = save(photo(*size), "JPEG", quality=90)
    full = Image.open(io.BytesIO(data)).resize((edge, edge), Image.Resampling.BICUBIC)
    assert far(see(data, preprocess).pixels[0], np.asarray(full)) < 2


def test_view_is_a_row() -> None:
    row = View("tile", (0.0, 0.25, 1.0, 0.75), None).row()
    assert list(row) == [field.name for field in VIEW]


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"plain text, nothing else",
        b"\xef\xbb\xbf <svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?><svg/>",
        b"<!DOCTYPE html><html></html>",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"BM but only the beginning of a sentence",
        b"\0\0\0\x20ftypisom\0\0\0\0isomiso2avc1mp41",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\0",
        bytes(range(255, 0, -1)),
    ],
)
def test_other_formats_are_unsupported(data: bytes) -> None:
    assert fault(data) is FaultKind.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("format", ["PPM", "ICO", "TGA", "JPEG2000", "EPS", "PCX", "DDS", "ICNS"])
def test_formats_pillow_reads_and_we_do_not(format: str) -> None:
    assert fault(save(Image.new("RGB", (32, 32), RED), format)) is FaultKind.UNSUPPORTED_FORMAT


def test_empty_and_too_large() -> None:
    assert fault(b"") is FaultKind.EMPTY
    assert fault(FILES["JPEG"], Budget(max_bytes=100)) is FaultKind.TOO_LARGE


@EVERY_FILE
def test_budgets(name: str) -> None:
    assert fault(FILES[name], Budget(max_pixels=1000)) is FaultKind.TOO_MANY_PIXELS
    assert fault(FILES[name], Budget(max_seconds=0)) is FaultKind.TOO_SLOW
    if see(FILES[name]).frames > 1:
        assert fault(FILES[name], Budget(max_pixels=2500)) is FaultKind.TOO_MANY_PIXELS
        assert len(see(FILES[name], budget=Budget(max_pixels=2500, max_frames=2)).views) == 2


@EVERY_FILE
def test_cut_anywhere(name: str) -> None:
    """A cut file is a fault, or still all there; never an exception, and in its middle it is called truncated."""
    data = FILES[name]
    for percent in range(0, 100, 5):
        seen = decode(data[: len(data) * percent // 100], SQUASH, BUDGET)
        if isinstance(seen, Fault):
            early = {FaultKind.EMPTY, FaultKind.TRUNCATED, FaultKind.UNSUPPORTED_FORMAT}
            assert seen.kind in early or name == "BMP", (percent, seen)
        else:
            assert name in ("MPO", "GIF animated", "PNG animated") or percent > 90, percent
    if name not in ("MPO", "GIF animated", "PNG animated"):
        assert fault(data[: len(data) // 2]) is FaultKind.TRUNCATED


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "TIFF deflate", "AVIF"])
def test_rubbish_behind_the_magic_bytes_is_corrupt_or_truncated(name: str) -> None:
    rubbish = FILES[name][:40] + bytes(range(256)) * 4
    assert fault(rubbish) in (FaultKind.CORRUPT, FaultKind.TRUNCATED)


def test_broken_in_the_middle_is_corrupt() -> None:
    data = bytearray(FILES["PNG"])
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    assert fault(bytes(data)) is FaultKind.CORRUPT


# Bombs ----------------------------------------------------------------------------------------------------------------


def gif_that_grows() -> bytes:
    """A small screen, and a second frame that claims 60000 x 60000."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x02\x44\x01\x00"
    huge = b"\x21\xf9\x04\x08\0\0\0\0\x2c" + struct.pack("<HHHHB", 0, 0, 60000, 60000, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes([*RED, *BLUE]) + frame + huge + b";"


def huge_tiff() -> bytes:
    data = bytearray(save(Image.new("L", (8, 8)), "TIFF", compression="tiff_adobe_deflate"))
    start = struct.unpack_from("<I", data, 4)[0] + 2
    for at in range(start, start + 36, 12):
        if struct.unpack_from("<H", data, at)[0] in (256, 257):
            struct.pack_into("<HHII", data, at, struct.unpack_from("<H", data, at)[0], 4, 1, 60000)
    return bytes(data)


def huge_jpeg() -> bytes:
    data = bytearray(FILES["JPEG"])
    at = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, at + 5, 60000, 60000)
    return bytes(data)


def huge_webp() -> bytes:
    data = bytearray(FILES["WEBP animated"])
    data[24:30] = (16382).to_bytes(3, "little") * 2
    return bytes(data)


def huge_bmp() -> bytes:
    data = bytearray(FILES["BMP"])
    struct.pack_into("<ii", data, 18, 60000, 60000)
    return bytes(data)


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: png(8, 2, [b"\0" * 8], 60000)[:16] + struct.pack(">II", 60000, 60000) + png(8, 2, [b"\0"], 1)[24:],
    "PNG, honest checksum": lambda: (
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    ),
    "GIF that grows": gif_that_grows,
    "TIFF": huge_tiff,
    "JPEG": huge_jpeg,
    "WEBP": huge_webp,
    "BMP": huge_bmp,
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_bomb_is_refused_before_it_is_decoded(name: str) -> None:
    data = BOMBS[name]()
    decode(FILES["PNG"], SQUASH, BUDGET)  # Pillow's own set-up is not counted
    before, started = memory_peak_kib(), time.perf_counter()
    tracemalloc.start()
    assert fault(data) is FaultKind.TOO_MANY_PIXELS
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.perf_counter() - started < 1
    assert peak < 4 * 2**20
    assert memory_peak_kib() - before < 64 * 2**10  # Pillow allocates pixels outside Python's accounts


def memory_peak_kib() -> int:
    import resource  # not on every system the other tests run on

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_promised_frames_that_are_not_there() -> None:
    data = bytearray(FILES["PNG animated"])
    at = data.index(b"acTL")
    struct.pack_into(">I", data, at + 4, 2_000_000)
    struct.pack_into(">I", data, at + 12, zlib.crc32(data[at : at + 12]))
    assert fault(bytes(data)) in (FaultKind.CORRUPT, FaultKind.TRUNCATED)


def test_gif_of_endless_tiny_frames_meets_the_deadline() -> None:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * 200_000 + b";"
    started = time.perf_counter()
    assert fault(data, Budget(max_seconds=0.3)) is FaultKind.TOO_SLOW
    assert time.perf_counter() - started < 1.5


# Any bytes, any thread ------------------------------------------------------------------------------------------------

MUTATIONS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12)
HEAD_MUTATIONS = st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), min_size=1, max_size=6)


@EVERY_FILE
@settings(max_examples=18, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(anywhere=MUTATIONS, head=HEAD_MUTATIONS, cut=st.integers(0, 40))
def test_mutated_bytes_never_raise(
    name: str, anywhere: list[tuple[float, int]], head: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(FILES[name])
    for place, value in anywhere:
        data[int(place * len(data))] = value
    for at, value in head if cut % 2 else []:
        data[at] = value
    budget = Budget(max_pixels=100_000, max_seconds=5.0)
    seen = decode(bytes(data[: len(data) - cut]), CROP, budget)
    if isinstance(seen, Decoded):
        assert seen.width * seen.height <= budget.max_pixels
        assert len(seen.views) == len(seen.pixels) <= MAX_VIEWS
    else:
        assert seen.kind in FaultKind


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_any_bytes_never_raise(data: bytes) -> None:
    decode(data, PAD, BUDGET)


def test_threads_agree() -> None:
    files = [*FILES.values(), *FILES.values()][:20]
    files += [save(quarters(), "JPEG", icc_profile=profile(1.8, swap=True))] * 4
    serial = [see(data) for data in files]
    with ThreadPoolExecutor(4) as threads:
        for one, other in zip(serial, threads.map(see, files * 2), strict=False):
            assert np.array_equal(one.pixels, other.pixels)
            assert one.views == other.views


def test_warnings_do_not_leak(recwarn: pytest.WarningsRecorder) -> None:
    broken = FILES["MPO"].replace(b"MPF\0II*\0", b"MPF\0II*\x01")  # Pillow: "Image appears to be a malformed MPO file"
    decode(broken, SQUASH, BUDGET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        see(FILES["PNG palette"])
    assert not [warning for warning in recwarn if "PIL" in warning.filename]


# Specs ----------------------------------------------------------------------------------------------------------------


def test_from_open_clip_reads_vit_b_32() -> None:
    cfg = {
        "size": 224,
        "mode": "RGB",
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    preprocess = Preprocess.from_open_clip(cfg)
    assert (preprocess.size, preprocess.fit, preprocess.interpolation, preprocess.fill) == (224, "crop", "bicubic", 0)
    assert preprocess.mean == (0.48145466, 0.4578275, 0.40821073)
    assert Preprocess.from_open_clip({"size": (112, 112), "resize_mode": "longest", "fill_color": 9}).fit == "pad"
    assert (
        Preprocess.from_open_clip({"size": [64], "resize_mode": "squash", "interpolation": "bilinear"}).fit == "squash"
    )


@pytest.mark.parametrize(
    "cfg",
    [
        {},
        {"size": [224, 192]},
        {"size": 224, "resize_mode": "fill"},
        {"size": 224, "interpolation": "random"},
        {"size": 224, "mean": [0.5]},
    ],
)
def test_from_open_clip_refuses_what_it_cannot_follow(cfg: dict[str, object]) -> None:
    with pytest.raises(SpecError) as error:
        Preprocess.from_open_clip(cfg)
    assert error.value.why
    assert error.value.fix


def test_specs_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        Budget(max_pixel=3)  # type: ignore[call-arg]  # the slip under test
    with pytest.raises(ValidationError):
        BUDGET.max_bytes = 1  # type: ignore[misc]  # likewise
    with pytest.raises(ValidationError):
        Budget(max_pixels=10**12)  # beyond Pillow's own wall the remedy would not help
