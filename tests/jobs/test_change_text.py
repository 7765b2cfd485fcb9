"""Why a label's decisions can differ, told from releases alone."""

from pathlib import Path

import pytest

from assay.jobs.change_text import TextChange, tell_rule
from assay.platform.calibration import Calibration, LabelCalibration, PlattCurve
from assay.platform.encoder import EncoderSpec
from assay.platform.policy import Policy
from assay.platform.promise import OperatingPoints
from assay.platform.release import Release
from assay.platform.release_build import ReleaseSpec, add_measured, build_release
from tests.jobs.change_stores import release_of
from tests.jobs.colour_releases import LIBRARY, POLICY

PLAIN = LIBRARY.replace("RED", "red").replace("BLUE", "blue")


def calibrated(release: Release, folder: Path, label: str) -> Release:
    curve = PlattCurve(slope=2.0, offset=-1.0)
    bound = release.bindings()[label]
    one = LabelCalibration(curve=curve, positives=40, negatives=40, golden="0" * 64, bound_to=bound)
    return add_measured(release, folder, Calibration(labels={label: one}), OperatingPoints())


def test_words_calibration_and_temperature_are_told_apart(tmp_path: Path) -> None:
    plain = release_of(tmp_path / "plain", PLAIN, POLICY)
    reworded = release_of(tmp_path / "reworded", PLAIN.replace("[red]", "[red, ruby]"), POLICY)
    learned = calibrated(plain, tmp_path / "learned", "blue_things")
    warmer = build_release(
        tmp_path / "warmer",
        ReleaseSpec(
            name="warmer",
            encoder=EncoderSpec(model=f"local-dir:{tmp_path / 'plain' / 'encoder'}"),
            library=tmp_path / "plain" / "library.txt",
            policies=(tmp_path / "plain" / "policy-0.txt",),
            temperature=7.0,
        ),
    )
    found = {
        name: {label: change.causes(label) for label in ("red_things", "blue_things")}
        for name, change in {
            "same": TextChange.between(plain, plain),
            "reworded": TextChange.between(plain, reworded),
            "learned": TextChange.between(plain, learned),
            "warmer": TextChange.between(plain, warmer),
        }.items()
    }
    assert found == {
        "same": {"red_things": (), "blue_things": ()},
        "reworded": {"red_things": ("text",), "blue_things": ()},
        "learned": {"red_things": (), "blue_things": ("calibration",)},
        "warmer": {"red_things": ("scoring",), "blue_things": ("scoring",)},
    }
    assert TextChange.between(plain, learned).calibrated("blue_things") == (False, True)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{review: 0.3, block: 0.7}", "review from 0.3; block from 0.7"),
        (
            "{block: {precision: 0.9, otherwise: 0.4}}",
            "block precision at least 90.0% at 95% confidence, until promised review from 0.4",
        ),
    ],
)
def test_rules_in_words(rule: str, said: str) -> None:
    policy = Policy.load(f"assay_policy: 1\nname: one\nlabels:\n  red_things: {rule}\n")
    assert tell_rule(policy, "red_things") == said
    assert tell_rule(policy, "blue_things") == "not judged"
