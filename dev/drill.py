"""`make drill`: the database of the running platform is destroyed and brought back, beside the record of a client.

Until then a tenant spends through the API and keeps the keys of what was acknowledged. Afterwards everything that was
shipped must be there, what is missing must be younger than the moment that the restore tells, and the books add up.
"""

import sys
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from dev import backups, platform
from dev.platform import PlatformError
from dev.up import API_PORT, NAMESPACE, SERVICE, TENANT

SPEND_S = 75
"""Longer than the shipper's interval: part of it is shipped, part of it is not."""
EVERY_S = 0.5
DETECT_TIMEOUT_S = 120
RESTORE_TIMEOUT_S = 600
SERVE_TIMEOUT_S = 180
OBJECTIVE_RPO_S = 300
_FAULT = 500
_POLL_S = 0.2


@dataclass
class Record:
    """What the client knows: when each movement was acknowledged, and its amount, by idempotency key."""

    key: str
    acknowledged: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    def consume(self, url: str, amount: int = 1) -> int:
        """Status of one consume; one that was acknowledged is in the record."""
        body = {"tenant_id": TENANT, "amount": amount, "idempotency_key": str(uuid.uuid4())}
        answer = platform.call("POST", f"{url}/credits/consume", self.key, body)
        if answer.status == 200:  # noqa: PLR2004 - acknowledged
            self.acknowledged[str(body["idempotency_key"])] = (datetime.now(UTC), amount)
        return answer.status

    def spend(self, url: str, for_s: float) -> None:
        end_s = time.monotonic() + for_s
        while time.monotonic() < end_s:
            self.consume(url)
            time.sleep(EVERY_S)


class Clock:
    """The timeline, in seconds from the destruction."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self.rows: list[tuple[str, str, str]] = []

    def mark(self, phase: str, text: str) -> None:
        at = f"{time.monotonic() - self._began_s:.1f}"
        self.rows.append((at, phase, text))
        self._console.print(f"[bold cyan]{at:>6} s[/] [bold]{phase:8}[/] {text}", soft_wrap=True)


def main() -> int:
    console = Console(highlight=False)
    try:
        console.print(f"a tenant spends for {SPEND_S} s, and keeps the keys of what was acknowledged")
        platform.wait_ready("backuppolicy", backups.POLICY, NAMESPACE, timeout_s=10)
        record = Record(platform.secret_value(f"{TENANT}-credits-key", "api-key", NAMESPACE))
        with platform.port_forward(f"svc/{SERVICE}", API_PORT, NAMESPACE) as url:
            bought = {"tenant_id": TENANT, "amount": 1000, "idempotency_key": str(uuid.uuid4())}
            platform.call("POST", f"{url}/credits/purchase", record.key, bought)
            record.spend(url, SPEND_S)
            destroyed_at = datetime.now(UTC)
            psql("postgres", f"DROP DATABASE {SERVICE} WITH (FORCE)")
            clock = Clock(console)
            clock.mark("destroy", f"database {SERVICE!r} is dropped")
            detect(clock, record, url)
        status = restore(clock)
        serve(clock, record)
        compare(console, record, status, destroyed_at)
    except (PlatformError, OSError) as error:
        console.print(f"[bold red]make drill failed:[/] {error}", markup=True)
        return 1
    return 0


def psql(database: str, statement: str) -> list[str]:
    """Lines of a statement, asked inside of the database's pod."""
    program = ("psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", SERVICE, "-d", database)
    said = platform.kubectl("-n", NAMESPACE, "exec", "-i", f"{SERVICE}-db-0", "--", *program, stdin=statement)
    return [line for line in said.splitlines() if line]


def detect(clock: Clock, record: Record, url: str) -> None:
    """The first consume that is refused, and the condition that an operator on call sees."""
    end_s = time.monotonic() + DETECT_TIMEOUT_S
    while (status := record.consume(url)) < _FAULT:
        _wait(end_s, "a consume is answered with 503")
    clock.mark("detect", f"the API answers a consume with {status}: nothing is charged")


