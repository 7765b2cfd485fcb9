"""infra/docs/golden.md is true: its recipes write golden sets, its examples are read, its columns are the columns."""

import re
import subprocess
import sys
from pathlib import Path

from assay.jobs.golden_text import read_text
from assay.platform.golden import GOLDEN, GoldenSet

DOCS = (Path(__file__).parent.parent / "infra" / "docs" / "golden.md").read_text()


def block(language: str, first: str = "") -> str:
    found = re.search(rf"```{language}\n{first}(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_recipes_write_the_same_golden_set(tmp_path: Path) -> None:
    digests = set()
    for tool in ("duckdb", "polars"):
        subprocess.run([sys.executable, "-c", block("python", f"# recipe: {tool}\n")], cwd=tmp_path, check=True)
        golden = GoldenSet.read(tmp_path / "golden.parquet", {"weapons"})
        assert golden.truth(["weapons"]).tolist() == [[1], [0]]
        assert golden.slices()["style"].tolist() == ["photo", "drawing"]
        digests.add(golden.digest)
    assert len(digests) == 1


def test_both_examples_are_one_row(tmp_path: Path) -> None:
    (tmp_path / "golden.csv").write_text(block("csv"))
    (tmp_path / "golden.jsonl").write_text(block("json"))
    assert read_text(tmp_path / "golden.csv") == read_text(tmp_path / "golden.jsonl")


def test_the_columns_are_the_columns() -> None:
    names = re.findall(r"^\| ([a-z]+) \|", DOCS, re.MULTILINE)
    assert names == ["column", *GOLDEN.names]
