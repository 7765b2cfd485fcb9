import pytest

from assay.platform.phrases import foreign_scripts, is_untranslated, sameness, scripts_of


def test_sameness_ignores_layout_and_case() -> None:
    assert sameness("  A  Hand\tgun ") == sameness("a hand gun")
    assert sameness("cafe\u0301") == sameness("caf\u00e9")
    assert sameness("a gun") != sameness("guns")


def test_scripts() -> None:
    assert scripts_of("T恤 shirt 7!") == {"LATIN", "CJK"}
    assert scripts_of("\uff21\uff22") == {"LATIN"}
    assert scripts_of("123 !?") == set()


@pytest.mark.parametrize(
    ("language", "phrase", "foreign"),
    [
        ("en", "a handgun", ()),
        ("en", "手枪", ("CJK",)),
        ("en", "a gun 手枪", ("CJK",)),
        ("en-GB", "пистолет", ("CYRILLIC",)),
        ("zh", "手枪", ()),
        ("zh-Hant", "三K党", ()),
        ("zh", "handgun", ()),
        ("zh", "けんじゅう", ("HIRAGANA",)),
        ("ja", "拳銃とけんじゅう", ()),
        ("ru", "пистолет Glock", ()),
        ("tlh", "чпуха", ()),  # a language that is not in the list is not judged
    ],
)
def test_foreign_scripts(language: str, phrase: str, foreign: tuple[str, ...]) -> None:
    assert foreign_scripts(language, phrase) == foreign


def test_untranslated() -> None:
    assert is_untranslated("zh", "handgun")
    assert not is_untranslated("zh", "T恤")
    assert not is_untranslated("en", "handgun")
    assert not is_untranslated("zh", "911")
