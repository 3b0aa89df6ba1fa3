"""Up and down: which provider, what is there already, what is left of a killed run."""

import json
import os
from pathlib import Path

from dev.cluster import owner, providers
from dev.cluster.owner import Record
from dev.cluster.paths import CHECKOUT, CHOICE, KUBECONFIG, STATE, cache_folder
from dev.cluster.providers import NAME, Provider
from dev.cluster.steps import Steps
from dev.localkube.process import StepError, run

METRICS_SERVER = Path(__file__).with_name("manifests") / "metrics-server.yaml"
READY_TIMEOUT_S = 120
HEALTH_TIMEOUT_S = 5
COREDNS_PATCH = {
    "spec": {
        "replicas": 1,
        "template": {"spec": {"containers": [{"name": "coredns", "resources": {"requests": {"cpu": "25m"}}}]}},
    }
}


def record_path() -> Path:
    return cache_folder() / "cluster" / f"{NAME}.json"


def lock_path() -> Path:
    return cache_folder() / "cluster" / f"{NAME}.lock"


def up() -> None:
    """Reuse a healthy cluster of this checkout, or make one.

    Raises:
        StepError: the cluster is another checkout's, or a step failed.
    """
    steps = Steps()
    context = os.environ.get("CONTEXT", "")
    STATE.mkdir(mode=0o700, exist_ok=True)
    if context:
        provider: Provider = providers.choose(steps.say, context)
        provider.create(KUBECONFIG)
        remember(provider, context)
        KUBECONFIG.chmod(0o600)
        return
    with owner.locked(lock_path()):
        record = owner.read(record_path())
        if record and record.ready:
            provider = providers.of_kind(steps.say, record.provider)
            alive = healthy(provider)
            owner.require_ours(record, CHECKOUT, alive=alive)
            if alive and record.checkout == str(CHECKOUT) and current_choice()[0] == record.provider:
                steps.say(f"the cluster {NAME} is up already")
                return
        provider = make(steps, record)
    steps.say(f"cluster {NAME} is up: {steps.report()}")


def make(steps: Steps, record: Record | None) -> Provider:
    """Remove what an earlier run left, and make the cluster anew."""
    if record is not None:
        steps.say("removing what an earlier run left")
        providers.of_kind(steps.say, record.provider).delete()
    KUBECONFIG.unlink(missing_ok=True)
    provider = providers.choose(steps.say, "")
    owner.write(record_path(), Record(provider.kind, str(CHECKOUT), ready=False))
    provider.create(KUBECONFIG)
    remember(provider)
    add_ons(steps, provider)
    owner.write(record_path(), Record(provider.kind, str(CHECKOUT), ready=True))
    return provider


def down(*, purge: bool) -> None:
    """Remove the cluster, and with ``purge`` the caches.

    Raises:
        StepError: it is the user's own, or another checkout's, or a part does not go.
    """
    steps = Steps()
    kind, context = current_choice()
    if context := os.environ.get("CONTEXT", "") or (context if kind == "context" else ""):
        providers.of_kind(steps.say, "context", context).delete()
    with owner.locked(lock_path()):
        record = owner.read(record_path())
        provider = providers.of_kind(steps.say, record.provider if record else "local")
        if record is not None and record.checkout != str(CHECKOUT):
            owner.require_ours(record, CHECKOUT, alive=healthy(provider))
        provider.delete()
        if purge:
            provider.purge()
        for path in (record_path(), KUBECONFIG, CHOICE):
            path.unlink(missing_ok=True)
    steps.say("the cluster is gone" + (", and its caches" if purge else ""))


def kubectl() -> list[str]:
    """The beginning of a kubectl command for this checkout's cluster.

    Raises:
        StepError: there is none.
    """
    if not KUBECONFIG.exists():
        raise StepError(f"this checkout has no cluster ({KUBECONFIG} is missing): run `make cluster`")
    return [*provider_of_this_checkout().kubectl(), f"--kubeconfig={KUBECONFIG}"]


def provider_of_this_checkout() -> Provider:
    kind, context = current_choice()
    return providers.of_kind(_quiet, kind or "local", context)


def healthy(provider: Provider) -> bool:
    """Whether this checkout's kubeconfig leads to an API server that says it is ready."""
    if not KUBECONFIG.exists():
        return False
    asked = [*provider.kubectl(), f"--kubeconfig={KUBECONFIG}", "get", "--raw=/readyz", "--request-timeout=2s"]
    try:
        return run(asked, timeout_s=HEALTH_TIMEOUT_S, check=False).stdout.strip() == "ok"
    except StepError:
        return False


def add_ons(steps: Steps, provider: Provider) -> None:
    """metrics-server, and one CoreDNS instead of two, on whichever kind cluster."""
    command = [*provider.kubectl(), f"--kubeconfig={KUBECONFIG}"]
    steps.say("metrics-server and CoreDNS")
    patch = ["--namespace=kube-system", "patch", "deployment", "coredns", f"--patch={json.dumps(COREDNS_PATCH)}"]
    run([*command, *patch], timeout_s=30)
    run([*command, "apply", f"--filename={METRICS_SERVER}"], timeout_s=30)
    for deployment in ("coredns", "metrics-server"):
        status = ["--namespace=kube-system", "rollout", "status", f"deployment/{deployment}"]
        run([*command, *status, f"--timeout={READY_TIMEOUT_S}s"], timeout_s=READY_TIMEOUT_S + 10)


def remember(provider: Provider, context: str = "") -> None:
    CHOICE.write_text(json.dumps({"provider": provider.kind, "context": context}))


def current_choice() -> tuple[str, str]:
    """Provider and context that ``.state/kubeconfig`` leads to, empty where there is none."""
    try:
        choice = json.loads(CHOICE.read_text())
    except (FileNotFoundError, ValueError):
        return "", ""
    return choice["provider"], choice["context"]


def _quiet(_: str) -> None:
    """Commands that a script reads say nothing of their own."""
