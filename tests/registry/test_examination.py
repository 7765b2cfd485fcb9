"""Doctor names what people, servers and killed processes left amiss, mends what it may, and tells what it could not."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from pydantic import SecretStr

from assay.platform.errors import AssayError, SpecError
from assay.platform.release import Release
from assay.registry.examination import Examined, ExamineSpec, examine
from assay.registry.finding import Finding
from assay.registry.place import RegistrySpec
from assay.registry.promotion import RollbackSpec, rollback
from assay.registry.registering import RegisterSpec, register
from assay.registry.registry import Registry
from assay.registry.resolving import resolve
from assay.registry.server_health import look_at_server
from tests.jobs.colour_releases import colour_release
from tests.small_registry import move, small_registry
from tests.webhook_receiver import nobody, receiver, serving


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three releases, all of them champion once; copied, never opened again."""
    folder = tmp_path_factory.mktemp("made") / "registry"
    folder.mkdir()
    small_registry(folder, 3, promoted=3)
    return folder


@pytest.fixture
def spec(made: Path) -> RegistrySpec:
    """A registry that a test may ruin. It knows where its files lie, and this process has it open: so it is ruined in
    its place, and what was kept of it is put back there before the next test."""
    kept = made.with_name("kept")
    if not kept.exists():
        shutil.copytree(made, kept)
    for folder in ("artifacts", "promotions", "cache"):
        shutil.rmtree(made / folder, ignore_errors=True)
        shutil.copytree(kept / folder, made / folder)
    with closing(sqlite3.connect(kept / "mlflow.db")) as old, closing(sqlite3.connect(made / "mlflow.db")) as new:
        old.backup(new)
    return RegistrySpec(uri=f"sqlite:///{made}/mlflow.db", cache=made / "cache")


def look(spec: RegistrySpec, **asked: object) -> Examined:
    return examine(ExamineSpec.model_validate({"registry": spec, **asked}))


def ill(facts: Examined) -> dict[str, Finding]:
    return {one.name: one for one in facts.ill}


def mended(facts: Examined) -> set[str]:
    return {one.name for one in facts.findings if one.mended}


def test_all_is_well(spec: RegistrySpec) -> None:
    facts = look(spec, deep=True)
    assert not facts.ill, facts.ill
    said = {one.name: one.said for one in facts.findings}
    assert said["log"] == f"3 entries in {Registry(spec).log.uri}, each follows the one before"
    assert said["releases"] == "3 releases, each with an encoder and a library"
    assert said["alias champion"].startswith("version 3 (colours-")
    assert said["alias challenger"] == "nobody"
    assert said["page in MLflow"] == "it shows entry 3"
    assert said["webhook"] == "nobody listens"
    assert {f"files of version {number}" for number in (1, 2, 3)} <= set(said)
    assert look(spec, mend=True).findings == tuple(one for one in facts.findings if "files" not in one.name)


def test_nothing_is_changed_without_being_asked(spec: RegistrySpec) -> None:
    registry = Registry(spec)
    registry.models.point("release", "champion", 1)
    before = registry.models.standing("release")
    assert set(ill(look(spec))) == {"alias champion"}
    assert registry.models.standing("release") == before


def test_an_empty_registry_is_well(empty_database: Path, tmp_path: Path) -> None:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    facts = look(RegistrySpec(uri=f"sqlite:///{tmp_path}/mlflow.db", cache=tmp_path / "cache"), mend=True, deep=True)
    assert not facts.ill, facts.ill
    assert not (tmp_path / "promotions").exists()


# What --mend mends.


def _move_alias(registry: Registry, _folder: Path) -> str:
    registry.models.point("release", "champion", 1)
    return "it was set by hand to version 1; the log says version 3"


def _take_alias(registry: Registry, _folder: Path) -> str:
    registry.models.point("release", "champion", None)
    return "it was set by hand to nothing; the log says version 3"


def _add_challenger(registry: Registry, _folder: Path) -> str:
    registry.models.point("release", "challenger", 2)
    return "it was set by hand to version 2; the log says nothing"


def _write_page(registry: Registry, _folder: Path) -> str:
    said = registry.models.standing("release").description
    registry.models.describe_model("release", said.replace("Champion: version 3", "Champion: version 1"), {})
    return "somebody wrote something else there"


def _tag_digest(registry: Registry, _folder: Path) -> str:
    version = registry.models.version("release", 2)
    assert version is not None
    registry.models.correct_version(version, {"assay.digest": "f" * 64})
    return f"digest {'f' * 12}; the log says {version.tags['assay.release']}, digest {version.digest[:12]}"


def _tag_id(registry: Registry, _folder: Path) -> str:
    version = registry.models.version("release", 2)
    assert version is not None
    registry.models.correct_version(version, {"assay.release": "other-111111111111"})
    return "its tags say other-111111111111"


