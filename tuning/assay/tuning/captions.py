"""What a scene is called: phrases of a concept and the sentences they stand in, in English and Chinese.

Knows names, keywords, categories and templates. Does not know pixels, tokens or losses. A phrase may belong to
many concepts ("face"); `owners` says to which, so that none of them is taught to be its opposite.
"""

from dataclasses import dataclass

import torch

from assay.tuning.concepts import Concept

NOTHING = "an empty background"
_NOTHING_PHRASES = {
    "en": (NOTHING, "a plain colour", "an abstract pattern", "a blurry background", "nothing", "a texture"),
    "zh": ("空白背景", "纯色背景", "抽象图案", "模糊的背景"),
}

# Names weigh most: they are what the encoder is tested by. A keyword shared by many concepts says little.
_WEIGHT_FIRST_NAME, _WEIGHT_OTHER_NAME, _WEIGHT_KEYWORDS, _WEIGHT_CATEGORIES = 0.40, 0.08, 0.16, 0.04
_WEIGHT_CHINESE_NAME, _WEIGHT_CHINESE_KEYWORDS = 0.20, 0.12

# Each sentence is drawn with the same chance; the bare phrase stands several times on purpose.
TEMPLATES = {
    "en": (
        *("{}",) * 8,
        "a photo of {a}", "a picture of {a}", "an image of {a}", "an emoji of {a}", "a drawing of {a}",
        "a photo of {}", "a picture of {}", "an emoji of {}", "{a}", "{a}", "{} icon", "a {} sticker",
        "a close-up of {a}", "there is {a}", "{a} on a table", "{a} on a plain background",
        "a photo with {a} in it", "an illustration of {a}", "a screenshot showing {a}",
    ),
    "zh": (
        *("{}",) * 8,
        "一张{}的图片", "{}的照片", "一个{}", "{}图标", "图中有{}", "{}的图画", "一张{}的照片", "{}表情",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Caption:
    phrase: int  # row of CaptionBook.owners
    text: str


def with_article(phrase: str) -> str:
    return f"{'an' if phrase[:1] in 'aeiou' else 'a'} {phrase}"


class CaptionBook:
    """The phrases of all concepts, and one more "concept" at the end: a scene with nothing in it."""

    def __init__(self, concepts: list[Concept]) -> None:
        self.nothing = len(concepts)
        self.phrases: list[str] = []
        self.languages: list[str] = []
        self._rows: dict[str, int] = {}
        weighted = [self._weigh(concept) for concept in concepts]
        weighted.append([(self._row(phrase, language), 1.0) for language, phrase in _nothing()])
        self.owners = torch.zeros(len(self.phrases), len(weighted), dtype=torch.bool)
        for concept_row, entries in enumerate(weighted):
            self.owners[[row for row, _ in entries], concept_row] = True
        self._fill_table(weighted)
        self.names = {"en": [c.name for c in concepts] + [NOTHING]}
        chinese = [(c.names["zh"] or c.names["en"])[0] for c in concepts]
        self.names["zh"] = [*chinese, _NOTHING_PHRASES["zh"][0]]

    def sample(self, concepts: torch.Tensor, generator: torch.Generator) -> list[Caption]:
        """One caption for each entry of `concepts` (int64 [n])."""
        picked = torch.multinomial(self._weights[concepts], 1, generator=generator)[:, 0]
        rows = self._table[concepts, picked].tolist()
        chances = torch.rand(len(rows), generator=generator).tolist()
        return [self._caption(row, chance) for row, chance in zip(rows, chances, strict=True)]

    def sentence(self, phrase: str, language: str, chance: float) -> str:
        """`chance` in [0, 1) picks the template."""
        templates = TEMPLATES[language]
        return templates[int(chance * len(templates))].format(phrase, a=with_article(phrase))

    def _caption(self, row: int, chance: float) -> Caption:
        phrase = self.phrases[row]
        if self.owners[row, self.nothing]:
            return Caption(row, phrase)
        return Caption(row, self.sentence(phrase, self.languages[row], chance))

    def _weigh(self, concept: Concept) -> list[tuple[int, float]]:
        first, others = concept.names["en"][:1], concept.names["en"][1:]
        categories = (concept.category, concept.subcategory.replace("-", " "))
        groups = (
            ("en", first, _WEIGHT_FIRST_NAME),
            ("en", others, _WEIGHT_OTHER_NAME),
            ("en", concept.keywords["en"], _WEIGHT_KEYWORDS),
            ("en", categories, _WEIGHT_CATEGORIES),
            ("zh", concept.names["zh"], _WEIGHT_CHINESE_NAME),
            ("zh", concept.keywords["zh"], _WEIGHT_CHINESE_KEYWORDS),
        )
        return [
            (self._row(phrase, language), weight / len(phrases))
            for language, phrases, weight in groups
            for phrase in phrases
        ]

    def _row(self, phrase: str, language: str) -> int:
        if phrase not in self._rows:
            self._rows[phrase] = len(self.phrases)
            self.phrases.append(phrase)
            self.languages.append(language)
        return self._rows[phrase]

    def _fill_table(self, weighted: list[list[tuple[int, float]]]) -> None:
        """Pads the ragged lists; a padded place has weight zero."""
        width = max(len(entries) for entries in weighted)
        self._table = torch.zeros(len(weighted), width, dtype=torch.int64)
        self._weights = torch.zeros(len(weighted), width)
        num_owners = self.owners.sum(dim=1).sqrt()
        for concept_row, entries in enumerate(weighted):
            rows = torch.tensor([row for row, _ in entries])
            self._table[concept_row, : len(entries)] = rows
            self._weights[concept_row, : len(entries)] = torch.tensor([w for _, w in entries]) / num_owners[rows]


def _nothing() -> list[tuple[str, str]]:
    return [(language, phrase) for language, phrases in _NOTHING_PHRASES.items() for phrase in phrases]
