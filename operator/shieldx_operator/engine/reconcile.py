"""One look at one object: observe, plan, apply, tell. The only path there is, whatever caused it.

Crash safety rests on the order of the writes. The inventory in the status names an object before that object is
created, so whatever this operator made can be found again; every later step can be repeated. See
docs/decisions/0005-inventory-and-pruning.md.
"""

import asyncio
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import PurePath
from typing import Final, Literal

import aiohttp
import structlog

from shieldx_operator.engine import calls, conditions, objects, secrets
from shieldx_operator.engine.apply import Applied, Applier, failure_of, ref_of
from shieldx_operator.engine.client import NAMESPACE_TERMINATING, ApiError, Client, FencedError
from shieldx_operator.engine.events import Recorder
from shieldx_operator.engine.measures import Measures
from shieldx_operator.engine.names import FINALIZER
from shieldx_operator.engine.readers import Readers
from shieldx_operator.engine.types import (
    Condition,
    Failure,
    Kind,
    Obj,
    Observation,
    Plan,
    Reads,
    Ref,
    Resource,
    Results,
    Stall,
    Status,
)

Result = Literal["unchanged", "changed", "gone", "stalled", "failed"]
_LEAST_REQUEUE_S: Final = 1.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a look ended. `retry` asks for backoff; `again_in_s` for another look without any failure."""

    result: Result
    retry: bool = False
    again_in_s: float | None = None


@dataclass(slots=True)
class _Look:
    """What one reconcile has gathered so far."""

    ref: Ref
    kind: Kind
    parent: Obj
    resources: objects.Resources
    inventory: frozenset[Ref]

    @property
    def status(self) -> Obj:
        """What the operator has told. Fields that others tell are not taken for its own, or it would own them, too."""
        told: Obj = self.parent.get("status") or {}
        others: frozenset[str] = getattr(self.kind, "told_by_others", frozenset())
        return {field: value for field, value in told.items() if field not in others}

    @property
    def generation(self) -> int:
        return int(self.parent["metadata"].get("generation", 0))


@dataclass(slots=True)
class Reconciler:
    """Reconciles objects of the given kinds."""

    client: Client
    kinds: Mapping[Resource, Kind]
    recorder: Recorder
    http: aiohttp.ClientSession
    random_bytes: secrets.RandomBytes
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    measures: Measures | None = None
    wake: Callable[[Ref], None] = lambda _: None
    """Asks for a look at an object which rested on another one that is gone."""
    _applier: Applier = field(init=False)
    _readers: Readers = field(init=False)

    def __post_init__(self) -> None:
        self._applier = Applier(self.client, self.random_bytes)
        self._readers = Readers(self.kinds.keys())

    async def reconcile(self, ref: Ref) -> Outcome:
        """Look at one object once.

        Raises:
            ApiError: the API server could not be read or the status not be written; the look must be repeated.
        """
        kind = self.kinds[ref.resource]
        parent = await self.client.get(ref)
        if parent is None:
            if self.measures is not None:
                self.measures.forget(ref)
            for reader in self._readers.gone(ref):
                self.wake(reader)
            return Outcome("gone")
        if "deletionTimestamp" in parent["metadata"] and FINALIZER not in parent["metadata"].get("finalizers", []):
            return Outcome("gone")  # the garbage collector does the rest
        resources = objects.Resources.of(kind)
        look = _Look(ref, kind, parent, resources, objects.inventory_refs(parent.get("status") or {}, resources))
        try:
            return await self._look(look)
        except Stall as stall:
            await self._tell(look, conditions.of_stall(stall), look.status, look.inventory)
            return Outcome("stalled")
        except (ApiError, FencedError):
            raise
        except Exception as error:  # noqa: BLE001 - a fault on this object must not stop the others
            _log.exception("reconcile broke")
            message = f"the operator failed on this object ({_place(error)}); its log has the details"
            told = conditions.of_error("InternalError", message)
            await self._tell(look, told, look.status, look.inventory, failing=True)
            return Outcome("failed", retry=True)

    async def _look(self, look: _Look) -> Outcome:
        seen = await self._observe(look)
        plan = look.kind.plan(seen)
        live = await self._live(look, seen, plan)
        await self._announce(look, plan)
        results, inventory, let_go = await self._make_true(look, seen, plan, live)
        if let_go and seen.deleting:
            return Outcome("changed")
        # a workload that was just changed must not be told of as it was before: it has yet to roll out
        seen = replace(seen, objects={**seen.objects, **results.live})
        status = look.kind.status(seen, plan, results)
        failures = [failure for failure in results.failures if failure not in status.told_apart]
        told = conditions.completed(status.conditions, failures)
        if self.measures is not None and hasattr(look.kind, "measures"):
            self.measures.tell(look.ref, look.kind.measures(look.parent, status))
        changed = await self._tell(look, told, status.fields, inventory, failing=bool(failures))
        return _outcome(status, results, told_anything=changed)

    # --- observe

    async def _observe(self, look: _Look) -> Observation:
        reads: Reads = look.kind.reads(look.parent)
        self._readers.note(look.ref, reads.objects)
        found, lists = await asyncio.gather(
            self._get_all(reads.objects),
            asyncio.gather(*(self.client.find(query) for query in reads.queries.values())),
        )
        named = dict(zip(reads.queries, lists, strict=True))
        return Observation(look.parent, found, named, self.clock())

    async def _get_all(self, refs: Iterable[Ref]) -> dict[Ref, Obj]:
        wanted = list(dict.fromkeys(refs))
        answers = await asyncio.gather(*(self.client.get(ref) for ref in wanted))
        return {ref: obj for ref, obj in zip(wanted, answers, strict=True) if obj is not None}

    async def _live(self, look: _Look, seen: Observation, plan: Plan) -> dict[Ref, Obj]:
        """What exists of the objects to apply, and of what may have to be pruned."""
        wanted = {ref_of(item, look.resources) for item in plan.apply} | _unwanted(look, plan)
        already = set(look.kind.reads(look.parent).objects)
        live = {ref: obj for ref, obj in seen.objects.items() if ref in wanted}
        return {**live, **await self._get_all(sorted(wanted - already))}

    # --- act

    async def _announce(self, look: _Look, plan: Plan) -> None:
        """Name in the inventory what is about to be created, and say that the object was seen."""
        new = {ref_of(item, look.resources) for item in plan.apply} - look.inventory
        before = look.status.get("conditions") or []
        first_sight = not any(c["type"] == conditions.READY for c in before)
        if not new and not first_sight:
            return
        status = {**look.status, "inventory": objects.inventory_entries(look.inventory | new)}
        if first_sight:
            status["conditions"] = conditions.written(
                conditions.at_first_sight(), before, look.generation, self.clock()
            )
            status["observedGeneration"] = look.generation
        await self._write_status(look, status)
        look.inventory = look.inventory | new

    async def _make_true(
        self, look: _Look, seen: Observation, plan: Plan, live: dict[Ref, Obj]
    ) -> tuple[Results, frozenset[Ref], bool]:
        """Carry the plan out: what came of it, what is in the inventory now, and whether the finalizer went."""
        if plan.finalizer:
            await self._set_finalizer(look, present=True)
        applied = await self._applier.apply(plan, look.parent, look.resources, live)
        failures = list(applied.failures)
        responses: dict[str, tuple[int, Obj]] = {}
        if not failures:
            failures += await self._call_all(plan, seen, applied, responses)
        desired = frozenset(ref_of(item, look.resources) for item in plan.apply)
        unwanted = _unwanted(look, plan)
        left = unwanted
        if not failures:
            left = await self._prune(look, unwanted, live, failures)
        inventory = desired | (plan.keep & look.inventory) | left
        # a namespace that is being deleted lets nothing be made that would be needed first: it must not wait for ever
        namespace_goes = seen.deleting and any(f.reason == NAMESPACE_TERMINATING for f in failures)
        let_go = namespace_goes or (plan.finalizer is False and not failures)
        if let_go:
            await self._set_finalizer(look, present=False)
        return Results(failures, applied.changed, responses, applied.live), inventory, let_go

    async def _call_all(
        self, plan: Plan, seen: Observation, applied: Applied, responses: dict[str, tuple[int, Obj]]
    ) -> list[Failure]:
        failures = []
        for wanted in plan.calls:
            secret = None
            if wanted.secret is not None:
                secret = applied.live.get(wanted.secret) or seen.objects.get(wanted.secret)
                secret = secret or await self.client.get(wanted.secret)
            answer = await calls.call(self.http, wanted, secrets.decoded(secret or {}))
            if isinstance(answer, Failure):
                failures.append(answer)
            else:
                responses[wanted.name] = answer
        return failures

    async def _prune(
        self, look: _Look, unwanted: frozenset[Ref], live: Mapping[Ref, Obj], failures: list[Failure]
    ) -> frozenset[Ref]:
        """Delete what is no longer wanted; what could not be deleted stays in the inventory."""
        left = set()
        for ref in sorted(unwanted):
            obj = live.get(ref)
            if obj is None or not objects.may_prune(obj, look.parent):
                continue
            try:
                await self.client.delete(ref, obj["metadata"]["uid"])
                _log.info("pruned", of=str(ref))
            except ApiError as error:
                failures.append(failure_of(ref, error))
                left.add(ref)
        return frozenset(left)

    async def _set_finalizer(self, look: _Look, *, present: bool) -> None:
        metadata = look.parent["metadata"]
        there = metadata.get("finalizers", [])
        if (FINALIZER in there) is present:
            return
        wanted = [*there, FINALIZER] if present else [f for f in there if f != FINALIZER]
        try:
            look.parent = await self.client.set_finalizers(look.ref, wanted, metadata["resourceVersion"])
        except ApiError as error:
            if present or error.status != HTTPStatus.NOT_FOUND:
                raise

    # --- tell

    async def _tell(
        self,
        look: _Look,
        told: Sequence[Condition],
        fields: Obj,
        inventory: frozenset[Ref],
        *,
        failing: bool = False,
    ) -> bool:
        """Write the status if it differs, and an event for each transition."""
        before = look.status.get("conditions") or []
        now_told = conditions.written(told, before, look.generation, self.clock())
        kept = {k: v for k, v in fields.items() if k not in ("conditions", "inventory", "observedGeneration")}
        body = conditions.status_body(
            Status(told, kept), now_told, objects.inventory_entries(inventory), look.generation
        )
        if conditions.same_status(body, look.status):
            return False
        if not await self._write_status(look, body):
            return True
        await self.recorder.tell(look.parent, conditions.transitions(before, now_told, failing=failing))
        return True

    async def _write_status(self, look: _Look, status: Obj) -> bool:
        """Whether the object was still there to be told about."""
        try:
            written = await self.client.apply_status(look.ref, look.parent["metadata"]["uid"], status)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        # spec and labels stay as this look saw them: what changed meanwhile is the next look's matter
        look.parent = {
            **look.parent,
            "status": written.get("status", {}),
            "metadata": {**look.parent["metadata"], "resourceVersion": written["metadata"]["resourceVersion"]},
        }
        return True


def _place(error: Exception) -> str:
    """Type and line of an error. Not its text: it may hold a value that must not be shown."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {PurePath(frames[-1].filename).name}:{frames[-1].lineno}"


def _unwanted(look: _Look, plan: Plan) -> frozenset[Ref]:
    return look.inventory - {ref_of(item, look.resources) for item in plan.apply} - plan.keep


def _outcome(status: Status, results: Results, *, told_anything: bool) -> Outcome:
    again_in_s = None if status.requeue_after_s is None else max(_LEAST_REQUEUE_S, status.requeue_after_s)
    if results.failures:
        retry = any(f.retryable for f in results.failures)
        return Outcome("failed", retry=retry, again_in_s=None if retry else again_in_s)
    stalled = any(c.type == conditions.STALLED and c.status == "True" for c in status.conditions)
    if stalled:
        return Outcome("stalled", again_in_s=again_in_s)
    return Outcome("changed" if results.changed or told_anything else "unchanged", again_in_s=again_in_s)
