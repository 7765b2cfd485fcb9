"""Suggestions from real stores, whose observations are written by hand."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from assay.jobs.binding import Binding, bind
from assay.jobs.cli import main
from assay.jobs.datafile import write_observations
from assay.jobs.scene import Art, compose_scene
from assay.jobs.store import Store
from assay.jobs.suggestion import Suggestion
from assay.platform.prompt_vectors import PromptVectors
from assay.platform.release import Release, bundled_release
from assay.platform.storage import Storage
from assay.platform.uncovered import find_uncovered
from tests.platform.test_uncovered import Rows, pictures
from tests.store_doubles import data_file, new_store, observed_rows, refs_of

IMAGES = 1000


def store_of(place: Path, release: Release, seed: int, planted: int) -> str:
    """A store of what the starter library's phrases say, and last of the planted pictures."""
    store: Store = new_store(Storage(), place)
    pinned = release.manifest.encoder
    preprocess = release.preprocess.model_dump(mode="json")
    bind(store, Binding(encoder=pinned.digest, dim=pinned.dim, preprocess=preprocess))
    refs = refs_of(IMAGES)
    cells = [row.tobytes() for row in pictures(IMAGES, seed, planted)]
    rows = observed_rows(0, refs)
    at = rows.schema.get_field_index("embedding")
    rows = rows.set_column(at, rows.schema.field(at), pa.array(cells, pa.binary()))
    written = write_observations(store.storage, store.uri, 0, rows)
    store.observations.commit([data_file(written, IMAGES, [0])])
    return str(place)


def test_a_planted_concept_is_proposed_with_a_name_examples_and_a_draft(
    tmp_path: Path, release_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = Release.load(release_dir)
    now, before = (
        store_of(tmp_path / name, release, seed, planted) for name, seed, planted in (("now", 1, 20), ("before", 2, 0))
    )
    (tmp_path / "words.txt").write_text("a rabbit\nzqx vbk jwf\n\na rabbit\nsteel\n", encoding="utf-8")
    typed = ["library", "suggest", now, "--release", str(release_dir), "--before", before]
    assert main([*typed, "--words", str(tmp_path / "words.txt"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["sampled"], facts["sampled_before"]) == (IMAGES, IMAGES)
    planted = {f"s3://b/{number:04d}" for number in range(IMAGES - 20, IMAGES)}
    (found,) = (one for one in facts["suggestions"][:3] if set(one["examples"]) <= planted)
    assert found["names"][0] == "zqx vbk jwf"
    assert found["images_before"] < found["images"] / 2
    assert main(typed) == 0  # names from the library's own phrases
    assert "merge there if it is the same" in capsys.readouterr().out


@pytest.mark.nightly
def test_what_the_bundled_encoder_never_heard_of_ranks_among_the_first_three() -> None:
    """Composed scenes of 420 harmless kinds; of each of four more kinds, 20 pictures among 2,000."""
    art, release, rng = Art.load(), Release.load(bundled_release()), np.random.default_rng(0)
    planted, encoder = ("saxophone", "rocket", "cactus", "lobster"), release.encoder("cpu")
    vectors, _ = PromptVectors.load(release.directory / release.manifest.vectors)
    common = [name for name, topic in sorted(art.topics.items()) if not topic and name not in planted]

    def embed(names: Sequence[str], count: int) -> Rows:
        chosen = [names[int(rng.integers(len(names)))] for _ in range(count)]
        size = encoder.preprocess.size
        scenes = [compose_scene(art, (name,), (size, size), rng).convert("RGB") for name in chosen]
        return encoder.encode_images(np.stack([np.asarray(scene) for scene in scenes]))

    before, now = embed(common, 2000), embed(common, 1980)
    for name in planted:
        groups = find_uncovered(np.concatenate([now, embed([name], 20)]), before, vectors)
        assert max(int((group.members >= 1980).sum()) for group in groups[:3]) > 10, name


def test_the_sample_is_even(tmp_path: Path, release_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = store_of(tmp_path / "now", Release.load(release_dir), 1, 0)
    assert main(["library", "suggest", place, "--release", str(release_dir), "--images", "100", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["sampled"], facts["sampled_before"]) == (100, 0)


@pytest.mark.parametrize(("words", "why"), [("", "no line has a word"), (None, "No such file")])
def test_a_bad_word_list(
    words: str | None, why: str, tmp_path: Path, release_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "words.txt"
    if words is not None:
        path.write_text(words)
    typed = ["library", "suggest", str(tmp_path), "--release", str(release_dir), "--words", str(path)]
    assert main(typed) == 2
    assert why in capsys.readouterr().err


def test_a_store_of_another_encoder_or_an_empty_one_is_refused(
    tmp_path: Path, release_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = store_of(tmp_path / "now", Release.load(release_dir), 1, 0)
    assert main(["library", "suggest", place]) == 2  # the bundled encoder
    assert "made with another encoder" in capsys.readouterr().err
    new_store(Storage(), tmp_path / "empty")
    assert main(["library", "suggest", str(tmp_path / "empty"), "--release", str(release_dir)]) == 2
    assert "there is nothing to look at" in capsys.readouterr().err


def test_a_draft_is_a_concept_of_a_library(release_dir: Path) -> None:
    one = Suggestion(
        names=("24-hour clock", 'a "clock"'),
        images=3,
        share=0.1,
        images_before=0,
        growth=None,
        farness=1.0,
        nearest_phrase="a",
        nearest_owner="b",
        examples=("s3://b/a, b.jpg",),
    )
    ((key, body),) = yaml.safe_load(one.draft()).items()
    assert key == "concept_24_hour_clock"
    assert body["status"] == "draft"
    assert body["exemplars"] == ["s3://b/a, b.jpg"]


def test_vectors_of_the_test_release_are_those_of_the_pictures(release_dir: Path) -> None:
    vectors, _ = PromptVectors.load(release_dir / Release.load(release_dir).manifest.vectors)
    near = pictures(50, 0).astype(np.float32) @ vectors.vectors.T
    assert near.max(axis=1).min() > 0.4
