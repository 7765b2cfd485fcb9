"""MLflow's border: who asks, what it refuses, and that no password is ever told."""

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from assay.platform.errors import CredentialsError, RegistryError
from assay.registry.client import Client, ExistsError, MissingError, quoted
from assay.registry.models import Models
from assay.registry.place import RegistrySpec
from assay.registry.runs import Runs
from infra.bench.mlflow_server import PASSWORD, MlflowServer
from infra.bench.object_store import free_port
from tests.fault_proxy import fault_proxy
from tests.registry.conftest import USER

WRONG = "open-sesame-please"


def with_password(spec: RegistrySpec, password: str) -> RegistrySpec:
    return spec.model_copy(update={"password": SecretStr(password)})


def use_all(spec: RegistrySpec, folder: Path) -> None:
    """Ask for something of every kind: experiments, runs, artifacts up and down, models."""
    client = Client(spec)
    models, runs = Models(client), Runs(client)
    run = runs.start_run("anything", {})
    folder.mkdir()
    (folder / "one.json").write_text("1")
    source = runs.upload(run, folder, "files")
    models.establish("release", {}, "text")
    models.publish("release", source, run, {}, "text")
    found = runs.fetch(source, folder / "back")
    assert (found / "one.json").read_text() == "1"
    runs.end_run(run)


def test_the_specs_user_asks_whatever_the_environment_says(
    remote: RegistrySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "nobody")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", WRONG)
    use_all(remote, tmp_path / "both")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", WRONG)
    use_all(remote.model_copy(update={"name": f"env_{uuid.uuid4().hex[:8]}"}), tmp_path / "token")


