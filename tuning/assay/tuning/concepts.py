"""What the encoder's concepts are: one emoji each, with its names and keywords in English and Chinese.

Knows the files of npm `emoji-datasource` and of CLDR's annotations. Does not know how a concept is drawn.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Concept:
    """`names[language]` is never empty for English; its first entry is the name the concept is tested by."""

    code: str  # code points in lower-case hex, joined by "-", without the presentation selector fe0f
    names: dict[str, tuple[str, ...]]
    keywords: dict[str, tuple[str, ...]]
    category: str
    subcategory: str

    @property
    def name(self) -> str:
        return self.names["en"][0]


def bare_code(code: str) -> str:
    """The sources disagree on where fe0f stands, and mean the same picture."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def read_concepts(datasource: Path, cldr: Path) -> list[Concept]:
    """All emoji but skin tones (components), country flags (no art in most styles) and mirrored copies."""
    rows: list[dict[str, Any]] = json.loads((datasource / "emoji.json").read_text(encoding="utf-8"))
    annotations = {language: _read_annotations(cldr, language) for language in LANGUAGES}
    kept = [row for row in rows if not _is_left_out(row)]
    concepts = [_concept(row, annotations) for row in sorted(kept, key=lambda row: str(row["unified"]))]
    return _without_duplicates(concepts)


def _is_left_out(row: dict[str, Any]) -> bool:
    mirrored = str(row["unified"]).endswith("27A1-FE0F") and "FACING RIGHT" in str(row["name"])
    flag = row["subcategory"] in ("country-flag", "subdivision-flag")
    return flag or mirrored or row["category"] == "Component"


def _concept(row: dict[str, Any], annotations: dict[str, dict[str, dict[str, str]]]) -> Concept:
    code = bare_code(str(row["unified"]))
    spoken = {language: annotations[language].get(code, {}) for language in LANGUAGES}
    short = [str(name).replace("_", " ").replace("-", " ") for name in row["short_names"]]
    english = [spoken["en"].get("name", ""), str(row["name"]).lower(), *short]
    names = {"en": _unique(english), "zh": _unique([spoken["zh"].get("name", "")])}
    words = {language: _unique(spoken[language].get("keywords", "").split("|")) for language in LANGUAGES}
    keywords = {language: tuple(w for w in words[language] if w not in names[language]) for language in LANGUAGES}
    return Concept(code, names, keywords, str(row["category"]).lower(), str(row["subcategory"]))


def _unique(texts: list[str]) -> tuple[str, ...]:
    cleaned = (" ".join(text.lower().replace(":", " ").replace("“", "").replace("”", "").split()) for text in texts)
    return tuple(dict.fromkeys(text for text in cleaned if text))


def _without_duplicates(concepts: list[Concept]) -> list[Concept]:
    """Two concepts of one name could not be told apart by a caption."""
    by_name: dict[str, Concept] = {}
    for concept in concepts:
        by_name.setdefault(concept.name, concept)
    return list(by_name.values())


def _read_annotations(cldr: Path, language: str) -> dict[str, dict[str, str]]:
    """Code -> {"name": …, "keywords": "a | b | c"}."""
    found: dict[str, dict[str, str]] = {}
    for folder in ("annotations", "annotationsDerived"):
        path = cldr / folder / f"{language}.xml"
        if not path.is_file():
            raise FileNotFoundError(
                f"CLDR annotations not found at {path}: the captions come from them. "
                "On Debian or Ubuntu: apt-get install unicode-cldr-core"
            )
        for node in ElementTree.parse(path).iter("annotation"):  # noqa: S314 - see the import
            code = "-".join(f"{ord(sign):04x}" for sign in node.get("cp", "") if sign != "\ufe0f")
            field = "name" if node.get("type") == "tts" else "keywords"
            found.setdefault(code, {})[field] = node.text or ""
    return found
