"""What a client loses when the service and its database are killed and gone: the RPO, measured by its own record.

One client spends through the API, one call after another, while the shipper works as a pod does. At a seeded moment of
the shipper's interval service, database and shipper get kill -9 and the database is dropped; what the bucket has is
restored into a new one. Calls are in order: what is there must be a prefix of what was acknowledged, and add up.
"""

import random
import shutil
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import httpx

from dev.devserver.process import StartError
from tests.integration.backup.conftest import s3_environ
from tests.integration.backup.s3server import S3Server
from tests.integration.backup.world import World, make_world
from tests.integration.harness import query, running_stack

_PAUSE_S = 0.02
_FIRST_SHIPMENT_S = 60.0


@dataclass(frozen=True)
class Loss:
    """`rpo_s`: from the oldest acknowledged call that is lost to the kill; 0 where none is."""

    seed: int
    killed_after_s: float
    acknowledged: int
    lost: int
    rpo_s: float


def measure(seed: int, folder: Path, s3: S3Server, *, bucket: str, interval_s: float) -> Loss:
    """One round. `interval_s` is the shipper's.

    Raises:
        AssertionError: what is there is no prefix of what was acknowledged, or its books do not add up.
        StartError: the shipper did not begin.
    """
    moment_s = random.Random(seed).uniform(0.0, interval_s)  # noqa: S311 - a seeded moment, no secret
    try:
        with running_stack(folder / "stack") as stack:
            where = s3_environ(s3, folder, f"{bucket}/loss-{seed}")
            world = make_world(folder / "world", stack.postgres, "credits", where)
            tenant_id = stack.api.tenant(1_000_000)
            world.run_alone("run")
            shipper = world.start("ship-audit", f"--interval-s={interval_s}")
            try:
                _first_shipment(shipper.stderr)
                acknowledged = _spend(stack.api.http, tenant_id, moment_s)
                killed_at_s = time.monotonic()
                for kill in (
                    stack.service.child.kill,
                    stack.postgres.kill,
                    lambda: shipper.send_signal(signal.SIGKILL),
                ):
                    kill()
            finally:
                shipper.kill()
                shipper.communicate()
            stack.postgres.start()  # another one in its place, which has nothing of it
            world.destroy_database()
            world.run_alone("restore")
            return _compare(seed, world, moment_s, acknowledged, killed_at_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _first_shipment(log: object) -> None:
    deadline_s = time.monotonic() + _FIRST_SHIPMENT_S
    for line in log:  # type: ignore[attr-defined]
        if "audit log shipped" in line:
            return
        if time.monotonic() > deadline_s:
            break
    raise StartError(f"the shipper shipped nothing within {_FIRST_SHIPMENT_S:g} s")


def _spend(http: httpx.Client, tenant_id: str, for_s: float) -> list[tuple[str, float]]:
    """Keys and moments of what was acknowledged, in order."""
    acknowledged = []
    end_s = time.monotonic() + for_s
    while time.monotonic() < end_s:
        key = str(uuid.uuid4())
        body = {"tenant_id": tenant_id, "amount": 1, "idempotency_key": key}
        answer = http.post("/credits/consume", json=body)
        assert answer.status_code == httpx.codes.OK, answer.text
        acknowledged.append((key, time.monotonic()))
        time.sleep(_PAUSE_S)
    return acknowledged


def _compare(
    seed: int, world: World, moment_s: float, acknowledged: list[tuple[str, float]], killed_at_s: float
) -> Loss:
    restored = world.postgres.uri(f"{world.database}_new")
    rows = query(restored, "SELECT idempotency_key::text AS key FROM credits.ledger WHERE kind = 'consume'")
    there = {row["key"] for row in rows}
    kept = [key in there for key, _ in acknowledged]
    assert kept == sorted(kept, reverse=True), "an older call is lost and a newer one is there"
    assert world.faults(restored) == []
    lost = [at_s for (_, at_s), whole in zip(acknowledged, kept, strict=True) if not whole]
    rpo_s = killed_at_s - lost[0] if lost else 0.0
    return Loss(seed, round(moment_s, 2), len(acknowledged), len(lost), round(rpo_s, 2))
