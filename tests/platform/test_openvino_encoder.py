"""The bundled encoder on OpenVINO is the one that torch runs: the same vectors, the same verdicts."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from assay.jobs.corpus import CorpusSpec, draw_member, plan_members
from assay.platform import openvino_engine
from assay.platform.batch import ImageBatch, Looked
from assay.platform.encoder import BUNDLED_ENCODER, Encoder, Pixels, load_clip, load_encoder
from assay.platform.errors import ReleaseError
from assay.platform.images import Budget, Decoded, decode
from assay.platform.moderator import Moderator
from assay.platform.openvino_encoder import OpenvinoEncoder
from assay.platform.release import resolve_release
from assay.platform.rows import ImageRef

SIZE = 112


@pytest.fixture(scope="module")
def ours() -> OpenvinoEncoder:
    found = load_encoder(BUNDLED_ENCODER, device="cpu")
    assert isinstance(found, OpenvinoEncoder)
    return found


@pytest.fixture(scope="module")
def torchs() -> Encoder:
    return load_clip(BUNDLED_ENCODER, "digest", "fp32", "cpu")


@pytest.fixture(scope="module")
def batch() -> ImageBatch:
    """Pictures of the demo's bucket, those that are whole."""
    release, members, looked = resolve_release(), plan_members(CorpusSpec(images=100)), list[Looked]()
    for number in range(0, len(members), 2):
        raw = draw_member(members, number, 0)
        seen = decode(raw, release.preprocess, Budget())
        if isinstance(seen, Decoded):
            looked.append(Looked(ImageRef(f"demo/{number}", "etag", len(raw)), seen))
    return ImageBatch.of(0, looked, SIZE)


def pixels(n: int) -> Pixels:
    return np.random.default_rng(n).integers(0, 256, (n, SIZE, SIZE, 3), np.uint8)


def test_agrees_with_torch(ours: OpenvinoEncoder, torchs: Encoder, batch: ImageBatch) -> None:
    assert len(batch.pixels) > 40
    one, other = (encoder.encode_images(batch.pixels).astype(np.float64) for encoder in (ours, torchs))
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosines.min() >= 0.9999
    assert (ours.dim, ours.logit_scale, ours.preprocess) == (torchs.dim, torchs.logit_scale, torchs.preprocess)


def test_no_verdict_changes(batch: ImageBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    by_openvino = Moderator(resolve_release(), device="cpu").judge(batch).verdicts
    monkeypatch.setitem(sys.modules, "assay.platform.openvino_encoder", None)
    by_torch = Moderator(resolve_release(), device="cpu").judge(batch).verdicts
    assert by_openvino["action"].equals(by_torch["action"])
    assert len(set(by_torch["action"].to_pylist())) > 1


def test_phrases_are_torchs(ours: OpenvinoEncoder, torchs: Encoder) -> None:
    texts = ["a pistol", "手枪", ""]
    assert (ours.encode_texts(texts) == torchs.encode_texts(texts)).all()


def test_a_rows_embedding_depends_on_that_row_alone(ours: OpenvinoEncoder) -> None:
    many = pixels(19)
    together = ours.encode_images(many)
    order = np.random.default_rng(1).permutation(19)
    assert (ours.encode_images(many[order]) == together[order]).all()
    assert (np.concatenate([ours.encode_images(many[row : row + 1]) for row in range(19)]) == together).all()
    neighbours = np.concatenate([many[:3], np.full((4, SIZE, SIZE, 3), 255, np.uint8)])
    assert (ours.encode_images(neighbours)[:3] == together[:3]).all()


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_an_embedding_does_not_depend_on_threads(
    ours: OpenvinoEncoder, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    other = load_encoder(BUNDLED_ENCODER, device="cpu")
    assert (other.encode_images(pixels(9)) == ours.encode_images(pixels(9))).all()


def test_threads_may_encode_at_once(ours: OpenvinoEncoder) -> None:
    batches = [pixels(count) for count in (17, 40, 3, 9)]
    alone = [ours.encode_images(one) for one in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ours.encode_images, batches * 3))
    assert all((one == other).all() for one, other in zip(together, alone * 3, strict=True))


def test_pixels_of_another_shape(ours: OpenvinoEncoder) -> None:
    assert ours.encode_images(pixels(0)).shape == (0, 256)
    for wrong in (np.zeros((1, 96, 96, 3), np.uint8), np.zeros((1, SIZE, SIZE, 3), np.float32)):
        with pytest.raises(ValueError, match="not uint8"):
            ours.encode_images(wrong)  # type: ignore[arg-type]  # that is the point


def test_vectors_that_are_no_numbers(ours: OpenvinoEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_pass", lambda part: np.full((len(part), 256), np.nan, np.float32))
    with pytest.raises(ReleaseError, match="not numbers"):
        ours.encode_images(pixels(1))


def test_without_openvino_torch_encodes_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "assay.platform.openvino_encoder", None)
    (note,) = load_encoder(BUNDLED_ENCODER, device="cpu").notes
    assert "several times slower" in note
    assert "assay[cpu]" in note


def test_a_cpu_that_openvino_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_core: object) -> None:
        raise ImportError("OpenVINO cannot use this CPU: it wants SSE4.2")

    monkeypatch.setattr(openvino_engine, "_require_cpu", refuse)
    encoder = load_encoder(BUNDLED_ENCODER, device="cpu")
    (note,) = encoder.notes
    assert "SSE4.2" in note
    assert not isinstance(encoder, OpenvinoEncoder)
