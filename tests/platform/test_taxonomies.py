"""The production library covers what it says it covers; the lists here are written down a second time on purpose."""

import pytest

from assay.platform.library import Crosswalk, SemanticLibrary, Status
from assay.platform.release import bundled_release
from assay.platform.taxonomies import TAXONOMIES

REKOGNITION = {
    "Explicit": ["Explicit Nudity", "Explicit Sexual Activity", "Sex Toys"],
    "Non-Explicit Nudity of Intimate parts and Kissing": [
        "Non-Explicit Nudity",
        "Obstructed Intimate Parts",
        "Kissing on the Lips",
    ],
    "Swimwear or Underwear": ["Female Swimwear or Underwear", "Male Swimwear or Underwear"],
    "Violence": ["Weapons", "Graphic Violence"],
    "Visually Disturbing": ["Death and Emaciation", "Crashes"],
    "Drugs & Tobacco": ["Products", "Drugs & Tobacco Paraphernalia & Use"],
    "Alcohol": ["Alcohol Use", "Alcoholic Beverages"],
    "Rude Gestures": ["Middle Finger"],
    "Gambling": [],
    "Hate Symbols": ["Nazi Party", "White Supremacy", "Extremist"],
}
"""Moderation model 7, levels 1 and 2."""
UNSAFEBENCH = {
    *(
        "Hate",
        "Harassment",
        "Violence",
        "Self-harm",
        "Sexual",
        "Shocking",
        "Illegal activity",
        "Deception",
        "Political",
    ),
    *("Public and personal health", "Spam"),
}
AZURE = {"Hate", "SelfHarm", "Sexual", "Violence"}
LLAVAGUARD = 9
NOT_OURS = {"sexual/minors"}
"""Assay classifies no child sexual abuse material: hash matching does."""

LIBRARY = SemanticLibrary.load(bundled_release().parent / "production" / "library.yaml")


def covered(taxonomy: str) -> set[str]:
    return {name for label in LIBRARY.labels.values() for name in getattr(label.crosswalk, taxonomy)}


def test_rekognition_levels_1_and_2_have_a_label_each_and_level_3_a_name() -> None:
    by_name: dict[str, list[str]] = {}
    for key, label in LIBRARY.labels.items():
        # The first name is the label's own counterpart; further ones are told apart by its concepts.
        for name in label.crosswalk.rekognition[:1]:
            by_name.setdefault(name, []).append(key)
    for top, below in REKOGNITION.items():
        (parent,) = by_name[top]
        for name in below:
            (child,) = by_name[name]
            assert LIBRARY.labels[child].parent == parent, name
    assert covered("rekognition") == set(TAXONOMIES["rekognition"])


def test_the_other_taxonomies_are_covered() -> None:
    assert covered("unsafebench") == UNSAFEBENCH
    assert covered("azure") == AZURE
    assert len(covered("llavaguard")) == LLAVAGUARD
    assert covered("openai") == set(TAXONOMIES["openai"]) - NOT_OURS
    assert {"ANIMAL_WELFARE", "SELF_HARM", "VIOLENCE", "SCAMS_AND_FRAUD"} <= covered("dsa")


def test_a_crosswalk_has_a_field_for_each_taxonomy() -> None:
    assert set(Crosswalk.model_fields) == set(TAXONOMIES)
    assert all(len(names) == len(set(names)) for names in TAXONOMIES.values())


def test_every_concept_speaks_both_languages() -> None:
    for key, (_, concept) in LIBRARY.concepts.items():
        assert {language: 2 <= len(some) <= 5 for language, some in concept.prompts.items()} == {
            "en": True,
            "zh": True,
        }, key
    for key, label in LIBRARY.labels.items():
        assert not label.concepts or set(label.counter_prompts) == {"en", "zh"}, key


@pytest.mark.parametrize("label", ["explicit_nudity", "sexual_activity", "self_harm", "blood_gore", "death_emaciation"])
def test_pictures_of_the_worst_labels_are_never_shown(label: str) -> None:
    assert LIBRARY.labels[label].no_evidence


def test_nothing_is_said_of_minors_in_sexual_labels() -> None:
    sexual = [label for label in LIBRARY.labels.values() if "Sexual" in label.crosswalk.unsafebench]
    phrases = [
        text for label in sexual for concept in label.concepts.values() for text in concept.prompts.get("en", ())
    ]
    assert phrases
    for word in ("child", "minor", "teen", "boy", "girl", "baby", "kid"):
        assert not any(word in text for text in phrases), word


def test_no_label_is_a_draft() -> None:
    assert set(LIBRARY.statuses.values()) == {Status.ACTIVE}
