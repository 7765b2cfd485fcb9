"""Images by their place in a bucket: from listed ones only, as a batch job reads them, in bounded time."""

import asyncio
import time
from typing import Any

import pytest
from pydantic import SecretStr

from assay.platform.faults import Fault, FaultKind
from assay.platform.storage import StorageSpec
from assay.serving.problem import Code, Problem
from assay.serving.remote_images import RemoteImages, RemoteSpec
from infra.bench.object_store import free_port
from tests.conftest import S3Server

IMAGE = bytes(range(256)) * 1000


async def fetched(spec: RemoteSpec, url: str) -> bytes | Fault:
    images = RemoteImages(spec)
    try:
        return await images.fetch(url)
    finally:
        await images.close()


def kind(found: bytes | Fault) -> FaultKind:
    assert isinstance(found, Fault)
    return found.kind


def of_bucket(place: str, storage: StorageSpec, **more: Any) -> RemoteSpec:
    return RemoteSpec(buckets=(place,), storage=storage, **more)


def test_objects_of_a_bucket(s3: S3Server, s3_place: str) -> None:
    s3.put(f"{s3_place}/in/a b#?%20.jpg", IMAGE)
    s3.put(f"{s3_place}/in-evil/a.jpg", b"another's")
    spec = of_bucket(f"{s3_place}/in", s3.spec())
    assert asyncio.run(fetched(spec, f"{s3_place}/in/a b#?%20.jpg")) == IMAGE
    assert kind(asyncio.run(fetched(spec, f"{s3_place}/in/b.jpg"))) is FaultKind.GONE
    small = spec.model_copy(update={"max_bytes": len(IMAGE) - 1})
    assert kind(asyncio.run(fetched(small, f"{s3_place}/in/a b#?%20.jpg"))) is FaultKind.TOO_LARGE
    for url in (f"{s3_place}/in-evil/a.jpg", f"{s3_place}/in/../in-evil/a.jpg"):
        with pytest.raises(Problem) as refused:
            asyncio.run(fetched(spec, url))
        assert refused.value.code is Code.URL_REFUSED


@pytest.mark.parametrize(
    ("bucket", "change"),
    [
        ("s3://not-there-4711", {}),
        ("s3://shared", {"secret_key": SecretStr("wrong"), "access_key": SecretStr("wrong")}),
    ],
)
def test_what_the_service_itself_may_not_read(
    s3: S3Server, s3_bucket: str, bucket: str, change: dict[str, Any]
) -> None:
    spec = of_bucket(bucket, s3.spec().model_copy(update=change))
    with pytest.raises(Problem) as refused:
        asyncio.run(fetched(spec, f"{bucket}/a.jpg"))
    assert (refused.value.code, refused.value.status) == (Code.UNAVAILABLE, 503)


def test_a_store_that_is_away_is_a_fault_and_in_time() -> None:
    away = StorageSpec(
        endpoint=f"http://127.0.0.1:{free_port()}",
        region="us-east-1",
        access_key=SecretStr("a"),
        secret_key=SecretStr("b"),
        proven=True,
    )
    began = time.monotonic()
    found = asyncio.run(fetched(of_bucket("s3://bucket", away, timeout_s=5), "s3://bucket/a.jpg"))
    assert found == Fault(FaultKind.UNREACHABLE, "cannot reach the store")  # not: in so many seconds
    assert time.monotonic() - began < 5
