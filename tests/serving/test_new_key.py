"""A new key: 256 random bits, and an entry that a keyring takes as it is."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.platform.errors import SpecError
from assay.serving.keys import Key, Keyring, Scope, digest
from assay.serving.new_key import NewKeySpec, make_key

NOW = datetime(2026, 11, 26, tzinfo=UTC)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", fullmatch=True)
SPECS = st.builds(
    NewKeySpec,
    tenant=NAMES,
    scopes=st.lists(st.sampled_from(Scope), min_size=1, max_size=3, unique=True).map(tuple),
    policies=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), max_size=2).map(
        tuple
    ),
    rate=st.floats(0.001, 1e6),
    burst=st.none() | st.floats(1, 1e6),
    not_after=st.none() | st.datetimes(NOW.replace(tzinfo=None), timezones=st.just(UTC)),
    id=st.none() | NAMES,
)


@given(SPECS)
def test_its_entry_is_read_by_the_keyring(spec: NewKeySpec) -> None:
    made = make_key(spec)
    (read,) = Keyring.parse(f"keys:\n{made.entry}", "keys.yaml").keys
    assert read == made.key
    assert read.sha256 == digest(made.secret.get_secret_value())
    assert (read.tenant, read.scopes, read.rate) == (spec.tenant, spec.scopes, spec.rate)
    assert read.policies == (spec.policies or None)


def test_secrets_are_long_and_never_the_same() -> None:
    made = [make_key(NewKeySpec(tenant="acme")) for _ in range(200)]
    secrets = {one.secret.get_secret_value() for one in made}
    assert len(secrets) == len({one.key.id for one in made}) == 200
    assert all(re.fullmatch(r"assay_[A-Za-z0-9_-]{43}", one) for one in secrets)


def test_two_entries_one_below_the_other_are_a_ring() -> None:
    old, new = (make_key(NewKeySpec(tenant="acme")) for _ in range(2))
    ring = Keyring.parse(f"keys:\n{old.entry}{new.entry}", "keys.yaml")
    assert [ring.key(one.secret.get_secret_value(), NOW) for one in (old, new)] == [old.key, new.key]


def test_the_secret_is_in_no_text_of_the_facts() -> None:
    made = make_key(NewKeySpec(tenant="acme"))
    for text in (repr(made), str(made), made.model_dump_json(), made.entry, repr(made.key)):
        assert made.secret.get_secret_value() not in text


def test_an_end_without_a_zone_is_in_utc() -> None:
    ends = datetime(2027, 1, 31)  # as the command line reads it
    assert make_key(NewKeySpec(tenant="acme", not_after=ends)).key.not_after == ends.replace(tzinfo=UTC)
    east = datetime(2027, 1, 31, tzinfo=timezone(timedelta(hours=8)))
    assert make_key(NewKeySpec(tenant="acme", not_after=east)).key.not_after == east


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        (NewKeySpec(tenant="acme", rate=0), "--rate"),
        (NewKeySpec(tenant="acme", burst=3), "--burst"),
        (NewKeySpec(tenant="acme", rate=3, burst=0), "--burst"),
        (NewKeySpec(tenant="acme", scopes=()), "--scopes"),
    ],
)
def test_what_no_ring_may_hold_is_not_made(spec: NewKeySpec, where: str) -> None:
    with pytest.raises(SpecError) as refused:
        make_key(spec)
    assert refused.value.where == where
    assert refused.value.why


def test_the_fields_are_those_of_a_key() -> None:
    assert set(NewKeySpec.model_fields) == set(Key.model_fields) - {"sha256", "revoked"}
