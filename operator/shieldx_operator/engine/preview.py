"""What applying an object would do: the objects it would give, beside what is there. Writes nothing.

The API server is asked by dry runs of the very calls that the engine would make, so its defaults and its refusals are
in the answer. Without a cluster the objects are shown as they are built.
"""

import asyncio
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal

import yaml

from shieldx_operator.engine import objects, secrets
from shieldx_operator.engine.apply import ref_of
from shieldx_operator.engine.client import ApiError, Client
from shieldx_operator.engine.names import APPLIED_ANNOTATION
from shieldx_operator.engine.types import GeneratedSecret, Kind, Obj, Observation, Plan, Ref

Action = Literal["create", "change", "none", "delete", "conflict"]
_MANAGER: Final = "shieldx-plan"
_PLACEHOLDER_UID: Final = "00000000-0000-0000-0000-000000000000"
_SERVERS_OWN: Final = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "ownerReferences")


@dataclass(frozen=True, slots=True)
class Change:
    """One object: as it is (`before`) and as it would be (`after`), both without what changes by itself."""

    ref: Ref
    action: Action
    before: Obj | None
    after: Obj | None
    note: str = ""

    @property
    def differs(self) -> bool:
        return self.action != "none"


async def preview(kind: Kind, document: Obj, client: Client | None, now: datetime) -> list[Change]:
    """What applying `document` would give; without a client nothing is taken to exist yet.

    The first look alone: what has to wait for another object (a workload for its migration) is not in it.

    Raises:
        ApiError: the API server refuses the document, or does not answer.
        Stall: the kind refuses it.
    """
    if client is None:
        parent = _placed(document)
        plan = kind.plan(Observation(parent, {}, dict.fromkeys(kind.reads(parent).queries, ()), now))
        return [_built(item, parent, kind) for item in plan.apply]
    parent = await _parent(kind, document, client)
    reads = kind.reads(parent)
    found, lists = await asyncio.gather(
        asyncio.gather(*(client.get(ref) for ref in reads.objects)),
        asyncio.gather(*(client.find(query) for query in reads.queries.values())),
    )
    seen = Observation(
        parent,
        {ref: obj for ref, obj in zip(reads.objects, found, strict=True) if obj is not None},
        dict(zip(reads.queries, lists, strict=True)),
        now,
    )
    plan = kind.plan(seen)
    resources = objects.Resources.of(kind)
    changes = [await _change(item, parent, resources, client) for item in plan.apply]
    return changes + await _pruned(plan, parent, resources, client)


async def _parent(kind: Kind, document: Obj, client: Client) -> Obj:
    """The document as the API server would keep it."""
    metadata = document["metadata"]
    ref = Ref(kind.resource, metadata.get("namespace", ""), metadata["name"])
    try:
        return await client.apply(ref, document, manager=_MANAGER, dry_run=True)
    except ApiError as error:
        # no such namespace or no CRD yet, or no permission to apply: then the document itself is all there is
        if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
            raise
    return _placed(document)


def _placed(document: Obj) -> Obj:
    return {**document, "metadata": {"uid": _PLACEHOLDER_UID, "generation": 1, **document["metadata"]}}


def _built(item: Obj | GeneratedSecret, parent: Obj, kind: Kind) -> Change:
    ref = ref_of(item, objects.Resources.of(kind))
    return Change(ref, "create", None, shown(_desired(item, None, parent)))


def _desired(item: Obj | GeneratedSecret, live: Obj | None, parent: Obj) -> Obj:
    if isinstance(item, GeneratedSecret):
        item = secrets.materialize(item, live, bytes)
    return objects.dress(item, parent)


async def _change(item: Obj | GeneratedSecret, parent: Obj, resources: objects.Resources, client: Client) -> Change:
    ref = ref_of(item, resources)
    live = await client.get(ref)
    if live is not None and objects.whose(live, parent) == "foreign":
        return Change(ref, "conflict", shown(live), None, "exists and belongs to somebody else; it would be left alone")
    desired = _desired(item, live, parent)
    note = ""
    try:
        after = await client.apply(ref, desired, dry_run=True)
    except ApiError as error:
        if not error.answered:
            raise
        after, note = desired, f"the API server would refuse it now: {error.message}"
    changed = _changed_keys(live, after)
    before, wanted = (None if live is None else shown(live)), shown(after, changed)
    return Change(ref, "create" if before is None else "none" if before == wanted else "change", before, wanted, note)


async def _pruned(plan: Plan, parent: Obj, resources: objects.Resources, client: Client) -> list[Change]:
    desired = {ref_of(item, resources) for item in plan.apply} | plan.keep
    changes = []
    for ref in sorted(objects.inventory_refs(parent.get("status") or {}, resources) - desired):
        live = await client.get(ref)
        if live is not None and objects.may_prune(live, parent):
            changes.append(Change(ref, "delete", shown(live), None))
    return changes


def shown(obj: Obj, changed: frozenset[str] = frozenset()) -> Obj:
    """An object for people: without what the server writes, and with a Secret's values masked."""
    body = {k: v for k, v in obj.items() if k != "status"}
    metadata = {k: v for k, v in obj["metadata"].items() if k not in _SERVERS_OWN}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != APPLIED_ANNOTATION}
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    body["metadata"] = metadata
    if obj.get("kind") == "Secret":
        keys = sorted({**(obj.get("data") or {}), **(obj.get("stringData") or {})})
        body.pop("stringData", None)
        body["data"] = {k: "*** (changed)" if k in changed else "***" for k in keys}
    return body


def _changed_keys(live: Obj | None, after: Obj) -> frozenset[str]:
    if live is None or after.get("kind") != "Secret":
        return frozenset()
    old: Mapping[str, Any] = live.get("data") or {}
    return frozenset(k for k, v in (after.get("data") or {}).items() if k in old and old[k] != v)


def diff_text(change: Change) -> str:
    """A unified diff of the two sides as YAML; empty if nothing differs."""
    sides = [
        "" if side is None else yaml.safe_dump(side, sort_keys=True, default_flow_style=False)
        for side in (change.before, change.after)
    ]
    lines = difflib.unified_diff(
        sides[0].splitlines(), sides[1].splitlines(), f"{change.ref} (now)", f"{change.ref} (then)", lineterm=""
    )
    return "\n".join(lines)
