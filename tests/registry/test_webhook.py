"""A promotion is told to who listens: signed, in order, at least once, and never stopped by a receiver that is away."""

import base64
import json
import os
import re
import socket
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from assay.platform.errors import ConflictError, SpecError
from assay.registry.place import RegistrySpec
from assay.registry.promotion import RollbackSpec, rollback
from assay.registry.promotion_entry import Entry
from assay.registry.promotion_log import PromotionLog
from assay.registry.registry import Registry
from assay.registry.settling import settle
from assay.registry.webhook import WebhookSpec, deliver_to, sign, undelivered
from tests.small_registry import move, small_registry
from tests.webhook_receiver import SECRET, nobody, receiver

OTHER = f"whsec_{base64.b64encode(b'another secret, as long as it needs to be').decode()}"
DOCS = (Path(__file__).parent.parent.parent / "infra" / "docs" / "webhook.md").read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases, of which nobody is champion."""
    folder = tmp_path_factory.mktemp("webhook")
    small_registry(folder, 2)
    return folder


@pytest.fixture
def spec(place: Path, tmp_path: Path) -> RegistrySpec:
    """The same with a log of its own: MLflow follows the log it is asked with."""
    spec = RegistrySpec(uri=f"sqlite:///{place}/mlflow.db", cache=place / "cache", log=str(tmp_path / "log"))
    registry = Registry(spec)
    registry.models.tag_model("release", {"assay.log": str(tmp_path / "log"), "assay.settled": "0"})
    return spec


def log_of(spec: RegistrySpec) -> PromotionLog:
    return Registry(spec).log


def test_it_is_signed_and_says_what_the_log_says(spec: RegistrySpec) -> None:
    with receiver() as known:
        move(spec, 1, webhook=known.spec(), reason="the first")
        move(spec, 2, webhook=known.spec())
        rollback(RollbackSpec(registry=spec, webhook=known.spec()))
    first, _, last = known.verified()
    entry = log_of(spec).read(1)
    assert first["type"] == "assay.release.promoted"
    assert last["type"] == "assay.release.rolled_back"
    assert first["data"]["entry"] == entry.model_dump(mode="json")
    assert first["data"]["release"] == "models:/assay-release/1"
    assert first["data"]["registry"] == spec.uri
    assert first["timestamp"] == f"{entry.at[:10]}T{entry.at[11:19]}Z"
    assert {headers["webhook-id"] for _, headers in known.came} == {
        f"promotion-{one.number}-{one.nonce}" for one in log_of(spec).entries()
    }
    assert undelivered(log_of(spec)) == []


def test_a_wrong_secret_and_a_changed_body_are_refused(spec: RegistrySpec) -> None:
    with receiver() as known:
        move(spec, 1, webhook=known.spec())
    with pytest.raises(WebhookVerificationError):
        known.verified(OTHER)
    body, headers = known.came[0]
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b'"version": 1', b'"version": 2'), headers)


def test_both_secrets_hold_while_one_replaces_the_other(spec: RegistrySpec) -> None:
    with receiver() as known:
        move(spec, 1, webhook=known.spec(f"{SECRET} {OTHER}"))
    assert known.verified(SECRET) == known.verified(OTHER)


def test_the_standards_own_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    said = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_that_is_away_stops_no_promotion_and_is_told_later_in_order(spec: RegistrySpec) -> None:
    moved, told = move(spec, 1, webhook=nobody())
    assert moved.moved
    assert Registry(spec).models.pointed("release")["champion"] == 1
    assert "entry 1 was not delivered to the webhook: " in told[-1]
    assert "refused" in told[-1]
    assert undelivered(log_of(spec)) == [1]
    move(spec, 2)  # by somebody who does not know of the receiver
    with receiver() as known:
        rollback(RollbackSpec(registry=spec, webhook=known.spec()))
    assert known.entries() == [1, 2, 3]
    assert undelivered(log_of(spec)) == []


def test_what_is_refused_twice_is_taken_the_third_time_under_one_id(
    spec: RegistrySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with receiver() as known:
        known.answers = [500, 500]
        _, told = move(spec, 1, webhook=known.spec(tries=3))
    assert known.entries() == [1, 1, 1]
    assert len({headers["webhook-id"] for _, headers in known.came}) == 1
    assert slept == [0.5, 1.0]
    assert not [line for line in told if "webhook" in line]
    assert undelivered(log_of(spec)) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_it_goes_nowhere_else(spec: RegistrySpec, status: int) -> None:
    with receiver() as known, receiver() as other:
        known.answers, known.elsewhere = [status], other.url
        moved, told = move(spec, 1, webhook=known.spec())
    assert moved.moved
    assert known.methods == ["POST"]
    assert other.methods == []
    assert f"it answered {status}" in told[-1]
    assert undelivered(log_of(spec)) == [1]


def test_nothing_is_sent_after_what_was_not_taken(spec: RegistrySpec) -> None:
    with receiver() as known:
        known.answers = [500, 500, 204, 204]
        move(spec, 1, webhook=known.spec())
        move(spec, 2, webhook=known.spec())
        assert known.entries() == [1, 1]
        move(spec, 1, webhook=known.spec())
    assert known.entries() == [1, 1, 1, 2, 3]


def test_who_listens_from_now_on_is_not_told_of_what_was_before(spec: RegistrySpec) -> None:
    move(spec, 1)
    assert undelivered(log_of(spec)) == []
    with receiver() as known:
        move(spec, 2, webhook=known.spec())
    assert known.entries() == [2]


def test_a_promotion_that_lost_is_not_told(spec: RegistrySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    write = PromotionLog.append

    def late(self: PromotionLog, entry: Entry) -> None:
        monkeypatch.setattr(PromotionLog, "append", write)
        move(spec, 2, webhook=known.spec())
        write(self, entry)

    with receiver() as known:
        monkeypatch.setattr(PromotionLog, "append", late)
        with pytest.raises(ConflictError):
            move(spec, 1, webhook=known.spec())
        settle(Registry(spec), deliver_to(known.spec(), Registry(spec), print))
    assert [event["data"]["release"] for event in known.verified()] == ["models:/assay-release/2"]


def test_a_promoter_that_died_before_it_told_is_told_of_by_the_next(
    spec: RegistrySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException): ...

    def die(*_asked: object) -> None:
        raise Died

    with receiver() as known:
        with monkeypatch.context() as patched:
            patched.setattr("assay.registry.promotion._follow", die)
            with pytest.raises(Died):
                move(spec, 1, webhook=known.spec())
        assert known.came == []
        move(spec, 2, webhook=known.spec())
    assert known.entries() == [1, 2]


def test_what_speaks_no_http_is_a_receiver_that_is_away(spec: RegistrySpec) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer, args=(listening,))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        moved, told = move(spec, 1, webhook=WebhookSpec(url=url, secret=SecretStr(SECRET), tries=1))
        thread.join()
    assert moved.moved
    assert "SSH-2.0" in told[-1]


def _answer(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


BAD = {
    "no address": ("ftp://127.0.0.1/", SECRET, "no webhook can be there"),
    "no host": ("https:///x", SECRET, "no webhook can be there"),
    "no port": ("https://h:99999/", SECRET, "no webhook can be there"),
    "a user": ("https://u:p4711@h/", SECRET, "a user stands in it"),
    "a label too long": (f"https://{'a' * 64}.org/", SECRET, "no webhook can be there"),
    "a space": ("https://h/a b", SECRET, "no webhook can be there"),
    "no secret": ("https://h/", "", "a webhook needs a secret"),
    "no base64": ("https://h/", "whsec_%%%", "a webhook needs a secret"),
    "a short one": ("https://h/", "whsec_c2hvcnQ=", "24 bytes or more"),
    "a short second one": ("https://h/", f"{SECRET} whsec_c2hvcnQ=", "24 bytes or more"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_refused_before_anything_is_written(spec: RegistrySpec, name: str) -> None:
    url, secret, said = BAD[name]
    bad = WebhookSpec(url=url, secret=SecretStr(secret) if secret else None)
    move(spec, 1)
    move(spec, 2)
    before = log_of(spec).numbers()
    for act in (lambda: move(spec, 1, webhook=bad), lambda: rollback(RollbackSpec(registry=spec, webhook=bad))):
        with pytest.raises(SpecError) as refused:
            act()
        assert said in str(refused.value)
        assert "4711" not in str(refused.value)
        assert "c2hvcnQ" not in str(refused.value)
    assert log_of(spec).numbers() == before


def test_nothing_secret_is_sent(spec: RegistrySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "canary-1", "MLFLOW_TRACKING_PASSWORD": "canary-2"}
    for variable, value in secrets.items():
        monkeypatch.setenv(variable, value)
    given = spec.model_copy(update={"username": "promoter", "password": SecretStr("canary-3")})
    with receiver() as known:
        move(given, 1, webhook=known.spec(), reason="because")
    (body, headers), everything = known.came[0], str(known.came)
    assert json.loads(body)["data"]["entry"]["by"] == "promoter"
    assert "canary" not in everything
    assert SECRET.removeprefix("whsec_") not in everything
    assert "authorization" not in headers


def test_the_documented_receiver(
    spec: RegistrySpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = re.search(r"```python\n# recipe: receiver\n(.*?)```", DOCS, re.DOTALL)
    assert recipe is not None
    monkeypatch.setitem(os.environ, "ASSAY_WEBHOOK_SECRET", SECRET)
    written: dict[str, object] = {}
    exec(recipe[1], written)
    receive, seen = written["receive"], set[str]()
    assert callable(receive)
    with receiver() as known:
        move(spec, 1, webhook=known.spec(), reason="new phrases")
        move(spec, 2, webhook=known.spec(OTHER))
    first, second = known.came
    assert receive(*first, seen) == 204
    assert capsys.readouterr().out == "assay.release.promoted models:/assay-release/1 new phrases\n"
    assert receive(*first, seen) == 204
    assert receive(*second, seen) == 401
    assert capsys.readouterr().out == ""


def test_the_docs_tell_what_is_sent(spec: RegistrySpec) -> None:
    with receiver() as known:
        move(spec, 1, webhook=known.spec())
    example = re.search(r"```json\n(.*?)```", DOCS, re.DOTALL)
    assert example is not None
    told, sent = json.loads(example[1]), json.loads(known.came[0][0])
    assert set(told) == set(sent)
    assert set(told["data"]) == set(sent["data"])
    assert set(told["data"]["entry"]) <= set(sent["data"]["entry"])
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert name in DOCS
        assert name in known.came[0][1]
