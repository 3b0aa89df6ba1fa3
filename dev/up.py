"""`make up`: a credits platform, a verdict and a proved backup, each from one object, on a real cluster."""

import sys
import time
import uuid

from rich.console import Console
from rich.table import Table

from dev import backups, objects, platform
from dev.platform import PlatformError

NAMESPACE = "shieldx-demo"
SERVICE = "credits"
TENANT = "org-123"
EVALUATION = "rule-001"
API_PORT = 8080
READY_TIMEOUT_S = 180


def main() -> int:
    console = Console(highlight=False)
    start = time.monotonic()

    def step(text: str) -> None:
        console.print(f"[bold cyan]{time.monotonic() - start:6.1f} s[/] {text}")

    try:
        step("local cluster")
        platform.shown("python3", "-m", "dev.cluster", "up")
        step("images")
        platform.build_and_load_images()
        objects.build_and_load()
        step("operator, by its Helm chart")
        platform.install_chart()
        step("examples/creditsservice.yaml and examples/tenant.yaml")
        platform.ensure_namespace(NAMESPACE)
        applied = time.monotonic()
        for example in ("creditsservice", "tenant"):
            platform.kubectl("-n", NAMESPACE, "apply", "--server-side", "-f", f"examples/{example}.yaml")
        platform.wait_ready("creditsservice", SERVICE, NAMESPACE, READY_TIMEOUT_S)
        step(f"CreditsService Ready {time.monotonic() - applied:.1f} s after apply")
        platform.wait_ready("tenant", TENANT, NAMESPACE, READY_TIMEOUT_S)
        step(f"Tenant Ready {time.monotonic() - applied:.1f} s after apply")
        show_calls(console)
        step("examples/shadowevaluation.yaml: may this detection rule go live?")
        asked = time.monotonic()
        platform.kubectl("-n", NAMESPACE, "apply", "--server-side", "-f", "examples/shadowevaluation.yaml")
        platform.wait_ready("shadowevaluation", EVALUATION, NAMESPACE, READY_TIMEOUT_S)
        step(f"a verdict {time.monotonic() - asked:.1f} s after apply")
        show_verdict(console)
        step("examples/backuppolicy.yaml, with an S3 server: a copy, and a restore of it for a test")
        asked = time.monotonic()
        backups.apply_example(NAMESPACE)
        platform.wait_ready("backuppolicy", backups.POLICY, NAMESPACE, backups.READY_TIMEOUT_S)
        step(f"BackupPolicy Ready {time.monotonic() - asked:.1f} s after apply")
        backups.show(console, NAMESPACE)
    except (PlatformError, OSError) as error:
        console.print(f"[bold red]make up failed:[/] {error}", markup=True)
        return 1
    console.print()
    console.print(platform.kubectl("-n", NAMESPACE, "get", "creditsservices,tenants").rstrip(), soft_wrap=True)
    console.print(f"\nTalk to it:  export KUBECONFIG={platform.kubeconfig()}\nRemove it:   make down", soft_wrap=True)
    return 0


def show_verdict(console: Console) -> None:
    """The columns of the evaluation, and what its verdict rests on."""
    result = platform.get("shadowevaluation", EVALUATION, NAMESPACE)["status"]["result"]
    console.print(platform.kubectl("-n", NAMESPACE, "get", "shadowevaluations").rstrip(), soft_wrap=True)
    for text in (*result["reasons"], *result["recommendations"]):
        console.print(f"  - {text}", soft_wrap=True, markup=False)


def show_calls(console: Console) -> None:
    """A purchase, a consume, the same consume again, and one that is too large."""
    key = platform.secret_value(f"{TENANT}-credits-key", "api-key", NAMESPACE)
    consume = {"tenant_id": TENANT, "amount": 100, "description": "API call charge", "reference": "req-abc123"}
    once = {**consume, "idempotency_key": str(uuid.uuid4())}
    calls = [
        ("purchase 10,000", "purchase", {"tenant_id": TENANT, "amount": 10_000, "idempotency_key": str(uuid.uuid4())}),
        ("consume 100", "consume", once),
        ("the same again", "consume", once),
        ("consume too much", "consume", {**consume, "amount": 10**9, "idempotency_key": str(uuid.uuid4())}),
    ]
    table = Table("call", "status", "replayed", "answer")
    expected = [200, 200, 200, 402]
    with platform.port_forward(f"svc/{SERVICE}", API_PORT, NAMESPACE) as url:
        answers = [platform.call("POST", f"{url}/credits/{path}", key, body) for _, path, body in calls]
    for (name, _, _), answer in zip(calls, answers, strict=True):
        replayed = answer.headers.get("Idempotency-Replayed", answer.headers.get("idempotency-replayed", ""))
        told = answer.body.get("message") or f"{answer.body.get('error')}: available {answer.body.get('available')}"
        table.add_row(name, str(answer.status), replayed, str(told))
    console.print(table)
    if [a.status for a in answers] != expected:
        raise PlatformError(f"the calls above must answer {expected}")


if __name__ == "__main__":
    sys.exit(main())
