"""Where a registry is: one Spec, and the places that follow from it.

Knows addresses, and where the promotion log and the cache lie. Does not know MLflow (`client.py`), nor what is
registered.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic import Field, SecretStr

from assay.platform.errors import SpecError
from assay.platform.library import Slug
from assay.platform.spec import Spec
from assay.platform.storage import StorageSpec

HERE = "assay-registry"
"""Folder of the registry that needs no server."""
ARTIFACTS = "artifacts"
BUCKETS = {"s3", "gs", "wasbs", "abfss"}
"""Where a server's artifacts may lie that it does not hand out itself; who reads there signs in with keys of theirs."""


class RegistrySpec(Spec):
    """Which registry, as whom, and where its promotion log lies. Unset fields come from MLflow's own variables."""

    uri: str | None = Field(
        None,
        description=f"MLflow server, or sqlite:///FILE [MLFLOW_REGISTRY_URI, MLFLOW_TRACKING_URI]; unset: ./{HERE}",
    )
    name: Slug = Field("assay", description="environment: its models are NAME-encoder, NAME-library and NAME-release")
    log: str | None = Field(
        None, description="folder or s3://… of the promotion log; unset: as the registry says, or beside its file"
    )
    username: str | None = Field(None, description="user of the server [MLFLOW_TRACKING_USERNAME]")
    password: SecretStr | None = Field(None, description="password; better left to MLFLOW_TRACKING_PASSWORD")
    cache: Path | None = Field(None, description="where releases are kept, by digest; unset: ~/.cache/assay/registry")
    timeout_s: int = Field(30, ge=1, description="seconds one request to the server may take")
    retries: int = Field(3, ge=0, le=10, description="tries more of a request that the server does not answer")
    storage: StorageSpec = Field(StorageSpec(), description="object storage of the promotion log")


@dataclass(frozen=True)
class Place:
    """A registry's addresses, settled."""

    uri: str
    """Without a password."""
    signed_uri: str
    """As MLflow is told it: with user and password where the spec has them. Not to be shown."""
    folder: Path | None
    """Of a sqlite registry."""
    cache: Path

    @classmethod
    def of(cls, spec: RegistrySpec) -> "Place":
        """Settle what a spec leaves open.

        Raises:
            SpecError: an address that no registry of Assay's can have.
        """
        environment = os.environ
        uri = spec.uri or environment.get("MLFLOW_REGISTRY_URI") or environment.get("MLFLOW_TRACKING_URI")
        uri = uri or f"sqlite:///{HERE}/mlflow.db"
        parts = urlsplit(uri)
        cache = spec.cache or Path(environment.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "assay" / "registry"
        if parts.scheme == "sqlite":
            file = Path(parts.path.removeprefix("/")).absolute()
            return cls(f"sqlite:///{file}", f"sqlite:///{file}", file.parent, cache)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SpecError(
                "no registry can be at this address",
                where=urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])),
                why="it is neither a server (http, https) nor a file (sqlite:///…)",
                fix="start `mlflow server` and name it, or leave --registry.uri away",
            )
        if parts.username is not None:
            raise SpecError(
                "a user stands in the registry's address",
                where=parts.hostname,
                why="addresses are written down with every run",
                fix="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            )
        return cls(uri.rstrip("/"), _signed(uri.rstrip("/"), spec), None, cache)

    def may_hold(self, artifacts: str) -> bool:
        """Whether artifacts at this address are the registry's own: MLflow would go, and sign in, anywhere."""
        parts = urlsplit(artifacts)
        if self.folder is not None:
            kept = (self.folder / ARTIFACTS).resolve()
            return parts.scheme == "file" and Path(unquote(parts.path)).resolve().is_relative_to(kept)
        if parts.scheme in {"mlflow-artifacts", "http", "https"}:
            server = urlsplit(self.uri).netloc
            return parts.netloc == server or (parts.scheme == "mlflow-artifacts" and not parts.netloc)
        return parts.scheme in BUCKETS

    @property
    def is_local(self) -> bool:
        """Whether it needs no server."""
        return self.folder is not None


def is_named(spec: RegistrySpec) -> bool:
    """Whether someone said which registry: the spec, or MLflow's variables."""
    return bool(spec.uri or os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI"))


def _signed(uri: str, spec: RegistrySpec) -> str:
    """With user and password when the spec has either; MLflow takes both from its variables, or neither."""
    if spec.username is None and spec.password is None:
        return uri
    name = spec.username or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    known = spec.password.get_secret_value() if spec.password else os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    parts = urlsplit(uri)
    user = f"{quote(name, safe='')}:{quote(known, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))
