"""Planning: list a source once and write down, as a new manifest generation, what the store has not planned before.

Knows how a new listing is merged with the store's manifests. Does not fetch, and does not know models.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.forgotten import AT_ONCE, Forgotten
from assay.jobs.generation import Generation, generation_file, generations, publish, refuse_unplanned
from assay.jobs.manifest import ManifestWriter, Shard, ShardSpec, cut, read_rows
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.source import SourceSpec, read_source, source_root
from assay.jobs.store import Store, now
from assay.jobs.unpacking import refuse_compressed, says_no_image, unpack
from assay.platform.errors import CommitError, ManifestError
from assay.platform.members import is_pack, order_of, parse_member
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from assay.platform.uris import relative_uri

Progress = Callable[[int, int], None]
"""Called now and then with (objects listed, bytes listed)."""


class PlanSpec(SourceSpec):
    """What to plan, and how it is cut."""

    shard: ShardSpec = Field(ShardSpec(), description="how the listing is cut into shards")


class PlanFacts(BaseModel):
    """What a plan found."""

    model_config = ConfigDict(frozen=True)

    source: str
    images: int
    """Objects of this listing; of a pack, what lies in it."""
    bytes: int
    """Stored bytes of this listing; a pack's are counted whole."""
    new_images: int
    """Of those, the ones (uri, etag) no earlier generation has."""
    new_shards: int
    already_done: int
    """Of those, the ones with a committed observation."""
    forgotten: int = 0
    """Objects of this listing that the store was made to forget: they are left out. Not counted in packs that the store
    knows something of."""
    left_out: int = 0
    """Of packs that were opened, and beside them: files that are no images by their names."""
    generation: int | None
    """The generation written; None when the listing brought nothing new."""


@dataclass(slots=True)
class _Tally:
    """Counts kept while a listing streams by."""

    progress: Progress
    images: int = 0
    bytes: int = 0
    new: int = 0
    new_bytes: int = 0
    done: int = 0
    forgotten: int = 0
    left_out: int = 0
    unopened: int = 0
    """New objects that are packs by their names, planned as if they were images."""
    shards: int = 0

    def count(self, ref: ImageRef) -> None:
        self.bytes += ref.size
        self.count_images(1)

    def count_images(self, images: int) -> None:
        before, self.images = self.images, self.images + images
        if before // 1000 != self.images // 1000:
            self.progress(self.images, self.bytes)

    def leave_out(self, images: int) -> None:
        self.left_out += images


def plan(store: Store, source: str, spec: PlanSpec, progress: Progress = lambda _images, _bytes: None) -> PlanFacts:
    """List `source` and write what is new as one more generation.

    Raises:
        ManifestError: the source is empty, names an image twice, or holds the store; nothing was written.
        CommitError: another planner wrote the same generation first, or an erasure is under way.
        ConservationError: the store's manifests are not whole.
    """
    _refuse_store_inside(store, source)
    done = store.observations.table().shards()
    known = generations(store)  # after the table: another driver may just have planned and observed more
    forgotten = Forgotten.of(store)  # after the generations: an erasure begun since then has taken the next number
    refuse_unplanned(store, known)
    tally = _Tally(progress)
    first = known[-1].next_shard if known else 0
    listing = read_source(store.storage, source, spec)
    if spec.packed:
        unknown = _new_members(store.storage, listing, _Merge(_known(store, known), done, tally), spec.image_columns)
    else:
        unknown = _new_refs(listing, _Merge(_known(store, known), done, tally))
    new = _not_forgotten(unknown, forgotten, tally)
    writer = _write_parts(store, len(known), cut(new, first, spec.shard), tally)
    progress(tally.images, tally.bytes)
    if not tally.images:
        left_out = f", {tally.left_out} hold no images by their names or columns" if tally.left_out else ""
        raise ManifestError(
            "the source is empty",
            where=source,
            why=f"no object under it is wanted{left_out}",
            fix="check the path and the patterns",
        )
    if writer is not None and not spec.packed and tally.unopened:
        _refuse_unopened(source, writer, tally)
    if writer is not None:
        _publish(store, source, len(known), first, writer, tally)
    return PlanFacts(
        source=source,
        images=tally.images,
        bytes=tally.bytes,
        new_images=tally.new,
        new_shards=tally.shards,
        already_done=tally.done,
        forgotten=tally.forgotten,
        left_out=tally.left_out,
        generation=len(known) if writer else None,
    )


def _refuse_store_inside(store: Store, source: str) -> None:
    root = source_root(source)
    if root and relative_uri(store.uri, root) != store.uri:
        raise ManifestError(
            "the store lies inside the source",
            where=store.shown,
            why="its own files would be listed as images, more of them every time",
            fix="put the store beside the source",
        )


def _write_parts(store: Store, number: int, shards: Iterator[Shard], tally: _Tally) -> ManifestWriter | None:
    """The parts of generation `number`, or None when there are no shards.

    A listing that brings nothing, or breaks half way, leaves nothing behind.
    """
    writer: ManifestWriter | None = None
    try:
        for shard in shards:
            if writer is None:
                store.probe()
                writer = ManifestWriter(store, f"generation-{number:06d}")
            writer.add(shard)
            tally.shards += 1
    except BaseException:  # also a full disk and Ctrl-C leave no parts behind
        if writer is not None:
            writer.abort()
        raise
    return writer


