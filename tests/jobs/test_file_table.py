"""File facts as columns say what a list of files says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.backlog import backlog_of
from assay.jobs.file_table import FileOfShard, FileTable
from assay.jobs.ledger import DataFile
from assay.jobs.shard_ranges import ShardRanges
from assay.platform.rows import ImageRef

WIDTHS = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["", "a", "b"])), max_size=12)
"""Files next to each other: how many shards each has, and its policy; none where there is no file."""


def files_of(widths: list[tuple[int, str]]) -> list[DataFile]:
    found, at = [], 0
    for width, policy in widths:
        if policy:
            ends = (at, at + width - 1, f"u{at}", f"v{at}")
            found.append(DataFile(f"f{at}", 10 + at, 3 * width, *ends, {"release": "r", "policy": policy}))
        at += width
    return found


def covered(files: list[DataFile]) -> set[int]:
    return {shard for file in files for shard in range(file.first_shard, file.last_shard + 1)}


@settings(derandomize=True, max_examples=200)
@given(WIDTHS, st.sets(st.integers(0, 50)))
def test_it_says_what_a_list_of_files_says(widths: list[tuple[int, str]], some: set[int]) -> None:
    files = files_of(widths)
    table = FileTable.of(files)
    assert (list(table), len(table)) == (files, len(files))
    assert [table.at(place) for place in range(len(files))] == files
    for policy in ("a", "b", "c"):
        mine = [file for file in files if file.partition["policy"] == policy]
        partition = {"release": "r", "policy": policy}
        assert set(table.shards(partition)) == covered(mine)
        assert table.num_rows(partition) == sum(file.rows for file in mine)
        assert table.partitions().get(("r", policy), 0) == sum(file.rows for file in mine)
    assert set(table.shards()) == covered(files)
    assert table.num_rows() == sum(file.rows for file in files)
    wanted = ShardRanges.of_numbers(some)
    assert table.holding(wanted) == [file for file in files if covered([file]) & some]
    assert table.rows_of(wanted) == 3 * len(covered(files) & some), "each shard has three rows"


@settings(derandomize=True, max_examples=100)
@given(WIDTHS, st.sets(st.integers(0, 50)))
def test_the_file_of_each_shard(widths: list[tuple[int, str]], some: set[int]) -> None:
    files = files_of(widths)
    found = FileOfShard(FileTable.of(files), ShardRanges.of_numbers(some))
    assert dict(found) == {
        shard: file for file in files for shard in range(file.first_shard, file.last_shard + 1) if shard in some
    }
    with pytest.raises(KeyError):
        found[51]


@settings(derandomize=True, max_examples=200)
@given(WIDTHS, WIDTHS, st.sets(st.integers(0, 50), max_size=3), st.sets(st.integers(0, 50), max_size=3))
def test_a_backlog_is_what_is_planned_less_what_is_done(
    seen: list[tuple[int, str]], judged: list[tuple[int, str]], again: set[int], emptied: set[int]
) -> None:
    """Told from sets of shards, as slow and plain as can be."""
    observed, verdicts = files_of([(width, policy and "a") for width, policy in seen]), files_of(judged)
    retry: dict[int, tuple[ImageRef, ...]] = {shard: (ImageRef("u", "e", 1),) for shard in again & covered(observed)}
    found = backlog_of(
        FileTable.of(observed),
        FileTable.of(verdicts),
        {"release": "r", "policy": "a"},
        range(60),
        180,
        retry,
        frozenset(emptied),
    )
    done = covered([file for file in verdicts if file.partition["policy"] == "a"])
    assert found.observe == set(range(60)) - covered(observed) - emptied
    assert found.judge == covered(observed) - done - retry.keys() - emptied
    assert set(found.observed) == set(found.judge) | retry.keys()
    assert found.rows_done == 3 * len(covered(observed))
    assert found.rows == 180 - found.rows_done + 3 * len(found.observed)
    assert {shard: list(files) for shard, files in found.judged.items()} == {
        shard: [file for file in verdicts if shard in covered([file])] for shard in retry
    }
