import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.scoring_columns import Grouped, Room

EVERY = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(64, 1024)


def test_every_float16_is_widened_exactly() -> None:
    wide = Room(np.empty((64, 1024), np.int32), np.empty((64, 1024)), np.empty((64, 1))).widen(EVERY)
    finite = np.isfinite(EVERY)
    assert finite.sum() == 63_488
    assert (wide[finite] == EVERY[finite].astype(np.float64)).all()
    assert (np.signbit(wide[finite]) == np.signbit(EVERY[finite])).all()


def test_less_than_a_whole_tile_is_widened() -> None:
    room = Room(np.empty((8, 1024), np.int32), np.empty((8, 1024)), np.empty((8, 1)))
    assert room.widen(EVERY[:3]).shape == (3, 1024)


GROUPS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=8)


@settings(derandomize=True, max_examples=60)
@given(GROUPS, st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_groups_are_joined_as_one_by_one(groups: list[list[int]], rows: int, seed: int) -> None:
    table = np.random.default_rng(seed).random((rows, 10))
    greatest, sums = Grouped(np.maximum, groups)(table), Grouped(np.add, groups)(table)
    assert greatest.shape == sums.shape == (rows, len(groups))
    for place, group in enumerate(groups):
        assert (greatest[:, place] == table[:, group].max(axis=1)).all()
        added = table[:, group[0]]
        for column in group[1:]:
            added = added + table[:, column]
        assert (sums[:, place] == added).all()


def test_no_group_is_empty() -> None:
    with pytest.raises(AssertionError, match="empty group"):
        Grouped(np.maximum, [[0], []])
