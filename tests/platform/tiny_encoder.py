"""Tiny open_clip encoders with random weights, written as directories: everything but the size is real."""

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import safetensors.torch
import torch

from assay.platform.encoder import BUNDLED_ENCODER

SIZE = 64
TEXT = {"context_length": 16, "vocab_size": 8514, "width": 64, "heads": 2, "layers": 1}  # the bundled vocabulary
TRANSFORMER = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
RESNET = {"layers": [3, 4, 6, 3], "width": 8}
EFFICIENTNET = {"timm_model_name": "test_efficientnet", "timm_pool": "", "timm_proj": "linear"}
CONVNEXT = {"timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "linear"}


def write_tiny_encoder(directory: Path, vision: dict[str, Any], seed: int = 0) -> Path:
    """An encoder with this image tower, in fp32."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = {"embed_dim": 32, "vision_cfg": vision | {"image_size": SIZE}, "text_cfg": TEXT}
    model = open_clip.CLIP(**config)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(weights, directory / "open_clip_model.safetensors")
    told = {"model_cfg": config, "preprocess_cfg": {"size": SIZE, "resize_mode": "longest"}}
    (directory / "open_clip_config.json").write_text(json.dumps(told))
    shutil.copyfile(BUNDLED_ENCODER / "bpe.txt.gz", directory / "bpe.txt.gz")
    return directory
