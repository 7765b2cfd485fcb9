"""What a standstill is called: what is in hand where, what has no place, and what dies again and again."""

import pytest

from assay.jobs.stall import MOST_STARTS, MOST_TRIES, Board, Quiet, Report, find_death, name_stall

WANTED = {"look": "1 CPUs", "judge": "0.5 CPUs and 1 GPUs"}
ROOM = "2 CPUs (0 free) and 0 GPUs (0 free)"


class Clock:
    """Seconds, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def report(*shards: int, actor: str = "a", stage: str = "look", ready: bool = True, pause_s: float = 0.0) -> Report:
    pause = "refused" if pause_s else ""
    return Report(actor, stage, "node-1", 7, ready, frozenset(shards), pause, pause_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_is_in_hand_is_named_with_its_place_and_age(clock: Clock) -> None:
    board = Board(clock)
    board.tell(report(ready=False))
    board.tell(report())
    board.tell(report(3))
    clock.now = 50
    board.tell(report(3, 4))
    clock.now = 60
    board.tell(report(3))
    clock.now = 250
    error = name_stall(board.read(), {"look": "1 CPUs"}, ROOM, 240)
    assert error.exit_code == 5
    assert "240 s" in error.what
    assert error.where == "shard 3 in look on node-1 (process 7) for 250 s"
    assert error.why == "what is in hand does not end"


def test_many_shards_in_hand_are_counted(clock: Clock) -> None:
    board = Board(clock)
    board.tell(report(*range(40)))
    assert "and 34 more" in name_stall(board.read(), {}, ROOM, 240).where


def test_a_stage_without_a_place_is_named_with_what_it_waits_for(clock: Clock) -> None:
    board = Board(clock)
    assert name_stall(board.read(), WANTED, ROOM, 240).where == "nothing is in hand anywhere"
    board.tell(report(3))
    error = name_stall(board.read(), WANTED, ROOM, 240)
    assert error.why == f"no actor of judge has found a place: each needs 0.5 CPUs and 1 GPUs; the cluster has {ROOM}"
    assert "free or add" in error.fix


def test_an_actor_that_loads_for_long_is_named(clock: Clock) -> None:
    board = Board(clock)
    board.tell(report(ready=False))
    clock.now = 300
    error = name_stall(board.read(), {"look": "1 CPUs"}, ROOM, 300)
    assert error.where == "an actor of look on node-1 (process 7) loading for 300 s"


def test_a_pause_is_known_until_its_end_and_not_longer(clock: Clock) -> None:
    board = Board(clock)
    board.tell(report(3, pause_s=100))
    clock.now = 40
    picture = board.read()
    assert (picture.pause, picture.pause_s) == ("refused", 60)
    clock.now = 101  # its process may have died in the pause: nobody will ever say that it is over
    assert board.read().pause_s == 0


def test_starts_in_a_row_are_a_death_and_restarts_after_work_are_not(clock: Clock) -> None:
    board = Board(clock)
    for _ in range(20):
        board.tell(report(ready=False))
        board.tell(report())
    assert find_death(board.read()) is None
    for _ in range(MOST_STARTS):
        assert find_death(board.read()) is None
        board.tell(report(ready=False))
    error = find_death(board.read())
    assert error is not None
    assert "killed each time it starts" in error.what
    assert "node-1 (process 7)" in error.where


def test_many_actors_may_start_at_once(clock: Clock) -> None:
    board = Board(clock)
    for number in range(100):
        board.tell(report(actor=str(number), ready=False))
    assert find_death(board.read()) is None


def test_a_shard_that_kills_its_actor_each_time_is_found(clock: Clock) -> None:
    board = Board(clock)
    for tried in range(MOST_TRIES):
        assert find_death(board.read()) is None, tried
        board.tell(report(ready=False))
        board.tell(report())
        board.tell(report(3))
        board.tell(report(3, 4))
        board.tell(report(3))
    error = find_death(board.read())
    assert error is not None
    assert error.what == "shard 3 is never finished: the look stage dies each time it takes it up"


def test_a_shard_that_was_finished_may_be_done_again(clock: Clock) -> None:
    board = Board(clock)
    for _ in range(3 * MOST_TRIES):  # lost with its node after it was done, each time
        board.tell(report(3))
        board.tell(report())
    assert find_death(board.read()) is None


def test_the_time_in_which_the_source_is_waited_for_is_no_standstill() -> None:
    quiet = Quiet()
    assert [quiet.stood_s(at, starves=False) for at in (0.25, 100.0)] == [0.25, 100.0]
    assert [quiet.stood_s(at, starves=True) for at in (100.25, 900.0)] == [0.0, 0.0]
    assert [quiet.stood_s(at, starves=False) for at in (900.25, 1000.0)] == [0.25, 100.0], "from when work came again"
    assert quiet.stood_s(0.25, starves=False) == 0.0, "a receipt came"
    assert quiet.stood_s(240.25, starves=False) == 240.0
