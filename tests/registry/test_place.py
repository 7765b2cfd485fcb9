"""Where a registry is: what may be said of it, and what follows."""

from pathlib import Path

import pytest

from assay.platform.errors import SpecError
from assay.registry.place import Place, RegistrySpec, is_named


def test_without_a_word_it_is_a_file_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    place = Place.of(RegistrySpec())
    assert place.folder == tmp_path / "assay-registry"
    assert place.uri == place.signed_uri == f"sqlite:///{tmp_path}/assay-registry/mlflow.db"
    assert place.is_local
    assert place.cache == tmp_path / "caches" / "assay" / "registry"
    assert not is_named(RegistrySpec())
    assert list(tmp_path.iterdir()) == [], "nothing is made before it is used"


def test_the_spec_before_the_registrys_variable_before_the_trackings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.test")
    assert Place.of(RegistrySpec()).uri == "https://tracking.test"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "https://registry.test/")
    assert Place.of(RegistrySpec()).uri == "https://registry.test"
    assert Place.of(RegistrySpec(uri="http://spec.test:8080/mlflow/")).uri == "http://spec.test:8080/mlflow"
    assert is_named(RegistrySpec())


@pytest.mark.parametrize("uri", ["sqlite:////srv/registry/mlflow.db", "sqlite:///srv/registry/mlflow.db"])
def test_a_file_is_beside_its_log_and_artifacts(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("/srv/registry") if uri.startswith("sqlite:////") else tmp_path / "srv" / "registry"
    assert Place.of(RegistrySpec(uri=uri)).folder == folder
    assert Place.of(RegistrySpec(uri=uri)).uri == f"sqlite:///{folder}/mlflow.db"


@pytest.mark.parametrize(
    "uri",
    ["mlruns", "file:///tmp/mlruns", "databricks", "postgresql://u:sesame@db/mlflow", "http:///nowhere", "s3://b/x"],
)
def test_what_is_no_registry_is_refused(uri: str) -> None:
    with pytest.raises(SpecError, match="no registry can be at this address") as refused:
        Place.of(RegistrySpec(uri=uri))
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("user", ["alice:sesame", "alice", ":sesame"])
def test_an_address_with_a_user_is_refused_and_no_password_told(user: str) -> None:
    with pytest.raises(SpecError, match="a user stands in the registry's address") as refused:
        Place.of(RegistrySpec(uri=f"https://{user}@registry.test"))
    assert "sesame" not in str(refused.value)


def test_the_specs_user_is_told_to_mlflow_alone() -> None:
    spec = RegistrySpec.model_validate({"uri": "https://registry.test:5000/x", "username": "a@b", "password": "p/:@%"})
    place = Place.of(spec)
    assert place.signed_uri == "https://a%40b:p%2F%3A%40%25@registry.test:5000/x"
    assert place.uri == "https://registry.test:5000/x"
    assert "p/:@%" not in repr(spec)
    assert "p/:@%" not in spec.model_dump_json()


def test_half_of_a_sign_in_takes_the_other_half_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "sesame")
    uri = "https://registry.test"
    assert Place.of(RegistrySpec(uri=uri)).signed_uri == uri, "MLflow reads both by itself"
    assert Place.of(RegistrySpec(uri=uri, username="alice")).signed_uri == "https://alice:sesame@registry.test"
    found = Place.of(RegistrySpec.model_validate({"uri": uri, "password": "other"})).signed_uri
    assert found == "https://bob:other@registry.test"


@pytest.mark.parametrize(
    ("artifacts", "ours"),
    [
        ("mlflow-artifacts:/1/ab/artifacts/release", True),
        ("mlflow-artifacts://registry.test:5000/1/ab/artifacts", True),
        ("mlflow-artifacts://evil.test/1/ab/artifacts", False),
        ("https://registry.test:5000/api/2.0/mlflow-artifacts/artifacts/1", True),
        ("https://registry.test/api/2.0/mlflow-artifacts/artifacts/1", False),
        ("https://registry.test:5000@evil.test/1", False),
        ("s3://bucket/1/ab/artifacts", True),
        ("file:///etc", False),
        ("/etc", False),
        ("runs:/ab/release", False),
        ("ftp://registry.test:5000/1", False),
    ],
)
def test_artifacts_of_a_server(artifacts: str, ours: bool) -> None:
    assert Place.of(RegistrySpec(uri="https://registry.test:5000")).may_hold(artifacts) is ours


def test_artifacts_of_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    place = Place.of(RegistrySpec(uri=f"sqlite:///{folder}/mlflow.db"))
    assert place.may_hold((folder / "artifacts" / "1").as_uri())
    assert not place.may_hold(f"file://{folder}/artifacts/../mlflow.db")
    assert not place.may_hold((tmp_path / "artifacts").as_uri())
    assert not place.may_hold("s3://bucket/1")
    assert not place.may_hold("mlflow-artifacts:/1")
