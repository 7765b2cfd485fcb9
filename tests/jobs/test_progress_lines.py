"""`--json-lines`: how a run goes, as lines; at their end the facts that --json prints."""

import itertools
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from assay.jobs import panel, progress_lines
from assay.jobs.backlog import Backlog
from assay.jobs.cli import main
from assay.jobs.work import Receipt, Task
from assay.platform.progress import last_progress
from assay.platform.release import Release
from tests.conftest import write_pictures
from tests.serial_backfill import without_ray

BACKLOG = Backlog(frozenset({1}), frozenset(), {}, {}, {}, rows_done=0, rows=1_000_000)


def backfill(folder: Path, release_dir: Path, shard: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    write_pictures(folder / "in", 12)
    (folder / "in" / "empty.jpg").write_bytes(b"")
    places = [str(folder / "in"), "--store", str(folder / "store"), "--release", str(release_dir)]
    assert main(["backfill", *places, "--max-fault-rate=1", f"--shard.images={shard}", "--json-lines"]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_backfill_and_a_reaudit(
    tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_ray(monkeypatch)
    lines = backfill(tmp_path, release_dir, 4, capsys)
    first, last, facts = (json.loads(line) for line in (lines[0], lines[-2], lines[-1]))
    assert first["progress"].items() >= {"total": 13, "done": 0, "verdicts": {}, "faults": {}}.items()
    assert last["progress"]["done"] == 13
    assert last["progress"]["faults"] == facts["faults"] == {"EMPTY": 1}
    assert last["progress"]["verdicts"] == facts["actions"]
    assert sum(facts["actions"].values()) == 13

    store = str(tmp_path / "store")
    assert main(["reaudit", store, "--release", str(release_dir), "--policy=lenient", "--json-lines"]) == 0
    lines = capsys.readouterr().out.splitlines()
    told, facts = last_progress(lines), json.loads(lines[-1])
    assert told is not None
    assert (told.total, told.done, told.verdicts) == (13, 13, facts["actions"])

    assert main(["reaudit", store, "--release", str(release_dir), "--policy=lenient", "--json-lines"]) == 0
    told = last_progress(capsys.readouterr().out.splitlines())
    assert told is None or (told.total, told.done) == (0, 0)


def test_a_week_is_told_in_a_thousand_lines(
    release_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock: Any = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, time=lambda: 1.8e9)
    monkeypatch.setattr(progress_lines, "time", clock)
    monkeypatch.setattr(panel, "time", clock)
    told_at: list[float] = []
    with progress_lines.ProgressLines(Console()) as lines:
        lines.planned(None, BACKLOG, Release.load(release_dir))
        while clock.now < 7 * 86_400:
            clock.now += 20
            lines.committed([Receipt(shard=1, task=Task.OBSERVE, rows=1, actions=Counter({"pass": 1}))])
            told_at += [clock.now] * len(capsys.readouterr().out.splitlines())
    assert 100 < len(told_at) < 1000
    assert all(later - one <= 20 + max(10, 0.01 * later) for one, later in itertools.pairwise([0.0, *told_at]))
    last = last_progress(capsys.readouterr().out.splitlines())
    assert last is not None
    assert last.done == 7 * 86_400 / 20
