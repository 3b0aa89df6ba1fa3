"""Making a plan true: each step looks before it writes, and a failed one does not stop the others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import structlog

from shieldx_operator.engine import diff, objects, secrets
from shieldx_operator.engine.client import ApiError, Client
from shieldx_operator.engine.names import INITIAL_ANNOTATION, INITIAL_MANAGER, RETAIN_ANNOTATION
from shieldx_operator.engine.types import Failure, GeneratedSecret, Obj, Plan, Ref

_MAX_REMEMBERED: Final = 4096
_MAX_TOLD_PATHS: Final = 10
_log = structlog.get_logger(__name__)


def failure_of(ref: Ref, error: ApiError) -> Failure:
    """What the server said about an object. A request that is wrong in itself is not repeated."""
    wrong = error.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return Failure(str(ref), error.reason, error.message, retryable=not wrong, ref=ref)


@dataclass(slots=True)
class Applied:
    """What came of `Applier.apply`: the objects as they are now, which of them were written, what failed."""

    live: dict[Ref, Obj] = field(default_factory=dict)
    changed: list[Ref] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    server_away: bool = False


@dataclass(slots=True)
class Applier:
    """Applies objects. It remembers which differences the server does not count as such.

    That memory only saves calls that change nothing; losing it loses nothing.
    """

    client: Client
    random_bytes: secrets.RandomBytes
    _no_difference: dict[Ref, tuple[str, int]] = field(default_factory=dict)

    async def apply(self, plan: Plan, parent: Obj, resources: objects.Resources, live: Mapping[Ref, Obj]) -> Applied:
        """Hold everything in `plan.apply` true, in its order. `live` holds what exists of it."""
        done = Applied()
        for item in plan.apply:
            ref = ref_of(item, resources)
            try:
                failure = await self._one(item, ref, parent, live.get(ref), plan.initial.get(ref), done)
            except ApiError as error:
                failure = failure_of(ref, error)
                done.server_away = not error.answered
            if failure is not None:
                done.failures.append(failure)
            if done.server_away:
                break
        return done

    async def _one(
        self,
        item: Obj | GeneratedSecret,
        ref: Ref,
        parent: Obj,
        live: Obj | None,
        initial: Obj | None,
        done: Applied,
    ) -> Failure | None:
        if live is not None:
            failure = _refused(ref, live, parent)
            if failure is not None:
                return failure
        written = live
        if isinstance(item, GeneratedSecret):
            if written is None:
                written = await self._claim(item, ref, parent)
            desired = objects.dress(secrets.materialize(item, written, self.random_bytes), parent)
            guard = {"resourceVersion": written["metadata"]["resourceVersion"]}
        else:
            desired = objects.dress(item, parent)
            guard = {}
        if written is not None:
            guard["uid"] = written["metadata"]["uid"]
        if written is None or self._differs(ref, desired, written):
            # the uid keeps an object that was replaced meanwhile from being taken for the one that was looked at
            body = {**desired, "metadata": {**desired["metadata"], **guard}}
            before, written = written, await self.client.apply(ref, body)
            if before is not None and before["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]:
                self._remember(ref, desired, written)
            else:
                done.changed.append(ref)
        if initial is not None and INITIAL_ANNOTATION not in (written["metadata"].get("annotations") or {}):
            written = await self._give_initial(ref, written, initial)
            if ref not in done.changed:
                done.changed.append(ref)
        done.live[ref] = written
        return None

    def _differs(self, ref: Ref, desired: Obj, live: Obj) -> bool:
        paths = diff.differences(desired, live)
        if not paths:
            return False
        if self._no_difference.get(ref) == (live["metadata"]["resourceVersion"], _fingerprint(desired)):
            return False
        _log.info("differs", of=str(ref), paths=paths[:_MAX_TOLD_PATHS])
        return True

    def _remember(self, ref: Ref, desired: Obj, live: Obj) -> None:
        if len(self._no_difference) >= _MAX_REMEMBERED:
            self._no_difference.clear()
        self._no_difference[ref] = (live["metadata"]["resourceVersion"], _fingerprint(desired))

    async def _claim(self, item: GeneratedSecret, ref: Ref, parent: Obj) -> Obj:
        """Create the Secret without values first: of two operators only one can, so nobody's values are overwritten."""
        metadata: Obj = {"name": ref.name, "namespace": ref.namespace}
        if objects.retained({"metadata": item.metadata}):
            metadata["annotations"] = {RETAIN_ANNOTATION: "true"}
        empty = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": item.type}
        return await self.client.create(ref.resource, ref.namespace, objects.dress(empty, parent))

    async def _give_initial(self, ref: Ref, live: Obj, initial: Obj) -> Obj:
        metadata = {
            "name": ref.name,
            "namespace": ref.namespace,
            "uid": live["metadata"]["uid"],
            "annotations": {INITIAL_ANNOTATION: "given"},
        }
        marker: Obj = {"apiVersion": ref.resource.api_version, "kind": ref.resource.kind, "metadata": metadata}
        fields = {k: v for k, v in initial.items() if k not in marker}
        try:
            return await self.client.apply(ref, {**marker, **fields}, manager=INITIAL_MANAGER, force=False)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            # somebody owns the field already: it is theirs
            return await self.client.apply(ref, marker, manager=INITIAL_MANAGER, force=False)


def ref_of(item: Obj | GeneratedSecret, resources: objects.Resources) -> Ref:
    if isinstance(item, GeneratedSecret):
        return resources.ref({"apiVersion": "v1", "kind": "Secret", "metadata": item.metadata})
    return resources.ref(item)


def _fingerprint(desired: Obj) -> int:
    return hash(json.dumps(desired, sort_keys=True))


def _refused(ref: Ref, live: Obj, parent: Obj) -> Failure | None:
    whose = objects.whose(live, parent)
    if whose == "ours":
        return None
    if whose == "going":
        return Failure(str(ref), "BeingDeleted", "it is being deleted; it is made again once it is gone", ref=ref)
    if whose == "former":
        message = "it belongs to a former object of this name and is about to be deleted with it"
        return Failure(str(ref), "BeingDeleted", message, ref=ref)
    owner = f"{parent['kind']} {parent['metadata'].get('namespace', '')}/{parent['metadata']['name']}"
    return Failure(
        str(ref),
        "Conflict",
        f"{ref} exists and was not made for {owner}, so it is left alone; delete or rename it, or rename {owner}",
        ref=ref,
    )
