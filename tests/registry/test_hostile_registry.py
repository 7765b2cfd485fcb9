"""A registry that somebody tampered with: nothing of it runs, nothing of it is kept, and nothing is promoted."""

import os
import pickle
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from assay.platform.calibration import Calibration
from assay.platform.encoder import encoder_digest
from assay.platform.errors import RegistryError, ReleaseError
from assay.platform.promise import OperatingPoints
from assay.platform.release import Release
from assay.platform.release_build import add_measured
from assay.platform.release_manifest import Pinned, PinnedFile, ReleaseManifest
from assay.registry.client import Client
from assay.registry.fetching import fetch_release
from assay.registry.models import Kind, Version
from assay.registry.place import RegistrySpec
from assay.registry.registering import RegisterSpec, register
from assay.registry.registry import Registry
from assay.registry.resolving import resolve
from tests.conftest import S3Server
from tests.jobs.colour_releases import colour_release
from tests.promoters import waived_promotion

SLOTS = {
    "release.json": "release",
    "vectors.safetensors": "release",
    "policies/plain.yaml": "release",
    "calibration.json": "release",
    "operating_points.json": "release",
    "library.yaml": "library",
    "encoder.json": "encoder",
}
"""Every file of a registered release, and the part whose artifact it is in."""


class Payload:
    """What a planted pickle does when anybody loads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release with a file in every slot."""
    folder = tmp_path_factory.mktemp("made")
    release = colour_release(folder)
    return add_measured(release, folder / "measured", Calibration(), OperatingPoints())


class Tampering:
    """A registry with one release, and somebody who may write where its artifacts lie."""

    def __init__(self, spec: RegistrySpec, release: Release, tmp_path: Path, s3: S3Server | None) -> None:
        self.spec, self.release, self.folder, self.s3 = spec, release, tmp_path, s3
        self.registry = Registry(spec)
        self.version = register(release, RegisterSpec(registry=spec))
        self.mark = tmp_path / "executed"

    def part(self, kind: str) -> Version:
        """The registered version that a slot is in."""
        found = next(iter(self.registry.models.versions(_kind(kind))))
        assert found
        return found

    def write(self, kind: str, name: str, data: bytes | None) -> None:
        """Write an artifact, or remove it."""
        if self.s3 is None:
            file = Path(self.part(kind).source.removeprefix("file://")) / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data) if data is not None else file.unlink()
            return
        place = self.part(kind).source.removeprefix("mlflow-artifacts:/")
        uri = f"s3://shared/mlflow-artifacts/{place}/{name}"
        self.s3.put(uri, data) if data is not None else self.s3.storage.remove(uri)

    def pickled(self) -> bytes:
        return pickle.dumps(Payload(self.mark))

    def check_refused(self) -> RegistryError:
        """Neither had nor promoted, by anybody who has nothing yet."""
        shutil.rmtree(self.registry.place.cache, ignore_errors=True)
        with pytest.raises(RegistryError) as refused:
            fetch_release(self.registry, self.version)
        with pytest.raises(RegistryError):
            waived_promotion(self.spec, self.version.number)
        with pytest.raises(RegistryError):
            resolve(self.version.uri, self.spec)
        assert not self.mark.exists(), "a pickle was loaded"
        assert self.registry.log.numbers() == []
        assert self.registry.models.pointed("release") == {}
        assert not list((self.registry.place.cache / "releases").glob("*"))
        return refused.value


def _kind(name: str) -> Kind:
    assert name in {"encoder", "library", "release"}
    return name  # type: ignore[return-value]  # as was just seen


@pytest.fixture
def tampering(local: RegistrySpec, made: Release, tmp_path: Path) -> Tampering:
    return Tampering(local, made, tmp_path, None)


@pytest.mark.parametrize("how", ["pickled", "flipped", "removed"])
def test_a_file_that_is_not_what_was_registered(tampering: Tampering, how: str) -> None:
    for slot, kind in SLOTS.items():
        inside = f"encoder/{slot}" if kind == "encoder" else slot
        whole = (tampering.release.directory / inside).read_bytes()
        place = len(whole) // 2
        flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        tampering.write(kind, slot, {"pickled": tampering.pickled(), "flipped": flipped, "removed": None}[how])
        told = tampering.check_refused()
        assert told.what == "what the registry holds is not what was registered" or how == "removed", slot
        tampering.write(kind, slot, whole)
    assert fetch_release(tampering.registry, tampering.version).digest == tampering.release.digest


