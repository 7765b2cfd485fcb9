"""What re-auditing is measured beside, one core each: reading a column, another layout of it, a matrix product; and
the product's own steps by themselves. `Task.scratch` is a store, `Task.release` a release.

Knows each loop. Does not know what is compared with what (`reaudit.py`).
"""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assay.jobs.carry import Base, files_of, find_base
from assay.jobs.generation import generations
from assay.jobs.judge_stage import JudgeSpec, JudgeStage
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.spans import Sources, read_spans
from assay.jobs.store import Store
from assay.jobs.stored_rows import read_observed
from assay.jobs.work import Receipt, Work
from assay.platform.moderator import embeddings_of
from assay.platform.release import Release
from assay.platform.storage import Storage
from infra.bench.race import Lap, SideError
from infra.bench.side import Task
from infra.bench.stored_corpus import random_embeddings

TILES = (256, 512, 1024, 2048, 4096)
"""Heights that the plain matrix product is tried at."""
ROWS = 16_384
"""Embeddings in memory that arithmetic by itself is measured on."""
GEMM_S = 1.0


class _Stored:
    """What these sides share: the store, its spans of work, its files of observations."""

    def __init__(self, task: Task) -> None:
        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
        self.release = Release.load(Path(task.release))
        self.store = Store.open(Storage(), task.scratch)
        self.images = task.images
        self.files = sorted(Path(task.scratch, "observations", "data").rglob("*.parquet"))

    def spans(self, carried: bool = False) -> list[Work]:
        """The work of a re-audit, up to so many images."""
        observed = self.store.observations.table()
        wanted = ShardRanges.of_numbers(observed.shards())
        base = find_base(self.store, self.release, "strict", wanted)
        files = files_of(self.store.verdicts.table(), base if carried else Base.nothing())
        found: list[Work] = []
        for work in read_spans(self.store, generations(self.store), wanted, Sources.of(wanted, observed, files)):
            found.append(work)
            if sum(one.rows for one in found) >= self.images:
                break
        self.images = sum(one.rows for one in found)
        return found

    def close(self) -> None:
        """Nothing is kept."""

    def _lap(self, rows: int, began: float, **facts: float) -> Lap:
        return Lap(rows, rows, time.monotonic() - began, facts=facts)


class ReadColumn(_Stored):
    """pyarrow alone: the column of embeddings, file by file, as it comes."""

    def lap(self) -> Lap:
        """Every embedding once."""
        began, rows = time.monotonic(), 0
        for path in self.files:
            rows += pq.read_table(path, columns=["embedding"], use_threads=False).num_rows
            if rows >= self.images:
                break
        return self._lap(rows, began)


class ReadFixedSizeList(_Stored):
    """The same embeddings in the usual layout, FixedSizeList of half floats, to a NumPy matrix."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._folder = Path(task.scratch).parent / "fixed-size-list"
        self._folder.mkdir(exist_ok=True)
        self._dim = self.release.manifest.encoder.dim
        for number, path in enumerate(self.files):
            target = self._folder / f"{number:06d}.parquet"
            if not target.is_file():
                matrix = embeddings_of(pq.read_table(path, columns=["embedding"])["embedding"], self._dim)
                lists = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), self._dim)
                pq.write_table(pa.table({"embedding": lists}), target, compression="none", use_dictionary=False)
            if (number + 1) * ROWS >= self.images:
                break

    def lap(self) -> Lap:
        """Every embedding once."""
        began, rows = time.monotonic(), 0
        for path in sorted(self._folder.glob("*.parquet")):
            column = pq.read_table(path, use_threads=False)["embedding"].combine_chunks()
            matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, self._dim)
            rows += len(matrix)
        return self._lap(rows, began)


class ReadMatrix(_Stored):
    """The product's way from the files to the same matrix."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._spans = self.spans()

    def lap(self) -> Lap:
        """Every embedding once."""
        began, rows = time.monotonic(), 0
        for work in self._spans:
            rows += len(self.read(work))
        return self._lap(rows, began)

    def read(self, work: Work) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
        """One span's embeddings."""
        rows = read_observed(self.store.storage, self.store.uri, work, ["embedding"])
        return embeddings_of(rows["embedding"], self.release.manifest.encoder.dim)


