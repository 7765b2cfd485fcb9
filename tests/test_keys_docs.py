"""infra/docs/keys.md is true: its commands run, its examples are read, its tables are the fields."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from assay.jobs.cli import main
from assay.serving.keys import Key, Keyring, Scope, digest
from assay.serving.remote_images import RemoteSpec

DOCS = (Path(__file__).parent.parent / "infra" / "docs" / "keys.md").read_text()


def example(language: str, first: str) -> str:
    found = re.search(rf"```{language}\n# {first}\n(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_its_command_makes_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = re.findall(r"^\$ \.venv/bin/assay (.*)$", DOCS, re.MULTILINE)
    assert main([*command.split(), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    (key,) = Keyring.parse(f"keys:\n{made['entry']}", "keys.yaml").keys
    assert (key.tenant, key.scopes, key.policies) == ("acme", (Scope.ANALYZE, Scope.JOBS), ("strict",))


def test_a_key_that_one_has_is_hashed_as_told() -> None:
    (command,) = re.findall(r"`(printf .*?)`", DOCS)
    hashed = subprocess.run(
        ["bash", "-c", command.replace("\\|", "|")], env={**os.environ, "KEY": "k 1"}, capture_output=True, check=True
    )
    assert hashed.stdout.decode().split()[0] == digest("k 1")


def test_its_keyring_holds_together_and_is_checked_as_told(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(example("yaml", "example: keyring"))
    recipe = [sys.executable, "-c", example("python", "recipe: check")]
    done = subprocess.run(recipe, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "2 keys hold together\n"


def test_its_list_is_one() -> None:
    spec = RemoteSpec.model_validate(yaml.safe_load(example("yaml", "example: remote")))
    assert [one.private for one in spec.origins] == [False, True]
    default = RemoteSpec()
    assert (spec.max_bytes, spec.timeout_s) == (default.max_bytes, default.timeout_s)


def test_the_tables_are_the_fields() -> None:
    names = re.findall(r"^\| ([a-z0-9_]+) \|", DOCS, re.MULTILINE)
    assert names == ["field", *Key.model_fields, "field", *RemoteSpec.model_fields]
