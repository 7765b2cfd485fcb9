"""The demo's end: both releases are registered, the new one is promoted through the gate, and rolled back.

Knows the order of things, and what a demo cannot have: people who confirmed images. Those two checks are waived, by
name and with the reason, as anyone would have to; the diff that the gate reads is the one just made. Everything it runs
is what production runs.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from assay.platform.errors import ConservationError
from assay.platform.release import Release, bundled_release
from assay.registry.catalogue import ListSpec, read_log
from assay.registry.place import RegistrySpec
from assay.registry.promotion import PromoteSpec, RollbackSpec, promote, rollback
from assay.registry.promotion_entry import Entry
from assay.registry.registering import RegisterSpec, register

UNMEASURED = (
    "scorecard=a demo has no people to confirm images; `assay golden build` draws them",
    "golden=the same",
)


class PromotionFacts(BaseModel):
    """What happened in the registry."""

    model_config = ConfigDict(frozen=True)

    registry: str
    refused: tuple[str, ...]
    """Checks that stopped the new release when nothing was waived."""
    champion: str
    log: tuple[Entry, ...]


def promote_and_go_back(folder: Path, new: Path, diff: Path) -> PromotionFacts:
    """Register the starter release and the new one, promote both, go back to the first.

    Raises:
        ConservationError: the gate let a release pass that nobody had measured.
    """
    place = (folder / "registry").absolute()
    registry = RegistrySpec(uri=f"sqlite:///{place}/mlflow.db", cache=place / "cache")
    first, second = (register(Release.load(path), RegisterSpec(registry=registry)) for path in (bundled_release(), new))
    promote(PromoteSpec(release=str(first.number), waive=UNMEASURED, reason="the bundled release", registry=registry))
    asked = PromoteSpec(release=str(second.number), evidence=(diff,), reason="a label for fireworks", registry=registry)
    refused = promote(asked)
    if refused.moved:
        raise ConservationError("the gate let an unmeasured release pass", where=str(place), fix="report this")
    promote(asked.model_copy(update={"waive": UNMEASURED}))
    rollback(RollbackSpec(reason="to show how: one command", registry=registry))
    entries = read_log(ListSpec(registry=registry)).entries
    return PromotionFacts(
        registry=str(place),
        refused=tuple(check.name for check in refused.refused),
        champion=entries[-1].after.shown,
        log=entries,
    )
