"""Pictures to learn from: art at random scale, place and rotation on random backgrounds, one or two a scene.

Knows pixels and chance only. Does not know what the art means. Everything is drawn from one generator: the
same seed gives the same scenes. Values are RGB in 0..1; the tower's own normalisation comes later.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from assay.tuning.art import Shelf

_MAX_TURN = 0.44  # radians, 25 degrees
_SECOND_OBJECT, _EMPTY, _MIRRORED = 0.22, 0.03, 0.25
_OUTLINE_CHANCE = 0.5  # beside 1 for a style in colour
_LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Scenes:
    images: torch.Tensor  # float32 [n, 3, px, px] in 0..1
    concepts: torch.Tensor  # int64 [n, 2]; num_concepts stands for "no object"
    shares: torch.Tensor  # float32 [n, 2], rows sum to 1


@dataclass(frozen=True)
class Compositor:
    """`natural` keeps the art's own colours and the scene as drawn: for tests. Training distorts both."""

    shelf: Shelf
    generator: torch.Generator
    natural: bool = False

    def compose(self, concepts: torch.Tensor, px: int) -> Scenes:
        """One scene for each entry of `concepts` (int64 [n]); some get a second object, a few get none."""
        number, generator = len(concepts), self.generator
        chance = torch.rand(number, generator=generator)
        second = torch.randint(0, self.shelf.num_concepts, (number,), generator=generator)
        has_second = chance < _SECOND_OBJECT
        empty = chance > 1 - _EMPTY
        images = backgrounds(number, px, generator)
        self._paste(images, concepts, _placements(number, has_second, -1.0, generator), ~empty)
        self._paste(images, second, _placements(number, has_second, 1.0, generator), has_second)
        images = _photographed(images, generator)
        labels = torch.stack([concepts, torch.where(has_second, second, concepts)], dim=1)
        labels[empty] = self.shelf.num_concepts
        shares = torch.stack([torch.where(has_second, 0.5, 1.0), torch.where(has_second, 0.5, 0.0)], dim=1)
        return Scenes(images.clamp(0, 1), labels, shares)

    def alone(self, concepts: torch.Tensor, px: int) -> torch.Tensor:
        """float32 [n, 3, px, px]: one object each, random scale, place, rotation and background."""
        images = backgrounds(len(concepts), px, self.generator)
        everywhere = torch.ones(len(concepts), dtype=torch.bool)
        placements = _placements(len(concepts), ~everywhere, 0.0, self.generator)
        self._paste(images, concepts, placements, everywhere)
        return images.clamp(0, 1)

    def _paste(
        self, images: torch.Tensor, concepts: torch.Tensor, placements: torch.Tensor, where: torch.Tensor
    ) -> None:
        """Alpha-composites, in place, one object onto each image that `where` selects."""
        rows = where.nonzero()[:, 0]
        if not len(rows):
            return
        art = self._paint(concepts[rows], images[rows])
        placement = placements[rows]
        grid = functional.affine_grid(placement, [len(rows), 4, *images.shape[2:]], align_corners=False)
        # Minified by more than two, bilinear sampling would skip pixels: sample from the halved art.
        minified = placement[:, :, :2].norm(dim=2).amax(dim=1) * art.shape[2] / images.shape[2] > 1.7
        layer = functional.grid_sample(art, grid, align_corners=False)
        small = minified.nonzero()[:, 0]
        if len(small):
            halved = functional.avg_pool2d(art[small], 2)
            layer[small] = functional.grid_sample(halved, grid[small], align_corners=False)
        images[rows] = images[rows] * (1 - layer[:, 3:]) + layer[:, :3]

    def _paint(self, concepts: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """float32 [n, 4, h, w], premultiplied; in a random style of those that draw the concept."""
        shelf, generator = self.shelf, self.generator
        chances = shelf.present[:, concepts].float()
        chances = chances * torch.where(shelf.outline, _OUTLINE_CHANCE, 1.0)[:, None]
        style = torch.multinomial(chances.T, 1, generator=generator)[:, 0]
        art = shelf.pixels[style, concepts].float() / 255
        colour, alpha = art[:, :3], art[:, 3:]
        if not self.natural:
            ink = _ink(images, generator)[:, :, None, None].expand_as(colour)
            outline = shelf.outline[style][:, None, None, None]
            colour = torch.where(outline, ink, _recoloured(colour, generator))
        return torch.cat([colour * alpha, alpha], dim=1)


def centred(shelf: Shelf, style: int, concepts: torch.Tensor, px: int) -> torch.Tensor:
    """Plain test pictures: the art alone, upright, on white."""
    art = shelf.pixels[style, concepts].float() / 255
    flat = art[:, :3] * art[:, 3:] + (1 - art[:, 3:])
    small = functional.interpolate(flat, size=px - 12, mode="bicubic", antialias=True, align_corners=False)
    return functional.pad(small, (6, 6, 6, 6), value=1.0).clamp(0, 1)


def backgrounds(number: int, px: int, generator: torch.Generator) -> torch.Tensor:
    """Solid, gradient, or low-frequency colour of a random fineness, a third of them near white or black."""
    corners = torch.rand(number, 3, 2, 2, generator=generator)
    gradient = functional.interpolate(corners, size=px, mode="bilinear", align_corners=True)
    solid = torch.rand(number, 3, 1, 1, generator=generator).expand(-1, -1, px, px)
    fine = int(torch.randint(3, 24, (1,), generator=generator))
    coarse_noise = torch.rand(number, 3, fine, fine, generator=generator)
    noise = functional.interpolate(coarse_noise, size=px, mode="bicubic", align_corners=False)
    noise = torch.lerp(solid, noise, torch.rand(number, 1, 1, 1, generator=generator))
    kind = torch.rand(number, 1, 1, 1, generator=generator)
    picked = torch.where(kind < 0.35, solid, torch.where(kind < 0.6, gradient, noise))
    tone = torch.rand(number, 1, 1, 1, generator=generator)
    picked = torch.where(tone < 0.25, 0.9 + 0.1 * picked, picked)
    return torch.where(tone > 0.92, 0.1 * picked, picked).clamp(0, 1)


def _ink(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """float32 [n, 3]: outlines must stand out from what is behind them; half stay near black or white."""
    number = len(images)
    behind = (images.mean(dim=(2, 3)) * _LUMA).sum(dim=1)
    tint = torch.rand(number, 3, generator=generator) * 0.5
    pale = torch.rand(number, 1, generator=generator) < 0.5
    tint = torch.where(pale, tint * 0.2, tint)
    return torch.where((behind > 0.4)[:, None], tint, 1 - tint)


def _recoloured(colour: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Styles differ in palette and shading: shift hue and saturation a little for all, a lot for some."""
    number = len(colour)
    turn = torch.randn(number, generator=generator) * 0.25
    wild = torch.rand(number, generator=generator) < 0.08
    turn = torch.where(wild, turn * 8, turn)
    luma = (colour * _LUMA[:, None, None]).sum(dim=1, keepdim=True)
    chroma = _hue_turned(colour - luma, turn)
    saturation = torch.rand(number, generator=generator) * 1.1 + 0.4
    grey = torch.rand(number, generator=generator) < 0.08
    saturation = torch.where(grey, 0.0, saturation)[:, None, None, None]
    gamma = torch.exp(torch.randn(number, 1, 1, 1, generator=generator) * 0.3)
    # Flat art has few tones: posterising shaded art takes the shading away, as another style would.
    levels = torch.randint(2, 7, (number, 1, 1, 1), generator=generator).float()
    posterised = torch.rand(number, 1, 1, 1, generator=generator) < 0.2
    luma = luma.clamp(1e-4, 1) ** gamma
    luma = torch.where(posterised, (luma * levels).round() / levels, luma)
    return (luma + saturation * chroma).clamp(0, 1)


def _hue_turned(chroma: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotates colour differences about the grey axis (Rodrigues' formula)."""
    cosine, sine = turn.cos()[:, None, None, None], turn.sin()[:, None, None, None]
    crossed = (chroma.roll(1, dims=1) - chroma.roll(-1, dims=1)) / 3**0.5
    along = chroma.mean(dim=1, keepdim=True)
    return chroma * cosine + crossed * sine + along * (1 - cosine)


def _placements(number: int, has_second: torch.Tensor, side: float, generator: torch.Generator) -> torch.Tensor:
    """Affine maps float32 [n, 2, 3] from scene to art. Two objects stand left and right of each other."""
    unit = torch.rand(number, 6, generator=generator)
    scale = torch.where(has_second, 0.35 + 0.25 * unit[:, 0], 0.35 + 0.65 * unit[:, 0])
    turn = (unit[:, 1] * 2 - 1) * _MAX_TURN * (unit[:, 5] < 0.7)
    squeeze = torch.exp((unit[:, 2] - 0.5) * 0.4)
    room = 1.08 - scale
    x = torch.where(has_second, side * (1 - scale).clamp(min=0.2), (unit[:, 3] * 2 - 1) * room)
    y = (unit[:, 4] * 2 - 1) * room
    mirror = torch.where(torch.rand(number, generator=generator) < _MIRRORED, -1.0, 1.0)
    cosine, sine = turn.cos() / scale, turn.sin() / scale
    rows = [cosine * squeeze * mirror, sine * squeeze * mirror, -sine / squeeze, cosine / squeeze]
    shift_x = -(rows[0] * x + rows[1] * y)
    shift_y = -(rows[2] * x + rows[3] * y)
    return torch.stack([rows[0], rows[1], shift_x, rows[2], rows[3], shift_y], dim=1).view(number, 2, 3)


def _photographed(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What cameras and uploads do: blur, contrast, brightness, noise, and now and then an inversion."""
    number = len(images)
    chance = torch.rand(6, number, 1, 1, 1, generator=generator)
    blurred = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    sharp = images + (images - blurred) * 1.5
    images = torch.where(chance[0] < 0.2, blurred, torch.where(chance[0] > 0.85, sharp, images))
    contrast = torch.exp((chance[1] - 0.5) * 0.8)
    images = (images - 0.5) * contrast + 0.5 + (chance[2] - 0.5) * 0.25
    images = torch.where(chance[3] < 0.02, 1 - images, images)
    noise = torch.randn(images.shape, generator=generator) * (chance[4] * 0.06)
    return torch.where(chance[5] < 0.4, images + noise, images)
