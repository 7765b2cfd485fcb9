"""The routes of jobs: what is refused before the desk, what OpenAPI says, and that nobody waits for another."""

import asyncio
import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import ASGITransport, AsyncClient

from assay.serving.job_desk import JobDesk
from assay.serving.job_places import JobsSpec
from assay.serving.problem import MEDIA_TYPE
from tests.job_desk_doubles import Remembering, service

SPEC = JobsSpec.model_validate(
    {
        "sources": [{"name": "uploads", "uri": "s3://b/acme/", "tenants": ["acme"]}],
        "stores": [{"name": "audit", "uri": "s3://b/stores/", "tenants": ["acme"]}],
    }
)
BACKFILL: dict[str, Any] = {"kind": "backfill", "source": {"name": "uploads"}, "store": {"name": "audit"}}
REAUDIT: dict[str, Any] = {"kind": "reaudit", "store": {"name": "audit"}}
RELEASE = "models:/assay-release/4"


@pytest.fixture
def server() -> Remembering:
    return Remembering()


@pytest.fixture
def http(server: Remembering) -> TestClient:
    return TestClient(service(JobDesk(SPEC, server), RELEASE), headers={"x-tenant": "acme"})


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {**BACKFILL, "kind": "forget"},
        {**BACKFILL, "storage": {"secret_key": "x"}},
        {**BACKFILL, "source": "s3://b/rival/"},
        {**BACKFILL, "source": {"name": "uploads", "uri": "s3://b/rival/"}},
        {**BACKFILL, "source": {"name": "uploads", "path": "x" * 513}},
        {**BACKFILL, "include": ["x"] * 33},
        {**BACKFILL, "include": ["x" * 257]},
        {**BACKFILL, "include": ['["json"]']},
        {**BACKFILL, "exclude": [""]},
        {**BACKFILL, "exclude": ["a\u0000b"]},
        {**BACKFILL, "max_fault_rate": 1.5},
        {**BACKFILL, "max_fault_rate": "nan"},
        {**BACKFILL, "release": "/etc"},
        {**BACKFILL, "release": "models:/assay-release"},
        {**BACKFILL, "release": "models:/assay-release/4\n"},
        {**BACKFILL, "release": "models:/assay-library/4"},
        {**BACKFILL, "policy": "--release=x"},
        {**REAUDIT, "source": {"name": "uploads"}},
        {**REAUDIT, "include": ["*.jpg"]},
        {"kind": "reaudit"},
    ],
)
def test_what_no_job_can_be_asked_for_with(http: TestClient, server: Remembering, asked: dict[str, Any]) -> None:
    assert http.post("/v1/jobs", json=asked).status_code == 422
    assert not server.jobs


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "tab\t"])
def test_a_key_that_is_none(http: TestClient, server: Remembering, key: str) -> None:
    assert http.post("/v1/jobs", json=REAUDIT, headers={"idempotency-key": key}).status_code == 422
    assert not server.jobs


def test_new_the_same_and_another(http: TestClient) -> None:
    header = {"idempotency-key": "k"}
    new, same = (http.post("/v1/jobs", json=BACKFILL, headers=header) for _ in range(2))
    assert (new.status_code, same.status_code) == (202, 200)
    assert new.headers["location"] == same.headers["location"] == f"/v1/jobs/{new.json()['id']}"
    assert new.json() == same.json() == http.get(new.headers["location"]).json()
    assert new.json()["release"] == RELEASE
    other = http.post("/v1/jobs", json=REAUDIT, headers=header)
    assert (other.status_code, other.json()["code"], other.headers["content-type"]) == (409, "conflict", MEDIA_TYPE)


def test_every_refusal_is_declared(http: TestClient) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    declared = {
        ("/v1/jobs", "post"): {"200", "202", "401", "403", "409", "413", "422", "429", "503"},
        ("/v1/jobs", "get"): {"200", "401", "403", "429", "503"},
        ("/v1/jobs/{job_id}", "get"): {"200", "401", "403", "404", "429", "503", "422"},
        ("/v1/jobs/{job_id}", "delete"): {"202", "401", "403", "404", "429", "503", "422"},
    }
    for (path, method), statuses in declared.items():
        responses = paths[path][method]["responses"]
        assert set(responses) == statuses, (path, method)
        for status, one in responses.items():
            assert status < "400" or MEDIA_TYPE in one["content"], (path, method, status)


def test_a_slow_job_server_holds_up_nobody_else(http: TestClient, server: Remembering) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slowly() -> list[Any]:
        asked.set()
        assert answered.wait(30)
        return []

    server.all = slowly  # type: ignore[method-assign]  # of this one only

    async def both() -> bool:
        async with AsyncClient(transport=ASGITransport(http.app), base_url="http://x") as client:
            waiting = asyncio.create_task(client.get("/v1/jobs", headers={"x-tenant": "acme"}))
            await asyncio.to_thread(asked.wait, 30)
            other = await client.get("/openapi.json")
            held = waiting.done()
            answered.set()
            await waiting
            return other.status_code == 200 and not held

    assert asyncio.run(both())
