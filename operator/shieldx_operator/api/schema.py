"""From a pydantic model to the structural schema that a CRD holds.

pydantic writes JSON Schema with references, `null` for optional fields, titles and defaults; Kubernetes wants one
tree without any of those, where absence is the only way to be unset.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from shieldx_operator.api.base import Model
from shieldx_operator.api.fields import VALIDATIONS
from shieldx_operator.api.rules import Rule

Schema = dict[str, Any]

_KEYS: Final = (
    "description",
    "type",
    "format",
    "enum",
    "anyOf",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "required",
    "properties",
    "additionalProperties",
    "items",
    VALIDATIONS,
)
"""All that a schema here may hold, in the order in which a reader wants it."""

_DROPPED: Final = frozenset({"title", "default"})


def structural(model: type[Model]) -> Schema:
    """The structural schema of `model`.

    Raises:
        ValueError: the model has something that a CRD can't express: a union, `null` as a value, an unknown keyword.
    """
    document = model.model_json_schema(by_alias=True)
    return _structural(document, document.pop("$defs", {}), model.__name__)


def _structural(node: Schema, definitions: dict[str, Schema], where: str) -> Schema:
    node = _resolved(node, definitions, where)
    if node.get("type") == "integer":
        node.setdefault("format", "int32")
    if isinstance(node.get("additionalProperties"), bool):
        # pydantic's way to forbid unknown fields, or to allow them; the API server prunes or refuses by itself
        del node["additionalProperties"]
    if "propertyNames" in node:
        node[VALIDATIONS] = [*node.get(VALIDATIONS, ()), *_for_keys(node.pop("propertyNames"))]
    if "properties" in node:
        node["properties"] = {
            name: _structural(child, definitions, f"{where}.{name}") for name, child in node["properties"].items()
        }
    for child in ("items", "additionalProperties"):
        if child in node:
            node[child] = _structural(node[child], definitions, f"{where}.{child}")
    unknown = node.keys() - set(_KEYS)
    if unknown:
        raise ValueError(f"{where}: no CRD schema can hold {sorted(unknown)}; express it with one of {_KEYS}")
    return {key: node[key] for key in _KEYS if key in node}


def _for_keys(names: Schema) -> list[dict[str, str]]:
    """The rules on each key of a map as rules on the map: a CRD has no schema for keys."""
    return [
        {
            "rule": f"self.all(key, {rule['rule'].replace('self.', 'key.')})",
            "message": f"keys: {rule['message']}",
        }
        for rule in names[VALIDATIONS]
    ]


def _resolved(node: Schema, definitions: dict[str, Schema], where: str) -> Schema:
    """`node` with its reference and its `null` resolved; what stands beside a reference wins over what it names."""
    node = {key: value for key, value in node.items() if key not in _DROPPED}
    if "anyOf" in node and not node.get("x-kubernetes-int-or-string"):
        choices = [choice for choice in node.pop("anyOf") if choice != {"type": "null"}]
        if len(choices) != 1:
            raise ValueError(f"{where}: a union of {len(choices)} types; a CRD field has one")
        node = {**_resolved(choices[0], definitions, where), **node}
    if "$ref" in node:
        name = node.pop("$ref").rpartition("/")[2]
        node = {**_resolved(definitions[name], definitions, where), **node}
    return node


def add_rules(schema: Schema, rules: Sequence[Rule]) -> None:
    """Puts each rule on the field that it speaks of.

    Raises:
        KeyError: the rule names a field that the schema has not.
    """
    for rule in rules:
        node = schema
        for part in filter(None, rule.at.split(".")):
            node = node["properties"][part]
        node.setdefault(VALIDATIONS, []).append(rule.to_json())


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Every field below `schema`: its path (`a.b`, `list[].c`), its schema, and whether it must be set."""
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, child, name in required
        node, suffix = child, ""
        while "items" in node:
            node, suffix = node["items"], f"{suffix}[]"
        yield from walk(node, f"{here}{suffix}")


def add_defaults(schema: Schema, production: Schema, development: Schema) -> None:
    """Ends the description of each field that has a default with what it is; never as `default`."""
    for path, node, _ in walk(schema):
        values = default_at(production, path), default_at(development, path)
        if values != (None, None):
            node["description"] = f"{node['description']} {default_sentence(*values)}"


def default_at(tree: Schema, path: str) -> str | None:
    """The default of the field at `path` as it would be written in YAML, or None where it has none."""
    value: Any = tree
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    if isinstance(value, dict):
        return None
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def default_sentence(production: str | None, development: str | None) -> str:
    if production == development:
        return f"Default: {production}."
    return f"Default: {production}; in profile Development: {development}."
