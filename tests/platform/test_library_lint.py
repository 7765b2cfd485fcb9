"""Every rule of the words: one planted defect each, found on its line and alone; nothing in a clean library."""

from collections.abc import Sequence

import pytest

from assay.platform.finding import RULES, Finding
from assay.platform.library import SemanticLibrary
from assay.platform.library_lint import lint_against, lint_words
from assay.platform.library_text import LibraryText, broken
from assay.platform.release import bundled_release
from assay.platform.tokens import RoughTokens
from tests.platform.clean_library import CLEAN

LONG = "a pistol " + "in the hand of a masked man on a crowded street " * 5
DEFECTS = {
    # name: (what is written, what is planted instead, the rule, the subject)
    "broken": ("name: clean", "nane: clean", "broken", ""),
    "a cycle": ("description: Things made to wound", "parent: firearms", "broken", ""),
    "mixed languages": ("en: [a rifle]", "en: [a rifle, 步枪]", "broken", ""),
    "too long": ("[a pistol, a revolver]", f"[{LONG}, a revolver]", "too-long", "pistol"),
    "placeholder": ("en: [a rifle]", 'en: ["a photo of {}"]', "placeholder", "rifle"),
    "negation": ("en: [a rifle]", "en: [a hunter without a rifle]", "negation", "rifle"),
    "negation in a counter-prompt": ("a hair dryer,", "a hand that isn't armed,", "negation", "firearms"),
    "negation in Chinese": ("zh: [步枪]", "zh: [没有步枪的人]", "negation", "rifle"),
    "shared prompt": ("en: [a crossbow]", "en: [a crossbow, A  Pistol]", "shared-prompt", "pistol"),
    "prompt in the background": ("en: [a glass of beer]", "en: [a glass of beer, a tree]", "background-prompt", "beer"),
    "family quarrel": ("[a toy, a tool, a broom]", "[a toy, a tool, a rifle]", "family-quarrel", "rifle"),
    "few counter-prompts": ("[a cup of tea, a glass of milk, ", "[", "few-counter-prompts", "alcohol"),
    "gap in a concept": ("[a glass of beer], zh: [一杯啤酒]", "[a glass of beer]", "language-gap", "beer"),
    "gap in counter-prompts": (", zh: [一杯茶, 一杯牛奶, 一瓶水]", "", "language-gap", "alcohol"),
    "gap in the background": (", zh: [一棵树, 云, 街道]", "", "language-gap", ""),
    "untranslated": ("zh: [步枪]", "zh: [rifle]", "untranslated", "rifle"),
    "homonym": ("en: [a glass of beer]", "en: [a glass of beer, two shots]", "homonym", "beer"),
    "homonym in a counter-prompt": ("a broom]", "a bat]", "homonym", "weapons"),
    "orphan": ("        parent: weapons", "        parent: tobacco", "orphan", "firearms"),
    "unscored": ("cigarette: {", "cigarette: {status: active, ", "unscored", "cigarette"),
    "retired words": ("en: [a rifle]", "en: [a rifle, a musket]", "retired-words", "rifle"),
    "retired without a date": ("date: 2026-01-01, ", "", "retired-undated", "musket"),
    "draft without an owner": ("        owner: Mei\n", "", "draft-unowned", "tobacco"),
    "no description": ("        description: Guns\n", "", "no-description", "firearms"),
    "no crosswalk": ("        crosswalk: {rekognition: [Alcohol]}\n", "", "no-crosswalk", "alcohol"),
    "unknown crosswalk": ("{rekognition: [Alcohol]}", "{rekognition: [Alcool]}", "unknown-crosswalk", "alcohol"),
    "evidence leak": ("wound\n        no_evidence: true", "wound", "evidence-leak", "firearms"),
    "empty category": ("  substances:\n", "  empty: {labels: {}}\n  substances:\n", "empty-category", "empty"),
}


def lint(source: str) -> list[Finding]:
    return broken(source) or list(lint_words(LibraryText.read(source)))


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_found_alone_and_on_its_line(name: str) -> None:
    written, planted, rule, subject = DEFECTS[name]
    assert CLEAN.count(written) == 1
    text = CLEAN.replace(written, planted)
    found = lint(text)
    assert {(one.rule, one.subject) for one in found} == {(rule, subject)}
    pairs = zip(CLEAN.split("\n"), text.split("\n"), strict=False)
    first = next(line for line, (before, after) in enumerate(pairs, 1) if before != after)
    # An omission is told where its owner begins, a doubled phrase where it is said the second time.
    assert name in ELSEWHERE or min(one.line for one in found) == first
    told = RULES[rule]
    assert all((one.why, one.fix, one.severity) == (told.why, told.fix, told.severity) for one in found)


ELSEWHERE = {
    *("shared prompt", "family quarrel", "retired without a date", "draft without an owner", "no description"),
    *("no crosswalk", "evidence leak", "broken", "a cycle"),
}


def test_the_clean_library_is_clean() -> None:
    assert lint(CLEAN) == []


@pytest.mark.parametrize("name", ["starter", "production"])
def test_the_bundled_libraries_are_clean(name: str) -> None:
    path = bundled_release().parent / name / "library.yaml"
    assert list(lint_words(LibraryText.read(path))) == []


def test_names_that_negate_are_no_negation() -> None:
    text = CLEAN.replace("a hair dryer,", "a no entry sign,").replace("吹风机", "不锈钢锅")
    assert lint(text) == []


def test_the_encoders_own_count_wins() -> None:
    class Short(RoughTokens):
        context_length = 5

    text = LibraryText.read(CLEAN)
    found = [one.subject for one in lint_words(text, Short()) if one.rule == "too-long"]
    assert "pistol" in found
    assert len(found) > len([one for one in lint_words(text) if one.rule == "too-long"])


def test_what_is_gone_is_told() -> None:
    older = SemanticLibrary.load(CLEAN.replace("rifle: {", "carbine: {"))
    found: Sequence[Finding] = list(lint_against(LibraryText.read(CLEAN), older))
    assert [(one.rule, one.what) for one in found] == [("vanished", "concept 'carbine' of the older snapshot is gone")]
    assert list(lint_against(LibraryText.read(CLEAN), SemanticLibrary.load(CLEAN))) == []
