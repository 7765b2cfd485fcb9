"""The sides of the GPU's race: the encoder by itself, and everything from a file's bytes to its embedding.

Knows the product's encoder from inside: a pass by itself, without the way to the device, is no part of its protocol.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.platform.budget import Budget
from assay.platform.feeder import Decode, FeederSpec, embed_images
from assay.platform.guard import Guard
from assay.platform.images import decode
from assay.platform.release import Release
from infra.bench.busy import Busy
from infra.bench.encoder_efficiency import settle
from infra.bench.race import Lap
from infra.bench.side import Task

HEIGHTS = (32, 64, 128, 256, 512)
"""Heights of a pass that are tried."""
TRIAL_PASSES = 5

Pass = Callable[[torch.Tensor], torch.Tensor]


class ModelOnly:
    """The encoder's passes end to end, over pixels that lie on the device: what no pipeline can pass."""

    def __init__(self, task: Task) -> None:
        self._release, self._images = Release.load(Path(task.release)), task.images
        self._encoder = _opened(self._release, task.device)
        self._height: int = self._encoder._micro_batch
        self._run: Pass = self._encoder._embed

    def lap(self) -> Lap:
        """As many passes as the images need."""
        pixels, passes = self._pixels(self._height), -(-self._images // self._height)
        settle(self._encoder.device)
        began = time.monotonic()
        for _ in range(passes):
            self._run(pixels)
        settle(self._encoder.device)
        count = passes * self._height
        return Lap(count, count, time.monotonic() - began, facts={"images a pass": self._height, **self._facts()})

    def close(self) -> None:
        """Nothing is kept."""

    def _pixels(self, height: int) -> torch.Tensor:
        size = self._release.preprocess.size
        made = np.random.default_rng(0).integers(0, 256, (height, size, size, 3), np.uint8)
        return torch.from_numpy(made).to(self._encoder.device)

    def _facts(self) -> dict[str, float | str]:
        return {}


class ModelBest(ModelOnly):
    """The same at the height of a pass that is fastest here, found by trying."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        heights = [height for height in HEIGHTS if height <= max(task.images, HEIGHTS[0])]
        self._height = min(heights, key=self._seconds_an_image)

    def _seconds_an_image(self, height: int) -> float:
        pixels = self._pixels(height)
        self._run(pixels)
        settle(self._encoder.device)
        began = time.monotonic()
        for _ in range(TRIAL_PASSES):
            self._run(pixels)
        settle(self._encoder.device)
        return (time.monotonic() - began) / (TRIAL_PASSES * height)


class ModelCompiled(ModelOnly):
    """The same through `torch.compile`. It rounds otherwise, so the product does not use it; this tells by how much."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        plain = self._run(self._pixels(self._height)).clone()
        self._encoder._model.encode_image = torch.compile(self._encoder._model.encode_image, dynamic=False)
        compiled = self._run(self._pixels(self._height))
        differs = (plain != compiled).any(dim=1).float().mean()
        cosine = torch.nn.functional.cosine_similarity(plain.float(), compiled.float()).min()
        self._told: dict[str, float | str] = {"rows that differ": float(differs), "least cosine": float(cosine)}

    def _facts(self) -> dict[str, float | str]:
        return self._told


class GuardedBytes:
    """Bytes in memory to embeddings, with the product's feeder and its guarded decoder processes.

    The clock starts with the first result: filling an empty pipeline is start-up.
    """

    def __init__(self, task: Task) -> None:
        self._task, self._contents = task, _read(task.paths())
        release = Release.load(Path(task.release))
        self._encoder = _opened(release, task.device)
        self._spec = FeederSpec(decoders=task.threads, views=task.batch, ahead=2 * task.batch)
        self._decode = self._decoder(release)
        self._busy = Busy(self._encoder._model.visual, self._encoder.device)

    def lap(self) -> Lap:
        """Every image once."""
        self._busy.begin()
        asked, done, faults, first = time.monotonic(), 0, 0, 0.0
        for image in embed_images(self._contents, self._decode, self._encoder, self._spec):
            first = first or time.monotonic()
            done += 1
            faults += image.fault is not None
        told: dict[str, float | str] = {"busy": self._busy.share(), "faults": faults}
        # The first batch came whole. A lap of one batch has nothing after it.
        timed = done - self._task.batch
        began = first if timed > 0 else asked
        return Lap(done, len(self._contents), time.monotonic() - began, 0.0, told, timed if timed > 0 else None)

    def close(self) -> None:
        """End the decoders."""
        self._guard.close()

    def _decoder(self, release: Release) -> Decode:
        self._guard = Guard(release.preprocess, Budget(), self._task.threads)
        return self._guard.decode


class ThreadedBytes(GuardedBytes):
    """The same with decoders in threads of this process, as a trusted source would allow."""

    def close(self) -> None:
        """Nothing is kept."""

    def _decoder(self, release: Release) -> Decode:
        return partial(decode, preprocess=release.preprocess, budget=Budget())


def _opened(release: Release, device: str) -> Any:
    """The encoder as what it is; see the module's first words."""
    return release.encoder(device)


def _read(paths: list[Path]) -> list[bytes]:
    """What is in the files; those that are links to one another are in memory once."""
    numbers = [path.stat().st_ino for path in paths]
    contents = {number: path.read_bytes() for number, path in dict(zip(numbers, paths, strict=True)).items()}
    return [contents[number] for number in numbers]
