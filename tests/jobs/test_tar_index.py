"""The index of a tar, held against the standard library's reader over tars of every format, whole and damaged."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assay.jobs.tar_index import BLOCK, Entry, read_tar
from assay.platform.faults import FaultKind

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = st.one_of(
    st.sampled_from(
        ["a.jpg", "twice.jpg", "dir/b.png", "é ü.jpg", "new\nline", "x" * 99, "y" * 100, "z/" * 70 + "z.jpg"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=160),
    st.binary(min_size=1, max_size=40)
    .filter(lambda name: b"\0" not in name)
    .map(lambda b: b.decode("utf-8", "surrogateescape")),
)
KINDS = st.sampled_from([tarfile.REGTYPE] * 6 + [tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


@dataclass(frozen=True)
class Put:
    name: str
    kind: bytes
    data: bytes
    words: tuple[tuple[str, str], ...] = ()


PUTS = st.lists(
    st.builds(
        Put,
        NAMES,
        KINDS,
        st.integers(0, 1500).map(lambda size: bytes(number % 251 for number in range(size))),
        st.sampled_from([(), (), (("comment", "x\n=y"),), (("mtime", "1.5"), ("SCHILY.xattr.a", "é"))]),
    ).filter(lambda put: put.kind != tarfile.AREGTYPE or "/" not in put.name),  # see below
    max_size=8,
)


def make_tar(puts: Sequence[Put], layout: int, blocked: int = 20 * BLOCK) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=layout) as out:
        for put in puts:
            info = tarfile.TarInfo(put.name)
            info.type, info.linkname = put.kind, "elsewhere" if put.kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else ""
            info.pax_headers = dict(put.words)
            info.size = len(put.data) if info.isreg() else 0
            try:
                out.addfile(info, io.BytesIO(put.data))
            except ValueError:  # too long a name for this format
                continue
    return sink.getvalue()


def index(data: bytes) -> list[Entry]:
    return list(read_tar(lambda start, length: data[start : start + length], len(data)))


def as_tarfile_has_it(data: bytes) -> list[Entry]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return [
            Entry(one.offset_data, one.size, one.name.encode("utf-8", "surrogateescape"))
            for one in tar.getmembers()
            if one.isreg()
        ]


@settings(derandomize=True, max_examples=300, deadline=None)
@given(PUTS, st.sampled_from(sorted(FORMATS)))
@example([], "gnu")
@example([Put("a" * 300, tarfile.REGTYPE, b"x"), Put("a" * 300, tarfile.REGTYPE, b"y")], "gnu")
@example([Put("é" * 300, tarfile.REGTYPE, b"x", (("comment", "c"),))], "pax")
def test_every_file_is_where_the_standard_library_finds_it(puts: list[Put], layout: str) -> None:
    data = make_tar(puts, FORMATS[layout])
    found = index(data)
    assert found == as_tarfile_has_it(data)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        contents = [tar.extractfile(one).read() for one in tar.getmembers() if one.isreg()]  # type: ignore[union-attr]  # it is a file
    assert [data[one.start : one.start + one.size] for one in found] == contents


@settings(derandomize=True, max_examples=200, deadline=None)
@given(PUTS.filter(bool), st.sampled_from(sorted(FORMATS)), st.floats(0, 1, exclude_max=True))
def test_a_tar_cut_short_tells_so_and_keeps_what_lies_before(puts: list[Put], layout: str, share: float) -> None:
    data = make_tar(puts, FORMATS[layout])
    whole = as_tarfile_has_it(data)
    end = max((-(-(one.start + one.size) // BLOCK) * BLOCK for one in whole), default=0)
    cut = data[: int(end * share)]
    found = index(cut)
    left = [one for one in whole if one.start + one.size <= len(cut)]
    sound = [one for one in found if one.fault is None]
    assert sound == left
    assert found[-1].fault in {FaultKind.TRUNCATED, FaultKind.EMPTY}
    assert len(found) == len(left) + 1


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    PUTS.filter(bool),
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4),
)
def test_a_tar_with_flipped_bytes_ends_and_points_into_itself(
    puts: list[Put], layout: str, flips: list[tuple[float, int]]
) -> None:
    data = bytearray(make_tar(puts, FORMATS[layout]))
    for share, bits in flips:
        data[int(share * (len(data) - 1))] ^= bits
    found = index(bytes(data))
    assert all(0 <= one.start <= one.start + one.size <= len(data) for one in found)
    assert len({(one.start, one.size, one.name) for one in found}) == len(found)
    assert [one.start for one in found] == sorted(one.start for one in found)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_bytes_that_are_no_tar_are_one_entry_with_a_fault(data: bytes) -> None:
    [found] = index(data + b"\1")
    assert found.fault in {FaultKind.TRUNCATED, FaultKind.CORRUPT}
    assert found.start + found.size == len(data) + 1


def test_a_file_of_old_whose_short_name_ends_with_a_slash_is_no_folder() -> None:
    """The standard library takes it for one, and then its bytes for a header."""
    name = "z/" * 60 + "z.jpg"
    puts = [
        Put(name, tarfile.AREGTYPE, b"picture"),
        Put("folder/", tarfile.AREGTYPE, b""),
        Put("b", tarfile.REGTYPE, b""),
    ]
    assert index(make_tar(puts, tarfile.GNU_FORMAT)) == [
        Entry(1536, 7, name.encode()),
        Entry(3072, 0, b"b"),
    ]


def test_an_empty_tar_has_no_files_and_an_empty_object_is_told() -> None:
    assert index(make_tar([], tarfile.GNU_FORMAT)) == []
    assert index(b"") == [Entry(0, 0, b"", FaultKind.EMPTY)]


def test_a_tar_without_the_mark_of_an_end_may_have_been_cut() -> None:
    data = make_tar([Put("a", tarfile.REGTYPE, b"x" * 512)], tarfile.GNU_FORMAT)[: 2 * BLOCK]
    assert index(data) == [Entry(512, 512, b"a"), Entry(1024, 0, b"", FaultKind.TRUNCATED)]


def test_tars_put_one_behind_the_other_are_read_on() -> None:
    one = make_tar([Put("a", tarfile.REGTYPE, b"x")], tarfile.GNU_FORMAT)
    assert [entry.name for entry in index(one + one)] == [b"a", b"a"]
    rest = index(one + b"not a header")
    assert rest[-1] == Entry(len(one), 12, b"", FaultKind.TRUNCATED)


def test_a_sparse_file_is_named_and_leapt_over() -> None:
    whole = make_tar(
        [Put("s", tarfile.REGTYPE, b"x" * 512), Put("after.jpg", tarfile.REGTYPE, b"y")], tarfile.GNU_FORMAT
    )
    block = bytearray(whole[:BLOCK])
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[482] = 1  # one more block of the map follows
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    data = bytes(block) + bytes(BLOCK) + whole[BLOCK:]
    assert index(data) == [
        Entry(1024, 512, b"s", FaultKind.UNSUPPORTED_FORMAT),
        Entry(2048, 1, b"after.jpg"),
    ]
    words = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    [found] = index(make_tar([Put("t", tarfile.REGTYPE, b"x", tuple(words.items()))], tarfile.PAX_FORMAT))
    assert (found.name, found.fault) == (b"t", FaultKind.UNSUPPORTED_FORMAT)


@pytest.mark.parametrize("size", [b"-1", b"x", b"9" * 30])
def test_a_size_that_lies_ends_the_index_with_a_fault(size: bytes) -> None:
    data = make_tar([Put("a", tarfile.REGTYPE, b"x", (("comment", "s"),))], tarfile.PAX_FORMAT)
    place = data.index(b"comment=")
    record = b"%d size=%s\n"
    length = len(record % (10, size)) if len(record % (10, size)) >= 10 else 9
    lying = (record % (length, size)).ljust(40, b"\0")
    begin = place - len(b"13 ")
    [found] = index(data[:begin] + lying + data[begin + 40 :])
    assert found.fault in {FaultKind.CORRUPT, FaultKind.TRUNCATED}


def test_reading_needs_headers_only() -> None:
    data = make_tar([Put(f"{number}.jpg", tarfile.REGTYPE, b"x" * 50_000) for number in range(20)], tarfile.GNU_FORMAT)
    asked: list[int] = []

    def at(start: int, length: int) -> bytes:
        asked.append(length)
        return data[start : start + length]

    assert len(list(read_tar(at, len(data)))) == 20
    assert sum(asked) < 20 * 512 + 100_000
