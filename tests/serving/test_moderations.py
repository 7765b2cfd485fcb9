"""OpenAI's own client, unchanged, against `/v1/moderations`."""

import base64
from collections.abc import Callable

import httpx2
import openai
import pytest
from openai.types import ModerationMultiModalInputParam

from tests.service_double import Double

Paint = Callable[[str], bytes]


@pytest.fixture
def client(double: Double) -> openai.OpenAI:
    """The official client; it shows its key as it always does."""
    key = str(double.client.headers["authorization"]).removeprefix("Bearer ")
    base = f"{double.client.base_url}/v1"
    assert isinstance(double.client, httpx2.Client)
    return openai.OpenAI(api_key=key, base_url=base, http_client=double.client, max_retries=0)


def image(data: bytes) -> ModerationMultiModalInputParam:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}}


def test_an_image_is_flagged_by_its_labels(client: openai.OpenAI, picture: Paint) -> None:
    told = client.moderations.create(model="omni-moderation-latest", input=[image(picture("red"))])
    (result,) = told.results
    assert told.id.startswith("modr-")
    assert told.model.startswith("colours-")
    assert result.flagged
    categories = result.categories.model_dump()
    assert (categories["red_things"], categories["blue_things"]) == (True, False)
    assert result.category_scores.model_dump()["red_things"] > 0.9
    assert result.category_applied_input_types.model_dump()["red_things"] == ["image"]


def test_text_beside_an_image_is_not_judged_and_said_so(client: openai.OpenAI, picture: Paint) -> None:
    parts: list[ModerationMultiModalInputParam] = [{"type": "text", "text": "red"}, image(picture("white"))]
    told = client.moderations.create(input=parts)
    (result,) = told.results
    assert not result.flagged
    assert result.category_applied_input_types.model_dump()["red_things"] == ["image"]


def test_each_image_has_a_result(client: openai.OpenAI, picture: Paint) -> None:
    colours = ["red", "white", "blue"]
    told = client.moderations.create(input=[image(picture(colour)) for colour in colours])
    assert [one.flagged for one in told.results] == [True, False, True]


@pytest.mark.parametrize("text", ["hello", ["hello", "world"], [{"type": "text", "text": "hello"}], []])
def test_text_alone_is_refused_rather_than_passed(client: openai.OpenAI, text: object) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.moderations.create(input=text)  # type: ignore[arg-type]  # one of each form
    assert "text is not judged" in str(refused.value.body)


def test_a_bad_image_is_flagged_as_the_policy_says_and_told(client: openai.OpenAI) -> None:
    (result,) = client.moderations.create(input=[image(b"no picture")]).results
    extra = result.model_dump()["assay"]
    assert (result.flagged, extra["outcome"], extra["action"]) == (True, "UNSUPPORTED_FORMAT", "review")
    assert result.category_applied_input_types.model_dump()["red_things"] == []


def test_a_model_name_may_choose_the_policy(client: openai.OpenAI, picture: Paint) -> None:
    told = client.moderations.create(model="assay:firm", input=[image(picture("red"))])
    assert told.results[0].model_dump()["assay"]["policy"] == "firm"
    for name in ("gpt-9", "assay:", "strict"):
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            client.moderations.create(model=name, input=[image(picture("red"))])
        assert "no such model" in str(refused.value.body)


def test_refusals_are_the_clients_own_errors(client: openai.OpenAI, picture: Paint) -> None:
    url: ModerationMultiModalInputParam = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/x"}}
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.moderations.create(input=[url])
    assert refused.value.code == "url_refused"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="nobody").moderations.create(input=[image(picture("red"))])
