import json
from pathlib import Path

import pytest

from assay.tuning.concepts import bare_code, read_concepts

ROW = {"category": "Objects", "subcategory": "tool"}
ROWS = [
    {"unified": "1F52B", "name": "PISTOL", "short_names": ["gun"], **ROW},
    {"unified": "2694-FE0F", "name": "CROSSED SWORDS", "short_names": ["crossed_swords"], **ROW},
    {"unified": "1F1EA-1F1EC", "name": "Egypt Flag", "short_names": ["flag-eg"], **ROW}
    | {"subcategory": "country-flag"},
    {"unified": "1F3C3-200D-27A1-FE0F", "name": "PERSON RUNNING FACING RIGHT", "short_names": ["r"], **ROW},
]
ENGLISH = """<ldml><annotations>
<annotation cp="🔫">gun | handgun | weapon</annotation><annotation cp="🔫" type="tts">water pistol</annotation>
</annotations></ldml>"""
CHINESE = '<ldml><annotations><annotation cp="🔫" type="tts">水枪</annotation></annotations></ldml>'


@pytest.fixture
def cldr(tmp_path: Path) -> Path:
    for folder in ("annotations", "annotationsDerived"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "en.xml").write_text(ENGLISH, encoding="utf-8")
        (tmp_path / folder / "zh.xml").write_text(CHINESE, encoding="utf-8")
    (tmp_path / "emoji.json").write_text(json.dumps(ROWS), encoding="utf-8")
    return tmp_path


def test_names_and_keywords_in_both_languages(cldr: Path) -> None:
    pistol = next(concept for concept in read_concepts(cldr, cldr) if concept.code == "1f52b")
    assert pistol.name == "water pistol"
    assert pistol.names["en"] == ("water pistol", "pistol", "gun")
    assert pistol.names["zh"] == ("水枪",)
    assert pistol.keywords["en"] == ("handgun", "weapon"), "a keyword that is a name is a name"


def test_flags_and_mirrored_copies_are_left_out(cldr: Path) -> None:
    assert [concept.code for concept in read_concepts(cldr, cldr)] == ["1f52b", "2694"]


def test_a_missing_cldr_says_what_to_install(cldr: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="apt-get install unicode-cldr-core"):
        read_concepts(cldr, tmp_path / "nowhere")


def test_bare_code() -> None:
    assert bare_code("2694-FE0F") == "2694"
