"""The loss: every picture against every concept, every text against every concept.

Knows embeddings only. A batch is far smaller than the list of concepts, so the rows that are not in the batch
come from a bank of remembered embeddings: the softmax has all concepts as negatives at every step.
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


def pictures_to_texts(pictures: Pictures, texts: Texts, bank: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over all concepts; `bank` float32 [num_concepts, d] stands in where no text is fresh."""
    rows = bank.index_copy(0, texts.concepts, texts.embeddings)
    logits = scale * pictures.embeddings @ rows.T
    # "face" was drawn as the text of one face: other faces in the batch are not its opposite.
    true_of = texts.owned[:, pictures.concepts[:, 0]] | texts.owned[:, pictures.concepts[:, 1]]
    own = (texts.concepts[:, None, None] == pictures.concepts[None]).any(dim=2)
    veto = torch.zeros_like(logits, dtype=torch.bool)
    veto[:, texts.concepts] = (true_of & ~own).T
    chances = functional.log_softmax(logits.masked_fill(veto, _VETOED), dim=1)
    return -(chances.gather(1, pictures.concepts) * pictures.shares).sum(dim=1).mean()


def texts_to_pictures(texts: Texts, pictures: Pictures, bank: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each text over one picture per concept; all concepts that own the text share it."""
    single = single_object(pictures)
    fresh = pictures.embeddings[single]
    rows = bank.index_copy(0, pictures.concepts[single, 0], fresh)
    chances = functional.log_softmax(scale * texts.embeddings @ rows.T, dim=1)
    target = texts.owned.float()
    target = target / target.sum(dim=1, keepdim=True)
    return -(target * chances).sum(dim=1).mean()


def single_object(pictures: Pictures) -> torch.Tensor:
    """int64: the first picture of each concept that shows nothing else."""
    alone = (pictures.shares[:, 0] == 1.0).nonzero()[:, 0]
    return alone[first_places(pictures.concepts[alone, 0])]


def first_places(values: torch.Tensor) -> torch.Tensor:
    """int64: where each distinct value stands for the first time, in order."""
    same = values[:, None] == values[None]
    return (same.float().argmax(dim=1) == torch.arange(len(values))).nonzero()[:, 0]


def remember(bank: torch.Tensor, pictures: Pictures, keep: float) -> None:
    """Moves the bank's rows towards this batch's pictures, in place."""
    rows = single_object(pictures)
    concepts = pictures.concepts[rows, 0]
    moved = keep * bank[concepts] + (1 - keep) * pictures.embeddings[rows].detach()
    bank[concepts] = functional.normalize(moved, dim=1)
