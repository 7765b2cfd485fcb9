"""The README is true: its commands, recipes, tables and files exist and run."""

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest

from assay.jobs.cli import _COMMANDS, main
from assay.platform.faults import FAULTS

ROOT = Path(__file__).parent.parent
TOLD = (
    "backfill",
    "calibrate",
    "diff",
    "evaluate",
    "reaudit",
    "replay",
    "release build",
    "release promote",
    "release copy",
    "registry doctor",
    "key new",
    "serve",
)
OTHERS = {"--json", "--against", "--out", "--wheel", "--older-than", "--deep"}
"""Flags of yet other commands, or of all."""

README = (ROOT / "README.md").read_text()


def test_the_fault_table_is_the_codes() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (yes|no) \| (.+?) \|$", README, re.MULTILINE)
    assert rows == [(kind.value, "yes" if facts.transient else "no", facts.cause) for kind, facts in FAULTS.items()]


def test_every_command_is_described() -> None:
    for name in _COMMANDS:
        assert f"| `assay {name}" in README


def test_every_flag_exists() -> None:
    asked = "".join(help_of(command) for command in TOLD)
    flags = set(re.findall(r"`(?:[^`]* )?(--[a-z][a-z.-]+)", README)) - OTHERS
    assert len(flags) > 4
    for flag in flags:
        assert flag in asked, flag


@cache
def help_of(command: str) -> str:
    with redirect_stdout(io.StringIO()) as told:
        assert main([*command.split(), "--help"]) == 0
    return told.getvalue()


def test_commands_shown_exist_with_their_flags() -> None:
    """The lines that begin with a prompt, of the commands that have no test that runs them as written."""
    shown = re.findall(r"^\$ \.venv/bin/assay ((?:golden build|calibrate|evaluate) .*)$", README, re.MULTILINE)
    assert len(shown) == 3
    for line in shown:
        words = line.split("#")[0].split()
        known = help_of("golden build" if words[0] == "golden" else words[0])
        assert all(word in known for word in words if word.startswith("--")), line


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    line = re.search(r"`make ([a-z| ]+)`", README)
    assert line is not None
    for target in line.group(1).split(" | "):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", ["duckdb", "polars"])
def test_query_recipes_run(name: str, judged_store: Path) -> None:
    recipe = re.search(rf"```python\n# recipe: {name}\n(.*?)```", README, re.DOTALL)
    assert recipe is not None
    code = recipe.group(1).replace("demo/store", str(judged_store))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "review" in out if name == "duckdb" else "label" in out, shlex.quote(out)
