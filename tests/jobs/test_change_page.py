"""The page of a comparison, as a browser shows it: self-contained, readable, and deaf to what strangers wrote."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from assay.jobs.change import predict_load, share_of
from assay.jobs.change_data import (
    Changed,
    DiffFacts,
    Direction,
    Faults,
    GoldenFacts,
    Half,
    LabelChange,
    Measured,
    Moves,
    Overrun,
    Phrase,
    PolicyChange,
    Shift,
)
from assay.jobs.change_page import format_percent, pictures_of, plot_density, render_change
from assay.jobs.change_tally import GRID
from assay.jobs.gallery import Gallery, Thumbnail
from assay.platform.library_diff import Change, LibraryDiff
from assay.platform.library_diff import Changed as TextChanged
from assay.platform.policy import Action
from assay.platform.scorecard import Estimate
from tests.browser import launched, opened
from tests.jobs.test_page import ATTACKS, TOO_PALE, Attributes, picture

FILE = "file:///data/bucket/uploads/a%20b.jpg"
GONE = "file:///data/bucket/gone.jpg"
MOVES = Moves(counts=((980_000, 1200, 30), (300, 17_000, 70), (0, 400, 1000)))
QUIET = Moves(counts=((1_000_000, 0, 0), (0, 0, 0), (0, 0, 0)))


def changed(uri: str, direction: Direction, text: str = "a knife", **changes: object) -> Changed:
    phrase = Phrase(concept=text, prompt=text, counter=f"not {text}", view=0)
    facts = {"uri": uri, "etag": "1", "direction": direction, "before": Action.PASS, "after": Action.REVIEW}
    scores = {"score_before": 0.1234, "score_after": 0.8997, "phrase_before": phrase, "phrase_after": phrase}
    return Changed.model_validate(facts | scores | changes)


def shift() -> Shift:
    rows = [[0] * GRID for _ in range(GRID)]
    rows[0][0], rows[0][20], rows[12][13] = 999_000, 3, 400
    return Shift(images=999_403, quantiles={"0": -0.5, "0.5": 0.0, "1": 0.83}, density=tuple(map(tuple, rows)))


def label(name: str, moves: Moves = MOVES, *sample: Changed, **changes: object) -> LabelChange:
    facts = {
        "label": name,
        "presence": "both",
        "causes": ("text", "thresholds"),
        "calibrated": (True, False),
        "thresholds": ({"review": 0.5, "block": 0.9}, {"review": 0.4}),
        "standing": (("calibrated on much", "of old"), ("calibrated on much", "of late")),
        "rule": ("review from 0.5", "review from 0.4"),
        "no_evidence": False,
        "moves": moves,
        "newly_flagged": share_of(moves.newly_flagged, moves.total, 0.95),
        "newly_cleared": share_of(moves.newly_cleared, moves.total, 0.95),
        "shift": shift(),
        "sample": sample,
    }
    return LabelChange.model_validate(facts | changes)


def policy(name: str, *labels: LabelChange, **changes: object) -> PolicyChange:
    facts = {
        "before": name,
        "after": name,
        "images": MOVES.total,
        "only_before": 3,
        "only_after": 0,
        "faults": Faults(both=17, only_before=0, only_after=2),
        "on_fault": (Action.REVIEW, Action.BLOCK),
        "moves": MOVES,
        "newly_flagged": share_of(MOVES.newly_flagged, MOVES.total, 0.95),
        "newly_cleared": share_of(MOVES.newly_cleared, MOVES.total, 0.95),
        "blocks": (share_of(1400, MOVES.total, 0.95), share_of(1100, MOVES.total, 0.95)),
        "load": predict_load(MOVES, 2_000_000, 0.95),
        "labels": labels,
    }
    return PolicyChange.model_validate(facts | changes)


def measured(figure: str, **changes: object) -> Measured:
    both = {"before": Estimate(value=0.9, low=0.8, high=0.95), "after": Estimate(value=0.8, low=0.7, high=0.9)}
    change = {"change": Estimate(value=-0.1, low=-0.15, high=-0.05), "worse": True}
    return Measured.model_validate({"figure": figure} | both | change | changes)


def comparison() -> DiffFacts:
    weapons = label(
        "weapons",
        MOVES,
        changed(FILE, Direction.FLAGGED),
        changed(GONE, Direction.CLEARED, before=Action.REVIEW, after=Action.PASS, view_kind="tile"),
        measured=(
            measured("flagged.precision"),
            measured("flagged.recall", change=Estimate(lacks="before: 3 positive images, 10 needed"), worse=False),
        ),
    )
    hostile = [changed(f"s3://bucket/{attack}", Direction.FLAGGED, attack) for attack in ATTACKS]
    strange = label(ATTACKS[0], MOVES, *hostile, standing=((ATTACKS[1],), ()), rule=(ATTACKS[3], ""))
    secret = label("nudity", MOVES, changed("file:///data/bucket/secret.jpg", Direction.FLAGGED), no_evidence=True)
    new = label("pets", MOVES, presence="new", causes=(), calibrated=(False, True), shift=None)
    quiet = label("a_very_long_name_of_a_label_that_nobody_moved", QUIET, causes=(), calibrated=(True, True))
    golden = GoldenFacts(golden="g", digest="f" * 64, split="test", images=900, missing=4, unasked=("pets", ATTACKS[2]))
    words = [TextChanged(change=Change.REWORDED, kind="concept", id="knife", detail=attack) for attack in ATTACKS]
    return DiffFacts(
        store="/data/store",
        source="/data/bucket",
        written="2026-11-26T07:00:00.000Z",
        before="starter-1",
        after=f"starter-2{ATTACKS[1]}",
        observed=1_000_003,
        identical=False,
        library=LibraryDiff(
            before="a" * 64,
            after="b" * 64,
            changes=tuple(words),
            rescored=("weapons",),
            scored_no_more=(),
            scored_now=("pets",),
        ),
        policies=(policy("strict", weapons, strange, secret, new, quiet, golden=golden), policy("lenient", quiet)),
        not_compared=(f"{ATTACKS[4]} (only --to)",),
        half=(Half(side="to", release="starter-2", policy="strict", judged=5, observed=9, finish="assay reaudit …"),),
        confidence=0.95,
        overruns=(Overrun(policy="strict", budget="newly_flagged", allowed=0, found=1, said="1,230 of 1,000,000"),),
    )


@pytest.fixture(scope="module")
def html() -> str:
    facts = comparison()
    wanted = {one for group in pictures_of(facts) for one in group}
    assert (GONE, "1", "tile", None) in wanted
    gallery: Gallery = {(FILE, "1", "whole", None): picture()}
    gallery[GONE, "1", "tile", None] = Thumbnail(b"", why="gone or changed since")
    return render_change(facts, gallery)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Browser, html: str, tmp_path: Path) -> Iterator[Page]:
    with opened(browser, html, tmp_path / "change.html") as shown:
        yield shown


def test_what_must_not_be_missed_comes_first(page: Page) -> None:
    alarms = page.locator(".alarm").all_inner_texts()
    assert "Over budget." in alarms[0]
    assert "newly flagged: 1,230 of 1,000,000" in alarms[0]
    assert "Partial." in alarms[1]
    assert "5 of 9. To finish: assay reaudit" in alarms[1]
    assert "raw, not probabilities" in alarms[2]
    assert "pets" not in alarms[2]  # new, and calibrated where it is scored


def test_every_image_is_in_the_matrix_once(page: Page) -> None:
    rows = page.locator("table.matrix").first.locator("tbody tr")
    cells = [[int(one.replace(",", "")) for one in row.locator("td").all_inner_texts()] for row in rows.all()]
    assert [row[:3] for row in cells] == [list(row) for row in MOVES.counts]
    assert [sum(row[:3]) for row in cells] == [row[3] for row in cells]
    foot = page.locator("table.matrix").first.locator("tfoot td").all_inner_texts()
    assert foot[-1] == f"{MOVES.total:,}"
    caption = page.locator("table.matrix caption").first.inner_text()
    assert "17 could not be read on either side, 0 only before, 2 only after" in caption
    assert "sends those to review before and block after" in caption


def test_labels_that_nothing_happened_to_are_only_named(page: Page) -> None:
    assert page.locator("details.gallery").count() == 4
    text = page.locator("main").inner_text()
    assert text.count("a_very_long_name_of_a_label_that_nobody_moved") == 2
    assert "No label changed." in text


def test_both_sides_of_an_image_are_shown(page: Page) -> None:
    cards = page.locator("details.gallery").first.locator(".cards li")
    assert cards.count() == 2
    shown = cards.nth(0)
    assert shown.locator("img").count() == 1
    assert [" ".join(one.split()) for one in shown.locator(".verdict").all_inner_texts()] == [
        "before 0.123 pass",
        "after 0.899 review",  # cut, not rounded
    ]
    assert shown.locator(".phrase.for").count() == 2
    assert shown.locator("a.thumb").get_attribute("href") == FILE
    assert cards.nth(1).locator(".missing").inner_text() == "gone or changed since"
    assert cards.nth(1).locator(".look").inner_text() == "one end of it"


def test_a_secret_label_shows_nothing(page: Page, html: str) -> None:
    assert "secret.jpg" not in html
    assert "counted, never shown" in (page.locator("details.gallery").nth(2).text_content() or "")


def test_figures_with_their_change(page: Page) -> None:
    text = " ".join(page.locator("main").inner_text().split())
    assert "0.900 → 0.800 worse -10.0 (-15.0 to -5.0)" in text
    assert "before: 3 positive images, 10 needed" in text
    assert "4 more are not in the store" in text


def test_what_strangers_wrote_stays_text(page: Page) -> None:
    assert page.locator("script, svg[onload], iframe, object, embed, form").count() == 0
    assert page.locator("style").count() == 1
    assert page.locator("img").count() == 1
    shown = page.locator("body").text_content() or ""
    assert all(attack in shown for attack in ATTACKS)


@pytest.mark.parametrize("width", [390, 320, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_text_can_be_read(page: Page, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("li, td, th, dd, p, figcaption, caption").evaluate_all(TOO_PALE) == []


def test_people_who_do_not_see_it_are_told(page: Page) -> None:
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator("svg:not([aria-label])").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))


def test_every_reference_is_inside(html: str) -> None:
    parser = Attributes()
    parser.feed(html)
    ids = [value for _, name, value in parser.seen if name == "id"]
    assert [one for one, count in Counter(ids).items() if count > 1] == []
    hrefs = [value for _, name, value in parser.seen if name == "href"]
    assert all(value in (FILE, GONE) or (value[0] == "#" and value[1:] in ids) for value in hrefs)
    assert not re.findall(r"url\(|@import|https?:", html)
    assert not [entry for entry in parser.seen if entry[1].startswith("on") or entry[0] in ("script", "link")]


def test_a_density_shows_the_few_beside_the_many() -> None:
    plot = plot_density(shift(), label("weapons"))
    cells = {shade: path.count("M") for shade, path in plot.shades}
    assert sum(cells.values()) == 3
    assert max(cells) == 5
    assert min(cells) < 3
    assert [action for action, _ in plot.marks] == ["review", "block", "review"]
    assert plot.marks[0][1] == f"M12.50 0V{GRID}"
    assert plot.marks[2][1] == "M0 15.00H25"


def test_the_same_on_both_sides_is_said() -> None:
    same = comparison().model_copy(update={"identical": True})
    assert "nothing can differ" in render_change(same, {})


def test_small_shares_are_not_nothing() -> None:
    assert [format_percent(one) for one in (None, 0.0, 0.00001, 0.1234)] == ["", "0.00 %", "< 0.01 %", "12.34 %"]
