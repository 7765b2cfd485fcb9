"""The tests of OpenVINO over damaged files, in a process of their own: see `ALONE` there."""

import os
import subprocess
import sys
from pathlib import Path

from tests.platform.test_openvino_engine import ALONE

TESTS = Path(__file__).parent / "test_openvino_engine.py"


def test_openvino_over_damaged_files() -> None:
    typed = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    done = subprocess.run(typed, check=False, capture_output=True, text=True, env={**os.environ, ALONE: "1"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout
