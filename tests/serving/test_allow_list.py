"""The list: what is on it is found in the spellings people use, and what cannot be on it is said when it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from yarl import URL

from assay.platform.uris import Location
from assay.serving.allow_list import AllowList, OriginSpec, Remote
from assay.serving.problem import Code, Problem

ORIGINS = ("https://cdn.example.com", "http://cdn.example.com:8080", "https://[2606:4700::1111]", "https://8.8.8.8")
LIST = AllowList(tuple(OriginSpec(origin=one) for one in ORIGINS), ("s3://bucket/a/b", "s3://whole", "s3://slash/x/"))


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("https://cdn.example.com/a.jpg", "https://cdn.example.com/a.jpg"),
        ("HTTPS://CDN.Example.COM/A.jpg", "https://cdn.example.com/A.jpg"),
        ("https://cdn.example.com:443/a.jpg", "https://cdn.example.com/a.jpg"),
        ("https://cdn.example.com", "https://cdn.example.com/"),
        ("https://cdn.example.com?a=b", "https://cdn.example.com/?a=b"),
        ("https://cdn.example.com/%E2%9C%93/a%20b.jpg?X=%2F&y=a+b/?:@", None),
        ("https://cdn.example.com/a//b/../c;d=e,f/(g)~!*'.jpg", None),
        ("https://cdn.example.com/https://127.0.0.1/a.jpg?u=https://x@y", None),
        ("http://cdn.example.com:8080/a.jpg", None),
        ("https://[2606:4700:0:0::1111]:443/a.jpg", "https://[2606:4700::1111]/a.jpg"),
        ("https://8.8.8.8/a.jpg", None),
    ],
)
def test_urls_of_the_list_are_found(asked: str, sent: str | None) -> None:
    found = LIST.find(asked)
    assert isinstance(found, Remote)
    assert found.url == (sent or asked)
    assert found.origin.origin in ORIGINS


@pytest.mark.parametrize(
    ("asked", "bucket", "key"),
    [
        ("s3://bucket/a/b/c.jpg", "bucket", "a/b/c.jpg"),
        ("s3://bucket/a/b/ü %20#?.jpg", "bucket", "a/b/ü %20#?.jpg"),
        ("s3://bucket/a/b/..c/...d", "bucket", "a/b/..c/...d"),
        ("s3://whole/c.jpg", "whole", "c.jpg"),
        ("s3://slash/x/c.jpg", "slash", "x/c.jpg"),
    ],
)
def test_objects_of_the_list_are_found(asked: str, bucket: str, key: str) -> None:
    assert LIST.find(asked) == Location(bucket, key)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "cdn.example.com",
        "https://*.example.com",
        "https://cdn.example.com/",
        "https://cdn.example.com/images",
        "https://cdn.example.com?a",
        "https://user@cdn.example.com",
        "https://CDN.example.com",
        "https://cdn.example.com.",
        "https://cdn.example.com:0",
        "https://cdn.example.com:65536",
        "https://ünicode.example",
        "https://127.1",
        "https://0x7f000001",
        "https://1.2.3.400",
        "https://[::1",
        "https://[1:2]",
        "ftp://cdn.example.com",
        "s3://bucket",
    ],
)
def test_what_is_no_origin_is_refused_when_written(origin: str) -> None:
    with pytest.raises(ValidationError, match="write an origin alone"):
        OriginSpec(origin=origin, private=True)


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "http://10.0.0.1", "https://[::1]", "http://0.0.0.0"])
def test_a_private_address_must_be_meant(origin: str) -> None:
    with pytest.raises(ValidationError, match="private: true"):
        OriginSpec(origin=origin)
    assert OriginSpec(origin=origin, private=True).origin == origin


@pytest.mark.parametrize("bucket", ["", "bucket", "s3://", "s3:///a", "s3://b/a", "s3://bucket/../a", "s3://bucket//a"])
def test_what_is_no_bucket_is_refused_when_written(bucket: str) -> None:
    with pytest.raises(ValueError, match="is no s3://BUCKET"):
        AllowList((), (bucket,))


@pytest.mark.parametrize(
    "url", ["https://cdn.example.com:444/CANARY?CANARY#CANARY", "https://CANARY@x/?CANARY", "CANARY"]
)
def test_a_refusal_says_no_more_than_the_origin(url: str) -> None:
    with pytest.raises(Problem) as refused:
        LIST.find(url)
    assert refused.value.code is Code.URL_REFUSED
    assert "CANARY" not in str(refused.value)


def test_a_letter_that_is_lowered_to_another_is_refused() -> None:
    kiosk = AllowList((OriginSpec(origin="https://kiosk.example"),), ())
    assert isinstance(kiosk.find("https://KIOSK.example/"), Remote)
    for name in ("\u212aiosk", "kio\u017fk", "k\u0130osk", "k\u0131osk"):
        with pytest.raises(Problem):
            kiosk.find(f"https://{name}.example/")


def test_a_refusal_says_which_origin_is_not_on_the_list() -> None:
    with pytest.raises(Problem, match=r"nothing is fetched from https://cdn\.example\.com:444\n"):
        LIST.find("https://cdn.example.com:444/a.jpg?secret")


MARKS = ["//", "/", "\\", "@", "#", "?", ":", ".", "..", "%2e", "%2f", "[", "]", "\u3002", "\t", "\n", " ", "\x00"]
WORDS = [
    "https:",
    "http:",
    "s3:",
    "cdn.example.com",
    "evil.example",
    "::1",
    "127.0.0.1",
    "443",
    "8080",
    "bucket",
    "whole",
]
PIECES = st.sampled_from([*MARKS, *WORDS, "a/b", "a"])


@given(st.lists(PIECES, max_size=9).map("".join) | st.text(max_size=40))
def test_whatever_is_found_is_on_the_list_for_another_reader_too(url: str) -> None:
    try:
        found = LIST.find(url)
    except Problem as refused:
        found = None
        assert_refused(refused)
    if isinstance(found, Remote):
        read = URL(found.url, encoded=True)
        assert str(read.origin()) in ORIGINS
        assert (read.user, read.fragment) == (None, "")
    elif found is not None:
        assert found.bucket == "whole" or found.key.startswith(("a/b/", "x/"))
        assert {"", ".", ".."}.isdisjoint(found.key.split("/"))


@given(st.lists(PIECES, max_size=6).map("".join))
def test_behind_an_origin_nothing_changes_it(rest: str) -> None:
    try:
        found = LIST.find(f"https://cdn.example.com{rest}")
    except Problem as refused:
        assert_refused(refused)
    else:
        assert isinstance(found, Remote)
        assert URL(found.url, encoded=True).host == "cdn.example.com"


def assert_refused(problem: Problem) -> None:
    assert problem.code is Code.URL_REFUSED
