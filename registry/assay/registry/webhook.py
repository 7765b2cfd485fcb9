"""Telling others of a promotion: a signed POST for every entry of the log, in order, each at least once.

Knows the form (Standard Webhooks: id, timestamp, HMAC-SHA256 over both and the body) and how often it is tried. Tells
only what stands in the log. A receiver that is away stops no promotion: the entry stays undelivered, is sent before the
next one, and doctor says so. `infra/docs/webhook.md` is what receivers read.
"""

import base64
import hashlib
import hmac
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field, SecretStr

from assay.platform.errors import SpecError
from assay.platform.spec import Spec
from assay.registry.promotion_entry import Entry
from assay.registry.promotion_log import PromotionLog
from assay.registry.registry import Registry

EVENT = {"promote": "assay.release.promoted", "rollback": "assay.release.rolled_back"}
PREFIX = "whsec_"
LEAST_BYTES = 24
Tell = Callable[[str], None]


class WebhookSpec(Spec):
    """Who is told of a promotion."""

    url: str | None = Field(None, description="where each entry of the promotion log is sent")
    secret: SecretStr | None = Field(
        None, description="whsec_…, base64; signs what is sent; several, with spaces, while one replaces another"
    )
    tries: int = Field(3, ge=1, le=10, description="tries of one delivery")
    timeout_s: float = Field(5.0, gt=0, description="seconds the receiver may be silent")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: what is signed for one receiver is not for another, and a page it points to heard nothing."""

    def redirect_request(self, *_asked: object) -> None:
        return None


@dataclass(frozen=True)
class _Receiver:
    url: str
    keys: tuple[bytes, ...]
    spec: WebhookSpec

    def send(self, message: str, body: bytes) -> str:
        """Try to deliver; why it could not be, or nothing."""
        error = ""
        for number in range(self.spec.tries):
            if number:
                time.sleep(2 ** (number - 1) * 0.5)
            error = self._try(_headers(self.keys, message, body), body)
            if not error:
                break
        return error

    def _try(self, headers: Mapping[str, str], body: bytes) -> str:
        opener = urllib.request.build_opener(_Stay)
        request = urllib.request.Request(self.url, body, dict(headers), method="POST")  # noqa: S310  # see _address
        try:
            with opener.open(request, timeout=self.spec.timeout_s):
                return ""
        except urllib.error.HTTPError as refused:
            refused.close()
            return f"it answered {refused.code}"
        except (OSError, http.client.HTTPException) as failed:
            return str(getattr(failed, "reason", "") or failed or type(failed).__name__)


def deliver_to(spec: WebhookSpec, registry: Registry, tell: Tell) -> Callable[[Entry], None]:
    """What sends an entry after those before it that are still undelivered; nothing without a receiver.

    Raises:
        SpecError: an address where nothing can listen, a receiver without a secret, or a secret that is none.
    """
    if spec.url is None:
        return lambda _entry: None
    receiver = _Receiver(_address(spec.url), _keys(spec), spec)

    def deliver(entry: Entry) -> None:
        log = registry.log
        if log.delivered() is None:  # who listens from now on is not told of all that was before
            log.mark_delivered(entry.number - 1)
        for number in undelivered(log):
            one = log.read(number)
            error = receiver.send(_message(one), _body(one, registry))
            if error:
                fix = "it is sent with the next promotion, or by `assay registry doctor --mend`"
                tell(f"entry {number} was not delivered to the webhook: {error}; {fix}")
                return
            log.mark_delivered(number)

    return deliver


def undelivered(log: PromotionLog) -> list[int]:
    """Numbers of the entries that who listens was not told of, in order; none where nobody ever listened."""
    told = log.delivered()
    return [] if told is None else [number for number in log.numbers() if number > told]


def sign(key: bytes, message: str, timestamp: int, body: bytes) -> str:
    """The signature as Standard Webhooks have it."""
    signed = f"{message}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def _message(entry: Entry) -> str:
    """The same for every try of an entry, so that a receiver knows one that it had."""
    return f"promotion-{entry.number}-{entry.nonce}"


def _body(entry: Entry, registry: Registry) -> bytes:
    """What is told: whose release, and the entry as it stands in the log. Nothing in either is secret."""
    model = registry.models.model("release")
    about = {"registry": registry.place.uri, "model": model, "release": f"models:/{model}/{entry.after.version}"}
    at = datetime.strptime(entry.at, "%Y-%m-%d %H:%M:%S %Z").isoformat()
    data = {**about, "entry": entry.model_dump(mode="json")}
    return json.dumps({"type": EVENT[entry.action], "timestamp": f"{at}Z", "data": data}).encode()


def _headers(keys: tuple[bytes, ...], message: str, body: bytes) -> dict[str, str]:
    at = int(time.time())
    return {
        "content-type": "application/json",
        "user-agent": "assay",
        "webhook-id": message,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(sign(key, message, at, body) for key in keys),
    }


def _address(url: str) -> str:
    """An address that can be asked. It is not shown: some have a token in them."""
    try:
        why = _unfit(urllib.parse.urlsplit(url))
    except ValueError as error:
        why = str(error)
    if why or not url.isascii() or not url.isprintable() or " " in url:
        why = why or "it has characters that must be written as %…"
        raise SpecError("no webhook can be there", where="--webhook.url", why=why, fix="say --webhook.url https://…")
    return url


def _unfit(parts: urllib.parse.SplitResult) -> str:
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        return "it is no http(s) address"
    parts.hostname.encode("idna")  # refuses names that none can have
    return "a user stands in it; it is the signature that tells who sends" if parts.username is not None else ""


def _keys(spec: WebhookSpec) -> tuple[bytes, ...]:
    said = spec.secret.get_secret_value().split() if spec.secret else []
    try:
        keys = tuple(base64.b64decode(one.removeprefix(PREFIX), validate=True) for one in said)
    except ValueError:
        keys = ()
    if not keys or min(map(len, keys)) < LEAST_BYTES:
        raise SpecError(
            "a webhook needs a secret",
            where="--webhook.secret",
            why=f"receivers could not tell who sent it; it is {LEAST_BYTES} bytes or more in base64, after whsec_",
            fix="make one: `openssl rand -base64 32`, and set ASSAY_WEBHOOK_SECRET",
        )
    return keys
