"""From a request to the images it brings: raw bytes, a form, or JSON.

Knows the three forms of `/v1/analyze` and how many images one may bring. Does not know verdicts, nor how a URL is
fetched. The body is here already, whole and within its limit (`door.py`); nothing of it touches a disk.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from assay.serving.problem import Code, Problem
from assay.serving.schemas import AnalyzeRequest, ImageInput, Name

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

RAW = ("image/", "application/octet-stream")
AWAY_BYTES = 262_144
"""A body of more is parsed in a thread: the loop has others to answer."""
_FIELD_BYTES = 65_536
_TOLD = 5
_SHOWN, _DEEP = 40, 8
"""Characters of a key, and keys, by which a place in a document is told."""


@dataclass(frozen=True, slots=True)
class Posted:
    """One image as it was posted: its bytes, or an address that is not fetched yet."""

    data: bytes | None = None
    url: str | None = None
    id: str | None = None


class Options(BaseModel):
    """What may be asked beside the images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Name | None = None
    evidence: bool = False
    embeddings: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, understood."""

    posted: list[Posted]
    options: Options


async def read_asked(request: Request, most: int) -> Asked:
    """What `/v1/analyze` is asked.

    Raises:
        Problem: the request cannot be understood, or brings too many images.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "application/json":
        return await read_json(await request.body(), most)
    if kind == "multipart/form-data":
        return await _read_form(request, most)
    if kind.startswith(RAW):
        body = await request.body()
        if not body:
            raise Problem(Code.INVALID, "the body is empty", fix="send the image's bytes")
        return Asked([Posted(data=body)], _options(dict(request.query_params)))
    why = f"content-type is {kind[:80]!r}" if kind else "there is no content-type"
    fix = "send image/… or application/octet-stream with the image's bytes, multipart/form-data, or application/json"
    raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "the body is of no type that is read", why=why, fix=fix)


async def read_json(body: bytes, most: int) -> Asked:
    """A JSON request's images."""
    return await understood(partial(_of_json, body, most), body)


async def understood(read: Callable[[], T], body: bytes) -> T:
    """What is read of a body; in a thread where that takes long."""
    return await asyncio.to_thread(read) if len(body) > AWAY_BYTES else read()


def _of_json(body: bytes, most: int) -> Asked:
    asked = parse(AnalyzeRequest, body)
    check_count(len(asked.images), most)
    posted = [_posted(one, f"images.{at}") for at, one in enumerate(asked.images)]
    options = Options(policy=asked.policy, evidence=asked.evidence, embeddings=asked.embeddings)
    return Asked(posted, options)


def _posted(one: ImageInput, where: str) -> Posted:
    if one.data is not None:
        return Posted(data=decode_base64(one.data, f"{where}.data"), id=one.id)
    assert one.url is not None, "the schema wants one of both"
    return posted_url(one.url, f"{where}.url", one.id)


def posted_url(url: str, where: str, id: str | None = None) -> Posted:
    """An address, or the bytes that a `data:` one holds."""
    if url[:5].lower() != "data:":
        return Posted(url=url, id=id)
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise Problem(Code.INVALID, "not a data: URL in base64", where=where, fix="write data:image/jpeg;base64,…")
    return Posted(data=decode_base64(data, where), id=id)


def decode_base64(text: str, where: str) -> bytes:
    """Bytes of base64, standard or URL-safe; nothing that is neither is skipped."""
    try:
        return base64.b64decode(text.strip().translate({45: 43, 95: 47}), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(Code.INVALID, "not base64", where=where, why=str(error), fix="encode the stored file") from error


def check_count(images: int, most: int) -> None:
    """Refuse a request of too many images."""
    if images > most:
        why = f"{images} images; a request may bring {most}"
        raise Problem(Code.TOO_LARGE, "too many images", where="images", why=why, fix="ask in several requests")


async def _read_form(request: Request, most: int) -> Asked:
    try:
        form = await _FormInMemory(
            request.headers, _stream(await request.body()), max_files=most, max_fields=8, max_part_size=_FIELD_BYTES
        ).parse()
    except (MultiPartException, KeyError) as error:
        code = Code.TOO_LARGE if "Too many" in str(error) else Code.INVALID
        why = getattr(error, "message", "a part or its boundary is missing")
        raise Problem(code, "the form cannot be read", why=why, fix="send files as multipart/form-data") from error
    posted, fields = [], {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            posted.append(Posted(data=await value.read(), id=(value.filename or name)[:512]))
        else:
            fields[name] = value
    await form.close()
    if not posted:
        raise Problem(Code.INVALID, "the form has no file", fix="send each image as a file: -F image=@photo.jpg")
    return Asked(posted, _options({**request.query_params, **fields}))


class _FormInMemory(MultiPartParser):
    """No picture is written to a disk, not even for a moment."""

    spool_max_size = 0
    """To Python's temporary files: no size at which they move to a disk."""


async def _stream(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _options(fields: dict[str, Any]) -> Options:
    try:
        return Options.model_validate(fields)
    except ValidationError as error:
        raise of_validation(error) from error


def parse(model: type[M], body: bytes) -> M:
    """A JSON document.

    Raises:
        Problem: it is none, or not as the model wants it.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise of_validation(error) from error


def of_validation(error: ValidationError) -> Problem:
    """What is wrong with a document."""
    return of_errors(error.errors(include_input=False, include_url=False, include_context=False))


def of_errors(found: Sequence[Mapping[str, Any]]) -> Problem:
    """What pydantic found wrong, without quoting the document: it may hold a picture."""
    told = "; ".join(f"{_place(one)}: {one['msg']}" for one in found[:_TOLD])
    more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    code = Code.TOO_LARGE if any(one["type"] == "too_long" for one in found) else Code.INVALID
    what, fix = "the request cannot be understood", "see /openapi.json"
    return Problem(code, what, where=_place(found[0]), why=told + more, fix=fix)


def _place(error: Mapping[str, Any]) -> str:
    """Where in a document; its keys are the caller's, and may be long."""
    return ".".join(str(part)[:_SHOWN] for part in error["loc"][:_DEEP])
