"""Texts as tokens of the encoder's own vocabulary: learned from all captions, kept in one file.

Knows captions and the vocabulary file. Does not know the model.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer

from assay.tuning.captions import TEMPLATES, CaptionBook, with_article
from assay.tuning.towers import CONTEXT_LENGTH
from assay.tuning.vocabulary import learn_merges, write_merges

_NUM_MERGES = 8_000
_PHRASE_COUNT, _SENTENCE_COUNT = 8, 4


class Words:
    def __init__(self, vocabulary: Path) -> None:
        self.vocabulary = vocabulary
        self._tokenizer = SimpleTokenizer(str(vocabulary), context_length=CONTEXT_LENGTH)
        self.vocab_size: int = self._tokenizer.vocab_size

    def tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 [len(texts), CONTEXT_LENGTH], zero where the text has ended."""
        tokens: torch.Tensor = self._tokenizer(list(texts))
        return tokens


def load_words(book: CaptionBook, photograph_names: Sequence[str], path: Path) -> Words:
    """Learns the vocabulary once; later runs read the file, so a resumed trial keeps its tokens."""
    if not path.is_file():
        aside = path.with_suffix(".aside")
        write_merges(learn_merges(_corpus(book, photograph_names), _NUM_MERGES), aside)
        aside.rename(path)
    return Words(path)


def _corpus(book: CaptionBook, photograph_names: Sequence[str]) -> Counter[str]:
    corpus: Counter[str] = Counter()
    for phrase, language in zip(book.phrases, book.languages, strict=True):
        corpus[phrase] += _PHRASE_COUNT
        # Without spaces, a sign at the end of a phrase is another token than the same sign inside a sentence.
        if language == "zh":
            corpus[TEMPLATES["zh"][8].format(phrase)] += _SENTENCE_COUNT
    corpus.update(dict.fromkeys(photograph_names, _PHRASE_COUNT))
    for templates in TEMPLATES.values():
        corpus.update({text.format("", a=with_article("")): _PHRASE_COUNT for text in templates})
    return corpus
