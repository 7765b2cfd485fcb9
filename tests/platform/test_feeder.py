"""Bytes in, embeddings out: in their order, none lost, no more read than needed, and without Ray."""

import io
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from assay.platform.budget import Budget
from assay.platform.encoder import Embeddings, Pixels
from assay.platform.errors import ReleaseError
from assay.platform.faults import Fault, FaultKind
from assay.platform.feeder import Decode, FeederSpec, embed_images
from assay.platform.guard import Guard
from assay.platform.hash_encoder import HashEncoder, HashSpec
from assay.platform.images import Decoded, decode
from assay.platform.views import View

ENCODER = HashEncoder(HashSpec(), "test")
SIZE = ENCODER.preprocess.size
SPEC = FeederSpec(decoders=3, views=8, ahead=4)


def png(number: int, frames: int = 1) -> bytes:
    noise = np.random.default_rng(number).integers(0, 256, (frames, 40, 40, 3), np.uint8)
    first, *more = (Image.fromarray(one) for one in noise)
    sink = io.BytesIO()
    first.save(sink, "PNG" if frames == 1 else "GIF", save_all=frames > 1, append_images=more)
    return sink.getvalue()


def plain_decode(data: bytes) -> Decoded | Fault:
    return decode(data, ENCODER.preprocess, Budget())


def numbered(data: bytes) -> Decoded | Fault:
    """A stand-in for a decoder: a grey picture of that number, of one to three views; each fifth is bad."""
    number = int(data)
    if number % 5 == 4:
        return Fault(FaultKind.CORRUPT, str(number))
    views = (View("whole", (0, 0, 1, 1), None),) * (number % 3 + 1)
    return Decoded(np.full((len(views), SIZE, SIZE, 3), number, np.uint8), views, "PNG", 1, 1, 1)


def one_by_one(data: bytes, look: Decode) -> Embeddings:
    seen = look(data)
    return np.empty((0, ENCODER.dim), np.float16) if isinstance(seen, Fault) else ENCODER.encode_images(seen.pixels)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 120])
def test_each_image_has_its_own_embeddings_in_its_place(count: int) -> None:
    contents = [str(number).encode() for number in range(count)]
    found = list(embed_images(contents, numbered, ENCODER, SPEC))
    assert len(found) == count
    for number, (data, image) in enumerate(zip(contents, found, strict=True)):
        assert (image.fault is not None) == (number % 5 == 4)
        assert image.fault is None or image.fault.detail == str(number)
        assert len(image.views) == len(image.embeddings)
        assert (image.embeddings == one_by_one(data, numbered)).all()


def test_only_faults() -> None:
    [image] = embed_images([b"4"], numbered, ENCODER, SPEC)
    assert image.fault == Fault(FaultKind.CORRUPT, "4")
    assert image.embeddings.shape == (0, ENCODER.dim)


def test_real_pictures_through_guarded_decoders() -> None:
    contents = [png(number) for number in range(9)] + [png(3, frames=4), b"no picture", png(1)[:200]]
    with Guard(ENCODER.preprocess, Budget(), decoders=2) as guard:
        found = list(embed_images(contents, guard.decode, ENCODER, SPEC))
    for data, image in zip(contents, found, strict=True):
        assert (image.embeddings == one_by_one(data, plain_decode)).all()
    assert len(found[9].views) > 1
    assert [image.fault is None for image in found] == [True] * 10 + [False] * 2


def test_no_more_is_read_than_is_under_way() -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"0"

    images = embed_images(endless(), numbered, ENCODER, SPEC)
    for _ in range(50):
        next(images)
    images.close()  # type: ignore[attr-defined]  # it is a generator: what is under way ends with it
    batches = 1 + ENCODER.calls_at_once
    assert read <= 50 + SPEC.views * (1 + batches) + SPEC.ahead + 1


def test_nothing_is_left_behind() -> None:
    before = threading.active_count()
    assert len(list(embed_images([b"1"] * 50, numbered, ENCODER, SPEC))) == 50
    assert threading.active_count() == before


class _Broken(HashEncoder):
    def encode_images(self, pixels: Pixels) -> Embeddings:
        raise ReleaseError("the encoder made embeddings that are not numbers", where=f"{len(pixels)} pictures")


def test_an_encoder_that_fails_is_told() -> None:
    with pytest.raises(ReleaseError, match="not numbers"):
        list(embed_images([b"1"] * 50, numbered, _Broken(HashSpec(), "test"), SPEC))


class _Meeting(HashEncoder):
    """Encodes only when two batches are there at once."""

    calls_at_once = 2
    both = threading.Barrier(2)

    def encode_images(self, pixels: Pixels) -> Embeddings:
        self.both.wait(60)
        return super().encode_images(pixels)


def test_an_encoder_that_wants_two_batches_gets_them() -> None:
    found = list(embed_images([b"0"] * 8 * 6, numbered, _Meeting(HashSpec(), "test"), SPEC))
    assert len(found) == 48


def test_it_needs_no_ray_and_torch_only_with_an_encoder() -> None:
    asked = "import sys, assay.platform.feeder; print({'ray', 'torch', 'mlflow'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "set()"
