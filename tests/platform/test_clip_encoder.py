"""A tiny open_clip model with random weights, saved as a directory: everything but the size is real."""

import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch

from assay.platform.clip_encoder import ClipEncoder
from assay.platform.encoder import BUNDLED_ENCODER, EncoderSpec, Precision, export_encoder, file_digests
from assay.platform.errors import ReleaseError
from assay.platform.tokens import TokenCounter

MODEL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
PREPROCESS = {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "resize_mode": "longest", "fill_color": 7}

DIGEST = "0" * 64


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    model = open_clip.CLIP(**MODEL)
    safetensors.torch.save_file(model.state_dict(), made / "open_clip_model.safetensors")
    (made / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}))
    shutil.copyfile(Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz", made / "bpe.txt.gz")
    return made


@pytest.fixture(scope="module")
def encoder(directory: Path) -> ClipEncoder:
    return ClipEncoder(directory, DIGEST, device="cpu")


def pixels(n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


def test_agrees_with_open_clip(directory: Path, encoder: ClipEncoder) -> None:
    model = open_clip.create_model(f"local-dir:{directory}").eval()
    images = torch.from_numpy(pixels(3)).permute(0, 3, 1, 2).float() / 255
    images = (images - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    with torch.no_grad():
        pictures = model.encode_image(images, normalize=True).numpy()
        phrases = model.encode_text(open_clip.tokenize(["a pistol", "手枪"], 16), normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_images(pixels(3)), pictures, atol=1e-3)
    np.testing.assert_allclose(encoder.encode_texts(["a pistol", "手枪"]), phrases, atol=1e-5)


def test_counts_tokens_also_of_what_is_too_long(encoder: ClipEncoder) -> None:
    assert encoder.context_length == 16
    counts = encoder.count_tokens(["", "a pistol", "a pistol " * 10])
    assert counts == [2, 4, 22]
    assert isinstance(encoder, TokenCounter)


def test_what_it_says_of_itself(directory: Path, encoder: ClipEncoder) -> None:
    assert (encoder.dim, encoder.preprocess.size, encoder.preprocess.fit) == (32, 32, "pad")
    assert encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert set(file_digests(directory)) == {"bpe.txt.gz", "open_clip_config.json", "open_clip_model.safetensors"}


def test_a_rows_embedding_depends_on_that_row_alone(encoder: ClipEncoder) -> None:
    many = pixels(11)
    order = np.random.default_rng(1).permutation(11)
    together = encoder.encode_images(many)
    assert (encoder.encode_images(many[order]) == together[order]).all()
    assert (np.concatenate([encoder.encode_images(many[row : row + 1]) for row in range(11)]) == together).all()
    texts = [f"thing {row}" for row in range(9)]
    assert (np.concatenate([encoder.encode_texts([one]) for one in texts]) == encoder.encode_texts(texts)).all()


def plain(encoder: ClipEncoder, many: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float16]]:
    """The plain path: one pass after the other, each waited for."""
    height, seen = encoder._micro_batch, encoder.preprocess
    mean, std = (255 * torch.tensor(one, device=encoder.device).view(1, 3, 1, 1) for one in (seen.mean, seen.std))
    found = []
    for start in range(0, len(many), height):
        part = np.zeros((height, *many.shape[1:]), np.uint8)
        part[: len(many) - start] = many[start : start + height]
        with torch.inference_mode():
            images = torch.from_numpy(part).to(encoder.device).permute(0, 3, 1, 2).float()
            images = ((images - mean) / std).to(encoder.dtype)
            vectors = torch.nn.functional.normalize(encoder._model.encode_image(images).float(), dim=-1)
        found.append(vectors[: len(many) - start].to(torch.float16).cpu().numpy())
    return np.concatenate(found)


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fed_embeddings_have_the_bits_of_the_plain_path(directory: Path, precision: Precision, device: str) -> None:
    encoder = ClipEncoder(directory, DIGEST, precision, device)
    for count in (1, encoder._micro_batch, encoder._micro_batch + 1, 5 * encoder._micro_batch + 3):
        fed = encoder.encode_images(pixels(count))
        assert (fed.view(np.uint16) == plain(encoder, pixels(count)).view(np.uint16)).all()


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_threads_may_encode_at_once(directory: Path, device: str) -> None:
    encoder = ClipEncoder(directory, DIGEST, device=device)
    batches = [pixels(count) for count in (17, 150, 3, 65)]
    alone = [encoder.encode_images(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoder.encode_images, batches * 4))
    assert all((one == other).all() for one, other in zip(together, alone * 4, strict=True))


@pytest.mark.parametrize(
    ("has", "told"),
    [
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}, ""),
        ({"architecture": "x86_64", "amx_bf16": True}, ""),
        ({"architecture": "x86_64", "avx512_f": True}, "no faster than fp32"),
        ({"architecture": "x86_64"}, "several times slower"),
        ({"architecture": "aarch64"}, ""),
    ],
)
def test_bf16_that_the_cpu_cannot_multiply_is_noted(
    directory: Path, monkeypatch: pytest.MonkeyPatch, has: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    notes = ClipEncoder(directory, DIGEST, "bf16", "cpu").notes
    assert len(notes) == bool(told)
    assert told in "".join(notes)
    assert ClipEncoder(directory, DIGEST, "fp32", "cpu").notes == ()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
@pytest.mark.parametrize(
    ("given", "asked", "told"), [("0", "auto", 1), ("", "auto", 0), ("-1", "auto", 0), ("0", "cpu", 0)]
)
def test_a_gpu_that_torch_does_not_see_is_noted(
    directory: Path, monkeypatch: pytest.MonkeyPatch, given: str, asked: str, told: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    notes = ClipEncoder(directory, DIGEST, device=asked).notes
    assert len(notes) == told
    assert all("encoding on the CPU" in note for note in notes)


def test_empty_batches(encoder: ClipEncoder) -> None:
    assert encoder.encode_images(pixels(0)).shape == (0, 32)
    assert encoder.encode_texts([]).shape == (0, 32)


def test_loading_never_opens_a_socket(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    ClipEncoder(directory, DIGEST, device="cpu").encode_texts(["a pistol"])


def test_bf16_is_near(directory: Path, encoder: ClipEncoder) -> None:
    half = ClipEncoder(directory, DIGEST, "bf16", "cpu")
    near = (half.encode_images(pixels(4)).astype(np.float32) * encoder.encode_images(pixels(4))).sum(axis=1)
    assert (near > 0.99).all()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "old/weights.pt", "model.PKL"])
def test_pickles_are_refused(directory: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(directory, tmp_path / "copy"))
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"")
    with pytest.raises(ReleaseError, match="only safetensors") as caught:
        ClipEncoder(copy, DIGEST)
    assert Path(name).name in caught.value.why


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors"])
def test_missing_files(directory: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(directory, tmp_path / "copy"))
    (copy / name).unlink()
    with pytest.raises(ReleaseError, match=f"has no {name}"):
        ClipEncoder(copy, DIGEST)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"embed_dim": 33}, "does not load"),
        ({"text_cfg": {"hf_model_name": "xlm-roberta-base"}}, "needs a hub"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:somebody/something"}}, "needs a hub"),
        ({"vision_cfg": None}, "is not open_clip's"),
    ],
)
def test_configurations_that_cannot_be(directory: Path, tmp_path: Path, change: dict[str, Any], what: str) -> None:
    copy = Path(shutil.copytree(directory, tmp_path / "copy"))
    config = {"model_cfg": MODEL | change, "preprocess_cfg": PREPROCESS}
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ReleaseError, match=what):
        ClipEncoder(copy, DIGEST)


