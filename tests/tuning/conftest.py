"""A few concepts and scribbled art, so that encoder tests need no packages from npm."""

from pathlib import Path

import pytest
import torch

from assay.tuning.art import Shelf
from assay.tuning.captions import CaptionBook
from assay.tuning.concepts import Concept
from assay.tuning.encoder_trial import Matter
from assay.tuning.held_out import HeldOut
from assay.tuning.words import Words, load_words


@pytest.fixture
def concepts() -> list[Concept]:
    rows = [("beer mug", "啤酒", "drink"), ("pistol", "手枪", "weapon"), ("cigarette", "香烟", "smoking")]
    rows += [("dog face", "狗脸", "face"), ("cat face", "猫脸", "face"), ("bomb", "炸弹", "weapon")]
    return [
        Concept(f"{row:04x}", {"en": (name,), "zh": (chinese,)}, {"en": (word,), "zh": ()}, "objects", "tool")
        for row, (name, chinese, word) in enumerate(rows)
    ]


@pytest.fixture
def shelf(concepts: list[Concept]) -> Shelf:
    """Three styles, the last in outline; the first does not draw concept 1."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, len(concepts), 4, 32, 32), generator=generator, dtype=torch.uint8)
    present = torch.ones(3, len(concepts), dtype=torch.bool)
    present[0, 1] = False
    pixels[0, 1] = 0
    return Shelf(pixels, present, torch.tensor([False, False, True]))


@pytest.fixture
def book(concepts: list[Concept]) -> CaptionBook:
    return CaptionBook(concepts)


@pytest.fixture
def words(book: CaptionBook, tmp_path: Path) -> Words:
    return load_words(book, ["revolver", "wine bottle"], tmp_path / "bpe.txt.gz")


@pytest.fixture
def held_out(shelf: Shelf, book: CaptionBook, words: Words) -> HeldOut:
    one_style = Shelf(shelf.pixels[1:2], shelf.present[1:2], shelf.outline[1:2])
    return HeldOut(one_style, book, words)


@pytest.fixture
def matter(shelf: Shelf, book: CaptionBook, words: Words) -> Matter:
    return Matter(shelf, book, words, held_out=None)
