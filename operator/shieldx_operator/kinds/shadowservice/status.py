"""What is told of a ShadowService: whether the credits service is there for it, and whether its pods serve."""

from shieldx_operator.blocks import component
from shieldx_operator.blocks.component import POLL_S, Component
from shieldx_operator.engine.types import Observation, Results, Status
from shieldx_operator.kinds.shadowservice.plan import billing_problem, credits_serve
from shieldx_operator.kinds.shadowservice.view import View, stores


def status(v: View, seen: Observation, results: Results) -> Status:
    """The whole status but for what the engine adds."""
    live = seen.objects.get(v.deployment)
    parts = [
        credits_service(v, seen),
        *billing(v, seen),
        component.api_workload(
            v.service,
            seen,
            live,
            minimum=v.effective.autoscaling.min_replicas,
            version=v.version,
            waiting=("WaitingForCredits", "the API's pods start when the credits service serves"),
        ),
    ]
    where = component.endpoint(v.service)
    told = (
        component.suspended()
        if v.effective.suspend
        else component.overall(parts, results, f"the shadow API serves at {where}")
    )
    fields = {
        **component.api_fields(v.service, seen, live),
        "effective": v.effective.to_json(),
        **component.rejected(parts[-1:], live, version=v.version, generation=v.generation),
    }
    found = stores(v, seen)
    if found is not None:
        fields["stores"] = {"database": found[0].secret.name, "cache": found[1].secret.name}
    settled = told[0].status == "True" or v.effective.suspend
    return Status([*told, *(p.condition() for p in parts)], fields, requeue_after_s=None if settled else POLL_S)


def billing(v: View, seen: Observation) -> list[Component]:
    """Whether evaluations can be paid, where they are to be."""
    terms = v.effective.billing
    if terms is None:
        return []
    problem = billing_problem(v, seen)
    if problem is not None:
        return [Component("BillingReady", "False", *problem, needs_person=True)]
    message = f"1,000 samples cost {terms.credits_per_thousand_samples} credits of {v.credits}"
    return [Component("BillingReady", "True", "Available", message)]


def credits_service(v: View, seen: Observation) -> Component:
    name = "CreditsReady"
    if v.credits not in seen.objects:
        message = f"spec.creditsRef.name: {v.credits} does not exist; create it, or correct the name"
        return Component(name, "False", "CreditsServiceNotFound", message, needs_person=True)
    if credits_serve(v, seen):
        return Component(name, "True", "Available", f"keys and stores are those of {v.credits}")
    message = component.last_told(seen.objects[v.credits], "Ready").get("message", "it has not been looked at yet")
    return Component(name, "False", "CreditsServiceNotReady", f"{v.credits} does not serve yet: {message}")
