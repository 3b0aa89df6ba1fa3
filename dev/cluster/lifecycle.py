"""Up and down: which provider, what is there already, what is left of a killed run."""

import json
import os
from pathlib import Path

from dev.cluster import owner, providers
from dev.cluster.owner import Record
from dev.cluster.place import Place
from dev.cluster.providers import Provider
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


def up(place: Place) -> None:
    """Reuse a healthy cluster of this checkout, or make one.

    Raises:
        StepError: the cluster is another checkout's, or a step failed.
    """
    steps = Steps()
    place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if context := os.environ.get("CONTEXT", ""):
        provider = providers.choose(place, steps.say, context)
        provider.create(place.kubeconfig)
        _remember(place, provider, context)
        return
    with owner.locked(place.lock):
        record = owner.read(place.record)
        if record and record.ready:
            alive = healthy(Path(record.kubeconfig), providers.of_kind(place, steps.say, record.provider))
            owner.require_ours(record, place.checkout, alive=alive)
            if alive and record.checkout == str(place.checkout) and current_choice(place)[0] == record.provider:
                steps.say(f"the cluster {place.name} is up already")
                return
        _make(place, steps, record)
    steps.say(f"cluster {place.name} is up: {steps.report()}")


def down(place: Place, *, purge: bool) -> None:
    """Remove the cluster, and with ``purge`` the caches.

    Raises:
        StepError: it is the user's own, or another checkout's, or a part does not go.
    """
    steps = Steps()
    kind, chosen_context = current_choice(place)
    context = os.environ.get("CONTEXT", "") or (chosen_context if kind == "context" else "")
    if context:
        providers.of_kind(place, steps.say, "context", context).delete()
    with owner.locked(place.lock):
        record = owner.read(place.record)
        provider = providers.of_kind(place, steps.say, record.provider if record else "local")
        if record is not None and record.checkout != str(place.checkout):
            owner.require_ours(record, place.checkout, alive=healthy(Path(record.kubeconfig), provider))
        provider.delete()
        if purge:
            provider.purge()
        for path in (place.record, place.kubeconfig, place.choice):
            path.unlink(missing_ok=True)
    steps.say("the cluster is gone" + (", and its caches" if purge else ""))


def kubectl(place: Place) -> list[str]:
    """The beginning of a kubectl command for this checkout's cluster.

    Raises:
        StepError: there is none.
    """
    return [*provider_of_this_checkout(place).kubectl(), f"--kubeconfig={place.kubeconfig}"]


def provider_of_this_checkout(place: Place) -> Provider:
    """The provider of the cluster that ``up`` made or chose.

    Raises:
        StepError: there is none.
    """
    kind, context = current_choice(place)
    if not kind or not place.kubeconfig.exists():
        raise StepError(f"this checkout has no cluster ({place.kubeconfig} is missing): run `make cluster`")
    return providers.of_kind(place, _quiet, kind, context)


def healthy(kubeconfig: Path, provider: Provider) -> bool:
    """Whether a kubeconfig leads to an API server that says it is ready."""
    if not kubeconfig.is_file():
        return False
    asked = [*provider.kubectl(), f"--kubeconfig={kubeconfig}", "get", "--raw=/readyz", "--request-timeout=2s"]
    try:
        return run(asked, timeout_s=HEALTH_TIMEOUT_S, check=False).stdout.strip() == "ok"
    except StepError:
        return False


def current_choice(place: Place) -> tuple[str, str]:
    """Provider and context that the checkout's kubeconfig leads to, empty where there is none."""
    try:
        choice = json.loads(place.choice.read_text())
    except (FileNotFoundError, ValueError):
        return "", ""
    return choice["provider"], choice["context"]


def _make(place: Place, steps: Steps, record: Record | None) -> None:
    """Remove what an earlier run left, and make the cluster anew."""
    if record is not None:
        steps.say("removing what an earlier run left")
        providers.of_kind(place, steps.say, record.provider).delete()
    for path in (place.kubeconfig, place.choice):
        path.unlink(missing_ok=True)
    provider = providers.choose(place, steps.say, "")
    owner.write(place.record, _record(place, provider, ready=False))
    provider.create(place.kubeconfig)
    _add_ons(steps, [*provider.kubectl(), f"--kubeconfig={place.kubeconfig}"])
    _remember(place, provider)
    owner.write(place.record, _record(place, provider, ready=True))


def _record(place: Place, provider: Provider, *, ready: bool) -> Record:
    return Record(provider.kind, str(place.checkout), str(place.kubeconfig), ready=ready)


def _add_ons(steps: Steps, kubectl_command: list[str]) -> None:
    """metrics-server, and one CoreDNS instead of two, on whichever kind cluster."""
    steps.say("metrics-server and CoreDNS")
    patch = ["--namespace=kube-system", "patch", "deployment", "coredns", f"--patch={json.dumps(COREDNS_PATCH)}"]
    run([*kubectl_command, *patch], timeout_s=30)
    run([*kubectl_command, "apply", f"--filename={METRICS_SERVER}"], timeout_s=30)
    for deployment in ("coredns", "metrics-server"):
        status = ["--namespace=kube-system", "rollout", "status", f"deployment/{deployment}"]
        run([*kubectl_command, *status, f"--timeout={READY_TIMEOUT_S}s"], timeout_s=READY_TIMEOUT_S + 10)


def _remember(place: Place, provider: Provider, context: str = "") -> None:
    place.kubeconfig.chmod(0o600)
    place.choice.write_text(json.dumps({"provider": provider.kind, "context": context}))


def _quiet(_: str) -> None:
    """Commands that a script reads say nothing of their own."""
