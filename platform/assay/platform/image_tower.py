"""The image tower as one network, from stored pixels to unit vectors: what torch runs is what is exported.

Knows what is done to pixels before a model sees them and to vectors after. Does not know devices' feeds or files.
"""

from typing import Any

import torch

from assay.platform.views import Preprocess


class ImageTower(torch.nn.Module):
    """uint8[n, size, size, 3] to float32[n, dim], of unit length."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: Any, preprocess: Preprocess, dtype: torch.dtype, layout: torch.memory_format) -> None:
        """`model` is open_clip's, in `dtype`; `layout` is how its image tower's weights lie in memory."""
        super().__init__()
        self._model, self._dtype, self._layout = model, dtype, layout
        device = next(model.parameters()).device
        for name, value in (("mean", preprocess.mean), ("std", preprocess.std)):
            self.register_buffer(name, 255 * torch.tensor(value, device=device).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed a batch."""
        # NHWC seen as NCHW is already channels_last.
        images = pixels.permute(0, 3, 1, 2).float()
        images = ((images - self.mean) / self.std).to(self._dtype, memory_format=self._layout)
        return torch.nn.functional.normalize(self._model.encode_image(images).float(), dim=-1)
