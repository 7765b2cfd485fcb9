"""Groups of near-duplicates are the connected components of nearness, whatever the blocks they are found in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs import near_duplicates
from assay.jobs.golden_sample import split_groups
from assay.jobs.near_duplicates import group_duplicates


def plainly(rows: np.ndarray[tuple[int, int], np.dtype[np.float16]], cosine: float) -> list[int]:
    """Breadth first, one by one."""
    near = rows.astype(np.float32) @ rows.astype(np.float32).T >= cosine
    groups = [-1] * len(rows)
    for first in range(len(rows)):
        todo = [first] if groups[first] < 0 else []
        while todo:
            row = todo.pop()
            groups[row] = first
            todo += [other for other in np.flatnonzero(near[row]).tolist() if groups[other] < 0]
    return groups


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 0.95]))
def test_as_found_one_by_one(count: int, seed: int, cosine: float) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "BLOCK", 7)
        assert group_duplicates(rows, cosine).tolist() == plainly(rows, cosine)


def test_what_has_no_embedding_is_alone() -> None:
    assert group_duplicates(np.zeros((3, 4), np.float16), 0.9).tolist() == [0, 1, 2]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.floats(0.1, 0.9), st.integers(-9, 9))
def test_a_group_is_never_split(groups: list[int], share: float, seed: int) -> None:
    sides = split_groups(np.array(groups), share, seed)
    assert len(sides) == len(groups)
    assert all(len({side for side, of in zip(sides, groups, strict=True) if of == group}) == 1 for group in groups)
    greatest = max(groups.count(group) for group in groups)
    assert abs(sides.count("test") - share * len(groups)) <= greatest
