"""What `/v1/analyze` is asked and what it answers, in the words of the batch rows.

Knows the documents. Does not know how a body becomes bytes (`intake.py`), nor what OpenAI calls things
(`moderations.py`).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_ITEMS = 10_000
"""Of a list in a document, whatever the service allows: each wrong one costs memory to tell of."""
POLICY_NAME = "^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=POLICY_NAME)]


class ImageInput(BaseModel):
    """One image of a JSON request: its bytes in base64, or where they are."""

    model_config = ConfigDict(extra="forbid")

    data: str | None = Field(None, description="the stored file, base64")
    url: str | None = Field(
        None,
        max_length=28_000_000,  # a data: URL has the whole file in it
        description="`data:image/…;base64,…`, or the address of an allow-listed host or bucket; others are not fetched",
    )
    id: str | None = Field(None, max_length=512, description="the caller's own name for it; given back")

    @model_validator(mode="after")
    def _one_of_both(self) -> "ImageInput":
        if (self.data is None) == (self.url is None):
            raise ValueError("an image has either data or url")
        return self


class AnalyzeRequest(BaseModel):
    """`POST /v1/analyze` as JSON."""

    model_config = ConfigDict(extra="forbid")

    images: list[ImageInput] = Field(min_length=1, max_length=MOST_ITEMS)
    policy: Name | None = Field(None, description="unset: the key's first policy, or the release's default")
    evidence: bool = Field(False, description="say which concept and phrases made each finding")
    embeddings: bool = Field(False, description="give the embeddings, too")


class ViewDocument(BaseModel):
    """What one embedding of an image saw. The box is in fractions of width and height."""

    kind: Literal["whole", "tile", "frame", "on_black"]
    box: tuple[float, float, float, float]
    time_s: float | None = Field(description="of an animation's frame")


class FindingDocument(BaseModel):
    """One label over a threshold."""

    label: str
    action: Literal["review", "block"]
    score: float
    concept: str | None = Field(None, description="with `evidence`: the concept that scored highest")
    prompt: str | None = Field(None, description="with `evidence`: the phrase that scored highest")
    counter: str | None = Field(None, description="with `evidence`: the phrase that spoke most against it")
    view: ViewDocument | None = Field(None, description="with `evidence`: where in the picture")


class EmbeddingDocument(BaseModel):
    """One image's embeddings: float16, little endian, [views, dim], base64."""

    encoder: str = Field(description="digest of the encoder; embeddings of others are not comparable")
    dim: int
    views: list[ViewDocument]
    data: str


class ImageDocument(BaseModel):
    """What became of one image. `outcome` is `ok` or its fault."""

    index: int
    id: str | None
    outcome: str = Field(description="`ok`, or a fault: TRUNCATED, UNSUPPORTED_FORMAT, TOO_MANY_PIXELS, …")
    detail: str | None = Field(description="of a fault")
    action: Literal["pass", "review", "block"] = Field(description="of a fault: what the policy does on faults")
    findings: list[FindingDocument]
    scores: dict[str, float] | None = Field(description="of every label; none for a fault")
    format: str | None
    width: int | None = Field(description="pixels, after EXIF rotation")
    height: int | None
    frames: int | None
    sha256: str | None = Field(description="of the bytes as they came")
    embedding: EmbeddingDocument | None = Field(None, description="with `embeddings`")


class AnalyzeResponse(BaseModel):
    """The verdicts of one request: all under one release and one policy."""

    release: str
    policy: str
    request_id: str
    images: list[ImageDocument]
