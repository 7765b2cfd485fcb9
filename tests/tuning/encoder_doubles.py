"""A few concepts and scribbled art, so that encoder tests need no packages from npm."""

from pathlib import Path

import torch

from assay.tuning.art import Shelf
from assay.tuning.captions import CaptionBook
from assay.tuning.concepts import Concept
from assay.tuning.encoder_trial import Matter
from assay.tuning.words import Words, load_words


def few_concepts() -> list[Concept]:
    rows = [("beer mug", "啤酒", "drink"), ("pistol", "手枪", "weapon"), ("cigarette", "香烟", "smoking")]
    rows += [("dog face", "狗脸", "face"), ("cat face", "猫脸", "face"), ("bomb", "炸弹", "weapon")]
    return [
        Concept(f"{row:04x}", {"en": (name,), "zh": (chinese,)}, {"en": (word,), "zh": ()}, "objects", "tool")
        for row, (name, chinese, word) in enumerate(rows)
    ]


def scribbled_shelf(num_concepts: int) -> Shelf:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, num_concepts, 4, 32, 32), generator=generator, dtype=torch.uint8)
    present = torch.ones(3, num_concepts, dtype=torch.bool)
    present[0, 1] = False
    pixels[0, 1] = 0
    return Shelf(pixels, present, torch.tensor([False, False, True]))


def few_words(book: CaptionBook, folder: Path) -> Words:
    return load_words(book, ["revolver", "wine bottle"], folder / "bpe.txt.gz")


def small_matter(folder: Path) -> Matter:
    concepts = few_concepts()
    book = CaptionBook(concepts)
    return Matter(scribbled_shelf(len(concepts)), book, few_words(book, folder), held_out=None)
