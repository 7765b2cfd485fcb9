"""Evaluating: a release (and perhaps another) on a golden set, from files to a scorecard.

Knows where scores, truth and thresholds come from. Does not measure (`assay.platform.evaluation`) nor draw
(`evaluate_page.py`).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from assay.jobs.golden_embeddings import GoldenEmbeddings, embed_golden
from assay.jobs.recorded import RecordChoice, RecordedFacts, recorded, refuse_unrecordable
from assay.jobs.release_choice import RegistryChoice, choose_release, origins_of
from assay.jobs.run_summary import summary_of_evaluation
from assay.platform.comparison import Comparison, ComparisonSpec, compare
from assay.platform.disk import write_file
from assay.platform.errors import GoldenError
from assay.platform.evaluation import Evaluation, ScoredGolden, Scores, evaluate
from assay.platform.golden import GoldenSet
from assay.platform.grading import grade
from assay.platform.library import SemanticLibrary
from assay.platform.policy import Policy
from assay.platform.release import Release
from assay.platform.scorecard import Scorecard, ScorecardSpec, Subject
from assay.platform.scoring import over_views
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.registry.place import RegistrySpec

Tell = Callable[[str], None]
MeasuredSplit = Literal["test", "calibrate", "all"]
"""Rows of a golden set that are measured on."""

MAX_VALUES = 64
"""Of a slice. Every two of them are compared, for each label; thousands would be names, not groups."""


class EvaluateSpec(Spec):
    """What is measured, on what, and against what."""

    release: str | None = Field(None, description="release: directory or models:/…; unset: the bundled one")
    golden: Path = Field(description="golden set, Parquet")
    policy: str | None = Field(None, description="policy whose thresholds are measured; unset: the release's default")
    split: MeasuredSplit = Field("test", description="rows to measure on; those of no split serve both")
    store: str | None = Field(None, description="store that has observed the images; unset: they are fetched")
    against: str | None = Field(None, description="another release; exit 3 when the release is worse beyond a margin")
    html: Path | None = Field(None, description="write the scorecard as a page")
    allow_missing: bool = Field(False, description="measure without the images that cannot be had")
    measure: ScorecardSpec = Field(ScorecardSpec(), description="what is measured")
    margin: ComparisonSpec = Field(ComparisonSpec(), description="how much worse is worse")
    storage: StorageSpec = Field(StorageSpec(), description="object storage of images and store")
    registry: RegistryChoice = RegistrySpec()
    record: RecordChoice = False


class EvaluateFacts(RecordedFacts, frozen=True):
    """What was found."""

    scorecard: Scorecard
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Evaluated:
    """What was found, and the measurements behind it."""

    facts: EvaluateFacts
    evaluation: Evaluation


def evaluate_release(spec: EvaluateSpec, tell: Tell) -> Evaluated:
    """Measure a release on a golden set, and compare it with another; write the page, if it is asked for.

    Raises:
        GoldenError: the golden set cannot be read, names unknown labels, or lacks images.
        ReleaseError, PolicyError: there is no such release or policy.
        SpecError, StoreVersionError: the store does not serve.
        StorageError: images cannot be fetched.
    """
    refuse_unrecordable(spec)
    chosen = {"release": choose_release(spec.release, spec.registry, tell)}
    if spec.against is not None:
        chosen["against"] = choose_release(spec.against, spec.registry, tell)
    releases = [one.release for one in chosen.values()]
    found = _evaluate(spec, releases, tell)
    facts = found.facts.model_copy(update={"origins": origins_of(**chosen)})
    files = {} if spec.html is None else {spec.html.name: _page(replace(found, facts=facts))}
    if spec.html is not None:
        write_file(spec.html, files[spec.html.name], if_absent=False)
    facts = recorded(facts, spec, lambda: summary_of_evaluation(found.facts, spec, releases), files)
    return replace(found, facts=facts)


def _page(found: Evaluated) -> bytes:
    from assay.jobs.evaluate_page import render_scorecard  # a second of matplotlib, only for who wants the page

    return render_scorecard(found.facts, found.evaluation).encode()


def _evaluate(spec: EvaluateSpec, releases: Sequence[Release], tell: Tell) -> Evaluated:
    golden = read_golden(spec.golden, spec.split, releases)
    found = _embed(golden, releases, spec, tell)
    kept = reduce(np.intersect1d, [one.seen for one in found])
    if not len(kept):
        why = f"all of its {len(golden):,} images are missing"
        fix = "name the store that observed them"
        raise GoldenError("nothing is left to measure", where=str(spec.golden), why=why, fix=fix)
    evaluations = []
    for release, embeddings in zip(releases, found, strict=True):
        tell(f"measuring {release.id} on {len(kept):,} images")
        scored = _score(release, spec, golden, embeddings, kept)
        evaluations.append(evaluate(scored, spec.measure))
    comparison = None
    if len(releases) > 1:
        comparison = compare(evaluations[0], evaluations[1], spec.margin, (releases[0].id, releases[1].id))
    card = grade(evaluations[0], _subject(releases[0], spec, golden, len(golden) - len(kept)))
    return Evaluated(EvaluateFacts(scorecard=card, comparison=comparison), evaluations[0])


def read_golden(path: Path, split: MeasuredSplit, releases: Sequence[Release]) -> GoldenSet:
    """The golden set's rows of a split. Labels that are drafts or retired may be in it; they are not scored.

    Raises:
        GoldenError: it cannot be read, names unknown labels, has no row of the split, or speaks of no label scored.
    """
    shelves = [shelf for release in releases for shelf in release.library().categories.values()]
    chosen = read_split(path, split, {label for shelf in shelves for label in shelf.labels})
    for release in releases:
        _refuse_unasked(chosen, release, str(path))
    for name, values in chosen.slices().items():
        if len(np.unique(values)) > MAX_VALUES:
            why = f"it has {len(np.unique(values)):,} values, at most {MAX_VALUES} are measured"
            fix = "group its values, or leave it out"
            raise GoldenError(f"slice {name!r} parts images too finely", where=str(path), why=why, fix=fix)
    return chosen


def read_split(path: Path, split: MeasuredSplit, known_labels: Collection[str] | None = None) -> GoldenSet:
    """The golden set's rows of a split, whatever they say of which labels; with `known_labels`, of no others.

    Raises:
        GoldenError: it cannot be read, names unknown labels, or has no row of the split.
    """
    golden = GoldenSet.read(path, known_labels)
    chosen = golden if split == "all" else golden.only(split)
    if not len(chosen):
        why = f"all of its {len(golden):,} rows are of another split"
        fix = "name another --split, or `all`"
        raise GoldenError(f"no row is for {split!r}", where=str(path), why=why, fix=fix)
    return chosen


def _refuse_unasked(golden: GoldenSet, release: Release, where: str) -> None:
    labels = release.library().labels
    if not set(labels) & set(golden.labels):
        why = f"it says {', '.join(golden.labels)}; the release scores {', '.join(labels)}"
        fix = "have images labelled for the release's labels"
        raise GoldenError(f"nobody was asked about a label of {release.id}", where=where, why=why, fix=fix)


def _embed(golden: GoldenSet, releases: Sequence[Release], spec: EvaluateSpec, tell: Tell) -> list[GoldenEmbeddings]:
    """The images' embeddings for each release. What is kept or stored of them is of the first one's encoder."""
    storage, [first, *_] = Storage(spec.storage), releases
    found: list[GoldenEmbeddings] = []
    for release in releases:
        if found and _see_alike(first, release):
            found.append(found[0])
            continue
        rows, store = (_without_embeddings(golden), None) if found else (golden, spec.store)
        found.append(embed_golden(rows, release, storage, store, lambda done, total: _count(tell, done, total)))
        if not spec.allow_missing:
            found[-1].refuse_missing()
    return found


def _count(tell: Tell, done: int, total: int) -> None:
    tell(f"{done:,} of {total:,} images have an embedding")


def _see_alike(one: Release, other: Release) -> bool:
    return one.manifest.encoder.digest == other.manifest.encoder.digest and one.preprocess == other.preprocess


def _without_embeddings(golden: GoldenSet) -> GoldenSet:
    column = golden.table.schema.get_field_index("embedding")
    nothing = pa.nulls(len(golden), golden.table.schema.field(column).type)
    return replace(golden, table=golden.table.set_column(column, golden.table.schema.field(column), nothing))


def _score(
    release: Release, spec: EvaluateSpec, golden: GoldenSet, found: GoldenEmbeddings, rows: npt.NDArray[np.int64]
) -> ScoredGolden:
    """Rows of a golden set with the release's scores, for the labels that someone was asked about."""
    library, scorer = release.library(), release.scorer()
    asked = [place for place, label in enumerate(scorer.labels) if label in golden.labels]
    labels = tuple(scorer.labels[place] for place in asked)
    # Of an image's views the greatest score counts, as when it is judged.
    best, _ = over_views(scorer.score(found.embeddings).labels, found.starts[found.seen])
    names = [f"{uri} {etag}" for uri, etag in zip(golden.uris, golden.etags, strict=True)]
    return ScoredGolden(
        images=[names[row] for row in rows],
        labels=labels,
        scores=best[np.searchsorted(found.seen, rows)][:, asked],
        truth=golden.truth(labels)[rows],
        weights=golden.weights[rows],
        thresholds=_thresholds(release, release.policy(spec.policy), labels),
        slices={name: values[rows] for name, values in golden.slices().items()},
        siblings=tuple(_siblings(library, labels)),
    )


def _thresholds(release: Release, policy: Policy, labels: Sequence[str]) -> dict[str, Scores]:
    review, block = policy.thresholds(labels, release.operating_points().of(policy.name))
    return {"review": review, "block": block}


def _siblings(library: SemanticLibrary, labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of one category, neither above the other: a label is scored with its child labels, so it is no rival."""
    shelf_of = {label: name for name, shelf in library.categories.items() for label in shelf.labels}
    for one, other in combinations(labels, 2):
        mine, theirs = set(library.subtrees[one]), set(library.subtrees[other])
        if shelf_of[one] == shelf_of[other] and not mine <= theirs and not theirs <= mine:
            yield one, other


def _subject(release: Release, spec: EvaluateSpec, golden: GoldenSet, missing: int) -> Subject:
    return Subject(
        release=release.id,
        policy=release.policy(spec.policy).name,
        golden=golden.digest,
        missing=missing,
        unasked=tuple(label for label in release.library().labels if label not in golden.labels),
    )
