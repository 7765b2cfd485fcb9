"""From a golden set to a release that keeps its promises: through the real command, on embeddings made near phrases."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.jobs.cli import main
from assay.platform.encoder import EncoderSpec
from assay.platform.golden import GOLDEN
from assay.platform.moderator import Moderator
from assay.platform.prompt_vectors import Role
from assay.platform.release import Release, bundled_release
from assay.platform.release_build import ReleaseSpec, build_release, hash_release

POLICY = """\
assay_policy: 1
name: tavern
labels:
  alcohol: {review: {recall: 0.8}, block: {precision: 0.9}}
  tobacco: {review: {precision: 0.9, otherwise: 0.7}}
  money: {review: {reviews_per_day: 300, images_per_day: 1000}}
  gambling: {review: 0.4, block: 0.6}
"""
IMAGES = 900
SHOWN = ("alcohol", "money", "")
"""What a third of the images each show."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("calibrate")
    (folder / "tavern.yaml").write_text(POLICY)
    spec = ReleaseSpec(
        name="raw", encoder=hash_spec(), library=bundled_release() / "library.yaml", policies=(folder / "tavern.yaml",)
    )
    return build_release(folder / "raw", spec)


def hash_spec() -> EncoderSpec:
    return EncoderSpec(model="hash")


def near_phrases(release: Release, seed: int) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float16]], list[str]]:
    """Embeddings between a phrase of what is shown and noise, so that scores tell, but not surely."""
    phrases, library = release.raw_scorer().phrases, release.library()
    owners = {
        label: [key for key, (owner, _) in library.concepts.items() if owner == label] for label in SHOWN if label
    }
    rng = np.random.default_rng(seed)
    shown = [SHOWN[number % 3] for number in range(IMAGES)]
    rows = []
    for label in shown:
        at = [
            place
            for place, (role, owner) in enumerate(zip(phrases.roles, phrases.owners, strict=True))
            if (role is Role.PROMPT and owner in owners[label] if label else role is Role.BACKGROUND)
        ]
        phrase = phrases.vectors[int(rng.choice(at))].astype(np.float64)
        noise = rng.normal(size=len(phrase)) / np.sqrt(len(phrase))
        mixed = phrase + rng.uniform(0.5, 1.6) * noise
        rows.append(mixed / np.linalg.norm(mixed))
    return np.stack(rows).astype(np.float16), shown


