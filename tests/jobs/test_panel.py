"""The panel told to a log: the plan, the cluster, the first commit; and nothing at all when it is not wanted."""

import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from assay.jobs.backlog import Backlog
from assay.jobs.panel import Panel
from assay.jobs.plan import PlanFacts
from assay.jobs.pools import Cluster, Pool, Pools
from assay.jobs.work import Receipt, Task
from assay.platform.release import Release

POOLS = Pools(Pool(1, 3, 0.5), Pool(1, 2, 1.0))
LISTING = PlanFacts(
    source="s", images=1234, bytes=5_000_000, new_images=1000, new_shards=4, already_done=234, generation=1
)
BACKLOG = Backlog(frozenset({1, 2, 3, 4}), frozenset(), {}, {}, {}, rows_done=234, rows=1000)


def tell(release: Release, *, show: bool, terminal: bool = False) -> str:
    out = io.StringIO()
    with Panel(Console(file=out, width=120, force_terminal=terminal), show=show) as panel:
        panel.listed(1234, 5_000_000)
        panel.planned(LISTING, BACKLOG, release)
        panel.started(Cluster(cpus=2, gpus=0, nodes=1, memory_gib=8), POOLS)
        receipt = Receipt(
            shard=1, task=Task.OBSERVE, rows=250, outcomes=Counter(ok=248, TRUNCATED=2), actions=Counter(block=3)
        )
        panel.received(receipt)
        panel.committed([receipt])
        panel.live.refresh()
    return out.getvalue()


def test_a_log_has_the_plan_the_cluster_and_the_first_commit(release_dir: Path) -> None:
    told = tell(Release.load(release_dir), show=True)
    assert "1,234 images, 5.0 MB, 1,000 new; 234 observed before, 4 shards to do" in told
    assert "2 CPUs, 0 GPUs, 1 nodes; look 1-3 actors, judge 1-2" in told
    assert "the first 250 verdicts are readable" in told


def test_a_terminal_shows_counts_while_they_come(release_dir: Path) -> None:
    told = tell(Release.load(release_dir), show=True, terminal=True)
    assert "block 3" in told
    assert "faults 2" in told
    assert "250/1000" in told


def test_a_command_is_told_as_it_is_typed_even_in_silence() -> None:
    out = io.StringIO()
    command = "assay backfill 's3://b/[old]/x' --store " + "y" * 150
    with Panel(Console(file=out, width=80), show=False) as panel:
        panel.tell_command("resume with:", command)
    assert out.getvalue() == f"resume with:\n  {command}\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_json_wants_no_panel(release_dir: Path, terminal: bool) -> None:
    assert tell(Release.load(release_dir), show=False, terminal=terminal).strip() == ""