class ReadAndScore(ReadMatrix):
    """From the same column to scores; nothing is decided or written."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._scorer = self.release.scorer()

    def lap(self) -> Lap:
        """Every image once."""
        began, rows = time.monotonic(), 0
        for work in self._spans:
            rows += len(self._scorer.score_labels(self.read(work)))
        return self._lap(rows, began)


class ScoreInMemory:
    """Scores of embeddings that lie ready."""

    def __init__(self, task: Task) -> None:
        release = Release.load(Path(task.release))
        self._scorer = release.scorer()
        self._phrases = len(set(self._scorer.phrases.texts))
        self._vectors = random_embeddings(ROWS, release.manifest.encoder.dim, seed=5)

    def lap(self) -> Lap:
        """Every image once."""
        began = time.monotonic()
        found = self._scorer.score_labels(self._vectors)
        return Lap(len(found), ROWS, time.monotonic() - began, facts={"phrases": self._phrases})

    def close(self) -> None:
        """Nothing is kept."""


class PlainProduct:
    """The bare float32 product of as many embeddings with as many phrases, at the tile height that is fastest here."""

    def __init__(self, task: Task) -> None:
        release = Release.load(Path(task.release))
        phrases = len(set(release.scorer().phrases.texts))
        dim = release.manifest.encoder.dim
        self._matrix = random_embeddings(phrases, dim, seed=3).astype(np.float32).T.copy()
        self._vectors = random_embeddings(ROWS, dim, seed=5).astype(np.float32)
        self._tile = min(TILES, key=self._time)

    def _time(self, tile: int) -> float:
        self._sweep(tile)
        began = time.monotonic()
        self._sweep(tile)
        return time.monotonic() - began

    def _sweep(self, tile: int) -> int:
        out = np.empty((tile, self._matrix.shape[1]), np.float32)
        for start in range(0, ROWS, tile):
            np.matmul(self._vectors[start : start + tile], self._matrix, out=out)
        return ROWS

    def lap(self) -> Lap:
        """Every embedding, for a second or so."""
        began, rows = time.monotonic(), 0
        while time.monotonic() - began < GEMM_S:
            rows += self._sweep(self._tile)
        return Lap(rows, rows, time.monotonic() - began, facts={"rows of a tile": self._tile})

    def close(self) -> None:
        """Nothing is kept."""


class Rejudge(_Stored):
    """The judge stage over every span, verdicts written and not committed, in this process: every label is scored."""

    carries = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        wanted = self.store.observations.table().shards()
        base = find_base(self.store, self.release, "strict", wanted)
        if self.carries and not base.labels:
            raise SideError("there is nothing to carry over")
        labels = base.labels if self.carries else ()
        spec = (self.store.storage.spec, self.store.uri, self.release.id, "strict", 32, "cpu", 1, False, labels)
        self._stage = JudgeStage(JudgeSpec(*spec))
        self._spans = self.spans(self.carries)

    def lap(self) -> Lap:
        """Every image once."""
        began, rows, carried, flagged = time.monotonic(), 0, 0, 0
        for work in self._spans:
            receipt = Receipt.model_validate_json(self._stage(work.row())["receipt"][0].as_py())
            if receipt.failure is not None:
                raise SideError(str(receipt.failure.error()))
            rows, carried, flagged = rows + receipt.rows, carried + receipt.carried, flagged + receipt.actions["review"]
        return self._lap(rows, began, carried=carried, flagged=flagged)


class RejudgeCarried(Rejudge):
    """The same where all labels but those whose text changed are carried over."""

    carries = True
