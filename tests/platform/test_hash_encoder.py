import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.errors import ReleaseError
from assay.platform.hash_encoder import COLOURS, HASH_FILE, HashEncoder, HashSpec

ENCODER = HashEncoder(HashSpec(), "0" * 64)


def painted(colour: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    return np.full((1, 32, 32, 3), colour, np.uint8)


@pytest.mark.parametrize("name", COLOURS)
def test_a_colours_name_is_nearest_to_its_picture(name: str) -> None:
    names = list(COLOURS)
    near = ENCODER.encode_texts(names) @ ENCODER.encode_images(painted(COLOURS[name]))[0].astype(np.float32)
    assert names[int(near.argmax())] == name
    assert near.max() > 0.999
    assert np.sort(near)[-2] < 0.9


@settings(derandomize=True, max_examples=20)
@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_a_rows_embedding_depends_on_that_row_alone(n: int, random: object) -> None:
    pixels = np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)
    together = ENCODER.encode_images(pixels)
    alone = np.concatenate([ENCODER.encode_images(pixels[row : row + 1]) for row in range(n)])
    assert (together == alone).all()


def test_golden_embeddings() -> None:
    # Exact integer arithmetic: the same on every machine and numpy. Other tests and benchmarks compare with it.
    pixels = np.arange(2 * 32 * 32 * 3, dtype=np.uint32).reshape(2, 32, 32, 3) * 7 % 251
    found = ENCODER.encode_images(pixels.astype(np.uint8)).tobytes() + ENCODER.encode_texts(["a gun", "手枪"]).tobytes()
    assert hashlib.sha256(found).hexdigest()[:16] == "6ec617941cd3e8f5"


def test_grey_has_a_vector_and_nothing_is_an_empty_batch() -> None:
    assert np.linalg.norm(ENCODER.encode_images(painted((127, 127, 127))).astype(np.float32)) == pytest.approx(
        1, abs=1e-3
    )
    assert ENCODER.encode_images(np.empty((0, 32, 32, 3), np.uint8)).shape == (0, 64)
    assert ENCODER.encode_texts([]).shape == (0, 64)
    assert np.isfinite(ENCODER.encode_texts([""])).all()


def test_wrong_pixels_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="not uint8"):
        ENCODER.encode_images(np.zeros((1, 16, 16, 3), np.uint8))


def test_a_foreign_encoder_json(tmp_path: Path) -> None:
    (tmp_path / HASH_FILE).write_text('{"kind": "onnx"}')
    with pytest.raises(ReleaseError, match="not a hash encoder's"):
        HashEncoder.load(tmp_path, "")
