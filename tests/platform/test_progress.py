"""Progress as a line: read back whatever stands around it, and half a line is none."""

from hypothesis import given
from hypothesis import strategies as st

from assay.platform.progress import Progress, last_progress

counts = st.dictionaries(st.text(max_size=9), st.integers(0, 10**12), max_size=3)
progresses = st.builds(
    Progress,
    total=st.integers(0, 10**12),
    done=st.integers(0, 10**12),
    verdicts=counts,
    faults=counts,
    began=st.floats(0, 2e9),
)


@given(progresses, progresses, st.lists(st.text(max_size=20)))
def test_the_last_line_is_read_back(first: Progress, last: Progress, other: list[str]) -> None:
    around = [line for line in other if not line.startswith('{"progress"')]
    assert last_progress(around) is None
    assert last_progress([*around, first.line(), *around, last.line(), *around]) == last
    assert "\n" not in last.line()


@given(progresses, st.data())
def test_half_a_line_is_none(progress: Progress, data: st.DataObject) -> None:
    line = progress.line()
    half = line[: data.draw(st.integers(0, len(line) - 1))]
    assert last_progress([half]) is None
    assert last_progress([line, half]) == progress
