"""Golden sets and review decisions in and out: CSV and JSON Lines to Parquet and back, row for row.

Knows what `assay golden import` and `export` do. Does not know the formats (`golden_text.py`, `golden_file.py`). Rows
stay each reviewer's own; they are merged only when a golden set is used.
"""

import datetime
from collections import Counter
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.golden_text import Sign, is_text, read_text, write_text
from assay.jobs.release_choice import RegistryChoice, choose_release
from assay.platform.disk import write_file
from assay.platform.errors import GoldenError
from assay.platform.golden import GoldenSet
from assay.platform.golden_file import read_reviews, refuse_existing, write_reviews
from assay.platform.golden_rows import Reviews
from assay.platform.spec import Spec
from assay.registry.place import RegistrySpec


class ImportSpec(Spec):
    """What is imported, and as what."""

    file: Path = Field(kw_only=False, description="CSV or JSON Lines, by the end of its name")
    out: Path = Field(kw_only=False, description="the golden set to write, Parquet")
    reviewer: str = Field("", description="who filled in the rows that name no reviewer; they get the time of now")
    release: str | None = Field(None, description="refuse labels that this release's library does not have")
    replace: bool = Field(False, description="write over a file that is there")
    registry: RegistryChoice = RegistrySpec()


class ExportSpec(Spec):
    """What is exported, and to what."""

    golden: Path = Field(kw_only=False, description="the golden set, Parquet")
    out: Path = Field(kw_only=False, description="the file to write: .csv or .jsonl")
    replace: bool = Field(False, description="write over a file that is there")


class ExchangeFacts(BaseModel):
    """What was written."""

    model_config = ConfigDict(frozen=True)

    file: str
    rows: int
    images: int
    labels: dict[str, int]
    """Images of each label for which its truth is known to be present or absent."""
    reviewers: int
    unsure: int
    """Labels of images that are unsure, or that reviewers differ on."""
    digest: str
    """Of the golden set that the rows make."""


def import_reviews(spec: ImportSpec) -> ExchangeFacts:
    """Write the rows of a CSV or JSON Lines file as Parquet.

    Raises:
        GoldenError: the file cannot be read, or its rows do not hold together; nothing is written.
        ReleaseError: there is no such release.
        StorageError: the file cannot be written.
    """
    _expect(spec.file, text=True)
    _expect(spec.out, text=False)
    refuse_existing(spec.out, spec.replace)
    known = None if spec.release is None else choose_release(spec.release, spec.registry).release.library().labels
    reviews = read_text(spec.file, known, _signed_by(spec.reviewer))
    facts = _facts(spec.out, reviews)
    write_reviews(spec.out, reviews)
    return facts


def export_reviews(spec: ExportSpec) -> ExchangeFacts:
    """Write the rows of a golden set as CSV or JSON Lines.

    Raises:
        GoldenError: the golden set cannot be read, or does not hold together; nothing is written.
        StorageError: the file cannot be written.
    """
    _expect(spec.golden, text=False)
    _expect(spec.out, text=True)
    refuse_existing(spec.out, spec.replace)
    reviews = read_reviews(spec.golden)
    facts = _facts(spec.out, reviews)
    write_file(spec.out, write_text(spec.out, reviews), if_absent=False)
    return facts


def _expect(path: Path, *, text: bool) -> None:
    if is_text(path) is not text:
        wanted = ".csv or .jsonl" if text else ".parquet"
        fix = "`assay golden import FILE.csv OUT.parquet`, `assay golden export GOLDEN.parquet OUT.csv`"
        raise GoldenError("this file is of the other format", where=str(path), why=f"expected {wanted}", fix=fix)


def _signed_by(reviewer: str) -> Sign:
    """Signs rows that say labels and no reviewer, if somebody is named for them."""
    now = datetime.datetime.now(datetime.UTC)

    def sign(values: dict[str, object]) -> dict[str, object]:
        labels = values.get("labels")
        says = isinstance(labels, dict) and any(word not in (None, "") for word in labels.values())
        return values | {"reviewer": reviewer, "time": now} if says and not values.get("reviewer") else values

    return sign if reviewer else dict


def _facts(file: Path, reviews: Reviews) -> ExchangeFacts:
    golden = GoldenSet.of(reviews)
    truth = golden.truth(golden.labels)
    said = Counter(dict(zip(golden.labels, (truth >= 0).sum(axis=0).tolist(), strict=True)))
    words = (word for row in golden.table["labels"].to_pylist() for _, word in row)
    return ExchangeFacts(
        file=str(file),
        rows=len(reviews.rows),
        images=len(golden),
        labels=dict(said),
        reviewers=len({row.reviewer for row in reviews.rows} - {""}),
        unsure=sum(word == "unsure" for word in words),
        digest=golden.digest,
    )
