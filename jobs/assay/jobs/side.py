"""One side of a comparison: the verdicts of a release under a policy, read in the order of shards as arrays.

Knows how verdicts lie in files, and that a release gives every readable image a score for each of its labels. Does not
know the other side (`pairing.py`), nor what is compared (`change_tally.py`).

The map of scores is most of what is read. Its keys repeat in every row, so they are read as a dictionary: places in a
list of labels, not sixteen texts for each image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from assay.jobs.datafile import unreadable
from assay.jobs.file_table import FileTable
from assay.jobs.judged import Judged
from assay.jobs.ledger import DataFile
from assay.jobs.store import Store
from assay.jobs.tally import explode_scores
from assay.platform.errors import StorageError
from assay.platform.faults import OK
from assay.platform.other_clients import arrow_place
from assay.platform.policy import ACTIONS, Ranks
from assay.platform.promise import LabelPoints
from assay.platform.rows import VERDICT_FILE

COLUMNS = ("shard", "uri", "etag", "outcome", "action", "scores")
FORMAT = ds.ParquetFileFormat(
    dictionary_columns=["scores.key_value.key"],
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True),
)
SCHEMA = pa.schema(
    [
        field.with_type(pa.map_(pa.dictionary(pa.int32(), pa.string()), pa.float32()))
        if field.name == "scores"
        else field
        for field in VERDICT_FILE
        if field.name in COLUMNS
    ]
)
READING = {"batch_size": 32_768, "batch_readahead": 2, "fragment_readahead": 8}
AT_ONCE = 65_536
"""Rows of small files that are read together: on a bucket each of them takes some 20 ms to come."""

Scores = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some verdicts, in order. Each field has one entry for each."""

    shards: Places
    uris: pa.Array
    etags: pa.Array
    readable: npt.NDArray[np.bool_]
    ranks: Ranks
    """What is done with the image, as a place in `ACTIONS`."""
    scores: Scores  # [n, labels]; no number where the image is not readable

    def __len__(self) -> int:
        return len(self.shards)

    def part(self, start: int, stop: int) -> "Rows":
        """Those from `start` to before `stop`."""
        at = slice(start, stop)
        uris, etags = (column.slice(start, stop - start) for column in (self.uris, self.etags))
        return Rows(self.shards[at], uris, etags, self.readable[at], self.ranks[at], self.scores[at])

    def take(self, places: Places) -> "Rows":
        """Those at some places."""
        uris, etags = (column.take(pa.array(places)) for column in (self.uris, self.etags))
        return Rows(self.shards[places], uris, etags, self.readable[places], self.ranks[places], self.scores[places])

    @classmethod
    def none(cls, num_labels: int) -> "Rows":
        """No verdict."""
        numbers, texts = np.empty(0, np.int64), pa.array([], pa.string())
        scores = np.empty((0, num_labels), np.float32)
        return cls(numbers, texts, texts, numbers.astype(np.bool_), numbers.astype(np.uint8), scores)

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Parts end to end; at least one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.shards for part in parts]),
            pa.concat_arrays([part.uris for part in parts]),
            pa.concat_arrays([part.etags for part in parts]),
            np.concatenate([part.readable for part in parts]),
            np.concatenate([part.ranks for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )


@dataclass(frozen=True)
class Side:
    """A release and a policy that judged a store, with the files of their verdicts."""

    store: Store
    judged: Judged
    files: FileTable

    @classmethod
    def of(cls, store: Store, judged: Judged) -> "Side":
        """What they left in the store until now."""
        return cls(store, judged, store.verdicts.table().part(judged.partition))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels that the release scores, in the order of columns."""
        return tuple(self.judged.release.library().labels)

    def ranks_of(self, scores: Scores) -> Ranks:
        """What each label asks for, as places in `ACTIONS`: [n, labels]."""
        return self.judged.policy.decide(scores, self.labels, self._points)

    @cached_property
    def thresholds(self) -> tuple[Scores, Scores]:
        """Scores from which on each label asks for review, and for block; infinity for never. Each [labels]."""
        return self.judged.policy.thresholds(self.labels, self._points)

    @cached_property
    def _points(self) -> Mapping[str, LabelPoints]:
        return self.judged.release.operating_points().of(self.judged.policy.name)

    def rows(self) -> Iterator[Rows]:
        """All verdicts, in order of shards.

        Raises:
            StorageError: a committed file cannot be read, or is not what was written.
        """
        last = -1
        for files in _groups(self.files):
            for batch in self._batches(files):
                rows = self._parsed(batch, files[0].path)
                steps = np.diff(rows.shards, prepend=last)
                if (steps < 0).any():
                    raise self._damaged(files[0].path, "its shards are out of order")
                last = int(rows.shards[-1])
                yield rows

    def _batches(self, files: Sequence[DataFile]) -> Iterator[pa.RecordBatch]:
        fs, place = arrow_place(self.store.storage, self.store.verdicts.uri)
        try:
            fragments = [FORMAT.make_fragment(f"{place}/{file.path}", fs) for file in files]
            dataset = ds.FileSystemDataset(fragments, SCHEMA, FORMAT, fs)
            for batch in dataset.scanner(columns=list(COLUMNS), **READING).to_batches():
                if batch.num_rows:
                    yield batch
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(files[0].path, str(error)) from error

    def _parsed(self, batch: pa.RecordBatch, path: str) -> Rows:
        readable = pc.equal(batch["outcome"], OK).to_numpy(zero_copy_only=False)
        ranks = pc.index_in(batch["action"], pa.array([action.value for action in ACTIONS]))
        entries, values = explode_scores(batch["scores"])
        column = {label: place for place, label in enumerate(self.labels)}
        columns = np.array([column.get(name, -1) for name in entries.names], np.int64)[entries.labels]
        shape = batch.num_rows, len(self.labels)
        scores, has = np.full(shape, np.nan, np.float32), np.zeros(shape, np.bool_)
        scores[entries.rows, columns], has[entries.rows, columns] = values, True
        # Once each: as many entries as places, and every place has one.
        is_whole = len(values) == readable.sum() * shape[1] and has[readable].all() and not (columns < 0).any()
        if ranks.null_count or not is_whole:
            raise self._damaged(path, f"its verdicts are not those of release {self.judged.release.id}")
        shards = batch["shard"].to_numpy()
        return Rows(shards, batch["uri"], batch["etag"], readable, ranks.to_numpy().astype(np.uint8), scores)

    def _damaged(self, path: str, why: str) -> StorageError:
        return unreadable(self.store.uri, f"{self.store.verdicts.uri}/{path}", why)


def _groups(files: FileTable) -> Iterator[list[DataFile]]:
    """The files in order of shards, neighbours that are small together."""
    held: list[DataFile] = []
    for file in files.in_order():
        held.append(file)
        if sum(one.rows for one in held) >= AT_ONCE:
            yield held
            held = []
    if held:
        yield held
