"""What the encoder sees is what people see, and no file, however broken, raises or costs more than its budget."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from assay.platform.faults import FaultKind
from assay.platform.images import MAX_VIEWS, Budget, Decoded, decode
from tests.platform.sample_files import (
    BUDGET,
    CROP,
    EVERY_FILE,
    FILES,
    PAD,
    RED,
    SIZE,
    SQUASH,
    far,
    fault,
    flat,
    photo,
    profile,
    quarters,
    save,
    see,
)


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


def test_views_are_capped() -> None:
    frames = [Image.new("RGBA", (20, 20), (0, 0, level, 90)) for level in range(0, 250, 20)]
    data = save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    seen = see(data, budget=Budget(max_frames=MAX_VIEWS))
    assert [view.kind for view in seen.views] == ["frame"] * MAX_VIEWS


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


def test_specs_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        Budget(max_pixel=3)  # type: ignore[call-arg]  # the slip under test
    with pytest.raises(ValidationError):
        BUDGET.max_bytes = 1  # type: ignore[misc]  # likewise
    with pytest.raises(ValidationError):
        Budget(max_pixels=10**12)  # beyond Pillow's own wall the remedy would not help
