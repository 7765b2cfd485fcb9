from pathlib import Path

import pytest
from pydantic import BaseModel

from assay.platform.document import Document, did_you_mean
from assay.platform.errors import LibraryError, PolicyError


class Inner(BaseModel, extra="forbid"):
    colour: str
    count: int = 0


class Outer(BaseModel, extra="forbid"):
    things: dict[str, Inner] = {}


def test_values_and_lines() -> None:
    document = Document.read("no: no\nwhen: 2026-11-22\nratio: 0.5\nflag: true\nlist:\n  - a\n  - 12\n", LibraryError)
    assert document.value == {"no": "no", "when": "2026-11-22", "ratio": 0.5, "flag": True, "list": ["a", 12]}
    assert document.line(("list", 1)) == 7
    assert document.line(("list", 9, "deeper")) == 5
    assert document.line(("absent",)) == 1


def test_every_problem_has_its_line() -> None:
    document = Document.read("things:\n  a:\n    color: red\n  b:\n    colour: blue\n    count: many\n", LibraryError)
    outer, problems = document.parse(Outer)
    assert outer is None
    assert [(one.line, one.text) for one in sorted(problems)] == [
        (2, "things.a needs 'colour'"),
        (3, "unknown key 'color' in things.a; did you mean 'colour'?"),
        (
            6,
            "things.b.count: input should be a valid integer, unable to parse string as an integer, not 'many'",
        ),
    ]


def test_doubled_keys_and_aliases_are_problems() -> None:
    document = Document.read("a: &x [1]\nb: *x\na: 2\n", LibraryError)
    assert [(one.line, one.text) for one in document.problems] == [
        (1, "an alias (*name) is used; write the value where it belongs"),
        (3, "key 'a' is said twice; first on line 1"),
    ]
    assert document.value == {"a": [1], "b": None}


def test_an_alias_to_itself_ends() -> None:
    assert Document.read("a: &x\n  b: *x\n", LibraryError).problems


def test_syntax_error_names_the_line() -> None:
    with pytest.raises(PolicyError) as caught:
        Document.read("a: 1\nb: [1, 2\nc: 3\n", PolicyError)
    assert caught.value.where == "<text>:3"


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(LibraryError, match="is not YAML"):
        Document.read("[" * 5000 + "\n", LibraryError)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"absent\.yaml cannot be read"):
        Document.read(tmp_path / "absent.yaml", LibraryError)
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(LibraryError) as caught:
        Document.read(path, LibraryError)
    assert caught.value.where == f"{path}:2"


def test_an_empty_document_is_an_empty_mapping() -> None:
    assert Document.read("# nothing\n", LibraryError).value == {}


def test_did_you_mean() -> None:
    assert did_you_mean("promts", ["prompts", "parent"]) == "; did you mean 'prompts'?"
    assert did_you_mean("zebra", ["prompts"]) == ""