def test_a_file_that_nobody_listed(tampering: Tampering) -> None:
    for kind in ("encoder", "library", "release"):
        for name in ("python_model.pkl", "open_clip_pytorch_model.bin", "deeper/__init__.py"):
            tampering.write(kind, name, tampering.pickled())
            assert f"{name} is not listed" in tampering.check_refused().why, kind
            tampering.write(kind, name, None)


def test_pickles_behind_a_server(remote: RegistrySpec, made: Release, tmp_path: Path, s3: S3Server) -> None:
    tampering = Tampering(remote, made, tmp_path, s3)
    for slot, kind in SLOTS.items():
        tampering.write(kind, slot, tampering.pickled())
    assert "was registered" in tampering.check_refused().what


class Forger:
    """Somebody who may register, and says of a version whatever serves."""

    def __init__(self, tampering: Tampering) -> None:
        self.tampering = tampering
        self.registry = tampering.registry
        self.folder = tampering.folder / "forged"

    def forge(self, manifest: ReleaseManifest, files: dict[str, bytes], parts: dict[str, bytes]) -> Version:
        """A version whose digests all fit: of a manifest, the files that it lies with, and both parts."""
        manifest = ReleaseManifest.model_validate(manifest.model_dump())  # a copy keeps its original's digest
        (self.folder / "release").mkdir(parents=True)
        for name, data in files.items():
            (self.folder / "release" / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / "release" / name).write_bytes(data)
        manifest.write(self.folder / "release")
        run = self.registry.runs.start_run("forge", {})
        tags = {"assay.digest": manifest.digest, "assay.release": f"{manifest.name}-{manifest.digest[:12]}"}
        for kind, name in (("encoder", "encoder.json"), ("library", "library.yaml")):
            (self.folder / kind).mkdir()
            (self.folder / kind / name).write_bytes(parts[kind])
            source = self.registry.runs.upload(run, self.folder / kind, kind)
            digest = encoder_digest({name: PinnedFile.of(self.folder / kind, name).sha256})
            tags[f"assay.{kind}"] = self.registry.models.publish(
                _kind(kind), source, run, {"assay.digest": digest}, ""
            ).uri
        source = self.registry.runs.upload(run, self.folder / "release", "release")
        return self.registry.models.publish("release", source, run, tags, "")


def forged(tampering: Tampering, **paths: str) -> Version:
    """A release in which the library, or the encoder, lies at another path."""
    release, manifest = tampering.release, tampering.release.manifest
    library, encoder = paths.get("library", "library.yaml"), paths.get("encoder", "encoder")
    moved = {"library.yaml": library, "encoder/encoder.json": f"{encoder}/encoder.json"}
    listed = tuple(file.model_copy(update={"path": moved.get(file.path, file.path)}) for file in manifest.files)
    update = {
        "files": listed,
        "library": Pinned(path=library, digest=manifest.library.digest),
        "encoder": manifest.encoder.model_copy(update={"path": encoder}),
    }
    rest = {file.path for file in manifest.files} - set(moved)
    files = {name: (release.directory / name).read_bytes() for name in rest}
    parts = {
        "library": (release.directory / "library.yaml").read_bytes(),
        "encoder": (release.directory / "encoder" / "encoder.json").read_bytes(),
    }
    return Forger(tampering).forge(manifest.model_copy(update=update), files, parts)


def test_what_is_forged_without_harm_is_a_release(tampering: Tampering) -> None:
    version = forged(tampering, library="library-2.yaml", encoder="encoder-2")
    assert fetch_release(tampering.registry, version).library().name == "colours"


@pytest.mark.parametrize(
    "paths",
    [
        {"library": "../../../escaped.yaml"},
        {"encoder": "../../../escaped"},
        {"library": "ABSOLUTE/escaped.yaml"},
        {"encoder": "policies/../../../../escaped"},
    ],
)
def test_no_file_is_written_outside(tampering: Tampering, paths: dict[str, str]) -> None:
    """Who may register could write into the home of whoever fetches: a module, a key, a start-up file."""
    away = tampering.folder / "away"
    away.mkdir()
    version = forged(tampering, **{kind: path.replace("ABSOLUTE", str(away)) for kind, path in paths.items()})
    before = set(tampering.folder.rglob("*escaped*"))
    with pytest.raises(RegistryError, match="not what was registered") as refused:
        fetch_release(tampering.registry, version)
    assert set(tampering.folder.rglob("*escaped*")) == before
    assert "outside" in refused.value.why


