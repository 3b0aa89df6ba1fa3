"""Evaluations that wait, run and are kept. One process's; what is kept is in the database, for all."""

import asyncio
import hashlib
import json
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from shieldx_runtime.core import log
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.shadow.errors import DataError, TaskError
from shieldx_runtime.shadow.evaluation import CancelledError, Evaluation, engine
from shieldx_runtime.shadow.parse import parse
from shieldx_runtime.shadow.service import traffic
from shieldx_runtime.shadow.service.billing import Billing, PaymentError, time_left_s
from shieldx_runtime.shadow.service.charge import Charge
from shieldx_runtime.shadow.service.pool import Pool
from shieldx_runtime.shadow.service.schemas import EvaluateBody
from shieldx_runtime.shadow.service.slate import Slate
from shieldx_runtime.shadow.service.store import Kept, Store
from shieldx_runtime.shadow.service.telling import Told
from shieldx_runtime.shadow.service.turns import FullError, Turns
from shieldx_verdict import Counts, Gates, judge

PLACES: Final = 256
PLACES_EACH: Final = 128
CACHE_S: Final = 15 * 60.0
EVALUATION_TIMEOUT_S: Final = 300.0
BEAT_S: Final = 1.0
"""How old a number of judged samples may be, and how late a cancellation through another replica may arrive."""
SLOW_BEAT_S: Final = 10.0
"""For those that only wait."""
LOST_AFTER_S: Final = 60.0
_TOO_LONG: Final = (
    f"it took longer than {EVALUATION_TIMEOUT_S:g} s, or than credits are held for it: draw fewer samples"
)
_logger = log.get(__name__)


@dataclass(slots=True, eq=False)
class Asked:
    """An evaluation. `done` is told when it has come to an end, or where another process works on it.

    `replayed`: it had been asked for before, under the same key.
    """

    eval_id: uuid.UUID
    body: EvaluateBody
    status: str = "queued"
    samples: int = 0
    slate: Slate | None = None
    charge: Charge | None = None
    cancelled: bool = False
    replayed: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def standing(self) -> tuple[uuid.UUID, int, int]:
        return self.eval_id, self.slate.judged if self.slate else 0, self.samples

    def cancel(self) -> None:
        self.cancelled = True
        if self.slate is not None:
            self.slate.stop()


class KeyReusedError(Exception):
    """The key was used for another question."""


