"""Baseline: Ray Data as its documentation and its published image benchmark have it: `download`, `map`, `map_batches`
with an actor class, `write_parquet`.

Same encoder, dtype, threads and batch as ours, on the same Ray. The `map` decodes with Pillow in full (its output
differs from ours by under 2/255) and hands uint8 on, a quarter of the fp32 that the published script hands on. Better
for it than published: the uris come in blocks of one batch each, so that all stages overlap; and a broken file is a
black picture, where the published script would end. Its clock begins with the first decode, not with the download
before it, or with the first batch encoded. Nothing is judged.

The actor claims no core, as one with a GPU would not: with one claimed, it and the actor that plans downloads hold both
cores of a machine that has two, no download ever starts, and the recipe stands still without a word. Claiming none, it
is not fused with `map` either, so decoding and encoding overlap.
"""

import logging
import os
import shutil
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import ray.data
from ray.data.expressions import download

from assay.platform.release import Release
from assay.platform.views import Preprocess
from infra.bench.decoders import plain_pillow
from infra.bench.race import Lap
from infra.bench.side import Task

STALL_S = 120


def decode_row(preprocess: Preprocess, row: dict[str, Any]) -> dict[str, Any]:
    """One row's bytes as pixels."""
    began, data = time.time(), row.pop("bytes")
    seen = None if data is None else plain_pillow(data, preprocess)
    black = np.zeros((preprocess.size, preprocess.size, 3), np.uint8)
    return {**row, "began": began, "pixels": black if seen is None else seen}


class Encode:
    """The actor."""

    def __init__(self, release: str, threads: int) -> None:
        # Ray sets one OpenMP thread per actor; torch, not loaded yet, reads this when it is.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._encoder = Release.load(Path(release)).encoder("cpu")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Embed a batch."""
        batch["embedding"] = self._encoder.encode_images(batch.pop("pixels")).astype(np.float32)
        batch["encoded"] = np.full(len(batch["uri"]), time.time())
        return batch


def _settle() -> None:
    """Before each lap, as our own side settles things otherwise: no bars, and a standstill ends with a word."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = STALL_S
    logging.getLogger("ray.data").setLevel(logging.ERROR)


class RayRecipe:
    """One dataset a lap, on the Ray this process is in."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._preprocess = Release.load(Path(task.release)).preprocess

    def lap(self) -> Lap:
        """Every file once, and the embeddings as Parquet."""
        task, out = self._task, Path(self._task.scratch) / "ray"
        shutil.rmtree(out, ignore_errors=True)
        _settle()
        items = [{"uri": str(path)} for path in task.paths()]
        asked = time.time()
        uris = ray.data.from_items(items, override_num_blocks=max(1, len(items) // task.batch))
        rows = uris.with_column("bytes", download("uri")).map(partial(decode_row, self._preprocess))
        results = rows.map_batches(
            Encode,
            fn_constructor_args=(task.release, task.threads),
            batch_size=task.batch,
            num_cpus=0,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        results.write_parquet(str(out))
        ended = max(path.stat().st_mtime for path in out.rglob("*.parquet"))
        times = pyarrow.dataset.dataset(out).to_table(columns=["began", "encoded"])
        began, encoded = np.asarray(times["began"]), np.asarray(times["encoded"])
        start, timed = float(began.min()), len(began)
        if task.from_first_result and encoded.max() > encoded.min():
            start, timed = float(encoded.min()), int((encoded > encoded.min()).sum())
        told: dict[str, float | str] = {"download by": "obstore" if find_spec("obstore") else "pyarrow, in 16 threads"}
        return Lap(len(began), len(items), ended - start, start - asked, told, timed)

    def close(self) -> None:
        """The Ray is not ours."""
