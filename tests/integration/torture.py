"""Everything is killed at random under the crash oracle (tests/oracle.py); then an auditor looks at what is left.

Run it by `make torture SEEDS=n`, or as `python -m tests.integration.torture --seeds n`. A seed makes the same
wishes and kills the same at the same moments each time; what meets what is the machine's choice.
"""

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx

from shieldx_contract import ENV_SEAL_INTERVAL_S
from shieldx_runtime.core.checkpoint import Checkpoint, Verifier
from shieldx_runtime.core.merkle import leaf_hash, verify_consistency, verify_inclusion
from shieldx_runtime.credits.export import export_ledger
from shieldx_runtime.credits.export_verify import verify
from tests.integration.harness import Stack, assert_books_balance, command, running_stack
from tests.integration.hook import Hook
from tests.oracle import (
    Entry,
    OracleError,
    ask_until,
    check_answers,
    check_sums,
    crossings,
    read_diary,
    settle_diary,
)

CLIENTS = 8
GIVEN = (300, 120, 60, 25)
"""Credits of the tenants at the start: some have enough, some do not."""
KILLS = 3
ROUND_S = 4.0
LEAST_ANSWERS = 3
REFUSED = 0.2
"""The part of the alerts that the webhook does not take at once."""
SEEDS_OF_A_STACK = 25
"""Then everything is made anew: the auditor reads the whole ledger after each seed."""
SETTINGS = {ENV_SEAL_INTERVAL_S: "0.2"}
ALERTS = "SELECT alert_id::text, tenant_id, threshold FROM credits.alerts WHERE tenant_id = ANY ($1)"
UNSEALED = """
SELECT FROM credits.chain_heads h LEFT JOIN credits.tree_chains t USING (chain_id) WHERE h.seq > coalesce(t.seq, 0)
"""
ENTRIES = """
SELECT tenant_id, version, kind, amount, balance_after, transaction_id::text, idempotency_key::text AS key,
       related_id::text
FROM credits.ledger WHERE tenant_id = ANY ($1) ORDER BY tenant_id, version
"""


