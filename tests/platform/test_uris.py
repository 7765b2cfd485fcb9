import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.errors import SpecError
from assay.platform.uris import Location, file_uri, parse_uri, relative_uri, shown_name

PATHS = st.lists(st.binary(min_size=1, max_size=9).filter(lambda name: b"/" not in name and b"\0" not in name)).map(
    lambda names: b"/" + b"/".join(names)
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
BUCKETS = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}[a-z0-9]", fullmatch=True)
ODD = [
    b"/a b",
    b"/a\nb",
    b"/\xff\xfe",
    b"/..",
    b"/100%",
    b"/%41",
    b"/a#b?c=d",
    b"/<b>&amp;",
    b"/\xc3\xa9",
    b"//x",
    b"/",
]


@settings(derandomize=True, max_examples=200)
@given(PATHS)
def test_any_local_path_survives_its_uri(path: bytes) -> None:
    uri = file_uri(path)
    assert uri.isascii()
    assert uri.isprintable()
    place = parse_uri(uri)
    assert os.fsencode(place.key) == path
    assert not place.is_s3
    assert place.uri == uri


@pytest.mark.parametrize("path", ODD)
def test_odd_paths_survive(path: bytes) -> None:
    assert os.fsencode(parse_uri(file_uri(path)).key) == path
    assert shown_name(file_uri(path)) == os.fsdecode(path)


@settings(derandomize=True, max_examples=100)
@given(st.sets(PATHS, max_size=6))
def test_two_paths_never_share_a_uri(paths: set[bytes]) -> None:
    assert len({file_uri(path) for path in paths}) == len(paths)


@settings(derandomize=True, max_examples=200)
@given(BUCKETS, KEYS)
def test_any_key_survives_its_uri(bucket: str, key: str) -> None:
    uri = Location(bucket, key).uri
    assert uri == f"s3://{bucket}/{key}"
    assert parse_uri(uri) == Location(bucket, key)
    assert shown_name(uri) == uri


def test_local_paths_as_people_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse_uri("a/b").key == str(tmp_path / "a" / "b")
    assert parse_uri("~/b").key == "/home/somebody/b"
    assert parse_uri("/x//y/").key == "/x/y"
    assert parse_uri("50%20of").key == str(tmp_path / "50%20of")  # a path is not a uri: nothing is decoded
    assert parse_uri("s3://bucket").uri == "s3://bucket/"


@pytest.mark.parametrize("uri", ["gs://bucket/key", "http://host/a.jpg", "S3://bucket/key", "://x"])
def test_other_schemes_are_refused(uri: str) -> None:
    with pytest.raises(SpecError, match="s3://") as refusal:
        parse_uri(uri)
    assert refusal.value.exit_code == 2
    assert refusal.value.where == uri
    assert refusal.value.fix


@pytest.mark.parametrize("uri", ["s3://", "s3:///key"])
def test_a_bucket_is_needed(uri: str) -> None:
    with pytest.raises(SpecError, match="no bucket") as refusal:
        parse_uri(uri)
    assert refusal.value.where == uri
    assert "BUCKET" in refusal.value.fix


@pytest.mark.parametrize(
    ("uri", "root", "seen"),
    [
        ("s3://b/p/x.jpg", "s3://b/p", "x.jpg"),
        ("s3://b/p/x.jpg", "s3://b/p/", "x.jpg"),
        ("s3://b/p/q/x.jpg", "s3://b", "p/q/x.jpg"),
        ("s3://b/p2/x.jpg", "s3://b/p", "s3://b/p2/x.jpg"),
        ("s3://b/p", "s3://b/p", "s3://b/p"),
        ("s3://b/p/x.jpg", "", "s3://b/p/x.jpg"),
        ("file:///x", "file:///", "x"),
        ("file:///a/../x", "file:///a", "../x"),
    ],
)
def test_names_relative_to_a_source(uri: str, root: str, seen: str) -> None:
    assert relative_uri(uri, root) == seen


@settings(derandomize=True, max_examples=100)
@given(KEYS.filter(bool), KEYS.filter(lambda key: not key.endswith("/")))
def test_relative_is_the_inverse_of_child(name: str, key: str) -> None:
    place = Location("bucket", key)
    assert relative_uri(place.child(name).uri, place.uri) == name
