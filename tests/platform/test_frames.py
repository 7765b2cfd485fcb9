"""Frames and pages: counted, chosen, and set upright."""

import struct
import zlib

import pytest
from PIL import Image

from assay.platform.faults import FaultKind
from assay.platform.images import Budget
from tests.platform.sample_files import (
    BLACK,
    BLUE,
    CROP,
    FILES,
    GREEN,
    PAD,
    RED,
    WHITE,
    fault,
    flat,
    photo,
    quarters,
    save,
    see,
)


def animation(colours: list[tuple[int, int, int]]) -> list[Image.Image]:
    return [Image.new("RGB", (40, 30), colour) for colour in colours]


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


def test_promised_frames_that_are_not_there() -> None:
    data = bytearray(FILES["PNG animated"])
    at = data.index(b"acTL")
    struct.pack_into(">I", data, at + 4, 2_000_000)
    struct.pack_into(">I", data, at + 12, zlib.crc32(data[at : at + 12]))
    assert fault(bytes(data)) in (FaultKind.CORRUPT, FaultKind.TRUNCATED)
