import numpy as np
import pytest
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


NUMBERS = st.sets(st.integers(0, 40), max_size=30)


@settings(derandomize=True, max_examples=300)
@given(NUMBERS, NUMBERS)
def test_its_algebra_is_that_of_sets(one: set[int], other: set[int]) -> None:
    mine, theirs = ShardRanges.of_numbers(one), ShardRanges.of_numbers(other)
    for found, model in [(mine | theirs, one | other), (mine & theirs, one & other), (mine - theirs, one - other)]:
        assert list(found) == sorted(model)
        assert found == ShardRanges.of_numbers(model), "in as few ranges as there can be"
    for same, wanted in [(mine | other, one | other), (mine & other, one & other), (mine - other, one - other)]:
        assert same == wanted
    assert list(other | mine) == sorted(other | one)
    assert list(other & mine) == sorted(other & one)
    assert list(other - mine) == sorted(other - one)
    assert (mine == theirs, mine == other, other == mine) == (one == other,) * 3
    assert (mine <= theirs, mine.isdisjoint(theirs)) == (one <= other, one.isdisjoint(other))
    assert bool(mine) == bool(one)


@settings(derandomize=True, max_examples=200)
@given(NUMBERS, st.lists(st.tuples(st.integers(-2, 45), st.integers(0, 9)), max_size=9))
def test_how_many_of_a_range_are_in_it(numbers: set[int], asked: list[tuple[int, int]]) -> None:
    mine = ShardRanges.of_numbers(numbers)
    ends = [(first, first + more) for first, more in asked]
    model = [len(numbers & set(range(first, last + 1))) for first, last in ends]
    firsts, lasts = (np.array([pair[at] for pair in ends], np.int64) for at in (0, 1))
    assert mine.num_in(firsts, lasts).tolist() == model
    assert [mine.meets(first, last) for first, last in ends] == [count > 0 for count in model]
    assert mine.has_each(firsts).tolist() == [first in numbers for first, _ in ends]


def test_a_range_of_numbers_costs_nothing() -> None:
    mine = ShardRanges.of_numbers(range(10**12)) - ShardRanges.between([(5, 9), (10**11, 10**11)])
    assert len(mine) == 10**12 - 6
    assert (4 in mine, 5 in mine, 10 in mine, 10**11 in mine) == (True, False, True, False)


def test_nobody_changes_it() -> None:
    mine = ShardRanges.of_numbers({1, 2})
    with pytest.raises(ValueError, match="read-only"):
        mine.starts[0] = 0
