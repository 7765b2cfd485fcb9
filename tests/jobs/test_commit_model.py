"""The commit protocol, model-checked: whatever is killed, delayed, doubled or lost, no row is, and no reader sees more
than was committed. And planted bugs are caught, so that the check is worth its name."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from assay.jobs import lease as lease_module
from assay.jobs.committer import Committer
from assay.jobs.ledger import Ledger, NotAcknowledgedError, Transaction
from assay.jobs.work import Receipt, Task
from assay.platform.errors import AssayError, ConservationError, FencedError
from tests.commit_model import Driver, World

SHORT, LONG = 400, 20_000
"""Schedules in `make test` and `make nightly`."""
PLANTED = 3_000
"""Schedules within which every planted bug must be caught."""
STEPS = 60
ALIVE = 3


class Drivers(RuleBasedStateMachine):
    """Up to three drivers at a time on one store, in any order."""

    schedules = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).schedules += 1
        self.world = World()
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(lease_module, "time", self.world.clock)
        self.patches.setattr(lease_module, "TTL_S", 3.0)
        self.patches.setattr(lease_module, "BEAT_S", 1e6)
        # Of a process of this machine it is known whether it lives; of others it is not, which is the harder case.
        self.patches.setattr(lease_module, "_machine", lambda: "")

    @property
    def alive(self) -> list[Driver]:
        return [one for one in self.world.drivers if not one.over]

    def chosen(self, which: int) -> Driver:
        return self.alive[which % len(self.alive)]

    @precondition(lambda self: len(self.alive) < ALIVE)
    @rule(retry=st.booleans(), twice=st.booleans(), group=st.integers(1, 3))
    def start(self, retry: bool, twice: bool, group: int) -> None:
        Driver(self.world, retry=retry, twice=twice, group=group)

    @precondition(lambda self: self.alive)
    @rule(which=st.integers(0, ALIVE - 1), calls=st.sampled_from([1, 1, 2, 5, 20, 60]))
    def go_on(self, which: int, calls: int) -> None:
        driver = self.chosen(which)
        for _ in range(calls):
            driver.step()
            self.world.check()
        self.check_end(driver)

    @precondition(lambda self: self.alive)
    @rule(which=st.integers(0, ALIVE - 1))
    def kill(self, which: int) -> None:
        self.chosen(which).kill()

    @precondition(lambda self: self.alive)
    @rule(which=st.integers(0, ALIVE - 1), calls=st.integers(1, 30))
    def lose_an_answer(self, which: int, calls: int) -> None:
        """The next append, or its acknowledgement, is lost."""
        driver = self.chosen(which)
        driver.loses = True
        for _ in range(calls):
            driver.step()
        self.check_end(driver)

    @precondition(lambda self: self.alive)
    @rule(which=st.integers(0, ALIVE - 1))
    def lose_a_file(self, which: int) -> None:
        """The store says that it has the next data file, and has not."""
        self.chosen(which).loses_file = True

    @precondition(lambda self: self.alive)
    @rule(which=st.integers(0, ALIVE - 1))
    def beat(self, which: int) -> None:
        """The lease's keeper runs beside its driver."""
        driver = self.chosen(which)
        if driver.lease is None:
            return
        try:
            driver.lease.beat()
        except FencedError as error:
            driver.lease._lost = error

    @invariant()
    def nothing_is_doubled_nor_unnamed(self) -> None:
        self.world.check()

    def check_end(self, driver: Driver) -> None:
        """Who says done is right; who fails says why."""
        if driver.done:
            self.world.check_complete(driver.versions)
        if isinstance(driver.outcome, ConservationError):
            assert self.world.vanished, driver.outcome

    def teardown(self) -> None:
        """A last driver finishes the work; those that were asleep wake up after it."""
        try:
            last = Driver(self.world, retry=True, twice=False, group=2)
            while not last.over:
                last.step()
                self.world.check()
            if isinstance(last.outcome, FencedError):  # somebody finished while it waited for the lease
                last = self.again()
            assert last.done, last.outcome
            self.world.check_complete()
            for late in self.alive:
                while not late.over:
                    late.step()
                    self.world.check()
                self.check_end(late)
            self.world.check_complete()
        finally:
            for driver in self.alive:
                driver.kill()
            self.patches.undo()

    def again(self) -> Driver:
        driver = Driver(self.world, retry=True, twice=False, group=2)
        while not driver.over:
            driver.step()
        return driver


