"""Telling others of a promotion: a signed POST for every entry of the log, at least once.

Knows the form (Standard Webhooks: id, timestamp, HMAC-SHA256 over both and the body) and how often it is tried. Does
not know what is told. A receiver that is away stops no promotion: the entry stays undelivered, and doctor says so.
"""

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from pydantic import Field, SecretStr

from assay.platform.errors import SpecError
from assay.platform.spec import Spec
from assay.registry.promotion_entry import Entry
from assay.registry.promotion_log import PromotionLog

EVENT = {"promote": "assay.release.promoted", "rollback": "assay.release.rolled_back", "copy": "assay.release.copied"}
PREFIX = "whsec_"
Tell = Callable[[str], None]


class WebhookSpec(Spec):
    """Who is told of a promotion."""

    url: str | None = Field(None, description="where each entry of the promotion log is sent")
    secret: SecretStr | None = Field(None, description="whsec_…, base64; it signs what is sent; better as a variable")
    tries: int = Field(3, ge=1, le=10, description="tries of one delivery")
    timeout_s: float = Field(5.0, gt=0, description="seconds one try may take")


def deliver_to(spec: WebhookSpec, log: PromotionLog, tell: Tell) -> Callable[[Entry], None]:
    """What sends an entry, unless it was delivered before; nothing without a receiver.

    Raises:
        SpecError: a receiver without a secret, or a secret that is none.
    """
    if spec.url is None:
        return lambda _entry: None
    key = _key(spec)
    url = spec.url

    def deliver(entry: Entry) -> None:
        if log.is_delivered(entry.number):
            return
        error = _send(url, key, entry, spec)
        if error:
            tell(
                f"entry {entry.number} was not delivered to the webhook: {error}; `assay registry doctor --mend` tries"
            )
        else:
            log.mark_delivered(entry.number)

    return deliver


def sign(key: bytes, message: str, timestamp: int, body: bytes) -> str:
    """The signature as Standard Webhooks have it."""
    signed = f"{message}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def _send(url: str, key: bytes, entry: Entry, spec: WebhookSpec) -> str:
    """Try to deliver; why it could not be, or nothing."""
    body = json.dumps({"type": EVENT[entry.action], "timestamp": entry.at, "data": entry.model_dump(mode="json")})
    error = ""
    for number in range(spec.tries):
        if number:
            time.sleep(2 ** (number - 1) * 0.5)
        at = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": f"promotion-{entry.number}-{entry.nonce}",
            "webhook-timestamp": str(at),
            "webhook-signature": sign(key, f"promotion-{entry.number}-{entry.nonce}", at, body.encode()),
        }
        request = urllib.request.Request(url, body.encode(), headers, method="POST")  # noqa: S310  # checked in _key
        try:
            with urllib.request.urlopen(request, timeout=spec.timeout_s) as answer:  # noqa: S310  # as above
                if 200 <= answer.status < 300:
                    return ""
                error = f"status {answer.status}"
        except (urllib.error.URLError, OSError) as refused:
            error = str(getattr(refused, "reason", None) or refused)
    return error


def _key(spec: WebhookSpec) -> bytes:
    parts = urllib.parse.urlsplit(spec.url or "")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SpecError("no webhook can be there", where=str(spec.url), why="it is no http(s) address", fix="name one")
    said = spec.secret.get_secret_value() if spec.secret else ""
    try:
        key = base64.b64decode(said.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if len(key) < 24:
        raise SpecError(
            "a webhook needs a secret",
            where="--webhook.secret",
            why="receivers could not tell who sent it; it is 24 bytes or more in base64, after whsec_",
            fix="make one: `openssl rand -base64 32`, and set ASSAY_WEBHOOK_SECRET",
        )
    return key
