"""Pools always start: sizes hold for any cluster, and what cannot start is refused with the figures."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.pools import ClusterSpec, PoolSpec, size_pools
from assay.platform.errors import SpecError


@given(cpus=st.integers(1, 20_000), gpus=st.integers(0, 1_000), nodes=st.integers(1, 1_000))
@settings(derandomize=True, max_examples=300)
def test_default_pools_fit_any_cluster(cpus: int, gpus: int, nodes: int) -> None:
    pools = size_pools(float(cpus), float(gpus), ClusterSpec(), nodes)
    assert pools.look.least_cpus + pools.judge.least_cpus <= cpus + 1e-6
    assert pools.judge.min * pools.judge.gpus <= gpus
    assert 1 <= pools.look.min <= pools.look.max
    assert 1 <= pools.judge.min <= pools.judge.max
    # The pools at their least must leave room to grow, never the other way round.
    assert pools.judge.max * pools.judge.cpus <= cpus + 1e-6


@pytest.mark.parametrize(
    ("cpus", "gpus", "judges", "looks"),
    [(1, 0, 1, 1), (2, 0, 1, 1), (2, 1, 1, 1), (16, 1, 1, 15), (64, 8, 8, 56), (16_000, 1_000, 1_000, 15_000)],
)
def test_known_clusters(cpus: float, gpus: float, judges: int, looks: int) -> None:
    pools = size_pools(cpus, gpus, ClusterSpec())
    assert (pools.judge.max, pools.look.max) == (judges, looks)


@pytest.mark.parametrize(("cpus", "nodes"), [(2, 1), (4, 1), (64, 1), (4, 2), (8, 2)])
def test_one_of_each_fits_a_node_of_two(cpus: float, nodes: int) -> None:
    """Nodes die: what is left may be one of two CPUs."""
    pools = size_pools(cpus, 0, ClusterSpec(), nodes)
    assert pools.look.cpus + pools.judge.cpus <= 2


def test_a_lone_node_of_two_never_loads_a_second_encoder() -> None:
    pools = size_pools(2, 0, ClusterSpec())
    assert 2 * pools.judge.cpus > 2


def test_among_many_nodes_an_encoder_fits_one_cpu() -> None:
    assert size_pools(8, 0, ClusterSpec(), nodes=8).judge.cpus <= 1


def test_fractions_share_gpus() -> None:
    pools = size_pools(16, 2, ClusterSpec(judge=PoolSpec(gpus=0.25)))
    assert pools.judge.gpus == 0.25
    assert (pools.judge.max, pools.judge.cpus) == (8, 0.5), "eight encoders share a quarter of the CPUs"


def test_pools_grow_with_the_cluster_unless_a_most_was_asked_for() -> None:
    pools = size_pools(4, 0, ClusterSpec())
    assert pools.look.grows
    assert pools.judge.grows
    held = size_pools(4, 0, ClusterSpec(look=PoolSpec(max=2), judge=PoolSpec(max=1)))
    assert (held.look.max, held.look.grows) == (2, False)
    assert (held.judge.max, held.judge.grows) == (1, False)


@pytest.mark.parametrize(
    "spec",
    [
        ClusterSpec(judge=PoolSpec(cpus=2), look=PoolSpec(cpus=1)),
        ClusterSpec(judge=PoolSpec(min=3)),
        ClusterSpec(judge=PoolSpec(gpus=1)),
    ],
)
def test_what_cannot_start_is_refused_with_figures(spec: ClusterSpec) -> None:
    with pytest.raises(SpecError) as refused:
        size_pools(2, 0, spec)
    assert "there are" in refused.value.why
    assert refused.value.fix
