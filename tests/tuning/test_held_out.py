from pathlib import Path

import torch
from encoder_doubles import few_concepts, few_words, scribbled_shelf

from assay.tuning.art import Shelf
from assay.tuning.captions import CaptionBook
from assay.tuning.held_out import HeldOut, rank
from assay.tuning.towers import build_towers


def test_rank_counts_what_came_before() -> None:
    accuracy = rank(torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.eye(2))
    assert accuracy.ranks.tolist() == [0, 1]
    assert accuracy.top1 == 0.5
    assert accuracy.top5 == 1.0


def test_measured_in_both_languages_and_repeatable(tmp_path: Path) -> None:
    concepts, shelf = few_concepts(), scribbled_shelf(6)
    one_style = Shelf(shelf.pixels[1:2], shelf.present[1:2], shelf.outline[1:2])
    book = CaptionBook(concepts)
    words = few_words(book, tmp_path)
    model = build_towers(words.vocab_size).eval()
    first = HeldOut(one_style, book, words).measure(model)
    second = HeldOut(one_style, book, words).measure(model)
    assert set(first) == {"plain-en", "plain-zh", "scenes-en", "scenes-zh"}
    assert all(torch.equal(first[key].ranks, second[key].ranks) for key in first)
    assert all(len(accuracy.ranks) == 6 for accuracy in first.values())
