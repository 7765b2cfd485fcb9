import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from assay.platform import encoder as encoder_module
from assay.platform.encoder import (
    BUNDLED_ENCODER,
    EncoderSpec,
    Precision,
    encoder_digest,
    encoder_files,
    export_encoder,
    file_digests,
    load_encoder,
    refuse_pickles,
)
from assay.platform.errors import ReleaseError


def test_only_what_makes_the_encoder_counts(tmp_path: Path) -> None:
    export_encoder(EncoderSpec(model="hash"), tmp_path)
    before = encoder_digest(file_digests(tmp_path))
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "LICENSE").write_text("words")
    (tmp_path / "curve.json").write_text("[]")
    (tmp_path / "requirements.txt").write_text("torch")
    (tmp_path / "MLmodel").write_text("a registry's own")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.json").write_text("{}")
    assert encoder_files(tmp_path) == ("encoder.json",)
    assert encoder_digest(file_digests(tmp_path)) == before
    (tmp_path / "vocab.txt").write_text("a")
    assert encoder_digest(file_digests(tmp_path)) != before


def test_digest_does_not_know_where_it_lies(tmp_path: Path) -> None:
    export_encoder(EncoderSpec(model="hash"), tmp_path / "a")
    export_encoder(EncoderSpec(model=f"local-dir:{tmp_path / 'a'}"), tmp_path / "b" / "c")
    assert load_encoder(tmp_path / "a").digest == load_encoder(tmp_path / "b" / "c").digest


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no encoder here"):
        load_encoder(tmp_path / "absent")
    with pytest.raises(ReleaseError, match="no encoder here"):
        export_encoder(EncoderSpec(model=f"local-dir:{tmp_path / 'absent'}"), tmp_path / "b")


def test_a_null_run_needs_no_torch(tmp_path: Path) -> None:
    export_encoder(EncoderSpec(model="hash"), tmp_path)
    code = (
        "import sys; from pathlib import Path; from assay.platform.encoder import load_encoder;"
        f"load_encoder(Path({str(tmp_path)!r})).encode_texts(['red']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_embeddings_are_unit_length(tmp_path: Path) -> None:
    export_encoder(EncoderSpec(model="hash"), tmp_path)
    encoder = load_encoder(tmp_path)
    size = encoder.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (5, size, size, 3)).astype(np.uint8)
    assert encoder.encode_images(pixels).dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(encoder.encode_images(pixels).astype(np.float32), axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(encoder.encode_texts(["a", "酒"]), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("device", "precision", "has_gpu", "engine"),
    [
        ("cpu", "fp32", False, "OpenvinoEncoder"),
        ("cpu", "fp32", True, "OpenvinoEncoder"),
        ("auto", "fp32", False, "OpenvinoEncoder"),
        ("auto", "fp32", True, "torch"),
        ("cuda", "fp32", True, "torch"),
        ("cuda:1", "fp32", False, "torch"),
        ("cpu", "bf16", False, "torch"),
    ],
)
def test_which_engine_runs_the_bundled_encoder(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: Precision, has_gpu: bool, engine: str
) -> None:
    monkeypatch.setattr(encoder_module, "sees_gpu", lambda: has_gpu)
    planted = SimpleNamespace(ClipEncoder=lambda *_args: "torch")
    monkeypatch.setitem(sys.modules, "assay.platform.clip_encoder", planted)
    loaded: object = load_encoder(BUNDLED_ENCODER, precision, device)
    assert (loaded if isinstance(loaded, str) else type(loaded).__name__) == engine


def test_a_given_gpu_that_is_not_there_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "sees_gpu", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (note,) = load_encoder(BUNDLED_ENCODER).notes
    assert note.startswith("GPU 0 was given")
    assert load_encoder(BUNDLED_ENCODER, device="cpu").notes == ()


@pytest.mark.parametrize("name", ["other.bin", "old/image_tower.bin", "image_tower.pkl"])
def test_only_a_towers_constants_may_be_called_bin(tmp_path: Path, name: str) -> None:
    (tmp_path / "image_tower.bin").write_bytes(b"numbers")
    refuse_pickles(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ReleaseError, match="only safetensors") as caught:
        refuse_pickles(tmp_path)
    assert caught.value.why.startswith(Path(name).name)
