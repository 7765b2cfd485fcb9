"""The OpenAPI document is the service's: the one in the repository is today's, and no request made from it fails."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from assay.serving.openapi import document
from tests.service_double import Double

KEPT = Path(__file__).parents[2] / "infra" / "docs" / "openapi.json"


def test_the_document_in_the_repository_is_the_services() -> None:
    mend = "python -m assay.serving.openapi > infra/docs/openapi.json"
    assert json.loads(KEPT.read_text()) == json.loads(json.dumps(document())), mend


def test_every_route_says_how_it_refuses() -> None:
    for path, methods in document()["paths"].items():
        for operation in methods.values():
            if path not in {"/healthz", "/readyz"}:
                assert {"401", "403"} <= set(operation["responses"]), path


@pytest.fixture(scope="module")
def schema(double: Double) -> Iterator[Any]:
    """What schemathesis asks from."""
    yield schemathesis.openapi.from_dict(json.loads(json.dumps(document())))
