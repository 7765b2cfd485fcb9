import torch

from assay.tuning.held_out import HeldOut, rank
from assay.tuning.towers import build_towers
from assay.tuning.words import Words


def test_rank_counts_what_came_before() -> None:
    accuracy = rank(torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.eye(2))
    assert accuracy.ranks.tolist() == [0, 1]
    assert accuracy.top1 == 0.5
    assert accuracy.top5 == 1.0


def test_measured_in_both_languages_and_repeatable(held_out: HeldOut, words: Words) -> None:
    model = build_towers(words.vocab_size).eval()
    first, second = held_out.measure(model), held_out.measure(model)
    assert set(first) == {"plain-en", "scenes-en", "plain-zh", "scenes-zh"}
    assert all(torch.equal(first[key].ranks, second[key].ranks) for key in first)
    assert all(len(accuracy.ranks) == 6 for accuracy in first.values())
