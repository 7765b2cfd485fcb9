"""Many promote and roll back at once: one wins each time, the others are told, and MLflow says what the log says."""

from pathlib import Path

import pytest

from assay.registry.place import RegistrySpec
from tests.conftest import S3Server
from tests.promoters import look_at, race, registered

PROCESSES, VERSIONS = 8, 4
WORDS = {"promote", "rollback", "promote again", "told that another was first", "there is no earlier champion"}


def check_race(spec: RegistrySpec, tmp_path: Path, acts: int) -> None:
    assert registered(spec, tmp_path / "made", VERSIONS) == [1, 2, 3, 4]
    words = race(spec, processes=PROCESSES, acts=acts, versions=VERSIONS, folder=tmp_path / "race")
    print(dict(words))
    assert set(words) <= WORDS
    assert words.total() == PROCESSES * acts
    found = look_at(spec, tmp_path / "looked")
    assert len(found.numbers) == words["promote"] + words["rollback"], "one entry for each that was told it had won"
    assert found.numbers == list(range(1, len(found.numbers) + 1))
    assert found.alias == found.last
    assert f"**Champion: version {found.last} (" in found.description, "MLflow shows the last one"
    assert f"\n| {found.numbers[-1]} |" in found.description
    assert found.whole == {"encoder": VERSIONS, "library": VERSIONS, "release": VERSIONS}
    assert found.unended == 0
    assert words["told that another was first"] > 0, "they did meet"


def test_two_hundred_from_eight_processes(local: RegistrySpec, tmp_path: Path) -> None:
    check_race(local, tmp_path, 25)


@pytest.mark.parametrize("acts", [4, pytest.param(25, marks=[pytest.mark.nightly, pytest.mark.timeout(1200)])])
def test_against_a_server_with_the_log_in_a_bucket(
    remote: RegistrySpec, s3: S3Server, s3_place: str, tmp_path: Path, acts: int
) -> None:
    settings = {"log": f"{s3_place}/promotions-{acts}", "storage": s3.spec(), "retries": 3}
    check_race(remote.model_copy(update=settings), tmp_path, acts)
