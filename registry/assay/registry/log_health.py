"""Whether the promotion log is whole, MLflow follows it, and who listens was told of it.

Knows what follows from the log. Mends by settling and delivering, which never change the log: what is wrong with that
itself only a backup mends.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import get_args

from assay.platform.errors import RegistryError, StorageError
from assay.registry.finding import Finding
from assay.registry.models import Standing
from assay.registry.promotion_entry import Alias, Entry
from assay.registry.registry import HASH_TAG, Registry
from assay.registry.settling import Told, describe, page, settled
from assay.registry.webhook import undelivered

MEND = "`assay registry doctor --mend`"
_RESTORE = "restore the log's objects from a backup or their older versions; do not promote until then"
Mend = Callable[[], object]


def look_at_log(registry: Registry) -> Iterator[Finding]:
    """Every entry: that it is there, is as it was written, and follows the one before."""
    standing = registry.models.standing("release")  # before the log, which others may lengthen at any moment
    seen, _, known = standing.tags.get(HASH_TAG, "").partition(" ")
    hashes = [""]
    try:
        hashes += [entry.sha256 for entry in registry.log.entries()]
    except (RegistryError, StorageError) as error:
        yield Finding.of("log", error)
        return
    number, followed = len(hashes) - 1, settled(standing)
    if number < followed:
        said = f"{registry.log.uri} ends with entry {number}; MLflow followed it up to entry {followed}"
        yield Finding(name="log", well=False, said=said, fix=_RESTORE)
    elif known not in ("", *hashes):
        said = f"entry {seen} of {registry.log.uri} is not the one that MLflow followed: its sha256 is another"
        yield Finding(name="log", well=False, said=said, fix=_RESTORE)
    else:
        yield Finding(
            name="log", well=True, said=f"{number:,} entries in {registry.log.uri}, each follows the one before"
        )


def look_at_aliases(registry: Registry, settle: Mend) -> Iterator[Finding]:
    """Where the aliases point, and what MLflow shows of them, against the last entry."""
    standing = registry.models.standing("release")  # before the log, as above
    entry = registry.log.last()
    for alias in get_args(Alias):
        yield _alias(registry, alias, entry, standing.aliases.get(alias), settle)
    for alias in sorted(set(standing.aliases) - set(get_args(Alias))):
        said = f"set by hand to version {standing.aliases[alias]}; it is not Assay's, and is left alone"
        yield Finding(name=f"alias {alias}", well=True, said=said)
    if entry is not None:
        yield _shown(registry, standing, entry, settle)


def _alias(registry: Registry, alias: Alias, entry: Entry | None, found: int | None, settle: Mend) -> Finding:
    side = entry.aliases.get(alias) if entry else None
    name = f"alias {alias}"
    if side is not None and registry.models.version("release", side.version) is None:
        said = f"points nowhere: the log says {side.shown}, and that was deleted from the registry"
        fix = "`assay release rollback`, or register the release again and promote it"
        return Finding(name=name, well=False, said=said, fix=fix)
    if found != (side.version if side else None):
        was = f"version {found}" if found else "nothing"
        said = f"it was set by hand to {was}; the log says {side.shown if side else 'nothing'}"
        return Finding(name=name, well=False, said=said, fix=MEND, mend=settle)
    return Finding(name=name, well=True, said=side.shown if side else "nobody")


def _shown(registry: Registry, standing: Standing, entry: Entry, settle: Mend) -> Finding:
    name = "page in MLflow"
    if settled(standing) != entry.number:
        said = f"MLflow follows the log up to entry {settled(standing)}; its last one is {entry.number}"
        return Finding(name=name, well=False, said=said, fix=MEND, mend=settle)
    if standing.description != page(registry, entry):
        said = f"somebody wrote something else there than entry {entry.number} and those before say"
        return Finding(name=name, well=False, said=said, fix=MEND, mend=partial(describe, registry, entry))
    return Finding(name=name, well=True, said=f"it shows entry {entry.number}")


def look_at_webhook(registry: Registry, deliver: Told) -> Iterator[Finding]:
    """Entries that who listens was not told of; `deliver` sends them, if it knows where to."""
    owed = undelivered(registry.log)
    if owed:
        numbers = ", ".join(map(str, owed[:10])) + (", …" if len(owed) > 10 else "")
        said = f"{len(owed):,} entries were not delivered: {numbers}"
        fix = f"{MEND} with --webhook.url; remove {registry.log.uri}/delivered if nobody listens any more"
        send = partial(deliver, registry.log.read(owed[0]))
        yield Finding(name="webhook", well=False, said=said, fix=fix, mend=send)
    else:
        listened = registry.log.delivered() is not None
        yield Finding(name="webhook", well=True, said="all was delivered" if listened else "nobody listens")
