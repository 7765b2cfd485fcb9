"""A tower is what torch runs, in the same bytes each time, and never that of other weights."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from assay.platform import encoder, openvino_export
from assay.platform.encoder import (
    BUNDLED_ENCODER,
    EncoderSpec,
    Pixels,
    export_encoder,
    file_digests,
    file_sha256,
    load_clip,
    load_encoder,
)
from assay.platform.errors import ReleaseError
from assay.platform.openvino_encoder import OpenvinoEncoder
from assay.platform.openvino_engine import openvino
from assay.platform.openvino_export import export_tower
from assay.platform.tower_card import CONSTANTS_FILE, NETWORK_FILE, TOWER_FILES, WEIGHTS_FILE, TowerCard
from tests.platform.tiny_encoder import CONVNEXT, EFFICIENTNET, RESNET, SIZE, TRANSFORMER, write_tiny_encoder

LONG = pytest.mark.nightly


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder and its tower."""
    directory = write_tiny_encoder(tmp_path_factory.mktemp("tiny"), EFFICIENTNET)
    export_tower(directory, file_digests(directory))
    return directory


def pixels(n: int) -> Pixels:
    return np.random.default_rng(n).integers(0, 256, (n, SIZE, SIZE, 3), np.uint8)


def towers(directory: Path) -> dict[str, str]:
    return {name: file_sha256(directory / name) for name in TOWER_FILES if (directory / name).exists()}


@pytest.mark.parametrize("vision", [EFFICIENTNET, *(pytest.param(one, marks=LONG) for one in (RESNET, CONVNEXT))])
def test_agrees_with_torch(tmp_path: Path, vision: dict[str, Any]) -> None:
    directory = write_tiny_encoder(tmp_path, vision)
    export_tower(directory, file_digests(directory))
    ours, torchs = load_encoder(directory, device="cpu"), load_clip(directory, "digest", "fp32", "cpu")
    assert isinstance(ours, OpenvinoEncoder)
    np.testing.assert_allclose(ours.encode_images(pixels(5)), torchs.encode_images(pixels(5)), atol=1e-3)


def test_same_encoder_same_bytes(made: Path, tmp_path: Path) -> None:
    again = write_tiny_encoder(tmp_path, EFFICIENTNET)
    export_tower(again, file_digests(again))
    assert towers(again) == towers(made)
    assert len(towers(made)) == 3


@LONG
def test_the_bundled_tower_is_what_its_weights_give(tmp_path: Path) -> None:
    for name in ("open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz"):
        shutil.copyfile(BUNDLED_ENCODER / name, tmp_path / name)
    export_encoder(EncoderSpec(model=f"local-dir:{tmp_path}"), tmp_path)
    assert towers(tmp_path) == towers(BUNDLED_ENCODER)


def test_weights_are_stored_once(made: Path) -> None:
    for directory in (made, BUNDLED_ENCODER):  # of which the first is in fp32, the second in fp16
        assert (directory / CONSTANTS_FILE).stat().st_size < 20_000
        network = (directory / NETWORK_FILE).read_text()
        places = re.findall(r'offset="(\d+)" size="(\d+)"', network)
        in_weights = [int(size) for at, size in places if int(at) < _end(directory)]
        stored = [one.nbytes for name, one in load_file(directory / WEIGHTS_FILE).items() if name.startswith("visual.")]
        # A little less: ones and zeros of a network that was never trained fit into fp16.
        assert 0.9 * sum(stored) < sum(in_weights) <= 1.01 * sum(stored)


def _end(directory: Path) -> int:
    return (directory / WEIGHTS_FILE).stat().st_size


def test_who_gets_one(tmp_path: Path) -> None:
    asked: list[tuple[str, dict[str, Any], str]] = [("a", TRANSFORMER, "fp32"), ("b", EFFICIENTNET, "bf16")]
    for name, vision, precision in asked:
        source = write_tiny_encoder(tmp_path / name, vision)
        spec = EncoderSpec.model_validate({"model": f"local-dir:{source}", "precision": precision})
        export_encoder(spec, tmp_path / f"{name}-out")
        assert not towers(tmp_path / f"{name}-out")


def test_a_tower_of_these_weights_is_kept_whoever_made_it(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "find_spec", lambda _name: None)  # no OpenVINO here
    export_encoder(EncoderSpec(model=f"local-dir:{made}"), tmp_path)
    assert towers(tmp_path) == towers(made)


def test_a_tower_of_other_weights_is_made_anew(made: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(made, tmp_path / "tuned"))
    write_tiny_encoder(source, EFFICIENTNET, seed=1)
    with pytest.raises(ReleaseError, match="not of this encoder"):
        load_encoder(source, device="cpu")
    export_encoder(EncoderSpec(model=f"local-dir:{source}"), tmp_path / "out")
    ours, torchs = load_encoder(tmp_path / "out", device="cpu"), load_clip(source, "digest", "fp32", "cpu")
    assert isinstance(ours, OpenvinoEncoder)
    np.testing.assert_allclose(ours.encode_images(pixels(3)), torchs.encode_images(pixels(3)), atol=1e-3)


def test_without_openvino_a_tower_of_other_weights_is_dropped(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(shutil.copytree(made, tmp_path / "tuned"))
    write_tiny_encoder(source, EFFICIENTNET, seed=1)
    monkeypatch.setattr(encoder, "find_spec", lambda _name: None)
    export_encoder(EncoderSpec(model=f"local-dir:{source}"), tmp_path / "out")
    assert not towers(tmp_path / "out")


def test_a_tower_that_does_not_agree_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_tiny_encoder(tmp_path, EFFICIENTNET)

    def spoil(model: Any) -> None:
        (kernel,) = [one for one in model.get_ordered_ops() if one.get_type_name() == "MatMul"][:1]
        weights = kernel.input(1).get_source_output()
        kernel.input(1).replace_source_output(openvino.opset8.abs(weights).output(0))

    monkeypatch.setattr(openvino_export, "_halve", spoil)
    with pytest.raises(ReleaseError, match="cannot run this encoder's image tower") as caught:
        export_tower(directory, file_digests(directory))
    assert "a cosine of" in caught.value.why
    assert TowerCard.find(directory) is None


def test_a_network_that_cannot_be_converted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_model: Any) -> None:
        raise RuntimeError("No conversion rule found for operations: aten::somewhat")

    directory = write_tiny_encoder(tmp_path, EFFICIENTNET)
    monkeypatch.setattr(openvino_export, "_rename", fail)
    with pytest.raises(ReleaseError, match="cannot run this encoder's image tower") as caught:
        export_tower(directory, file_digests(directory))
    assert "aten::somewhat" in caught.value.why
    assert not (directory / NETWORK_FILE).exists()
