"""The GPU's bench, tried on the CPU with a tiny encoder: it runs to its end, says what it lacks, and adds up."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from infra.bench import encoder_efficiency, gpu
from infra.bench.busy import Busy, covered
from infra.bench.figure import Figure, Result
from infra.bench.pictures import PicturesSpec
from infra.bench.race import Side, SideError
from infra.bench.side import Task
from tests.conftest import write_pictures

ROOT = Path(__file__).parent.parent.parent
TINY: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
SMALL = ["--device", "cpu", "--model", "assay-tiny", "--images", "40", "--pictures", "20", "--distinct", "2"]
SMALL += ["--batch", "8", "--rounds", "2", "--decoders", "1"]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model under a name, and sides in this process, where torch is loaded already."""
    config = tmp_path / "assay-tiny.json"
    config.write_text(json.dumps(TINY))
    if "assay-tiny" not in open_clip.list_models():
        open_clip.add_model_config(config)
    monkeypatch.setattr(encoder_efficiency, "GEMM_S", 0.01)

    def here(name: str, task: Task, _log: Path) -> Side:
        module, _, kind = name.partition(":")
        side: Side = getattr(importlib.import_module(module), kind)(task)
        return side

    def quick(folder: Path, spec: PicturesSpec) -> list[Path]:
        paths = write_pictures(folder, spec.images)
        paths[0].write_bytes(b"no picture")
        return paths

    monkeypatch.setattr(gpu, "ChildSide", here)
    monkeypatch.setattr(gpu, "compose_pictures", quick)  # the real ones are drawn in processes of their own


@pytest.mark.usefixtures("tiny")
def test_it_runs_to_its_end_and_tells_what_it_could_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_compiler(*_args: object, **_options: object) -> None:
        raise RuntimeError("no C compiler found")

    monkeypatch.setattr(torch, "compile", no_compiler)
    out = tmp_path / "gpu.json"
    out.write_text('{"R1": {"value": 1.0}}')
    assert gpu.run([*SMALL, "--json", str(out)]) == 0
    rows = json.loads(out.read_text())
    assert rows["R1"] == {"value": 1.0}, "what others measured stays"
    found = Result.of_row(rows["GPU"])
    assert found.title == "assay-tiny: bytes to embedding ÷ model"
    missing = {name for name, figure in found.more.items() if figure.value is None}
    assert missing == {"assay-tiny: compiled ÷ model"}
    assert "no C compiler found" in found.more["assay-tiny: compiled ÷ model"].why
    assert found.figure.value is not None
    assert found.more["assay-tiny: bytes to embedding ÷ clip-retrieval's loop"].target == 3.0
    busy = found.more["assay-tiny: busy share"].value
    assert busy is not None
    assert 0 < busy <= 1
    assert found.facts["assay-tiny"] == found.facts["assay-tiny: model images/s"]
    assert found.facts["assay-tiny: bytes faults"] == 2, "40 images of 20 files, one of which is bad"
    assert "compiled ÷ model" in capsys.readouterr().out


@pytest.mark.usefixtures("tiny")
def test_an_encoder_that_cannot_be_made_is_told_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SIDES", {name: gpu.SIDES[name] for name in ("model", "GEMM")})
    spec = gpu.GpuSpec(
        model=["no-such-model", "assay-tiny"], device="cpu", images=16, pictures=8, distinct=1, batch=8, rounds=1
    )
    said: list[str] = []
    found = gpu.measure(spec, said.append)
    assert found.figure.value is None
    assert "no-such-model" not in found.facts
    assert any("no-such-model failed" in line for line in said)
    assert found.more["assay-tiny: model ÷ GEMM at its shapes"].value is not None
    assert found.more["assay-tiny: bytes to embedding ÷ model"].why == "bytes: took no part"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_no_gpu_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.run([]) == 0
    told = capsys.readouterr().out
    assert "no GPU here" in told
    assert "--device cpu" in told


def test_every_side_is_there() -> None:
    for name in gpu.SIDES.values():
        module, _, kind = name.partition(":")
        assert re.search(rf"^class {kind}\b", (ROOT / f"{module.replace('.', '/')}.py").read_text(), re.MULTILINE), name


def test_spans_that_overlap_count_once() -> None:
    assert covered([(0.0, 1.0)]) == 1.0
    assert covered([(3.0, 4.0), (0.0, 1.0)]) == pytest.approx(0.5)
    assert covered([(0.0, 2.0), (1.0, 3.0), (1.5, 1.6), (9.0, 10.0)]) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="nothing ran"):
        covered([])


def test_only_passes_are_busy() -> None:
    tower, device = torch.nn.Linear(2, 2), torch.device("cpu")
    busy = Busy(tower, device)
    tower(torch.zeros(1, 2))
    assert busy.share() == 1.0
    busy.begin()
    with pytest.raises(ValueError, match="nothing ran"):
        busy.share()


def test_a_side_that_failed_has_no_busy_share() -> None:
    run = gpu._none("out of memory", gpu.GpuSpec())
    assert gpu._busy(run, 0.97) == Figure.missing("bytes: out of memory", 0.97)
    with pytest.raises(SideError):
        run.rates("model")