def restore(clock: Clock) -> dict[str, object]:
    """The restore of examples/restore.yaml under a name of its own; its status when it has succeeded."""
    name = f"drill-{datetime.now(UTC):%Y%m%d%H%M%S}"
    example = (platform.ROOT / "examples" / "restore.yaml").read_text(encoding="utf-8")
    platform.kubectl(
        *("-n", NAMESPACE, "apply", "--server-side", "-f", "-"),
        stdin=example.replace("name: after-the-accident", f"name: {name}"),
    )
    clock.mark(
        "restore", f"Restore {name} is applied: in place, of the newest verified copy and what was shipped after it"
    )
    end_s = time.monotonic() + RESTORE_TIMEOUT_S
    phase = ""
    while True:
        status: dict[str, object] = platform.get("restore", name, NAMESPACE).get("status", {})
        if status.get("phase") != phase:
            phase = str(status.get("phase"))
            clock.mark("restore", f"phase {phase}")
        if phase == "Failed":
            raise PlatformError(f"Restore {name}: {status.get('failure')}; {status.get('rolledBack')}")
        if phase == "Succeeded":
            break
        _wait(end_s, f"Restore {name} succeeds")
    steps = status.get("timeline")
    for line in steps if isinstance(steps, list) else []:
        proof = any(word in line for word in ("compared", "verified", "replayed"))
        clock.mark("verify" if proof else "restore", f"its Job, {line}")
    return status


def serve(clock: Clock, record: Record) -> None:
    """The service is Ready and takes a consume."""
    platform.wait_ready("creditsservice", SERVICE, NAMESPACE, SERVE_TIMEOUT_S)
    end_s = time.monotonic() + SERVE_TIMEOUT_S
    with platform.port_forward(f"svc/{SERVICE}", API_PORT, NAMESPACE) as url:
        while (status := record.consume(url)) != 200:  # noqa: PLR2004 - acknowledged
            _wait(end_s, f"a consume is acknowledged (the last answer was {status})")
    clock.mark("serve", f"CreditsService Ready, a consume with the same key of the tenant is acknowledged ({status})")


def compare(console: Console, record: Record, status: dict[str, object], destroyed_at: datetime) -> None:
    """The client's record beside the restored ledger.

    Raises:
        PlatformError: something is lost that was shipped, more than the objective allows, or the books differ.
    """
    there = set(psql(SERVICE, f"SELECT idempotency_key FROM credits.ledger WHERE tenant_id = '{TENANT}'"))  # noqa: S608
    lost = sorted(at for key, (at, _) in record.acknowledged.items() if key not in there)
    replayed_to = datetime.fromisoformat(str(status["replayedTo"]))
    rpo_s = (destroyed_at - lost[0]).total_seconds() if lost else 0.0
    table = Table("of the client's own record", "", show_header=False)
    table.add_row("acknowledged", str(len(record.acknowledged)))
    table.add_row("in the restored ledger", str(len(record.acknowledged) - len(lost)))
    table.add_row("lost: not shipped yet", f"{len(lost)}, the oldest {rpo_s:.1f} s before the destruction")
    table.add_row("restored to", str(status["replayedTo"]))
    console.print(table)
    if lost and lost[0] < replayed_to:
        raise PlatformError(f"a movement acknowledged at {lost[0]} is lost, and the restore tells {replayed_to}")
    if rpo_s > OBJECTIVE_RPO_S:
        raise PlatformError(f"{rpo_s:.0f} s are lost, the objective is {OBJECTIVE_RPO_S} s")
    said = platform.kubectl("-n", NAMESPACE, "exec", f"deploy/{SERVICE}", "--", "shieldx", "credits", "verify")
    console.print(said.strip(), soft_wrap=True, markup=False)


def _wait(end_s: float, what: str) -> None:
    if time.monotonic() > end_s:
        raise PlatformError(f"not in time: {what}")
    time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
