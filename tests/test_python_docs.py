"""infra/docs/python.md is true: its recipes run, one after the other, on a judged store."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit_text import other_release

DOCS = (Path(__file__).parent.parent / "infra" / "docs" / "python.md").read_text()
SAID = {"reaudit": "11 labels carried over", "diff": "newly flagged", "replay": "of 32", "verify": ""}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, judged_store: Path, release_dir: Path) -> Path:
    """A folder as the recipes expect it."""
    folder = tmp_path_factory.mktemp("python")
    shutil.copytree(judged_store, folder / "demo" / "store")
    shutil.copytree(release_dir, folder / "demo" / "release")
    shutil.copytree(other_release(folder), folder / "demo" / "next-release")
    return folder


@pytest.mark.parametrize("name", SAID)
def test_recipes_run(name: str, place: Path) -> None:
    recipe = re.search(rf"```python\n# recipe: {name}\n(.*?)```", DOCS, re.DOTALL)
    assert recipe is not None
    done = subprocess.run(
        [sys.executable, "-c", recipe.group(1)], cwd=place, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert SAID[name] in done.stdout, done.stdout
    assert (place / "demo" / "change.html").is_file() == (name != "reaudit")


def test_every_recipe_is_run() -> None:
    assert set(re.findall(r"# recipe: (\w+)", DOCS)) == set(SAID)
