"""Phrases: the words of a library, each under its language.

Knows language tags, scripts, and when two phrases are the same one. Knows no concept, no label and no model.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

ENGLISH = "en"
MAX_PHRASE = 300
"""Characters in one phrase. Text towers read far fewer tokens; a longer phrase is a mistake."""

LATIN = "LATIN"
_SCRIPTS: Mapping[str, frozenset[str]] = {
    language: frozenset(scripts.split())
    for languages, scripts in {
        "cs da de en es fi fr hu id it ms nb nl no pl pt ro sv sw tl tr vi": LATIN,
        "bg ru sr uk": "CYRILLIC",
        "ar fa ur": "ARABIC",
        "hi mr ne": "DEVANAGARI",
        "el": "GREEK",
        "he": "HEBREW",
        "ja": "CJK HIRAGANA KATAKANA",
        "ko": "CJK HANGUL",
        "th": "THAI",
        "zh": "CJK",
    }.items()
    for language in languages.split()
}
"""Scripts of common languages, by the first word of Unicode's character names. Others are not checked."""


def _language(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", text):
        raise ValueError(f"{text!r} is not a language tag such as en, zh or pt-BR")
    return text


def _phrase(text: str) -> str:
    normal = " ".join(unicodedata.normalize("NFC", text).split())
    if not normal:
        raise ValueError("an empty phrase")
    if len(normal) > MAX_PHRASE:
        raise ValueError(f"a phrase of {len(normal)} characters; at most {MAX_PHRASE}")
    return normal


def _tagged(value: object) -> object:
    if isinstance(value, str | list):
        text = "phrases without a language tag: write {en: [a phrase, another]}, each under its language"
        raise ValueError(text)  # noqa: TRY004  # only a ValueError becomes a problem with a line
    return value


Language = Annotated[str, AfterValidator(_language)]
Phrase = Annotated[str, AfterValidator(_phrase)]
Phrases = Annotated[dict[Language, tuple[Phrase, ...]], BeforeValidator(_tagged)]
"""Phrases by language. Their order carries no meaning."""


def sameness(phrase: str) -> str:
    """What two phrases have in common when they are the same words: no layout, no case."""
    return " ".join(unicodedata.normalize("NFC", phrase).casefold().split())


def scripts_of(phrase: str) -> set[str]:
    """The scripts of a phrase's letters, as Unicode names them: LATIN, CJK, CYRILLIC, …"""
    names = (unicodedata.name(one, "") for one in phrase if one.isalpha())
    return {name.removeprefix("FULLWIDTH ").split(" ")[0].split("-")[0] for name in names if name}


def foreign_scripts(language: str, phrase: str) -> tuple[str, ...]:
    """Scripts in a phrase that its language is not written in, sorted. Latin is at home everywhere, as in brands."""
    own = _SCRIPTS.get(language.split("-")[0])
    if own is None:
        return ()
    return tuple(sorted(scripts_of(phrase) - own - {LATIN}))


def is_untranslated(language: str, phrase: str) -> bool:
    """Whether a phrase of a language with another script has Latin letters only: a name, or not translated yet."""
    own = _SCRIPTS.get(language.split("-")[0])
    return own is not None and LATIN not in own and scripts_of(phrase) == {LATIN}
