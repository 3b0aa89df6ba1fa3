"""The Postman collection has every call of the API document, in the form that Postman reads, and no secret."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from shieldx_contract import API_KEY_PATTERN
from shieldx_runtime.core.postman import SCHEMA, collection
from shieldx_runtime.credits.openapi import document
from shieldx_runtime.credits.routes import build_api

COMMITTED = Path(__file__).resolve().parents[3] / "api" / "credits.postman_collection.json"
_NAMED: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["key", "value"],
        "properties": {"key": {"type": "string", "minLength": 1}, "value": {"type": "string"}},
    },
}
_REQUEST: Final = {
    "type": "object",
    "required": ["method", "header", "url"],
    "properties": {
        "method": {"enum": ["GET", "PUT", "POST", "DELETE"]},
        "header": _NAMED,
        "url": {
            "type": "object",
            "required": ["raw", "host", "path"],
            "properties": {
                "raw": {"type": "string"},
                "host": {"type": "array", "items": {"type": "string"}},
                "path": {"type": "array", "items": {"type": "string"}},
                "query": _NAMED,
                "variable": _NAMED,
            },
        },
        "body": {
            "type": "object",
            "required": ["mode", "raw"],
            "properties": {"mode": {"const": "raw"}, "raw": {"type": "string"}},
        },
    },
}
FORM: Final = {
    "type": "object",
    "required": ["info", "item"],
    "properties": {
        "info": {
            "type": "object",
            "required": ["name", "schema"],
            "properties": {"schema": {"const": SCHEMA}, "name": {"type": "string"}},
        },
        "variable": _NAMED,
        "auth": {
            "type": "object",
            "required": ["type", "bearer"],
            "properties": {"type": {"const": "bearer"}, "bearer": _NAMED},
        },
        "item": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "item"],
                "properties": {
                    "item": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["name", "request"],
                            "properties": {"request": _REQUEST},
                        },
                    }
                },
            },
        },
    },
}
"""What matters of the form 2.1: folders of requests, nothing else."""


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return document(build_api(None))


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(COMMITTED.read_text(encoding="utf-8"))
    return loaded


def requests_of(made: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """With the name of their folder."""
    return [(folder["name"], item["request"]) for folder in made["item"] for item in folder["item"]]


def path_of(request: dict[str, Any]) -> str:
    return "/" + "/".join(re.sub(r"^:(\w+)$", r"{\1}", segment) for segment in request["url"]["path"])


def test_it_has_the_form_2_1(made: dict[str, Any]) -> None:
    Draft202012Validator(FORM).validate(made)


def test_every_call_is_there_once_in_the_folder_of_its_tag(made: dict[str, Any], api: dict[str, Any]) -> None:
    there = Counter((tag, request["method"].lower(), path_of(request)) for tag, request in requests_of(made))
    wanted = {(o["tags"][0], method, path) for path, methods in api["paths"].items() for method, o in methods.items()}
    assert there == dict.fromkeys(wanted, 1)
    assert len({folder["name"] for folder in made["item"]}) == len(made["item"])


def test_every_body_is_the_example_of_its_schema(made: dict[str, Any], api: dict[str, Any]) -> None:
    schemas = api["components"]["schemas"]
    values = {variable["key"]: variable["value"] for variable in made["variable"]}
    values |= {"$guid": "7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90", "new_key": f"sxk_{'0' * 16}_{'x' * 43}"}
    checked = 0
    for _, request in requests_of(made):
        operation = api["paths"][path_of(request)][request["method"].lower()]
        assert ("body" in request) == ("requestBody" in operation)
        if "body" in request:
            sent = json.loads(re.sub(r"\{\{(.+?)\}\}", lambda found: values[found[1]], request["body"]["raw"]))
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            Draft202012Validator({**schema, "components": {"schemas": schemas}}).validate(sent)
            assert {"key": "Content-Type", "value": "application/json"} in request["header"]
            checked += 1
    assert checked == 11


def test_every_variable_that_is_used_is_declared(made: dict[str, Any]) -> None:
    used = set(re.findall(r"\{\{(\w+)\}\}", COMMITTED.read_text(encoding="utf-8")))
    assert used == {variable["key"] for variable in made["variable"]}
    for _, request in requests_of(made):
        named = {segment[1:] for segment in request["url"]["path"] if segment.startswith(":")}
        assert {variable["key"] for variable in request["url"].get("variable", [])} == named


def test_each_sending_has_an_idempotency_key_of_its_own(made: dict[str, Any]) -> None:
    keys = re.findall(
        r'"idempotency_key": "([^"]*)"', "".join(r["body"]["raw"] for _, r in requests_of(made) if "body" in r)
    )
    assert keys == ["{{$guid}}"] * 7


def test_it_has_no_secret(made: dict[str, Any]) -> None:
    assert not re.search(API_KEY_PATTERN, COMMITTED.read_text(encoding="utf-8"))
    assert made["auth"]["bearer"] == [{"key": "token", "value": "{{api_key}}", "type": "string"}]
    values = {variable["key"]: variable["value"] for variable in made["variable"]}
    assert values["api_key"] == values["new_key"] == ""


def test_what_must_be_sent_is_switched_on_and_the_rest_is_not(made: dict[str, Any], api: dict[str, Any]) -> None:
    required = {
        (path, parameter["name"])
        for path, methods in api["paths"].items()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
        if parameter["required"] and parameter["in"] != "path"
    }
    sent = {
        (path_of(request), one["key"])
        for _, request in requests_of(made)
        for one in (*request["url"].get("query", []), *request["header"])
        if not one.get("disabled", False) and one["key"] != "Content-Type"
    }
    assert sent == required == {("/credits/consistency", "from")}


def test_a_body_without_an_example_is_refused(api: dict[str, Any]) -> None:
    schemas = api["components"]["schemas"]
    bare = {**schemas, "EraseBody": {key: v for key, v in schemas["EraseBody"].items() if key != "examples"}}
    with pytest.raises(KeyError, match="examples"):
        collection({**api, "components": {"schemas": bare}}, "http://127.0.0.1:8080")
