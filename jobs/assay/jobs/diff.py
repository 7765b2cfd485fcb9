"""Comparing two releases over all that a store holds: what one decides now against what the other decided before.

Knows the order of things: sides, one pass over both for each policy, budgets, the page. Does not count
(`change_tally.py`), measure (`change_quality.py`) nor draw (`change_page.py`). Reads verdicts, and of some images the
embeddings; a picture only for its thumbnail.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from assay.jobs.change import Question, compare_sides
from assay.jobs.change_budget import BudgetSpec, find_overruns
from assay.jobs.change_data import DiffFacts
from assay.jobs.change_page import pictures_of, render_change
from assay.jobs.change_quality import GoldenChoice
from assay.jobs.change_sides import NAMES, Sides
from assay.jobs.change_text import TextChange
from assay.jobs.evaluate import MeasuredSplit, read_golden
from assay.jobs.forgotten import unerased
from assay.jobs.gallery import draw_pictures, fetch_stored
from assay.jobs.judged import find_release
from assay.jobs.recorded import RecordChoice, recorded, refuse_unrecordable
from assay.jobs.release_choice import RegistryChoice, origins_of
from assay.jobs.report_trace import leave_trace_of
from assay.jobs.run_summary import summary_of_diff
from assay.jobs.store import Store, now
from assay.platform.release import Release
from assay.platform.scorecard import ScorecardSpec
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.registry.place import RegistrySpec

Tell = Callable[[str], None]


class DiffSpec(Spec):
    """Which store, which two releases, and what is to be told."""

    store: str = Field(kw_only=False, description="the store")
    before: Annotated[str, Parameter(name="--from")] = Field(
        description="release that decided before: id in the store, directory or models:/…"
    )
    after: Annotated[str, Parameter(name="--to")] = Field(description="release that decides now")
    policy: str | None = Field(None, description="policy compared; unset: each under which both judged")
    to_policy: str | None = Field(None, description="policy of --to, where its name is another one")
    images_per_day: int | None = Field(None, ge=1, description="images that come in a day; unset: reviews per 1,000")
    golden: Path | None = Field(None, description="golden set, Parquet: precision and recall on both sides")
    split: MeasuredSplit = Field("test", description="its rows to measure on; those of no split serve both")
    measure: ScorecardSpec = Field(ScorecardSpec(), description="how it is measured, and the confidence of intervals")
    budget: BudgetSpec = Field(BudgetSpec(), description="what may change; exit 3 when it is more")
    partial: bool = Field(False, description="compare what both have judged, also when one has not judged all")
    samples: int = Field(4, ge=0, le=50, description="images shown for each label and direction")
    seed: int = Field(0, ge=0, description="another seed shows other images")
    html: Path | None = Field(None, description="write the page, and its figures as JSON beside it")
    trace: bool = Field(True, description="say in the store where the page lies, so that `assay forget` finds it")
    storage: StorageSpec = Field(StorageSpec(), description="object storage of store and source")
    registry: RegistryChoice = RegistrySpec()
    record: RecordChoice = False


def diff(spec: DiffSpec, tell: Tell = lambda _line: None) -> DiffFacts:
    """Compare what two releases decided of every image in a store.

    Raises:
        SpecError: no such store, release or policy; a side has not judged everything; budgets that need more flags.
        StoreVersionError: a release of another encoder.
        GoldenError: the golden set does not fit.
        CommitError: something was erased meanwhile.
        StorageError: committed rows cannot be read, or the page cannot be written.
        ConservationError: images counted are not the images judged.
    """
    spec.budget.refuse_unmeasurable(has_golden=spec.golden is not None, has_rate=spec.images_per_day is not None)
    refuse_unrecordable(spec)
    storage = Storage(spec.storage)
    store = Store.open(storage, spec.store)
    chosen = [find_release(store, ref, spec.registry, tell) for ref in (spec.before, spec.after)]
    before, after = (one.release for one in chosen)
    with unerased(store):  # an erasure that begins after this finds the traces
        facts = _compare(store, spec, (before, after), tell)
        facts = facts.model_copy(update={"origins": origins_of(**dict(zip(NAMES, chosen, strict=True)))})
        facts, page = _draw(facts, spec.html, store, tell)
        facts = _record(facts, spec, store, (before, after), page)
        files = {} if spec.html is None else _files(facts, spec.html, page)
        if spec.trace and files:
            leave_trace_of(store, _named(facts), files)
    for path, content in files.items():
        storage.write(str(path.absolute()), content)
    return facts


def _compare(store: Store, spec: DiffSpec, releases: tuple[Release, Release], tell: Tell) -> DiffFacts:
    sides = Sides.of(store, releases, (spec.policy, spec.to_policy))
    if not spec.partial:
        sides.refuse_half(store.shown)
    one, other = sides.releases
    golden = None
    if spec.golden is not None:
        rows = read_golden(spec.golden, spec.split, sides.releases)
        golden = GoldenChoice(spec.golden, spec.split, rows, spec.measure, spec.budget.margin)
    question = Question(
        text=TextChange.between(one, other),
        scorers=(one.scorer(), other.scorer()),
        golden=golden,
        images_per_day=spec.images_per_day,
        confidence=spec.measure.resampling.confidence,
        samples=spec.samples,
        seed=spec.seed,
    )
    changes = tuple(
        compare_sides(before, after, question, lambda images: tell(f"{images:,} of {sides.observed:,} images compared"))
        for before, after in sides.pairs
    )
    return DiffFacts(
        store=store.shown,
        source=str((store.run() or {}).get("source") or ""),
        written=now(),
        before=one.id,
        after=other.id,
        observed=sides.observed,
        identical=one.id == other.id and all(change.before == change.after for change in changes),
        library=question.text.library,
        policies=changes,
        not_compared=sides.not_compared,
        half=sides.half,
        confidence=question.confidence,
        overruns=tuple(overrun for change in changes for overrun in find_overruns(spec.budget, change)),
    )


def _draw(facts: DiffFacts, html: Path | None, store: Store, tell: Tell) -> tuple[DiffFacts, bytes]:
    """The page, and facts that name it; nothing, if it is not asked for."""
    if html is None:
        return facts, b""
    facts = facts.model_copy(update={"html": str(html), "json_file": str(html.with_suffix(".json"))})
    tell("drawing pictures")
    return facts, render_change(facts, draw_pictures(pictures_of(facts), fetch_stored(store.storage))).encode()


def _record(
    facts: DiffFacts, spec: DiffSpec, store: Store, releases: tuple[Release, Release], page: bytes
) -> DiffFacts:
    named = _named(facts)
    trace = functools.partial(leave_trace_of, store, named) if named else None
    files = {} if spec.html is None else {spec.html.name: page}
    return recorded(facts, spec, lambda: summary_of_diff(facts, store, *releases), files, trace)


def _files(facts: DiffFacts, html: Path, page: bytes) -> dict[Path, bytes]:
    """The page and its figures, by the files that they are about to become."""
    return {html: page, html.with_suffix(".json"): facts.model_dump_json(indent=1).encode()}


def _named(facts: DiffFacts) -> set[str]:
    return {one.uri for one in facts.samples()}
