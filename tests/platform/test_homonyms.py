import pytest

from assay.platform.homonyms import decided, homonyms, undecided


@pytest.mark.parametrize(
    ("language", "phrase", "words"),
    [
        ("en", "a bat", ["bat"]),
        ("en", "two bats on a table", ["bat"]),
        ("en", "a baseball bat", []),
        ("en", "a bat with open wings", []),
        ("en", "a shot", ["shot"]),
        ("en", "a shot of tequila", []),
        ("en", "a photo of a combat scene", []),  # only whole words
        ("zh", "冰", ["冰"]),
        ("zh", "冰块", []),
        ("de", "a bat", []),
    ],
)
def test_undecided(language: str, phrase: str, words: list[str]) -> None:
    assert [one.word for one in undecided(language, phrase)] == words


def test_the_meaning_that_is_meant_comes_first() -> None:
    ((meant, other),) = decided("en", "a person swinging a baseball bat")
    assert (meant.phrase, other.phrase) == ("a wooden baseball bat", "a bat animal flying at night")
    ((meant, other),) = decided("en", "a vampire bat")
    assert meant.phrase == "a bat animal flying at night"
    assert decided("en", "a vampire with a baseball bat") == []  # both are named: nobody can tell


def test_each_meaning_decides_for_itself() -> None:
    for one in homonyms():
        for sense in one.senses:
            assert sense.deciding, one.word
            assert undecided(one.language, sense.phrase) == [], sense.phrase
