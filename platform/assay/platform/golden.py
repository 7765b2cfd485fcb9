"""A golden set: what people have confirmed of some images, one row for each, and what it stands for.

Knows how reviewers become one truth. Does not know scores, embeddings' use, nor where images are.

Reviewers are merged label by label. A reviewer's latest word counts. Where those of all who spoke are the same, that is
the truth; where they differ, it is `unsure`. Slices are merged alike, and where reviewers differ the image is in no
slice of that name. Rows of one image must agree on weight, split and embedding: these are no opinions.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.platform.golden_file import asked_of, encoder_of, read_reviews, rows_of, table_of, write_table
from assay.platform.golden_rows import GOLDEN, SPLITS, GoldenRow, Reviews, Split, Truth

__all__ = ["GOLDEN", "GoldenSet", "Split", "Truth"]

T = TypeVar("T")

CODES = {Truth.PRESENT: 1, Truth.ABSENT: 0, Truth.UNSURE: -1}
"""Truth as a number. -1 also stands for a label that nobody was asked about."""


@dataclass(frozen=True)
class GoldenSet:
    """One row per image, in order of uri and etag. `table` has the schema `GOLDEN`; of a merged row, `reviewer` names
    all who spoke, and `time` is the latest."""

    table: pa.Table
    digest: str
    """sha256 over all columns but `embedding`, in whatever order the rows came."""

    @classmethod
    def of(cls, reviews: Reviews) -> Self:
        """The set that some reviews make."""
        by_image: dict[tuple[str, str], list[GoldenRow]] = {}
        for row in reviews.rows:
            by_image.setdefault(row.image, []).append(row)
        merged = tuple(_merge(by_image[image]) for image in sorted(by_image))
        return cls(table_of(Reviews(merged, reviews.asked, reviews.encoder)), _digest(merged))

    @classmethod
    def read(cls, path: Path | str, known_labels: Collection[str] | None = None) -> Self:
        """Read a Parquet file; infra/docs/golden.md describes it.

        Raises:
            GoldenError: it cannot be read or does not hold together; with `known_labels`, also when it says others.
        """
        return cls.of(read_reviews(path, known_labels))

    def write(self, path: Path | str) -> None:
        """Write it as Parquet, whole or not at all.

        Raises:
            StorageError: the disk is full, or may not be written.
        """
        write_table(path, self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def uris(self) -> list[str]:
        """Where each image is."""
        found: list[str] = self.table["uri"].to_pylist()
        return found

    @cached_property
    def etags(self) -> list[str]:
        """The version of each image; "" = not known."""
        found: list[str] = self.table["etag"].to_pylist()
        return found

    @cached_property
    def splits(self) -> list[str | None]:
        """What each image is for: calibrate, test, or (None) both."""
        found: list[str | None] = self.table["split"].to_pylist()
        return found

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """How many images of the population each stands for, float64[n]."""
        found: npt.NDArray[np.float64] = self.table["weight"].to_numpy()
        return found

    @property
    def encoder(self) -> str:
        """The digest of the encoder that made the embeddings it keeps; empty when it says none."""
        return encoder_of(self.table.schema)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Every label that is said of an image or asked for, sorted."""
        said = {label for row in self.table["labels"].to_pylist() for label, _ in row}
        return tuple(sorted({*said, *asked_of(self.table.schema, "a golden set")}))

    def truth(self, labels: Sequence[str]) -> npt.NDArray[np.int8]:
        """int8[n, labels]: 1 present, 0 absent, -1 unsure or not asked."""
        found = np.full((len(self), len(labels)), -1, np.int8)
        columns = {label: column for column, label in enumerate(labels)}
        for row, said in enumerate(self.table["labels"].to_pylist()):
            for label, word in said:
                if label in columns:
                    found[row, columns[label]] = CODES[Truth(word)]
        return found

    def slices(self) -> dict[str, npt.NDArray[np.str_]]:
        """For each name of slices, the slice of each image, [n]; "" where it is not said."""
        rows = [dict(row or ()) for row in self.table["slices"].to_pylist()]
        names = sorted({name for row in rows for name in row})
        return {name: np.array([row.get(name, "") for row in rows], np.str_) for name in names}

    def only(self, split: str) -> Self:
        """The rows of a split, and those of none, which serve both.

        Raises:
            ValueError: there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"{split!r} is neither calibrate nor test")
        chosen = pc.or_kleene(pc.is_null(self.table["split"]), pc.equal(self.table["split"], split))
        table = self.table.filter(chosen)
        return type(self)(table, _digest(rows_of(table)))


def _merge(rows: Sequence[GoldenRow]) -> GoldenRow:
    """One row of all that is said of one image."""
    if len(rows) == 1:
        return rows[0]
    rows = sorted(rows, key=lambda row: (row.time, row.reviewer))
    first, last = rows[0], rows[-1]
    labels = _latest((row.reviewer, row.labels) for row in rows)
    slices = _latest((row.reviewer, row.slices) for row in rows)
    return GoldenRow(
        uri=first.uri,
        etag=first.etag,
        labels={label: words[0] if len(words) == 1 else Truth.UNSURE for label, words in labels.items()},
        slices={name: values[0] for name, values in slices.items() if len(values) == 1},
        reviewer=", ".join(sorted({row.reviewer for row in rows} - {""})),
        policy=", ".join(sorted({row.policy for row in rows if row.policy})) or None,
        time=last.time,
        note="\n".join(dict.fromkeys(row.note for row in rows if row.note)) or None,
        weight=first.weight,
        split=_first(row.split for row in rows),
        embedding=_first(row.embedding for row in rows),
    )


def _latest(said: Iterable[tuple[str, dict[str, T]]]) -> dict[str, list[T]]:
    """For each name, the different last words of the reviewers who spoke of it. `said` is in order of time."""
    words: dict[str, dict[str, T]] = {}
    for reviewer, of_name in said:
        for name, word in of_name.items():
            words.setdefault(name, {})[reviewer] = word
    return {name: list(dict.fromkeys(of_reviewer.values())) for name, of_reviewer in words.items()}


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def _digest(rows: Iterable[GoldenRow]) -> str:
    return hashlib.sha256("\n".join(sorted(map(_canonical, rows))).encode()).hexdigest()


def _canonical(row: GoldenRow) -> str:
    said = {name: getattr(row, name) for name in GOLDEN.names if name not in ("time", "embedding")}
    return json.dumps(said | {"time": row.time.isoformat()}, sort_keys=True)
