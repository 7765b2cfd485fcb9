"""The demo corpus: deterministic, as bad as promised, and true to its truth file."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.jobs.corpus import CorpusFacts, CorpusSpec, Member, compose_corpus, draw_member, plan_members
from assay.jobs.scene import Art
from assay.platform.errors import SpecError
from assay.platform.uris import file_uri, relative_uri

SPEC = CorpusSpec(images=140)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CorpusFacts, list[tuple[int, int]]]:
    directory = tmp_path_factory.mktemp("demo") / "bucket"
    steps: list[tuple[int, int]] = []
    facts = compose_corpus(directory, SPEC, lambda done, total: steps.append((done, total)))
    return directory, facts, steps


def stored_files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def digest(directory: Path) -> dict[bytes, str]:
    return {
        os.fsencode(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in stored_files(directory)
    }


def bytes_of(key: str) -> bytes:
    members = plan_members(SPEC)
    number = next(member.number for member in members if member.key == key)
    return draw_member(members, number, SPEC.seed)


def test_facts_truth_and_bucket_agree(corpus: tuple[Path, CorpusFacts, list[tuple[int, int]]]) -> None:
    directory, facts, steps = corpus
    paths = list(stored_files(directory))
    assert facts.images + len(facts.skipped) == SPEC.images == sum(facts.kinds.values()) + len(facts.skipped)
    assert len(paths) == facts.images
    assert sum(path.stat().st_size for path in paths) == facts.stored_bytes
    assert steps[-1] == (SPEC.images, SPEC.images)
    truth = json.loads(facts.truth.read_text())
    assert truth["spec"] == {"images": 140, "seed": 7}
    root = file_uri(os.fsencode(directory))
    uris = {file_uri(os.fsencode(path)) for path in paths}
    assert {row["key"] for row in truth["images"]} == {relative_uri(uri, root) for uri in uris}
    assert directory not in facts.truth.parents


def test_composing_again_touches_nothing(corpus: tuple[Path, CorpusFacts, list[tuple[int, int]]]) -> None:
    directory, facts, _ = corpus
    before = {path: path.stat().st_mtime_ns for path in stored_files(directory)}
    missing, broken = directory / "photos/2025/01/DSC_00000.jpg", directory / "uploads/misc/logo.png"
    good = missing.read_bytes(), broken.read_bytes()
    missing.unlink()
    broken.write_bytes(b"half a wri")
    assert compose_corpus(directory, SPEC) == facts
    assert (missing.read_bytes(), broken.read_bytes()) == good
    after = {path: path.stat().st_mtime_ns for path in stored_files(directory)}
    assert {path for path in before if before[path] != after[path]} == {missing, broken}


def test_a_seed_fixes_every_byte(corpus: tuple[Path, CorpusFacts, list[tuple[int, int]]], tmp_path: Path) -> None:
    directory, _, _ = corpus
    compose_corpus(tmp_path / "again", SPEC)
    assert digest(tmp_path / "again") == digest(directory)
    assert plan_members(CorpusSpec(images=140, seed=8)) != plan_members(SPEC)


def test_strangers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SpecError, match="empty folder"):
        compose_corpus(tmp_path, SPEC)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_shares_of_the_full_corpus() -> None:
    members = plan_members(CorpusSpec())
    scenes = [member for member in members if member.kind == "scene"]
    flagged = sum(bool(member.topics) for member in scenes) / len(scenes)
    assert len(members) == len({member.key for member in members}) == 2000
    assert 0.18 < flagged < 0.28
    assert {len(member.objects) for member in scenes} == {1, 2}
    assert sum("duplicate" in member.kind for member in members) == 40
    assert {folder.partition("/")[0] for folder in (member.key for member in members)} == {
        "scenes",
        "photos",
        "uploads",
    }
    topics = {topic for member in scenes for topic in member.topics}
    assert len(topics) == 10
    assert all(sum(topic in member.topics for member in scenes) >= 15 for topic in topics)


def test_duplicates_show_what_their_originals_show() -> None:
    members = plan_members(SPEC)
    exact = next(member for member in members if member.kind == "exact_duplicate")
    near = next(member for member in members if member.kind == "near_duplicate")

    def both(member: Member) -> tuple[bytes, bytes]:
        assert member.like is not None
        assert members[member.like].objects == member.objects
        return draw_member(members, member.number, 7), draw_member(members, member.like, 7)

    assert len(set(both(exact))) == 1
    assert len(set(both(near))) == 2


@pytest.mark.parametrize(("name", "shown"), [("first.gif", {0}), ("middle.gif", {3, 4, 5}), ("last.webp", {8})])
def test_animations_show_their_object_in_some_frames_only(name: str, shown: set[int]) -> None:
    movie = Image.open(io.BytesIO(bytes_of(f"uploads/animated/{name}")))
    frames = []
    for number in range(9):
        movie.seek(number)
        frames.append(np.asarray(movie.convert("RGB"), np.float32))
    assert getattr(movie, "n_frames", 1) == 9
    # The ground turns by four degrees a frame; a frame with the object differs most from its neighbours without it.
    steps = [float(np.abs(one - other).mean()) for one, other in pairwise(frames)]
    changes = {number + 1 for number in range(8) if (number in shown) != (number + 1 in shown)}
    assert set(np.argsort(steps)[::-1][: len(changes)] + 1) == changes


def test_orientations_and_ghosts() -> None:
    for orientation in range(1, 9):
        picture = Image.open(io.BytesIO(bytes_of(f"photos/turned/IMG_{orientation:04d}.JPG")))
        assert picture.getexif()[0x0112] == orientation
        assert picture.size == ((400, 300) if orientation < 5 else (300, 400))
    ghost = Image.open(io.BytesIO(bytes_of("uploads/transparent/on-white.png")))
    on_black = np.asarray(Image.alpha_composite(Image.new("RGBA", ghost.size, "black"), ghost).convert("L"))
    on_white = np.asarray(Image.alpha_composite(Image.new("RGBA", ghost.size, "white"), ghost).convert("L"))
    assert on_black.max() < 40  # all dark: nothing to see
    assert on_white.min() < 40 < on_white.max()


def test_the_bomb_is_small_and_the_large_one_valid() -> None:
    bomb = bytes_of("uploads/misc/bomb.png")
    assert len(bomb) < 200_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(bomb))
    assert Image.open(io.BytesIO(bytes_of("photos/large/panorama.jpg"))).size == (6000, 4000)


def test_names_that_break_careless_code() -> None:
    keys = [member.key for member in plan_members(SPEC) if member.kind == "odd_name"]
    for part in (" ", "\n", "..", "<b>", "onerror", "{{", "\udce9", "写真", "%25"):
        assert any(part in key for key in keys), part


def test_the_art_is_named_and_sourced() -> None:
    art = Art.load()
    assert len(art.topics) >= 350
    assert art.icon("beer-mug").size == (128, 128)
    assert art.icon("beer-mug").getchannel("A").getextrema() == (0, 255)
    data = Path(__file__).parents[2] / "jobs/assay/jobs/data"
    sourced = (data / "PHOTOS.md").read_text()
    assert all(f"`{photo.name}`" in sourced for photo in (data / "photos").iterdir())
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) < 2_500_000