@pytest.mark.parametrize("slot", ["vectors.safetensors", "policies/plain.yaml", "calibration.json", "library.yaml"])
def test_a_pickle_that_is_listed_is_no_part_either(tampering: Tampering, slot: str) -> None:
    """All digests fit: it was registered like this."""
    release, data = tampering.release, tampering.pickled()
    directory = tampering.folder / "own"
    for file in release.manifest.files:
        (directory / file.path).parent.mkdir(parents=True, exist_ok=True)
        (directory / file.path).write_bytes((release.directory / file.path).read_bytes())
    (directory / slot).write_bytes(data)
    listed = tuple(PinnedFile.of(directory, file.path) for file in release.manifest.files)
    manifest = release.manifest.model_copy(update={"files": listed})
    rest = {file.path for file in listed} - {"library.yaml", "encoder/encoder.json"}
    parts = {kind: (directory / name).read_bytes() for kind, name in _PARTS.items()}
    files = {name: (directory / name).read_bytes() for name in rest}
    version = Forger(tampering).forge(manifest, files, parts)
    with pytest.raises(RegistryError, match="not what was registered"):
        fetch_release(tampering.registry, version)
    assert not tampering.mark.exists()


_PARTS = {"library": "library.yaml", "encoder": "encoder/encoder.json"}


def correct(tampering: Tampering, kind: str, **tags: str) -> None:
    """Change tags as somebody does in the UI."""
    version, client = tampering.part(kind), Client(tampering.spec).mlflow
    for key, value in tags.items():
        client.set_model_version_tag(version.model, str(version.number), f"assay.{key}", value)


def test_a_digest_that_is_a_path_deletes_nothing(tampering: Tampering) -> None:
    mine = tampering.folder / "my own release, half done"
    mine.mkdir()
    (mine / "release.json").write_text("{}")
    for named in (str(mine), f"../../../{mine.name}"):
        correct(tampering, "release", digest=named)
        version = tampering.part("release")
        with pytest.raises(RegistryError, match="not what was registered"):
            fetch_release(tampering.registry, version)
        assert (mine / "release.json").exists()


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"digest": "0" * 64}, "not what was registered"),
        ({"digest": ""}, "not what was registered"),
        ({"release": "better-000000000000"}, "not what was registered"),
        ({"encoder": "models:/other-encoder/1"}, "a part of the release is of another registry"),
        ({"encoder": "models:/assay-encoder/9"}, "the release's encoder is gone"),
        ({"library": "models:/assay-encoder/1"}, "the release does not say which library it has"),
        ({"library": "models:/assay-library/../1"}, "the release does not say which library it has"),
    ],
)
def test_tags_changed_by_hand(tampering: Tampering, tags: dict[str, str], told: str) -> None:
    correct(tampering, "release", **tags)
    tampering.version = tampering.part("release")
    assert told in tampering.check_refused().what


def test_what_changed_after_it_was_loaded_is_not_registered(local: RegistrySpec, tmp_path: Path) -> None:
    release = colour_release(tmp_path / "made")
    (release.directory / "policies" / "plain.yaml").write_text("assay_policy: 1\nname: plain\nlabels: {}\n")
    with pytest.raises(ReleaseError, match="not the file this release was built with") as refused:
        register(release, RegisterSpec(registry=local))
    assert refused.value.where == str(release.directory / "policies" / "plain.yaml")
    assert Registry(local).models.versions("release") == []


def test_a_cache_that_keeps_nothing(tampering: Tampering) -> None:
    tampering.registry.place.cache.write_text("a file where the folder should be")
    with pytest.raises(RegistryError, match="a release cannot be kept on this machine"):
        fetch_release(tampering.registry, tampering.version)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server of somebody else's, and what it was told."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.path} {self.headers}")
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", heard
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("scheme", ["http", "mlflow-artifacts", "ftp", "file"])
@pytest.mark.parametrize("where", ["local", "remote"])
def test_artifacts_are_fetched_from_nowhere_else(
    request: pytest.FixtureRequest,
    scheme: str,
    where: str,
    listener: tuple[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MLflow would bring the user's password to whatever host a version names, and files of the machine itself."""
    host, heard = listener
    spec: RegistrySpec = request.getfixturevalue(where)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "promoter")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "sesame-sesame")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "release.json").write_text("{}")
    source = f"file://{tmp_path}/private" if scheme == "file" else f"{scheme}://{host}/1/x/artifacts/release"
    with pytest.raises(RegistryError, match="a registry names artifacts of another place"):
        Registry(spec).runs.fetch(source, tmp_path / "got")
    assert heard == []
    assert not (tmp_path / "got").exists() or not list((tmp_path / "got").rglob("*.json"))
