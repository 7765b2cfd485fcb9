"""The encoders of the two regimes, as releases made by the product's own code.

null: mean pooling over 224 x 224 pixels. It costs next to nothing, so what is measured is the pipeline.
real: an open_clip network with random weights in bf16 (fp32 where the CPU cannot multiply bf16 and no GPU is meant);
speed does not depend on what the weights are.

Knows how both are made. Does not know how they are run.
"""

import json
import shutil
from pathlib import Path

import open_clip
import safetensors.torch
import torch
from open_clip.tokenizer import default_bpe

from assay.platform.clip_encoder import BPE_FILE, CONFIG_FILE, WEIGHTS_FILE
from assay.platform.encoder import EncoderSpec, Precision
from assay.platform.hash_encoder import HashSpec, write_hash_encoder
from assay.platform.release import Release, bundled_release
from assay.platform.release_build import ReleaseSpec, build_release

NULL_SIZE = 224
"""Edge of the null encoder's input: that of the real one's, so that both regimes decode to the same pixels."""


def null_release(directory: Path) -> Release:
    """A release around mean pooling."""
    encoder = directory.with_name(f"{directory.name}-encoder")
    write_hash_encoder(encoder, HashSpec(size=NULL_SIZE))
    return _release(directory, "null", encoder, "fp32")


def real_release(directory: Path, model: str, seed: int, precision: Precision = "bf16") -> Release:
    """A release around an open_clip model with random weights."""
    encoder = directory.with_name(f"{directory.name}-encoder")
    write_random_encoder(encoder, model, seed)
    return _release(directory, "real", encoder, precision)


def has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware; False where that is not told."""
    told = Path("/proc/cpuinfo")
    flags = told.read_text() if told.is_file() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def write_random_encoder(directory: Path, model: str, seed: int) -> None:
    """A directory as `export_open_clip` writes it, but from random weights: nothing is downloaded.

    The image tower is the model's. Its text tower has one layer only: no image passes it, and the release's prompts
    would take it a minute.
    """
    directory.mkdir(parents=True)
    torch.manual_seed(seed)
    config = open_clip.get_model_config(model)
    config["text_cfg"] = config["text_cfg"] | {"layers": 1}
    network = open_clip.create_model(model, precision="fp32", device="cpu", text_cfg=config["text_cfg"])
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(weights, str(directory / WEIGHTS_FILE), metadata={"format": "pt"})
    shutil.copyfile(default_bpe(), directory / BPE_FILE)
    told = {"model_cfg": config, "preprocess_cfg": dict(network.visual.preprocess_cfg)}
    (directory / CONFIG_FILE).write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _release(directory: Path, name: str, encoder: Path, precision: Precision) -> Release:
    starter = bundled_release()
    spec = ReleaseSpec(
        name=name,
        encoder=EncoderSpec(model=f"local-dir:{encoder}", precision=precision),
        library=starter / "library.yaml",
        policies=(starter / "policies" / "strict.yaml",),
    )
    return build_release(directory, spec)
