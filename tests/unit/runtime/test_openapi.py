"""The API document is what the code says, is valid, and its examples are too."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from typer.testing import CliRunner

from shieldx_runtime import cli
from shieldx_runtime.credits.openapi import document
from shieldx_runtime.credits.routes import build_api

FOLDER = Path(__file__).resolve().parents[3] / "api"
COMMITTED = FOLDER / "openapi.yaml"
GUIDE = FOLDER.parent / "docs" / "guides" / "credits-api.md"


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return document(build_api(None))


@pytest.mark.parametrize("name", ["openapi.yaml", "shadow-openapi.yaml", "credits.postman_collection.json"])
def test_the_committed_documents_are_up_to_date(tmp_path: Path, name: str) -> None:
    assert CliRunner().invoke(cli.app, ["openapi", "--check", "--folder", str(FOLDER)]).exit_code == 0
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes() + (b"x" if path.name == name else b""))
    result = CliRunner().invoke(cli.app, ["openapi", "--check", "--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert f"{name} is not what the code says: run `make generate`" in result.stderr


def test_it_is_valid_openapi_3_1(api: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))).validate()
    assert api["openapi"] == "3.1.0"


def test_every_example_fits_its_schema(api: dict[str, Any]) -> None:
    schemas = api["components"]["schemas"]
    checked = 0
    for name, schema in schemas.items():
        whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        for example in schema.get("examples", []):
            Draft202012Validator(whole).validate(example)
            checked += 1
    assert checked >= 7


def test_every_call_needs_a_key_and_names_its_refusals(api: dict[str, Any]) -> None:
    assert api["security"] == [{"key": []}]
    operations = [o for path in api["paths"].values() for o in path.values()]
    assert len(operations) == 23
    for operation in operations:
        assert {"401", "403", "422", "429", "500", "503"} <= set(operation["responses"])
    assert "402" in api["paths"]["/credits/consume"]["post"]["responses"]
    assert "402" not in api["paths"]["/credits/purchase"]["post"]["responses"]


def test_the_headers_that_answers_have_are_named(api: dict[str, Any]) -> None:
    def headers(path: str, method: str, status: str) -> set[str]:
        return set(api["paths"][path][method]["responses"][status]["headers"])

    rates = {"RateLimit", "RateLimit-Policy"}
    assert headers("/credits/consume", "post", "200") == {"Idempotency-Replayed", *rates}
    assert headers("/credits/consume", "post", "402") == {"Idempotency-Replayed", *rates}
    assert headers("/credits/consume", "post", "401") == {"WWW-Authenticate"}
    assert headers("/credits/consume", "post", "422") == rates
    assert headers("/credits/balance/{tenant_id}", "get", "304") == {"ETag", *rates}
    assert headers("/credits/proof/{transaction_id}", "get", "409") == {"Retry-After", *rates}
    assert headers("/credits/checkpoint", "get", "404") == {"Retry-After", *rates}
    assert headers("/credits/balance/{tenant_id}", "get", "404") == rates


def test_bodies_are_closed(api: dict[str, Any]) -> None:
    bodies = [schema for name, schema in api["components"]["schemas"].items() if name.endswith("Body")]
    assert len(bodies) == 11
    assert all(body["additionalProperties"] is False for body in bodies)


def test_every_call_has_an_example_in_the_guide(api: dict[str, Any]) -> None:
    """They are run by tests/integration/test_guide.py."""
    scripts = re.findall(r"^```bash\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shown = re.findall(r'^call "\$\w+" ([A-Z]+) "?(/[^?" ]+)', "".join(scripts), re.MULTILINE)
    missing = [
        f"{method.upper()} {path}"
        for path, methods in api["paths"].items()
        for method in methods
        if not any(
            verb == method.upper() and re.fullmatch(re.sub(r"\\{.+?\\}", "[^/]+", re.escape(path)), called)
            for verb, called in shown
        )
    ]
    assert missing == []
