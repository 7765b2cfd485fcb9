"""Phrases recomputed from stored embeddings: on the side that is over a threshold, those that its verdict names."""

from pathlib import Path

from assay.jobs.change_sample import Phrases, describe_sample
from assay.jobs.embedding_lookup import find_observed
from assay.platform.release import Release
from tests.jobs.change_stores import judge_by, observed_store, release_of
from tests.jobs.colour_releases import LIBRARY, POLICY
from tests.jobs.test_change_tally import OTHER_LABELS, PLAIN, SKY, WIDER, tallied

ASKED = ["embedding", "views"]


def scorers(tally_folder: Path) -> tuple[Release, Release]:
    return Release.load(tally_folder / "a" / "release"), Release.load(tally_folder / "b" / "release")


def test_phrases_are_those_that_verdicts_name(tmp_path: Path) -> None:
    library = LIBRARY.replace("RED", "red, crimson, ruby").replace("BLUE", "blue")
    release = release_of(tmp_path / "a", library, POLICY)
    store = observed_store(tmp_path / "store", release, 80)
    named = {
        ((row["uri"], row["etag"]), finding["label"]): finding
        for row in judge_by(store, release).to_pylist()
        for finding in row["findings"]
    }
    assert len(named) > 20
    seen = find_observed(store, [image for image, _ in named], ASKED)
    found = Phrases.of(release.scorer(), list(named), seen).of_label
    assert {asked: (one.concept, one.prompt, one.counter, one.view) for asked, one in found.items()} == {
        asked: (one["concept"], one["prompt"], one["counter"], one["view"]) for asked, one in named.items()
    }


def test_both_sides_have_phrases_where_both_have_the_label(tmp_path: Path) -> None:
    tally, _, _, store = tallied(tmp_path, (PLAIN, POLICY), (WIDER, POLICY))
    one, other = scorers(tmp_path)
    sample = describe_sample(tally, store, (one.scorer(), other.scorer()))
    assert len(sample["red_things"]) == 6
    for image in sample["red_things"]:
        assert image.phrase_before is not None
        assert image.phrase_after is not None
        assert image.phrase_before.prompt == "red"
        assert image.phrase_after.prompt in ("red", "green")
        assert image.phrase_after.counter in ("magenta", "white", "black")
        assert image.view_kind == "whole"
    assert {image.phrase_after.prompt for image in sample["red_things"] if image.phrase_after} == {"red", "green"}


def test_a_side_without_the_label_has_none(tmp_path: Path) -> None:
    tally, _, _, store = tallied(tmp_path, (PLAIN, POLICY), (OTHER_LABELS, SKY))
    one, other = scorers(tmp_path)
    sample = describe_sample(tally, store, (one.scorer(), other.scorer()))
    assert {(image.phrase_before is None, image.phrase_after is None) for image in sample["sky_things"]} == {
        (True, False)
    }
    assert {(image.phrase_before is None, image.phrase_after is None) for image in sample["blue_things"]} == {
        (False, True)
    }


def test_an_image_that_is_observed_no_more_is_shown_without(tmp_path: Path) -> None:
    tally, _, _, _ = tallied(tmp_path / "1", (PLAIN, POLICY), (WIDER, POLICY))
    one, other = scorers(tmp_path / "1")
    empty = observed_store(tmp_path / "2", one, 0)
    sample = describe_sample(tally, empty, (one.scorer(), other.scorer()))["red_things"]
    assert len(sample) == 6
    assert {(image.phrase_before, image.phrase_after) for image in sample} == {(None, None)}
