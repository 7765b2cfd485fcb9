"""What tests of the registry share: one that needs no server, one on a server, and a release that has another one."""

import os
import shutil
import uuid
from pathlib import Path

import pytest

from assay.registry.client import Client
from assay.registry.models import Models
from assay.registry.place import RegistrySpec
from infra.bench.mlflow_server import ADMIN, PASSWORD, MlflowServer

USER = "promoter"


@pytest.fixture(autouse=True)
def _nothing_said_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's own MLflow variables say."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's file with its tables, which take two seconds to make; copied, never opened again."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    assert Models(Client(RegistrySpec(uri=f"sqlite:///{file}"))).pointed("release") == {}
    return file


@pytest.fixture
def local(empty_database: Path, tmp_path: Path) -> RegistrySpec:
    """A registry that needs no server."""
    folder = tmp_path / "registry"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return RegistrySpec(uri=f"sqlite:///{folder}/mlflow.db", cache=tmp_path / "cache", retries=0)


@pytest.fixture(scope="session")
def promoter(mlflow: MlflowServer) -> MlflowServer:
    """The server, with a user who is no admin."""
    mlflow.add_user(USER)
    return mlflow


@pytest.fixture
def remote(promoter: MlflowServer, tmp_path: Path) -> RegistrySpec:
    """A registry on a server, an environment of its own, asked as a user who is no admin."""
    settings: dict[str, object] = {"uri": promoter.uri, "username": USER, "password": PASSWORD, "retries": 0}
    settings |= {"name": f"env_{uuid.uuid4().hex[:8]}", "log": str(tmp_path / "promotions")}
    return RegistrySpec.model_validate({**settings, "cache": tmp_path / "cache"})


@pytest.fixture(params=["local", "remote"])
def registry_spec(request: pytest.FixtureRequest) -> RegistrySpec:
    """Both, one after the other."""
    spec = request.getfixturevalue(request.param)
    assert isinstance(spec, RegistrySpec)
    return spec


@pytest.fixture
def open_remote(remote: RegistrySpec) -> RegistrySpec:
    """The same asked as its admin: others are not told what is not there."""
    return remote.model_copy(update={"username": ADMIN})


@pytest.fixture(params=["local", "open_remote"])
def open_spec(request: pytest.FixtureRequest) -> RegistrySpec:
    """Both, asked by who may see all."""
    spec = request.getfixturevalue(request.param)
    assert isinstance(spec, RegistrySpec)
    return spec
