"""How many images a key may bring: a bucket for each key, in this process.

Knows rates, bursts and this replica's share of them. Does not know clocks (times are passed in, of one that never goes
back, in seconds), nor HTTP.

A bucket holds what was taken and has not drained yet; it drains at the key's rate times the share. So whatever happens
to the share or the keyring meanwhile, a key is granted at most `burst + rate * share * seconds` images, and what has
drained can be forgotten.
"""

from dataclasses import dataclass

from assay.serving.keys import Key
from assay.serving.problem import Code, Problem

_SLACK = 1e-9
"""Images that rounding may cost: with it, who comes again when told to is let in."""
_FEW = 64
"""Buckets that are not worth a look at which of them can go."""


@dataclass(slots=True)
class _Bucket:
    """Images taken and not drained, as of `at`; what is still to come drains at `rate`, of the whole service."""

    rate: float
    at: float
    taken: float = 0.0

    def drain(self, now: float, share: float) -> None:
        """Let time pass."""
        self.taken = max(0.0, self.taken - max(0.0, now - self.at) * self.rate * share)
        self.at = max(self.at, now)


class Rates:
    """The rate limits of all keys in one of several replicas. For one thread: the event loop's."""

    def __init__(self, share: float = 1.0) -> None:
        self._share = _checked(share)
        self._buckets: dict[str, _Bucket] = {}
        self._sweep_at = _FEW

    def __len__(self) -> int:
        """Buckets that are held."""
        return len(self._buckets)

    def divide(self, share: float, now: float) -> None:
        """From now on, this replica has this share of every key's rate, in (0, 1]."""
        for bucket in self._buckets.values():
            bucket.drain(now, self._share)
        self._share = _checked(share)

    def take(self, key: Key, images: int, now: float) -> None:
        """Grant a key some images, all or none.

        Of a burst, each replica has its share, too. A request of more than that share, but not more than the burst, is
        granted when nothing is left to drain.

        Raises:
            Problem: RATE_LIMITED, with when there will be room; TOO_LARGE, if there will never be.
        """
        assert images >= 0
        if key.rate is None:
            return
        if images > key.most_at_once:
            raise Problem(
                Code.TOO_LARGE,
                f"{images} images, and key {key.id} may bring {key.most_at_once:g} at once",
                fix="send fewer images in a request",
            )
        bucket = self._bucket(key, now)
        room = max(0.0, key.most_at_once * self._share - images)
        if bucket.taken > room + _SLACK:
            retry_after_s = (bucket.taken - room) / (key.rate * self._share)
            raise Problem(
                Code.RATE_LIMITED,
                f"key {key.id} may bring {key.rate:g} images a second",
                fix=f"come again in {retry_after_s:.1f} s",
                retry_after_s=retry_after_s,
            )
        bucket.taken += images

    def _bucket(self, key: Key, now: float) -> _Bucket:
        assert key.rate is not None
        found = self._buckets.get(key.id)
        if found is None:
            self._sweep(now)
            found = self._buckets[key.id] = _Bucket(key.rate, now)
        found.drain(now, self._share)
        found.rate = key.rate
        return found

    def _sweep(self, now: float) -> None:
        """Forget buckets that have drained, of keys that are gone or idle: once for as many as are left."""
        if len(self._buckets) < self._sweep_at:
            return
        for bucket in self._buckets.values():
            bucket.drain(now, self._share)
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if bucket.taken > 0}
        self._sweep_at = max(_FEW, 2 * len(self._buckets))


def _checked(share: float) -> float:
    if not 0 < share <= 1:
        raise ValueError(f"a share is in (0, 1], not {share}")
    return share
