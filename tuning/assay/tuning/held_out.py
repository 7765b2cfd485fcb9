"""How well the encoder names pictures in an art style it never saw.

Knows the held-out style's test pictures and the concepts' names. Fixed by a seed: every measurement sees the
same pictures.
"""

from dataclasses import dataclass

import open_clip
import torch

from assay.tuning.art import Shelf
from assay.tuning.captions import CaptionBook
from assay.tuning.scenes import Compositor, centred
from assay.tuning.towers import IMAGE_PX, ImageWay, embed_texts
from assay.tuning.words import Words

_SEED = 20_240
_SLICE = 64


@dataclass(frozen=True)
class Accuracy:
    top1: float
    top5: float
    ranks: torch.Tensor  # int64 [num_concepts]: 0 where the right name came first


class HeldOut:
    def __init__(self, shelf: Shelf, book: CaptionBook, words: Words) -> None:
        assert len(shelf.pixels) == 1, "one style is held out"
        everything = torch.arange(shelf.num_concepts)
        painter = Compositor(shelf, torch.Generator().manual_seed(_SEED), natural=True)
        slices = torch.split(everything, _SLICE)
        self._pictures = {
            "plain": torch.cat([centred(shelf, 0, rows, IMAGE_PX) for rows in slices]).half(),
            "scenes": torch.cat([painter.alone(rows, IMAGE_PX) for rows in slices]).half(),
        }
        # The scene with nothing in it is no concept of the test.
        self._tokens = {language: words.tokens(names[:-1]) for language, names in book.names.items()}

    @torch.no_grad()
    def measure(self, model: open_clip.CLIP) -> dict[str, Accuracy]:
        """Keys: "plain-en", "scenes-en", "plain-zh", "scenes-zh"."""
        way = ImageWay(model)
        texts = {language: embed_texts(model, tokens) for language, tokens in self._tokens.items()}
        found: dict[str, Accuracy] = {}
        for kind, pictures in self._pictures.items():
            embeddings = torch.cat([way.embed(way.features(part.float())) for part in torch.split(pictures, _SLICE)])
            for language, text in texts.items():
                found[f"{kind}-{language}"] = rank(embeddings, text)
        return found


def rank(pictures: torch.Tensor, texts: torch.Tensor) -> Accuracy:
    """Row i of both belongs together; both of unit length."""
    scores = pictures @ texts.T
    own = scores.diagonal()[:, None]
    ranks = (scores > own).sum(dim=1)
    return Accuracy((ranks == 0).float().mean().item(), (ranks < 5).float().mean().item(), ranks)