def test_the_environments_user_asks_when_the_spec_has_none(
    remote: RegistrySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    use_all(remote.model_copy(update={"username": None, "password": None}), tmp_path / "neither")
    half = remote.model_copy(update={"password": None, "name": f"env_{uuid.uuid4().hex[:8]}"})
    use_all(half, tmp_path / "half")


def test_nothing_is_printed_and_no_password_kept(
    remote: RegistrySpec, mlflow: MlflowServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    use_all(remote, tmp_path / "files")
    assert capfd.readouterr() == ("", "")
    kept = (mlflow.log.parent / "mlflow.db").read_bytes() + mlflow.log.read_bytes()
    assert PASSWORD.encode() not in kept


@pytest.mark.parametrize("signed", [True, False], ids=["wrong password", "no user at all"])
def test_a_stranger_is_refused_in_every_call(remote: RegistrySpec, tmp_path: Path, signed: bool) -> None:
    bare = remote.model_copy(update={"username": None, "password": None})
    client = Client(with_password(remote, WRONG) if signed else bare)
    models, runs = Models(client), Runs(client)
    asked: dict[str, Callable[[], object]] = {
        "version": lambda: models.version("release", 1),
        "versions": lambda: models.versions("release"),
        "pointed": lambda: models.pointed("release"),
        "establish": lambda: models.establish("release", {}, ""),
        "publish": lambda: models.publish("release", "mlflow-artifacts:/1/x", "", {}, ""),
        "point": lambda: models.point("release", "champion", 1),
        "experiment": lambda: runs.experiment,
        "end_run": lambda: runs.end_run("0" * 32),
        "fetch": lambda: runs.fetch("mlflow-artifacts:/1/x", tmp_path),
    }
    for name, ask in asked.items():
        with pytest.raises(CredentialsError, match="the registry refused to") as refused:
            ask()
        told = f"{refused.value} {refused.value!r}"
        assert WRONG not in told, name
        assert "MLFLOW_TRACKING_PASSWORD" in refused.value.fix
        assert refused.value.where == remote.uri


def test_a_password_that_ends_is_refused_from_then_on(mlflow: MlflowServer, remote: RegistrySpec) -> None:
    mlflow.add_user("leaver")
    spec = remote.model_copy(update={"username": "leaver"})
    runs = Runs(Client(spec))
    run = runs.start_run("begun", {})
    mlflow.change_password("leaver", "another-password")
    with pytest.raises(CredentialsError, match="refused to end a run"):
        runs.end_run(run)
    Runs(Client(with_password(spec, "another-password"))).end_run(run)


def test_models_of_others_are_not_seen_without_leave(mlflow: MlflowServer, remote: RegistrySpec) -> None:
    models = Models(Client(remote))
    models.establish("release", {}, "mine")
    mlflow.add_user("reader")
    other = Models(Client(remote.model_copy(update={"username": "reader"})))
    with pytest.raises(CredentialsError):
        other.pointed("release")
    mlflow.grant("reader", "registered_model", models.model("release"), "READ")
    assert other.pointed("release") == {}
    with pytest.raises(CredentialsError, match="refused to describe"):
        other.describe_model("release", "theirs", {})


def test_a_server_that_does_not_say_what_is_not_there(remote: RegistrySpec) -> None:
    """With default_permission = NO_PERMISSIONS, who may not see all is refused what is not there, too."""
    with pytest.raises(CredentialsError, match=r"refused to look for env_.*-release") as refused:
        Models(Client(remote)).pointed("release")
    assert "or make it first: the server refuses what is not there, too" in refused.value.fix


def test_no_server_is_told_within_seconds(tmp_path: Path) -> None:
    spec = RegistrySpec.model_validate(
        {"uri": f"http://127.0.0.1:{free_port()}", "username": USER, "password": WRONG, "retries": 1}
    )
    began = time.monotonic()
    with pytest.raises(RegistryError, match="could not look for assay-release") as told:
        Models(Client(spec)).version("release", 1)
    assert time.monotonic() - began < 10
    assert not isinstance(told.value, CredentialsError)
    assert "refused" in told.value.why, "the cause as the system calls it"
    assert "check that the server runs" in told.value.fix
    assert WRONG not in f"{told.value}"


def test_a_server_that_is_away_for_a_moment_is_asked_again(remote: RegistrySpec, mlflow: MlflowServer) -> None:
    with fault_proxy(mlflow.uri) as proxy:
        runs = Runs(Client(remote.model_copy(update={"uri": proxy.endpoint, "retries": 4})))
        run = runs.start_run("begun", {})
        proxy.go_away_for(1.0)
        runs.end_run(run)


def test_each_client_has_its_own_patience(mlflow: MlflowServer, remote: RegistrySpec) -> None:
    patient, hasty = (Client(remote.model_copy(update={"timeout_s": seconds})) for seconds in (600, 1))
    with fault_proxy(mlflow.uri) as proxy:
        proxy.before = lambda _k, _method, _path: time.sleep(2)
        slow = [Models(Client(one.spec.model_copy(update={"uri": proxy.endpoint}))) for one in (patient, hasty)]
        assert slow[0].versions("release") == []
        with pytest.raises(RegistryError, match="could not list versions") as told:
            slow[1].versions("release")
    assert "timed out" in told.value.why


def test_a_registrys_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database " * 1000)
    with pytest.raises(RegistryError, match="could not"):
        Models(Client(RegistrySpec(uri=f"sqlite:///{tmp_path}/mlflow.db"))).version("release", 1)


def test_a_folder_where_nothing_may_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="no file of a registry"):
        Models(Client(RegistrySpec(uri=f"sqlite:///{tmp_path}/file/mlflow.db"))).version("release", 1)


def test_nothing_is_ever_unpickled(local: RegistrySpec) -> None:
    assert Client(local).mlflow
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_refusals_have_kinds(local: RegistrySpec) -> None:
    client = Client(local)
    with pytest.raises(MissingError, match="could not try"), client.asking("try"):
        client.mlflow.get_registered_model("nobody")
    client.mlflow.create_registered_model("somebody")
    with pytest.raises(ExistsError, match="could not try"), client.asking("try"):
        client.mlflow.create_registered_model("somebody")


def test_a_quote_has_no_form_in_filters() -> None:
    assert quoted("a b/c:d") == "a b/c:d"
    with pytest.raises(RegistryError, match="quote"):
        quoted("it's")
