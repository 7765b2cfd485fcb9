"""The loss: every picture against every concept, every text against every concept.

Knows embeddings only. A batch is far smaller than the list of concepts, so besides the contrast inside the batch
there are banks of remembered embeddings, one row for each concept. A bank is never mixed with fresh rows: tried,
and the towers learned to tell fresh from remembered instead of one concept from another (all texts collapsed
into one point within 150 steps).
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

_VETOED = -1e4


@dataclass(frozen=True)
class Pictures:
    embeddings: torch.Tensor  # float32 [n, d], unit length
    concepts: torch.Tensor  # int64 [n, 2]
    shares: torch.Tensor  # float32 [n, 2]


@dataclass(frozen=True)
class Texts:
    embeddings: torch.Tensor  # float32 [m, d], unit length
    concepts: torch.Tensor  # int64 [m], no value twice
    owned: torch.Tensor  # bool [m, num_concepts]: what the text may truly be said of


@dataclass(frozen=True)
class Banks:
    texts: torch.Tensor  # float32 [num_concepts, d], no gradient
    pictures: torch.Tensor  # float32 [num_concepts, d], no gradient


def contrast(pictures: Pictures, texts: Texts, banks: Banks, scale: torch.Tensor) -> torch.Tensor:
    """Half the weight on pictures against all concepts: they are what must generalise."""
    remembered = pictures_to_bank(pictures, banks.texts, scale) + 0.5 * texts_to_bank(texts, banks.pictures, scale)
    return remembered + 0.5 * in_batch(pictures, texts, scale)


def pictures_to_bank(pictures: Pictures, bank: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    chances = functional.log_softmax(scale * pictures.embeddings @ bank.T, dim=1)
    return -(chances.gather(1, pictures.concepts) * pictures.shares).sum(dim=1).mean()


def texts_to_bank(texts: Texts, bank: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """All concepts that own a text share it."""
    chances = functional.log_softmax(scale * texts.embeddings @ bank.T, dim=1)
    return -(_shared_out(texts.owned) * chances).sum(dim=1).mean()


def in_batch(pictures: Pictures, texts: Texts, scale: torch.Tensor) -> torch.Tensor:
    """Both ways; the only part in which gradients reach both towers."""
    logits = scale * pictures.embeddings @ texts.embeddings.T
    same = pictures.concepts[:, :, None] == texts.concepts[None, None]
    own = (same * pictures.shares[:, :, None]).sum(dim=1)
    # "face" was drawn as the text of one face: other faces in the batch are not its opposite.
    true_of = (texts.owned[:, pictures.concepts[:, 0]] | texts.owned[:, pictures.concepts[:, 1]]).T
    chances = functional.log_softmax(logits.masked_fill(true_of & (own == 0), _VETOED), dim=1)
    to_texts = -(own * chances).sum() / own.sum()
    to_pictures = -(_shared_out(true_of.T) * functional.log_softmax(logits.T, dim=1)).sum(dim=1).mean()
    return to_texts + to_pictures


def _shared_out(true: torch.Tensor) -> torch.Tensor:
    """float32, rows sum to 1 (or to 0 where nothing is true)."""
    return true.float() / true.sum(dim=1, keepdim=True).clamp(min=1)


def first_places(values: torch.Tensor) -> torch.Tensor:
    """int64: where each distinct value stands for the first time, in order."""
    same = values[:, None] == values[None]
    return (same.float().argmax(dim=1) == torch.arange(len(values))).nonzero()[:, 0]


def remember(bank: torch.Tensor, pictures: Pictures, keep: float) -> torch.Tensor:
    """The bank with its rows moved towards this batch's pictures of a single object."""
    alone = (pictures.shares[:, 0] == 1.0).nonzero()[:, 0]
    rows = alone[first_places(pictures.concepts[alone, 0])]
    concepts = pictures.concepts[rows, 0]
    moved = keep * bank[concepts] + (1 - keep) * pictures.embeddings[rows].detach()
    return bank.index_copy(0, concepts, functional.normalize(moved, dim=1))
