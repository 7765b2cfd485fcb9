"""Plots as SVG: what is drawn is what was measured, and nothing of it reaches out of the page."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from assay.jobs.evaluate_plots import COLOURS, MAX_POINTS, Scored, plot_precision, plot_reliability, plot_truth


def scored(count: int = 500, name: str = "weapons", thresholds: dict[str, float] | None = None) -> Scored:
    rng = np.random.default_rng(0)
    positive = rng.random(count) < 0.3
    scores = np.clip(rng.normal(0.25, 0.15, count) + 0.4 * positive, 0, 0.95).astype(np.float32)
    return Scored(
        name, scores, positive, np.ones(count), {"review": 0.3, "block": 0.7} if thresholds is None else thresholds
    )


@pytest.mark.parametrize("plot", [plot_precision, lambda one: plot_reliability(one, 10), plot_truth])
def test_a_plot_is_one_element_without_colours_links_or_fonts_of_its_own(plot: object) -> None:
    assert callable(plot)
    text = str(plot(scored(name="<b onload='1'>\"")))
    root = ElementTree.fromstring(text.replace("xlink:href", "href"))
    assert root.tag == "svg"
    assert root.attrib["aria-label"].endswith("<b onload='1'>\"")
    assert not [colour for colour in COLOURS.values() if colour in text]
    assert not re.findall(r"#[0-9a-f]{6}\b|https?:|DejaVu|<style|<metadata|<!--", text)
    assert text == str(plot(scored(name="<b onload='1'>\"")))  # the same each time


def test_a_dot_stands_at_each_threshold() -> None:
    """Dots are markers, each placed by one `use`; the legend has one more of each."""
    both = {"review": 0.3, "block": 0.7}
    bare, one, two = (plot_precision(scored(thresholds=dict(list(both.items())[:n]))).count("<use") for n in range(3))
    assert (one - bare, two - bare) == (2, 4)


def test_a_threshold_over_all_scores_has_no_dot() -> None:
    unreached = plot_precision(scored(thresholds={"review": 0.3, "block": 1.0}))
    assert "block" not in unreached
    assert "review" in unreached


def test_a_curve_of_many_images_stays_small() -> None:
    assert len(plot_precision(scored(50_000))) < 60 * MAX_POINTS
