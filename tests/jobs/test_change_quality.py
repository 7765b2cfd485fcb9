"""Precision and recall on both sides are those that `assay evaluate` finds, and their change is its comparison's."""

from pathlib import Path

import pytest

from assay.jobs.change_data import Measured
from assay.jobs.diff import DiffSpec, diff
from assay.jobs.evaluate import EvaluateSpec, evaluate_release
from assay.platform.golden_rows import GoldenRow
from assay.platform.release import Release
from tests.jobs.change_stores import judge_by, observed_store, release_of
from tests.jobs.colour_releases import COLOURS, LIBRARY, POLICY, colour_row, write_golden

IMAGES = 200
PLAIN = LIBRARY.replace("RED", "red").replace("BLUE", "blue")
WIDER = LIBRARY.replace("RED", "red, green").replace("BLUE", "blue")
WHOLE = POLICY.replace(", block: 0.7", "")


class Measuring:
    """A store, two releases that judged it, and what people say of its images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before, self.after = release_of(folder / "a", PLAIN, WHOLE), release_of(folder / "b", WIDER, WHOLE)
        store = observed_store(folder / "store", self.before, IMAGES, faults=[5])
        judge_by(store, self.before)
        judge_by(store, self.after, cut=6)
        self.place = store.uri

    def rows(self, *, weights: bool = False) -> list[GoldenRow]:
        facts = [{"etag": f"e{number}", "weight": 1.0 + (number % 3) * weights} for number in range(IMAGES)]
        return [colour_row(number, COLOURS[number % len(COLOURS)], **fact) for number, fact in enumerate(facts)]

    def diff(self, rows: list[GoldenRow], **settings: object) -> dict[str, dict[str, Measured]]:
        golden = write_golden(self.folder / "golden.parquet", rows)
        named = {"store": self.place, "before": self.before.id, "after": self.after.id, "golden": golden}
        self.facts = diff(DiffSpec.model_validate(named | settings))
        (self.change,) = self.facts.policies
        return {label.label: {one.figure: one for one in label.measured} for label in self.change.labels}


@pytest.fixture(scope="module")
def measuring(tmp_path_factory: pytest.TempPathFactory) -> Measuring:
    return Measuring(tmp_path_factory.mktemp("quality"))


def evaluated(release: Release, against: Release, golden: Path, store: str) -> EvaluateSpec:
    return EvaluateSpec(
        release=str(release.directory), against=str(against.directory), golden=golden, store=store, allow_missing=True
    )


def test_figures_are_those_of_evaluate(measuring: Measuring) -> None:
    found = measuring.diff(measuring.rows(weights=True))
    spec = evaluated(measuring.after, measuring.before, measuring.folder / "golden.parquet", measuring.place)
    facts = evaluate_release(spec, lambda _line: None).facts
    assert facts.comparison is not None
    expected = {(one.label, one.figure): one for one in facts.comparison.differences}
    for label in ("red_things", "blue_things"):
        for name in ("precision", "recall"):
            mine, theirs = found[label][f"flagged.{name}"], expected[label, f"review.{name}"]
            assert mine.before is not None
            assert mine.after is not None
            assert (mine.before.value, mine.after.value) == (theirs.reference, theirs.candidate)
            assert mine.change == theirs.change
    red = found["red_things"]["flagged.precision"]
    assert (red.change.high or 0) < 0
    assert red.worse
    assert not found["blue_things"]["flagged.recall"].worse
    golden = measuring.change.golden
    assert golden is not None
    assert (golden.images, golden.missing, golden.unasked) == (IMAGES - 1, 1, ())


def test_images_not_in_the_store_are_counted(measuring: Measuring) -> None:
    here, rows = measuring.rows()[:100], measuring.rows()[100:]
    changed = [row.model_copy(update={"etag": "newer"}) for row in rows[:30]]
    elsewhere = [row.model_copy(update={"uri": f"{row.uri}.other"}) for row in rows[30:60]]
    measuring.diff([*here, *changed, *elsewhere])
    golden = measuring.change.golden
    assert golden is not None
    assert (golden.images, golden.missing) == (99, 61)


def test_any_version_will_do_where_none_is_named(measuring: Measuring) -> None:
    plain = measuring.diff(measuring.rows())
    unnamed = measuring.diff([row.model_copy(update={"etag": ""}) for row in measuring.rows()])
    values = [
        {
            (label, name): (one.before and one.before.value, one.after and one.after.value)
            for label, figures in found.items()
            for name, one in figures.items()
        }
        for found in (plain, unnamed)
    ]
    assert values[0] == values[1]


def test_too_little_data_is_said(measuring: Measuring) -> None:
    found = measuring.diff(measuring.rows()[:12])
    assert found["red_things"]["flagged.recall"].change.lacks == (
        "before: 3 positive images, 10 needed; after: 3 positive images, 10 needed"
    )
    facts = measuring.facts
    assert not facts.overruns
    measuring.diff(measuring.rows()[:12], budget={"recall_drop": 0.5})
    (over,) = measuring.facts.overruns
    assert (over.budget, over.found) == ("recall_drop", None)


def test_a_loss_over_its_budget_is_an_overrun(measuring: Measuring) -> None:
    measuring.diff(measuring.rows(), budget={"precision_drop": 0.1})
    (over,) = measuring.facts.overruns
    assert (over.label, over.budget) == ("red_things", "precision_drop")
    measuring.diff(measuring.rows(), budget={"precision_drop": 0.9})
    assert not measuring.facts.overruns


def test_rows_of_another_split_are_not_measured(measuring: Measuring) -> None:
    rows = [
        row.model_copy(update={"split": "calibrate" if number % 2 else "test"})
        for number, row in enumerate(measuring.rows())
    ]
    measuring.diff(rows)
    golden = measuring.change.golden
    assert golden is not None
    assert golden.images + golden.missing == IMAGES // 2
    measuring.diff(rows, split="all")
    assert measuring.change.golden is not None
    assert measuring.change.golden.images == IMAGES - 1
