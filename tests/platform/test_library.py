import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.errors import LibraryError
from assay.platform.library import SemanticLibrary
from assay.platform.release import bundled_release

SMALL = """\
assay_library: 1
name: small
background: {en: [a tree, a cloud], zh: [树]}
categories:
  violence:
    labels:
      weapons:
        counter_prompts: {en: [a water pistol]}
        concepts:
          bow: {prompts: {en: [a bow]}}
      firearms:
        parent: weapons
        counter_prompts: {en: [a hair dryer]}
        concepts:
          pistol:
            prompts: {en: [a pistol, a gun], zh: [手枪]}
            counter_prompts: {en: [a toy]}
"""

BROKEN = """\
assay_library: 1
name: broken
background: {zh: [树]}
categories:
  violence:
    labels:
      weapons:
        parent: blades
        counter_prompts: {en: [a toy, " A  toy"]}
        concepts:
          pistol:
            promts: {en: [a pistol]}
      blades:
        parent: weapons
        concepts:
          knife: {prompts: {en: [a knife, ""]}}
          knife: {prompts: {en: [a dagger]}}
      explosives:
        parent: weapon
        counter_prompts: {en: [a balloon]}
        concepts:
          pistol:
            prompts: {zh: [炸弹], en: [a bomb, A Balloon]}
      empty: {counter_prompts: {en: [a box]}}
"""


def test_tree() -> None:
    library = SemanticLibrary.load(SMALL)
    assert list(library.labels) == ["firearms", "weapons"]
    assert {key: label for key, (label, _) in library.concepts.items()} == {"bow": "weapons", "pistol": "firearms"}
    assert library.subtrees == {"firearms": ("pistol",), "weapons": ("bow", "pistol")}


def test_all_problems_at_once_with_lines() -> None:
    with pytest.raises(LibraryError) as caught:
        SemanticLibrary.load(BROKEN)
    assert str(caught.value) == (
        "<text> does not hold together: 12 problems\n"
        "  where: <text>:3\n"
        "  why: line 3: background lack English (en)\n"
        "       line 9: ' A  toy' is said twice in the counter-prompts of label 'weapons'\n"
        "       line 11: categories.violence.labels.weapons.concepts.pistol needs 'prompts'\n"
        "       line 12: unknown key 'promts' in categories.violence.labels.weapons.concepts.pistol;"
        " did you mean 'prompts'?\n"
        "       line 13: label 'blades' needs counter_prompts: the harmless things it could be mistaken for\n"
        "       line 14: labels are each other's parents: blades -> weapons -> blades\n"
        "       line 16: categories.violence.labels.blades.concepts.knife.prompts.en.1: an empty phrase\n"
        "       line 17: key 'knife' is said twice; first on line 16\n"
        "       line 19: label 'explosives' has an unknown parent 'weapon'; did you mean 'weapons'?\n"
        "       line 22: id 'pistol' is used twice; first on line 11\n"
        "       line 23: 'A Balloon' is both a prompt and a counter-prompt of concept 'pistol'\n"
        "       line 24: label 'empty' has no active concepts and no active child labels: nothing could score for it\n"
        "  fix: mend the lines named, then load the library again"
    )


def test_drafts_and_retired_are_not_scored() -> None:
    text = SMALL.replace("parent: weapons", "parent: weapons\n        status: draft")
    library = SemanticLibrary.load(text)
    assert list(library.labels) == ["weapons"]
    assert library.subtrees == {"weapons": ("bow",)}


def test_a_label_with_only_drafts_below_is_an_error() -> None:
    with pytest.raises(LibraryError) as caught:
        SemanticLibrary.load(SMALL.replace("pistol:\n", "pistol:\n            status: draft\n"))
    assert "line 11: label 'firearms' has no active concepts and no active child labels" in caught.value.why


def test_load_from_a_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BROKEN)
    with pytest.raises(LibraryError, match=r"mine\.yaml does not hold together"):
        SemanticLibrary.load(path)


@settings(derandomize=True, max_examples=30)
@given(st.randoms(use_true_random=False), st.booleans(), st.integers(2, 8))
def test_digest_ignores_layout_and_order(random: Any, flow: bool, indent: int) -> None:
    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            items = [(key, shuffled(item)) for key, item in value.items()]
            random.shuffle(items)
            return dict(items)
        return random.sample(value, len(value)) if isinstance(value, list) else value

    plain = yaml.safe_load(SMALL)
    text = "# a comment\n" + yaml.safe_dump(
        shuffled(plain), sort_keys=False, default_flow_style=flow, indent=indent, allow_unicode=True
    )
    assert SemanticLibrary.load(text + "\n").digest == SemanticLibrary.load(SMALL).digest


