"""The challenger in the champion's shadow: it judges the same embeddings, answers nobody, and its differences are told.

Knows what a difference is. Does not know who the challenger is, nor when there is time for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from assay.platform.moderator import Moderator
from assay.serving.champion import EncoderKey
from assay.serving.judging import Seen
from assay.serving.metrics import Metrics
from assay.serving.orders import Pin


@dataclass(frozen=True)
class Challenger:
    """A release that would like to be champion, under each policy both have; it has no encoder of its own."""

    pin: Pin
    moderators: dict[str, Moderator]
    encoder_key: EncoderKey
    """Of the embeddings it can judge."""
    beside: str
    """Which release beside which encoder this is: made anew when either changes."""

    def shadow(self, seen: Seen, metrics: Metrics) -> Iterator[dict[str, object]]:
        """Judge what the champion has judged; gives a line for each image it decides otherwise."""
        moderator = self.moderators.get(seen.policy)
        if moderator is None or seen.champion.encoder_key != self.encoder_key:
            return
        verdicts = moderator.decide(seen.observations)
        metrics.shadowed.labels(seen.policy).inc(verdicts.num_rows)
        before, after = seen.verdicts["action"].to_pylist(), verdicts["action"].to_pylist()
        for row, (champion, challenger) in enumerate(zip(before, after, strict=True)):
            if champion == challenger:
                continue
            metrics.differences.labels(seen.policy, champion, challenger).inc()
            yield {
                "sha256": seen.observations["sha256"][row].as_py().hex(),
                "policy": seen.policy,
                "champion": {"release": seen.champion.release.id, "action": champion},
                "challenger": {"release": self.pin.release, "action": challenger},
                "labels": sorted(
                    {one["label"] for one in verdicts["findings"][row].as_py()}
                    ^ {one["label"] for one in seen.verdicts["findings"][row].as_py()}
                ),
            }
