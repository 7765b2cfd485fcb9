"""One shard's observations carried over to another encoder: clear images by the map, the others to be encoded again.

Knows rows. Does not know where they come from or go to (`migration_writer.py`), nor how clearness was found out
(`migration_agreement.py`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.jobs.decider import ClearRule, Decider
from assay.platform.embedding_map import EmbeddingMap
from assay.platform.errors import StorageError
from assay.platform.faults import OK, FaultKind
from assay.platform.moderator import embedding_column, embeddings_of
from assay.platform.rows import MAPPED, OBSERVATIONS, are_mapped
from assay.platform.scoring import over_views

HALF_BYTES = 2

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Carrier:
    """Makes a shard's new observations of its old ones. May be used from many threads."""

    map: EmbeddingMap
    decider: Decider
    rule: ClearRule
    agreement: float
    """What of the decisions on clear images agrees, at least: it stands in each mapped row."""
    old_encoder: str

    def carry(self, rows: pa.Table) -> pa.Table:
        """The same rows for the new encoder: mapped, `STALE`, or a fault as before.

        Raises:
            StorageError: an old embedding is damaged.
        """
        is_ok = pc.equal(rows["outcome"], OK).to_numpy()
        views = pc.fill_null(pc.list_value_length(rows["views"]), 0).to_numpy().astype(np.int64)
        self._refuse_odd(rows, np.where(is_ok, views, 0))
        counts = views[is_ok]
        mapped = self.map.apply(embeddings_of(rows["embedding"], len(self.map.centre_old)))
        scores = over_views(self.decider.scorer.score_labels(mapped), np.cumsum(counts) - counts)[0]
        clear = np.zeros(len(rows), np.bool_)
        clear[is_ok] = self.decider.is_clear(scores, self.rule)
        clear &= ~are_mapped(rows["signals"]).to_numpy()  # a map of a map was never measured
        kept = mapped[np.repeat(clear[is_ok], counts)]
        return self._table(rows, clear, is_ok & ~clear, embedding_column(kept, np.where(clear, views, 0)))

    def _refuse_odd(self, rows: pa.Table, views: npt.NDArray[np.int64]) -> None:
        lengths = pc.binary_length(rows["embedding"]).to_numpy()
        wrong = np.flatnonzero(lengths != views * len(self.map.centre_old) * HALF_BYTES)
        if len(wrong):
            raise StorageError(
                "an observation is not of the store's encoder",
                where=str(rows["uri"][int(wrong[0])]),
                why=f"its embedding has {lengths[wrong[0]]} bytes for {views[wrong[0]]} views",
                fix="run `assay verify --deep` on the old store, then `assay repair`",
            )

    def _table(self, rows: pa.Table, clear: Bools, stale: Bools, embedding: pa.Array) -> pa.Table:
        no_views = pa.array([[]] * len(rows), OBSERVATIONS.field("views").type)
        detail = f"observed with encoder {self.old_encoder[:12]}"
        changed = {
            "outcome": pc.if_else(pa.array(stale), FaultKind.STALE.value, rows["outcome"]),
            "detail": pc.if_else(pa.array(stale), detail, rows["detail"]),
            "views": pc.if_else(pa.array(stale), no_views, rows["views"].combine_chunks()),
            "embedding": embedding,
            "signals": self._signals(clear),
        }
        columns = [changed.get(name, rows[name]) for name in OBSERVATIONS.names]
        return pa.table(columns, OBSERVATIONS.names).cast(OBSERVATIONS)

    def _signals(self, clear: Bools) -> pa.MapArray:
        """`MAPPED` for clear rows, null for others."""
        offsets = pa.array(np.append(0, np.cumsum(clear)).astype(np.int32), mask=np.append(~clear, False))
        told = int(clear.sum())
        return pa.MapArray.from_arrays(offsets, pa.repeat(MAPPED, told), pa.repeat(np.float32(self.agreement), told))
