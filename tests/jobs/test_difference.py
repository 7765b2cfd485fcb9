"""Two stores are compared in the order of names, as if both were in memory, a few shards at a time."""

from dataclasses import dataclass, field
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.difference import SCORE_TOLERANCE, SCORED_STRIDE, _decided, count_differing
from assay.jobs.evidence import Evidence
from assay.jobs.generation import Generation


@dataclass
class Told:
    """What verification reads of a store: generations, and decisions by shard."""

    known: list[Generation]
    rows: dict[int, list[dict[str, object]]]
    damaged: tuple[str, ...] = ()
    asked: list[range] = field(default_factory=list)

    def decisions(self, shards: range, *, scores: bool) -> list[dict[str, object]]:
        assert scores
        self.asked.append(shards)
        found = [row for shard in shards for row in self.rows.get(shard, [])]
        return found[::-1]  # a table has no order


def told_of(decided: dict[str, tuple[str, float]], generation_of: list[int], cut: int, root: str) -> Told:
    """Decisions by name as a store has them: spread over generations, cut into shards."""
    known: list[Generation] = []
    rows: dict[int, list[dict[str, object]]] = {}
    first = 0
    for number in sorted(set(generation_of) or {0}):
        mine = sorted(name for name, of in zip(decided, generation_of, strict=False) if of == number)
        shards = -(-len(mine) // cut)
        for at, name in enumerate(mine):
            action, score = decided[name]
            row: dict[str, object] = {
                "uri": f"{root}/{name}",
                "etag": "e",
                "outcome": "ok",
                "action": action,
                "scores": [("x", score)],
            }
            rows.setdefault(first + at // cut, []).append(row)
        listed = {"listed": len(mine), "images": len(mine), "bytes": 0, "parts": [], "source": root, "root": root}
        span = {"number": len(known), "created": "", "first_shard": first, "shards": shards}
        known.append(Generation.model_validate(listed | span))
        first += shards
    return Told(known, rows)


DECIDED = st.dictionaries(
    st.text("ab/é\U0001f600", min_size=1, max_size=4),
    st.tuples(st.sampled_from(["pass", "block"]), st.sampled_from([0.0, 0.00005, 0.5])),
    max_size=12,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(DECIDED, DECIDED, st.lists(st.integers(0, 2), min_size=24, max_size=24), st.integers(1, 3), st.integers(1, 4))
def test_two_stores_are_compared_as_if_they_were_in_memory(
    one: dict[str, tuple[str, float]],
    other: dict[str, tuple[str, float]],
    spread: list[int],
    cut: int,
    other_cut: int,
) -> None:
    other = other | dict(list(one.items())[::2])
    mine = told_of(one, spread[: len(one)], cut, "s3://a")
    theirs = told_of(other, spread[::-1][: len(other)], other_cut, "file:///b")
    wanted = sum(
        name not in one
        or name not in other
        or one[name][0] != other[name][0]
        or abs(one[name][1] - other[name][1]) > SCORE_TOLERANCE
        for name in one.keys() | other.keys()
    )
    assert count_differing(cast("Evidence", mine), cast("Evidence", theirs)) == wanted


def test_comparing_holds_a_few_shards_at_a_time() -> None:
    decided = {f"{number:05d}": ("pass", 0.5) for number in range(1000)}
    told = told_of(decided, [0] * 500 + [1] * 500, 2, "s3://a")
    rows = _decided(cast("Evidence", told))
    next(rows)
    assert told.asked == [range(SCORED_STRIDE), range(250, 250 + SCORED_STRIDE)], "one piece of each generation"
    assert sum(1 for _ in rows) == 999
    assert max(map(len, told.asked)) == SCORED_STRIDE
