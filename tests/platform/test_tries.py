"""How often, and after how long."""

import pytest

from assay.platform.refusals import Trouble
from assay.platform.tries import LONGEST_WAIT_S, Tries


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited."""
    told: list[float] = []
    monkeypatch.setattr("assay.platform.tries.time.sleep", told.append)
    return told


def failures(tries: Tries, trouble: Trouble) -> int:
    """Tries made until there are no more."""
    made = 1
    while tries.again(trouble):
        made += 1
    return made


@pytest.mark.parametrize("most", [1, 2, 10])
def test_as_many_as_allowed(waits: list[float], most: int) -> None:
    assert failures(Tries(most), Trouble.PASSING) == most
    assert len(waits) == most - 1, "nothing is waited for after the last"


@pytest.mark.parametrize(("trouble", "most"), [(Trouble.DENIED, 5), (Trouble.SKEWED, 3)])
def test_what_is_mostly_meant_is_asked_less_often(waits: list[float], trouble: Trouble, most: int) -> None:
    assert failures(Tries(20), trouble) == most
    mixed = Tries(20)
    for _ in range(6):
        assert mixed.again(Trouble.PASSING), "other troubles do not count against it"
    assert failures(mixed, trouble) == most
    assert failures(Tries(2), trouble) == 2


def test_waits_double_up_to_a_bound_and_differ(waits: list[float]) -> None:
    for _ in range(400):
        failures(Tries(10), Trouble.PASSING)
    of_try = [waits[n::9] for n in range(9)]
    bounds = [min(LONGEST_WAIT_S, 0.2 * 2**n) for n in range(9)]
    for drawn, bound in zip(of_try, bounds, strict=True):
        assert 0 <= min(drawn) < bound / 10
        assert bound * 0.9 < max(drawn) <= bound
