"""Rates: no key is ever granted more than its burst and its rate's time, whatever happens to shares and keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.keys import Key, Scope
from assay.serving.problem import Code, Problem
from assay.serving.rates import Rates


def key(rate: float | None = 10.0, burst: float | None = None, name: str = "a") -> Key:
    return Key(id=name, sha256="0" * 64, tenant="acme", scopes=(Scope.ANALYZE,), rate=rate, burst=burst)


def refusal(rates: Rates, one: Key, images: int, now: float) -> Problem:
    with pytest.raises(Problem) as refused:
        rates.take(one, images, now)
    return refused.value


def granted(rates: Rates, one: Key, images: int, now: float) -> bool:
    try:
        rates.take(one, images, now)
    except Problem as refused:
        if refused.code is not Code.RATE_LIMITED:
            raise
        return False
    return True


def test_a_burst_then_the_rate() -> None:
    rates = Rates()
    rates.take(key(), 20, 100.0)
    refused = refusal(rates, key(), 5, 100.1)
    assert (refused.code, refused.status) == (Code.RATE_LIMITED, 429)
    assert refused.retry_after_s == pytest.approx(0.4)
    assert refused.headers["retry-after"] == "1"
    assert not granted(rates, key(), 5, 100.49)
    rates.take(key(), 5, 100.5)


def test_a_refusal_costs_nothing() -> None:
    rates = Rates()
    rates.take(key(), 20, 0.0)
    for _ in range(1000):
        refusal(rates, key(), 20, 0.0)
    rates.take(key(), 20, 2.0)


def test_keys_do_not_share_a_bucket_and_those_without_a_rate_have_none() -> None:
    rates = Rates()
    for name in ("a", "b"):
        rates.take(key(name=name), 20, 0.0)
    for _ in range(100):
        rates.take(key(None, name="c"), 10_000, 0.0)
    assert len(rates) == 2


def test_more_than_will_ever_fit_is_said_at_once() -> None:
    refused = refusal(Rates(), key(10, 3), 4, 0.0)
    assert (refused.code, refused.retry_after_s) == (Code.TOO_LARGE, None)
    assert "4 images, and key a may bring 3 at once" in refused.what
    assert granted(Rates(0.01), key(10, 3), 3, 0.0)


def test_n_replicas_have_the_rate_of_one() -> None:
    """Single images, as fast as they are taken, for 100 s."""
    counts = {}
    for number in (1, 2, 7):
        replicas = [Rates(1 / number) for _ in range(number)]
        counts[number] = sum(granted(one, key(), 1, tick / 50) for tick in range(5001) for one in replicas)
    assert counts[1] == 20 + 10 * 100
    assert all(abs(count - counts[1]) <= 7 for count in counts.values()), counts


def test_a_bucket_outlives_a_change_of_the_share_and_of_the_key() -> None:
    rates = Rates()
    rates.take(key(), 20, 0.0)
    rates.divide(0.5, 1.0)
    assert not granted(rates, key(), 1, 1.0)  # 10 are left to drain, and 10 is half of the burst
    rates.divide(1.0, 1.0)
    assert granted(rates, key(), 10, 1.0)
    assert not granted(rates, key(100, 20), 1, 1.0)
    assert granted(rates, key(100, 20), 20, 1.2)  # the key may do more now, and from when that was known
    rates.take(key(name="b"), 20, 1.2)  # a ring without `a`
    assert not granted(rates, key(100, 20), 20, 1.21)


def test_keys_that_vanish_leave_nothing() -> None:
    rates = Rates()
    for number in range(10_000):
        rates.take(key(name=f"k{number}"), 20, number * 0.1)
    assert len(rates) <= 64
    many = [f"m{number}" for number in range(1000)]
    for name in many:
        rates.take(key(name=name), 20, 2000.0)
    assert all(not granted(rates, key(name=name), 1, 2000.0) for name in many)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        Rates(share)
    with pytest.raises(ValueError, match="share"):
        Rates().divide(share, 0.0)


STEPS = st.lists(
    st.tuples(
        st.floats(0, 3) | st.just(0.0),  # seconds that pass
        st.integers(0, 12),  # images that are asked for
        st.none() | st.floats(0.01, 1),  # a new share
        st.none() | st.floats(0.1, 20),  # a new rate
    ),
    max_size=60,
)
BURST = 8.0


@given(STEPS, st.floats(0.01, 1))
def test_no_more_than_burst_and_rate(steps: list[tuple[float, int, float | None, float | None]], share: float) -> None:
    """Over any stretch of any sequence: burst and the sum of rate times share times seconds; a rate holds from when it
    is first seen. Who comes again when told to is let in."""
    rates, one, now = Rates(share), key(5.0, BURST), 0.0
    balance, least = 0.0, 0.0  # images taken less those that time allowed, now and at its least
    for passed, images, new_share, new_rate in steps:
        now += passed
        balance -= passed * (one.rate or 0) * share
        least = min(least, balance)
        if new_share is not None:
            rates.divide(new_share, now)
            share = new_share
        if new_rate is not None:
            one = key(new_rate, BURST)
            granted(rates, one, 0, now)
        if images > BURST:
            assert refusal(rates, one, images, now).code is Code.TOO_LARGE
            continue
        if not granted(rates, one, images, now):
            wait = refusal(rates, one, images, now).retry_after_s or 0.0
            now += wait
            balance -= wait * (one.rate or 0) * share
            least = min(least, balance)
            assert granted(rates, one, images, now)
        balance += images
        assert balance - least <= BURST + 1e-6


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 2)), max_size=60), st.floats(0.25, 1))
def test_small_requests_stay_within_the_share_of_the_burst(steps: list[tuple[float, int]], share: float) -> None:
    rates, now, taken = Rates(share), 0.0, 0
    for passed, images in steps:
        now += passed
        taken += images if granted(rates, key(5.0, BURST), images, now) else 0
        assert taken <= share * (BURST + 5.0 * now) + 1e-6
