"""Which parts of a picture the encoder sees, and how they fit into its square."""

import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from assay.platform.errors import SpecError
from assay.platform.images import Preprocess, View
from assay.platform.rows import VIEW
from assay.platform.views import Pixels, Window, scale, windows
from tests.platform.sample_files import (
    BLUE,
    CROP,
    GREEN,
    MEAN,
    PAD,
    RED,
    SIZE,
    SQUASH,
    STD,
    far,
    flat,
    photo,
    quarters,
    save,
    see,
)


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
    preprocess = Preprocess(size=edge, fit="squash", decode="scaled", mean=MEAN, std=STD)
    data = save(photo(*size), "JPEG", quality=90)
    full = Image.open(io.BytesIO(data)).resize((edge, edge), Image.Resampling.BICUBIC)
    scaled, whole = (
        see(data, preprocess.model_copy(update={"decode": how})).pixels[0].astype(int) for how in ("scaled", "full")
    )
    assert far(scaled, np.asarray(full)) < 2
    assert np.abs(whole - np.asarray(full)).max() <= 1
    assert (scaled != whole).any() == (min(size) > 4 * edge), "scaled only where asked for, and only what is large"


@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    mode=st.sampled_from(["L", "RGB", "RGBA", "CMYK"]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    fit=st.sampled_from(["pad", "crop", "squash"]),
    seed=st.integers(0, 2**32 - 1),
)
@example(size=(1601, 1203), mode="RGB", interpolation="bicubic", fit="crop", seed=0)
def test_scaling_agrees_with_pillow(size: tuple[int, int], mode: str, interpolation: str, fit: str, seed: int) -> None:
    """On noise, the worst there is. Of colours, those that are seen."""
    rng = np.random.default_rng(seed)
    image = Image.frombytes(mode, size, rng.bytes(size[0] * size[1] * len(mode)))
    given = {"size": 32, "fit": fit, "interpolation": interpolation, "mean": MEAN, "std": STD}
    preprocess = Preprocess.model_validate(given)
    for window in windows(*size, preprocess, tiles=True):
        wanted = by_pillow(image, window, preprocess).astype(int)
        seen = np.asarray(scale(image, window, preprocess)).astype(int)
        if mode == "RGBA":
            seen, wanted = (np.dstack([one[..., :3] * one[..., 3:] // 255, one[..., 3]]) for one in (seen, wanted))
        far = np.abs(seen - wanted)
        assert far.max() <= 2
        assert far.mean() <= 0.05


def by_pillow(image: Image.Image, window: Window, preprocess: Preprocess) -> Pixels:
    """Pillow's two passes, one by one: across first, which Pillow 13 no longer does for every shape."""
    x0, y0, x1, y1 = window.box
    width, height = image.size
    ready = image.convert("RGBa") if image.mode == "RGBA" else image
    how = Image.Resampling[preprocess.interpolation.upper()]
    across = ready.resize((window.size[0], height), how, (x0 * width, 0, x1 * width, height))
    small = across.resize(window.size, how, (0, y0 * height, window.size[0], y1 * height))
    return np.asarray(small.convert(image.mode))


@pytest.mark.parametrize("size", [(500, 375), (61, 47), (1601, 1203)])
def test_on_a_photo_scaling_is_pillow_s_but_for_single_levels(size: tuple[int, int]) -> None:
    image = photo(*size)
    for window in windows(*size, CROP, tiles=True):
        far = np.abs(np.asarray(scale(image, window, CROP)).astype(int) - by_pillow(image, window, CROP))
        assert far.max() <= 1
        assert (far > 0).mean() < 0.01


def test_view_is_a_row() -> None:
    row = View("tile", (0.0, 0.25, 1.0, 0.75), None).row()
    assert list(row) == [field.name for field in VIEW]


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
