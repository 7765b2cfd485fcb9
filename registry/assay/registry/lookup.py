"""Finding a registered release by what people call it: a number, `models:/…`, an alias or the release's id.

Knows the forms. Does not fetch anything (`fetching.py`).
"""

import re

from assay.platform.errors import SpecError
from assay.registry.models import Version, newest
from assay.registry.promotion_entry import Side
from assay.registry.registry import Registry

_REF = re.compile(r"(?:models:/(?P<model>[a-z][a-z0-9_-]*)/)?v?(?P<number>\d+)")
_ALIAS = re.compile(r"(?:models:/(?P<model>[a-z][a-z0-9_-]*))?@(?P<alias>[a-z]+)")


def find_version(registry: Registry, named: str) -> Version:
    """The version of a release that is named: `4`, `models:/assay-release/4`, `@challenger`, or its id.

    Raises:
        SpecError: there is no such one.
        RegistryError: it is of another registry, or that cannot be asked.
    """
    found = _look_up(registry, named)
    if found is None:
        raise SpecError(
            f"no registered release {named!r}",
            where=f"{registry.place.uri}, {registry.models.model('release')}",
            why="neither a version, nor an alias, nor the id of one",
            fix="`assay release list` tells what there is; `assay release register DIR` adds one",
        )
    return found


def side_of(version: Version) -> Side:
    """A version as the log pins it."""
    return Side(version=version.number, release=version.tags.get("assay.release", ""), digest=version.digest)


def _look_up(registry: Registry, named: str) -> Version | None:
    models = registry.models
    for form in (_REF, _ALIAS):
        match = form.fullmatch(named)
        if match is None:
            continue
        if match["model"]:
            registry.refuse_strangers(match["model"], named)
        if form is _REF:
            return models.version("release", int(match["number"]))
        entry = registry.log.last()
        side = next((side for alias, side in entry.aliases.items() if alias == match["alias"]), None) if entry else None
        return None if side is None else models.version("release", side.version)
    return newest(models.versions("release", {"assay.release": named}))
