import torch

from assay.tuning.art import Shelf
from assay.tuning.scenes import Compositor, backgrounds, centred

CONCEPTS = torch.arange(6).repeat(20)


def compositor(shelf: Shelf, seed: int, natural: bool = False) -> Compositor:
    return Compositor(shelf, torch.Generator().manual_seed(seed), natural)


def test_same_seed_same_scenes(shelf: Shelf) -> None:
    first, second = compositor(shelf, 3).compose(CONCEPTS, 40), compositor(shelf, 3).compose(CONCEPTS, 40)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.concepts, second.concepts)
    assert not torch.equal(first.images, compositor(shelf, 4).compose(CONCEPTS, 40).images)


def test_shapes_and_range(shelf: Shelf) -> None:
    scenes = compositor(shelf, 0).compose(CONCEPTS, 40)
    assert scenes.images.shape == (120, 3, 40, 40)
    assert scenes.images.min() >= 0
    assert scenes.images.max() <= 1
    assert torch.equal(scenes.shares.sum(dim=1), torch.ones(120))


def test_some_scenes_hold_two_objects_and_some_none(shelf: Shelf) -> None:
    scenes = compositor(shelf, 0).compose(CONCEPTS, 16)
    assert (scenes.shares[:, 1] > 0).any()
    assert (scenes.concepts[:, 0] == shelf.num_concepts).any()
    assert (scenes.shares[:, 0] == 1).float().mean() > 0.5


def test_an_object_changes_its_background(shelf: Shelf) -> None:
    generator = torch.Generator().manual_seed(5)
    empty = backgrounds(12, 40, generator)
    with_object = compositor(shelf, 5, natural=True).alone(torch.arange(6).repeat(2), 40)
    assert ((with_object - empty).abs().amax(dim=(1, 2, 3)) > 0.1).all()


def test_centred_art_stands_on_white(shelf: Shelf) -> None:
    pictures = centred(shelf, 1, torch.arange(6), 48)
    assert pictures.shape == (6, 3, 48, 48)
    assert (pictures[:, :, 0, 0] == 1).all()
