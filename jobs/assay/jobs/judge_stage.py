"""The second of two stages that a shard passes: judge, which encodes, decides and writes.

Knows what is done with one shard, or with a span of shards that are judged from what is stored, in one process. Does
not know Ray, nor how stored rows are read (`stored_rows.py`).
"""

import os
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from assay.jobs.datafile import read_shard, write_observations, write_verdicts
from assay.jobs.handover import batch_of, only
from assay.jobs.release_copy import fetch_release
from assay.jobs.stored_rows import carried_scores, read_observed
from assay.jobs.work import Failure, Receipt, Task, Work, digest_of_keys
from assay.platform.errors import AssayError, ConservationError
from assay.platform.moderator import Moderator
from assay.platform.storage import Storage, StorageSpec


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """What the judge stage needs on its node."""

    storage: StorageSpec
    store: str
    release: str
    """Id of the release, of which the store keeps a copy."""
    policy: str
    size: int
    device: str
    threads: int
    """Threads the encoder may use on a CPU."""
    encodes: bool = True
    """Whether there is anything to encode: judging again what was observed never loads the encoder."""
    carried: tuple[str, ...] = ()
    """Labels whose scores are carried over, where work names files that have them."""


class JudgeStage:
    """Encodes, judges and writes one shard; answers with a receipt."""

    def __init__(self, spec: JudgeSpec) -> None:
        self.spec = spec
        self.storage = Storage(spec.storage)
        release = fetch_release(self.storage, spec.store, spec.release)
        # Ray sets one OpenMP thread per actor; torch or OpenVINO, not loaded yet, goes by this when it is.
        os.environ["OMP_NUM_THREADS"] = str(spec.threads)
        self.moderator = Moderator(release, spec.policy, spec.device)
        if spec.encodes:
            self.moderator.warm_up()  # now, while the first shard is fetched
        # One shard encodes while another is decided and its files are written; on a GPU both may encode.
        self.turn = threading.Semaphore(self.moderator.encoder.calls_at_once if spec.encodes else 1)
        self.notes = self.moderator.encoder.notes if spec.encodes else ()
        self.worker = {
            "node": socket.gethostname(),
            "pid": str(os.getpid()),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }

    def __call__(self, block: pa.Table) -> pa.Table:
        """One shard that was looked at, or work that needs no look, in; one receipt out."""
        work = Work.model_validate_json(only(block, "work"))
        failure = only(block, "failure") if "failure" in block.column_names else ""
        if failure:
            return self._failed(work, Failure.model_validate_json(failure)).row()
        try:
            return self.judge(work, block).row()
        except AssayError as error:
            return self._failed(work, Failure.of(error)).row()

    @staticmethod
    def _failed(work: Work, failure: Failure) -> Receipt:
        return Receipt(shard=work.shard, last_shard=work.last_shard, task=work.task, rows=0, failure=failure)

    def judge(self, work: Work, block: pa.Table) -> Receipt:
        """Do what `work` asks.

        Raises:
            ConservationError: the rows that come out are not the rows the plan has.
        """
        clock = _Clock(look=float(block["seconds"][0].as_py()) if "seconds" in block.column_names else 0.0)
        seen = self._observations(work, block, clock)
        carried = carried_scores(self.storage, self.spec.store, work, seen, self.spec.carried)
        verdicts = self.moderator.decide(seen, carried)
        clock.lap("judge")
        if not work.rows == seen.num_rows == verdicts.num_rows:
            raise ConservationError(
                "rows out differ from rows in",
                where=f"shard {work.shard}",
                why=f"planned {work.rows}, observed {seen.num_rows}, judged {verdicts.num_rows}",
                fix="run `assay verify`, and report this",
            )
        is_new = work.task is not Task.JUDGE
        observed = write_observations(self.storage, self.spec.store, work.shard, seen) if is_new else None
        judged = write_verdicts(self.storage, self.spec.store, work.shard, verdicts)
        clock.lap("write")
        fetched = {(ref.uri, ref.etag) for ref in work.refs} if is_new else set()
        return Receipt(
            shard=work.shard,
            last_shard=work.last_shard,
            task=work.task,
            rows=seen.num_rows,
            keys=digest_of_keys(_keys(verdicts)) if is_new else "",
            observed=observed,
            judged=judged,
            outcomes=_counts(seen["outcome"]),
            actions=_counts(verdicts["action"]),
            flagged=_labels(verdicts),
            fetched=len(fetched),
            fetched_bytes=sum(ref.size for ref in work.refs) if fetched else 0,
            seconds=clock.laps,
            worker=self.worker,
            carried=seen.num_rows if carried is not None else 0,
            notes=self.notes,
        )

    def _observations(self, work: Work, block: pa.Table, clock: "_Clock") -> pa.Table:
        if work.task is Task.JUDGE:
            return read_observed(self.storage, self.spec.store, work)
        with self.turn:
            clock.lap("wait")
            fresh = self.moderator.observe(batch_of(block, self.spec.size))
            clock.lap("encode")
        if work.task is Task.OBSERVE:
            return fresh
        [path] = work.observed
        return _replace(read_shard(self.storage, self.spec.store, path, work.shard), fresh)


class _Clock:
    """Time by step."""

    def __init__(self, **laps: float) -> None:
        self.laps, self._last = dict(laps), time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = round(now - self._last, 4), now


def _replace(old: pa.Table, fresh: pa.Table) -> pa.Table:
    """`old` with the rows of the images in `fresh` replaced, in the order of uris."""
    replaced = set(_keys(fresh))
    again = pa.array([key in replaced for key in _keys(old)], pa.bool_())
    kept = old.filter(pc.invert(again))
    return pa.concat_tables([kept, fresh.cast(old.schema)]).sort_by([("uri", "ascending"), ("etag", "ascending")])


def _keys(rows: pa.Table) -> list[tuple[str, str]]:
    return list(zip(rows["uri"].to_pylist(), rows["etag"].to_pylist(), strict=True))


def _counts(column: pa.ChunkedArray) -> Counter[str]:
    return Counter({str(pair["values"]): int(pair["counts"]) for pair in pc.value_counts(column).to_pylist()})


def _labels(verdicts: pa.Table) -> Counter[str]:
    findings = verdicts["findings"].combine_chunks()
    return _counts(pa.chunked_array([findings.flatten().field("label")])) if len(findings) else Counter()
