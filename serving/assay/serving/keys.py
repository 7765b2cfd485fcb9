"""API keys: who may ask, what for, and under which policies.

Knows the keyring, a YAML file in which keys stand as SHA-256 only. A key is 256 random bits: there is nothing to guess,
so no slow hash is needed. Does not know where the file lies, HTTP servers, nor how often somebody asks (`rates.py`).

No text that leaves here, of an error or a repr, holds a presented key or anything that was put where a hash belongs.
"""

import hashlib
import hmac
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from assay.platform.document import Document, did_you_mean
from assay.platform.document import Problem as Flaw
from assay.platform.errors import SpecError
from assay.platform.spec import Spec
from assay.serving.problem import Code, Problem

PREFIX = "assay_"
"""What every key begins with, so that scanners of secrets find it."""

BURST_S = 2.0
"""Seconds of its rate that a key may bring at once, unless it says otherwise."""

_SECRET = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{20,}}")
_FIELD = re.compile(r"[a-z][a-z_]{0,15}")
_LONG = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_BEARER = re.compile(r"bearer +([^\s,]+)", re.IGNORECASE)
_FIX = "mend the lines named; `assay key new` prints an entry as it has to be"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")]
"""Of keys and tenants: it stands in logs, metrics and paths."""


class Scope(StrEnum):
    """What a key may be used for. None of them holds another."""

    ANALYZE = "analyze"
    JOBS = "jobs"
    ADMIN = "admin"


class Key(Spec):
    """One key of a tenant, by its hash."""

    model_config = ConfigDict(hide_input_in_errors=True)

    id: Name = Field(description="its name in logs and metrics")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False, description="of the whole key, in hex")
    tenant: Name = Field(description="whose it is")
    scopes: tuple[Scope, ...] = Field(min_length=1, description="what it may be used for")
    policies: tuple[str, ...] | None = Field(
        None, min_length=1, description="policies it may choose, its default first; all of the release without"
    )
    rate: float | None = Field(None, gt=0, allow_inf_nan=False, description="images per second; any number without")
    burst: float | None = Field(
        None, ge=1, allow_inf_nan=False, description="images at once; without, 2 seconds of its rate, at least 1"
    )
    not_after: datetime | None = Field(None, description="when it ends, with a time zone")
    revoked: bool = Field(False, description="it is refused from now on")

    @field_validator("sha256")
    @classmethod
    def _is_of_something(cls, value: str) -> str:
        if value == digest(""):
            raise ValueError("the hash of nothing")
        return value

    @field_validator("not_after", mode="before")
    @classmethod
    def _is_written_as_a_date(cls, value: object) -> object:
        # Pydantic would read a bare number as seconds since 1970.
        if value is None or isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
            return value
        raise ValueError("write it as 2027-01-31T00:00:00Z")

    @field_validator("not_after")
    @classmethod
    def _has_a_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("it needs a time zone, as in 2027-01-31T00:00:00Z")
        return value

    @model_validator(mode="after")
    def _bursts_of_a_rate(self) -> "Key":
        if self.burst is not None and self.rate is None:
            raise ValueError("burst needs a rate")
        return self

    @property
    def most_at_once(self) -> float:
        """Images that may come at once when nothing came before; infinite without a rate."""
        if self.rate is None:
            return float("inf")
        return self.burst if self.burst is not None else max(1.0, BURST_S * self.rate)

    def is_valid(self, now: datetime) -> bool:
        """Neither revoked nor at its end."""
        return not self.revoked and (self.not_after is None or now < self.not_after)

    def allow(self, scope: Scope) -> None:
        """Refuse what the key is not for.

        Raises:
            Problem: FORBIDDEN.
        """
        if scope not in self.scopes:
            raise Problem(
                Code.FORBIDDEN,
                f"key {self.id} does not have the scope {scope}",
                why=f"it has {', '.join(self.scopes)}",
                fix=f"use a key with the scope {scope}",
            )

    def policy(self, asked: str | None) -> str | None:
        """The policy a request is judged by; None is the release's default.

        Raises:
            Problem: FORBIDDEN, for one the key may not use.
        """
        if self.policies is None:
            return asked
        if asked is None:
            return self.policies[0]
        if asked not in self.policies:
            raise Problem(
                Code.FORBIDDEN,
                f"key {self.id} may not use this policy",
                where="policy",
                fix=f"ask for one of {', '.join(self.policies)}, or for none: then it is {self.policies[0]}",
            )
        return asked


