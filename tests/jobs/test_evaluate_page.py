"""The scorecard's page, as a browser shows it: self-contained, readable, and deaf to what strangers named slices."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from assay.jobs.evaluate import EvaluateFacts
from assay.jobs.evaluate_page import format_points, format_share, render_scorecard, title_of
from assay.platform.comparison import ComparisonSpec, compare
from assay.platform.evaluation import ScoredGolden, evaluate
from assay.platform.grading import grade
from assay.platform.resampling import ResamplingSpec
from assay.platform.scorecard import ScorecardSpec, Subject
from tests.browser import launched, opened
from tests.jobs.test_page import ATTACKS, TOO_PALE, Attributes
from tests.platform.simulated_golden import simulate

QUICK = ScorecardSpec(resampling=ResamplingSpec(resamples=100))


def spoilt(golden: ScoredGolden) -> ScoredGolden:
    """Every third photo that shows weapons is missed, and every fourth that shows none is flagged."""
    scores = golden.scores.copy()
    photo = golden.slices["style"] == "photo"
    scores[np.flatnonzero(photo & (golden.truth[:, 0] == 1))[::3], 0] = 0.01
    scores[np.flatnonzero(photo & (golden.truth[:, 0] == 0))[::4], 0] = 0.9
    return replace(golden, scores=scores)


@pytest.fixture(scope="module")
def html() -> str:
    prevalences = {"weapons": 0.2, "rare_and_long_named_label_of_the_library": 0.004, "nudity": 0.1}
    golden = simulate(1500, prevalences, slices={"style": ("photo", *ATTACKS[:2]), ATTACKS[2]: ("a", "b")})
    evaluation, former = evaluate(spoilt(golden), QUICK), evaluate(golden, QUICK)
    subject = Subject(release="starter-1", policy="strict", golden="f" * 64, missing=3, unasked=("money",))
    comparison = compare(evaluation, former, ComparisonSpec(), ("starter-1", "starter-0"))
    facts = EvaluateFacts(scorecard=grade(evaluation, subject), comparison=comparison)
    return render_scorecard(facts, evaluation)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Browser, html: str, tmp_path: Path) -> Iterator[Page]:
    with opened(browser, html, tmp_path / "card.html") as shown:
        yield shown


def test_every_label_has_its_figures_and_plots(page: Page) -> None:
    assert page.locator("details.gallery").count() == 3
    assert page.locator("svg.chart").count() == 9
    assert page.locator("svg.chart:not([aria-label])").count() == 0
    weapons = page.locator("details.gallery").nth(0)
    assert weapons.locator("tbody tr").count() == 13
    assert weapons.locator("svg.chart").evaluate_all("all => all.map(one => one.getBBox().width > 150)") == [True] * 3
    rare = page.locator("details.gallery").nth(1)
    assert re.search(r"\d positive images, 10 needed", rare.inner_text())


def test_what_is_worse_and_which_gaps_there_are_comes_first(page: Page) -> None:
    text = page.locator("main").inner_text()
    assert "figures are worse by more than their margin" in text
    named = page.locator("table.gaps tbody tr")
    assert named.count() >= 2
    assert {name for name in named.locator("th").all_inner_texts() if name.endswith("sure")} == {"weapons sure"}
    assert "3 images of the golden set could not be had" in text
    assert "money" in text


def test_names_from_strangers_stay_text(page: Page) -> None:
    assert page.title() == "Assay scorecard: starter-1"
    assert page.locator("script, svg[onload], img, iframe, object, embed, form, style").count() == 1
    shown = page.locator("body").text_content() or ""
    assert all(attack in shown for attack in ATTACKS[:3])


@pytest.mark.parametrize("width", [390, 320, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_text_can_be_read(page: Page, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("li, td, th, dd, p, figcaption").evaluate_all(TOO_PALE) == []


def test_plots_follow_light_and_dark(page: Page) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        colours.append(page.locator("svg.chart text").first.evaluate("one => getComputedStyle(one).fill"))
    assert colours[0] != colours[1]


def test_headings_and_tables_are_told(page: Page) -> None:
    assert page.locator("th:not([scope])").count() == 0
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert max(levels) == 3


def test_every_reference_is_inside(html: str) -> None:
    parser = Attributes()
    parser.feed(html)
    ids = [value for _, name, value in parser.seen if name == "id"]
    assert [one for one, count in Counter(ids).items() if count > 1] == []
    hrefs = [value for _, name, value in parser.seen if name in ("href", "xlink:href")]
    assert all(value.startswith("#") and value[1:] in ids for value in hrefs)
    assert set(re.findall(r"url\(#([^)]*)\)", html)) <= set(ids)
    assert not re.findall(r"url\((?!#)|@import|https?:", html)
    assert not [entry for entry in parser.seen if entry[1].startswith("on") or entry[0] in ("script", "link")]


def test_figures_are_named_and_cut() -> None:
    assert title_of("recall_at_precision_0.98") == "recall at precision 0.98"
    assert title_of("review.false_positive_rate") == "review false positive rate"
    assert title_of("roc_auc") == "ROC-AUC"
    assert format_share(0.9996) == "0.999"
    assert format_share(0.29) == "0.290"
    assert format_share(1.0) == "1.000"
    assert format_share(None) == ""
    assert format_points(-0.123) == "-12.3"
