"""Native noise is kept aside, and told when the body fails; Python's own words reach the terminal."""

import os
from pathlib import Path

import pytest

from assay.jobs.native_log import native_log_aside
from assay.platform.errors import Interrupted


def test_noise_is_kept_aside_when_all_is_well(capfd: pytest.CaptureFixture[str]) -> None:
    with native_log_aside() as shown:
        os.write(2, b"E noise of a native library\n")
        shown.write("said by us\n")
    assert capfd.readouterr().err == "said by us\n"


def fail_loudly(error: Exception) -> None:
    with native_log_aside():
        os.write(2, b"E the reason\n")
        raise error


def test_noise_of_a_stop_that_was_asked_for_is_not_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Interrupted):
        fail_loudly(Interrupted("stopped"))
    assert capfd.readouterr().err == ""


def test_noise_is_told_when_the_body_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="failed"):
        fail_loudly(ValueError("failed"))
    assert "E the reason" in capfd.readouterr().err


def test_the_descriptor_is_given_back(tmp_path: Path) -> None:
    before = os.fstat(2).st_ino
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with native_log_aside():
        assert os.fstat(2).st_ino != before
    assert os.fstat(2).st_ino == before
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
