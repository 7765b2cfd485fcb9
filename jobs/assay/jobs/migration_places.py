"""Where a migration goes from and to: which stores can be a pair, and where the new one may lie.

Knows refusals. Does not know what is done with the stores (`migrate.py`).
"""

from pathlib import Path

from assay.jobs.binding import Binding, read_binding
from assay.jobs.decider import Decider
from assay.jobs.generation import generations
from assay.jobs.migration_record import Pair, read_record
from assay.jobs.store import Store
from assay.platform.errors import SpecError, StoreVersionError
from assay.platform.uris import parse_uri, relative_uri


def pair_of(old: Store, decider: Decider) -> Pair:
    """The two encoders.

    Raises:
        SpecError: the old store has no observations, or has the release's already.
    """
    held, release = read_binding(old), decider.release
    if held is None:
        fix = "run `assay backfill` with the new release: there is nothing to migrate"
        raise SpecError("nothing was observed yet", where=old.shown, why="binding.json is missing", fix=fix)
    if held == Binding.of(release):
        raise SpecError(
            "the store has this release's embeddings already",
            where=old.shown,
            why=f"both have encoder {held.encoder[:12]} and the same preprocessing",
            fix="judge it again with `assay reaudit`: no image is fetched",
        )
    return Pair(
        store_id=old.id,
        old_encoder=held.encoder,
        new_encoder=release.manifest.encoder.digest,
        release=release.id,
        policies=tuple(policy.name for policy in decider.policies),
    )


def heir_of(old: Store, place: str, pair: Pair) -> Store:
    """The new store, or the place where it may come.

    Raises:
        SpecError: it lies in the old one or among the images, or something else is there.
        StoreVersionError: it came of another pair.
    """
    new = Store.attach(old.storage, place)
    _refuse_inside(old, new)
    record = read_record(new)
    if record is None:
        _refuse_taken(new)
    elif record.pair != pair:
        differing = [name for name in Pair.model_fields if getattr(record.pair, name) != getattr(pair, name)]
        said = (f"{name}: there {getattr(record.pair, name)}, asked {getattr(pair, name)}" for name in differing)
        raise StoreVersionError(
            "the new store came of another migration",
            where=new.shown,
            why="; ".join(said),
            fix="use another new store, or the release and policies it was begun with",
        )
    return new


def _refuse_inside(old: Store, new: Store) -> None:
    roots = [generation.root for generation in generations(old)]
    inner, outer = _real(new.uri), [_real(old.uri), *(_real(root) for root in roots if root)]
    within = next((one for one in outer if relative_uri(inner, one) != inner or inner == one), None)
    if within is None and relative_uri(outer[0], inner) != outer[0]:
        within = inner
    if within is not None:
        raise SpecError(
            "the new store lies in the wrong place",
            where=new.shown,
            why=f"one store would lie in another, or among the images: {within}",
            fix="put it beside them",
        )


def _real(uri: str) -> str:
    """A uri with the links in its path followed."""
    place = parse_uri(uri)
    return uri if place.is_s3 else parse_uri(str(Path(place.key).resolve())).uri


def _refuse_taken(new: Store) -> None:
    """Refuse a place where anything else is than what a migration that was cut off at once leaves."""
    if new.id:
        empty = read_binding(new) is None and not generations(new) and not len(new.observations.table())
        what = "" if empty else "another store is there"
    else:
        other = (file.name for file in new.storage.list(new.uri) if not file.name.startswith("probe-"))
        found = next(other, None)
        what = "" if found is None else f"it is not empty: {found}"
    if what:
        fix = "name a place where nothing is"
        raise SpecError("the new store cannot be made here", where=new.shown, why=what, fix=fix)
