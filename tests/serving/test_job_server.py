"""Jobs over HTTP on a real Ray with a job server: submitted once, followed, stopped; and a server that is not there."""

import json
import os
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from assay.serving.job_desk import JobDesk
from assay.serving.job_places import JobsSpec, PlaceRef
from assay.serving.job_record import Note
from assay.serving.job_schemas import JobKind
from assay.serving.job_server import JobServer
from assay.serving.problem import MEDIA_TYPE, Code
from tests.conftest import write_pictures
from tests.job_desk_doubles import Who, service
from tests.ray_cluster import wait_until
from tests.ray_jobs import RayJobs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]
PICTURES = 24
MANY = 1000
"""More than are done when a job is stopped after its first commit."""
CANARY = "canary-4711-secret"
ASKED = {
    "kind": "backfill",
    "source": {"name": "uploads", "path": "2026/"},
    "store": {"name": "audit", "path": "one"},
    "max_fault_rate": 0.5,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    write_pictures(folder / "in" / "2026", PICTURES)
    (folder / "in" / "2026" / "empty.jpg").write_bytes(b"")
    write_pictures(folder / "in" / "elsewhere", 1, start=500)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayJobs]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)  # the nodes have it, nothing of ours may show it
        with RayJobs() as running:
            yield running


@pytest.fixture(scope="module")
def spec(folder: Path) -> JobsSpec:
    return JobsSpec.model_validate(
        {
            "backfill_flags": ["--shard.images=4"],
            "timeout_s": 60,
            "command": str(Path(sys.executable).with_name("assay")),
            "sources": [{"name": "uploads", "uri": f"{folder}/in", "tenants": ["acme"]}],
            "stores": [{"name": "audit", "uri": f"{folder}/stores", "tenants": ["acme"]}],
        }
    )


@pytest.fixture(scope="module")
def desk(cluster: RayJobs, spec: JobsSpec) -> JobDesk:
    there = {"address": cluster.address, "flags": (f"--cluster.address={cluster.cluster}",)}
    return JobDesk(spec.model_copy(update=there), JobServer.of(spec.model_copy(update=there)))


@pytest.fixture(scope="module")
def http(desk: JobDesk, release_dir: Path) -> Iterator[TestClient]:
    with TestClient(service(desk, str(release_dir)), headers={"x-tenant": "acme"}) as client:
        yield client


@pytest.fixture(scope="module")
def submitted(http: TestClient) -> list[Any]:
    """What eight threads are answered that ask for the same at once."""

    def ask(_number: int) -> Any:
        return http.post("/v1/jobs", json=ASKED, headers={"idempotency-key": "once"})

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(ask, range(8)))


@pytest.fixture(scope="module")
def backfilled(http: TestClient, submitted: list[Any]) -> dict[str, Any]:
    """The job they were answered, when it has ended."""
    return ended(http, submitted[0].json()["id"])


def ended(http: TestClient, job_id: str) -> dict[str, Any]:
    return followed(http, job_id, lambda job: job["ended_at"] is not None)


