"""Engines are compared on the same pixels: one that cannot run is told, one that turns verdicts over is caught."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.platform.release import Release, bundled_release
from infra.bench import engine_sides
from infra.bench.engines import EnginesSpec, Seen, compare_speed, gate, look, race_engines
from infra.bench.race import Lap, Race
from infra.bench.side import Task

PHOTOS = Path(__file__).parents[2] / "jobs" / "assay" / "jobs" / "data" / "photos"


class InProcess:
    """What the comparison asks of a bench; its sides run here, for a process each takes its time to import torch."""

    cores = 1

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def scratch(self) -> Path:
        self._count += 1
        made = self._folder / str(self._count)
        made.mkdir()
        return made

    def say(self, _what: str) -> None: ...

    def child(self, side: str, task: Task) -> Any:
        return getattr(engine_sides, side.partition(":")[2])(task)


@pytest.fixture(scope="module")
def seen() -> Seen:
    found = look(Release.load(bundled_release()), [*sorted(PHOTOS.glob("*.jpg"))[:5], PHOTOS.parent / "PHOTOS.md"])
    assert len(found.batch.pixels) == found.batch.rows.num_rows == 5, "what is no picture is left out"
    return found


def test_engines_agree_and_a_missing_one_is_told(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("torchao", "onnxruntime"):
        monkeypatch.setitem(sys.modules, library, None)
    spec = EnginesSpec(engines=("eager bf16", "torchao int8", "ONNX Runtime fp32"), rounds=2)
    bench: Any = InProcess(tmp_path)
    run, found = race_engines(bench, seen, 4, spec)
    assert list(found) == ["product", "eager fp32", "eager bf16"]
    assert [len(run.laps[name]) for name in found] == [2, 2, 2]
    told = compare_speed(run, found, 4)
    assert "torchao" in told.more["torchao int8"].why
    assert told.more["eager bf16"].value
    gated = gate(seen, run, found)
    assert gated.figure.is_met
    assert gated.more["product: cosine, worst"].value == pytest.approx(1, abs=1e-4)
    assert "onnxruntime" in gated.more["ONNX Runtime fp32"].why


def test_an_engine_that_answers_otherwise_is_caught(seen: Seen) -> None:
    encoder = seen.release.encoder("cpu")
    right = encoder.encode_images(seen.batch.pixels)
    labels = encoder.encode_texts(["a pistol", "a rifle"]).mean(axis=0)
    wrong = np.broadcast_to((labels / np.linalg.norm(labels)).astype(np.float16), right.shape)
    lap = Lap(5, 5, 1.0)
    run = Race({name: [lap] for name in ("product", "eager fp32", "wrong")})
    found = gate(seen, run, {"eager fp32": right, "wrong": wrong})
    assert found.more["eager fp32: share of verdicts that differ"].value == 0
    assert found.more["wrong: share of verdicts that differ"].is_met is False
    assert found.more["wrong: cosine, worst"].is_met is False
    assert found.figure.is_met is False
