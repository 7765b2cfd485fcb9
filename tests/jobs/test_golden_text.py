"""Golden sets as CSV and JSON Lines: there and back again is the identity, and slips are told with their line."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.golden_text import FORMATS, read_text, write_text
from assay.platform.errors import GoldenError
from assay.platform.golden_file import table_of
from assay.platform.golden_rows import Reviews
from tests.golden_strategies import reviews

HEADER = "uri,label=weapons,reviewer,time"
ROW = "s3://b/1,present,ana,2026-11-23T10:00:00Z"


def saved(folder: Path, name: str, content: str | bytes) -> Path:
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return folder / name


def refusal(path: Path) -> GoldenError:
    with pytest.raises(GoldenError) as caught:
        read_text(path)
    return caught.value


@settings(deadline=None, max_examples=40)
@given(reviews(), st.sampled_from(FORMATS))
def test_there_and_back_again(tmp_path_factory: pytest.TempPathFactory, said: Reviews, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"golden{suffix}"
    path.write_bytes(write_text(path, said))
    found = read_text(path)
    assert (found.rows, found.labels, found.slices, found.encoder) == (
        said.rows,
        said.labels,
        said.slices,
        said.encoder,
    )
    assert table_of(found) == table_of(said)


def test_both_forms_as_documented(tmp_path: Path) -> None:
    sheet = saved(
        tmp_path,
        "golden.csv",
        "uri,etag,label=weapons,label=nudity,slice=style,reviewer,policy,time,note,weight,split\r\n"
        's3://b/1,e1,present,,photo,ana,strict,2026-11-23T10:00:00Z,"a toy, perhaps",2.5,test\r\n'
        "s3://b/2,,,,,,,2026-11-23T12:00:00+02:00,,,\r\n",
    )
    lines = saved(
        tmp_path,
        "golden.jsonl",
        '{"uri": "s3://b/1", "etag": "e1", "labels": {"weapons": "present", "nudity": null}, "slices":'
        ' {"style": "photo"}, "reviewer": "ana", "policy": "strict", "time": "2026-11-23T10:00:00Z",'
        ' "note": "a toy, perhaps", "weight": 2.5, "split": "test"}\n\n'
        '{"uri": "s3://b/2", "time": "2026-11-23T10:00:00Z"}',
    )
    assert read_text(sheet) == read_text(lines)
    assert read_text(sheet).asked == ("nudity", "weapons")


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_spreadsheets_csv_with_a_bom(tmp_path: Path, line_end: str) -> None:
    path = saved(tmp_path, "golden.csv", ("\ufeff" + f"{HEADER}\n{ROW}\n\n".replace("\n", line_end)).encode())
    assert read_text(path).rows[0].labels == {"weapons": "present"}


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("uri,weapons,reviewer,time", "unknown column 'weapons'; did you mean 'label=weapons'?"),
        ("url,label=weapons,reviewer,time", "there is no column 'uri'"),
        ("uri,label=weapons,reveiwer,time", "unknown column 'reveiwer'; did you mean 'reviewer'?"),
        ("uri,uri,reviewer,time", "column 'uri' is there twice"),
        ("uri,label=,reviewer,time", "column 'label=' has no name"),
        ("uri;label=weapons;reviewer;time", "the cells are not separated by commas"),
        (ROW, "there is no column 'uri'"),
    ],
)
def test_a_wrong_header(tmp_path: Path, header: str, told: str) -> None:
    error = refusal(saved(tmp_path, "golden.csv", f"{header}\n{ROW}\n"))
    assert error.where.endswith("golden.csv, line 1")
    assert told in error.why


@pytest.mark.parametrize(
    ("name", "content", "line", "told"),
    [
        ("g.csv", f'{HEADER},note\n{ROW},"two\nlines"\ns3://b/2,maybe,ana,2026-11-23T10:00:00Z,\n', 4, "'maybe'"),
        ("g.csv", f"{HEADER}\n{ROW},more\n", 2, "5 cells, the header has 4"),
        ("g.csv", f'{HEADER}\n"s3://b/1"x,present,ana,\n', 2, "',' expected after '\"'"),
        ("g.csv", f'{HEADER}\n"s3://b/1,present\n', 2, "unexpected end of data"),
        ("g.csv", f"{HEADER}\n{ROW}\n{ROW}\n", 3, "ana says s3://b/1 at this time on line 2, too"),
        ("g.csv", f"{HEADER}\n{ROW}\n".encode().replace(b"ana", b"an\xe4"), 2, "can't decode byte"),
        ("g.csv", f"{HEADER}\n{ROW}\n".encode("utf-16"), 1, "can't decode byte"),
        ("g.jsonl", '{"uri": "s3://b/1"}\n', 1, "it has no time"),
        ("g.jsonl", "\n[1]\n", 2, "it is a list, not an object"),
        ("g.jsonl", '{"uri": "a", "uri": "b"}', 1, "'uri' is said twice"),
        ("g.jsonl", '{"labels": {"x": "absent", "x": "present"}}', 1, "'x' is said twice"),
        ("g.jsonl", "{", 1, "Expecting property name"),
        ("g.jsonl", "[" * 100_000, 1, "recursion"),
        (
            "g.jsonl",
            '{"uri": "a", "time": "2026-11-23T10:00:00Z", "weight": NaN}',
            1,
            "weight: input should be a finite",
        ),
    ],
)
def test_a_bad_line(tmp_path: Path, name: str, content: str | bytes, line: int, told: str) -> None:
    error = refusal(saved(tmp_path, name, content))
    assert error.where == f"{tmp_path / name}, line {line}"
    assert told in error.why
    assert error.fix


@pytest.mark.parametrize("name", ["g.csv", "g.jsonl"])
@pytest.mark.parametrize("content", ["", "\n", f"{HEADER}\n"])
def test_nothing_in_it(tmp_path: Path, name: str, content: str) -> None:
    if name == "g.jsonl" and content.startswith("uri"):
        return
    assert "needs rows" in refusal(saved(tmp_path, name, content)).what


def test_no_such_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "g.csv").why == "No such file or directory"


def test_embeddings_of_two_encoders(tmp_path: Path) -> None:
    row = {"time": "2026-11-23T10:00:00Z", "embedding": "AAA="}
    lines = [json.dumps({"uri": f"s3://b/{name}", "encoder": name, **row}) for name in "xy"]
    error = refusal(saved(tmp_path, "g.jsonl", "\n".join(lines)))
    assert error.where.endswith("line 2")
    assert error.why == "x on line 1, y on line 2"