def followed(http: TestClient, job_id: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = http.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        if until(job):
            return job
        time.sleep(0.5)
    raise AssertionError(f"not within 120 s: {job}")


def test_eight_at_once_make_one_job(submitted: list[Any], desk: JobDesk) -> None:
    assert sorted(answer.status_code for answer in submitted) == [200] * 7 + [202]
    assert len({answer.json()["id"] for answer in submitted}) == 1
    assert {answer.headers["location"] for answer in submitted} == {f"/v1/jobs/{submitted[0].json()['id']}"}
    assert len(desk.server.all()) == 1


def test_a_backfill_runs_and_tells_its_verdicts(backfilled: dict[str, Any], folder: Path) -> None:
    assert (backfilled["state"], backfilled["exit_code"], backfilled["message"]) == ("succeeded", 0, None)
    progress = backfilled["progress"]
    assert (progress["total"], progress["done"]) == (PICTURES + 1, PICTURES + 1)
    assert sum(progress["verdicts"].values()) == PICTURES + 1
    assert progress["faults"] == {"EMPTY": 1}
    assert backfilled["submitted_at"] < backfilled["started_at"] < backfilled["ended_at"]
    assert (folder / "stores" / "one" / "store.json").is_file()
    assert str(folder) not in json.dumps(backfilled)


def test_asked_again_when_it_is_over_it_is_the_same_job(http: TestClient, backfilled: dict[str, Any]) -> None:
    again = http.post("/v1/jobs", json=ASKED, headers={"idempotency-key": "once"})
    assert (again.status_code, again.json()) == (200, backfilled)
    other = http.post("/v1/jobs", json={**ASKED, "packed": True}, headers={"idempotency-key": "once"})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_a_reaudit_judges_the_store_again(http: TestClient, backfilled: dict[str, Any]) -> None:
    asked = {"kind": "reaudit", "store": ASKED["store"], "policy": "lenient"}
    job = ended(http, http.post("/v1/jobs", json=asked).json()["id"])
    assert (job["state"], job["source"], job["policy"]) == ("succeeded", None, "lenient")
    assert (job["progress"]["total"], job["progress"]["done"]) == (PICTURES + 1, PICTURES + 1)
    assert sum(job["progress"]["verdicts"].values()) == PICTURES + 1
    listed = http.get("/v1/jobs").json()["jobs"]
    assert [one["id"] for one in listed][-1] == backfilled["id"]
    assert job["id"] in {one["id"] for one in listed}


def test_a_job_that_fails_says_why(http: TestClient) -> None:
    asked = {**ASKED, "policy": "nobodys", "store": {"name": "audit", "path": "two"}}
    job = ended(http, http.post("/v1/jobs", json=asked).json()["id"])
    assert (job["state"], job["exit_code"], job["progress"]) == ("failed", 2, None)
    assert "nobodys" in job["message"]
    assert job["fix"]


def test_a_stopped_job_has_committed_and_another_goes_on(http: TestClient, folder: Path) -> None:
    write_pictures(folder / "in" / "many", MANY, start=1000)
    asked = {"kind": "backfill", "source": {"name": "uploads", "path": "many"}, "store": {"name": "audit", "path": "3"}}
    job_id = http.post("/v1/jobs", json=asked).json()["id"]
    log = folder / "stores" / "3" / "verdicts" / "_delta_log"
    wait_until((log / f"{2:020d}.json").exists, 120, "a first commit")
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 202
    stopped = ended(http, job_id)
    assert stopped["state"] == "stopped"
    assert 0 < stopped["progress"]["done"] < MANY
    assert http.delete(f"/v1/jobs/{job_id}").json() == stopped
    rest = ended(http, http.post("/v1/jobs", json=asked).json()["id"])
    assert (rest["state"], rest["progress"]["total"]) == ("succeeded", MANY - stopped["progress"]["done"])


def test_other_tenants_see_nothing(http: TestClient, backfilled: dict[str, Any]) -> None:
    rival = {"x-tenant": "rival"}
    assert http.get("/v1/jobs", headers=rival).json() == {"jobs": []}
    for ask in (http.get, http.delete):
        answer = ask(f"/v1/jobs/{backfilled['id']}", headers=rival)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert answer.headers["content-type"] == MEDIA_TYPE
    answer = http.post("/v1/jobs", json=ASKED, headers={**rival, "idempotency-key": "once"})
    assert (answer.status_code, answer.json()["code"]) == (403, "place_refused")


def test_no_secret_is_kept_beside_a_job(cluster: RayJobs, backfilled: dict[str, Any]) -> None:
    with urllib.request.urlopen(f"{cluster.address}/api/jobs/") as answer:
        kept = answer.read().decode()
    assert backfilled["id"] in kept
    assert CANARY not in kept


def test_in_its_own_cluster_the_service_finds_the_server(cluster: RayJobs, backfilled: dict[str, Any]) -> None:
    address, *jobs = cluster.seen_from_within()
    assert address == cluster.cluster
    assert backfilled["id"] in jobs


def test_the_address_it_is_given_counts(
    cluster: RayJobs, backfilled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")  # as KubeRay does
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    found = JobServer(cluster.address, 60, 0, 3).find(backfilled["id"])
    assert found is not None
    assert found.is_over


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def answering(answer: Callable[[str], tuple[int, str]]) -> Iterator[str]:
    """The address of a server that answers each path with a status and a text."""

    class Answering(BaseHTTPRequestHandler):
        def say(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            status, said = answer(self.path)
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said.encode())

        do_GET = do_POST = say

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_that_is_gone(spec: JobsSpec, release_dir: Path) -> None:
    all_are_unavailable(spec, "http://127.0.0.1:9", release_dir)


def test_a_server_that_says_nothing(spec: JobsSpec, silent: str, release_dir: Path) -> None:
    began = time.monotonic()
    all_are_unavailable(spec, silent, release_dir)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "answer",
    [(401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found"), (500, CANARY), (200, CANARY), (200, "[1]")],
)
def test_a_server_that_says_something_else(spec: JobsSpec, answer: tuple[int, str], release_dir: Path) -> None:
    with answering(lambda _path: answer) as stranger:
        all_are_unavailable(spec, stranger, release_dir)


def test_a_job_outlives_its_output() -> None:
    note = Note(
        tenant="acme",
        key="k",
        digest="",
        kind=JobKind.REAUDIT,
        source=None,
        store=PlaceRef(name="audit"),
        release="models:/assay-release/4",
        policy=None,
    )
    job_id = f"assay-{os.urandom(16).hex()}"
    said = {"type": "SUBMISSION", "submission_id": job_id, "status": "FAILED", "entrypoint": "x", "start_time": 1000}
    job = json.dumps({**said, "end_time": 2000, "driver_exit_code": 5, "metadata": note.metadata()})
    with answering(lambda path: (500, "its node is gone") if path.endswith("/logs") else (200, job)) as address:
        told = JobDesk(JobsSpec(), JobServer(address, 10, 0, 3)).job(Who("acme"), job_id)
    assert (told.state, told.exit_code, told.progress, told.message) == ("failed", 5, None, None)


def all_are_unavailable(spec: JobsSpec, address: str, release_dir: Path) -> None:
    elsewhere = spec.model_copy(update={"address": address, "timeout_s": 0.5})
    with TestClient(service(JobDesk(elsewhere, JobServer.of(elsewhere)), str(release_dir))) as http:
        http.headers["x-tenant"] = "acme"
        job = f"/v1/jobs/assay-{os.urandom(16).hex()}"
        for answer in (http.post("/v1/jobs", json=ASKED), http.get("/v1/jobs"), http.get(job), http.delete(job)):
            assert (answer.status_code, answer.json()["code"]) == (503, Code.UNAVAILABLE), answer.text
            assert answer.headers["retry-after"] == "10"
            assert address not in answer.text
            assert CANARY not in answer.text
