"""Places: a tenant's words lead below its own places and nowhere else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from assay.serving.job_places import JobsSpec, PlaceRef, PlaceSpec, locate
from assay.serving.problem import Code, Problem

PLACES = (
    PlaceSpec(name="uploads", uri="s3://bucket/acme", tenants=("acme",)),
    PlaceSpec(name="rival", uri="s3://bucket/rival/", tenants=("rival",)),
    PlaceSpec(name="nobody", uri="s3://bucket/nobody/"),
    PlaceSpec(name="shared", uri="s3://shared", tenants=("acme", "rival")),
)
TRICKS = [
    "..",
    "../rival",
    "2026/../../rival/",
    "2026/..",
    "./2026",
    "2026/./11",
    ".hidden",
    "/etc",
    "//bucket/rival",
    "2026//11",
    "\\..\\rival",
    "2026\\..\\..\\rival",
    "%2e%2e/rival",
    "..%2frival",
    "%252e%252e/rival",
    "2026%00",
    "2026\x00",
    "2026\n",
    "2026/\r\nx",
    "s3://bucket/rival",
    "file:///etc/passwd",
    "https://169.254.169.254/",
    "~/secrets",
    "~root",
    "0001.tar!/000000000001536+48211/x",
    "x?versionId=1",
    "x#y",
    "x*",
    "$HOME",
    "`id`",
    "a;id",
    "a|b",
    "\uff0e\uff0e/rival",
    "\u2025/rival",
    "\u202egnp",
    " ",
    "a /b",
    "a./b",
]


def refused(name: str, path: str = "", tenant: str = "acme") -> str:
    with pytest.raises(Problem) as caught:
        locate(PLACES, PlaceRef(name=name, path=path), tenant, "source")
    assert caught.value.code is Code.PLACE_REFUSED
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "path", "uri"),
    [
        ("uploads", "", "s3://bucket/acme/"),
        ("uploads", "2026/11/", "s3://bucket/acme/2026/11/"),
        ("uploads", "2026/11", "s3://bucket/acme/2026/11/"),
        ("uploads", "date=2026-11-26/v1.2", "s3://bucket/acme/date=2026-11-26/v1.2/"),
        ("uploads", "März/写真", "s3://bucket/acme/März/写真/"),
        ("uploads", "list.txt", "s3://bucket/acme/list.txt/"),  # a folder: a list would name uris of anybody's
        ("shared", "a..b", "s3://shared/a..b/"),
    ],
)
def test_a_path_leads_down(name: str, path: str, uri: str) -> None:
    assert locate(PLACES, PlaceRef(name=name, path=path), "acme", "source") == uri


@pytest.mark.parametrize("path", TRICKS)
def test_a_path_that_does_not_simply_lead_down_is_refused(path: str) -> None:
    assert "no path below a place" in refused("uploads", path)
    assert refused("uploads", path) == refused("rival", path) == refused("nowhere", path)


@given(st.text(max_size=40))
def test_whatever_is_asked_for_lies_below_its_place(path: str) -> None:
    try:
        uri = locate(PLACES, PlaceRef(name="uploads", path=path), "acme", "source")
    except Problem:
        return
    segments = uri.removeprefix("s3://bucket/acme/").split("/")
    assert uri.startswith("s3://bucket/acme/")
    assert segments.pop() == ""
    assert all(one and one.strip(". ") for one in segments) or not path


def test_a_foreign_place_is_like_one_that_does_not_exist() -> None:
    assert refused("rival") == refused("nowhere") == refused("nobody") == refused("")
    assert refused("uploads", tenant="rival") == refused("nowhere", tenant="rival")
    assert refused("uploads", tenant="Acme") == refused("uploads", tenant="") == refused("nowhere")


def test_a_link_does_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    for folder in ("acme/in", "rival/in"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "acme" / "out").symlink_to(tmp_path / "rival")
    (tmp_path / "acme" / "again").symlink_to(tmp_path / "acme" / "in")
    places = (PlaceSpec(name="here", uri=str(tmp_path / "acme"), tenants=("acme",)),)
    with pytest.raises(Problem) as caught:
        locate(places, PlaceRef(name="here", path="out/in"), "acme", "store")
    assert caught.value.code is Code.PLACE_REFUSED
    assert str(tmp_path) not in str(caught.value)
    assert locate(places, PlaceRef(name="here", path="again"), "acme", "store") == f"{tmp_path}/acme/again/"
    assert locate(places, PlaceRef(name="here", path="new"), "acme", "store") == f"{tmp_path}/acme/new/"


@pytest.mark.parametrize(
    "uri", ["", "/", "s3://", "s3:///x", "relative/folder", "gs://b/x", "file:///x", "/a/../b", "s3://b/../c", "~/x"]
)
def test_a_place_is_a_prefix_or_a_whole_path(uri: str) -> None:
    with pytest.raises(ValidationError, match="s3://bucket/prefix/"):
        PlaceSpec(name="here", uri=uri)


@pytest.mark.parametrize("flag", ["--storage.secret-key=x", "--storage.access-key", "--registry.password=x", "x; id"])
def test_flags_hold_no_secrets(flag: str) -> None:
    with pytest.raises(ValidationError) as caught:
        JobsSpec(flags=(flag,))
    assert "keys belong in the nodes' environment" in str(caught.value)
    assert JobsSpec(flags=("--cluster.judge.gpus=0.5",)).flags == ("--cluster.judge.gpus=0.5",)
