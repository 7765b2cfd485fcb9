"""Baseline: Daft, as its documentation has it: `download`, `decode_image` and `resize` in its native engine
(older versions: `url.download()`, `image.decode()`), then a class UDF.

Same encoder, dtype, threads and batch as ours; the class is kept from lap to lap, so loading is not timed. Its output
differs: its resize squashes to a square with a filter of its own, and it decodes in full; both cost less than cropping
and bicubic scaling. A broken file is a null, and a black picture for the encoder. Nothing is judged.
"""

import shutil
import time
from functools import cache
from pathlib import Path
from typing import Any

import daft
import numpy as np
import numpy.typing as npt
import pyarrow.dataset
from daft.functions import decode_image, download, resize

from assay.platform.encoder import Encoder
from assay.platform.release import Release
from infra.bench.race import Lap
from infra.bench.side import Task


@cache
def _encoder(release: str) -> Encoder:
    return Release.load(Path(release)).encoder("cpu")


def _encode_class(dim: int, batch: int) -> Any:
    """The class UDF, for an encoder of this width."""

    @daft.cls(max_concurrency=1, use_process=False)
    class Encode:
        def __init__(self, release: str) -> None:
            self._encoder = _encoder(release)

        @daft.method.batch(return_dtype=daft.DataType.fixed_size_list(daft.DataType.float32(), dim), batch_size=batch)  # type: ignore[untyped-decorator]  # not followed
        def encode(self, images: daft.Series) -> list[npt.NDArray[np.float32]]:
            size = self._encoder.preprocess.size
            black = np.zeros((size, size, 3), np.uint8)
            pixels = np.stack([black if one is None else np.asarray(one) for one in images.to_pylist()])
            return list(self._encoder.encode_images(pixels).astype(np.float32))

    return Encode


class DaftRecipe:
    """One query a lap."""

    def __init__(self, task: Task) -> None:
        daft.set_runner_native()
        self._task = task
        self._uris = [path.as_uri() for path in task.paths()]
        encoder = _encoder(task.release)
        self._size = encoder.preprocess.size
        self._encode = _encode_class(encoder.dim, task.batch)(task.release).encode

    def lap(self) -> Lap:
        """Every file once, and the embeddings as Parquet."""
        out = Path(self._task.scratch) / "daft"
        shutil.rmtree(out, ignore_errors=True)
        began = time.monotonic()
        frame = daft.from_pydict({"uri": self._uris})
        data = download(daft.col("uri"), on_error="null")
        images = resize(decode_image(data, on_error="null", mode="RGB"), self._size, self._size)
        frame = frame.with_column("image", images)
        frame = frame.with_column("embedding", self._encode(daft.col("image")))
        frame.select("uri", "embedding").write_parquet(str(out))
        seconds = time.monotonic() - began
        return Lap(pyarrow.dataset.dataset(out).count_rows(), len(self._uris), seconds)

    def close(self) -> None:
        """Nothing is kept."""
