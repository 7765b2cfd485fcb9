"""Settling: MLflow's aliases and descriptions follow the promotion log, whoever died or meddled between.

Knows what follows from an entry, and that any of it may have been done already. Done before every promotion and after
it, so that a promoter killed at any step is finished by the next command. Writes no entry.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from assay.platform.errors import RegistryError
from assay.registry.announcement import SHOWN, describe_standing, is_described
from assay.registry.models import Standing
from assay.registry.promotion_entry import Alias, Entry
from assay.registry.registry import HASH_TAG, SETTLED_TAG, Registry

ROUNDS = 50
"""Others may promote meanwhile; each round finds the log longer."""
Told = Callable[[Entry], None]


def settle(registry: Registry, deliver: Told = lambda _entry: None) -> list[str]:
    """Make MLflow say what the log says; what had to be mended, in words.

    Whoever sets an alias looks at the log again afterwards, and sets it once more when it went on: so the last one to
    look has set the last entry's, in whatever order the settings arrived.

    Raises:
        RegistryError: the log is shorter than MLflow has seen it.
    """
    mended: list[str] = []
    for _ in range(ROUNDS):
        standing = registry.models.standing("release")  # before the log, which others may lengthen at any moment
        entry = registry.log.last()
        seen = settled(standing)
        number = entry.number if entry else 0
        if number < seen:
            why = f"MLflow followed it up to entry {seen}, its last one is {number}"
            fix = "restore the log's objects from a backup; nothing is promoted until then"
            raise RegistryError("the promotion log is shorter than it was", where=registry.log.uri, why=why, fix=fix)
        mended += _set_aliases(registry, standing.aliases, entry, is_new=number > seen)
        if entry is not None and not is_described(standing.description, entry):
            describe(registry, entry)
        if entry is not None and number > seen:
            for undelivered in range(seen + 1, number + 1):
                deliver(registry.log.read(undelivered))
            registry.models.tag_model("release", {HASH_TAG: f"{number} {entry.sha256}", SETTLED_TAG: str(number)})
        newest = registry.log.last()
        if newest is None or newest.number == number:
            return mended
    return [*mended, f"others promoted {ROUNDS} times meanwhile; the alias follows the log with the next command"]


def settled(standing: Standing) -> int:
    """Number of the last entry that MLflow follows; 0 when it follows none, or somebody meddled with the tag."""
    said = standing.tags.get(SETTLED_TAG, "")
    return int(said) if said.isdecimal() else 0


def _set_aliases(registry: Registry, pointed: Mapping[str, int], entry: Entry | None, *, is_new: bool) -> Iterator[str]:
    for alias in get_args(Alias):
        side = entry.aliases.get(alias) if entry else None
        wanted, found = side.version if side else None, pointed.get(alias)
        if wanted == found:
            continue
        if wanted is not None and registry.models.version("release", wanted) is None:
            yield f"alias {alias} points nowhere: version {wanted} was deleted; promote another, or roll back"
            continue
        registry.models.point("release", alias, wanted)
        if not is_new:
            was, now = (f"version {one}" if one else "nothing" for one in (found, wanted))
            yield f"alias {alias} was moved by hand to {was}; set back to {now}, as the promotion log says"


def page(registry: Registry, entry: Entry) -> str:
    """What MLflow should show of the releases when this entry is the last one."""
    log = registry.log
    entries = [log.read(number) for number in range(max(1, entry.number + 1 - 2 * SHOWN), entry.number + 1)]
    return describe_standing(entry, entries, log.uri)


def describe(registry: Registry, entry: Entry) -> None:
    """Show in MLflow what an entry, the last one, says."""
    registry.models.describe_model("release", page(registry, entry), {})
    version = registry.models.version("release", entry.after.version)
    if version is not None:
        said = f"entry {entry.number}, {entry.at}, by {entry.by}"
        registry.models.tag_version(version, {f"assay.{entry.action}.{entry.alias}": said})
