"""Rows for a replay: an observation beside the verdict that was made of it, of one image, of some or of a sample.

Knows where both lie, and what of a verdict is held against another one. Does not know how a verdict is made.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.jobs.datafile import JUDGED, OBSERVED
from assay.jobs.file_table import FileTable
from assay.jobs.image_rows import ImageRows
from assay.jobs.judged import Judged
from assay.jobs.ledger import DataFile
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store
from assay.jobs.stored_rows import KEYS, read_observed, read_verdicts
from assay.jobs.work import Task, Work
from assay.platform.errors import GoldenError, SpecError, StorageError
from assay.platform.golden import GoldenSet
from assay.platform.uris import parse_uri

FILES = 64
"""Files that a sample is drawn from, at most."""
AT_ONCE = 1024
"""Images of a golden set judged together."""


def rows_of_image(store: Store, judged: Judged, image: str, etag: str | None = None) -> tuple[pa.Table, pa.Table]:
    """The observation of an image, and its verdict: one row each. Without an etag, of the version observed last.

    Raises:
        SpecError: the image is not known, or was not judged so.
        StorageError: committed rows cannot be read.
    """
    uri = image if "://" in image else parse_uri(image).uri
    mine = pc.field("uri") == uri
    if etag is not None:
        mine &= pc.field("etag") == etag
    seen = _patiently(store, "observations", mine)
    if not seen.num_rows:
        raise SpecError(
            "the store knows no such image",
            where=store.shown,
            why=f"no observation of {uri}" + (f" with etag {etag}" if etag else ""),
            fix="name it as the store does (see `findings` or the report); what was forgotten is gone",
        )
    seen = seen.sort_by([("shard", "descending")]).slice(0, 1)
    then = _patiently(store, "verdicts", judged.where & mine & (pc.field("etag") == seen["etag"][0]))
    if not then.num_rows:
        raise SpecError(
            f"{judged.release.id} has not judged this image under {judged.policy.name}",
            where=store.shown,
            why="the re-audit is not finished, or the image was observed later",
            fix="run `assay reaudit` with that release and policy again",
        )
    return seen, then.slice(0, 1)


def _patiently(store: Store, table: str, where: pc.Expression) -> pa.Table:
    ledger = store.observations if table == "observations" else store.verdicts
    try:
        return ledger.dataset().to_table(filter=where)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(
            "committed rows cannot be read",
            where=ledger.uri,
            why=str(error),
            fix=f"run `assay verify {store.shown}` to see which, then `assay repair {store.shown}`",
        ) from error


def sample_rows(store: Store, judged: Judged, sample: int, seed: int) -> Iterator[tuple[pa.Table, pa.Table]]:
    """So many observations and their verdicts, row for row, drawn at random; some at a time.

    Raises:
        StorageError: committed rows cannot be read.
    """
    rng, observed = np.random.default_rng(abs(seed)), store.observations.table()
    for file, count in _draw(store.verdicts.table().within(judged.partition), sample, rng):
        work = _work_of(observed, file)
        both = (read(store.storage, store.uri, work) for read in (read_observed, read_verdicts))
        seen, then = (rows.sort_by([(name, "ascending") for name in KEYS[:3]]) for rows in both)
        places = pa.array(np.sort(rng.choice(then.num_rows, min(count, then.num_rows), replace=False)))
        yield seen.take(places), then.take(places)


def rows_of_golden(store: Store, judged: Judged, golden: GoldenSet) -> tuple[int, Iterator[tuple[pa.Table, pa.Table]]]:
    """How many images of a golden set have no verdict here; of the others, observations and their verdicts, row for
    row, some at a time. Without an etag, of the version observed last.

    Raises:
        GoldenError: none has a verdict.
        StorageError: committed rows cannot be read.
    """
    uris = sorted({*golden.uris})
    seen = _rows(ImageRows(store, OBSERVED, store.observations.table(), [*KEYS, "embedding"]), uris)
    files = store.verdicts.table().within(judged.partition)
    then = _rows(ImageRows(store, JUDGED, files, JUDGED.schema.names), uris)
    mine, theirs = _places(seen), _places(then)
    shards = seen["shard"].to_pylist()
    latest = dict(sorted(mine, key=lambda image: shards[mine[image]]))
    images = {(uri, etag or latest.get(uri, "")) for uri, etag in zip(golden.uris, golden.etags, strict=True)}
    known = sorted(images & mine.keys() & theirs.keys())
    if not known:
        why = f"none of its {len(golden):,} images was judged by {judged.release.id} under {judged.policy.name}"
        fix = "use a golden set of this store's images, or judge them first: `assay backfill`, `assay reaudit`"
        raise GoldenError("there is nothing to replay", where=store.shown, why=why, fix=fix)
    pairs = (
        (seen.take([mine[image] for image in some]), then.take([theirs[image] for image in some]))
        for some in (known[start : start + AT_ONCE] for start in range(0, len(known), AT_ONCE))
    )
    return len(images) - len(known), pairs


def _rows(lookup: ImageRows, uris: Sequence[str]) -> pa.Table:
    schema = pa.schema([lookup.layout.schema.field(name) for name in lookup.columns])
    found = (rows.select(schema.names).cast(schema) for rows in lookup.of(uris))
    return pa.concat_tables([schema.empty_table(), *found])


def _places(rows: pa.Table) -> dict[tuple[str, str], int]:
    """The row of each (uri, etag)."""
    images = zip(rows["uri"].to_pylist(), rows["etag"].to_pylist(), strict=True)
    return {image: place for place, image in enumerate(images)}


def _draw(files: FileTable, sample: int, rng: np.random.Generator) -> list[tuple[DataFile, int]]:
    """Files, and how many rows of each: every row of the table is as likely as any other, if files are few."""
    rows = files.columns["rows"].to_numpy().astype(np.float64)
    wanted = min(sample, int(rows.sum()))
    chosen = rng.choice(len(rows), min(len(rows), FILES, max(1, wanted)), replace=False, p=rows / rows.sum())
    share = rows[chosen] / rows[chosen].sum() * wanted
    return [(files.at(int(place)), max(1, round(float(count)))) for place, count in zip(chosen, share, strict=True)]


def _work_of(observed: FileTable, file: DataFile) -> Work:
    """What reads a verdict file's rows, and the observations of the same shards."""
    shards = range(file.first_shard, file.last_shard + 1)
    seen = sorted(observed.holding(ShardRanges.of_numbers(shards)), key=lambda one: one.first_shard)
    return Work(
        shard=shards[0],
        last_shard=shards[-1],
        task=Task.JUDGE,
        rows=file.rows,
        observed=tuple(one.path for one in seen),
        carried=(file.path,),
    )


def differences(now: pa.Table, then: pa.Table) -> list[str]:
    """Where one verdict is not what it was, to the last bit; in words, and by how much."""
    found = []
    for name in ("outcome", "action", "findings"):
        one, other = now[name][0].as_py(), then[name][0].as_py()
        if one != other:
            found.append(f"{name}: was {other}, is {one}")
    one, other = (dict(rows["scores"][0].as_py() or []) for rows in (now, then))
    for label in sorted(one.keys() | other.keys()):
        if one.get(label) != other.get(label):
            found.append(f"score of {label}: was {other.get(label)}, is {one.get(label)}")
    return found