def thresholds_of(given: int) -> list[int]:
    return [given * 9 // 10, given // 2, 5]


@dataclass
class Auditor:
    """Has the public key and the checkpoints that it was shown, and trusts nothing else."""

    public_key: Path
    kept: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, stack: Stack) -> "Auditor":
        made = cls(stack.folder / "public.pem")
        made.public_key.write_text(command("public-key", environ=stack.service.environ).stdout, encoding="utf-8")
        return made

    @property
    def verifier(self) -> Verifier:
        return Verifier.from_pem(self.public_key.read_bytes())

    def look(self, stack: Stack, transactions: list[str]) -> int:
        """Checks the export against all kept checkpoints and the proofs of these; keeps the newest checkpoint.

        Gives how many entries are sealed. Raises: BadExportError, ProofError, CheckpointError, AssertionError.
        """
        until("everything is sealed", lambda: not stack.sql(UNSEALED))
        export = BytesIO()
        asyncio.run(export_ledger(stack.service.database_uri_file, export))
        export.seek(0)
        known = [self.verifier.open(note) for note in self.kept]
        report = verify(export, self.verifier, known)
        self._grown(stack, known)
        for transaction_id in transactions:
            proof = got(stack, f"/credits/proof/{transaction_id}")
            head = self.verifier.open(proof["checkpoint"])
            assert transaction_id in proof["entry"]
            verify_inclusion(
                leaf_hash(proof["entry"].encode()), proof["leaf_index"], head.size, path_of(proof), head.root
            )
        return report.sealed

    def _grown(self, stack: Stack, known: list[Checkpoint]) -> None:
        if known:
            old = known[-1]
            proof = got(stack, f"/credits/consistency?from={old.size}")
            head = self.verifier.open(proof["checkpoint"])
            assert head.size > old.size
            verify_consistency(old.size, old.root, head.size, head.root, path_of(proof))
        self.kept.append(got(stack, "/credits/checkpoint")["checkpoint"])

    def verify_by_command(self, stack: Stack) -> str:
        """`export-ledger`, then `verify-ledger` with the public key and the checkpoints alone; `verify` on the rows."""
        books = command("verify", environ=stack.service.environ)
        assert books.returncode == 0, books.stderr
        export = stack.folder / "ledger.ndjson"
        written = command("export-ledger", "-o", export, environ=stack.service.environ)
        assert written.returncode == 0, written.stderr
        options: list[str | Path] = []
        for number, note in enumerate(self.kept):
            file = stack.folder / f"checkpoint-{number}"
            file.write_text(note, encoding="utf-8")
            options += ["--checkpoint", file]
        done = command("verify-ledger", export, "--public-key", self.public_key, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def path_of(proof: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(step) for step in proof["path"]]


def got(stack: Stack, path: str) -> dict[str, Any]:
    answer = stack.api.http.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def until(what: str, holds: Any, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise OracleError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)


def kill_and_restart(stack: Stack, chance: random.Random) -> Counter[str]:
    """Ends things with -9 at random moments and starts them again; how often each. For the main thread."""
    done: Counter[str] = Counter()
    began = time.monotonic()
    for moment in sorted(chance.uniform(0.3, ROUND_S) for _ in range(KILLS)):
        victim, pause_s = chance.choice(["service", "service", "postgres", "postgres", "redis"]), chance.uniform(0, 0.3)
        time.sleep(max(0.0, began + moment - time.monotonic()))
        done[victim] += 1
        if victim == "service":
            stack.service.child.kill()
            time.sleep(pause_s)
            stack.service.start(wait_ready_s=0)
        elif victim == "postgres":
            stack.postgres.kill()
            time.sleep(pause_s)
            stack.postgres.start()
        else:
            stack.redis.kill()
            time.sleep(pause_s)
            stack.redis.start()
    time.sleep(max(0.0, began + ROUND_S - time.monotonic()))
    return done


def torture(stack: Stack, auditor: Auditor, seed: int) -> Counter[str]:
    """One round. Raises: OracleError, what the auditor finds, or an AssertionError that says which books are wrong."""
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    tenants = [stack.api.tenant(given) for given in GIVEN]
    diary = stack.folder / f"diary-{seed}.jsonl"
    told = {
        "url": stack.api.url,
        "key": stack.admin_key,
        "tenants": tenants,
        "diary": str(diary),
        "seed": seed,
        "clients": CLIENTS,
        "least": LEAST_ANSWERS,
        "pause_s": 0.0,
    }
    with closing(Hook()) as hook:
        hook.answers = [500 if chance.random() < REFUSED else 200 for _ in range(1000)]
        for tenant_id, given in zip(tenants, GIVEN, strict=True):
            rule = {"thresholds": thresholds_of(given), "webhook_url": hook.url}
            assert stack.api.http.put(f"/credits/alerts/{tenant_id}", json=rule).status_code == 200
        seen = _under_fire(stack, told, chance)
        seen["alerts"] = check_alerts(stack, hook, dict(zip(tenants, GIVEN, strict=True)))
        for tenant_id in tenants:
            assert stack.api.http.put(f"/credits/alerts/{tenant_id}", json={"thresholds": []}).status_code == 200
    intents = read_diary(diary.read_text(encoding="utf-8").splitlines())
    entries = entries_of(stack, tenants)
    strange = check_answers(intents, entries)
    if len(strange) != len(tenants):
        raise OracleError(f"beside each tenant's first purchase nobody asked for {strange}")
    for tenant_id in tenants:
        assert_books_balance(stack, tenant_id)
    seen["sealed"] = auditor.look(stack, [entry.transaction_id for entry in chance.sample(entries, 4)])
    return seen + Counter(str(intent.status) for intent in intents.values())


def _under_fire(stack: Stack, told: dict[str, Any], chance: random.Random) -> Counter[str]:
    """The clients have a thread of their own: they go on while the main thread kills, and waits for what it started."""
    over = threading.Event()
    failed: list[BaseException] = []

    def clients() -> None:
        try:
            ask_until(told, over.is_set)
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            failed.append(error)

    asking = threading.Thread(target=clients)
    asking.start()
    try:
        killed = kill_and_restart(stack, chance)
    finally:
        over.set()
        asking.join(120)
    assert not failed, failed
    stack.service.child.wait_until(stack.service.ready, 30)
    stack.api.http.close()
    stack.api.http = httpx.Client(base_url=stack.api.url, headers=stack.api.headers, timeout=15)
    settle_diary(told)
    return killed


def entries_of(stack: Stack, tenants: list[str]) -> list[Entry]:
    return [Entry(**row) for row in stack.sql(ENTRIES, tenants)]


def check_alerts(stack: Stack, hook: Hook, given: dict[str, int]) -> int:
    """Each crossing has one alert, and each alert was taken by the webhook, at least once; how many those were.

    Raises: OracleError.
    """
    tenants = list(given)

    def delivered() -> bool:
        # as if the time had passed that a killed process had for its delivery, or until the next try
        return not stack.sql(
            "UPDATE credits.alerts SET next_attempt_at = clock_timestamp() "
            "WHERE next_attempt_at IS NOT NULL AND tenant_id = ANY ($1) RETURNING 1",
            tenants,
        )

    until("every alert is delivered", delivered)
    alerts = stack.sql(
        "SELECT alert_id::text, tenant_id, threshold FROM credits.alerts WHERE tenant_id = ANY ($1)", tenants
    )
    entries = entries_of(stack, tenants)
    for tenant_id, credits_ in given.items():
        mine = [entry for entry in entries if entry.tenant_id == tenant_id]
        check_sums(mine, mine[-1].balance_after, mine[-1].version)
        crossed = crossings(mine, thresholds_of(credits_))
        told = Counter(row["threshold"] for row in alerts if row["tenant_id"] == tenant_id)
        if crossed != told:
            raise OracleError(f"{tenant_id} crossed {dict(crossed)}, and there are alerts of {dict(told)}")
    ids = {row["alert_id"]: (row["tenant_id"], row["threshold"]) for row in alerts}
    if missing := set(ids) - set(hook.accepted):
        raise OracleError(f"alerts that are marked as delivered were never taken: {missing}")
    for fields, body in hook.received:
        data = json.loads(body)["data"]
        if ids.get(fields["webhook-id"]) != (data["tenant_id"], data["threshold"]):
            raise OracleError(f"the webhook was told of {data}, and there is no such alert")
    return len(alerts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    total: Counter[str] = Counter()
    began = time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    for first in seeds[::SEEDS_OF_A_STACK]:
        folder = Path(tempfile.mkdtemp(prefix="shieldx-torture-"))
        with ExitStack() as exits:
            stack = exits.enter_context(running_stack(folder, durable=True, **SETTINGS))
            auditor = Auditor.of(stack)
            for seed in range(first, min(first + SEEDS_OF_A_STACK, seeds.stop)):
                seen = torture(stack, auditor, seed)
                sealed = seen.pop("sealed")
                total += seen
                print(f"seed {seed}: {dict(seen)}, {sealed} entries verify", flush=True)  # noqa: T201 - to a person
            print(f"verify-ledger: {auditor.verify_by_command(stack)}", flush=True)  # noqa: T201
            total["entries verified"] += sealed
        # what a failure leaves stays: it is evidence
        shutil.rmtree(folder, ignore_errors=True)
    print(  # noqa: T201
        f"{options.seeds} seeds in {time.monotonic() - began:.0f} s: nothing lost, nothing doubled, nothing below 0, "
        f"every crossing told, every proof verifies: {dict(total)}"
    )


if __name__ == "__main__":
    main()