def _tag_part(registry: Registry, _folder: Path) -> str:
    version = registry.models.version("release", 3)
    assert version is not None
    registry.models.correct_version(version, {"assay.library": "latest"})
    return "tag assay.library is 'latest'"


def _tag_other_encoder(registry: Registry, folder: Path) -> str:
    spec = RegisterSpec(registry=registry.spec)
    register(colour_release(folder / "other", red="red 9", dim=32), spec, registry)
    version = registry.models.version("release", 3)
    assert version is not None
    registry.models.correct_version(version, {"assay.encoder": "models:/assay-encoder/2"})
    return "the release was registered with"


def _delete_part(registry: Registry, _folder: Path) -> str:
    registry.models._client.mlflow.delete_model_version("assay-library", "3")
    return "models:/assay-library/3 was deleted from the registry"


def _borrow_part(registry: Registry, _folder: Path) -> str:
    version = registry.models.version("release", 1)
    assert version is not None
    registry.models.correct_version(version, {"assay.encoder": "models:/staging-encoder/1"})
    return "this environment's models are named assay-"


def _delete_run(registry: Registry, _folder: Path) -> str:
    version = registry.models.version("release", 1)
    assert version is not None
    registry.models._client.mlflow.delete_run(version.run)
    return "`mlflow gc` would remove them"


def _delete_experiment(registry: Registry, _folder: Path) -> str:
    registry.models._client.mlflow.delete_experiment(registry.runs.experiment)
    return "`mlflow gc` would remove"


def _die_registering(registry: Registry, _folder: Path) -> str:
    registry.runs.start_run("register x", {"assay.kind": "register"}, time.time() - 7200)
    return "began"


def _die_after_registering(registry: Registry, _folder: Path) -> str:
    version = registry.models.version("release", 2)
    assert version is not None
    registry.models._client.mlflow.update_run(version.run, "RUNNING")
    with closing(sqlite3.connect(registry.place.uri.removeprefix("sqlite:///"))) as database, database:
        database.execute("update runs set start_time = start_time - 7200000 where run_uuid = ?", [version.run])
    return "never ended"


def _die_promoting(registry: Registry, _folder: Path) -> str:
    for tag in ("assay.settled", "assay.settled_entry"):
        registry.models._client.mlflow.delete_registered_model_tag("assay-release", tag)
    return "MLflow follows the log up to entry 0; its last one is 3"


MENDED: dict[str, tuple[Callable[[Registry, Path], str], set[str]]] = {
    "moved alias": (_move_alias, {"alias champion"}),
    "taken alias": (_take_alias, {"alias champion"}),
    "added challenger": (_add_challenger, {"alias challenger"}),
    "page": (_write_page, {"page in MLflow"}),
    "digest": (_tag_digest, {"version 2"}),
    "id": (_tag_id, {"version 2"}),
    "part's tag": (_tag_part, {"parts of version 3"}),
    "another encoder's tag": (_tag_other_encoder, {"parts of version 3"}),
    "deleted part": (_delete_part, {"parts of version 3"}),
    "part of another registry": (_borrow_part, {"parts of version 1"}),
    "deleted run": (_delete_run, {"run"}),
    "deleted experiment": (_delete_experiment, {"experiment"}),
    "killed registering": (_die_registering, {"run"}),
    "killed after registering": (_die_after_registering, {"run"}),
    "killed promoting": (_die_promoting, {"page in MLflow"}),
}


@pytest.mark.parametrize("name", MENDED)
def test_it_is_named_and_mended(name: str, spec: RegistrySpec, tmp_path: Path) -> None:
    ruin, names = MENDED[name]
    said = ruin(Registry(spec), tmp_path)
    found = ill(look(spec))
    assert names <= {one.split()[0] if one.startswith("run ") else one for one in found}, found
    assert any(said in one.said for one in found.values()), found
    assert all(one.fix for one in found.values())
    after = look(spec, mend=True)
    assert not after.ill, after.ill
    assert mended(after) >= set(found)
    again = look(spec, deep=True)
    assert not again.ill, again.ill
    assert not mended(again)
    fresh = spec.model_copy(update={"cache": tmp_path / "fresh"})
    assert resolve("models:/assay-release@champion", fresh).origin is not None


def test_how_killed_runs_end(spec: RegistrySpec, tmp_path: Path) -> None:
    registry = Registry(spec)
    _die_registering(registry, tmp_path)
    _die_after_registering(registry, tmp_path)
    young = registry.runs.start_run("register y", {"assay.kind": "register"})
    stranger = registry.runs.start_run("somebody's own", {})
    look(spec, mend=True)
    client = registry.models._client.mlflow
    ended = {run.info.run_name: run.info.status for run in client.search_runs([registry.runs.experiment])}
    assert ended["register x"] == "KILLED"
    version = registry.models.version("release", 2)
    assert version is not None
    assert client.get_run(version.run).info.status == "FINISHED"
    assert {client.get_run(run).info.status for run in (young, stranger)} == {"RUNNING"}