def test_names_are_checked_before_any_download(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError) as caught:
        export_encoder(EncoderSpec(model="ViT-B32", pretrained="openai"), tmp_path)
    assert caught.value.what == "unknown encoder 'ViT-B32'; did you mean 'ViT-B-32'?"
    with pytest.raises(ReleaseError) as caught:
        export_encoder(EncoderSpec(model="ViT-B-32", pretrained="open-ai"), tmp_path)
    assert caught.value.what == "encoder 'ViT-B-32' has no weights 'open-ai'; did you mean 'openai'?"


def test_no_network_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("Failed to download weights for tag 'openai': no route to host")

    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(ReleaseError, match="could not be fetched") as caught:
        export_encoder(EncoderSpec(model="ViT-B-32", pretrained="openai"), tmp_path)
    assert "no route to host" in caught.value.why


def test_export_of_a_named_model_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The download is replaced by random weights; all that follows it is real.
    def random_weights(name: str, *_args: object, **_kwargs: object) -> torch.nn.Module:
        model: torch.nn.Module = open_clip.CLIP(**MODEL)
        open_clip.model.set_model_preprocess_cfg(model, PREPROCESS)
        return model

    monkeypatch.setattr(open_clip, "create_model", random_weights)
    monkeypatch.setattr(open_clip, "get_model_config", lambda _name: MODEL)
    export_encoder(EncoderSpec(model="ViT-B-32", pretrained="openai"), tmp_path)
    monkeypatch.undo()
    assert ClipEncoder(tmp_path, DIGEST, device="cpu").dim == 32
    # OpenAI's weights want QuickGELU; open_clip would only warn.
    assert json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"]["quick_gelu"] is True


def test_a_phrase_s_vector_is_its_own_whatever_else_is_compiled() -> None:
    starter = ClipEncoder(BUNDLED_ENCODER, DIGEST, device="cpu")
    texts = [f"a {colour} {thing}" for colour in ("red", "old", "wet") for thing in ("bow", "dagger", "coin", "door")]
    together = starter.encode_texts(texts)
    assert (starter.encode_texts(texts[::-1])[::-1] == together).all()
    assert (starter.encode_texts(texts[3:8]) == together[3:8]).all()
