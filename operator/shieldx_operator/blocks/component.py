"""What is told of a service: a condition for each component, and Ready as the most telling of those not true."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shieldx_contract import HTTP_PORT, LABEL_COMPONENT
from shieldx_operator.blocks.api import COMPONENT as API_COMPONENT
from shieldx_operator.blocks.api import VERSION_LABEL
from shieldx_operator.blocks.diagnosis import (
    Finding,
    deployment_rolled_out,
    progress_deadline_exceeded,
    workload_finding,
)
from shieldx_operator.blocks.meta import Service
from shieldx_operator.blocks.spec import summary
from shieldx_operator.engine.types import Condition, Obj, Observation, Results

POLL_S: Final = 5.0
"""Pods and Events are not watched: while something is amiss, they are looked at this often."""


@dataclass(frozen=True, slots=True)
class Component:
    """One component's condition; `needs_person` makes the whole object Stalled."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    needs_person: bool = False

    @classmethod
    def of(cls, condition: str, finding: Finding | None, *, waiting: tuple[str, str]) -> "Component":
        """False with what was found, or with the reason and message of `waiting` while nothing is wrong."""
        if finding is not None:
            return cls(condition, "False", finding.reason, finding.message, finding.needs_person)
        return cls(condition, "False", *waiting)

    def condition(self) -> Condition:
        return Condition(self.type, self.status, self.reason, self.message)


def suspended() -> list[Condition]:
    return summary("Unknown", "Suspended", "spec.suspend is true: nothing is repaired; set it to false to go on")


def overall(parts: Sequence[Component], results: Results, available: str) -> list[Condition]:
    """Ready, Reconciling and Stalled: the first thing that needs a person speaks for the whole.

    Else the first that is not true; one that is unknown, because it waits for another, comes last.
    """
    failure = next(iter(results.failures), None)
    if failure is not None:
        message = f"{failure.where}: {failure.message}"
        return summary("False", failure.reason, message, needs_person=not failure.retryable)
    amiss = [p for p in parts if p.status != "True"]
    if not amiss:
        return summary("True", "Available", available)
    first = min(amiss, key=lambda p: (not p.needs_person, p.status == "Unknown"))
    return summary("False", first.reason, first.message, needs_person=first.needs_person)


def component_pods(seen: Observation, component: str) -> list[Obj]:
    """Of the pods that the reconcile read as `pods`."""
    return [p for p in seen.lists.get("pods", ()) if p["metadata"]["labels"].get(LABEL_COMPONENT) == component]


def last_told(parent: Obj, condition: str) -> Obj:
    """The condition as it stands in the status now, or {}."""
    found: Obj = next((c for c in parent.get("status", {}).get("conditions", ()) if c["type"] == condition), {})
    return found


def api_workload(
    service: Service, seen: Observation, live: Obj | None, *, minimum: int, version: str, waiting: tuple[str, str]
) -> Component:
    """The API's pods. `waiting` is the reason and the message while there is no Deployment yet."""
    name = "WorkloadReady"
    if live is None:
        return Component(name, "Unknown", *waiting)
    state = live.get("status", {})
    if deployment_rolled_out(live, min_available=minimum):
        return Component(name, "True", "Available", f"version {version}: {_pods(state['availableReplicas'])}")
    finding = workload_finding(live, component_pods(seen, API_COMPONENT), ())
    if finding is None and progress_deadline_exceeded(live):
        finding = Finding(
            "RolloutStuck",
            f"Deployment {service.name}: new pods did not become ready within 5 minutes; see "
            f"`kubectl -n {service.namespace} describe pods -l {service.label_selector()}`",
            needs_person=True,
        )
    progress = (
        f"pods of this revision: {state.get('updatedReplicas', 0)} of "
        f"{max(minimum, live['spec'].get('replicas', 1))}; {_pods(state.get('availableReplicas', 0))}"
    )
    return Component.of(name, finding, waiting=("RollingOut", progress))


def _pods(count: int) -> str:
    return "1 pod serves" if count == 1 else f"{count} pods serve"


def endpoint(service: Service) -> str:
    return f"http://{service.host()}:{HTTP_PORT}"


def running_version(seen: Observation, live: Obj | None) -> str | None:
    """The version of the pod template that was rolled out last."""
    if live is None:
        before = seen.parent.get("status", {}).get("version")
        return str(before) if before else None
    labels = live["spec"]["template"]["metadata"].get("labels", {})
    return str(labels[VERSION_LABEL]) if VERSION_LABEL in labels else None


def api_fields(service: Service, seen: Observation, live: Obj | None) -> Obj:
    """What the status of every API tells beside its conditions."""
    state = (live or {}).get("status", {})
    replicas = (live or {}).get("spec", {}).get("replicas", 0)
    ready = state.get("readyReplicas", 0)
    told: Obj = {
        "endpoint": endpoint(service),
        "replicas": replicas,
        "readyReplicas": ready,
        "ready": f"{ready}/{replicas}",
    }
    running = running_version(seen, live)
    return told if running is None else {**told, "version": running}


def rejected(parts: Sequence[Component], live: Obj | None, *, version: str, generation: int) -> Obj:
    """A version that could not be brought up while the one before it still serves, as a part of the status."""
    first = next((p for p in parts if p.needs_person), None)
    if first is None or live is None:
        return {}
    told = {"version": version, "generation": generation, "reason": first.reason, "message": first.message}
    return {"rejected": told}