def _publish(store: Store, source: str, number: int, first: int, writer: ManifestWriter, tally: _Tally) -> None:
    parts = writer.close()
    store.establish()
    generation = Generation(
        number=number,
        source=source,
        root=source_root(source),
        created=now(),
        listed=tally.images,
        images=tally.new,
        bytes=tally.new_bytes,
        first_shard=first,
        shards=tally.shards,
        parts=parts,
    )
    if not publish(store, generation):
        writer.abort()
        raise CommitError(
            "another driver planned this store, or made it forget something, at the same time",
            where=generation_file(store, generation),
            why="the generation exists",
            fix="run the same command again",
        )


@dataclass(frozen=True, slots=True, order=True)
class _Known:
    uri: str
    etag: str
    shard: int


def _known(store: Store, known: list[Generation]) -> Iterator[_Known]:
    return heapq.merge(*(_known_rows(store, generation) for generation in known))


def _known_rows(store: Store, generation: Generation) -> Iterator[_Known]:
    for rows in read_rows(store, generation):
        columns = (rows["uri"].to_pylist(), rows["etag"].to_pylist(), rows["shard"].to_pylist())
        yield from (_Known(*one) for one in zip(*columns, strict=True))


@dataclass(slots=True)
class _Merge:
    """One pass over the rows of all manifests, beside a listing in the same order."""

    known: Iterator[_Known]
    done: ShardRanges
    tally: _Tally
    head: _Known | None = None
    begun: bool = False

    def shard_of(self, ref: ImageRef) -> int | None:
        """The shard that has an object; None when it is new."""
        rows = self._rows(ref.uri, lambda uri: uri == ref.uri)
        return {row.etag: row.shard for row in rows}.get(ref.etag)

    def members_of(self, pack: ImageRef) -> list[int]:
        """The shards of what lies in a pack, one for each image; none when the pack is new."""
        rows = self._rows(order_of(pack), lambda uri: uri.startswith(order_of(pack)))
        return [row.shard for row in rows if row.etag == pack.etag]

    def begin(self) -> None:
        """Read the first row: before the listing, which may take an hour."""
        if not self.begun:
            self.head, self.begun = next(self.known, None), True

    def _rows(self, first: str, wanted: Callable[[str], bool]) -> list[_Known]:
        found = []
        while self.head is not None and (self.head.uri < first or wanted(self.head.uri)):
            if wanted(self.head.uri):
                found.append(self.head)
            self.head = next(self.known, None)
        return found


def _new_refs(listing: Iterator[ImageRef], merge: _Merge) -> Iterator[ImageRef]:
    """The refs of a sorted listing whose (uri, etag) no manifest has: one pass over both."""
    merge.begin()
    for ref in listing:
        merge.tally.count(ref)
        shard = merge.shard_of(ref)
        if shard is None:
            merge.tally.unopened += is_pack(ref.uri)
            yield ref
        elif shard in merge.done:
            merge.tally.done += 1


def _new_members(
    storage: Storage, listing: Iterator[ImageRef], merge: _Merge, columns: tuple[str, ...]
) -> Iterator[ImageRef]:
    """What is new in a listing of packs. A pack of which any image is known was planned whole: it is not opened."""
    tally = merge.tally
    merge.begin()

    def unknown() -> Iterator[ImageRef]:
        for ref in listing:
            if not is_pack(ref.uri):
                refuse_compressed(ref)
                if says_no_image(ref.uri):
                    tally.leave_out(1)
                else:
                    yield from _new_refs(iter([ref]), merge)
                continue
            tally.bytes += ref.size
            members = merge.members_of(ref)
            tally.count_images(len(members))
            tally.done += sum(shard in merge.done for shard in members)
            if not members:
                yield ref

    for ref in unpack(storage, unknown(), columns, tally.leave_out):
        tally.count_images(parse_member(ref.uri) is not None)  # others were counted when they were listed
        yield ref


def _refuse_unopened(source: str, writer: ManifestWriter, tally: _Tally) -> None:
    """Refuse a listing of packs that nobody said are packs: each would end as one object of no known format."""
    if tally.unopened < tally.new:
        return
    writer.abort()
    raise ManifestError(
        "the source holds packs, not images",
        where=source,
        why=f"all of the {tally.new} new objects are .tar or .parquet files",
        fix="add --packed to plan the images in them",
    )


def _not_forgotten(refs: Iterator[ImageRef], forgotten: Forgotten | None, tally: _Tally) -> Iterator[ImageRef]:
    """The refs that the store was not made to forget. Only images that no manifest has are asked about."""
    while some := list(itertools.islice(refs, AT_ONCE)):
        gone = forgotten.are_in(some) if forgotten else [False] * len(some)
        tally.forgotten += sum(gone)
        for ref, is_gone in zip(some, gone, strict=True):
            if not is_gone:
                tally.new += 1
                tally.new_bytes += ref.size
                yield ref
