"""OpenAI's moderation API in Assay's terms, so that its official clients work unchanged.

Knows OpenAI's documents. Does not know how images are judged. What is judged is the image: text beside it is not, and
`category_applied_input_types` says so; text alone is refused, because "not flagged" would be taken for an answer.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from assay.serving.intake import Posted, check_count, parse, posted_url
from assay.serving.judging import Judged
from assay.serving.problem import Code, Problem
from assay.serving.schemas import MOST_ITEMS

_OURS = "assay"
_THEIRS = ("omni-moderation", "text-moderation")


class ImageUrl(BaseModel):
    """Where an image is; a `data:` URL holds it."""

    url: str = Field(max_length=28_000_000)


class ImagePart(BaseModel):
    """An image of an input."""

    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(BaseModel):
    """Text of an input; it is not judged."""

    type: Literal["text"]
    text: str


Part = Annotated[ImagePart | TextPart, Field(discriminator="type")]


_SOME = Field(max_length=MOST_ITEMS)


class ModerationRequest(BaseModel):
    """`POST /v1/moderations`."""

    model_config = ConfigDict(extra="ignore")  # clients grow fields

    input: str | Annotated[list[str], _SOME] | Annotated[list[Part], _SOME]
    model: str | None = Field(
        None, max_length=128, description="`assay:POLICY` chooses a policy; `assay` and OpenAI's names take the default"
    )


class AssayExtra(BaseModel):
    """What Assay says beyond OpenAI's fields."""

    outcome: str
    detail: str | None
    action: Literal["pass", "review", "block"]
    release: str
    policy: str


class ModerationResult(BaseModel):
    """One image's result. A category is a label of the library."""

    flagged: bool = Field(description="whether the action is review or block")
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[Literal["image", "text"]]]
    assay: AssayExtra


class ModerationResponse(BaseModel):
    """OpenAI's answer: one result for each image."""

    id: str
    model: str
    results: list[ModerationResult]


def read_moderation(body: bytes, most: int) -> tuple[list[Posted], str | None]:
    """The images of a request, and the model it names."""
    asked = parse(ModerationRequest, body)
    return images_of(asked, most), asked.model


def images_of(asked: ModerationRequest, most: int) -> list[Posted]:
    """The images of an input.

    Raises:
        Problem: there is none, or too many.
    """
    parts = [] if isinstance(asked.input, str) else [one for one in asked.input if isinstance(one, ImagePart)]
    if not parts:
        what = "there is no image in the input, and text is not judged here"
        fix = 'send {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,…"}}'
        raise Problem(Code.INVALID, what, where="input", fix=fix)
    check_count(len(parts), most)
    return [posted_url(one.image_url.url, f"input.{at}.image_url.url") for at, one in enumerate(parts)]


def policy_of(model: str | None) -> str | None:
    """The policy that a model name asks for.

    Raises:
        Problem: it is no name that is known.
    """
    if model is None or model == _OURS or model.startswith(_THEIRS):
        return None
    name, colon, policy = model.partition(":")
    if name == _OURS and colon and policy:
        return policy
    raise Problem(Code.INVALID, "there is no such model", where="model", fix="leave it away, or write assay:POLICY")


def result_of(judged: Judged, labels: tuple[str, ...]) -> ModerationResult:
    """One image's verdict as OpenAI would say it."""
    verdict = judged.verdict
    found = {one["label"] for one in verdict["findings"]}
    return ModerationResult(
        flagged=verdict["action"] != "pass",
        categories={label: label in found for label in labels},
        category_scores=dict(verdict["scores"] or dict.fromkeys(labels, 0.0)),
        category_applied_input_types={label: ["image"] if verdict["scores"] else [] for label in labels},
        assay=AssayExtra(
            outcome=verdict["outcome"],
            detail=judged.observation["detail"],
            action=verdict["action"],
            release=verdict["release"],
            policy=verdict["policy"],
        ),
    )