class ShadowService:
    """What the routes call. `begin` starts its workers, `end` stops them."""

    def __init__(self, store: Store, pool: Pool, told: Told, billing: Billing | None = None) -> None:
        """`billing` None: evaluations cost nothing."""
        self._billing = billing
        self._store = store
        self._pool = pool
        self._told = told
        self._turns: Turns[Asked] = Turns(places=PLACES, places_each=PLACES_EACH)
        self._mine: dict[uuid.UUID, Asked] = {}
        self._tasks: list[asyncio.Task[None]] = []
        told.watch_queue(lambda: len(self._turns))

    @property
    def costs_credits(self) -> bool:
        """Whether who asks spends the tenant's credits."""
        return self._billing is not None

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(self._work(), name=f"evaluations {n}") for n in range(self._pool.size)]
        self._tasks.append(asyncio.create_task(self._beat(), name="evaluations' heartbeat"))
        if self._billing is not None:
            self._tasks.append(asyncio.create_task(self._billing.keep(), name="charges"))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.close()

    async def ingest(self, tenant_id: str, body: bytes) -> traffic.Sorted:
        """Keeps the lines that are samples. Raises: DatabaseUnavailableError."""
        found = await asyncio.to_thread(traffic.sort, body)
        if found.lines:
            await self._store.insert_samples(tenant_id, found.lines)
        return found

    async def ask(self, body: EvaluateBody, key: uuid.UUID | None = None) -> Asked:
        """Takes a question in; the same one under the same `key` only once. A key whose question was refused is free.

        Raises:
            KeyReusedError: another question was asked under the key.
            TaskError: a rule cannot be compiled.
            FullError: too many are waiting.
            DatabaseUnavailableError: it could not be written down.
            PaymentError: nobody pays for it.
        """
        if body.rule_config.get("type", body.rule_type) != body.rule_type:
            raise TaskError(
                "rule_config.type", f"is not rule_type, {body.rule_type!r}; write one of them, or both alike"
            )
        await asyncio.to_thread(_compile, body)
        if key is not None and (before := await self._asked_before(body, key)) is not None:
            return before
        self._turns.require_place(body.tenant_id)
        asked = Asked(uuid.uuid4(), body)
        # written down before a worker may see it: what it finds would have no row to go to
        if not await self._write_down(asked, key):
            # by the same request, in between
            before = await self._asked_before(body, key) if key is not None else None
            if before is None:
                raise FullError(f"the first evaluation under key {key} has just been refused")
            return before
        try:
            self._turns.put(body.tenant_id, asked)
        except FullError:  # by others, in between
            problem = "as many evaluations waited as can"
            await self._store.finish(asked.eval_id, "cancelled", error=problem, refused=True)
            raise
        self._mine[asked.eval_id] = asked
        return asked

    async def _asked_before(self, body: EvaluateBody, key: uuid.UUID) -> Asked | None:
        """Raises: KeyReusedError."""
        before = await self._store.asked_before(body.tenant_id, key, body.model_dump())
        if before is None:
            return None
        if not before.same:
            raise KeyReusedError
        asked = Asked(before.eval_id, body, before.status, replayed=True)
        mine = self._mine.get(before.eval_id)
        if mine is None:
            asked.done.set()
        else:
            asked.done = mine.done
        return asked

    async def _write_down(self, asked: Asked, key: uuid.UUID | None) -> bool:
        """False where the tenant has used the key. Raises: PaymentError, DatabaseUnavailableError."""
        body, question = asked.body, asked.body.model_dump()
        if self._billing is None:
            return await self._store.insert_evaluation(asked.eval_id, body.tenant_id, question, key)
        try:
            asked.charge = await self._billing.hold(asked.eval_id, body.tenant_id, body.sample_size, question, key)
        except PaymentError as error:
            await self._fail(asked, str(error), refused=True)
            raise
        return asked.charge is not None

    async def find(self, eval_id: uuid.UUID, tenant_id: str | None) -> Kept | None:
        """As it stands; None where there is none that this tenant may see. Raises: DatabaseUnavailableError."""
        return await self._store.evaluation(eval_id, tenant_id, LOST_AFTER_S)

    async def cancel(self, eval_id: uuid.UUID, tenant_id: str | None) -> bool:
        """Ends an evaluation that waits or runs, here or in another replica, which hears of it within `BEAT_S`.

        False where there is none that this tenant may see, or it has come to an end.

        Raises:
            DatabaseUnavailableError: it could not be written down.
        """
        if not await self._store.cancel(eval_id, tenant_id):
            return False
        asked = self._mine.get(eval_id)
        if asked is not None:
            self._end_early(asked)
        return True

    def _end_early(self, asked: Asked) -> None:
        asked.cancel()
        if self._turns.drop(asked.body.tenant_id, asked):
            asked.status = "cancelled"
            self._mine.pop(asked.eval_id, None)
            asked.done.set()
            self._told.evaluation("cancelled", 0.0)

    async def _work(self) -> None:
        while True:
            asked = await self._turns.get()
            asked.status = "running"
            began_s = time.monotonic()
            status = "failed"
            try:
                status = await self._evaluate(asked, began_s)
            except DatabaseUnavailableError as error:
                # its row cannot be written either: whoever reads it later finds that nobody works on it
                _logger.warning(
                    "evaluation given up: database unavailable", eval_id=str(asked.eval_id), problem=str(error)
                )
            except Exception:
                _logger.exception("evaluation failed", eval_id=str(asked.eval_id))
                await self._fail(asked, "the service failed; its log has the cause under this eval_id")
            finally:
                asked.status = status
                self._mine.pop(asked.eval_id, None)
                asked.done.set()
                self._settle()
                self._told.evaluation(status, time.monotonic() - began_s)

    def _settle(self) -> None:
        if self._billing is not None:
            self._billing.wake()

    async def _evaluate(self, asked: Asked, began_s: float) -> str:
        body = asked.body
        if not await self._store.start(asked.eval_id):
            return "cancelled"
        try:
            with tempfile.TemporaryDirectory(prefix="shadow-") as folder:
                path = Path(folder) / "samples.ndjson"
                data_digest, samples = await traffic.write(self._store, body.tenant_id, body.window_s, path)
                digest = _digest(body, data_digest)
                kept = await self._store.cached(body.tenant_id, digest, CACHE_S)
                if kept is None:
                    asked.samples = min(samples, body.sample_size)
                    found = await self._judged(asked, _task(body, path, samples), Path(folder) / "slate")
                    counts, mistakes = found.counts, _mistakes(found)
                else:
                    counts, mistakes = Counts.from_dict(kept[0]["counts"]), kept[1]
        except (TaskError, DataError) as error:
            return await self._fail(asked, str(error))
        except CancelledError:
            if asked.cancelled:  # the row says so already
                return "cancelled"
            return await self._fail(asked, _TOO_LONG)
        result = judge(counts, Gates.from_dict(body.gates.model_dump(exclude_none=True)), body.prevalence)
        answer = {
            "result": result.to_dict(),
            "counts": counts.to_dict(),
            "datasetDigest": f"sha256:{data_digest}",
            "engine": engine(),
            "seed": body.seed,
            "cached": kept is not None,
            "ms": round((time.monotonic() - began_s) * 1000),
        }
        if asked.cancelled:
            return "cancelled"
        judged = counts.matrix.total
        # an answer that was there already costs nothing: nothing was judged for it
        owed = self._billing.owed(judged) if self._billing and kept is None else 0
        await self._store.finish(
            asked.eval_id, "completed", digest=digest, answer=answer, mistakes=mistakes, judged=judged, owed=owed
        )
        self._told.f1(body.rule_id, result.measured.f1.value)
        return "completed"

    async def _judged(self, asked: Asked, task: dict[str, Any], path: Path) -> Evaluation:
        """Raises: as `Pool.judge`."""
        asked.slate = Slate(path)
        try:
            if asked.cancelled:
                raise CancelledError("cancelled before it began")
            timeout_s = time_left_s(asked.charge, EVALUATION_TIMEOUT_S)
            if not timeout_s:
                raise DataError("its credits were held for too short a time to wait and be judged: ask again")
            return await self._pool.judge(task, path, timeout_s)
        finally:
            slate, asked.slate = asked.slate, None
            slate.close()

    async def _fail(self, asked: Asked, error: str, *, refused: bool = False) -> str:
        try:
            await self._store.finish(asked.eval_id, "failed", error=error, refused=refused)
        except DatabaseUnavailableError as unavailable:
            _logger.warning("end not written down", eval_id=str(asked.eval_id), problem=str(unavailable))
        return "failed"

    async def _beat(self) -> None:
        """Tells the database which evaluations somebody still works on, and hears which were cancelled elsewhere."""
        slow_s = time.monotonic()
        while True:
            await asyncio.sleep(BEAT_S)
            slow = time.monotonic() - slow_s >= SLOW_BEAT_S
            if slow:
                slow_s = time.monotonic()
            mine = [asked for asked in self._mine.values() if slow or asked.status == "running"]
            if not mine:
                continue
            try:
                alive = await self._store.beat([asked.standing() for asked in mine])
            except DatabaseUnavailableError:
                continue  # the pool's keeper says what is wrong with the database
            for asked in mine:
                if asked.eval_id not in alive and asked.eval_id in self._mine:
                    self._end_early(asked)


def _compile(body: EvaluateBody) -> None:
    parse(body.rule, "rule_config")
    if body.baseline_config is not None:
        parse(body.baseline_config, "baseline_config")


def _task(body: EvaluateBody, path: Path, samples: int) -> dict[str, Any]:
    task: dict[str, Any] = {"rule": body.rule, "data": {"path": str(path)}, "seed": body.seed, "batchSize": 1000}
    if body.sample_size < samples:  # to draw all of them would be a pass over the data for nothing
        task["sampleSize"] = body.sample_size
    if body.baseline_config is not None:
        task["baseline"] = body.baseline_config
    return task


def _digest(body: EvaluateBody, data_digest: str) -> bytes:
    """Of all that the counts depend on."""
    parts: Mapping[str, Any] = {
        "rule": body.rule,
        "baseline": body.baseline_config,
        "sample_size": body.sample_size,
        "seed": body.seed,
        "data": data_digest,
        "engine": engine(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()


def _mistakes(found: Evaluation) -> dict[str, Any]:
    return {
        "false_positives": [asdict(mistake) for mistake in found.false_positives],
        "false_negatives": [asdict(mistake) for mistake in found.false_negatives],
    }
