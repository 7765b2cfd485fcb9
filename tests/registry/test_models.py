"""Registered models, versions and aliases: in a file and on a server alike."""

import time
import uuid

import pytest
from pydantic import ValidationError

from assay.platform.errors import RegistryError
from assay.registry.client import Client, MissingError
from assay.registry.models import KINDS, PAGE, Models, Version
from assay.registry.place import RegistrySpec
from assay.registry.runs import Runs


@pytest.fixture
def client(registry_spec: RegistrySpec) -> Client:
    return Client(registry_spec)


@pytest.fixture
def models(client: Client) -> Models:
    found = Models(client)
    found.establish("release", {"assay.kind": "release"}, "Releases")
    return found


def publish(client: Client, **tags: str) -> Version:
    """A version whose artifacts are those of a run that has none."""
    runs = Runs(client)
    run = runs.start_run("publish", {})
    return Models(client).publish("release", f"{runs.run_artifacts(run)}/release", run, tags, "about **it**")


def test_an_empty_registry_has_nothing(open_spec: RegistrySpec) -> None:
    models = Models(Client(open_spec))
    for kind in KINDS:
        assert models.model(kind) == f"{open_spec.name}-{kind}"
        assert models.version(kind, 1) is None
        assert models.versions(kind) == []
        assert models.pointed(kind) == {}
        assert models.model_tags(kind) == {}


def test_establishing_twice_changes_nothing(models: Models) -> None:
    models.establish("release", {"assay.kind": "another"}, "Others")
    assert models.model_tags("release") == {"assay.kind": "release"}


def test_a_version_says_what_it_was_registered_with(client: Client, models: Models) -> None:
    before = time.time()
    made = publish(client, **{"assay.digest": "ab" * 32, "assay.note": 'it\'s, "so" = 50% — ü'})
    assert made == models.version("release", 1)
    assert (made.kind, made.model, made.number) == ("release", models.model("release"), 1)
    assert made.uri == f"models:/{models.model('release')}/1"
    assert made.digest == "ab" * 32
    assert made.tags["assay.note"] == 'it\'s, "so" = 50% — ü'
    assert made.description == "about **it**"
    assert made.source.endswith(f"{made.run}/artifacts/release")
    assert before - 60 < made.created < time.time() + 60
    assert models.version("release", 2) is None
    assert publish(client).number == 2
    with pytest.raises(ValidationError):
        setattr(made, "number", 3)  # noqa: B010  # as somebody would who forgot that it is frozen


def test_versions_are_found_by_their_tags_oldest_first(client: Client, models: Models) -> None:
    digests = [uuid.uuid4().hex for _ in range(3)]
    for digest in [*digests, digests[0]]:
        publish(client, **{"assay.digest": digest, "assay.kind": "x"})
    assert [one.number for one in models.versions("release")] == [1, 2, 3, 4]
    assert [one.number for one in models.versions("release", {"assay.digest": digests[0]})] == [1, 4]
    assert [one.number for one in models.versions("release", {"assay.digest": digests[1], "assay.kind": "x"})] == [2]
    assert models.versions("release", {"assay.digest": digests[1], "assay.kind": "y"}) == []
    with pytest.raises(RegistryError, match="quote"):
        models.versions("release", {"assay.digest": "' or 1"})


def test_more_versions_than_a_page(client: Client, monkeypatch: pytest.MonkeyPatch, models: Models) -> None:
    assert PAGE > 3
    monkeypatch.setattr("assay.registry.models.PAGE", 3)
    for _ in range(7):
        publish(client)
    assert [one.number for one in models.versions("release")] == list(range(1, 8))


def test_an_alias_points_moves_and_goes(client: Client, models: Models) -> None:
    publish(client), publish(client)
    models.point("release", "champion", 1)
    models.point("release", "challenger", 2)
    assert models.pointed("release") == {"champion": 1, "challenger": 2}
    models.point("release", "champion", 2)
    version = models.version("release", 2)
    assert version
    assert version.aliases == ("challenger", "champion")
    models.point("release", "challenger", None)
    models.point("release", "challenger", None)
    assert models.pointed("release") == {"champion": 2}


def test_an_alias_to_nowhere_is_refused(client: Client, models: Models) -> None:
    publish(client)
    models.point("release", "champion", 1)
    with pytest.raises(MissingError, match="could not set alias 'champion'"):
        models.point("release", "champion", 9)
    assert models.pointed("release") == {"champion": 1}


def test_an_alias_of_a_version_deleted_by_hand(client: Client, models: Models) -> None:
    publish(client), publish(client)
    models.point("release", "champion", 2)
    client.mlflow.delete_model_version(models.model("release"), "2")
    assert models.version("release", 2) is None
    assert [one.number for one in models.versions("release")] == [1]
    assert models.pointed("release") == {}, "MLflow takes it away with the version"
    assert publish(client).number == 3, "a number is not given out again"


def test_descriptions_are_written_and_digests_never_change(client: Client, models: Models) -> None:
    made = publish(client, **{"assay.digest": "ab" * 32})
    models.describe_model("release", "champion: 1", {"assay.champion": "1"})
    assert models.model_tags("release") == {"assay.kind": "release", "assay.champion": "1"}
    models.tag_version(made, {"assay.state": "champion"})
    found = models.version("release", 1)
    assert found
    assert found.tags == {**made.tags, "assay.state": "champion"}
    with pytest.raises(AssertionError, match="never changes"):
        models.tag_version(made, {"assay.digest": "cd" * 32})


def test_a_version_needs_its_model(open_spec: RegistrySpec) -> None:
    client = Client(open_spec)
    models, runs = Models(client), Runs(client)
    run = runs.start_run("early", {})
    with pytest.raises(MissingError, match="could not register a version"):
        models.publish("encoder", runs.run_artifacts(run), run, {}, "")
    with pytest.raises(MissingError, match="could not set alias"):
        models.point("encoder", "champion", 1)
    assert models.pointed("encoder") == {}, "and none was made"


def test_environments_do_not_see_each_other(open_spec: RegistrySpec) -> None:
    Models(Client(open_spec)).establish("release", {}, "")
    publish(Client(open_spec))
    other = Models(Client(open_spec.model_copy(update={"name": f"other_{uuid.uuid4().hex[:8]}"})))
    assert other.versions("release") == []
    assert other.version("release", 1) is None
