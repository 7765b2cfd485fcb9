"""What is counted of two sides equals what plain loops count; samples are fair and silent about what must not show."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from assay.jobs.change_data import Direction
from assay.jobs.change_tally import GRID, QUANTILES, ChangeTally, moves_from
from assay.jobs.judged import Judged
from assay.jobs.pairing import pair_up
from assay.jobs.side import Side
from assay.jobs.store import Store
from assay.platform.errors import ConservationError
from assay.platform.policy import ACTIONS
from assay.platform.release import Release
from tests.jobs.change_stores import commit_verdicts, judge_by, observed_store, release_of
from tests.jobs.colour_releases import LIBRARY, POLICY
from tests.store_doubles import reopened

IMAGES = 160
PLAIN = LIBRARY.replace("RED", "red").replace("BLUE", "blue")
WIDER = LIBRARY.replace("RED", "red, green").replace("BLUE", "blue")
OTHER_LABELS = WIDER.replace("blue_things:", "sky_things:")
LOOSER = POLICY.replace("blue_things: {review: 0.3}", "blue_things: {review: 0.05}")
SKY = "assay_policy: 1\nname: plain\nlabels: {red_things: {review: 0.3}, sky_things: {review: 0.3}}\n"

Rows = dict[str, dict[str, object]]


def tallied(
    folder: Path, before: tuple[str, str], after: tuple[str, str], *, cuts: tuple[int, int] = (1, 1), samples: int = 3
) -> tuple[ChangeTally, Rows, Rows, Store]:
    """Two releases (library, policy) over one store, tallied; and their verdicts by uri."""
    releases = [
        release_of(folder / name, library, policy)
        for name, (library, policy) in zip(("a", "b"), (before, after), strict=True)
    ]
    store = observed_store(folder / "store", releases[0], IMAGES, faults=[4, 50])
    rows = [by_uri(judge_by(store, release, cut=cut)) for release, cut in zip(releases, cuts, strict=True)]
    return tally_of(store, releases, samples), rows[0], rows[1], store


def tally_of(store: Store, releases: list[Release], samples: int = 3) -> ChangeTally:
    one, other = (Side.of(reopened(store), Judged(release, release.policy())) for release in releases)
    tally = ChangeTally(one, other, samples, 0)
    for pairs in pair_up(one, other):
        tally.add(pairs)
    return tally


def by_uri(verdicts: pa.Table) -> Rows:
    return {str(row["uri"]): row for row in verdicts.to_pylist()}


def actions_of(row: dict[str, object], label: str) -> str:
    found = row["findings"]
    assert isinstance(found, list)
    return next((str(one["action"]) for one in found if one["label"] == label), "pass")


def scores_of(row: dict[str, object]) -> dict[str, float]:
    said = row["scores"]
    return dict(said) if isinstance(said, list) else {}


def test_counts_equal_counting_by_hand(tmp_path: Path) -> None:
    tally, before, after, _ = tallied(tmp_path, (PLAIN, POLICY), (WIDER, LOOSER), cuts=(1, 5))
    moved = Counter((str(before[uri]["action"]), str(after[uri]["action"])) for uri in before)
    moves = moves_from(tally.moves)
    assert {(old, new): moves.of(old, new) for old in ACTIONS for new in ACTIONS if moves.of(old, new)} == moved
    assert tally.fault_counts().both == 2
    for label in ("red_things", "blue_things"):
        by_label = Counter(
            (actions_of(before[uri], label), actions_of(after[uri], label)) for uri in before if before[uri]["scores"]
        )
        found = tally.moves_of(label)
        assert {(old, new): found.of(old, new) for old in ACTIONS for new in ACTIONS if found.of(old, new)} == by_label
        assert found.newly_flagged == sum(n for (old, new), n in by_label.items() if old == "pass" != new)
        assert found.to_review == sum(n for (old, new), n in by_label.items() if new == "review" != old)
    assert tally.moves_of("red_things").newly_flagged > 10


def test_shifts_and_densities_equal_numpy(tmp_path: Path) -> None:
    tally, before, after, _ = tallied(tmp_path, (PLAIN, POLICY), (WIDER, POLICY))
    x, y = (
        np.array([scores_of(rows[uri])["red_things"] for uri in sorted(before) if before[uri]["scores"]])
        for rows in (before, after)
    )
    shift = tally.shift_of("red_things")
    assert shift is not None
    assert shift.images == len(x) == IMAGES - 2
    assert list(shift.quantiles.values())[1:-1] == pytest.approx(
        np.quantile(y - x, QUANTILES, method="inverted_cdf"), abs=0.0011
    )
    assert (shift.quantiles["0"], shift.quantiles["1"]) == pytest.approx(((y - x).min(), (y - x).max()))
    counts, _, _ = np.histogram2d(x, y, GRID, ((0, 1), (0, 1)))
    assert shift.density == tuple(map(tuple, counts.astype(int).tolist()))


def test_a_label_of_one_side_is_new_or_gone(tmp_path: Path) -> None:
    tally, before, after, _ = tallied(tmp_path, (PLAIN, POLICY), (OTHER_LABELS, SKY))
    assert tally.labels == ("blue_things", "red_things", "sky_things")
    assert tally.shared == ("red_things",)
    blue, sky = tally.moves_of("blue_things"), tally.moves_of("sky_things")
    assert (blue.newly_flagged, sky.newly_cleared) == (0, 0)
    assert blue.newly_cleared == sum(actions_of(row, "blue_things") != "pass" for row in before.values()) > 10
    assert sky.newly_flagged == sum(actions_of(row, "sky_things") != "pass" for row in after.values()) > 10
    assert (tally.shift_of("blue_things"), tally.shift_of("sky_things")) == (None, None)
    assert {one.score_before for one in tally.sample_of("sky_things")} == {None}


def test_the_sample_is_of_each_kind_and_does_not_depend_on_files(tmp_path: Path) -> None:
    tally, before, after, _ = tallied(tmp_path / "1", (PLAIN, POLICY), (WIDER, POLICY))
    again = tallied(tmp_path / "2", (PLAIN, POLICY), (WIDER, POLICY), cuts=(3, 16))[0]
    found = tally.sample_of("red_things")
    assert found == again.sample_of("red_things")
    assert Counter(one.direction for one in found) == {Direction.FLAGGED: 3, Direction.CLEARED: 3}
    assert len({one.uri for one in found}) == len(found)
    for one in found:
        assert actions_of(before[one.uri], "red_things") == one.before
        assert actions_of(after[one.uri], "red_things") == one.after
        assert one.score_after == scores_of(after[one.uri])["red_things"]
    assert tally.sample_of("blue_things") == []


def test_every_changed_image_is_as_likely_in_the_sample(tmp_path: Path) -> None:
    """Over many seeds, each of some forty newly flagged images is drawn about equally often."""
    tally, *_ = tallied(tmp_path, (PLAIN, POLICY), (WIDER, POLICY))
    drawn: Counter[str] = Counter()
    everything = list(pair_up(tally.before, tally.after))
    for seed in range(150):
        other = ChangeTally(tally.before, tally.after, 4, seed)
        for pairs in everything:
            other.add(pairs)
        drawn.update(one.uri for one in other.sample_of("red_things") if one.direction is Direction.FLAGGED)
    flagged = tally.moves_of("red_things").newly_flagged
    expected = 150 * 4 / flagged
    assert len(drawn) == flagged
    assert sum((count - expected) ** 2 / expected for count in drawn.values()) < 2 * flagged


def test_what_is_flagged_for_a_secret_label_is_shown_under_none(tmp_path: Path) -> None:
    secret = WIDER.replace("blue_things: {", "blue_things: {no_evidence: true, ")
    both = secret.replace("[blue]", "[blue, red]")
    tally, before, after, _ = tallied(tmp_path, (PLAIN, POLICY), (both, POLICY), samples=50)
    hidden = {uri for rows in (before, after) for uri, row in rows.items() if actions_of(row, "blue_things") != "pass"}
    moved = {uri for uri in before if actions_of(before[uri], "red_things") != actions_of(after[uri], "red_things")}
    assert moved & hidden
    assert {one.uri for one in tally.sample_of("red_things")} == moved - hidden
    assert tally.sample_of("blue_things") == []
    assert tally.moves_of("blue_things").moved > 0


def test_a_verdict_that_does_not_follow_from_its_scores_is_refused(tmp_path: Path) -> None:
    release = release_of(tmp_path / "a", PLAIN, POLICY)
    store = observed_store(tmp_path / "store", release, 20)
    rows = judge_by(store, release, without=[1])
    at = rows.schema.get_field_index("action")
    commit_verdicts(store, release, "plain", {1: rows.set_column(at, "action", pa.array(["block"] * len(rows)))})
    with pytest.raises(ConservationError, match="does not follow from its scores"):
        tally_of(store, [release, release])


def test_no_image_at_all(tmp_path: Path) -> None:
    release = release_of(tmp_path / "a", PLAIN, POLICY)
    store = observed_store(tmp_path / "store", release, 0)
    tally = tally_of(store, [release, release])
    assert (moves_from(tally.moves).total, tally.shift_of("red_things"), tally.sample_of("red_things")) == (0, None, [])
