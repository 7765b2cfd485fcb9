"""A registry of sqlite in a folder, with two releases of one encoder: real MLflow, and no server."""

from pathlib import Path
from typing import Any

from assay.platform.release import Release
from assay.registry.evidence import FACTS_FILE
from assay.registry.place import RegistrySpec
from assay.registry.registering import RegisterSpec, register
from assay.registry.registry import Registry
from assay.registry.runs import RunFacts
from tests.jobs.change_stores import release_of
from tests.jobs.colour_releases import FIRM, LIBRARY, POLICY
from tests.promoters import waived_promotion

CHAMPION = "models:/assay-release@champion"
PLAIN = LIBRARY.replace("RED", "red").replace("BLUE", "blue")
WIDER = LIBRARY.replace("RED", "red, green").replace("BLUE", "blue")


class RegistryOfTwo:
    """The registry. Of its two releases, version 1 was promoted and version 2 was not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {"uri": f"sqlite:///{folder}/mlflow.db", "cache": str(folder / "cache")}
        self.spec = RegistrySpec.model_validate(self.settings)
        self.first = release_of(folder / "first", PLAIN, POLICY, FIRM)
        self.second = release_of(folder / "second", WIDER, POLICY, FIRM)
        self.versions = [self.register(one) for one in (self.first, self.second)]
        self.promote(1)

    @property
    def flags(self) -> list[str]:
        """The same on a command line."""
        return [word for name, value in self.settings.items() for word in (f"--registry.{name}", value)]

    def register(self, release: Release) -> int:
        """The version that a release has from now on."""
        return register(release, RegisterSpec(registry=self.spec)).number

    def promote(self, version: int) -> None:
        """Make a version champion, whatever the gate says."""
        assert waived_promotion(self.spec, version).moved

    def runs(self, kind: str) -> list[RunFacts]:
        """What was recorded of a kind of job, newest first."""
        return Registry(self.spec).runs.runs({"assay.kind": kind})

    def artifact(self, run: str, name: str = FACTS_FILE) -> Path:
        """A file of a run, where it lies."""
        return self.folder / "artifacts" / run / "artifacts" / name
