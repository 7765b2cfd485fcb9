"""A registry that needs no server, with small releases, the first of them promoted one after the other."""

from pathlib import Path

from assay.registry.gate import CHECKS
from assay.registry.place import RegistrySpec
from assay.registry.promotion import MoveFacts, PromoteSpec, promote
from assay.registry.promotion_entry import CHAMPION, Alias
from assay.registry.registering import RegisterSpec, register
from assay.registry.webhook import WebhookSpec
from tests.jobs.colour_releases import colour_release

WAIVED = tuple(f"{name}=a test of what comes after the gate" for name in CHECKS)


def small_registry(folder: Path, registered: int, promoted: int = 0, name: str = "assay") -> RegistrySpec:
    """Versions 1 to `registered`, all of one encoder; those to `promoted` were champion, in this order."""
    spec = RegistrySpec(uri=f"sqlite:///{folder}/mlflow.db", name=name, cache=folder / "cache")
    for number in range(1, registered + 1):
        release = colour_release(folder / f"made-{name}-{number}", red=f"red {number}")
        assert register(release, RegisterSpec(registry=spec)).number == number
    for number in range(1, promoted + 1):
        move(spec, number)
    return spec


def move(
    spec: RegistrySpec, version: int, alias: Alias = CHAMPION, webhook: WebhookSpec | None = None, reason: str = ""
) -> tuple[MoveFacts, list[str]]:
    """Promote a version without evidence; what became of it, and what was told meanwhile."""
    told: list[str] = []
    asked = PromoteSpec(release=str(version), alias=alias, registry=spec, waive=WAIVED, reason=reason)
    return promote(asked.model_copy(update={"webhook": webhook or WebhookSpec()}), told.append), told
