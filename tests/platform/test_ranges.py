from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.faults import FaultKind
from assay.platform.fetch import file_etag
from assay.platform.ranges import PEEK_BYTES, PackUnread, RangeFile
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage

CONTENT = bytes(number % 251 for number in range(1000))


def ref(path: Path) -> ImageRef:
    return ImageRef(path.as_uri(), file_etag(path.stat()), path.stat().st_size)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> ImageRef:
    path = tmp_path_factory.mktemp("ranges") / "a.tar"
    path.write_bytes(CONTENT)
    return ref(path)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    reads=st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 1100)), max_size=12),
    window=st.integers(1, 1200),
    limit=st.none() | st.integers(0, 1200),
    by_its_end=st.booleans(),
)
def test_reads_are_those_of_a_file(
    pack: ImageRef, reads: list[tuple[int, int]], window: int, limit: int | None, by_its_end: bool
) -> None:
    whole = ImageRef(pack.uri, pack.etag, 0)
    file = RangeFile.by_its_end(Storage(), whole, 100) if by_its_end else RangeFile(Storage(), pack, window)
    file.limit = limit
    assert file.size == 1000
    for start, length in reads:
        assert file.at(start, length) == CONTENT[start : start + length]
        assert file.seek(start) == start
        assert file.read(length) == CONTENT[start : start + length]
        assert file.tell() == start + len(CONTENT[start : start + length])


def test_reading_on_asks_for_every_byte_once(pack: ImageRef) -> None:
    file = RangeFile(Storage(), pack, 100)
    assert b"".join(file.at(start, 7) for start in range(0, 1000, 7)) == CONTENT
    assert file.requests == 10


def test_a_leap_over_more_than_a_window_reads_little(tmp_path: Path) -> None:
    path = tmp_path / "large.tar"
    path.write_bytes(b"")
    with path.open("r+b") as out:
        out.truncate(10 * PEEK_BYTES)
    file = RangeFile(Storage(), ref(path), 2 * PEEK_BYTES)
    file.at(0, 512)
    file.at(5 * PEEK_BYTES, 512)
    assert file._window.stop == 6 * PEEK_BYTES
    fresh = RangeFile(Storage(), ref(path), 2 * PEEK_BYTES)
    fresh.at(5 * PEEK_BYTES, 512)
    assert fresh._window.stop == 7 * PEEK_BYTES, "where a file is read first is no leap"


def test_an_object_that_changed_or_went_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(CONTENT)
    file = RangeFile(Storage(), ref(path))
    path.write_bytes(CONTENT + b"more")
    with pytest.raises(PackUnread) as changed:
        file.at(0, 1)
    path.unlink()
    with pytest.raises(PackUnread) as gone:
        file.at(0, 1)
    assert (changed.value.fault.kind, gone.value.fault.kind) == (FaultKind.CHANGED, FaultKind.GONE)
