"""What the image tower already knows of photographs: ImageNet's 1,000 classifier vectors.

Each vector is a direction in the space of pooled features. Laid over the mean and the spread of real features
it gives a pseudo feature of its class, to be aligned with the class's English name. No photograph is needed.
"""

from dataclasses import dataclass

import torch
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from torch.nn import functional

from assay.tuning.towers import read_imagenet_weights

_REACH, _SPREAD = 0.9, 0.6  # of the typical distance of a feature from the mean
_CEILING = 6.0  # features are pooled from ReLU6


@dataclass(frozen=True)
class Photographs:
    directions: torch.Tensor  # float32 [1000, 1280], unit length
    features: torch.Tensor  # float32 [n, 1280]: real features of the tower before training
    names: tuple[str, ...]

    def pretend(self, classes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """float32 [n, 1280]: a pseudo feature for each class (int64 [n])."""
        mean = self.features.mean(dim=0)
        residuals = self.features - mean
        distance = residuals.norm(dim=1).mean()
        drawn = torch.randint(0, len(residuals), (len(classes),), generator=generator)
        reach = _REACH + 0.4 * torch.rand(len(classes), 1, generator=generator)
        moved: torch.Tensor = mean + distance * reach * self.directions[classes] + _SPREAD * residuals[drawn]
        return moved.clamp(0, _CEILING)


def load_photographs(features: torch.Tensor) -> Photographs:
    classifier = list(read_imagenet_weights().values())[-2]
    return Photographs(functional.normalize(classifier, dim=1), features, photograph_names())


def photograph_names() -> tuple[str, ...]:
    return tuple(name.lower() for name in IMAGENET_CLASSNAMES)
