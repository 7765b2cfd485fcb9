"""Baseline: the loop most people write. A torch DataLoader decodes with Pillow in two workers, the encoder runs in the
main process.

Same encoder, dtype, threads and batch as ours. Its output differs by what scaled decoding changes (under 2/255): it
decodes in full and scales in one step. A broken file becomes a black picture. Nothing is written, nothing is judged.
"""

import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from assay.platform.release import Release
from assay.platform.views import Preprocess
from infra.bench.decoders import Pixels, plain_pillow
from infra.bench.race import Lap
from infra.bench.side import Task

WORKERS = 2


class PictureFiles(Dataset[Pixels]):
    """Files of pictures, as the encoder's input."""

    def __init__(self, paths: list[Path], preprocess: Preprocess) -> None:
        self._paths, self._preprocess = paths, preprocess
        self._black = np.zeros((preprocess.size, preprocess.size, 3), np.uint8)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Pixels:
        seen = plain_pillow(self._paths[index].read_bytes(), self._preprocess)
        return self._black if seen is None else seen


def _stack(pictures: list[Pixels]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures))


class PlainLoop:
    """DataLoader, then encoder."""

    def __init__(self, task: Task) -> None:
        release = Release.load(Path(task.release))
        self._encoder = release.encoder("cpu")
        self._files = PictureFiles(task.paths(), release.preprocess)
        self._batch = task.batch

    def lap(self) -> Lap:
        """Every file once. Starting the workers counts: they are forked in milliseconds."""
        began, done = time.monotonic(), 0
        for pixels in DataLoader(self._files, self._batch, num_workers=WORKERS, collate_fn=_stack):
            done += len(self._encoder.encode_images(pixels.numpy()))
        return Lap(done, len(self._files), time.monotonic() - began)

    def close(self) -> None:
        """Nothing is kept."""
