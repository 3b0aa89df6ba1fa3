"""Does a live object already satisfy the desired one? Pure; the answer is the list of paths that do not.

Server-side apply would answer too, but only by a write. Here the rules of the API server's merge are followed as far
as they decide whether a write is needed:

- an object is satisfied by more fields than it names (the server's defaults, other managers' fields);
- a list with keys (containers by name) is matched by key and may hold others' elements;
- every other list is atomic: same length, each element satisfied in its place;
- a selector is atomic: equal, not contained; so are a NetworkPolicy's rules, where one field more opens the door;
- quantities are compared by value, and only where quantities stand.

Where these rules are wrong about some field the cost is a call that changes nothing, never a missed repair: what is
missing counts as different, except empty values of the fields that the API is known to leave out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from shieldx_operator.engine import quantity
from shieldx_operator.engine.names import APPLIED_ANNOTATION
from shieldx_operator.engine.types import Obj

_ATOMIC_MAPS: Final = frozenset(
    {"selector", "matchLabels", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector"}
)
_QUANTITY_PARENTS: Final = frozenset({"limits", "requests", "capacity", "hard", "overhead", "min", "max", "default"})
_QUANTITY_FIELDS: Final = frozenset({"sizeLimit", "divisor", "averageValue", "minAvailableBytes"})

_LIST_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "hostAliases": ("ip",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "claims": ("name",),
}
"""The `x-kubernetes-list-map-keys` of the fields that an operator builds. `ports` and `imagePullSecrets` depend on
where they stand: see `_keys_of`."""

_SETS: Final = frozenset({"finalizers"})

_RULES: Final = frozenset({"ingress", "egress"})
"""Of a NetworkPolicy: `namespaceSelector` or `endPort` beside what is asked for lets more in, and no default is ever
added to a rule that names its protocol."""

_OMITTED_WHEN_EMPTY: Final = frozenset(
    {
        "value", "hostNetwork", "hostPID", "hostIPC", "publishNotReadyAddresses", "readOnly", "subPath", "paused",
        "stdin", "tty", "initialDelaySeconds", "minReadySeconds", "tolerationSeconds", "immutable", "clusterName",
        "namespace", "message", "reason",
    }
)  # fmt: skip
"""Fields that the API writes only when they are not false, 0 or "" (Go's `omitempty` on a plain value)."""


def differences(desired: Obj, live: Obj) -> list[str]:
    """Paths in `desired` that `live` does not satisfy; empty if nothing needs to be written.

    Both are whole objects. Secrets compare `data`; `stringData` must have been turned into `data` before.
    """
    found: list[str] = []
    for field in desired:
        if field in ("apiVersion", "kind"):
            continue
        _compare(desired[field], live.get(field, _MISSING), (field,), desired.get("kind", ""), found)
    return found


def digest(desired: Obj) -> str:
    """Digest of a desired object without its own annotation.

    Values of a Secret are not part of it: they must not be guessable from metadata, and a changed value is a
    difference anyway.
    """
    body = dict(desired)
    metadata = dict(body.get("metadata", {}))
    metadata["annotations"] = {k: v for k, v in metadata.get("annotations", {}).items() if k != APPLIED_ANNOTATION}
    body["metadata"] = metadata
    if body.get("kind") == "Secret":
        body["data"] = sorted(body.get("data", {}))
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class _Missing:
    """Stands for a field that is not there (None is a value)."""


_MISSING: Final = _Missing()
_Path = tuple[str, ...]


def _compare(desired: Any, live: Any, path: _Path, kind: str, found: list[str]) -> None:
    if isinstance(live, _Missing) or (live is None and desired is not None):
        if not _absence_satisfies(desired, path):
            found.append(_text(path))
    elif isinstance(desired, Mapping):
        _compare_maps(desired, live, path, kind, found)
    elif isinstance(desired, list | tuple):
        _compare_lists(desired, live, path, kind, found)
    elif not _same_scalar(desired, live, path):
        found.append(_text(path))


def _compare_maps(desired: Mapping[str, Any], live: Any, path: _Path, kind: str, found: list[str]) -> None:
    if not isinstance(live, Mapping):
        found.append(_text(path))
    elif path[-1] in _ATOMIC_MAPS:
        if desired != live:
            found.append(_text(path))
    else:
        for field, value in desired.items():
            _compare(value, live.get(field, _MISSING), (*path, field), kind, found)


def _compare_lists(desired: Sequence[Any], live: Any, path: _Path, kind: str, found: list[str]) -> None:
    if not isinstance(live, list):
        found.append(_text(path))
        return
    if kind == "NetworkPolicy" and path[-1] in _RULES:
        if list(desired) != live:
            found.append(_text(path))
        return
    if path[-1] in _SETS:
        if not all(item in live for item in desired):
            found.append(_text(path))
        return
    keys = _keys_of(desired, path, kind)
    if keys:
        by_key = {_key(item, keys): item for item in live if isinstance(item, Mapping)}
        for item in desired:
            key = _key(item, keys)
            _compare(item, by_key.get(key, _MISSING), (*path, f"[{'/'.join(map(str, key))}]"), kind, found)
    elif len(desired) != len(live):
        found.append(_text(path))
    else:
        for index, (item, there) in enumerate(zip(desired, live, strict=True)):
            _compare(item, there, (*path, f"[{index}]"), kind, found)


def _absence_satisfies(desired: Any, path: _Path) -> bool:
    if desired is None:
        return True
    if isinstance(desired, Mapping | list | tuple):
        # an empty selector selects everything, an absent one nothing
        return len(desired) == 0 and path[-1] not in _ATOMIC_MAPS
    return not desired and path[-1] in _OMITTED_WHEN_EMPTY


def _same_scalar(desired: Any, live: Any, path: _Path) -> bool:
    # in Python True == 1; in JSON it is not
    if isinstance(desired, bool) is isinstance(live, bool) and desired == live:
        return True
    return _holds_quantities(path) and quantity.equal(desired, live)


def _holds_quantities(path: _Path) -> bool:
    if path[0] == "metadata" or "matchLabels" in path:
        return False
    parent = path[-2] if len(path) > 1 else ""
    return parent in _QUANTITY_PARENTS or path[-1] in _QUANTITY_FIELDS or (path[-1] == "value" and parent == "target")


def _keys_of(items: Sequence[Any], path: _Path, kind: str) -> tuple[str, ...]:
    if not items or not all(isinstance(item, Mapping) for item in items):
        return ()
    field = path[-1]
    if field == "ports":
        if "containerPort" in items[0]:
            return ("containerPort", "protocol")
        return ("port", "protocol") if kind == "Service" else ()
    if field == "imagePullSecrets":
        return () if kind == "ServiceAccount" else ("name",)
    return _LIST_KEYS.get(field, ())


def _key(item: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key, "TCP" if key == "protocol" else None) for key in keys)


def _text(path: _Path) -> str:
    return ".".join(path).replace(".[", "[")
