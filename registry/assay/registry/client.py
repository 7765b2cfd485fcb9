"""The border to MLflow: its client, and its refusals in Assay's errors.

Knows how to connect, and what a failed request means. Does not know what is asked for (`models.py`, `runs.py`). Nothing
is ever unpickled: artifacts are files, and MLflow is told so.
"""

import contextlib
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.platform.errors import CredentialsError, RegistryError
from assay.registry.place import Place, RegistrySpec

if TYPE_CHECKING:
    from mlflow import MlflowClient


SIGN_IN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user who may do this"
_QUIET = ", or make it first: the server refuses what is not there, too, so that nobody learns what is"
_REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"}
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}


class Client:
    """MLflow, as one `RegistrySpec` names it. Cheap to make; connects when first used."""

    def __init__(self, spec: RegistrySpec | None = None) -> None:
        self.spec = spec or RegistrySpec()
        self.place = Place.of(self.spec)

    @cached_property
    def mlflow(self) -> "MlflowClient":
        os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # it has the password, and --json goes there
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient  # two seconds

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it told of every table it makes
        if self.place.folder is not None:
            self._find_file(Path(self.place.uri.removeprefix("sqlite:///")))
        with self.asking("connect"):
            return MlflowClient(tracking_uri=self.place.signed_uri, registry_uri=self.place.signed_uri)

    def _find_file(self, file: Path) -> None:
        """MLflow tries for three minutes to open what is no file, or may not be written."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab"):
                return
        except OSError as error:
            why, fix = error.strerror or str(error), "name a file that may be written: --registry.uri sqlite:///FILE"
            raise RegistryError("no file of a registry can be there", where=str(file), why=why, fix=fix) from error

    def server_version(self) -> str:
        """Version of the server's MLflow."""
        from mlflow.utils import credentials, rest_utils

        who: Callable[..., Any] = credentials.get_default_host_creds  # MLflow says no types of these
        ask: Callable[..., Any] = rest_utils.http_request
        with self.asking("tell its version"):
            answer = ask(who(self.place.signed_uri), "/version", "GET")
            answer.raise_for_status()
            return str(answer.text).strip()

    def answers_strangers(self) -> bool:
        """Whether the server tells what is registered without being told who asks."""
        import requests

        with self.asking("answer a stranger"):
            # What takes the place of credentials keeps `requests` from finding some in ~/.netrc.
            answer = requests.get(
                f"{self.place.uri}/api/2.0/mlflow/registered-models/search",
                params={"max_results": "1"},
                auth=lambda request: request,
                timeout=self.spec.timeout_s,
            )
            return answer.ok

    @contextlib.contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Translate what MLflow, or the client under it, raises."""
        import requests
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        # MLflow reads them anew with every request: with two registries in one process each has its own.
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(self.spec.timeout_s)
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(self.spec.retries)
        try:
            yield
        except MlflowException as error:
            raise self._told(what, error.error_code, str(error)) from error
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            code = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}.get(status, str(status))
            raise self._told(what, code, str(error)) from error
        except (requests.RequestException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise self._told(what, "", str(error)) from error

    def _told(self, what: str, code: str, why: str) -> RegistryError | CredentialsError:
        why = self._without_secrets(why)
        if code in _REFUSED:
            fix = SIGN_IN + _QUIET if code == "PERMISSION_DENIED" else SIGN_IN
            return CredentialsError(f"the registry refused to {what}", where=self.place.uri, why=why, fix=fix)
        fix = "check that the server runs and --registry.uri names it, then run the same command again"
        if code in _MISSING:
            fix = "`assay release list` tells what there is; `assay registry doctor` what is amiss"
        kind = MissingError if code in _MISSING else ExistsError if code == "RESOURCE_ALREADY_EXISTS" else RegistryError
        return kind(f"the registry could not {what}", where=self.place.uri, why=why, fix=fix)

    def _without_secrets(self, text: str) -> str:
        return re.sub(r"://[^/\s:@]+:[^/\s@]+@", "://***@", text)[:500]


class MissingError(RegistryError):
    """The registry has no such model, version, run or artifact."""


class ExistsError(RegistryError):
    """The registry has it already."""


def quoted(value: str) -> str:
    """A value as MLflow's filters want it.

    Raises:
        RegistryError: it has a quote, for which they have no form.
    """
    if "'" in value:
        raise RegistryError("a tag with a quote cannot be looked for", where=value)
    return value
