import torch
from torch.nn import functional

from assay.tuning.contrast import (
    Banks,
    Pictures,
    Texts,
    contrast,
    first_places,
    in_batch,
    pictures_to_bank,
    remember,
    texts_to_bank,
)

SCALE = torch.tensor(20.0)
AXES = torch.eye(6)


def pictures(concepts: list[int], embeddings: torch.Tensor) -> Pictures:
    rows = torch.tensor(concepts)
    shares = torch.tensor([[1.0, 0.0]] * len(concepts))
    return Pictures(embeddings, torch.stack([rows, rows], dim=1), shares)


def texts(concepts: list[int], embeddings: torch.Tensor, also_owned: tuple[int, ...] = ()) -> Texts:
    owned = functional.one_hot(torch.tensor(concepts), 6).bool()
    owned[:, list(also_owned)] = True
    return Texts(embeddings, torch.tensor(concepts), owned)


def test_matching_towers_have_no_loss_and_crossed_ones_a_great_one() -> None:
    told, right, crossed = texts([0, 1], AXES[:2]), AXES[:2], AXES[[1, 0]]
    banks = Banks(AXES, AXES)
    assert contrast(pictures([0, 1], right), told, banks, SCALE) < 1e-3
    assert in_batch(pictures([0, 1], crossed), told, SCALE) > 20
    assert pictures_to_bank(pictures([0, 1], crossed), AXES, SCALE) > 10
    assert texts_to_bank(texts([0, 1], crossed), AXES, SCALE) > 10


def test_concepts_outside_the_batch_are_negatives() -> None:
    assert pictures_to_bank(pictures([0], AXES[5:6]), AXES, SCALE) > 10
    assert texts_to_bank(texts([0], AXES[5:6]), AXES, SCALE) > 10


def test_a_shared_text_is_nobodys_opposite() -> None:
    seen = pictures([0, 1], AXES[[0, 0]])
    told = texts([0, 1], AXES[:2])
    shared = Texts(told.embeddings, told.concepts, texts([0, 1], AXES[:2], also_owned=(1,)).owned)
    assert in_batch(seen, shared, SCALE) < in_batch(seen, told, SCALE)


def test_two_objects_are_both_right() -> None:
    between = functional.normalize(AXES[:1] + AXES[1:2], dim=1)
    both = Pictures(between, torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]))
    assert pictures_to_bank(both, AXES, SCALE) < 0.75
    assert pictures_to_bank(both, AXES, SCALE) < pictures_to_bank(pictures([0], between), AXES, SCALE) + 1e-3


def test_a_step_downhill_turns_both_towers() -> None:
    picture = functional.normalize(torch.ones(1, 6), dim=1).requires_grad_()
    text = AXES[:2].clone().requires_grad_()
    loss = in_batch(pictures([0], picture), texts([0, 3], text), SCALE)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
    assert picture.grad is not None
    assert text.grad is not None
    assert picture.grad.abs().sum() > 0
    assert text.grad.abs().sum() > 0


def test_remember_moves_only_what_was_seen_alone() -> None:
    two_objects = Pictures(AXES[:2], torch.tensor([[0, 0], [1, 2]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    bank = remember(torch.zeros(6, 6), two_objects, keep=0.7)
    assert bank[0].tolist() == AXES[0].tolist()
    assert bank[1:].abs().sum() == 0


def test_first_places() -> None:
    assert first_places(torch.tensor([4, 2, 4, 1, 2])).tolist() == [0, 1, 3]
