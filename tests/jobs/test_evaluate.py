"""Evaluating releases on golden sets, from files: what is measured is what the release does to these images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from assay.jobs.cli import main
from assay.jobs.evaluate import EvaluateSpec, evaluate_release
from assay.platform.moderator import Moderator
from assay.platform.release import Release
from tests.jobs.colour_releases import COLOURS, colour_release, colour_row, embedded_rows, write_golden

ROWS = 200


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return colour_release(tmp_path_factory.mktemp("colours") / "first")


@pytest.fixture(scope="module")
def golden(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = embedded_rows(release, ROWS)
    return write_golden(tmp_path_factory.mktemp("golden") / "golden.parquet", rows, release.manifest.encoder.digest)


def told(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    """What `assay evaluate --json` prints."""
    assert main(["evaluate", *map(str, arguments), "--json", "--measure.resampling.resamples", "100"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: object) -> str:
    """Why `assay evaluate` does nothing; it leaves no page."""
    page = folder / "page.html"
    assert main(["evaluate", *map(str, arguments), "--html", str(page)]) == 2
    assert not page.exists()
    return " ".join(capsys.readouterr().err.split())


def test_a_card_says_what_the_release_does(release: Release, golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = told(capsys, "--release", release.directory, "--golden", golden, "--policy", "firm")["scorecard"]
    red = next(label for label in card["labels"] if label["label"] == "red_things")
    assert (card["images"], red["overall"]["positives"]) == (ROWS, ROWS // 4)
    assert card["subject"] | {"golden": ""} == {
        "release": release.id,
        "policy": "firm",
        "golden": "",
        "missing": 0,
        "unasked": [],
    }
    assert red["thresholds"] == {"review": 0.7}
    rows = embedded_rows(release, ROWS)
    vectors = np.stack([np.frombuffer(row.embedding or b"", "<f2") for row in rows])
    scorer = Moderator(release).scorer
    flagged = scorer.score(vectors).labels[:, scorer.labels.index("red_things")] >= np.float32(0.7)
    is_red = np.array([row.uri[-8:-4] for row in rows]).astype(int) % len(COLOURS) == COLOURS.index("red")
    figures = red["overall"]["figures"]
    assert figures["review.recall"]["value"] == pytest.approx(flagged[is_red].mean())
    assert figures["review.false_positive_rate"]["value"] == pytest.approx(flagged[~is_red].mean())
    assert 0.05 < figures["review.recall"]["value"] < 0.99
    assert {(one["slice"], one["value"]) for one in red["slices"]} == {("style", "photo"), ("style", "drawing")}
    assert {(one["label"], one["sibling"]) for one in card["confusions"]} == {
        ("red_things", "blue_things"),
        ("blue_things", "red_things"),
    }


def test_a_reworded_prompt_that_does_harm_is_found(
    release: Release, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reworded = colour_release(tmp_path / "reworded", blue="yellow")
    pair = ("--release", reworded.directory, "--golden", golden, "--against", release.directory)
    comparison = told(capsys, *pair, code=3)["comparison"]
    worse = [one for one in comparison["differences"] if one["worse"]]
    assert {one["label"] for one in worse} == {"blue_things"}
    assert {"average_precision", "review.recall"} <= {one["figure"] for one in worse}
    back = told(capsys, "--release", release.directory, "--golden", golden, "--against", reworded.directory)
    assert not any(one["worse"] for one in back["comparison"]["differences"])
    assert {one["change"]["value"] for one in comparison["differences"] if one["label"] == "red_things"} == {0}


def test_the_split_for_tests_is_measured(release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = embedded_rows(release, ROWS)
    rows = [
        row.model_copy(update={"split": "calibrate" if place < 100 else "test" if place < 160 else None})
        for place, row in enumerate(rows)
    ]
    golden = write_golden(tmp_path / "golden.parquet", rows, release.manifest.encoder.digest)
    asked = ("--release", release.directory, "--golden", golden)
    assert told(capsys, *asked)["scorecard"]["images"] == 100
    assert told(capsys, *asked, "--split", "calibrate")["scorecard"]["images"] == 140
    assert told(capsys, *asked, "--split", "all")["scorecard"]["images"] == 200


def test_an_image_has_the_score_of_its_best_view(release: Release, tmp_path: Path) -> None:
    one, other = embedded_rows(release, 4)[:2]  # red, blue
    both = (one.embedding or b"") + (other.embedding or b"")
    rows = [row.model_copy(update={"embedding": both}) for row in embedded_rows(release, 3)]
    golden = write_golden(tmp_path / "golden.parquet", rows, release.manifest.encoder.digest)
    spec = EvaluateSpec(release=str(release.directory), golden=golden)
    scores = evaluate_release(spec, lambda _: None).evaluation.golden.scores
    vectors = np.frombuffer(both, "<f2").reshape(2, -1)
    best = Moderator(release).scorer.score(vectors).labels.max(axis=0)
    np.testing.assert_array_equal(scores, np.stack([best] * 3))


def test_images_that_are_gone_are_refused_or_counted(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [colour_row(0, "red")]
    for number in range(1, 6):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (40, 40), COLOURS[number % 2]).save(path)
        rows.append(colour_row(number, COLOURS[number % 2], uri=path.as_uri()))
    golden = write_golden(tmp_path / "golden.parquet", rows)
    asked = ("--release", release.directory, "--golden", golden)
    assert "--allow-missing" in refused(capsys, tmp_path, *asked)
    card = told(capsys, *asked, "--allow-missing")["scorecard"]
    assert (card["images"], card["subject"]["missing"]) == (5, 1)
    assert "gone" not in json.dumps(card)  # a card names no image


def test_another_encoder_sees_the_images_for_itself(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the golden set keeps is of the first one's encoder, and says the opposite of what the images show."""
    other = colour_release(tmp_path / "other", dim=48)
    rows = []
    for number, row in enumerate(embedded_rows(release, 24)):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (40, 40), "blue" if row.labels["red_things"] == "present" else "red").save(path)
        rows.append(row.model_copy(update={"uri": path.as_uri()}))
    golden = write_golden(tmp_path / "golden.parquet", rows, release.manifest.encoder.digest)
    pair = ("--release", release.directory, "--golden", golden, "--against", other.directory)
    comparison = told(capsys, *pair, "--measure.least", "1")["comparison"]
    auc = next(one for one in comparison["differences"] if (one["label"], one["figure"]) == ("red_things", "roc_auc"))
    assert (auc["candidate"], auc["reference"]) == (1, 0)


