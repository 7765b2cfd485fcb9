"""The difference between two stores: images they decide differently, or score differently.

Knows decisions in the order of names, from either store's evidence. Does not know how rows are read (`evidence.py`),
nor whether a store is sound in itself (`verify.py`).
"""

import heapq
from collections.abc import Iterator

from assay.jobs.evidence import Evidence, Key, cut
from assay.jobs.generation import Generation
from assay.platform.errors import StorageError
from assay.platform.uris import relative_uri

SCORED_STRIDE = 32
"""Shards of a generation whose scores are in memory at a time."""
SCORE_TOLERANCE = 1e-4


def count_differing(mine: Evidence, other: Evidence) -> int:
    """Images whose decisions differ between two stores, or whose scores do by more than the tolerance.

    Raises:
        StorageError: the other store is damaged, or cannot be read.
    """
    ours, theirs = _decided(mine), _decided(other)
    one, another, count = next(ours, None), next(theirs, None), 0
    while one is not None or another is not None:
        if one is None or another is None or one[0] != another[0]:
            count += 1
            if another is None or (one is not None and one[0] < another[0]):
                one = next(ours, None)
            else:
                another = next(theirs, None)
            continue
        count += not _same(one[1], another[1])
        one, another = next(ours, None), next(theirs, None)
    if other.damaged:
        raise StorageError(
            "the other store cannot be compared with",
            where=other.store.shown,
            why="; ".join(map(str, other.damaged)),
            fix=f"run `assay repair {other.store.shown}`",
        )
    return count


def _decided(evidence: Evidence) -> Iterator[tuple[Key, dict[str, object]]]:
    """All decisions with scores, in the order of names: manifests are sorted, and so are their shards."""

    def of(generation: Generation) -> Iterator[tuple[Key, dict[str, object]]]:
        for shards in cut(generation, SCORED_STRIDE):
            rows = evidence.decisions(shards, scores=True)
            keyed = [((relative_uri(str(row["uri"]), generation.root), str(row["etag"])), row) for row in rows]
            yield from sorted(keyed, key=lambda pair: pair[0])

    return heapq.merge(*map(of, evidence.known), key=lambda pair: pair[0])


def _same(one: dict[str, object], other: dict[str, object]) -> bool:
    if (one["outcome"], one["action"]) != (other["outcome"], other["action"]):
        return False
    scores, others = _scores(one), _scores(other)
    return scores.keys() == others.keys() and all(
        abs(score - others[label]) <= SCORE_TOLERANCE for label, score in scores.items()
    )


def _scores(row: dict[str, object]) -> dict[str, float]:
    pairs = row["scores"]
    return {str(label): float(score) for label, score in pairs} if isinstance(pairs, list) else {}
