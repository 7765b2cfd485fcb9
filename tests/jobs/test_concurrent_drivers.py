"""Two drivers of one store: the second is told who has it, and no loss of leases makes both believe they do."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from tests.store_damage import WRITERS, Told, filled, run
from tests.store_doubles import reopened, tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(place: Path, tmp_path: Path) -> Store:
    return filled(place, tmp_path / "source")


HOLD = """
import sys, time
from assay.jobs.store import Store
from assay.platform.storage import Storage
with Store.open(Storage(), sys.argv[1]).hold("assay backfill s3://bucket"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("command", WRITERS)
def test_the_second_driver_is_told_who_has_the_store(store: Store, place: Path, command: str, capsys: Told) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, store.shown], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        try:
            assert driver.stdout.readline() == "held\n"
            before = tree(place / "observations")
            assert run(command, place) == 5
            told = capsys.readouterr().err
            assert "assay backfill s3://bucket" in told
            assert f"process {driver.pid}" in told
            assert tree(place / "observations") == before
        finally:
            driver.send_signal(signal.SIGKILL)
    assert run(command, place) == 0, "a dead driver keeps nobody waiting"
    assert verify(VerifySpec(store=store.uri)).sound


def test_tables_of_a_time_without_leases(store: Store, place: Path) -> None:
    """Also when the folder of leases is lost later: tables remember who fenced them."""
    for _ in range(3):
        shutil.rmtree(place / "lease", ignore_errors=True)
        for _ in range(2):
            with reopened(store).hold("test") as lease:
                held = lease.epoch
    assert held == 6
    assert verify(VerifySpec(store=store.uri)).sound
