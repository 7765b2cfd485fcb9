"""Images in, verdicts out: the three forms, options, and what is refused."""

import asyncio
import base64
import json
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from assay.platform.batch import ImageBatch, Looked
from assay.platform.images import Decoded
from assay.platform.rows import ImageRef
from assay.serving.judging import Item, Judged
from assay.serving.problem import KINDS, MEDIA_TYPE, Code
from tests.service_double import Double

Paint = Callable[[str], bytes]
RAW = {"content-type": "application/octet-stream"}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def problem(answer: Any, code: Code) -> dict[str, Any]:
    """The answer's problem, which must be of this code and whole."""
    told = answer.json()
    assert (answer.status_code, told["code"]) == (KINDS[code].status, code.value), told
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert told["request_id"] == answer.headers["x-request-id"]
    assert told["detail"]
    found: dict[str, Any] = told
    return found


def test_a_verdict_is_the_batch_rows_own(double: Double, picture: Paint) -> None:
    data = picture("red")
    answer = double.client.post("/v1/analyze", content=data, headers=RAW)
    assert answer.status_code == 200
    told = answer.json()["images"][0]
    champion = double.service.standing.champion
    seen = champion.guard.decode(data)
    assert isinstance(seen, Decoded)
    moderator = champion.moderator("plain")
    judged = moderator.judge(ImageBatch.of(0, [Looked(ImageRef("x", "y", 1), seen)], moderator.preprocess.size))
    row = judged.verdicts.to_pylist()[0]
    assert (told["action"], told["outcome"], told["scores"]) == (row["action"], "ok", dict(row["scores"]))
    assert [one["label"] for one in told["findings"]] == [one["label"] for one in row["findings"]] == ["red_things"]


def test_all_images_of_a_request_are_answered_in_order(double: Double, picture: Paint) -> None:
    colours = ["red", "blue", "white", "red"]
    files = [("image", (f"{colour}.png", picture(colour))) for colour in colours]
    answer = double.client.post("/v1/analyze", files=files).json()
    assert [one["index"] for one in answer["images"]] == [0, 1, 2, 3]
    assert [one["id"] for one in answer["images"]] == [f"{colour}.png" for colour in colours]
    labels = [[finding["label"] for finding in one["findings"]] for one in answer["images"]]
    assert labels == [["red_things"], ["blue_things"], [], ["red_things"]]


def test_evidence_and_embeddings_are_given_when_asked_for(double: Double, picture: Paint) -> None:
    body = {"images": [{"data": encoded(picture("red")), "id": "mine"}], "evidence": True, "embeddings": True}
    told = double.client.post("/v1/analyze", json=body).json()["images"][0]
    assert told["id"] == "mine"
    assert told["findings"][0]["concept"] == "red"
    assert told["findings"][0]["view"]["kind"] == "whole"
    vectors = np.frombuffer(base64.b64decode(told["embedding"]["data"]), "<f2").reshape(-1, told["embedding"]["dim"])
    assert np.linalg.norm(vectors.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-2)
    bare = double.client.post("/v1/analyze", content=picture("red"), headers=RAW).json()["images"][0]
    assert bare["embedding"] is None
    assert bare["findings"][0]["concept"] is None


def test_a_data_url_is_an_upload(double: Double, picture: Paint) -> None:
    url = f"data:image/png;base64,{encoded(picture('blue'))}"
    told = double.client.post("/v1/analyze", json={"images": [{"url": url}]}).json()
    assert told["images"][0]["findings"][0]["label"] == "blue_things"


def test_a_policy_may_be_chosen(double: Double, picture: Paint) -> None:
    answer = double.client.post("/v1/analyze?policy=firm", content=picture("red"), headers=RAW)
    assert answer.json()["policy"] == answer.headers["x-assay-policy"] == "firm"
    unknown = double.client.post("/v1/analyze?policy=nobodys", content=picture("red"), headers=RAW)
    assert "plain" in problem(unknown, Code.UNKNOWN_POLICY)["detail"]


