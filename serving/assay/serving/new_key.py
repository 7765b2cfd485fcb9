"""A new key: its secret, shown once, and its entry for the keyring.

Knows how a key is made. Does not know where the keyring lies: who may write it is not who makes keys.
"""

import secrets
from datetime import UTC, datetime
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from assay.platform.errors import SpecError
from assay.platform.spec import Spec
from assay.serving.keys import PREFIX, Key, Name, Scope, digest


class NewKeySpec(Spec):
    """What a new key is for; the fields are those of `Key`."""

    tenant: Name = Field(description="whose it is")
    scopes: tuple[Scope, ...] = Field((Scope.ANALYZE,), description="what it may be used for")
    policies: tuple[str, ...] = Field((), description="policies it may choose, its default first; all without")
    rate: float | None = Field(None, description="images per second; any number without")
    burst: float | None = Field(None, description="images at once; 2 seconds of its rate without")
    not_after: datetime | None = Field(None, description="when it ends, in UTC unless a time zone is given")
    id: Name | None = Field(None, description="its name in logs and metrics; made of tenant and hash without")


class NewKey(BaseModel):
    """A key that nobody has yet. The secret is nowhere else."""

    model_config = ConfigDict(frozen=True)

    secret: SecretStr
    key: Key
    entry: str = Field(description="the key as an entry to put below `keys:`, in YAML")


def make_key(spec: NewKeySpec) -> NewKey:
    """Make a key of 256 random bits.

    Raises:
        SpecError: it would be none that a keyring may hold.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    said: dict[str, Any] = spec.model_dump()
    sha256 = digest(secret)
    said |= {"id": spec.id or f"{spec.tenant[:31]}-{sha256[:8]}", "sha256": sha256, "policies": spec.policies or None}
    if spec.not_after is not None and spec.not_after.tzinfo is None:
        said["not_after"] = spec.not_after.replace(tzinfo=UTC)
    try:
        key = Key.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        flag = "--" + str(first["loc"][0] if first["loc"] else "burst").replace("_", "-")
        why = first["msg"].removeprefix("Value error, ")
        raise SpecError("no such key can be made", where=flag, why=why, fix="see `assay key new --help`") from error
    return NewKey(secret=SecretStr(secret), key=key, entry=entry_text(key))


def entry_text(key: Key) -> str:
    """A key as it stands in a keyring, below `keys:`."""
    said = key.model_dump(mode="json", exclude_defaults=True)
    lines = yaml.safe_dump([said], sort_keys=False, default_flow_style=None, width=200).splitlines()
    return "".join(f"  {line}\n" for line in lines)
