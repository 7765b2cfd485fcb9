"""What the report says that thresholds stand on: a promise with its figure, or why there is none."""

from assay.jobs.standing import standing
from assay.platform.policy import Policy
from assay.platform.release import Release, bundled_release

STARTER = Release.load(bundled_release())


def test_every_label_of_the_bundled_release_names_its_promise_or_says_why_not() -> None:
    for name in ("strict", "lenient"):
        policy = STARTER.policy(name)
        said = standing(STARTER, policy)
        assert set(said) == set(STARTER.library().labels)
        calibrated = {label for label, lines in said.items() if lines[0].startswith("calibrated by ")}
        assert calibrated == set(STARTER.calibration().labels)
        assert all(lines[0].startswith("uncalibrated: ") for label, lines in said.items() if label not in calibrated)
        for label, targets in policy.targets(tuple(said)).items():
            held = STARTER.operating_points().of(name)[label]
            for action in targets:
                line = next(line for line in said[label] if line.startswith(f"{action}, "))
                assert ("kept from" in line) == (getattr(held, action) is not None)
                assert ("not promised, " in line) == (getattr(held, action) is None)


def test_a_label_the_art_does_not_show_is_uncalibrated() -> None:
    said = standing(STARTER, STARTER.policy("strict"))["firearms"]
    assert said[0] == (
        "uncalibrated: 0 images have it and 12000 have not; 20 of each are needed. "
        "Its score is no probability, and blocks nothing."
    )


def test_what_is_set_by_hand_promises_nothing() -> None:
    policy = Policy.load("assay_policy: 1\nname: plain\nlabels: {weapons: {review: 0.4, block: 0.9}}\n")
    said = standing(STARTER, policy)
    assert said["weapons"][1:] == (
        "review from 0.4: set by hand, promises nothing",
        "block from 0.9: set by hand, promises nothing, and only reviews",
    )
    assert len(said["alcohol"]) == 1, "no rule names it"
