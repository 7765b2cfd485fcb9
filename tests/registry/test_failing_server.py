"""A server that goes away, or refuses, between two requests of a promotion: told clearly, and nothing is half done."""

import os
from pathlib import Path

import pytest

from assay.platform.errors import AssayError, CredentialsError, RegistryError
from assay.registry.place import RegistrySpec
from assay.registry.registry import Registry
from infra.bench.mlflow_server import PASSWORD, MlflowServer
from tests.fault_proxy import fault_proxy
from tests.promoters import registered, waived_promotion

LATER = "is champion, but MLflow does not say so yet"
ENOUGH = 80
"""More requests than a promotion makes."""


@pytest.fixture
def promoted(remote: RegistrySpec, tmp_path: Path) -> RegistrySpec:
    """Version 2 is champion, after version 1; the cache is warm."""
    Registry(remote).establish()
    registered(remote, tmp_path / "made", 2)
    for version in (1, 2):
        waived_promotion(remote, version)
    return remote


def check_whole(spec: RegistrySpec, before: int, error: AssayError | None) -> int:
    """Whether the move counts is told rightly; afterwards the alias follows. The number of entries."""
    entries = list(Registry(spec).log.entries())
    assert len(entries) - before == (1 if error is None or LATER in error.what else 0), error
    waived_promotion(spec, entries[-1].after.version)
    assert Registry(spec).models.pointed("release") == {"champion": entries[-1].after.version}
    return len(entries)


@pytest.mark.parametrize("stride", [9, pytest.param(2, marks=[pytest.mark.nightly, pytest.mark.timeout(1200)])])
@pytest.mark.parametrize("fault", ["away", "expired"])
def test_between_two_requests(promoted: RegistrySpec, mlflow: MlflowServer, fault: str, stride: int) -> None:
    """The server is gone from some request on; or the password ended there."""
    told: set[str] = set()
    count = 2
    with fault_proxy(mlflow.uri) as proxy:
        spec = promoted.model_copy(update={"uri": proxy.endpoint})
        for number in range(os.getpid() % stride, ENOUGH, stride):
            first = len(proxy.asked)

            def strike(k: int, _method: str, _path: str, last: int = first + number) -> None:
                if k <= last:
                    return
                if fault == "expired":
                    mlflow.change_password("promoter", "another-password")
                    proxy.before = lambda _k, _method, _path: None
                else:
                    proxy.away = True
                    raise ConnectionResetError("as told")

            proxy.before = strike
            error = _promote(spec, 1 + count % 2)
            proxy.before, proxy.away = lambda _k, _method, _path: None, False
            mlflow.change_password("promoter", PASSWORD)
            count = check_whole(promoted, count, error)
            if error is None:
                break
            assert PASSWORD not in f"{error}"
            assert error.fix
            told.add(LATER if LATER in error.what else type(error).__name__)
    assert told == {LATER, "CredentialsError" if fault == "expired" else "RegistryError"}


def _promote(spec: RegistrySpec, version: int) -> AssayError | None:
    try:
        waived_promotion(spec, version)
    except (RegistryError, CredentialsError) as error:
        return error
    return None
