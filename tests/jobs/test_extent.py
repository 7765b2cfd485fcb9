"""Which uris a place means, however it is spelled, and what is said of it afterwards."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.jobs.extent import HIDDEN, Extent, Kind
from assay.platform.members import Member, Slice
from assay.platform.uris import Location, file_uri

NAMES = st.text("ab/%é", min_size=0, max_size=4)


def test_one_uri_is_no_other() -> None:
    extent = Extent.of_uri("s3://b/up/1")
    assert extent.has("s3://b/up/1")
    assert not any(map(extent.has, ["s3://b/up/10", "s3://b/up/", "s3://b/up", "s3://c/up/1"]))


def test_a_folder_ends_with_its_slash_and_a_prefix_anywhere() -> None:
    below, beginning = Extent.below("s3://b/up"), Extent.beginning("s3://b/up")
    assert [below.has(f"s3://b/{key}") for key in ("up/1", "up2/1", "up")] == [True, False, False]
    assert [beginning.has(f"s3://b/{key}") for key in ("up/1", "up2/1", "up")] == [True, True, True]


def test_a_path_is_meant_as_a_listing_spells_it(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    listed = file_uri(str(folder / "ö.jpg").encode())
    assert listed.endswith("/a%20b/%C3%B6.jpg")
    for text in (str(folder / "ö.jpg"), listed, str(tmp_path / "link" / "ö.jpg")):
        assert Extent.of_uri(text).has(listed)
    assert Extent.below(str(tmp_path / "link")).has(listed)
    assert Extent.beginning(str(tmp_path)).has(listed)
    assert not Extent.beginning(str(tmp_path / "a")).has(listed), "on disk a prefix is a folder"


def test_a_pack_is_itself_and_all_that_lies_in_it(tmp_path: Path) -> None:
    member = Member("s3://b/up/1.tar", Slice(512, 9), b"a.jpg").uri
    pack = Extent.of_uri("s3://b/up/1.tar")
    assert pack.kind is Kind.PACK
    assert [pack.has(uri) for uri in ("s3://b/up/1.tar", member)] == [True, True]
    others = ["s3://b/up/1.tar.gz", "s3://b/up/1.tar/x", "s3://b/up/11.tar!/x", Location("b", "up/1.tar!/x").uri]
    assert not any(map(pack.has, others)), "nor a key that looks like a member"
    alone = Extent.of_uri(member)
    assert alone.kind is Kind.URI
    assert [alone.has(uri) for uri in (member, member.replace("512", "513"), "s3://b/up/1.tar")] == [True, False, False]
    assert Extent.below("s3://b/up").has(member)
    (tmp_path / "link").symlink_to(tmp_path)
    local = Member((tmp_path / "1.tar").as_uri(), Slice(512, 9), b"\xe9 <b>.jpg").uri
    linked = str(tmp_path / "link" / "1.tar")
    assert Extent.of_uri(linked).has(local)
    assert Extent.of_uri(linked + local.partition(".tar")[2]).has(local)


@given(NAMES, st.lists(NAMES, min_size=1, max_size=6))
def test_of_a_pack_columns_and_ends_agree_with_each_uri(stem: str, names: list[str]) -> None:
    extent = Extent.of_uri(f"s3://b/{stem}.tar")
    ends = (".tar", ".tar!/000000000000512+9/x", ".tar.gz", "")
    uris = sorted(f"s3://b/{name}{end}" for name in [stem, *names] for end in ends)
    meant = [extent.has(uri) for uri in uris]
    assert sum(meant) >= 2
    assert extent.mask(pa.chunked_array([uris])).to_pylist() == meant
    assert all(extent.may_lie_between(uri, uri) == one for uri, one in zip(uris, meant, strict=True))
    assert extent.may_lie_between(uris[0], uris[-1])


@given(NAMES, st.lists(NAMES, min_size=1, max_size=6), st.booleans())
def test_columns_and_ends_agree_with_each_uri(stem: str, names: list[str], one: bool) -> None:
    extent = (Extent.of_uri if one else Extent.beginning)(f"s3://b/{stem}")
    uris = sorted(f"s3://b/{name}" for name in names)
    meant = [extent.has(uri) for uri in uris]
    assert extent.mask(pa.chunked_array([uris])).to_pylist() == meant
    assert extent.may_lie_between(uris[0], uris[-1]) or not any(meant)


@pytest.mark.parametrize(
    ("extent", "first", "last"),
    [
        (Extent.of_uri("s3://b/m"), "s3://b/a", "s3://b/l"),
        (Extent.of_uri("s3://b/m"), "s3://b/ma", "s3://b/z"),
        (Extent.below("s3://b/m"), "s3://b/a", "s3://b/m"),
        (Extent.below("s3://b/m"), "s3://b/m0", "s3://b/z"),
    ],
)
def test_files_that_cannot_have_it_are_not_read(extent: Extent, first: str, last: str) -> None:
    assert not extent.may_lie_between(first, last)


def test_what_is_said_of_it_is_hidden() -> None:
    extent = Extent.below("s3://b/mine")
    told = {
        "source": "s3://b/mine",
        "store": "s3://b/mine/store",
        "command": "assay backfill s3://b/mine --store s3://a/store --x=s3://b/mine/1",
        "planned": 3,
        "state": "done",
        "spec": {"source": "s3://b/mine/2", "include": ["*.jpg"], "storage": None},
        "elsewhere": ["s3://b/other", "gopher://x", "it's"],
    }
    assert extent.hide(told) == {
        **told,
        "source": HIDDEN,
        "command": f"assay backfill '{HIDDEN}' --store s3://a/store '{HIDDEN}'",
        "spec": {"source": HIDDEN, "include": ["*.jpg"], "storage": None},
    }
    assert Extent.of_uri("s3://b/1").hide(told) == told
