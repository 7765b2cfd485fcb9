"""A batch of images of many requests: encoded together, each judged under its own release and policy.

Knows that embeddings depend on the encoder only, and verdicts on the release that a request was bound to. Does not know
how batches form (`replica.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from assay.platform.batch import ImageBatch, Looked
from assay.platform.images import Decoded
from assay.serving.champion import Champion


@dataclass(frozen=True, slots=True)
class Item:
    """One image of one request, and what it is bound to."""

    looked: Looked
    champion: Champion
    policy: str

    @property
    def views(self) -> int:
        """What it adds to a batch; a fault is judged, too, but not encoded."""
        return len(self.looked.seen.pixels) if isinstance(self.looked.seen, Decoded) else 1


@dataclass(frozen=True, slots=True)
class Judged:
    """One image's observation and verdict, as batch would write them."""

    observation: dict[str, Any]
    verdict: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was judged under one release and policy in a batch: for the challenger to judge again."""

    champion: Champion
    policy: str
    observations: pa.Table
    verdicts: pa.Table


def judge_items(items: Sequence[Item]) -> tuple[list[Judged], list[Seen]]:
    """Judge a batch, in its order; mostly all of it is of one encoder, release and policy."""
    found: dict[int, Judged] = {}
    seen: list[Seen] = []
    for encoded in _grouped(items, lambda item: item.champion.encoder_key).values():
        moderator = items[encoded[0]].champion.moderator(None)
        looked = [items[at].looked for at in encoded]
        observations = moderator.observe(ImageBatch.of(0, looked, moderator.preprocess.size))
        for rows in _grouped([items[at] for at in encoded], lambda item: (id(item.champion), item.policy)).values():
            first = items[encoded[rows[0]]]
            mine = observations if len(rows) == observations.num_rows else observations.take(rows)
            verdicts = first.champion.moderator(first.policy).decide(mine)
            seen.append(Seen(first.champion, first.policy, mine, verdicts))
            for row, observation, verdict in zip(rows, mine.to_pylist(), verdicts.to_pylist(), strict=True):
                found[encoded[row]] = Judged(observation, verdict)
    return [found[at] for at in range(len(items))], seen


def _grouped(items: Iterable[Item], key: Any) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for at, item in enumerate(items):
        groups[key(item)].append(at)
    return groups
