"""`assay library …` as it is typed: exit codes, JSON, pages, files."""

import json
from pathlib import Path

import pytest

from assay.jobs.cli import main
from assay.platform.library import SemanticLibrary
from tests.platform.clean_library import CLEAN

Capture = pytest.CaptureFixture[str]


def write(folder: Path, name: str, *changes: tuple[str, str]) -> str:
    text = CLEAN
    for written, planted in changes:
        assert written in text
        text = text.replace(written, planted)
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize("name", ["starter", "production"])
def test_the_bundled_libraries_pass_the_strict_lint(name: str, capsys: Capture) -> None:
    assert main(["library", "lint", name, "--strict", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["errors"], facts["warnings"], facts["notes"], facts["findings"]) == (0, 0, 0, [])


def test_warnings_fail_only_the_strict_and_errors_always(tmp_path: Path, capsys: Capture) -> None:
    warned = write(tmp_path, "warned.yaml", ("[a rifle]", "[a rifle, a hunter without a dog]"))
    assert main(["library", "lint", warned]) == 0
    page = capsys.readouterr().out
    assert f"{warned}:22: warning negation: prompt 'a hunter without a dog' says 'without'" in page
    assert "fix: say what is to be seen instead" in page
    assert "0 errors, 1 warnings, 0 notes in its words" in page
    assert main(["library", "lint", warned, "--strict"]) == 2
    broken = write(tmp_path, "broken.yaml", ("parent: weapons", "parent: weapns"), ("[a rifle]", "[a rifle, 枪]"))
    capsys.readouterr()
    assert main(["library", "lint", broken, "--json"]) == 2
    facts = json.loads(capsys.readouterr().out)
    assert [(one["rule"], one["line"]) for one in facts["findings"]] == [("broken", 16), ("broken", 22)]
    assert facts["digest"] == ""


def test_a_library_that_is_not_there_or_no_yaml(tmp_path: Path, capsys: Capture) -> None:
    assert main(["library", "lint", str(tmp_path / "nowhere.yaml")]) == 2
    assert "fix: check the path" in capsys.readouterr().err
    (tmp_path / "bomb.yaml").write_text("a: &a [x]\nb: [*a, *a\n")
    assert main(["library", "show", str(tmp_path / "bomb.yaml")]) == 2
    assert "bomb.yaml is not YAML" in capsys.readouterr().err


def test_show(capsys: Capture, tmp_path: Path) -> None:
    library = write(tmp_path, "mine.yaml")
    assert main(["library", "show", library]) == 0
    page = capsys.readouterr().out
    assert "clean" in page
    assert "3 labels, 4 concepts, en, zh" in page
    assert "musket  retired; en 1 zh 1" in page
    assert "tobacco  draft" in page
    assert main(["library", "show", library, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [(one["id"], one["parent"]) for one in facts["labels"]][:2] == [("weapons", None), ("firearms", "weapons")]
    assert facts["labels"][1]["concepts"][0]["prompts"] == {"en": 2, "zh": 1}


def test_diff(tmp_path: Path, capsys: Capture) -> None:
    old = write(tmp_path, "old.yaml")
    new = write(tmp_path, "new.yaml", ("[a rifle]", "[a carbine]"))
    assert main(["library", "diff", old, new]) == 0
    page = capsys.readouterr().out
    assert "reworded  concept  rifle  (prompts: + a carbine (en); - a rifle (en))" in page
    assert "scores change: firearms, weapons" in page
    assert main(["library", "diff", old, new, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rescored"] == ["firearms", "weapons"]
    assert main(["library", "lint", new, "--against", old, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == 0
    gone = write(tmp_path, "gone.yaml", ("rifle: {", "carbine: {"))
    assert main(["library", "lint", gone, "--against", old, "--strict", "--json"]) == 2
    assert [one["rule"] for one in json.loads(capsys.readouterr().out)["findings"]] == ["vanished"]


def test_compile_is_idempotent(tmp_path: Path, capsys: Capture) -> None:
    library, once, twice = write(tmp_path, "mine.yaml"), tmp_path / "once.json", tmp_path / "twice.json"
    assert main(["library", "compile", library, "--out", str(once), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["changed"], first["labels"], first["concepts"], first["phrases"]) == (True, 3, 4, 33)
    assert main(["library", "compile", str(once), "--out", str(twice)]) == 0
    assert once.read_bytes() == twice.read_bytes()
    assert SemanticLibrary.load(once).digest == SemanticLibrary.load(Path(library)).digest == first["digest"]
    before = once.stat().st_mtime_ns
    capsys.readouterr()
    assert main(["library", "compile", library, "--out", str(once), "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["changed"]
    assert once.stat().st_mtime_ns == before


def test_a_broken_library_is_not_compiled(tmp_path: Path) -> None:
    broken = write(tmp_path, "broken.yaml", ("parent: weapons", "parent: weapns"))
    assert main(["library", "compile", broken, "--out", str(tmp_path / "out.json")]) == 2
    assert not (tmp_path / "out.json").exists()
