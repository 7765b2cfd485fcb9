"""Conservation: rows out == rows in, counted by the product itself at the end of every run.

Knows what the manifests plan and what the tables hold. Does not know how a run went.
"""

from assay.jobs.backlog import find_backlog
from assay.jobs.run import Run
from assay.jobs.store import Store
from assay.platform.errors import ConservationError


def open_shards(store: Store, run: Run) -> bool:
    """Whether shards are left to do."""
    return find_backlog(store, run.known, run.partition, retry_faults=False).shards > 0


def conserve_judged(store: Store, run: Run) -> None:
    """Of a re-audit: as many verdicts as there are observations, whatever is planned beside them; or it is not done.

    Raises:
        ConservationError: with the counts.
    """
    left = find_backlog(store, run.known, run.partition, retry_faults=False)
    verdicts = store.verdicts.table().num_rows(run.partition)
    if left.judge or left.rows_done != verdicts:
        raise ConservationError(
            "rows out differ from rows in",
            where=store.shown,
            why=f"observed {left.rows_done}, judged {verdicts}, open shards {len(left.judge)}",
            fix="run `assay verify`; the same command goes on where it stopped",
        )


def conserve(store: Store, run: Run) -> None:
    """Rows out == rows in, from the ledgers' own counts; or the run is not done. What another planner added since the
    run began is the next run's.

    Raises:
        ConservationError: with the counts.
    """
    left = find_backlog(store, run.known, run.partition, retry_faults=False)
    verdicts = store.verdicts.table().num_rows(run.partition)
    if left.shards or not left.rows_done == verdicts == run.planned:
        raise ConservationError(
            "rows out differ from rows in",
            where=store.shown,
            why=f"planned {run.planned}, observed {left.rows_done}, judged {verdicts}, open shards {left.shards}",
            fix="run `assay verify`; the same command goes on where it stopped",
        )