def explore(schedules: int, *, shrink: bool = True) -> int:
    """Run the machine; the number of schedules tried."""
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    checks = list(HealthCheck)
    wanted = settings(
        max_examples=schedules,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize="ASSAY_SEED" not in os.environ,
        phases=phases,
        suppress_health_check=checks,
    )
    Drivers.schedules = 0
    run_state_machine_as_test(Drivers, settings=wanted)
    return Drivers.schedules


def test_nothing_is_lost_nor_doubled() -> None:
    assert explore(SHORT) >= SHORT


@pytest.mark.nightly
def test_nothing_is_lost_nor_doubled_in_many_schedules() -> None:
    tried = explore(LONG)
    print(f"{tried} schedules")
    assert tried >= LONG


# Planted bugs. Each takes one thing away that the protocol needs.


def reloads_before_each_commit(patch: pytest.MonkeyPatch) -> None:
    real = Ledger._append

    def append(self: Ledger, asked: Transaction) -> int:
        self.log.advance()
        return real(self, asked)

    patch.setattr(Ledger, "_append", append)


def does_not_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "fence", lambda self, _epoch: self.log.advance())


def believes_a_lost_answer(patch: pytest.MonkeyPatch) -> None:
    def send(self: Ledger, transaction: Transaction, _wanted: int) -> str:
        try:
            self.log.append(transaction)
        except NotAcknowledgedError:
            patch.setattr(self, "_append", lambda _asked: 0)  # and goes on as if all were well
        return ""

    patch.setattr(Ledger, "_send", send)


def commits_verdicts_first(patch: pytest.MonkeyPatch) -> None:
    real = Committer.commit

    def commit(self: Committer) -> list[Receipt]:
        if any(receipt.task is not Task.OBSERVE for receipt in self.held):
            return real(self)
        self.observations, self.verdicts = self.verdicts, self.observations
        try:
            held, self.held = self.held, [_swapped(receipt) for receipt in self.held]
            return real(self) and held
        finally:
            self.observations, self.verdicts = self.verdicts, self.observations

    patch.setattr(Committer, "commit", commit)


def _swapped(receipt: Receipt) -> Receipt:
    return receipt.model_copy(update={"observed": receipt.judged, "judged": receipt.observed})


def keeps_the_verdicts_of_retried_rows(patch: pytest.MonkeyPatch) -> None:
    real = Committer.commit

    def commit(self: Committer) -> list[Receipt]:
        self.judged = {}
        return real(self)

    patch.setattr(Committer, "commit", commit)


def keeps_the_rows_that_were_retried(patch: pytest.MonkeyPatch) -> None:
    real = Ledger.commit

    def commit(self: Ledger, adds: Any, removes: Any = (), note: Any = None, *, rearranged: bool = False) -> int:
        return real(self, adds, [] if adds else removes, note, rearranged=rearranged)

    patch.setattr(Ledger, "commit", commit)


def takes_a_task_that_ran_twice(patch: pytest.MonkeyPatch) -> None:
    real = Committer.take

    def take(self: Committer, receipt: Receipt) -> bool:
        self.taken.clear()
        return real(self, receipt)

    patch.setattr(Committer, "take", take)


def does_not_look_at_files(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Committer, "_check_files", lambda _self, _receipts: None)


PLANTS: list[Callable[[pytest.MonkeyPatch], None]] = [
    reloads_before_each_commit,
    does_not_fence,
    believes_a_lost_answer,
    commits_verdicts_first,
    keeps_the_verdicts_of_retried_rows,
    keeps_the_rows_that_were_retried,
    takes_a_task_that_ran_twice,
    does_not_look_at_files,
]


@contextmanager
def planted(plant: Callable[[pytest.MonkeyPatch], None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        yield


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_caught(plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    with planted(plant), pytest.raises((AssertionError, AssayError)):
        explore(PLANTED, shrink=False)
    print(f"{plant.__name__}: caught after {Drivers.schedules} schedules")
