"""The promotion log: numbered, chained, written once; what was changed by hand is named."""

import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.errors import ConflictError, RegistryError
from assay.platform.storage import Storage
from assay.registry.promotion_entry import Entry, Side
from assay.registry.promotion_log import PromotionLog

ONE, TWO = (Side(version=number, release=f"r-{number}", digest=str(number) * 64) for number in (1, 2))


def entry(number: int, previous: str = "", after: Side = ONE, by: str = "ana") -> Entry:
    return Entry(
        number=number,
        at="2026-11-26 10:00:00 UTC",
        by=by,
        action="promote",
        alias="champion",
        before=None,
        after=after,
        reason="",
        checks=(),
        run="",
        aliases={"champion": after},
        former=(),
        previous=previous,
        nonce=f"{by}-{number}",
    )


def fill(log: PromotionLog, count: int) -> list[Entry]:
    previous, made = "", []
    for number in range(1, count + 1):
        one = entry(number, previous, (ONE, TWO)[number % 2])
        log.append(one)
        previous = one.sha256
        made.append(one)
    return made


@pytest.fixture(params=["disk", "bucket"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> PromotionLog:
    if request.param == "disk":
        return PromotionLog(Storage(), str(tmp_path / "promotions"))
    s3, bucket = request.getfixturevalue("s3"), request.getfixturevalue("s3_bucket")
    return PromotionLog(Storage(s3.spec()), f"{bucket}/{uuid.uuid4().hex}")


def test_entries_come_back_as_they_were_written(log: PromotionLog) -> None:
    assert log.last() is None
    made = fill(log, 12)
    assert list(log.entries()) == made
    assert log.last() == made[-1]
    assert log.numbers() == list(range(1, 13))


def test_who_comes_second_is_told_who_was_first(log: PromotionLog) -> None:
    log.append(entry(1, by="ana"))
    with pytest.raises(ConflictError, match="ana set champion to version 1"):
        log.append(entry(1, by="ben"))
    assert [one.by for one in log.entries()] == ["ana"]


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 6), data=st.data())
def test_whatever_is_changed_by_hand_is_named(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = PromotionLog(Storage(), str(folder))
    fill(log, count)
    number = data.draw(st.integers(1, count))
    file = folder / f"{number:08d}.json"
    harm = data.draw(st.sampled_from(["remove", "reword", "garbage", "spaces", "swap"]))
    if harm == "remove" and number == count:
        return  # what is cut from the end shows only against MLflow (`settling.py`)
    if harm == "reword" and number == count:
        return  # likewise: nothing follows it yet
    if harm == "remove":
        file.unlink()
    elif harm == "reword":
        file.write_bytes(file.read_bytes().replace(b"ana", b"eve"))
    elif harm == "garbage":
        file.write_bytes(b"\x80\x04")
    elif harm == "spaces":
        file.write_bytes(file.read_bytes() + b" ")
    else:
        other = folder / f"{1 + number % count:08d}.json"
        kept = file.read_bytes()
        file.write_bytes(other.read_bytes())
        other.write_bytes(kept)
    with pytest.raises(RegistryError, match="promotion log"):
        list(log.entries())


def test_files_of_others_do_not_count(tmp_path: Path) -> None:
    log = PromotionLog(Storage(), str(tmp_path))
    fill(log, 2)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".00000003.json.7.ab.tmp").write_text("half")
    log.mark_delivered(1)
    assert log.numbers() == [1, 2]
    assert log.delivered() == 1
