import torch

from assay.tuning.photographs import load_photographs
from assay.tuning.towers import read_imagenet_weights


def test_imagenets_classifier_recognises_its_pseudo_features() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(64, 1280, generator=generator) * 0.4
    photographs = load_photographs(real)
    classes = torch.arange(0, 1000, 25)
    features = photographs.pretend(classes, generator)
    assert features.min() >= 0
    assert features.max() <= 6
    weight, bias = list(read_imagenet_weights().values())[-2:]
    named = (features @ weight.T + bias).argmax(dim=1)
    assert (named == classes).float().mean() > 0.9
    assert photographs.names[763] == "revolver"
