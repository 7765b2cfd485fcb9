"""`assay key new`: a secret and an entry on stdout, the rest beside."""

import json

import pytest

from assay.jobs.cli import main
from assay.serving.keys import Keyring, digest

ASKED = ["key", "new", "--tenant", "acme", "--scopes", "analyze", "--scopes", "jobs", "--policies", "strict"]


def test_it_prints_the_secret_once_and_the_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, "--rate", "50", "--id", "acme-2026", "--not-after", "2027-01-31"]) == 0
    told = capsys.readouterr()
    secret, entry = told.out.split("\n", 1)
    (key,) = Keyring.parse(f"keys:\n{entry}", "keys.yaml").keys
    assert digest(secret) == key.sha256
    assert (key.id, key.scopes, key.policies, key.rate) == ("acme-2026", ("analyze", "jobs"), ("strict",), 50.0)
    assert (told.out + told.err).count(secret) == 1


def test_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, "--json"]) == 0
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert told.err == ""
    assert digest(facts["secret"]) == facts["key"]["sha256"]
    assert Keyring.parse(f"keys:\n{facts['entry']}", "keys.yaml").keys[0].id == facts["key"]["id"]


@pytest.mark.parametrize(
    "flags", [["--scopes", "root"], ["--tenant", "../acme"], ["--burst", "3"], ["--rate", "0"], ["--id", ""]]
)
def test_what_makes_no_sense_exits_2(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "new", "--tenant", "acme", *flags]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert flags[0].removeprefix("--") in told.err
