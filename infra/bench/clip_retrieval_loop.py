"""Baseline: clip-retrieval's inference loop, rebuilt.

clip-retrieval 2.45 asks for open_clip below 3, which our pins exclude, and for weights from a hub. So its loop stands
here as its reader, mapper and writer have it: a DataLoader of files through open_clip's own transform into fp32
tensors, `encode_image` in eager fp32 (on a CPU; on a GPU, as there, fp32 weights under autocast to bf16, TF32 allowed,
page-locked batches, a copy that is waited for), rows divided by their norms, float16, one .npy in all.
Same weights, threads and batch as ours; the dtype is fp32, and its transform decodes in full. As there, a file that
cannot be read is left out; here it is counted, so that every image is accounted for.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from infra.bench.race import Lap
from infra.bench.side import Task


class ImageFiles(Dataset[torch.Tensor | None]):
    """Files through open_clip's transform; None where Pillow fails."""

    def __init__(self, paths: list[Path], transform: Any) -> None:
        self._paths, self._transform = paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor | None:
        try:
            tensor: torch.Tensor = self._transform(Image.open(self._paths[index]))
        except OSError:
            return None
        return tensor


def _collate(batch: list[torch.Tensor | None]) -> tuple[torch.Tensor, int]:
    whole = [one for one in batch if one is not None]
    return default_collate(whole) if whole else torch.empty(0), len(batch)


class ClipRetrievalLoop:
    """Reader, mapper, writer."""

    def __init__(self, task: Task) -> None:
        encoder = Path(task.release) / "encoder"
        self._model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{encoder}", precision="fp32")
        self._device = torch.device(task.device)
        self._model.eval().to(self._device)
        torch.backends.cuda.matmul.allow_tf32 = True
        self._files = ImageFiles(task.paths(), transform)
        self._task = task

    def lap(self) -> Lap:
        """Every file once, and the embeddings on disk."""
        began, done, written = time.monotonic(), 0, []
        workers = self._task.threads  # its default of 4 is more than there are cores here
        with torch.no_grad():
            for images, count in DataLoader(
                self._files,
                self._task.batch,
                num_workers=workers,
                prefetch_factor=2,
                collate_fn=_collate,
                pin_memory=self._device.type == "cuda",
            ):
                done += count
                if len(images):
                    features = self._encode(images.to(self._device))
                    features /= features.norm(dim=-1, keepdim=True)
                    written.append(features.cpu().to(torch.float16).numpy())
        np.save(Path(self._task.scratch) / "img_emb.npy", np.concatenate(written))
        return Lap(done, len(self._files), time.monotonic() - began)

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            features: torch.Tensor = self._model.encode_image(images)
        return features

    def close(self) -> None:
        """Nothing is kept."""
