"""From a reference to a release: the log decides, digests are held, and without a server the cache is enough."""

import shutil
from pathlib import Path

import pytest

from assay.platform.errors import RegistryError, ReleaseError
from assay.platform.release import Release
from assay.registry.known import Known
from assay.registry.place import Place, RegistrySpec
from assay.registry.promotion import PromoteSpec, promote
from assay.registry.promotion_entry import Side
from assay.registry.registering import RegisterSpec, register
from assay.registry.registry import Registry
from assay.registry.resolving import resolve
from infra.bench.object_store import free_port

WAIVE = ("scorecard=t", "golden=t", "calibration=t", "diff=t")


@pytest.fixture
def spec(local: RegistrySpec, release_dir: Path) -> RegistrySpec:
    register(Release.load(release_dir), RegisterSpec(registry=local))
    return local


def test_a_path_asks_no_registry(release_dir: Path, tmp_path: Path) -> None:
    nowhere = RegistrySpec(uri=f"sqlite:///{tmp_path}/none/mlflow.db")
    found = resolve(str(release_dir), nowhere)
    assert found.origin is None
    assert resolve(None, nowhere).release.id.startswith("starter")
    assert not (tmp_path / "none").exists()


def test_a_version_and_an_alias(spec: RegistrySpec, release_dir: Path) -> None:
    by_number = resolve("models:/assay-release/1", spec)
    assert by_number.origin is not None
    assert by_number.release.digest == by_number.origin.digest == Release.load(release_dir).digest
    with pytest.raises(ReleaseError, match="no release is champion"):
        resolve("models:/assay-release@champion", spec)
    promote(PromoteSpec(release="1", waive=WAIVE, registry=spec))
    champion = resolve("models:/assay-release@champion", spec).origin
    assert champion is not None
    assert (champion.version, champion.alias, champion.entry) == (1, "champion", 1)


def test_an_alias_set_by_hand_does_not_decide(spec: RegistrySpec) -> None:
    Registry(spec).models.point("release", "champion", 1)
    with pytest.raises(ReleaseError, match="no release is champion") as told:
        resolve("models:/assay-release@champion", spec)
    assert "by hand" in told.value.fix


@pytest.mark.parametrize(
    "ref", ["models:/assay-release", "models:/x/1", "models:/assay-release@", "models:/assay-release/1/2", "models:/"]
)
def test_what_cannot_be_a_reference(spec: RegistrySpec, ref: str) -> None:
    with pytest.raises(ReleaseError, match="no release can be called"):
        resolve(ref, spec)
    with pytest.raises(ReleaseError, match="no release 'models:/assay-release/9'"):
        resolve("models:/assay-release/9", spec)


def test_without_the_registry_the_cache_is_enough(spec: RegistrySpec) -> None:
    promote(PromoteSpec(release="1", waive=WAIVE, registry=spec))
    origin = resolve("models:/assay-release/1", spec).origin
    assert origin is not None
    dead = spec.model_copy(update={"uri": f"http://127.0.0.1:{free_port()}", "retries": 0})
    side = Side(version=1, release="hash", digest=origin.digest)
    Known.of(Place.of(dead), "assay").remember(side=side, log=Registry(spec).log.uri)  # as when it answered
    told: list[str] = []
    champion = resolve("models:/assay-release@champion", dead, told.append)
    assert champion.origin is not None
    assert champion.origin.entry == 1
    assert resolve("models:/assay-release/1", dead, told.append).release.digest == champion.release.digest
    assert any("from the cache" in line for line in told)
    with pytest.raises(RegistryError):
        resolve("models:/assay-release/2", dead)
    shutil.rmtree((spec.cache or Path()) / "releases")
    with pytest.raises(RegistryError):
        resolve("models:/assay-release/1", dead)


def test_a_file_that_is_none_is_told_at_once(local: RegistrySpec) -> None:
    file = Path((local.uri or "").removeprefix("sqlite:///"))
    file.unlink()
    file.mkdir()
    with pytest.raises(RegistryError, match="no file"):
        resolve("models:/assay-release/1", local)


def test_a_damaged_cache_is_filled_again(spec: RegistrySpec) -> None:
    kept = resolve("models:/assay-release/1", spec).release.directory
    (kept / "library.yaml").unlink()
    (kept / "library.yaml").write_text("changed")
    again = resolve("models:/assay-release/1", spec).release
    assert Release.load(again.directory).digest == again.digest


def test_two_environments_on_one_server_are_two(spec: RegistrySpec, release_dir: Path) -> None:
    other = spec.model_copy(update={"name": "staging"})
    register(Release.load(release_dir), RegisterSpec(registry=other))
    promote(PromoteSpec(release="1", waive=WAIVE, registry=other))
    found = resolve("models:/staging-release@champion", spec).origin
    assert found is not None
    assert found.model == "staging-release"
    with pytest.raises(ReleaseError, match="no release is champion"):
        resolve("models:/assay-release@champion", spec)
