"""Many promote and roll back at once: one wins each time, the others are told, and MLflow says what the log says."""

from collections import Counter
from pathlib import Path

import pytest

from assay.registry.place import RegistrySpec
from tests.conftest import S3Server
from tests.promoters import look_at, race, registered

PROCESSES, ACTS, VERSIONS = 8, 25, 4
WORDS = {"promote", "rollback", "promote again", "told that another was first", "there is no earlier champion"}


def check(spec: RegistrySpec, tmp_path: Path, words: Counter[str]) -> None:
    print(dict(words))
    assert set(words) <= WORDS
    assert words.total() == PROCESSES * ACTS
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
    assert registered(local, tmp_path / "made", VERSIONS) == [1, 2, 3, 4]
    words = race(local, processes=PROCESSES, acts=ACTS, versions=VERSIONS, folder=tmp_path / "race")
    check(local, tmp_path, words)


@pytest.mark.timeout(300)
def test_two_hundred_against_a_server_with_the_log_in_a_bucket(
    remote: RegistrySpec, s3: S3Server, s3_place: str, tmp_path: Path
) -> None:
    spec = remote.model_copy(update={"log": f"{s3_place}/promotions", "storage": s3.spec(), "retries": 3})
    assert registered(spec, tmp_path / "made", VERSIONS) == [1, 2, 3, 4]
    check(spec, tmp_path, race(spec, processes=PROCESSES, acts=ACTS, versions=VERSIONS, folder=tmp_path / "race"))
