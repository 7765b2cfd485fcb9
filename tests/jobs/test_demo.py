"""The demo as a newcomer runs it: the real command, a Ray of its own, the bundled encoder, a report to open."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster
ASSAY = str(Path(sys.executable).with_name("assay"))


def test_the_demo_ends_with_a_report_and_three_commands(tmp_path: Path) -> None:
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ASSAY_", "AWS_"))}
    typed = [ASSAY, "demo", "--directory", "demo", "--images", "120"]
    ran = subprocess.run(typed, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "none missing, none doubled" in ran.stderr
    assert "demo/report.html" in ran.stderr
    assert ran.stderr.count("assay ") >= 3
    facts = json.loads((tmp_path / "demo" / "report.json").read_text())
    wanted = {"images", "ok", "faults", "labels", "images_per_second", "seconds", "release", "policy"}
    assert wanted <= facts.keys()
    assert facts["images"] == facts["ok"] + sum(facts["faults"].values())
    assert {"TRUNCATED", "UNSUPPORTED_FORMAT", "TOO_MANY_PIXELS"} <= facts["faults"].keys()
    assert len(facts["labels"]) >= 10
    assert sum(label["flagged"] for label in facts["labels"].values()) > 0
    told = json.loads((tmp_path / "demo" / "diff.json").read_text())
    [policy] = told["policies"]
    assert policy["images"] == facts["images"]
    assert policy["only_before"] == policy["only_after"] == 0
    changed = {label["label"] for label in policy["labels"] if any(label["moves"]["counts"][0][1:])}
    assert changed <= {"pyrotechnics"}, "neighbours are as they were"
    assert (tmp_path / "demo" / "bucket").is_dir(), "the bucket is back"
    assert "13 labels carried over, 1 scored" in ran.stderr
    html = (tmp_path / "demo" / "report.html").read_text()
    assert len(html) < 10_000_000
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
