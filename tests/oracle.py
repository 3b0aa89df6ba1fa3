"""The crash oracle: a client that writes down what it wants before it asks, while everything may go away at any time.

Every intent is on disk before its request is sent, every answer after it came. Afterwards each intent is sent again,
with its key, until it is answered; then the ledger must hold exactly what the answers say. Standing alone, with the
standard library and aiohttp, so that a pod can run this very file: see `main`.
"""

import asyncio
import json
import os
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import aiohttp

CALL_TIMEOUT_S = 5.0
SETTLE_S = 30.0
"""Within which each key has its answer once everything is back."""
SETTLERS = 4
MORE_S = 10.0
"""So much longer a client on a busy machine goes on until it has its least answers."""
SETTLED = (200, 201, 402, 422)
"""What a request was finally answered; all else may be sent again, but for a 409 of a hold that is closed."""
CLOSED = "reservation-closed"
DELTAS = {"purchase": 1, "refund": 1, "consume": -1, "commit": -1, "expire": -1}
"""What an entry of so many credits does to the balance; other kinds do nothing to it."""


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
    """Status None: it was not answered yet."""

    path: str
    body: dict[str, Any]
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """What the oracle looks at of a row of the ledger."""

    tenant_id: str
    version: int
    kind: str
    amount: int
    balance_after: int
    transaction_id: str
    key: str | None
    related_id: str | None


def read_diary(lines: Iterable[str]) -> dict[str, Intent]:
    """What was wanted and answered, by key, out of the file alone, as a client that has crashed would.

    Raises: OracleError, a key was answered twice and not the same.
    """
    found: dict[str, Intent] = {}
    for line in lines:
        fact = json.loads(line)
        if "path" in fact:
            found[fact["key"]] = Intent(fact["path"], fact["body"])
            continue
        intent = found[fact["key"]]
        if intent.status is not None and (intent.status, intent.answer) != (fact["status"], fact["answer"]):
            raise OracleError(f"key {fact['key']} was answered twice: {intent} and {fact}")
        intent.status, intent.answer = fact["status"], fact["answer"]
    return found


def is_final(status: int, answer: Mapping[str, Any]) -> bool:
    return status in SETTLED or (status == 409 and str(answer.get("type")).endswith(CLOSED))


class Client:
    """Makes up requests, and follows a hold or a consume that succeeded with a commit, cancel or refund."""

    def __init__(self, tenants: Sequence[str], diary: Diary, chance: random.Random, *, pause_s: float = 0.0) -> None:
        self.tenants = tenants
        self.diary = diary
        self.chance = chance
        self.pause_s = pause_s
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
            return "/credits/refund", {"transaction_id": transaction_id, "amount": chance.randint(1, amount + 1)}
        body: dict[str, Any] = {"tenant_id": tenant_id, "amount": chance.randint(1, 5)}
        if kind == "purchase":
            return "/credits/purchase", {**body, "priority": chance.randint(0, 2)}
        if kind == "reserve":
            return "/credits/reserve", {**body, "expires_in_s": chance.choice([1, 600])}
        return "/credits/consume", body

    async def run(self, http: aiohttp.ClientSession, done: Callable[[int], bool]) -> None:
        """Goes on until `done` says so of the number of its answers."""
        while not done(self.answers):
            path, body = self.wish()
            key = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
            body = {**body, "idempotency_key": key}
            self.diary.write(key=key, path=path, body=body)
            answer = await send(http, path, body)
            if answer is None and self.chance.random() < 0.5:
                # a part of the unanswered is retried at once, the rest by who comes after the crash
                await asyncio.sleep(0.05)
                answer = await send(http, path, body)
            if answer is not None:
                self.note(key, path, body, *answer)
            await asyncio.sleep(self.pause_s if answer is not None else 0.05)

    def note(self, key: str, path: str, body: Mapping[str, Any], status: int, answer: dict[str, Any]) -> None:
        self.diary.write(key=key, status=status, answer=answer)
        self.answers += 1
        if status == 201:
            self.holds.append(answer["reservation_id"])
        elif status == 200 and path == "/credits/consume":
            self.consumed.append((answer["transaction_id"], body["amount"]))


