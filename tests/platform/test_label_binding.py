"""What binds a label: its own words and those below it, and nothing of its neighbours."""

from dataclasses import replace

import pytest

from assay.platform.label_binding import ScoreSource, bind_labels, labels_below
from assay.platform.library import SemanticLibrary
from assay.platform.release import Release, bundled_release

RELEASE = Release.load(bundled_release())
SOURCE = ScoreSource("e" * 64, "fp32", RELEASE.preprocess, 1, 30.0)
TEXT = (bundled_release() / "library.yaml").read_text()
BEFORE = bind_labels(SemanticLibrary.load(TEXT), SOURCE)


def changed(text: str, source: ScoreSource = SOURCE) -> set[str]:
    assert text != TEXT or source != SOURCE
    after = bind_labels(SemanticLibrary.load(text), source)
    return {label for label in BEFORE if after.get(label) != BEFORE[label]}


def test_a_reworded_concept_unbinds_its_label_and_those_above_it() -> None:
    assert changed(TEXT.replace("en: [dagger]", "en: [dagger, stiletto]")) == {"blades", "weapons"}
    assert changed(TEXT.replace("en: [cigarette]", "en: [a cigarette]")) == {"tobacco"}


def test_a_retired_concept_does_too() -> None:
    assert changed(TEXT.replace("dagger: {", "dagger: {status: retired, ")) == {"blades", "weapons"}


def test_what_does_not_score_does_not_bind() -> None:
    assert changed(TEXT.replace("Cigarettes and smoking", "Smoking")) == set()
    assert (
        changed(TEXT.replace("dagger: {", "sabre: {status: draft, prompts: {en: [sabre]}}\n          dagger: {"))
        == set()
    )


def test_background_encoder_and_temperature_bind_all() -> None:
    assert changed(TEXT.replace("background:\n  en:\n", "background:\n  en:\n    - a blank wall of bricks\n")) == set(
        BEFORE
    )
    for source in (
        replace(SOURCE, encoder="f" * 64),
        replace(SOURCE, temperature=31.0),
        replace(SOURCE, precision="bf16"),
    ):
        assert changed(TEXT, source) == set(BEFORE)


def test_order_of_phrases_is_layout() -> None:
    assert (
        changed(TEXT.replace("en: [gun, handgun, pistol, revolver]", "en: [revolver, pistol, gun, handgun]")) == set()
    )


@pytest.mark.parametrize(
    ("label", "below"), [("weapons", {"weapons", "firearms", "blades", "explosives"}), ("money", {"money"})]
)
def test_labels_below(label: str, below: set[str]) -> None:
    assert labels_below(SemanticLibrary.load(TEXT), label) == below
