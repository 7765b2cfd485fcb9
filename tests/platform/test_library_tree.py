import pytest

from assay.platform.errors import LibraryError
from assay.platform.library import SemanticLibrary
from tests.platform.test_library import SMALL


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            ("prompts: {en: [a bow]}", "prompts: [a bow]"),
            "line 10: categories.violence.labels.weapons.concepts.bow.prompts: "
            "phrases without a language tag: write {en: [a phrase, another]}, each under its language",
        ),
        (
            ("en: [a pistol, a gun]", "en: [a pistol, 枪]"),
            "line 16: '枪' is tagged 'en' and has CJK letters: mixed languages without tags; "
            "put each phrase under its own language in the prompts of concept 'pistol'",
        ),
        (
            ("zh: [树]", "zh: [дерево]"),
            "line 3: 'дерево' is tagged 'zh' and has CYRILLIC letters: mixed languages without tags; "
            "put each phrase under its own language in the background",
        ),
        (
            ("counter_prompts: {en: [a water pistol]}", "counter_prompts: [a water pistol]"),
            "line 8: categories.violence.labels.weapons.counter_prompts: "
            "phrases without a language tag: write {en: [a phrase, another]}, each under its language",
        ),
        (
            ("counter_prompts: {en: [a toy]}", "exemplars: {positive: [s3://b/1, s3://b/2], negative: [s3://b/2]}"),
            "line 17: 's3://b/2' is both a positive and a negative exemplar of concept 'pistol'",
        ),
    ],
)
def test_one_problem_in_one_line(change: tuple[str, str], problem: str) -> None:
    with pytest.raises(LibraryError) as caught:
        SemanticLibrary.load(SMALL.replace(*change))
    assert caught.value.why == problem


def test_latin_in_another_script_is_allowed() -> None:
    SemanticLibrary.load(SMALL.replace("zh: [树]", "zh: [IKEA]"))
