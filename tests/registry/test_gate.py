"""The gate: each check passes on what it asks for, fails on what it does not, and believes nothing about others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.platform.comparison import Comparison, ComparisonSpec, Difference
from assay.platform.encoder import EncoderSpec
from assay.platform.release import Release, bundled_release
from assay.platform.release_build import ReleaseSpec, build_release
from assay.platform.scorecard import Estimate, LabelCard, Quality, Scorecard, ScorecardSpec, Subject
from assay.registry.evidence import Change, Changed, Documents, Half, Measured, Moves, Overrun, Replayed
from assay.registry.gate import CHECKS, Candidate, GateSpec, check_candidate
from assay.registry.promotion_entry import Check, Side

GOLDEN = "a" * 64
CHAMPION = Side(version=1, release="old-000000000000", digest="0" * 64)


@pytest.fixture(scope="module")
def release() -> Release:
    """A calibrated one."""
    return Release.load(bundled_release())


def card(release: Release, error: float = 0.02, policy: str = "strict") -> Scorecard:
    known = Estimate(value=error, low=error - 0.01, high=error + 0.01)
    quality = Quality(slice="", value="", images=100, positives=50, negatives=50, figures={"calibration_error": known})
    return Scorecard(
        subject=Subject(release=release.id, policy=policy, golden=GOLDEN),
        images=100,
        population=100.0,
        spec=ScorecardSpec(),
        labels=(LabelCard(label="weapons", thresholds={}, overall=quality, slices=()),),
        confusions=(),
        gaps=(),
    )


def comparison(reference: str = CHAMPION.release, **changed: Any) -> Comparison:
    loss = Difference(
        label="weapons",
        slice="style",
        value="noto",
        figure="review.recall",
        candidate=0.7,
        reference=0.9,
        change=Estimate(value=-0.2, low=-0.25, high=-0.15),
        worse=bool(changed.pop("worse", False)),
    )
    made: dict[str, Any] = {
        "candidate": "new",
        "reference": reference,
        "spec": ComparisonSpec(),
        "z": 3.0,
        "differences": (loss,),
        "only_candidate": (),
        "only_reference": (),
    }
    return Comparison(**{**made, **changed})


def changed(release: Release, **other: Any) -> Changed:
    moves = Moves(counts=((960, 20, 0), (10, 5, 0), (0, 0, 5)), newly_flagged=20, newly_cleared=10)
    made: dict[str, Any] = {
        "before": CHAMPION.release,
        "after": release.id,
        "store": "s3://audit/store",
        "written": "2026-11-26",
        "observed": 1000,
        "policies": (Change(before="strict", after="strict", images=1000, moves=moves),),
    }
    return Changed(**{**made, **other})


def replayed(release: Release, **other: Any) -> Replayed:
    made: dict[str, Any] = {"release": release.id, "policy": "strict", "replayed": 100, "exact": 100, "golden": GOLDEN}
    return Replayed(**{**made, **other})


def asked(release: Release, *facts: Measured | Changed | Replayed, **gate: Any) -> dict[str, Check]:
    known = Documents()
    for one in facts:
        known.add(one, "run-1")
    return checks(Candidate(release, CHAMPION, release, known), **gate)


def checks(candidate: Candidate, **gate: Any) -> dict[str, Check]:
    found = check_candidate(candidate, GateSpec(**gate))
    assert tuple(check.name for check in found) == CHECKS
    return {check.name: check for check in found}


def test_all_of_it_passes_and_cites_what_it_read(release: Release) -> None:
    measured = Measured(scorecard=card(release), comparison=comparison())
    found = asked(release, measured, changed(release), replayed(release))
    assert all(check.passed for check in found.values()), found
    assert {one.kind for check in found.values() for one in check.evidence} == {"evaluate", "diff", "replay"}
    assert all(len(one.sha256) == 64 and one.run == "run-1" for check in found.values() for one in check.evidence)


def test_nothing_known_is_nothing_passed(release: Release) -> None:
    found = asked(release)
    assert {name for name, check in found.items() if not check.passed} == {"scorecard", "diff", "golden"}


def test_the_first_release_needs_no_comparison(release: Release) -> None:
    known = Documents()
    known.add(Measured(scorecard=card(release)))
    known.add(replayed(release))
    assert all(check.passed for check in checks(Candidate(release, None, None, known)).values())


SCORECARDS: dict[str, Callable[[Release], Measured]] = {
    "review.recall 0.900 -> 0.700": lambda one: Measured(scorecard=card(one), comparison=comparison(worse=True)),
    "not compared with the champion": lambda one: Measured(scorecard=card(one)),
    "not compared with the champion, ": lambda one: Measured(
        scorecard=card(one), comparison=comparison(reference="another-111111111111")
    ),
    "wider margins": lambda one: Measured(scorecard=card(one), comparison=comparison(spec=ComparisonSpec(recall=0.5))),
    "labels gone: gambling": lambda one: Measured(
        scorecard=card(one), comparison=comparison(only_reference=("gambling",))
    ),
    "under policy strict": lambda one: Measured(scorecard=card(one, policy="lenient"), comparison=comparison()),
}


@pytest.mark.parametrize("said", SCORECARDS)
def test_a_scorecard_that_does_not_do(release: Release, said: str) -> None:
    check = asked(release, SCORECARDS[said](release))["scorecard"]
    assert not check.passed
    assert said in check.said


def test_the_scorecard_against_the_champion_is_taken(release: Release) -> None:
    newer = Measured(scorecard=card(release), comparison=comparison(reference="another-111111111111"))
    assert asked(release, newer, Measured(scorecard=card(release), comparison=comparison()))["scorecard"].passed


def test_calibration_must_be_there_and_right(release: Release, release_dir: Path, tmp_path: Path) -> None:
    off = asked(release, Measured(scorecard=card(release, error=0.3), comparison=comparison()))["calibration"]
    assert not off.passed
    assert "weapons 0.30" in off.said
    assert asked(release, Measured(scorecard=card(release, error=0.105), comparison=comparison()))["calibration"].passed
    bare = Release.load(release_dir)
    assert "no label is calibrated" in asked(bare)["calibration"].said
    gone = checks(Candidate(release, CHAMPION, None, Documents()))["calibration"]
    assert not gone.passed
    assert "files are gone" in gone.said


DIFFS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no diff from the champion": ({"before": "another-111111111111"}, {}),
    "20 of 1,000 images newly flagged (2.00%), 1.00% allowed": ({}, {"newly_flagged": 0.01}),
    "10 of 1,000 images newly cleared (1.00%), 0.50% allowed": ({}, {"newly_cleared": 0.005}),
    "not all is judged: x, strict: 5 of 9": (
        {"half": (Half(release="x", policy="strict", judged=5, observed=9),)},
        {},
    ),
    "policy strict: 3 reviews a day": ({"overruns": (Overrun(policy="strict", said="3 reviews a day"),)}, {}),
    "no policy was compared": ({"policies": ()}, {}),
}


@pytest.mark.parametrize("said", DIFFS)
def test_a_diff_that_does_not_do(release: Release, said: str) -> None:
    other, gate = DIFFS[said]
    check = asked(release, changed(release, **other), **gate)["diff"]
    assert not check.passed
    assert said in check.said


@pytest.mark.parametrize(
    ("said", "other"),
    [
        ("were not reproduced", {"golden": ""}),
        ("99 of 100", {"exact": 99}),
        ("0 of 0", {"exact": 0, "replayed": 0}),
        ("20 of 120 golden images are not in the store", {"missing": 20}),
        ("measured on aaaaaaaaaaaa", {"golden": "b" * 64}),
    ],
)
def test_golden_verdicts_that_were_not_made_again(release: Release, said: str, other: dict[str, Any]) -> None:
    measured = Measured(scorecard=card(release), comparison=comparison())
    check = asked(release, measured, replayed(release, **other))["golden"]
    assert not check.passed
    assert said in check.said


def test_a_library_with_errors_does_not_pass(release_dir: Path, tmp_path: Path) -> None:
    starter = bundled_release()
    text = yaml.safe_load((starter / "library.yaml").read_text())
    label = next(one for shelf in text["categories"].values() for one in shelf["labels"].values() if "concepts" in one)
    next(iter(label["concepts"].values()))["prompts"]["en"].append("a picture of {}")
    library = tmp_path / "library.yaml"
    library.write_text(yaml.safe_dump(text, allow_unicode=True, sort_keys=False))
    spec = ReleaseSpec(
        name="odd",
        encoder=EncoderSpec(model="hash"),
        library=library,
        policies=(starter / "policies" / "strict.yaml",),
    )
    check = asked(build_release(tmp_path / "odd", spec))["library"]
    assert not check.passed
    assert "line" in check.said
