"""Bare loops: one step of the work by itself, with nothing around it. What they reach, no pipeline can pass.

Knows three: fetch and decode in a thread pool, encode at the pipeline's micro-batch, encode at the best one.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from assay.platform.release import Release
from infra.bench.decoders import Pixels, find_fastest, product
from infra.bench.race import Lap, SideError
from infra.bench.side import Task

TRIAL = 96
"""Images that decoders are compared on; and the least that an encoder's lap takes."""
MICRO_BATCHES = (4, 8, 16, 32, 64, 128)


class BareDecode:
    """Reads and decodes in threads, with the fastest decoder that gives the product's output."""

    def __init__(self, task: Task) -> None:
        self._paths, self._threads = task.paths(), task.threads
        self._preprocess = Release.load(Path(task.release)).preprocess
        sample = [path.read_bytes() for path in self._paths[:TRIAL]]
        self._name, self._decode = find_fastest(sample, self._preprocess, self._threads)

    def lap(self) -> Lap:
        """Every image once; the pixels are dropped."""
        began = time.monotonic()
        with ThreadPoolExecutor(self._threads) as pool:
            done = sum(1 for _ in pool.map(self._look, self._paths))
        return Lap(done, len(self._paths), time.monotonic() - began, facts={"decoder": self._name})

    def close(self) -> None:
        """Nothing is kept."""

    def _look(self, path: Path) -> None:
        self._decode(path.read_bytes(), self._preprocess)


class BareEncode:
    """Encodes pixels that lie ready, as the pipeline does: a shard at a time, at its micro-batch."""

    def __init__(self, task: Task) -> None:
        release = Release.load(Path(task.release))
        self._encoder: Any = release.encoder("cpu")  # Any: another micro-batch is no part of its protocol
        self._pixels = _pixels(task, release)
        self._batch = task.batch

    def lap(self) -> Lap:
        """Every picture once."""
        began, count = time.monotonic(), len(self._pixels)
        for start in range(0, count, self._batch):
            self._encoder.encode_images(self._pixels[start : start + self._batch])
        return Lap(count, count, time.monotonic() - began, facts=self._facts())

    def close(self) -> None:
        """Nothing is kept."""

    def _facts(self) -> dict[str, float | str]:
        return {"micro-batch": vars(self._encoder).get("_micro_batch", "none")}


class BareEncodeBest(BareEncode):
    """The same at the micro-batch that is fastest here, found by trying."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if "_micro_batch" not in vars(self._encoder):
            raise SideError("this encoder has no micro-batch to try others of")
        self._pixels = np.resize(self._pixels, (max(len(self._pixels), MICRO_BATCHES[-1]), *self._pixels.shape[1:]))
        self._batch = MICRO_BATCHES[-1]
        self._encoder._micro_batch = min(MICRO_BATCHES, key=self._time)

    def _time(self, micro_batch: int) -> float:
        self._encoder._micro_batch = micro_batch
        self._encoder.encode_images(self._pixels[:micro_batch])
        began = time.monotonic()
        self._encoder.encode_images(self._pixels[: MICRO_BATCHES[-1]])
        return time.monotonic() - began


def _pixels(task: Task, release: Release) -> Pixels:
    """Decoded pictures, uint8[n, size, size, 3]: a third of a lap's, of those that are whole."""
    paths = task.paths()
    seen = (product(path.read_bytes(), release.preprocess) for path in paths[: max(TRIAL, len(paths) // 3)])
    return np.stack([one for one in seen if one is not None])
