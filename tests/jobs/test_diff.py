"""The whole comparison: what is compared, what is refused and how to mend it, what is written and erased again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.jobs.change import compare_sides
from assay.jobs.change_data import DiffFacts
from assay.jobs.diff import DiffSpec, diff
from assay.jobs.forget import ForgetSpec, forget
from assay.jobs.store import INTENT
from assay.platform.errors import CommitError, GoldenError, ReleaseError, SpecError, StoreVersionError
from assay.platform.policy import Action
from tests.jobs.change_stores import SHARD, judge_by, observed_store, release_of
from tests.jobs.colour_releases import FIRM, LIBRARY, POLICY, colour_row, write_golden

IMAGES = 120
PLAIN = LIBRARY.replace("RED", "red").replace("BLUE", "blue")
WIDER = LIBRARY.replace("RED", "red, green").replace("BLUE", "blue")
GREEN = "green_things: {counter_prompts: {en: [grey]}, concepts: {green: {prompts: {en: [green]}}}}"
NEW_LABEL = WIDER.replace("      old_things:", f"      {GREEN}\n      old_things:")
MILD = FIRM.replace("name: firm", "name: mild")


class Two:
    """A store and two releases that can judge it."""

    def __init__(self, folder: Path, library: str = WIDER) -> None:
        self.folder = folder
        self.before = release_of(folder / "before", PLAIN, POLICY, FIRM)
        self.after = release_of(folder / "after", library, POLICY, MILD, FIRM)
        self.store = observed_store(folder / "store", self.before, IMAGES, faults=[7])

    def diff(self, **settings: object) -> DiffFacts:
        named = {"store": self.store.uri, "before": self.before.id, "after": self.after.id}
        return diff(DiffSpec.model_validate(named | settings))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Two:
    """Both judged everything: the one under plain and firm, the other under plain and mild."""
    two = Two(tmp_path_factory.mktemp("judged"), NEW_LABEL)
    for release, policies in ((two.before, ("plain", "firm")), (two.after, ("plain", "mild"))):
        for policy in policies:
            judge_by(two.store, release, policy, cut=4 if release is two.after else 1)
    return two


def test_policies_that_both_judged_under_are_compared(judged: Two) -> None:
    facts = judged.diff()
    (change,) = facts.policies
    assert (facts.before, facts.after, change.before, change.after) == (
        judged.before.id,
        judged.after.id,
        "plain",
        "plain",
    )
    assert facts.not_compared == ("firm (only --from)", "mild (only --to)")
    assert (facts.observed, change.images, change.only_before, change.only_after) == (IMAGES, IMAGES, 0, 0)
    assert (change.faults.both, facts.half, facts.identical, facts.overruns) == (1, (), False, ())
    assert change.moves.total == IMAGES == sum(label.moves.total for label in change.labels) / 3 + 1
    assert facts.library.rescored == ("red_things",)
    assert facts.library.scored_now == ("green_things",)
    labels = {label.label: label for label in change.labels}
    assert (labels["green_things"].presence, labels["red_things"].causes) == ("new", ("text",))
    assert (labels["blue_things"].causes, labels["blue_things"].moves.moved) == ((), 0)
    assert labels["red_things"].calibrated == (False, False)
    assert DiffFacts.model_validate_json(facts.model_dump_json()) == facts


def test_shares_are_for_more_images_like_these(judged: Two) -> None:
    (change,) = judged.diff(images_per_day=10_000).policies
    share = change.newly_flagged
    assert share.value == change.moves.newly_flagged / IMAGES
    assert (share.low or 0) < (share.value or 0) < (share.high or 0) < 1
    load = change.load
    assert load.after.value == pytest.approx(change.moves.after(Action.REVIEW) / IMAGES * 10_000)
    assert load.change.value == pytest.approx((load.after.value or 0) - (load.before.value or 0))
    assert (load.change.low or 0) < (load.change.value or 0) < (load.change.high or 0)
    (per_thousand,) = judged.diff().policies
    assert (per_thousand.load.images, per_thousand.load.is_daily) == (1000, False)
    assert per_thousand.load.after.value == pytest.approx((load.after.value or 0) / 10)


def test_policies_of_two_names_are_compared_when_named(judged: Two) -> None:
    (change,) = judged.diff(policy="firm", to_policy="mild").policies
    assert (change.before, change.after) == ("firm", "mild")
    with pytest.raises(SpecError, match="--to-policy needs --policy"):
        judged.diff(to_policy="mild")
    with pytest.raises(SpecError, match="judged nothing here under policy 'mild'") as told:
        judged.diff(policy="mild")
    assert "assay reaudit" in str(told.value)


def test_no_policy_in_common(tmp_path: Path) -> None:
    two = Two(tmp_path)
    judge_by(two.store, two.before, "firm")
    judge_by(two.store, two.after, "mild")
    with pytest.raises(SpecError, match="under no policy of the same name") as told:
        two.diff()
    assert "--from judged under firm; --to under mild" in str(told.value)


def test_a_release_with_itself_differs_in_nothing(judged: Two) -> None:
    facts = judged.diff(after=judged.before.id)
    assert facts.identical
    assert [change.moves.moved for change in facts.policies] == [0, 0]
    assert not facts.library.changes
    assert not [*facts.samples()]


def test_a_half_finished_side_is_refused_or_said(tmp_path: Path) -> None:
    two = Two(tmp_path)
    judge_by(two.store, two.before, "plain")
    judge_by(two.store, two.after, "plain", cut=5, without=range(9, 12))
    with pytest.raises(SpecError, match="has not judged every image") as told:
        two.diff(html=tmp_path / "d.html")
    assert f"assay reaudit {two.store.shown} --release {two.after.id} --policy plain" in str(told.value)
    assert f"{9 * SHARD} of {IMAGES} images" in str(told.value)
    assert not (tmp_path / "d.html").exists()
    facts = two.diff(partial=True, html=tmp_path / "d.html")
    (change,) = facts.policies
    assert (change.images, change.only_before, change.only_after) == (9 * SHARD, IMAGES - 9 * SHARD, 0)
    assert [(one.side, one.judged, one.observed) for one in facts.half] == [("to", 9 * SHARD, IMAGES)]
    assert "Partial." in (tmp_path / "d.html").read_text()


def test_sides_that_share_no_image(tmp_path: Path) -> None:
    """Nothing is divided by nothing."""
    two = Two(tmp_path)
    judge_by(two.store, two.before, "plain", without=range(6))
    judge_by(two.store, two.after, "plain", without=range(6, 12))
    facts = two.diff(partial=True, html=tmp_path / "d.html", images_per_day=10)
    (change,) = facts.policies
    assert (change.images, change.only_before, change.only_after) == (0, IMAGES // 2, IMAGES // 2)
    assert (change.newly_flagged.lacks, change.load.after.lacks) == ("no image", "no image")
    assert "No image was judged by both sides" in (tmp_path / "d.html").read_text()


def test_a_release_of_another_encoder_is_refused(judged: Two, tmp_path: Path) -> None:
    other = release_of(tmp_path / "other", WIDER, POLICY, dim=32)
    with pytest.raises(StoreVersionError, match="made with another encoder"):
        judged.diff(after=str(other.directory))


def test_releases_that_are_not_there_or_judged_nothing(judged: Two, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no release 'nothing-1234'"):
        judged.diff(before="nothing-1234")
    idle = release_of(tmp_path / "idle", WIDER, POLICY)
    with pytest.raises(SpecError, match="judged nothing here") as told:
        judged.diff(after=str(idle.directory))
    assert "assay reaudit" in str(told.value)


def test_budgets_that_nothing_can_be_held_against(judged: Two) -> None:
    with pytest.raises(SpecError, match="precision-drop needs --golden"):
        judged.diff(budget={"precision_drop": 0.1})
    with pytest.raises(SpecError, match="needs --images-per-day"):
        judged.diff(budget={"reviews_per_day": 5})


def test_golden_sets_that_do_not_fit(judged: Two, tmp_path: Path) -> None:
    strange = write_golden(tmp_path / "a.parquet", [colour_row(0, "red", labels={"purple_things": "present"})])
    with pytest.raises(GoldenError, match="purple_things"):
        judged.diff(golden=strange)
    elsewhere = write_golden(tmp_path / "b.parquet", [colour_row(5000, "red")])
    with pytest.raises(GoldenError, match="no image of the golden set was judged by both sides"):
        judged.diff(golden=elsewhere)


def test_an_erasure_meanwhile_is_told(judged: Two, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever was read then counts for nothing, and no page is written."""
    intent = Path(judged.store.shown, *INTENT)

    really: Callable[..., object] = compare_sides

    def interrupted(*given: object) -> object:
        intent.parent.mkdir(exist_ok=True)
        intent.write_text("{}")
        return really(*given)

    monkeypatch.setattr("assay.jobs.diff.compare_sides", interrupted)
    try:
        with pytest.raises(CommitError, match="made to forget something"):
            judged.diff(html=tmp_path / "d.html")
    finally:
        intent.unlink()
    assert not (tmp_path / "d.html").exists()


def test_the_page_and_its_figures_are_written_and_forgotten(tmp_path: Path) -> None:
    two = Two(tmp_path)
    for release in (two.before, two.after):
        judge_by(two.store, release, "plain")
    html = tmp_path / "d.html"
    facts = two.diff(html=html, seed=3)
    assert json.loads((tmp_path / "d.json").read_text()) == json.loads(facts.model_dump_json())
    assert (facts.html, facts.json_file) == (str(html), str(tmp_path / "d.json"))
    shown = next(facts.samples())
    untraced = tmp_path / "e.html"
    two.diff(html=untraced, trace=False)
    done = forget(ForgetSpec(place=shown.uri, store=two.store.shown), lambda _line: None)
    assert done.reports_removed == 2
    assert not html.exists()
    assert untraced.exists()


def test_a_side_may_be_named_by_its_directory(judged: Two) -> None:
    by_name, by_place = judged.diff(), judged.diff(before=str(judged.before.directory))
    assert by_place.model_copy(update={"written": by_name.written}) == by_name
