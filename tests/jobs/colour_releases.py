"""Releases around the hash encoder that know colours, and golden sets of coloured images: scores that mean something,
without a network.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.platform.encoder import EncoderSpec
from assay.platform.golden import GoldenSet, Truth
from assay.platform.golden_rows import GoldenRow, Reviews
from assay.platform.hash_encoder import HASH_FILE, HashSpec
from assay.platform.release import Release
from assay.platform.release_build import ReleaseSpec, build_release
from tests.encoder_doubles import MARK

LIBRARY = """
assay_library: 1
name: colours
background: {en: [white, black]}
categories:
  colours:
    labels:
      red_things: {counter_prompts: {en: [magenta]}, concepts: {red: {prompts: {en: [RED]}}}}
      blue_things: {counter_prompts: {en: [cyan]}, concepts: {blue: {prompts: {en: [BLUE]}}}}
      old_things: {status: retired, counter_prompts: {en: [cyan]}, concepts: {old: {prompts: {en: [yellow]}}}}
"""
POLICY = """
assay_policy: 1
name: plain
labels:
  red_things: {review: 0.3, block: 0.7}
  blue_things: {review: 0.3}
"""
FIRM = "assay_policy: 1\nname: firm\nlabels: {red_things: {review: 0.7}, blue_things: {review: 0.3}}\n"
MOMENT = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
COLOURS = ("red", "blue", "green", "white")
NOISE = 0.15
"""Of each number of an embedding: enough that labels are found often, not always."""


def colour_release(
    folder: Path, *, red: str = "red", blue: str = "blue", dim: int = 64, double: Mapping[str, object] | None = None
) -> Release:
    """A release with these prompts for its two labels; another `dim` is another encoder, and so is a `double`
    (`tests/encoder_doubles.py`).
    """
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / HASH_FILE).write_text(HashSpec(dim=dim).model_dump_json())
    if double is not None:
        (folder / "encoder" / MARK).write_text(json.dumps(double))
    (folder / "library.txt").write_text(LIBRARY.replace("RED", red).replace("BLUE", blue))
    (folder / "policy.txt").write_text(POLICY)
    (folder / "firm.txt").write_text(FIRM)
    spec = ReleaseSpec(
        name="colours",
        encoder=EncoderSpec(model=f"local-dir:{folder / 'encoder'}"),
        library=folder / "library.txt",
        policies=(folder / "policy.txt", folder / "firm.txt"),
    )
    return build_release(folder / "release", spec)


def colour_row(number: int, colour: str, **changes: object) -> GoldenRow:
    """What a reviewer says of an image of one colour."""
    said = {f"{one}_things": Truth.PRESENT if one == colour else Truth.ABSENT for one in ("red", "blue")}
    facts = {"uri": f"file:///gone/{number:04d}.png", "labels": said, "reviewer": "ann", "time": MOMENT}
    return GoldenRow.model_validate(facts | changes)


def write_golden(path: Path, rows: Sequence[GoldenRow], encoder: str = "") -> Path:
    """Rows as a golden set, merged as any are."""
    GoldenSet.of(Reviews(tuple(rows), encoder=encoder)).write(path)
    return path


def embedded_rows(release: Release, count: int) -> list[GoldenRow]:
    """Rows of images of all colours in turn, with embeddings kept; every other one is a photo."""
    rng = np.random.default_rng(0)
    centres = release.encoder().encode_texts(list(COLOURS))
    rows = []
    for number in range(count):
        place = number % len(COLOURS)
        kept = unit(centres[place] + rng.normal(0, NOISE, centres.shape[1]))
        style = ("photo", "drawing")[number // len(COLOURS) % 2]
        rows.append(colour_row(number, COLOURS[place], slices={"style": style}, embedding=kept.tobytes()))
    return rows


def unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float16]:
    """A vector of unit length, as it is stored."""
    return (vector / np.linalg.norm(vector)).astype("<f2")
