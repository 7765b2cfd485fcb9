"""Golden rows as property tests draw them: any text a column can hold, several reviewers of one image, odd weights."""

import datetime

import numpy as np
from hypothesis import strategies as st

from assay.platform.golden_rows import SPLITS, GoldenRow, Reviews, Truth

DIM = 4
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
word = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
times = st.datetimes(
    datetime.datetime(1990, 1, 1),
    datetime.datetime(2100, 1, 1),
    timezones=st.just(datetime.UTC),
)


def unit(seed: int, views: int = 1, dim: int = DIM) -> bytes:
    """An embedding."""
    rows = np.random.default_rng(seed).normal(size=(views, dim))
    return bytes((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f2").tobytes())


@st.composite
def reviews(draw: st.DrawFn) -> Reviews:
    """Rows that hold together."""
    rows = []
    for uri in draw(st.lists(word, min_size=1, max_size=4, unique=True)):
        facts = {
            "uri": uri,
            "etag": draw(text),
            "weight": draw(st.floats(1e-6, 1e12)),
            "split": draw(st.sampled_from([None, *SPLITS])),
            "embedding": draw(st.none() | st.integers(0, 99).map(unit)),
        }
        for reviewer, time in draw(st.lists(st.tuples(word, times), min_size=1, max_size=3, unique=True)):
            said = {
                "labels": draw(st.dictionaries(word, st.sampled_from(Truth), max_size=3)),
                "slices": draw(st.dictionaries(word, word, max_size=2)),
                "policy": draw(st.none() | word),
                "note": draw(st.none() | word),
            }
            rows.append(GoldenRow.model_validate({**facts, **said, "reviewer": reviewer, "time": time}))
    kept = any(row.embedding for row in rows)
    return Reviews(tuple(rows), tuple(sorted(draw(st.sets(word, max_size=3)))), "some digest" if kept else "")
