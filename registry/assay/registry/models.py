"""Registered models, their versions and aliases.

Knows what MLflow keeps of them. Does not know what is in an artifact, nor who may promote what.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from assay.platform.errors import RegistryError
from assay.registry.client import Client, ExistsError, MissingError, quoted

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

Kind = Literal["encoder", "library", "release"]
KINDS: tuple[Kind, ...] = ("encoder", "library", "release")
PAGE = 200
_NEVER_CHANGED = ("assay.digest", "assay.release", "assay.encoder", "assay.library")


class Version(BaseModel, frozen=True):
    """One registered version. It never changes; a digest tells whether its files are still what they were."""

    kind: Kind
    model: str
    number: int
    source: str
    """Where its artifacts lie, as MLflow names it."""
    run: str
    tags: dict[str, str]
    aliases: tuple[str, ...] = ()
    description: str = ""
    created: float
    """Seconds since the epoch, by the registry's clock."""

    @property
    def digest(self) -> str:
        """sha256 over its listed files, as it was registered."""
        return self.tags.get("assay.digest", "")

    @property
    def uri(self) -> str:
        """How it is named everywhere else."""
        return f"models:/{self.model}/{self.number}"


class Standing(BaseModel, frozen=True):
    """What a registered model says at one moment."""

    aliases: dict[str, int] = {}
    tags: dict[str, str] = {}
    description: str = ""


class Models:
    """The registered models of one environment."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def model(self, kind: Kind) -> str:
        """The registered model that versions of a kind belong to."""
        return f"{self._client.spec.name}-{kind}"

    def establish(self, kind: Kind, tags: Mapping[str, str], description: str) -> None:
        """Make the registered model of a kind; nothing is done when it is there."""
        with contextlib.suppress(ExistsError), self._client.asking(f"make {self.model(kind)}"):
            self._client.mlflow.create_registered_model(self.model(kind), dict(tags), description)

    def publish(self, kind: Kind, source: str, run: str, tags: Mapping[str, str], description: str) -> Version:
        """Register artifacts that are already stored, in one transaction: a version is whole or not there."""
        with self._client.asking(f"register a version of {self.model(kind)}"):
            made = self._client.mlflow.create_model_version(
                self.model(kind), source, run_id=run, tags=dict(tags), description=description
            )
        return _version(kind, made)

    def version(self, kind: Kind, number: int) -> Version | None:
        """One version; None when there is no such."""
        with contextlib.suppress(MissingError), self._client.asking(f"look for {self.model(kind)}, version {number}"):
            return _version(kind, self._client.mlflow.get_model_version(self.model(kind), str(number)))
        return None

    def versions(self, kind: Kind, tags: Mapping[str, str] | None = None) -> list[Version]:
        """All versions of a kind with these tags, oldest first."""
        wanted = [f"tag.`{key}` = '{quoted(value)}'" for key, value in (tags or {}).items()]
        query = " and ".join([f"name = '{self.model(kind)}'", *wanted])
        found: list[Version] = []
        page: str | None = None
        with self._client.asking("list versions"):
            while True:
                got = self._client.mlflow.search_model_versions(query, max_results=PAGE, page_token=page)
                found += [_version(kind, one) for one in got]
                page = got.token or None
                if page is None:
                    break
        return sorted(found, key=lambda one: one.number)

    def standing(self, kind: Kind) -> Standing:
        """A registered model as MLflow has it; nothing of it when there is no such model."""
        with contextlib.suppress(MissingError), self._client.asking(f"look for {self.model(kind)}"):
            found = self._client.mlflow.get_registered_model(self.model(kind))
            aliases = {name: int(number) for name, number in found.aliases.items()}
            return Standing(aliases=aliases, tags=dict(found.tags), description=str(found.description or ""))
        return Standing()

    def pointed(self, kind: Kind) -> dict[str, int]:
        """Where the aliases of a kind point, as MLflow has it; nothing when there is no such model."""
        return self.standing(kind).aliases

    def model_tags(self, kind: Kind) -> dict[str, str]:
        """Tags of a registered model; nothing when there is no such model."""
        return self.standing(kind).tags

    def point(self, kind: Kind, alias: str, number: int | None) -> None:
        """Set an alias, or take it away."""
        model, mlflow = self.model(kind), self._client.mlflow
        if number is None:
            self._write(f"set alias {alias!r}", lambda: mlflow.delete_registered_model_alias(model, alias))
        else:
            self._write(f"set alias {alias!r}", lambda: mlflow.set_registered_model_alias(model, alias, str(number)))

    def describe_model(self, kind: Kind, text: str, tags: Mapping[str, str]) -> None:
        """Write a registered model's description and tags: what people see of it."""
        with self._client.asking(f"describe {self.model(kind)}"):
            self._client.mlflow.update_registered_model(self.model(kind), text)
        self.tag_model(kind, tags)

    def tag_model(self, kind: Kind, tags: Mapping[str, str]) -> None:
        """Set tags of a registered model."""
        model, mlflow = self.model(kind), self._client.mlflow
        for key, value in tags.items():
            self._write(f"tag {model}", partial(mlflow.set_registered_model_tag, model, key, value))

    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version; those it was registered with stay as they are."""
        assert not set(tags) & set(_NEVER_CHANGED), "what a version is never changes"
        self.correct_version(version, tags)

    def correct_version(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags that say what a version is, after somebody meddled with them."""
        mlflow, number = self._client.mlflow, str(version.number)
        for key, value in tags.items():
            setting = partial(mlflow.set_model_version_tag, version.model, number, key, value)
            self._write(f"tag {version.model}, version {number}", setting)

    def _write(self, what: str, write: Callable[[], object]) -> None:
        """MLflow looks first and then adds: when two add the same, one fails, and finds it there the next time."""
        try:
            with self._client.asking(what):
                write()
        except MissingError:
            raise
        except RegistryError:
            with self._client.asking(what):
                write()


def _version(kind: Kind, found: "ModelVersion") -> Version:
    return Version(
        kind=kind,
        model=found.name,
        number=int(found.version),
        source=str(found.source),
        run=str(found.run_id or ""),
        tags=dict(found.tags),
        aliases=tuple(sorted(found.aliases)),
        description=str(found.description or ""),
        created=found.creation_timestamp / 1000,
    )


def newest(versions: Sequence[Version]) -> Version | None:
    """The one registered last."""
    return max(versions, key=lambda one: one.number, default=None)