# What only people can mend.


def _delete_champion(registry: Registry, _folder: Path) -> None:
    registry.models._client.mlflow.delete_model_version("assay-release", "3")


def _delete_former(registry: Registry, _folder: Path) -> None:
    registry.models._client.mlflow.delete_model_version("assay-release", "1")


def _lose_entry(_registry: Registry, folder: Path) -> None:
    (folder / "00000002.json").unlink()


def _lose_first(_registry: Registry, folder: Path) -> None:
    (folder / "00000001.json").unlink()


def _lose_last(_registry: Registry, folder: Path) -> None:
    (folder / "00000003.json").unlink()


def _edit_entry(number: int, old: str, new: str) -> Callable[[Registry, Path], None]:
    def edit(_registry: Registry, folder: Path) -> None:
        file = folder / f"{number:08d}.json"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return edit


def _garble(_registry: Registry, folder: Path) -> None:
    (folder / "00000002.json").write_text("{}")


LEFT: dict[str, tuple[Callable[[Registry, Path], None], dict[str, str]]] = {
    "deleted champion": (_delete_champion, {"version 3": "was deleted", "alias champion": "points nowhere"}),
    "deleted former champion": (_delete_former, {"version 1": "was deleted from the registry"}),
    "a gap": (_lose_entry, {"log": "an entry of the promotion log is gone"}),
    "no beginning": (_lose_first, {"log": "an entry of the promotion log is gone"}),
    "shorter": (_lose_last, {"log": "ends with entry 2; MLflow followed it up to entry 3"}),
    "changed": (_edit_entry(2, '"by": "', '"by": "not '), {"log": "follows"}),
    "last one changed": (_edit_entry(3, '"by": "', '"by": "not '), {"log": "its sha256 is another"}),
    "reformatted": (_edit_entry(2, "{\n", "{\n\n"), {"log": "was not written like this"}),
    "garbled": (_garble, {"log": "is not understood"}),
}


@pytest.mark.parametrize("name", LEFT)
def test_it_is_named_and_left_to_people(name: str, spec: RegistrySpec) -> None:
    registry = Registry(spec)
    ruin, said = LEFT[name]
    ruin(registry, Path(registry.log.uri))
    standing = registry.models.standing("release")
    facts = look(spec, mend=True)
    assert set(ill(facts)) == set(said)
    for finding, text in said.items():
        assert text in ill(facts)[finding].said
        assert ill(facts)[finding].fix
    assert not mended(facts)
    assert registry.models.standing("release") == standing


def test_what_follows_from_a_broken_log_is_not_set(spec: RegistrySpec) -> None:
    registry = Registry(spec)
    registry.models.point("release", "champion", 1)
    _lose_entry(registry, Path(registry.log.uri))
    assert set(ill(look(spec, mend=True))) == {"log"}
    assert registry.models.pointed("release") == {"champion": 1}


def test_a_deleted_champion_is_gone_back_from(spec: RegistrySpec) -> None:
    _delete_champion(Registry(spec), Path())
    assert rollback(RollbackSpec(registry=spec)).after.version == 2
    assert not look(spec).ill, "the log's last entry pins it no more"


def test_a_lost_part_that_nobody_keeps_is_registered_again_from_its_directory(spec: RegistrySpec, made: Path) -> None:
    _delete_part(Registry(spec), Path())
    shutil.rmtree(made / "cache")
    facts = look(spec, mend=True)
    assert set(ill(facts)) == {"parts of version 3"}
    assert "assay release register DIR" in ill(facts)["parts of version 3"].fix
    assert register(Release.load(made / "made-assay-3" / "release"), RegisterSpec(registry=spec)).number == 3
    assert not look(spec, deep=True).ill


def test_aliases_of_people_are_told_and_left(spec: RegistrySpec) -> None:
    registry = Registry(spec)
    registry.models.point("release", "favourite", 2)
    facts = look(spec, mend=True)
    assert not facts.ill
    (found,) = [one for one in facts.findings if one.name == "alias favourite"]
    assert found.said == "set by hand to version 2; it is not Assay's, and is left alone"
    assert registry.models.pointed("release")["favourite"] == 2


# Files.


def _source(registry: Registry, kind: str, number: int) -> Path:
    version = registry.models.version(kind, number)  # type: ignore[arg-type]  # one of three words
    assert version is not None
    return Path(version.source.removeprefix("file://"))


FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "changed": ("library", lambda one: (one / "library.yaml").write_text("changed"), "library.yaml was changed"),
    "gone": ("library", lambda one: (one / "library.yaml").unlink(), "library.yaml is missing"),
    "planted": ("release", lambda one: (one / "model.pkl").write_bytes(b"x"), "model.pkl is not listed"),
    "planted in a part": ("library", lambda one: (one / "x.pkl").write_bytes(b"x"), "x.pkl is not listed"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_not_what_was_registered(name: str, spec: RegistrySpec) -> None:
    kind, ruin, said = FILES[name]
    ruin(_source(Registry(spec), kind, 2))
    assert not look(spec).ill, "what is cheap does not fetch"
    facts = look(spec, deep=True, mend=True)
    assert set(ill(facts)) == {"files of version 2"}
    assert said in ill(facts)["files of version 2"].said


def test_another_release_in_the_place_of_the_promoted_one(spec: RegistrySpec, tmp_path: Path) -> None:
    """Its files and its tags agree with each other; only the log knows better."""
    registry = Registry(spec)
    other = register(colour_release(tmp_path / "other", red="red 9"), RegisterSpec(registry=spec))
    shutil.rmtree(_source(registry, "release", 2))
    shutil.copytree(_source(registry, "release", other.number), _source(registry, "release", 2))
    version = registry.models.version("release", 2)
    assert version is not None
    registry.models.correct_version(
        version, {tag: other.tags[tag] for tag in ("assay.digest", "assay.release", "assay.library")}
    )
    facts = look(spec, deep=True)
    assert set(ill(facts)) == {"version 2", "files of version 2"}
    assert "they are another release, colours-" in ill(facts)["files of version 2"].said


# The webhook.


def test_what_was_not_delivered_is_delivered(spec: RegistrySpec) -> None:
    move(spec, 1, webhook=nobody())
    move(spec, 2)
    assert "2 entries were not delivered: 4, 5" in ill(look(spec))["webhook"].said
    without = look(spec, mend=True)
    assert "--webhook.url" in ill(without)["webhook"].fix
    away = look(spec, mend=True, webhook=nobody())
    assert "2 entries" in ill(away)["webhook"].said
    with receiver() as known:
        known.answers = [204, 500]
        half = look(spec, mend=True, webhook=known.spec())
        assert "1 entries were not delivered: 5" in ill(half)["webhook"].said
        assert not look(spec, mend=True, webhook=known.spec()).ill
    assert known.entries() == [4, 5, 5]
    assert not look(spec).ill


def test_a_webhook_without_a_secret_is_refused(spec: RegistrySpec) -> None:
    with pytest.raises(SpecError, match="a webhook needs a secret"):
        look(spec, webhook={"url": "https://example.org/"})


# The server.


def test_a_registry_that_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AssayError) as told:
        look(RegistrySpec(uri=f"sqlite:///{tmp_path}/file/mlflow.db", cache=tmp_path / "cache"))
    assert told.value.exit_code == 5


def test_a_server_that_asks_for_passwords_is_well(remote: RegistrySpec, tmp_path: Path) -> None:
    register(colour_release(tmp_path / "release"), RegisterSpec(registry=remote))
    move(remote, 1)
    facts = look(remote, deep=True)
    assert not facts.ill, facts.ill
    said = {one.name: one.said for one in facts.findings}
    assert said["registry"] == f"{remote.uri}: MLflow 3.17.2"
    assert said["passwords"] == "it asks for a user and password"
    assert "not-a-secret" not in facts.model_dump_json()


@pytest.mark.parametrize(("version", "status", "said"), [("3.16.1\n", 401, "registry"), ("3.17.2", 200, "passwords")])
def test_a_server_that_is_old_or_open_is_told(version: str, status: int, said: str, tmp_path: Path) -> None:
    with old_server(version, status) as uri:
        spec = RegistrySpec(uri=uri, username="promoter", password=SecretStr("not-a-secret-4711"))
        found = {one.name: one for one in look_at_server(Registry(spec))}
    assert {one.name for one in found.values() if one.ill} == {said}
    assert found[said].fix
    assert found["registry"].said == f"{uri}: MLflow {version.strip()}"


@contextmanager
def old_server(version: str, status: int) -> Iterator[str]:
    """What of a server look_at_server asks: its version, and whether it answers who has no password."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stranger = "authorization" not in self.headers
            body = version.encode() if self.path == "/version" else b"{}"
            self.send_response(status if stranger else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_said: object) -> None: ...

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def test_json_holds_what_was_found(spec: RegistrySpec) -> None:
    Registry(spec).models.point("release", "champion", 1)
    told = json.loads(look(spec, mend=True).model_dump_json())
    (found,) = [one for one in told["findings"] if one["name"] == "alias champion"]
    assert set(found) == {"name", "well", "said", "fix", "mended"}
    assert (found["well"], found["mended"]) == (False, True)