class Keyring(Spec):
    """All keys that are known. Two keys of one tenant may be valid at once: so one follows the other."""

    model_config = ConfigDict(hide_input_in_errors=True)

    keys: tuple[Key, ...]

    @classmethod
    def parse(cls, text: str, where: str, beside: tuple[Key, ...] = ()) -> "Keyring":
        """The keyring a YAML text holds, and the keys `beside` it; `where` it came from is said in errors.

        Raises:
            SpecError: it holds a secret, is not YAML, or does not hold together, be it with those beside.
        """
        _refuse_secrets(text, where)
        document = _document(text, where)
        ring, flaws = _ring(document)
        if ring is not None:
            flaws = _twice(ring, beside, document)
        if ring is None or flaws or document.problems:
            told = [Flaw(one.line, _hushed(one.text)) for one in document.problems]
            raise _refusal([*told, *flaws], where)
        return cls(keys=(*beside, *ring.keys))

    def key(self, presented: str | None, now: datetime) -> Key:
        """The key that was presented. It takes the same work, and gets the same refusal, whatever is wrong with it.

        Raises:
            Problem: UNAUTHENTICATED, for none, an unknown, a revoked or an expired key.
        """
        found = None
        sha256 = digest(presented or "")
        for key in self.keys:
            if hmac.compare_digest(sha256, key.sha256) & key.is_valid(now):
                found = key
        if found is None:
            raise unauthenticated("no key that is known, or none any more")
        return found


def presented_key(authorization: str | None, x_api_key: str | None) -> str | None:
    """The key of a request's `Authorization: Bearer …` or `X-API-Key`; None without either.

    Raises:
        Problem: UNAUTHENTICATED, for another kind of authorization, or two keys that differ.
    """
    found = {x_api_key.strip()} if x_api_key is not None else set()
    if authorization is not None:
        bearer = _BEARER.fullmatch(authorization.strip())
        if bearer is None:
            raise unauthenticated("the authorization is none that is read")
        found.add(bearer[1])
    if len(found) > 1:
        raise unauthenticated("two keys that differ")
    return found.pop() if found else None


def unauthenticated(what: str) -> Problem:
    """A refusal of who asks."""
    return Problem(Code.UNAUTHENTICATED, what, fix="send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`")


def digest(secret: str) -> str:
    """A key as the keyring knows it."""
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()


def _refuse_secrets(text: str, where: str) -> None:
    found = _SECRET.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise SpecError(
            "a key itself stands in the keyring",
            where=f"{where}:{line}",
            why="only its hash belongs there; who can read the file could use the key",
            fix="remove it, revoke that key, and make a new one with `assay key new`",
        )


def _document(text: str, where: str) -> Document:
    """The YAML with its lines. The parser's own error quotes the text, so nothing is chained to it."""
    try:
        return Document.read(f"{text}\n", SpecError)
    except SpecError as error:
        line, why = error.where.rpartition(":")[2], _hushed(error.why)
    raise SpecError("the keyring is not YAML", where=f"{where}:{line}", why=why, fix="mend the line named")


def _ring(document: Document) -> tuple[Keyring | None, list[Flaw]]:
    try:
        return Keyring.model_validate(document.value), []
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    return None, [Flaw(document.line(one["loc"]), _said(one)) for one in found]


def _said(error: ErrorDetails) -> str:
    """What is wrong, without what was given: it could be a key."""
    loc = error["loc"]
    place = ".".join(str(part) for part in loc[:-1]) or "the keyring"
    if error["type"] == "extra_forbidden":
        name = str(loc[-1])
        known = [*Key.model_fields, *Keyring.model_fields]
        return f"unknown field {name if _FIELD.fullmatch(name) else '…'} in {place}{did_you_mean(name, known)}"
    if error["type"] == "missing":
        return f"{place} needs {loc[-1]}"
    whole = ".".join(str(part) for part in loc) or "the keyring"
    if loc[-1:] == ("sha256",):
        return f"{whole} has to be the SHA-256 of the key, as 64 digits of hex in lower case"
    return f"{whole}: {error['msg'].removeprefix('Value error, ')}"


def _hushed(text: str) -> str:
    return _LONG.sub("…", text)


def _twice(ring: Keyring, beside: tuple[Key, ...], document: Document) -> list[Flaw]:
    flaws = list[Flaw]()
    seen = {one: f"{key.id} of the service's settings" for key in beside for one in (key.id, key.sha256)}
    for position, key in enumerate(ring.keys):
        for name, value, text in (("id", key.id, f"the id {key.id}"), ("sha256", key.sha256, f"the hash of {key.id}")):
            if value in seen:
                flaws.append(Flaw(document.line(("keys", position, name)), f"{text} is that of {seen[value]}, too"))
            seen[value] = f"key {position + 1}"
    return flaws


def _refusal(flaws: list[Flaw], where: str) -> SpecError:
    told = sorted(set(flaws))
    why = "\n       ".join(f"line {one.line}: {one.text}" for one in told)
    return SpecError("the keyring does not hold together", where=f"{where}:{told[0].line}", why=why, fix=_FIX)