def write_golden(
    path: Path, release: Release, seed: int = 0, labels: Sequence[str] = ("alcohol", "money", "tobacco")
) -> Path:
    embeddings, shown = near_phrases(release, seed)
    rows = [
        {
            "uri": f"s3://bucket/{number}.jpg",
            "etag": "",
            "labels": [(label, "present" if label == its else "absent") for label in labels],
            "slices": [("style", "drawing" if number % 2 else "photo")],
            "reviewer": "ada",
            "time": datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC),
            "weight": 1.0,
            "embedding": embedding.tobytes(),
        }
        for number, (embedding, its) in enumerate(zip(embeddings, shown, strict=True))
    ]
    about = {"assay.encoder": release.manifest.encoder.digest}
    pq.write_table(pa.Table.from_pylist(rows, GOLDEN).replace_schema_metadata(about), path)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["calibrate", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_promises_become_thresholds_and_only_they_block(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = write_golden(tmp_path / "golden.parquet", release)
    facts = run(capsys, tmp_path / "out", "--release", release.directory, "--golden", golden)
    assert facts["calibrated"] == {"alcohol": "isotonic", "money": "isotonic"}
    uncalibrated = facts["uncalibrated"]
    assert uncalibrated["tobacco"].startswith("0 images have it")
    by_promise = {(one["label"], one["action"]): one for one in facts["promises"]}
    assert set(by_promise) == {("alcohol", "review"), ("alcohol", "block"), ("tobacco", "review"), ("money", "review")}
    assert by_promise["alcohol", "block"]["bound"] >= 0.9
    assert by_promise["tobacco", "review"]["threshold"] is None

    made = Release.load(tmp_path / "out")
    assert made.digest != release.digest
    embeddings, shown = near_phrases(release, 1)
    decided = Moderator(made).decide(observed(embeddings))
    blocked = [its for its, action in zip(shown, decided["action"].to_pylist(), strict=True) if action == "block"]
    assert len(blocked) > 100
    assert blocked.count("alcohol") / len(blocked) >= 0.9
    before = Moderator(release).decide(observed(embeddings))["action"].to_pylist()
    assert "block" not in before, "an uncalibrated release sends to review at most"
    assert "review" in before


def observed(embeddings: np.ndarray[tuple[int, int], np.dtype[np.float16]]) -> pa.Table:
    count = len(embeddings)
    return pa.table(
        {
            "shard": pa.array([0] * count, pa.int64()),
            "uri": [f"s3://bucket/{number}" for number in range(count)],
            "etag": ["e"] * count,
            "outcome": ["ok"] * count,
            "embedding": pa.array([row.tobytes() for row in embeddings], pa.binary()),
        }
    )


def test_a_change_elsewhere_keeps_what_was_measured(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = write_golden(tmp_path / "golden.parquet", release)
    run(capsys, tmp_path / "out", "--release", release.directory, "--golden", golden)
    text = (bundled_release() / "library.yaml").read_text()
    for name, changed, kept in (
        (
            "a new neighbour",
            text.replace(
                "\n          beer: {", "\n          mead: {prompts: {en: [a horn of mead]}}\n          beer: {"
            ),
            {"money"},
        ),
        ("nothing", text, {"alcohol", "money"}),
    ):
        (tmp_path / "library.yaml").write_text(changed)
        spec = ReleaseSpec(
            name="next",
            encoder=hash_spec(),
            library=tmp_path / "library.yaml",
            policies=(release.directory / "policies" / "tavern.yaml",),
            calibrated_like=tmp_path / "out",
        )
        made = build_release(tmp_path / name, spec)
        assert set(made.calibration().labels) == kept, name
        points = made.operating_points().of("tavern")
        assert {label for label, held in points.items() if held.review} == kept, name
    assert "have changed since" in points["alcohol"].why_no_block or points["alcohol"].block


def test_a_calibration_of_another_encoder_is_refused(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = write_golden(tmp_path / "golden.parquet", release)
    run(capsys, tmp_path / "out", "--release", release.directory, "--golden", golden)
    assert main(["calibrate", str(tmp_path / "other"), "--golden", str(golden)]) == 2  # the bundled release's encoder
    assert not (tmp_path / "other").exists(), "nothing is written"
    assert "encoder" in capsys.readouterr().err
    for name in ("calibration.json", "operating_points.json"):
        foreign = hash_release(tmp_path / name)
        text = (tmp_path / "out" / name).read_text()
        (foreign.directory / name).write_text(text.replace('"bound_to": "', '"bound_to": "0'))
        refused(foreign, name)


def refused(release: Release, name: str) -> None:
    """A release into which somebody copied another one's file."""
    from assay.platform.errors import ReleaseError
    from assay.platform.release_manifest import Pinned, PinnedFile

    pinned = PinnedFile.of(release.directory, name)
    field = name.removesuffix(".json")
    release.manifest.model_copy(
        update={field: Pinned(path=name, digest=pinned.sha256), "files": (*release.manifest.files, pinned)}
    ).write(release.directory)
    with pytest.raises(ReleaseError, match="were not made for it"):
        Release.load(release.directory)


def test_slices_must_be_there(release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = write_golden(tmp_path / "golden.parquet", release)
    facts = run(capsys, tmp_path / "out", "--release", release.directory, "--golden", golden, "--slices", "style")
    points = Release.load(tmp_path / "out").operating_points().of("tavern")
    assert points["alcohol"].block is not None, facts
    assert points["alcohol"].block.slices == ("style=drawing", "style=photo")
    arguments = ["--release", str(release.directory), "--golden", str(golden), "--slices", "colour"]
    assert main(["calibrate", str(tmp_path / "none"), *arguments]) == 2
    assert "its slices are: style" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
