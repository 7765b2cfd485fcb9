"""Machines that lack something: the bench says so and goes on."""

import shutil
import subprocess
from pathlib import Path

import pytest

from infra.bench import bench as shared
from infra.bench.bench import Bench
from infra.bench.decoders import CANDIDATES, find_fastest
from infra.bench.race import race
from infra.bench.run import run_parts
from infra.bench.side import ChildSide, Task
from infra.bench.spec import BenchSpec
from tests.conftest import write_pictures
from tests.infra.test_bench import PREPROCESS

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16"), (False, "fp32")])
def test_the_real_encoder_is_fp32_where_bf16_is_slow(
    monkeypatch: pytest.MonkeyPatch, has: bool, precision: str
) -> None:
    made: list[object] = []
    monkeypatch.setattr(shared, "has_bf16", lambda: has)
    monkeypatch.setattr(shared, "real_release", lambda *told: made.append(told[-1]))
    said: list[str] = []
    with Bench(BenchSpec(), {}, said.append) as bench:
        bench.release("real")
        bench.release("real")
    assert made == [precision]
    assert len([line for line in said if "does not multiply bf16" in line]) == (not has), "said once, or not at all"


def test_one_core_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "num_cores", lambda: 1)
    said: list[str] = []
    run_parts([], BenchSpec(), said.append)
    assert len([line for line in said if line.startswith("one core")]) == 1


def test_baselines_that_cannot_be_installed_do_not_end_the_bench(tmp_path: Path) -> None:
    uv = tmp_path / "venv-uv" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text("#!/bin/sh\necho 'no route to host' >&2\nexit 2\n")
    uv.chmod(0o755)
    script = shutil.copy(ROOT / "infra" / "scripts" / "bench.sh", tmp_path)
    done = subprocess.run(["bash", script, "venv"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "the table will say which sides are missing" in done.stderr


def test_a_baseline_that_is_not_installed_ends_its_own_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "daft.py").write_text("raise ModuleNotFoundError(\"No module named 'daft'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # before what is installed
    task = Task(pictures="", images=1, release="", batch=1, threads=1, scratch=str(tmp_path))
    run = race({"Daft": lambda: ChildSide("infra.bench.daft_recipe:DaftRecipe", task, tmp_path / "log")}, 1)
    assert run.failures["Daft"] == "ModuleNotFoundError: No module named 'daft'"


def test_the_bare_decoder_is_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'simplejpeg'")

    monkeypatch.setattr(
        "infra.bench.decoders.CANDIDATES", {"simplejpeg, scaled": missing, "assay": CANDIDATES["assay"]}
    )
    sample = [path.read_bytes() for path in write_pictures(tmp_path, 2)]
    assert find_fastest(sample, PREPROCESS, 1)[0] == "assay"
