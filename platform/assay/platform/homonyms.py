"""Words with two meanings, one of which moderation asks about, and the words that decide between them.

Knows `data/homonyms.yaml`: a little English and less Chinese. Knows no concept and no score.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from assay.platform.document import Document
from assay.platform.errors import LibraryError
from assay.platform.phrases import ENGLISH, sameness

_FILE = Path(__file__).parent / "data" / "homonyms.yaml"


@dataclass(frozen=True, slots=True)
class Sense:
    """One meaning: a phrase that can mean nothing else, and words that decide for it."""

    phrase: str
    deciding: frozenset[str]


@dataclass(frozen=True, slots=True)
class Homonym:
    """A word and its two meanings, in one language."""

    language: str
    word: str
    senses: tuple[Sense, Sense]


def undecided(language: str, phrase: str) -> list[Homonym]:
    """The homonyms in a phrase that none of its other words decides."""
    return [one for one in _in(language, phrase) if not any(_decides(one, side, phrase) for side in one.senses)]


def decided(language: str, phrase: str) -> list[tuple[Sense, Sense]]:
    """For each homonym in a phrase that its words decide: the meaning they decide for, and the other one."""
    found = []
    for one in _in(language, phrase):
        first, second = (_decides(one, side, phrase) for side in one.senses)
        if first != second:
            found.append(one.senses if first else (one.senses[1], one.senses[0]))
    return found


@functools.cache
def homonyms() -> tuple[Homonym, ...]:
    """All that are known."""
    languages = Document.read(_FILE, LibraryError).value
    assert isinstance(languages, dict), "a file of ours"
    return tuple(
        Homonym(language, word, _senses(senses))
        for language, words in languages.items()
        for word, senses in words.items()
    )


def _senses(written: Mapping[str, list[str]]) -> tuple[Sense, Sense]:
    first, second = (Sense(phrase, frozenset(deciding)) for phrase, deciding in written.items())
    return first, second


def _in(language: str, phrase: str) -> list[Homonym]:
    return [one for one in homonyms() if one.language == language.split("-")[0] and _says(one, phrase)]


def _says(homonym: Homonym, phrase: str) -> bool:
    if homonym.language == ENGLISH:
        return homonym.word in _words(phrase)
    # Chinese has no spaces: a homonym counts where the phrase is it, or is decided by a longer word around it.
    return phrase == homonym.word or any(_decides(homonym, side, phrase) for side in homonym.senses)


def _decides(homonym: Homonym, sense: Sense, phrase: str) -> bool:
    if homonym.language == ENGLISH:
        return bool((_words(phrase) - {homonym.word}) & sense.deciding)
    return any(word in phrase for word in sense.deciding)


def _words(phrase: str) -> set[str]:
    found = re.findall(r"[a-z]+", sameness(phrase))
    return {*found, *(word.removesuffix("s") for word in found)}
