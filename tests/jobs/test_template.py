"""Templates escape what comes from elsewhere, and stop at what is not there."""

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from assay.jobs.template import format_count, load_template


def test_a_template_is_strict() -> None:
    with pytest.raises(UndefinedError, match="card"):
        load_template("scorecard.html.j2", dict.fromkeys(("figure", "share", "points", "count"), str)).render()
    with pytest.raises(TemplateNotFound):
        load_template("nowhere.html.j2", {})


def test_what_comes_from_elsewhere_is_escaped() -> None:
    environment = load_template("report.css", {"count": format_count}).environment
    assert environment.from_string("{{ name }} {{ 12345 | count }}").render(name="<b>") == "&lt;b&gt; 12,345"
