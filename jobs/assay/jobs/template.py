"""The templates of pages: strict, and with everything escaped that comes from elsewhere.

Knows where they lie. Does not know what is in them.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

Filters = Mapping[str, Callable[..., Any]]
"""How values are written, by the names templates use."""


def load_template(name: str, filters: Filters) -> Template:
    """A template of this room, with its own filters."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters)
    return environment.get_template(name)


def format_count(value: float) -> str:
    """A number of things, with thousands parted."""
    return f"{value:,.0f}"


def format_score(value: float) -> str:
    """A score. Cut, not rounded: 0.8997 must not read as a threshold of 0.90 that it did not reach."""
    return f"{math.floor(value * 1000) / 1000:.3f}"