async def send(http: aiohttp.ClientSession, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """Status and body of a final answer; None: it has to be sent again."""
    try:
        async with http.post(path, json=body) as answer:
            said = await answer.json(content_type=None)
            return (answer.status, said) if is_final(answer.status, said) else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None


def session(url: str, api_key: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        url, headers={"Authorization": f"Bearer {api_key}"}, timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    )


async def settle_all(http: aiohttp.ClientSession, intents: Mapping[str, Intent], diary: Diary) -> None:
    """Sends what was not answered until it is; and what was, once more: the answer must be the same.

    Raises: OracleError, a key was not answered in time.
    """
    todo = iter(intents.items())

    async def some() -> None:
        for key, intent in todo:
            deadline = time.monotonic() + SETTLE_S
            while (answer := await send(http, intent.path, intent.body)) is None:
                if time.monotonic() > deadline:
                    raise OracleError(f"key {key} of {intent} was not answered within {SETTLE_S:g} s")
                await asyncio.sleep(0.1)
            diary.write(key=key, status=answer[0], answer=answer[1])

    await asyncio.gather(*[some() for _ in range(SETTLERS)])


def check_answers(intents: Mapping[str, Intent], entries: Sequence[Entry]) -> list[str]:
    """Every success is in the ledger once and every refusal is not. Gives the keys that nobody here has asked with.

    Raises: OracleError.
    """
    times = Counter(entry.key for entry in entries if entry.key)
    doubled = [key for key, count in times.items() if count > 1]
    if doubled:
        raise OracleError(f"keys stand twice in the ledger: {doubled[:5]}")
    entered = {entry.key: entry.transaction_id for entry in entries if entry.key}
    for key, intent in intents.items():
        if intent.status in (200, 201):
            told = intent.answer.get("transaction_id") or intent.answer["reservation_id"]
            if entered.get(key) != told:
                raise OracleError(f"key {key}: answered {intent.status} as {told}, the ledger has {entered.get(key)}")
        elif intent.status is None:
            raise OracleError(f"key {key} of {intent} was never answered")
        elif key in entered:
            raise OracleError(f"key {key} was answered {intent.status} and stands in the ledger")
    return [key for key in entered if key not in intents]


def check_sums(entries: Sequence[Entry], balance: int, version: int) -> None:
    """Of one tenant's ledger: no version is missing, the balance is its sum and was never below 0.

    Raises: OracleError.
    """
    total = 0
    for number, entry in enumerate(sorted(entries, key=lambda e: e.version), start=1):
        total += DELTAS.get(entry.kind, 0) * entry.amount
        if entry.version != number or not entry.balance_after == total >= 0:
            raise OracleError(f"version {number} with a sum of {total} is {entry}")
    if (balance, version) != (total, len(entries)):
        raise OracleError(f"the account has {balance} in version {version}, the ledger {total} in {len(entries)}")


def crossings(entries: Sequence[Entry], thresholds: Sequence[int]) -> Counter[int]:
    """How often what a tenant can spend fell below each threshold after it was not below; it begins with its second
    entry. Where entries of one movement go up and down at once (grants that expire), there may be more than it tells.
    """
    found: Counter[int] = Counter()
    held: dict[str, int] = {}
    before: int | None = None
    for entry in sorted(entries, key=lambda e: e.version):
        if entry.kind == "reserve":
            held[entry.transaction_id] = entry.amount
        elif entry.kind in ("commit", "cancel", "release"):
            held.pop(str(entry.related_id))
        available = entry.balance_after - sum(held.values())
        if before is not None:
            found.update(t for t in thresholds if available < t <= before)
        before = available
    return found


async def ask(told: Mapping[str, Any], file: TextIO, stopped: Callable[[], bool]) -> None:
    """Several clients at once until it is stopped. `told` as in `main`; `file` is the diary."""
    clients = [
        Client(told["tenants"], Diary(file), random.Random(told["seed"] * 1000 + n), pause_s=told["pause_s"])  # noqa: S311 - reproducible on purpose
        for n in range(told["clients"])
    ]
    over_at: list[float] = []

    def done(answers: int) -> bool:
        if not stopped():
            return False
        over_at.append(time.monotonic())
        return answers >= told["least"] or time.monotonic() - over_at[0] > MORE_S

    async with session(told["url"], told["key"]) as http:
        await asyncio.gather(*[client.run(http, done) for client in clients])


async def settle(told: Mapping[str, Any], intents: Mapping[str, Intent], file: TextIO) -> None:
    """Brings every intent of the diary `file` to an answer. `told` as in `main`."""
    async with session(told["url"], told["key"]) as http:
        await settle_all(http, intents, Diary(file))


def ask_until(told: Mapping[str, Any], stopped: Callable[[], bool]) -> None:
    """`ask`, from a thread that has no loop; writes the diary that is told."""
    with Path(told["diary"]).open("a", encoding="utf-8") as file:
        asyncio.run(ask(told, file, stopped))


def settle_diary(told: Mapping[str, Any]) -> None:
    """`settle`, from a thread that has no loop, for the diary that is told. Raises: OracleError."""
    path = Path(told["diary"])
    intents = read_diary(path.read_text(encoding="utf-8").splitlines())
    with path.open("a", encoding="utf-8") as file:
        asyncio.run(settle(told, intents, file))


def main() -> None:
    """Inside of a pod: reads one line of JSON with `url`, `key`, `tenants`, `diary`, `seed`, `clients`, `least`,
    `pause_s`; asks until the input ends (or, with `settle`, settles) and prints the diary.
    """
    told = json.loads(sys.stdin.readline())
    if told.get("settle"):
        settle_diary(told)
    else:
        ended = threading.Event()

        def listen() -> None:
            sys.stdin.read()
            ended.set()

        threading.Thread(target=listen, daemon=True).start()
        ask_until(told, ended.is_set)
    sys.stdout.write(Path(told["diary"]).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
