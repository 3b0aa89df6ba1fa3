"""The document of the shadow API is valid and tells every refusal, and where a body stands."""

from pathlib import Path

import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from shieldx_runtime.shadow.service.openapi import document
from shieldx_runtime.shadow.service.routes import build_api

COMMITTED = Path(__file__).resolve().parents[3] / "api" / "shadow-openapi.yaml"


def test_it_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))).validate()


def test_every_call_needs_a_key_and_names_its_refusals() -> None:
    made = document(build_api(None))
    assert made["security"] == [{"key": []}]
    operations = {(path, verb): o for path, verbs in made["paths"].items() for verb, o in verbs.items()}
    assert len(operations) == 7
    for operation in operations.values():
        assert {"401", "403", "404", "422", "500", "503"} <= set(operation["responses"])
    assert "429" in operations["/shadow/evaluate", "post"]["responses"]
    assert "409" in operations["/shadow/evaluations/{eval_id}", "delete"]["responses"]
    assert "application/x-ndjson" in operations["/shadow/samples", "post"]["requestBody"]["content"]


def test_bodies_are_closed() -> None:
    schemas = document(build_api(None))["components"]["schemas"]
    bodies = [schema for name, schema in schemas.items() if name.endswith("Body")]
    assert len(bodies) == 2
    assert all(body["additionalProperties"] is False for body in bodies)