def test_one_class_only_is_said(release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for row in embedded_rows(release, ROWS) if row.labels["red_things"] == "absent"]
    golden = write_golden(tmp_path / "golden.parquet", rows, release.manifest.encoder.digest)
    page = tmp_path / "card.html"
    card = told(capsys, "--release", release.directory, "--golden", golden, "--html", page)["scorecard"]
    red = next(label for label in card["labels"] if label["label"] == "red_things")
    assert red["overall"]["figures"]["average_precision"]["lacks"] == "no positive images, 10 needed"
    assert "No plots: there are not both positive and negative images." in page.read_text()


def test_unknown_labels_are_refused_and_retired_ones_are_not(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [row] = embedded_rows(release, 1)
    encoder = release.manifest.encoder.digest
    asked = ("--release", release.directory, "--golden")
    slip = row.model_copy(update={"labels": {"red_thing": "present"}})
    assert "did you mean 'red_things'" in refused(
        capsys, tmp_path, *asked, write_golden(tmp_path / "a", [slip], encoder)
    )
    old = row.model_copy(update={"labels": {"old_things": "present", "red_things": "present"}})
    card = told(capsys, *asked, write_golden(tmp_path / "b", [old], encoder))["scorecard"]
    assert [label["label"] for label in card["labels"]] == ["red_things"]
    assert card["subject"]["unasked"] == ["blue_things"]


def test_what_cannot_be_measured_is_refused(
    release: Release, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = embedded_rows(release, 4)
    encoder = release.manifest.encoder.digest
    asked = ("--release", release.directory, "--golden")
    other = write_golden(tmp_path / "other.parquet", rows, "0" * 64)
    assert "not of the release's encoder" in refused(capsys, tmp_path, *asked, other)
    kept = write_golden(tmp_path / "kept", [row.model_copy(update={"split": "calibrate"}) for row in rows], encoder)
    assert "no row is for 'test'" in refused(capsys, tmp_path, *asked, kept)
    fine = [
        row.model_copy(update={"slices": {"user": str(place)}}) for place, row in enumerate(embedded_rows(release, 80))
    ]
    assert "slice 'user' parts" in refused(capsys, tmp_path, *asked, write_golden(tmp_path / "fine", fine, encoder))
    old = [row.model_copy(update={"labels": {"old_things": "present"}}) for row in rows]
    assert "nobody was asked" in refused(capsys, tmp_path, *asked, write_golden(tmp_path / "old", old, encoder))
    assert "no policy 'plan'" in refused(capsys, tmp_path, *asked, golden, "--policy", "plan")
    assert "cannot be" in refused(capsys, tmp_path, *asked, tmp_path / "nowhere")
