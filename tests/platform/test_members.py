import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.faults import FaultKind
from assay.platform.members import Member, Row, Slice, is_pack, order_of, pack_of, parse_member
from assay.platform.rows import ImageRef
from assay.platform.uris import Location, file_uri, parse_uri

ODD = st.lists(
    st.sampled_from(
        [".tar", ".TAR", ".parquet", "!", "!!", "/", "#", "?", "000000000000001+2", "000001.000000002", "x", "%21"]
    ),
    max_size=7,
).map("".join)
PACKS = st.builds(
    lambda stem, end: Location("b", f"{stem}{end}").uri, ODD, st.sampled_from([".tar", ".parquet", ".Tar"])
)
PLACES = st.one_of(
    st.builds(Slice, st.integers(0, 10**14), st.integers(0, 10**13)),
    st.builds(Row, st.integers(0, 10**6 - 1), st.integers(0, 10**9 - 1)),
)
MEMBERS = st.builds(
    Member,
    PACKS,
    PLACES,
    st.one_of(st.binary(max_size=20), ODD.map(str.encode)),
    st.none() | st.sampled_from(FaultKind),
)


@settings(derandomize=True, max_examples=500)
@given(MEMBERS)
def test_a_member_survives_its_uri(member: Member) -> None:
    assert parse_member(member.uri) == member
    assert pack_of(member.uri) == member.pack
    assert parse_uri(member.pack).is_s3


@settings(derandomize=True, max_examples=500)
@given(ODD)
def test_no_object_is_taken_for_a_member(key: str) -> None:
    """Whatever a key or path looks like, its uri names a whole object, and comes back as it was."""
    for place in (Location("b", key), Location("b", f"x.tar!/000000000000001+2/{key}")):
        assert parse_member(place.uri) is None
        assert parse_uri(place.uri) == place
        assert parse_member(file_uri(f"/{place.key}".encode())) is None
        assert parse_uri(file_uri(f"/{place.key}".encode())).key == f"/{place.key}"


@settings(derandomize=True, max_examples=300)
@given(st.sets(ODD, min_size=2, max_size=6), st.lists(MEMBERS, min_size=1, max_size=3))
def test_what_lies_in_packs_sorts_as_its_packs_are_ordered(keys: set[str], members: list[Member]) -> None:
    objects = sorted((ImageRef(Location("b", key).uri, "e", 1) for key in keys), key=order_of)
    inside = [
        Member(one.uri, member.place, member.name).uri if is_pack(one.uri) else one.uri
        for one in objects
        for member in (members[:1] if is_pack(one.uri) else [members[0]])
    ]
    assert inside == sorted(inside)


def test_uris_sort_as_bytes_lie() -> None:
    places = [Slice(0, 9), Slice(9, 1), Slice(10**12, 5)]
    uris = [
        Member("s3://b/a.tar", place, name, None).uri for place, name in zip(places, (b"z", b"y", b"x"), strict=True)
    ]
    assert uris == sorted(uris)
    rows = [Row(0, 9), Row(0, 10), Row(2, 0), Row(10, 0)]
    uris = [Member("s3://b/a.parquet", row, b"image.bytes").uri for row in rows]
    assert uris == sorted(uris)


@pytest.mark.parametrize(
    "uri", ["s3://b/a.tar", "s3://b/a.tar!/x", "s3://b/a.tar!/1+2/x", "s3://b/a.zip!/000000000000001+2/x"]
)
def test_what_only_looks_like_a_member(uri: str) -> None:
    assert parse_member(uri) is None
    assert pack_of(uri) == ""
