"""The service as people start it: over HTTP, through HAProxy, with Serve's replicas behind it."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.bench.served import Served, served

GOLDEN = Path(__file__).parents[2] / "serving" / "assay" / "serving" / "data" / "golden.jpg"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The bundled release, served."""
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


def ask(service: Served, path: str, **more: Any) -> requests.Response:
    method = "POST" if more.keys() & {"data", "json", "files"} else "GET"
    headers = {**service.headers, **more.pop("headers", {})}
    return requests.request(method, f"{service.url}{path}", headers=headers, timeout=60, **more)


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
