"""A Postman collection (format 2.1) out of an API document (OpenAPI 3.1): a folder a tag, a request an operation."""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from shieldx_contract import API_KEY_PATTERN

SCHEMA: Final = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_NEW_UUID: Final = "{{$guid}}"
"""Postman puts in another UUID of version 4 with each request."""
_BASE_URL: Final = "base_url"
_API_KEY: Final = "api_key"
_NEW_KEY: Final = "new_key"
_PARAMETER: Final = re.compile(r"^\{(\w+)\}$")


def collection(document: Mapping[str, Any], base_url: str) -> dict[str, Any]:
    """The collection as plain data: keys are variables without a value, so that it can be handed on.

    What the path of one operation names (`tenant_id`) is a variable everywhere, in bodies too.

    Args:
        document: The API document; bodies are those of the `examples` of their schemas.
        base_url: Where the API is as long as nobody says otherwise, without a slash at the end.

    Raises:
        KeyError: An operation has no tag, or a body has no example: name it at the route or type.
    """
    info, variables = document["info"], _variables(document)
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, method, operation in _operations(document):
        request = _request(document, path, method, operation, frozenset(variables))
        folders.setdefault(operation["tags"][0], []).append({"name": operation["summary"], "request": request})
    known = {
        _BASE_URL: (base_url, "Where the API is."),
        _API_KEY: ("", "Your API key. Keep it in an environment or a vault, never in a collection that you share."),
        _NEW_KEY: ("", "A key that you have made and stored, to be registered: sxk_<key_id>_<secret>."),
        **variables,
    }
    return {
        "info": {
            "_postman_id": str(uuid.uuid5(uuid.NAMESPACE_URL, info["title"])),
            "name": info["title"],
            "description": f"{info['summary']} Generated from the API document.",
            "schema": SCHEMA,
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": _variable(_API_KEY), "type": "string"}]},
        "variable": [
            {"key": name, "value": value, "description": description} for name, (value, description) in known.items()
        ],
        "item": [{"name": tag, "item": requests} for tag, requests in folders.items()],
    }


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _variables(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """What paths have in braces: an example of it and what it is."""
    found: dict[str, tuple[str, str]] = {}
    for _, _, operation in _operations(document):
        for parameter in _parameters(operation, "path"):
            example = parameter["schema"].get("examples", [""])[0]
            found.setdefault(parameter["name"], (str(example), parameter.get("description", "")))
    return found


def _parameters(operation: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    return [parameter for parameter in operation.get("parameters", []) if parameter["in"] == place]


def _request(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any], variables: frozenset[str]
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "method": method.upper(),
        "header": [_optional(parameter) for parameter in _parameters(operation, "header")],
        "url": _url(path, operation),
        "description": operation.get("description", ""),
    }
    if "requestBody" in operation:
        schema = _resolved(document, operation["requestBody"]["content"]["application/json"]["schema"])
        text = json.dumps(_filled(schema["examples"][0], variables), indent=2)
        made["header"].append({"key": "Content-Type", "value": "application/json"})
        made["body"] = {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}
    return made


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _filled(example: Any, variables: frozenset[str], name: str = "") -> Any:
    """The example with variables where something is another's each time: sent as it stands, it would be refused."""
    if isinstance(example, dict):
        return {key: _filled(value, variables, key) for key, value in example.items()}
    if isinstance(example, list):
        return [_filled(value, variables) for value in example]
    if not isinstance(example, str):
        return example
    if name == "idempotency_key":
        return _NEW_UUID
    if re.fullmatch(API_KEY_PATTERN, example):
        return _variable(_NEW_KEY)
    return _variable(name) if name in variables else example


def _url(path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    base = _variable(_BASE_URL)
    segments = [_PARAMETER.sub(r":\1", segment) for segment in path.strip("/").split("/")]
    query = [_optional(parameter) for parameter in _parameters(operation, "query")]
    sent = "&".join(f"{one['key']}={one['value']}" for one in query if not one["disabled"])
    made: dict[str, Any] = {"raw": "/".join([base, *segments]) + (f"?{sent}" if sent else "")}
    made |= {"host": [base], "path": segments}
    if query:
        made["query"] = query
    if names := [segment[1:] for segment in segments if segment.startswith(":")]:
        made["variable"] = [{"key": name, "value": _variable(name)} for name in names]
    return made


def _optional(parameter: Mapping[str, Any]) -> dict[str, Any]:
    """A header or a field of the query; what need not be sent is there to be switched on."""
    return {
        "key": parameter["name"],
        "value": _value(parameter["schema"]),
        "description": parameter.get("description", ""),
        "disabled": not parameter["required"],
    }


def _value(schema: Mapping[str, Any]) -> str:
    for told in (*schema.get("examples", []), schema.get("default"), schema.get("minimum")):
        if told is not None:
            return f"{told:g}" if isinstance(told, float) else str(told)
    return ""


def _variable(name: str) -> str:
    return "{{" + name + "}}"


def written(made: Mapping[str, Any]) -> str:
    """The text of the file."""
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"
