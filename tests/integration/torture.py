"""The crash oracle: a client that writes down what it wants before it asks, while everything is killed at random.

Every intent is on disk before its request is sent, every answer after it came. Afterwards each unanswered intent is
sent again, with its key, until it is answered; then the ledger must hold exactly what the answers say. Run it by
`make torture SEEDS=n`, or as `python -m tests.integration.torture --seeds n`.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import httpx

from tests.integration.harness import Api, Stack, assert_books_balance, running_stack

CLIENTS = 8
TENANTS = 4
KILLS = 3
ROUND_S = 4.0
LEAST_ANSWERS = 5
"""Of each client; on a busy machine it goes on for at most `MORE_S` until it has them."""
MORE_S = 20.0
SETTLED = (200, 201, 402, 422)
"""What a request was finally answered; all else may be sent again."""


class OracleError(AssertionError):
    """The ledger is not what the answers say."""


@dataclass
class Diary:
    """One line a fact, each on disk before the next thing happens."""

    file: TextIO

    def write(self, **fact: Any) -> None:
        self.file.write(json.dumps(fact) + "\n")
        self.file.flush()
        os.fdatasync(self.file.fileno())


@dataclass
class Intent:
    path: str
    body: dict[str, Any]
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)


def read_diary(path: Path) -> dict[str, Intent]:
    """What was wanted and answered, out of the file alone, as a client that has crashed would."""
    found: dict[str, Intent] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        if "path" in fact:
            found[fact["key"]] = Intent(fact["path"], fact["body"])
        else:
            intent = found[fact["key"]]
            if intent.status is not None and (intent.status, intent.answer) != (fact["status"], fact["answer"]):
                raise OracleError(f"key {fact['key']} was answered twice: {intent} and {fact}")
            intent.status, intent.answer = fact["status"], fact["answer"]
    return found


class Client:
    """Makes up requests, and follows a hold or a consume that succeeded with a commit, cancel or refund."""

    def __init__(self, api: Api, tenants: list[str], diary: Diary, chance: random.Random) -> None:
        self.api = api
        self.tenants = tenants
        self.diary = diary
        self.chance = chance
        self.holds: list[str] = []
        self.consumed: list[tuple[str, int]] = []
        self.answers = 0

    def wish(self) -> tuple[str, dict[str, Any]]:
        chance, tenant_id = self.chance, self.chance.choice(self.tenants)
        kind = chance.choice(["consume"] * 6 + ["purchase", "reserve", "close", "refund"])
        if kind == "close" and self.holds:
            path = f"/credits/reservations/{self.holds.pop()}/"
            return (path + "commit", {"amount": 1}) if chance.random() < 0.5 else (path + "cancel", {})
        if kind == "refund" and self.consumed:
            transaction_id, amount = self.consumed.pop()
            return "/credits/refund", {"transaction_id": transaction_id, "amount": chance.randint(1, amount)}
        body: dict[str, Any] = {"tenant_id": tenant_id, "amount": chance.randint(1, 5)}
        if kind == "purchase":
            return "/credits/purchase", {**body, "priority": chance.randint(0, 2)}
        if kind == "reserve":
            return "/credits/reserve", {**body, "expires_in_s": chance.choice([1, 600])}
        return "/credits/consume", body

    async def run(self, until: float) -> None:
        async with httpx.AsyncClient(base_url=self.api.url, headers=self.api.headers, timeout=5) as http:
            while time.monotonic() < until or (self.answers < LEAST_ANSWERS and time.monotonic() < until + MORE_S):
                path, body = self.wish()
                key = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
                body = {**body, "idempotency_key": key}
                self.diary.write(key=key, path=path, body=body)
                answer = await send(http, path, body)
                if answer is None or answer.status_code not in SETTLED:
                    # a part of the unanswered is retried at once, the rest by who comes after the crash
                    await asyncio.sleep(0.05)
                    answer = await send(http, path, body) if self.chance.random() < 0.5 else None
                if answer is not None and answer.status_code in SETTLED:
                    self.note(key, path, answer)

    def note(self, key: str, path: str, answer: httpx.Response) -> None:
        self.diary.write(key=key, status=answer.status_code, answer=answer.json())
        self.answers += 1
        if answer.status_code == 201:
            self.holds.append(answer.json()["reservation_id"])
        elif answer.status_code == 200 and path == "/credits/consume":
            self.consumed.append((answer.json()["transaction_id"], 1))


async def send(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> httpx.Response | None:
    try:
        return await http.post(path, json=body)
    except httpx.HTTPError:
        return None


async def kill_and_restart(stack: Stack, chance: random.Random, until: float) -> Counter[str]:
    """Ends things with -9 at random moments and starts them again; how often each."""
    done: Counter[str] = Counter()
    moments = sorted(chance.uniform(0.3, ROUND_S) for _ in range(KILLS))
    began = until - ROUND_S
    for moment in moments:
        await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
        victim = chance.choice(["service", "service", "postgres", "postgres", "redis"])
        done[victim] += 1
        if victim == "service":
            stack.service.child.kill()
            await asyncio.sleep(chance.uniform(0, 0.2))
            stack.service.start(wait_ready_s=0)
        elif victim == "postgres":
            stack.postgres.kill()
            await asyncio.sleep(chance.uniform(0, 0.3))
            stack.postgres.start()
        else:
            stack.redis.kill()
            await asyncio.sleep(chance.uniform(0, 0.3))
            stack.redis.start()
    return done


def torture(stack: Stack, seed: int, folder: Path) -> Counter[str]:
    """One round. Raises: OracleError, or an AssertionError that says which books do not balance."""
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    tenants = [stack.api.tenant(300) for _ in range(TENANTS)]
    path = folder / f"diary-{seed}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        diary = Diary(file)
        clients = [
            Client(stack.api, tenants, diary, random.Random(seed * 1000 + n))  # noqa: S311 - as above
            for n in range(CLIENTS)
        ]

        async def round_() -> Counter[str]:
            until = time.monotonic() + ROUND_S
            killed, *_ = await asyncio.gather(
                kill_and_restart(stack, chance, until), *[client.run(until) for client in clients]
            )
            return killed

        killed = asyncio.run(round_())
        stack.service.child.wait_until(stack.service.ready, 30)
        stack.api.http.close()
        stack.api.http = httpx.Client(base_url=stack.api.url, headers=stack.api.headers, timeout=15)
        settle_all(stack, read_diary(path), diary)
    intents = read_diary(path)
    check(stack, intents, tenants)
    return killed + Counter(str(intent.status) for intent in intents.values())


def settle_all(stack: Stack, intents: dict[str, Intent], diary: Diary) -> None:
    """Sends what was not answered until it is; and what was, once more: the answer must be the same."""
    for key, intent in intents.items():
        deadline = time.monotonic() + 30
        while True:
            with suppress(httpx.HTTPError):
                answer = stack.api.http.post(intent.path, json=intent.body)
                if answer.status_code in (*SETTLED, 404, 409) and answer.json().get("type", "x")[-9:] != "in-flight":
                    break
            if time.monotonic() > deadline:
                raise OracleError(f"key {key} of {intent} was not answered within 30 s")
            time.sleep(0.1)
        diary.write(key=key, status=answer.status_code, answer=answer.json())


def check(stack: Stack, intents: dict[str, Intent], tenants: list[str]) -> None:
    """Every success is in the ledger once, every refusal is not, and the books balance."""
    rows = stack.sql(
        "SELECT idempotency_key, transaction_id, count(*) AS n FROM credits.ledger "
        "WHERE tenant_id = ANY ($1) AND idempotency_key IS NOT NULL GROUP BY 1, 2",
        tenants,
    )
    entered = {str(row["idempotency_key"]): str(row["transaction_id"]) for row in rows}
    if len(entered) != len(rows) or any(row["n"] != 1 for row in rows):
        raise OracleError("a key stands twice in the ledger")
    for key, intent in intents.items():
        if intent.status in (200, 201):
            told = intent.answer.get("transaction_id") or intent.answer["reservation_id"]
            if entered.get(key) != told:
                raise OracleError(
                    f"key {key} was answered {intent.status} with {told}, the ledger has {entered.get(key)}"
                )
        elif key in entered:
            raise OracleError(f"key {key} was answered {intent.status} and stands in the ledger")
    ours = set(intents)
    strange = [key for key in entered if key not in ours]
    if len(strange) != len(tenants):
        raise OracleError(
            f"{len(strange)} entries in the ledger that nobody asked for, beside each tenant's first purchase"
        )
    for tenant_id in tenants:
        assert_books_balance(stack, tenant_id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="shieldx-torture-"))
    total: Counter[str] = Counter()
    with running_stack(folder, durable=True) as stack:
        for seed in range(options.first, options.first + options.seeds):
            seen = torture(stack, seed, folder)
            total += seen
            print(f"seed {seed}: {dict(seen)}", flush=True)  # noqa: T201 - it talks to a person
    print(f"{options.seeds} seeds: nothing lost, nothing doubled, the books balance: {dict(total)}")  # noqa: T201
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