def test_digest_is_pinned() -> None:
    # A change here means that every stored release's library digest changes: raise `assay_library` to 2.
    assert SemanticLibrary.load(SMALL).digest[:12] == "b23559642891"


@pytest.mark.parametrize(
    "change", [("a pistol", "a pistole"), ("parent: weapons", "parent: null"), ("zh: [树]", "zh: [林]")]
)
def test_digest_sees_content(change: tuple[str, str]) -> None:
    assert SemanticLibrary.load(SMALL.replace(*change)).digest != SemanticLibrary.load(SMALL).digest


def test_canonical_form_loads_again() -> None:
    library = SemanticLibrary.load(SMALL)
    assert SemanticLibrary.model_validate(json.loads(library.canonical())).digest == library.digest


EXEMPLARS = SMALL.replace("bow: {", "bow: {exemplars: [s3://b/2, s3://b/1], ")


def test_exemplars_of_both_kinds() -> None:
    both = EXEMPLARS.replace("[s3://b/2, s3://b/1]", "{positive: [s3://b/1], negative: [s3://b/3]}")
    exemplars = SemanticLibrary.load(both).concepts["bow"][1].exemplars
    assert (exemplars.positive, exemplars.negative) == (("s3://b/1",), ("s3://b/3",))


def test_a_plain_list_of_exemplars_is_positive_and_keeps_its_digest() -> None:
    plain = SemanticLibrary.load(EXEMPLARS)
    assert plain.concepts["bow"][1].exemplars.positive == ("s3://b/2", "s3://b/1")
    assert plain.digest[:12] == "fabf59961950"  # as it was before exemplars had negatives
    said = SemanticLibrary.load(EXEMPLARS.replace("[s3://b/2, s3://b/1]", "{positive: [s3://b/1, s3://b/2]}"))
    assert said.digest == plain.digest
    negative = EXEMPLARS.replace("[s3://b/2, s3://b/1]", "{positive: [s3://b/1, s3://b/2], negative: [s3://b/3]}")
    assert SemanticLibrary.load(negative).digest != plain.digest


@pytest.mark.parametrize("field", ["owner: Mei", "provenance: a case", "date: 2026-11-23"])
def test_what_came_later_counts_once_it_is_said(field: str) -> None:
    said = SemanticLibrary.load(SMALL.replace("bow: {", f"bow: {{{field}, "))
    assert said.digest != SemanticLibrary.load(SMALL).digest
    assert SemanticLibrary.model_validate(json.loads(said.canonical())).digest == said.digest


def test_statuses_know_retired_labels_too() -> None:
    library = SemanticLibrary.load(SMALL.replace("parent: weapons", "parent: weapons\n        status: retired"))
    assert library.statuses == {"firearms": "retired", "weapons": "active"}


@pytest.mark.parametrize("name", ["starter", "production"])
def test_translation_changes_nothing_in_structure(name: str) -> None:
    library = SemanticLibrary.load(bundled_release().parent / name / "library.yaml")
    raw = json.loads(library.canonical())

    def translated(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        spoken = {key: translated(item) for key, item in value.items()}
        if "zh" in spoken:
            spoken |= {"ja": [f"{text}だ" for text in spoken.pop("zh")], "de": [f"{text}e" for text in spoken["en"]]}
        return spoken

    other = SemanticLibrary.load(json.dumps(translated(raw), ensure_ascii=False) + "\n")
    assert set(other.background) == {"en", "ja", "de"}
    assert (list(other.labels), list(other.concepts)) == (list(library.labels), list(library.concepts))
    assert (other.subtrees, other.statuses) == (library.subtrees, library.statuses)
    assert {key: owner for key, (owner, _) in other.concepts.items()} == {
        key: owner for key, (owner, _) in library.concepts.items()
    }


def test_starter_library() -> None:
    library = SemanticLibrary.load(bundled_release() / "library.yaml")
    # The bundled release, and every store it judged, names this snapshot.
    assert library.digest == "4a57c2f2ff67cfa7af5bd2e2fcd4e1bdc09deb794d1f1a751215c90a0ff60ad2"
    assert len(library.labels) >= 10
    assert sum(any(names for _, names in label.crosswalk) for label in library.labels.values()) >= 10
    assert all(set(concept.prompts) == {"en", "zh"} for _, concept in library.concepts.values())
    assert 60 <= len(library.background["en"]) <= 300
