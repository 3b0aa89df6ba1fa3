"""Requests out of the API document, valid and not, are answered as the document says."""

from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from shieldx_runtime.credits.ledger_routes import BATCH_PATH
from tests.integration.harness import Api

DOCUMENT = Path(__file__).resolve().parents[2] / "api" / "openapi.yaml"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
schema = schemathesis.openapi.from_path(str(DOCUMENT))


@schema.parametrize()
@settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_does_what_its_document_says(case: schemathesis.Case[Any], api: Api) -> None:
    # a wrong item of a batch is refused alone: in the answer, which is 200
    checks = [c for c in CHECKS if case.operation.path != BATCH_PATH or c is not negative_data_rejection]
    case.call_and_validate(base_url=api.url, headers=api.headers, checks=checks, timeout=15)
