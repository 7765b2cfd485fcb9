from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.ledger import DataFile
from assay.jobs.shard_ranges import ShardRanges

RANGES = st.lists(
    st.builds(lambda first, more: (first, first + more), st.integers(0, 40), st.integers(0, 5)), max_size=15
)


def files(ranges: list[tuple[int, int]]) -> list[DataFile]:
    return [DataFile(f"{first}-{last}", 1, 1, first, last, "a", "b") for first, last in ranges]


@settings(derandomize=True, max_examples=200)
@given(RANGES)
def test_it_is_a_set(ranges: list[tuple[int, int]]) -> None:
    done = ShardRanges.of(files(ranges))
    model = {shard for first, last in ranges for shard in range(first, last + 1)}
    assert list(done) == sorted(model)
    assert len(done) == len(model)
    assert {shard for shard in range(-2, 60) if shard in done} == model
    assert done == ShardRanges.of(files(ranges[::-1] + ranges))


@settings(derandomize=True, max_examples=50)
@given(RANGES)
def test_it_holds_no_more_ranges_than_there_are_gaps(ranges: list[tuple[int, int]]) -> None:
    done = ShardRanges.of(files(ranges))
    runs = sum(1 for shard in done if shard - 1 not in done)
    assert len(done.starts) == len(done.stops) == runs


def test_millions_of_shards_are_one_range() -> None:
    done = ShardRanges.of(files([(number * 1000, number * 1000 + 999) for number in range(3000)]))
    assert done == ShardRanges((0,), (2_999_999,))
    assert len(done) == 3_000_000
    assert 2_999_999 in done
    assert 3_000_000 not in done


def test_nothing_is_done() -> None:
    assert list(ShardRanges.of([])) == []
    assert 0 not in ShardRanges.of([])
