"""The service as people start it: `assay serve`, over HTTP through HAProxy, with Serve's replicas behind it."""

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from infra.bench.object_store import free_port
from infra.bench.served import Served, descendants, served
from tests.service_double import GOLDEN, new_key

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A keyring of nobody yet."""
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    file.write_text("keys: []\n")
    return file


@pytest.fixture(scope="module")
def ours() -> tuple[str, dict[str, Any]]:
    """A key with all scopes, and its entry."""
    secret, key = new_key(id="ours")
    return secret, key.model_dump(mode="json", exclude_none=True)


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, keyring: Path, ours: tuple[str, dict[str, Any]]
) -> Iterator[Served]:
    """The bundled release, served with a keyring and places for jobs, by two replicas."""
    folder = tmp_path_factory.mktemp("config")
    jobs = {
        "sources": [{"name": "uploads", "uri": str(folder / "bucket"), "tenants": ["acme"]}],
        "stores": [{"name": "audit", "uri": str(folder / "store"), "tenants": ["acme"]}],
        "address": f"http://127.0.0.1:{free_port()}",
    }
    config = folder / "serve.yaml"
    config.write_text(json.dumps({"keyring": str(keyring), "keys": [ours[1]], "jobs": jobs}))
    flags = ["--config", str(config), "--replicas.least", "2", "--replicas.most", "2", "--replicas.cpus", "0.25"]
    with served(tmp_path_factory.mktemp("served"), flags, {"RAY_OVERRIDE_RESOURCES": '{"CPU": 4}'}) as running:
        yield Served(running.url, ours[0], running.release, running.process, running.log)


def ask(service: Served, path: str, **more: Any) -> requests.Response:
    method = more.pop("method", "POST" if more.keys() & {"data", "json", "files"} else "GET")
    headers = {**service.headers, **more.pop("headers", {})}
    return requests.request(method, f"{service.url}{path}", headers=headers, timeout=60, **more)


def soon(holds: Callable[[], bool], within_s: float = 15) -> bool:
    """Whether it holds within some seconds."""
    until = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def test_the_three_forms_give_one_answer(service: Served) -> None:
    data = GOLDEN.read_bytes()
    raw = ask(service, "/v1/analyze?evidence=true", data=data, headers={"content-type": "image/jpeg"})
    form = ask(service, "/v1/analyze", files={"image": ("golden.jpg", data)}, data={"evidence": "true"})
    encoded = {"images": [{"data": base64.b64encode(data).decode()}], "evidence": True}
    sent = ask(service, "/v1/analyze", json=encoded)
    answers = [one.json() for one in (raw, form, sent)]
    assert [one.status_code for one in (raw, form, sent)] == [200, 200, 200], answers
    for answer in answers:
        (image,) = answer["images"]
        assert (image["outcome"], image["width"], image["height"]) == ("ok", 320, 240)
        assert answer["release"] == service.release
        assert image["scores"] == pytest.approx(answers[0]["images"][0]["scores"], abs=1e-4)


def test_the_readmes_curl_example_runs(service: Served, tmp_path: Path) -> None:
    (shown,) = re.findall(r"^\$ (curl .*)$", README, re.MULTILINE)
    (tmp_path / "photo.jpg").write_bytes(GOLDEN.read_bytes())
    command = shown.replace("http://127.0.0.1:8000", service.url)
    environment = {"ASSAY_KEY": service.key, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert json.loads(done.stdout)["images"][0]["outcome"] == "ok"


def test_the_readmes_openai_example_runs(service: Served, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n# example: openai\n(.*?)```", README, re.DOTALL)
    (tmp_path / "photo.jpg").write_bytes(GOLDEN.read_bytes())
    program = code.replace("http://127.0.0.1:8000", service.url)
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=tmp_path,
        env={"ASSAY_KEY": service.key},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"(True|False) .*weapons=0\.\d", done.stdout), done.stdout


def test_a_key_is_added_and_revoked_while_it_runs(service: Served, keyring: Path) -> None:
    secret, key = new_key(id="passing")
    theirs = {"headers": {"authorization": f"Bearer {secret}"}}

    def statuses() -> set[int]:
        return {ask(service, "/v1/labels", **theirs).status_code for _ in range(4)}

    assert statuses() == {401}
    entry = key.model_dump(mode="json", exclude_none=True)
    keyring.write_text(json.dumps({"keys": [entry]}))
    assert soon(lambda: statuses() == {200})
    keyring.write_text(json.dumps({"keys": [{**entry, "revoked": True}]}))
    assert soon(lambda: statuses() == {401})
    keyring.write_text("keys: [{")
    assert soon(lambda: ask(service, "/readyz").json()["degraded"])
    assert ask(service, "/v1/labels").status_code == 200
    keyring.write_text("keys: []\n")
    assert soon(lambda: not ask(service, "/readyz").json()["degraded"])


def test_metrics_are_of_all_replicas_whoever_answers(service: Served) -> None:
    def told() -> dict[str, set[str]]:
        page = ask(service, "/metrics").text
        families = text_string_to_metric_families(page)
        return {one.name: {sample.labels["replica"] for sample in one.samples} for one in families}

    def all_have_judged() -> bool:
        for _ in range(8):
            ask(service, "/v1/analyze", files={"image": ("golden.jpg", GOLDEN.read_bytes())})
        return len(told().get("assay_images", ())) == 2

    assert soon(all_have_judged, 30)
    assert all(name.startswith("assay_") for name in told())


def test_serves_and_rays_headers_lift_nothing(service: Served) -> None:
    odd = {"x-request-timeout-seconds": "0", "x-request-disconnect-disabled": "?1", "content-type": "image/jpeg"}
    answer = ask(service, "/v1/analyze", data=GOLDEN.read_bytes(), headers=odd)
    assert answer.status_code == 200
    large = ask(service, "/v1/analyze", data=bytes(21 * 2**20), headers=odd)
    assert (large.status_code, large.json()["code"]) == (413, "too_large")


def test_a_request_has_one_line_in_the_logs_and_no_secret(service: Served) -> None:
    ask(
        service,
        "/v1/analyze",
        data=GOLDEN.read_bytes(),
        headers={"content-type": "image/jpeg", "x-request-id": "mine-4711"},
    )
    (session,) = {line for line in _open_files(service.process) if "/session_" in line}
    logs = Path(session)

    def lines() -> list[dict[str, Any]]:
        found = []
        for file in logs.glob("worker-*.out"):
            found += [json.loads(line) for line in file.read_text().splitlines() if "mine-4711" in line]
        return found

    assert soon(lambda: len(lines()) == 1)
    (line,) = lines()
    assert (line["event"], line["key"], line["status"], line["images"]) == ("request", "ours", 200, 1)
    assert all(service.key not in file.read_text(errors="replace") for file in logs.rglob("*") if file.is_file())


def _open_files(process: int) -> set[str]:
    """Log folders of the Ray sessions below a process."""
    folders = set()
    for child, _ in descendants(process):
        for entry in Path(f"/proc/{child}/fd").glob("*"):
            try:
                target = entry.readlink()
            except OSError:
                continue
            if target.parent.name == "logs":
                folders.add(str(target.parent))
    return folders


def test_the_front_is_mended(service: Served) -> None:
    told = [one for one in _command_lines(service.process) if one.startswith("haproxy ")]
    assert told
    config = Path(told[-1].split(" -f ")[1].split()[0]).read_text()
    assert "timeout http-request 10s" in config
    assert "mode 600 level admin" in config
    assert not re.search(r"bind \*?:\d", config)


def _command_lines(process: int) -> list[str]:
    return [title for _, title in descendants(process)]


def test_jobs_are_asked_for_by_named_places_only(service: Served) -> None:
    """That they run is shown with a job server, in `test_job_server.py`; this service has none."""
    asked = {"kind": "backfill", "source": {"name": "uploads", "path": "today/"}, "store": {"name": "rivals"}}
    foreign = ask(service, "/v1/jobs", json=asked)
    assert (foreign.status_code, foreign.json()["code"]) == (403, "place_refused")
    path = ask(service, "/v1/jobs", json={**asked, "source": {"name": "uploads", "path": "../x"}})
    assert (path.status_code, path.json()["code"]) == (403, "place_refused")
    nowhere = ask(service, "/v1/jobs", json={**asked, "store": {"name": "audit"}})
    assert (nowhere.status_code, nowhere.json()["code"]) == (503, "unavailable")
    assert "retry-after" in nowhere.headers