FAULTS: dict[str, tuple[Callable[[Paint], bytes], str]] = {
    "cut": (lambda paint: paint("red")[:60], "TRUNCATED"),
    "text": (lambda _paint: b"hello, world", "UNSUPPORTED_FORMAT"),
    "zip": (lambda _paint: b"PK\x03\x04" + bytes(40), "UNSUPPORTED_FORMAT"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_bad_image_is_an_outcome_and_not_an_error(double: Double, picture: Paint, case: str) -> None:
    make, outcome = FAULTS[case]
    files = [("image", ("bad", make(picture))), ("image", ("good", picture("red")))]
    answer = double.client.post("/v1/analyze", files=files)
    bad, good = answer.json()["images"]
    assert answer.status_code == 200
    assert (bad["outcome"], bad["action"], bad["scores"]) == (outcome, "review", None)
    assert (good["outcome"], good["action"]) == ("ok", "review")


def test_an_empty_file_in_a_form_is_a_fault_of_that_image(double: Double) -> None:
    answer = double.client.post("/v1/analyze", files={"image": ("none", b"")})
    assert answer.json()["images"][0]["outcome"] == "EMPTY"


def test_a_hundred_megapixels_are_refused_by_their_header(double: Double) -> None:
    head = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + (10_000).to_bytes(4, "big") * 2
    answer = double.client.post("/v1/analyze", content=head + bytes.fromhex("0802000000") + bytes(80), headers=RAW)
    assert answer.json()["images"][0]["outcome"] == "TOO_MANY_PIXELS"


def one_image(**more: Any) -> bytes:
    return json.dumps({"images": [{"data": "aGk=", **more}]}).encode()


REFUSED: dict[str, tuple[bytes, str, Code, str]] = {
    "nothing": (b"", "image/jpeg", Code.INVALID, "empty"),
    "no type": (b"abc", "", Code.UNSUPPORTED_MEDIA_TYPE, "no content-type"),
    "curl's type": (b"abc", "application/x-www-form-urlencoded", Code.UNSUPPORTED_MEDIA_TYPE, "urlencoded"),
    "no json": (b"{", "application/json", Code.INVALID, "JSON"),
    "no object": (b"[1]", "application/json", Code.INVALID, "object"),
    "no images": (b'{"images": []}', "application/json", Code.INVALID, "images"),
    "no base64": (b'{"images": [{"data": "$$$$"}]}', "application/json", Code.INVALID, "base64"),
    "cut base64": (b'{"images": [{"data": "abc"}]}', "application/json", Code.INVALID, "base64"),
    "both": (one_image(url="https://a.example/b"), "application/json", Code.INVALID, "either"),
    "neither": (b'{"images": [{}]}', "application/json", Code.INVALID, "either"),
    "unknown field": (one_image(bytes="x"), "application/json", Code.INVALID, "bytes"),
    "a url": (b'{"images": [{"url": "https://a.example/b.jpg"}]}', "application/json", Code.URL_REFUSED, ""),
    "10,000 images": (
        b'{"images": [%s]}' % b",".join([b'{"data": ""}'] * 10_000),
        "application/json",
        Code.TOO_LARGE,
        "",
    ),
    "data, no base64": (b'{"images": [{"url": "data:image/png,abc"}]}', "application/json", Code.INVALID, "data:"),
    "no boundary": (b"--x", "multipart/form-data", Code.INVALID, "form"),
    "no file": (
        b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--x--',
        "multipart/form-data; boundary=x",
        Code.INVALID,
        "",
    ),
    "a bad option": (b"abc", "image/png?", Code.INVALID, ""),
}


@pytest.mark.parametrize("case", [name for name in REFUSED if name != "a bad option"])
def test_what_cannot_be_understood_is_refused_clearly(double: Double, case: str) -> None:
    body, kind, code, said = REFUSED[case]
    headers = {"content-type": kind} if kind else {}
    told = problem(double.client.post("/v1/analyze", content=body, headers=headers), code)
    assert re.search(said, told["detail"])


def test_an_option_that_is_none_is_named(double: Double, picture: Paint) -> None:
    answer = double.client.post("/v1/analyze?evidence=perhaps&sharp=1", content=picture("red"), headers=RAW)
    told = problem(answer, Code.INVALID)
    assert {"evidence", "sharp"} <= set(re.findall(r"\w+", told["detail"]))


def test_a_body_over_the_limit_is_refused_before_it_is_read(double: Double) -> None:
    limit = double.service.args.limits.body_bytes
    told = problem(double.client.post("/v1/analyze", content=bytes(limit + 1), headers=RAW), Code.TOO_LARGE)
    assert str(limit) in told["detail"]


def test_so_is_one_that_does_not_say_its_size(double: Double) -> None:
    def endless() -> Any:
        for _ in range(1000):
            yield bytes(2**20)

    problem(double.client.post("/v1/analyze", content=endless(), headers=RAW), Code.TOO_LARGE)
    assert double.service.gate.admission.held == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/analyze", {"images": [1] * 350_000}), ("/v1/moderations", {"input": [1] * 350_000})],
)
def test_a_small_body_of_very_many_wrong_things_costs_little(double: Double, path: str, body: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        answer = double.client.post(path, json=body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    problem(answer, Code.TOO_LARGE)
    assert peak < 120 * 2**20, "it was over a gigabyte"
    assert len(answer.content) < 2000


def test_a_long_key_is_not_given_back(double: Double) -> None:
    answer = double.client.post("/v1/analyze", json={"images": [{"x" * 2**20: 1}]})
    problem(answer, Code.INVALID)
    assert len(answer.content) < 2000


def test_an_answer_that_takes_too_long_is_a_problem_and_leaves_nothing_behind(
    double: Double, picture: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = double.service
    hurried = service.args.limits.model_copy(update={"request_s": 0.2})
    monkeypatch.setattr(service, "args", service.args.model_copy(update={"limits": hurried}))

    async def never(_item: Item) -> Judged:
        await asyncio.sleep(30)
        raise AssertionError

    monkeypatch.setattr(service, "_judge", never)
    answer = double.client.post("/v1/analyze", files=[("image", ("red", picture("red")))] * 3)
    problem(answer, Code.TIMEOUT)
    assert (service.gate.admission.images, service.gate.admission.requests) == (0, 0)


def test_nothing_of_a_refused_body_is_quoted(double: Double) -> None:
    secret = "canary-4711"
    body = json.dumps({"images": [{"data": secret, "url": 3, "id": [secret]}], secret[:3]: secret})
    answer = double.client.post("/v1/analyze", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert secret not in answer.text


def test_without_a_key_nothing_is_answered(double: Double, picture: Paint) -> None:
    for path in ("/v1/analyze", "/v1/moderations"):
        answer = double.client.post(path, content=picture("red"), headers={**RAW, "authorization": "Bearer nobody"})
        problem(answer, Code.UNAUTHENTICATED)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/v1/releases", "/v1/policies", "/v1/labels", "/metrics", "/openapi.json"):
        problem(double.client.get(path, headers={"authorization": ""}), Code.UNAUTHENTICATED)
    for path in ("/healthz", "/readyz"):
        assert double.client.get(path, headers={"authorization": ""}).status_code == 200
