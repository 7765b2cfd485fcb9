"""The OpenAPI document is the service's: the one in the repository is today's, and no request made from it fails."""

import json
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from assay.serving.openapi import document
from tests.service_double import Double

KEPT = Path(__file__).parents[2] / "infra" / "docs" / "openapi.json"
TOLD = document()
OPERATIONS = [(path, method) for path, methods in TOLD["paths"].items() for method in methods]
JOBS = "/v1/jobs"
UNMEANT = [ignored_auth, positive_data_acceptance]
"""Every request of ours has the key; and a document may be understood and name no policy or image that there is."""


def test_the_document_in_the_repository_is_the_services() -> None:
    mend = "python -m assay.serving.openapi > infra/docs/openapi.json"
    assert json.loads(KEPT.read_text()) == json.loads(json.dumps(TOLD)), mend


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_route_says_how_it_refuses(path: str, method: str) -> None:
    if path not in {"/healthz", "/readyz"}:
        assert {"401", "403"} <= set(TOLD["paths"][path][method]["responses"])


@pytest.mark.parametrize(("path", "method"), [one for one in OPERATIONS if not one[0].startswith(JOBS)])
def test_no_request_made_from_it_gets_what_it_does_not_declare(double: Double, path: str, method: str) -> None:
    key = {"authorization": double.client.headers["authorization"]}
    schema = schemathesis.openapi.from_asgi("/openapi.json", double.client.app, headers=key)
    statuses: set[int] = set()

    @hypothesis.given(case=schema[path][method.upper()].as_strategy())
    @hypothesis.settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        answer = case.call(headers=key)
        case.validate_response(answer, excluded_checks=UNMEANT)
        statuses.add(answer.status_code)

    ask()
    assert max(statuses) < 500
