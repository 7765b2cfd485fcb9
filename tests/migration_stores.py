"""A store to migrate: coloured pictures that a colour release judged, some of them faults, and releases of other
encoders to migrate it to."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.jobs.migrate import MigrateFacts, MigrateSpec, migrate
from assay.platform.release import Release
from tests.encoder_doubles import load_doubles
from tests.jobs.colour_releases import colour_release
from tests.serial_backfill import run_alone

DOUBLES: dict[str, dict[str, object]] = {
    "turned": {"kind": "turned", "noise": 0.0},
    "noisy": {"kind": "turned", "noise": 0.05},
    "scrambled": {"kind": "scrambled", "noise": 0.0},
}
PICTURES, SHARD = 400, 32
ASKED = {"sample": PICTURES, "agreement": 0.95, "flagged": 0.9}
"""What so few images can show."""


def write_colours(folder: Path, count: int) -> None:
    """Pictures of one colour each, more or less: every score there is."""
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        mixed = 0.5 * rng.integers(0, 256, 3) + 0.5 * rng.integers(0, 256, (4, 4, 3))
        picture = Image.fromarray(mixed.astype(np.uint8)).resize((48, 48), Image.Resampling.NEAREST)
        picture.save(folder / f"colour-{number:05d}.png")


class Migrations:
    """The folder with everything in it: `bucket`, `store`, and a release for each encoder."""

    def __init__(self, folder: Path, count: int = PICTURES) -> None:
        self.folder = folder
        self.releases: dict[str, Release] = {"plain": colour_release(folder / "plain")}
        with pytest.MonkeyPatch.context() as patch:
            load_doubles(patch)
            for name, double in DOUBLES.items():
                self.releases[name] = colour_release(folder / name, double=double)
            self.releases["wide"] = colour_release(folder / "wide", dim=96)
            write_colours(folder / "bucket", count)
            (folder / "bucket" / "empty.png").write_bytes(b"")
            (folder / "bucket" / "notes.txt").write_text("no picture")
            self.backfill("store", "plain", patch)

    def release(self, name: str) -> str:
        """Where a release lies."""
        return str(self.releases[name].directory)

    def backfill(self, store: str, release: str, patch: pytest.MonkeyPatch, **how: object) -> None:
        """Run a backfill of the bucket into a store."""
        load_doubles(patch)
        places = {"source": str(self.folder / "bucket"), "store": str(self.folder / store)}
        settings = {"release": self.release(release), "shard": {"images": SHARD}, "max_fault_rate": 1.0}
        run_alone({**places, **settings, **how}, patch)

    def spec(self, release: str, new_store: str | None = "new", **how: object) -> MigrateSpec:
        """A migration to a release."""
        new = None if new_store is None else str(self.folder / new_store)
        places = {"store": str(self.folder / "store"), "new_store": new, "release": self.release(release)}
        return MigrateSpec.model_validate({**places, **ASKED, **how})

    def migrate(
        self, release: str, patch: pytest.MonkeyPatch, new_store: str | None = "new", **how: object
    ) -> MigrateFacts:
        """Run it."""
        load_doubles(patch)
        return migrate(self.spec(release, new_store, **how))
