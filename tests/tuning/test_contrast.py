import torch
from torch.nn import functional

from assay.tuning.contrast import (
    Pictures,
    Texts,
    first_places,
    pictures_to_texts,
    remember,
    single_object,
    texts_to_pictures,
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
    right, crossed = pictures([0, 1], AXES[:2]), pictures([0, 1], AXES[[1, 0]])
    told = texts([0, 1], AXES[:2])
    assert pictures_to_texts(right, told, AXES, SCALE) < 1e-3
    assert pictures_to_texts(crossed, told, AXES, SCALE) > 10
    assert texts_to_pictures(told, right, AXES, SCALE) < 1e-3
    assert texts_to_pictures(told, crossed, AXES, SCALE) > 10


def test_concepts_outside_the_batch_are_negatives() -> None:
    near_concept_five = pictures([0], AXES[5:6])
    assert pictures_to_texts(near_concept_five, texts([0], AXES[:1]), AXES, SCALE) > 10


def test_a_shared_text_is_nobodys_opposite() -> None:
    seen = pictures([0, 1], AXES[[0, 0]])
    shared = pictures_to_texts(seen, texts([0], AXES[:1], also_owned=(1,)), AXES, SCALE)
    assert shared < pictures_to_texts(seen, texts([0], AXES[:1]), AXES, SCALE)


def test_a_step_downhill_turns_both_towers() -> None:
    picture = functional.normalize(torch.ones(1, 6), dim=1).requires_grad_()
    text = AXES[:1].clone().requires_grad_()
    pictures_to_texts(pictures([0], picture), texts([0], text), AXES, SCALE).backward()
    assert picture.grad is not None
    assert text.grad is not None
    assert picture.grad.abs().sum() > 0
    assert text.grad.abs().sum() > 0


def test_remember_moves_only_what_was_seen_alone() -> None:
    bank = torch.zeros(6, 6)
    two_objects = Pictures(AXES[:2], torch.tensor([[0, 0], [1, 2]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    assert single_object(two_objects).tolist() == [0]
    remember(bank, two_objects, keep=0.7)
    assert bank[0].tolist() == AXES[0].tolist()
    assert bank[1:].abs().sum() == 0


def test_first_places() -> None:
    assert first_places(torch.tensor([4, 2, 4, 1, 2])).tolist() == [0, 1, 3]
