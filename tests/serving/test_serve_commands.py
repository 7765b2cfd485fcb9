"""`assay serve` before anything starts: where its settings come from, and what it refuses."""

import socket
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from assay.jobs.cli import main
from assay.platform.errors import SpecError
from assay.serving.serve_args import ServeArgs
from assay.serving.serve_commands import _INSIDE, ServeSpec, _variables
from assay.serving.watcher import Watcher
from tests.service_double import new_key

KUBERAY = Path(__file__).parents[2] / "infra" / "kuberay" / "rayservice.yaml"


class Started(Exception):
    """It would start now."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[ServeArgs]:
    """What it would serve."""
    found: list[ServeArgs] = []

    def start(args: ServeArgs) -> Watcher:
        found.append(args)
        raise Started

    monkeypatch.setattr(Watcher, "start", start)
    return found


def test_one_file_is_for_serve_kuberay_and_us(seen: list[ServeArgs], tmp_path: Path) -> None:
    document = yaml.safe_load(KUBERAY.read_text())["spec"]
    text = document["serveConfigV2"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(text))
    (tmp_path / "serve.yaml").write_text(text)
    with pytest.raises(Started):
        main(["serve", "--config", str(tmp_path / "serve.yaml"), "--replicas.most", "3"])
    args = ServeArgs.model_validate(config.applications[0].args)
    assert seen[0] == args.model_copy(update={"replicas": args.replicas.model_copy(update={"most": 3})})
    assert config.applications[0].import_path == "assay.serving.app:app"


def test_kuberays_nodes_have_the_variables_that_we_set() -> None:
    cluster = yaml.safe_load(KUBERAY.read_text())["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    ours = _variables(ServeSpec())
    apart = {"RAY_SERVE_HAPROXY_BINARY_PATH", "RAY_SERVE_HAPROXY_NBTHREAD", *_INSIDE}  # each pod has ports of its own
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        told = {one["name"]: one["value"] for one in container["env"]}
        assert {name: told.get(name) for name in ours if name not in apart} == {
            name: value for name, value in ours.items() if name not in apart
        }
        assert told["RAY_SERVE_HAPROXY_BINARY_PATH"].endswith("assay-front")


def test_a_file_of_another_application_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "serve.yaml").write_text("applications: [{name: a, import_path: 'b:c'}]")
    assert main(["serve", "--config", str(tmp_path / "serve.yaml")]) == 2
    assert "assay.serving.app:app" in capsys.readouterr().err


def test_what_is_printed_is_what_is_served(
    seen: list[ServeArgs], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--keyring",
        "s3://b/keys.yaml",
        "--replicas.most",
        "3",
        "--remote.buckets",
        "s3://bucket/x",
        "--batch.views",
        "32",
    ]
    assert main(["serve", "--print-config", "--port", "8001", *flags]) == 0
    (tmp_path / "serve.yaml").write_text(text := capsys.readouterr().out)
    config = ServeDeploySchema.model_validate(yaml.safe_load(text))
    assert config.http_options.port == 8001
    for asked in (["--config", str(tmp_path / "serve.yaml")], flags):
        with pytest.raises(Started):
            main(["serve", *asked])
    assert seen[0] == seen[1] == ServeArgs.model_validate(config.applications[0].args)


def test_no_secret_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    secret = ["--keyring", "keys.yaml", "--registry.password", "canary-4711"]
    assert main(["serve", "--print-config", *secret]) == 2
    assert "canary" not in "".join(capsys.readouterr())
    assert main(["serve", "--print-config"]) == 2  # nobody may ask it


def test_a_port_that_is_taken_is_told_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--release", "nowhere"], "no release 'nowhere'"),
        (["--release", "models:/assay-release@champion"], "no release is champion"),
        (["--keyring", "none.yaml"], "keyring is not there"),
        (["--replicas.least", "3", "--replicas.most", "2"], "above most"),
        (["--batch.views", "0"], "views"),
    ],
)
def test_what_cannot_be_served_starts_nothing(
    flags: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["serve", *flags]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_a_service_without_keys_is_none() -> None:
    with pytest.raises(SpecError, match="nobody may ask"):
        ServeArgs().refuse_locked()
    ServeArgs(keys=(new_key()[1],)).refuse_locked()
    ServeArgs(keyring="keys.yaml").refuse_locked()
