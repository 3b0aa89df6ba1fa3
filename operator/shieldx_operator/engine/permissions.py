"""What the engine asks of the API server, as RBAC rules: derived from the kinds, so that neither can drift. Pure.

Discovery (/api, /apis), which the watcher reads at its start, is granted to every authenticated user by the cluster.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from shieldx_operator.engine.events import EVENTS
from shieldx_operator.engine.lease import LEASES
from shieldx_operator.engine.types import Kind, Resource

_VERB_ORDER: Final = ("get", "list", "watch", "create", "update", "patch", "delete")
_PARENT: Final = ("get", "list", "watch")
_STATUS: Final = ("patch",)
_OWNED: Final = ("get", "list", "watch", "create", "patch", "delete")
_LASTING: Final = tuple(verb for verb in _OWNED if verb != "delete")
_READ: Final = ("get", "list")
_LISTED: Final = ("list",)
_LEASE: Final = ("get", "create", "update")
_EVENT: Final = ("create",)


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One rule of a Role or ClusterRole."""

    api_group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]

    def to_json(self) -> dict[str, list[str]]:
        return {"apiGroups": [self.api_group], "resources": list(self.resources), "verbs": list(self.verbs)}


def required(kinds: Iterable[Kind]) -> list[Rule]:
    """Rules for the namespaces that are watched.

    A kind may say `finalizes = False`: the engine then needs no permission to change the object itself. It names in
    `lasting` those of its owned resources that are wanted as long as the object is there, so that they are never
    pruned, and among what it reads and never writes in `looks_at` what it also gets by name, in `lists` the rest.
    """
    verbs: dict[tuple[str, str], set[str]] = {}

    def grant(group: str, plural: str, wanted: Iterable[str]) -> None:
        verbs.setdefault((group, plural), set()).update(wanted)

    for kind in kinds:
        parent = kind.resource
        finalizer = ("patch",) if getattr(kind, "finalizes", True) else ()
        grant(parent.group, parent.plural, (*_PARENT, *finalizer))
        grant(parent.group, f"{parent.plural}/status", _STATUS)
        lasting: Sequence[Resource] = getattr(kind, "lasting", ())
        for owned in kind.owned:
            grant(owned.group, owned.plural, _LASTING if owned in lasting else _OWNED)
        for names, wanted in (("looks_at", _READ), ("lists", _LISTED)):
            resources: Sequence[Resource] = getattr(kind, names, ())
            for resource in resources:
                grant(resource.group, resource.plural, wanted)
    grant(EVENTS.group, EVENTS.plural, _EVENT)
    return _merged(verbs)


def required_at_home() -> list[Rule]:
    """Rules for the operator's own namespace alone: its lease."""
    return [Rule(LEASES.group, (LEASES.plural,), _LEASE)]


def _merged(verbs: dict[tuple[str, str], set[str]]) -> list[Rule]:
    """One rule for all resources of a group that need the same verbs."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, plural), wanted in verbs.items():
        ordered = tuple(v for v in _VERB_ORDER if v in wanted)
        groups.setdefault((group, ordered), []).append(plural)
    return sorted(Rule(group, tuple(sorted(plurals)), ordered) for (group, ordered), plurals in groups.items())
