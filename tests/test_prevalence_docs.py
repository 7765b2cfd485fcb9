"""infra/docs/prevalence.md is true: its example runs, from a store to figures, and its numbers are the code's."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from assay.jobs.cli import main
from assay.platform.rate_curve import BLIND, LIKENESS, LOOSE, SHIFT, SLOPE
from assay.platform.stratification import BUDGET, EQUAL, EVERYWHERE, FLATTENED, PIECES
from tests.golden_store import judged
from tests.jobs.test_prevalence_commands import fill_in

DOCS = (Path(__file__).parent.parent / "infra" / "docs" / "prevalence.md").read_text()


def test_the_example_runs(
    tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = judged(tmp_path, release_dir, monkeypatch)
    monkeypatch.chdir(tmp_path)
    found = re.search(r"```console\n(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    for line in found.group(1).splitlines():
        typed = shlex.split(line.removeprefix("$ assay ").replace("STORE", str(store)))
        if typed[:2] == ["golden", "import"]:
            sheet = Path("to-label.csv").rename("labelled.csv")
            fill_in(sheet)
        assert main(typed) == 0, line
    assert "left unflagged" in " ".join(capsys.readouterr().out.split())


def test_the_numbers_are_the_codes() -> None:
    assert [*PIECES.values()] == [12, 4, 2]
    assert [*BUDGET.values()] == [0.80, 0.15, 0.05]
    assert (EVERYWHERE, EQUAL, FLATTENED) == (0.15, 0.20, 0.4)
    assert re.search(rf"{1 - EVERYWHERE - EQUAL:.2f} · N_h .*\^{FLATTENED} ", DOCS)
    means = np.array([SHIFT[0], SLOPE[0], LIKENESS[0], BLIND[0]])
    assert means == pytest.approx([0, np.log(0.8), np.log(15), np.log(0.06 / 0.94)])
    assert [SHIFT[1], SLOPE[1], LIKENESS[1], BLIND[1], LOOSE] == [3, 0.7, 1, 1, 1]
