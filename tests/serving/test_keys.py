"""Keys: a ring that holds together, one refusal for all that is wrong with a key, and no key in any text."""

import hashlib
import hmac
import logging
import pickle
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.platform.errors import AssayError, SpecError
from assay.serving.keys import Key, Keyring, Scope, presented_key
from assay.serving.problem import Code, Problem

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
CANARY = "assay_CANARY-0123456789abcdefghijklmnopqrstuvwxyzA"
"""No key of anybody's."""
SOON, LONG_AGO = "2026-11-27T00:00:00Z", "2026-11-25T00:00:00+01:00"


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def ring(*entries: str) -> Keyring:
    """A keyring of entries as flow mappings without id and hash: those are `key-N` and of `secret-N`."""
    lines = [f"  - {{id: key-{n}, sha256: {sha256(f'secret-{n}')}, {entry}}}" for n, entry in enumerate(entries)]
    return Keyring.parse("\n".join(["keys:", *lines]), "keys.yaml")


PLAIN = "tenant: acme, scopes: [analyze]"


def refusal(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        Keyring.parse(text, "s3://ops/keys.yaml")
    return caught.value


def problem(ask: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        ask()
    return caught.value


def test_a_key_is_found_by_its_secret() -> None:
    found = ring(PLAIN, "tenant: other, scopes: [jobs, admin], policies: [strict, lenient], rate: 20")
    one, other = found.key("secret-0", NOW), found.key("secret-1", NOW)
    assert (one.id, one.tenant, one.scopes, one.policies) == ("key-0", "acme", (Scope.ANALYZE,), None)
    assert (other.tenant, other.most_at_once) == ("other", 40.0)
    assert one.most_at_once == float("inf")
    assert ring(f"{PLAIN}, rate: 0.1").keys[0].most_at_once == 1.0
    assert ring(f"{PLAIN}, rate: 5, burst: 7").keys[0].most_at_once == 7.0


def test_two_keys_of_one_tenant_are_valid_at_once() -> None:
    found = ring(f"{PLAIN}, not_after: {SOON}", PLAIN)
    assert {found.key(f"secret-{n}", NOW).tenant for n in range(2)} == {"acme"}
    later = datetime.fromisoformat(SOON)
    assert problem(lambda: found.key("secret-0", later)).code is Code.UNAUTHENTICATED
    assert found.key("secret-0", later - timedelta(seconds=1)).id == "key-0"
    assert found.key("secret-1", later).id == "key-1"


def test_all_that_is_wrong_with_a_key_gets_one_refusal() -> None:
    found = ring(PLAIN, f"{PLAIN}, revoked: true", f"{PLAIN}, not_after: {LONG_AGO}")
    presented = [None, "", "secret-9", "secret-1", "secret-2", "secret-0 ", "Ünicode", "\ud800", sha256("secret-0")]
    refusals = [problem(partial(found.key, one, NOW)) for one in presented]
    assert {one.code for one in refusals} == {Code.UNAUTHENTICATED}
    assert len({one.document("id").model_dump_json() for one in refusals}) == 1
    assert {tuple(one.headers.items()) for one in refusals} == {
        (("cache-control", "no-store"), ("www-authenticate", 'Bearer realm="assay"'))
    }


@pytest.mark.parametrize("presented", [None, "", "secret-0", "secret-1", "secret-2", "nobody's"])
def test_every_key_is_compared_whoever_asks(presented: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work for a key that is first, revoked, expired, unknown or none."""
    compared = []

    def compare(one: str, other: str) -> bool:
        compared.append(other)
        return one == other

    found = ring(PLAIN, f"{PLAIN}, revoked: true", f"{PLAIN}, not_after: {LONG_AGO}")
    monkeypatch.setattr(hmac, "compare_digest", compare)
    try:
        found.key(presented, NOW)
    except Problem:
        assert presented != "secret-0"
    assert compared == [one.sha256 for one in found.keys]


def test_scopes_do_not_hold_one_another() -> None:
    (key,) = ring("tenant: acme, scopes: [admin]").keys
    key.allow(Scope.ADMIN)
    for scope in (Scope.ANALYZE, Scope.JOBS):
        refused = problem(partial(key.allow, scope))
        assert (refused.code, refused.status) == (Code.FORBIDDEN, 403)
        assert scope in refused.fix


def test_a_key_chooses_among_its_policies() -> None:
    free, bound = ring(PLAIN, f"{PLAIN}, policies: [strict, lenient]").keys
    assert (free.policy(None), free.policy("any")) == (None, "any")
    assert (bound.policy(None), bound.policy("lenient")) == ("strict", "lenient")
    refused = problem(lambda: bound.policy("open"))
    assert (refused.code, refused.where) == (Code.FORBIDDEN, "policy")
    assert "strict, lenient" in refused.fix


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "found"),
    [
        (None, None, None),
        ("Bearer abc", None, "abc"),
        ("bearer   abc ", None, "abc"),
        (None, "abc", "abc"),
        (None, " abc ", "abc"),
        (None, "", ""),
        ("Bearer abc", "abc", "abc"),
    ],
)
def test_a_key_comes_in_either_header(authorization: str | None, x_api_key: str | None, found: str | None) -> None:
    assert presented_key(authorization, x_api_key) == found


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        (f"Bearer {CANARY}", "another"),
        (f"Bearer {CANARY}", ""),
        ("", CANARY),
        (f"Basic {CANARY}", None),
        (f"Basic {CANARY}", CANARY),
        (CANARY, None),
        ("Bearer", None),
        (f"Bearer {CANARY} {CANARY}", None),
        (f"Bearer {CANARY}, Bearer x", None),
    ],
)
def test_other_authorizations_are_refused(authorization: str | None, x_api_key: str | None) -> None:
    refused = problem(lambda: presented_key(authorization, x_api_key))
    assert refused.code is Code.UNAUTHENTICATED
    assert_hushed(refused)


GOOD = f"id: a, sha256: {sha256('a')}, tenant: acme, scopes: [analyze]"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("keys: [", 2, "expected"),
        ("", 1, "needs keys"),
        ("keys: 3", 1, "keys: Input should be a valid"),
        ("- a\n- b", 1, "the keyring: Input should be"),
        (f"keys:\n- {{{GOOD}}}\nkyes: []", 3, "unknown field kyes in the keyring; did you mean 'keys'?"),
        (f"keys:\n- {{{GOOD}, scope: [jobs]}}", 2, "unknown field scope in keys.0; did you mean 'scopes'?"),
        (f"keys:\n- {{{GOOD}}}\n- {{{GOOD.replace(sha256('a'), sha256('b'))}}}", 3, "the id a is that of key 1, too"),
        (f"keys:\n- {{{GOOD}}}\n- {{{GOOD.replace('id: a', 'id: b')}}}", 3, "the hash of b is that of key 1, too"),
        (f"keys:\n- {{{GOOD}, id: b}}", 2, "key 'id' is said twice"),
        (f"keys:\n- &one {{{GOOD}}}\n- *one", 2, "an alias"),
        (f"keys:\n- {{{GOOD.replace(sha256('a'), 'c0ffee')}}}", 2, "keys.0.sha256 has to be the SHA-256"),
        (f"keys:\n- {{{GOOD.replace(sha256('a'), sha256('a').upper())}}}", 2, "keys.0.sha256 has to be the SHA-256"),
        (f"keys:\n- {{{GOOD.replace(sha256('a'), sha256(''))}}}", 2, "keys.0.sha256 has to be the SHA-256"),
        (f"keys:\n- {{id: a, sha256: {sha256('a')}, scopes: [jobs]}}", 2, "keys.0 needs tenant"),
        (f"keys:\n- {{{GOOD.replace('acme', '../acme')}}}", 2, "keys.0.tenant: String should match"),
        (f"keys:\n- {{{GOOD.replace('analyze', 'root')}}}", 2, "keys.0.scopes.0: Input should be 'analyze', 'jobs'"),
        (f"keys:\n- {{{GOOD.replace('analyze', '')}}}", 2, "keys.0.scopes: Tuple should have at least 1"),
        (f"keys:\n- {{{GOOD}, policies: []}}", 2, "keys.0.policies: Tuple should have at least 1"),
        (f"keys:\n- {{{GOOD}, rate: 0}}", 2, "keys.0.rate: Input should be greater than 0"),
        (f"keys:\n- {{{GOOD}, rate: .inf}}", 2, "keys.0.rate: Input should be a"),
        (f"keys:\n- {{{GOOD}, rate: 2, burst: 0.5}}", 2, "keys.0.burst: Input should be greater than or equal to 1"),
        (f"keys:\n- {{{GOOD}, burst: 2}}", 2, "keys.0: burst needs a rate"),
        (f"keys:\n- {{{GOOD}, not_after: 2027-01-31}}", 2, "keys.0.not_after: it needs a time zone"),
        (f"keys:\n- {{{GOOD}, not_after: 1800000000}}", 2, "keys.0.not_after: write it as"),
        (f"keys:\n- {{{GOOD}, not_after: 2027-31-01}}", 2, "keys.0.not_after: Input should be a valid datetime"),
        (f"keys:\n- {{{GOOD}, revoked: perhaps}}", 2, "keys.0.revoked: Input should be a valid boolean"),
    ],
)
def test_a_ring_that_does_not_hold_together_is_refused(text: str, line: int, said: str) -> None:
    told = refusal(text)
    assert told.exit_code == 2
    assert told.where == f"s3://ops/keys.yaml:{line}"
    assert said in told.why
    assert told.what
    assert told.fix


def test_keys_beside_a_ring_are_held_against_it() -> None:
    """A key that the ring revokes must not live on beside it."""
    (beside,) = ring(PLAIN).keys
    revoked = f"keys:\n- {{id: key-1, sha256: {beside.sha256}, tenant: acme, scopes: [analyze], revoked: true}}"
    with pytest.raises(SpecError, match="the hash of key-1 is that of key-0 of the service's settings, too"):
        Keyring.parse(revoked, "keys.yaml", (beside,))
    joined = Keyring.parse(f"keys:\n- {{{GOOD}}}", "keys.yaml", (beside,))
    assert [joined.key(one, NOW).id for one in ("secret-0", "a")] == ["key-0", "a"]


def test_all_that_is_wrong_is_said_at_once() -> None:
    told = refusal(f"keys:\n- {{{GOOD}, rate: 0}}\n- {{id: b}}\n- {{{GOOD}, hush: 1}}")
    assert [line.split(":")[0].strip() for line in told.why.splitlines()] == ["line 2", *["line 3"] * 3, "line 4"]


WRONG_PLACES = [
    "keys:\n- {id: a, sha256: SECRET, tenant: acme, scopes: [analyze]}",
    "keys:\n- {id: SECRET, sha256: HASH, tenant: acme, scopes: [analyze]}",
    "keys:\n- {SECRET: acme}",
    "keys:\n- {SECRET: acme, SECRET: acme}",
    "keys:\n- {id: a, sha256: HASH, tenant: acme, scopes: [SECRET], policies: 3, revoked: SECRET, not_after: SECRET}",
    "keys: SECRET",
    "SECRET",
    "keys: [*SECRET]",
    "keys: [ # SECRET",
    "keys:\n- {id: a, sha256: 'SECRET, tenant: acme",
    'keys:\n- {id: a, sha256: "\\qSECRET"}',
    "keys:\n- {id: a, sha256: SECRET\n\ttenant: acme}",
]


@pytest.mark.parametrize("text", WRONG_PLACES)
@pytest.mark.parametrize("secret", [CANARY, CANARY.removeprefix("assay_"), CANARY[:-1]])
def test_a_secret_in_the_ring_is_refused_and_not_repeated(text: str, secret: str) -> None:
    """One of ours, of somebody else's, or with its end cut off."""
    told = refusal(text.replace("SECRET", secret).replace("HASH", sha256("a")))
    assert_hushed(told)
    if secret.startswith("assay_"):
        assert told.what == "a key itself stands in the keyring"


def test_no_key_stands_in_a_repr_or_log(caplog: pytest.LogCaptureFixture) -> None:
    found = Keyring.parse(f"keys:\n- {{{GOOD.replace(sha256('a'), sha256(CANARY))}}}", "keys.yaml")
    key = found.key(CANARY, NOW)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("assay").warning("%r %s %r %s", found, found, key, key)
    for text in (caplog.text, repr(found), found.model_dump_json(), str(key)):
        assert CANARY not in text
    assert sha256(CANARY) not in repr(found) + str(found) + caplog.text
    refused = [
        problem(lambda: found.key(CANARY + "x", NOW)),
        problem(lambda: key.allow(Scope.JOBS)),
    ]
    for one in refused:
        assert_hushed(one)


def assert_hushed(error: AssayError) -> None:
    """Neither the error, nor what it was made of, nor its traceback has the canary or much of it."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    texts = [repr(pickle.loads(pickle.dumps(error))), "".join(traceback.format_exception(error))]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            texts += [str(one), repr(one), repr(one.args), repr(vars(one))]
            todo += [one.__cause__, one.__context__]
    for text in texts:
        assert CANARY[6:26] not in text


@given(st.text(max_size=200))
def test_any_text_is_a_ring_or_a_clear_refusal(text: str) -> None:
    told = None
    try:
        Keyring.parse(text, "keys.yaml")
    except SpecError as error:
        told = error
    assert told is None or (all((told.what, told.why, told.fix)) and told.where.startswith("keys.yaml:"))


@given(st.lists(st.sampled_from(["secret-0", "secret-1", "secret-2", "secret-3"]), max_size=4))
def test_only_keys_of_the_ring_are_found(presented: list[str]) -> None:
    found = ring(PLAIN, PLAIN)
    known = {"secret-0": "key-0", "secret-1": "key-1"}
    for one in presented:
        if one in known:
            assert found.key(one, NOW).id == known[one]
        else:
            assert problem(partial(found.key, one, NOW)).code is Code.UNAUTHENTICATED


def test_a_key_travels_between_processes() -> None:
    (key,) = ring(f"{PLAIN}, not_after: {SOON}").keys
    assert pickle.loads(pickle.dumps(key)) == key
    assert isinstance(key, Key)
