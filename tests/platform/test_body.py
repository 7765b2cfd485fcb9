"""A body that is late, cut short or altered."""

import asyncio
import hashlib
from types import TracebackType

import pytest

from assay.platform.body import AlteredBody, BodyReader, LateBody, Pace, PlainEtags

DATA = b"picture"
OTHER = b"pictura"


class Stream:
    """A body of aiobotocore: read once, then given up."""

    def __init__(self, data: bytes, seconds: float = 0.0) -> None:
        self.data, self.seconds, self.given_up = data, seconds, False

    async def read(self) -> bytes:
        await asyncio.sleep(self.seconds)
        return self.data

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.given_up = True


def response(data: bytes, etag: str = "", **more: object) -> dict[str, object]:
    return {"Body": Stream(data), "ContentLength": len(data), "ETag": f'"{etag}"', **more}


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def reader() -> BodyReader:
    return BodyReader("bucket", Pace(grace_s=0.05, bytes_per_s=1000), PlainEtags())


def read(reader: BodyReader, told: dict[str, object]) -> bytes:
    return asyncio.run(reader.read(told))


def test_a_body_cut_short(reader: BodyReader) -> None:
    with pytest.raises(ConnectionError, match="7 of 8 bytes"):
        read(reader, response(DATA, ContentLength=8))


def test_a_late_body_is_given_up_and_the_next_has_twice_the_time(reader: BodyReader) -> None:
    assert reader.pace.limit_s(500) == pytest.approx(0.55)
    for _ in range(2):
        late = Stream(DATA, seconds=10)
        with pytest.raises(LateBody):
            read(reader, {"Body": late, "ContentLength": 7, "ETag": ""})
        assert late.given_up
    assert reader.late == 2
    assert read(reader, {"Body": Stream(DATA, seconds=0.1), "ContentLength": 7, "ETag": ""}) == DATA


def test_altered_bytes_are_asked_for_again(reader: BodyReader) -> None:
    with pytest.raises(AlteredBody):
        read(reader, response(OTHER, md5(DATA)))
    assert read(reader, response(DATA, md5(DATA))) == DATA
    with pytest.raises(AlteredBody):
        read(reader, response(b"PICTURE", md5(DATA)))


def test_the_same_bytes_twice_are_believed(reader: BodyReader) -> None:
    with pytest.raises(AlteredBody):
        read(reader, response(OTHER, md5(DATA)))
    assert read(reader, response(OTHER, md5(DATA))) == OTHER
    other = BodyReader("bucket", reader.pace, reader.etags)
    assert read(other, response(OTHER, md5(DATA))) == OTHER, "this bucket's etags are something else"
    with pytest.raises(AlteredBody):
        read(BodyReader("another", reader.pace, reader.etags), response(OTHER, md5(DATA)))


def test_etags_once_seen_to_be_md5_stay_so(reader: BodyReader) -> None:
    read(reader, response(DATA, md5(DATA)))
    with pytest.raises(AlteredBody):
        read(reader, response(OTHER, md5(DATA)))
    assert read(reader, response(OTHER, md5(DATA))) == OTHER
    with pytest.raises(AlteredBody):
        read(BodyReader("bucket", reader.pace, reader.etags), response(OTHER, md5(DATA)))


@pytest.mark.parametrize(
    ("etag", "more"),
    [
        ("", {}),
        (f"{md5(DATA)}-2", {}),  # came in parts
        ("not-an-md5", {}),
        (md5(DATA), {"ServerSideEncryption": "aws:kms"}),
        (md5(DATA), {"ServerSideEncryption": "aws:kms:dsse"}),
        (md5(DATA), {"SSECustomerAlgorithm": "AES256"}),
    ],
)
def test_etags_that_say_nothing_of_the_content(reader: BodyReader, etag: str, more: dict[str, object]) -> None:
    assert read(reader, response(OTHER, etag, **more)) == OTHER


def test_encryption_with_the_stores_own_key_keeps_the_md5(reader: BodyReader) -> None:
    with pytest.raises(AlteredBody):
        read(reader, response(OTHER, md5(DATA), ServerSideEncryption="AES256"))
