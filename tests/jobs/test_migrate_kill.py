"""A migration that is killed at any write of the new store goes on when it is run again, and ends as if undisturbed."""

import multiprocessing
import os
import shutil
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assay.jobs import migration_writer
from assay.jobs.migrate import MigrateSpec, migrate
from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from assay.platform.rows import OBSERVATIONS
from assay.platform.storage import Storage
from tests.encoder_doubles import load_doubles
from tests.migration_stores import Migrations

PICTURES, FEW = 80, 9
"""`make test` kills at every so many writes, `make nightly` at every one."""
ASKED = {"agreement": 0.85, "flagged": 0.6, "least_clear": 0.05}


def run(settings: dict[str, Any], number: int, after: bool, told: str) -> None:
    """Migrate until the write with this number (0: to the end), and tell how many there were."""
    really, written = Storage.write, [0]

    def counted(storage: Storage, uri: str, data: bytes, *, if_absent: bool = False) -> bool:
        written[0] += 1
        if written[0] == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = really(storage, uri, data, if_absent=if_absent)
        if written[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    with pytest.MonkeyPatch.context() as patch:
        load_doubles(patch)
        patch.setattr(Storage, "write", counted)
        patch.setattr(migration_writer, "GROUP", 1)  # a commit for every shard
        migrate(MigrateSpec.model_validate(settings))
    Path(told).write_text(str(written[0]))


class Victims:
    """Migrations in processes of their own, forked from one that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.told = folder / "told"
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.jobs.test_migrate_kill"])

    def run(self, settings: dict[str, Any], number: int = 0, *, after: bool = False) -> int | None:
        """The writes that it made; None when it was killed."""
        self.told.unlink(missing_ok=True)
        process = self._context.Process(target=run, args=(settings, number, after, str(self.told)))
        process.start()
        process.join(120)
        assert process.exitcode == (0 if self.told.exists() else -signal.SIGKILL)
        return int(self.told.read_text()) if self.told.exists() else None


def rows_of(place: str) -> pa.Table:
    rows = Store.open(Storage(), place).observations.dataset().to_table()
    return rows.select(OBSERVATIONS.names).sort_by([("uri", "ascending")])


def kill_everywhere(folder: Path, stride: int) -> None:
    rig = Migrations(folder, PICTURES)
    victims = Victims(folder)
    settings = rig.spec("wide", "new-whole", **ASKED).model_dump(mode="json")
    writes = victims.run(settings)
    assert writes is not None
    wanted = rows_of(settings["new_store"])
    outcomes = set(wanted["outcome"].to_pylist())
    assert {"ok", "STALE", "EMPTY"} <= outcomes
    digest, kills = proof(rig, "new-whole"), 0
    for after in (False, True):
        for number in range(1 + os.getpid() % stride, writes + 1, stride):
            place = f"new-{number}-{after}"
            again = {**settings, "new_store": str(folder / place)}
            if victims.run(again, number, after=after) is not None:
                continue  # a few writes are renewals of the lease
            kills += 1
            assert victims.run(again) is not None, number
            assert rows_of(again["new_store"]).equals(wanted), (number, after)
            assert proof(rig, place) == digest, (number, after)
            shutil.rmtree(folder / place)
    print(f"{kills} kills; an undisturbed run makes {writes} writes")
    assert kills >= 2 * (writes // stride) - 2


def proof(rig: Migrations, place: str) -> str:
    """The digest after the rest was encoded."""
    with pytest.MonkeyPatch.context() as patch:
        rig.backfill(place, "wide", patch, retry_faults=True)
    facts = verify(VerifySpec(store=str(rig.folder / place)))
    assert facts.sound
    assert facts.ok == PICTURES
    return facts.digest


@pytest.mark.timeout(300)
def test_killed_at_some_writes(tmp_path: Path) -> None:
    kill_everywhere(tmp_path, FEW)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_killed_at_every_write(tmp_path: Path) -> None:
    kill_everywhere(tmp_path, 1)
