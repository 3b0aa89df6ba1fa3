"""What must be true of a Backup: a Job until it has ended, and then no more than its log."""

from typing import Final

from shieldx_operator.blocks import backup, hold, stores
from shieldx_operator.blocks.backup import Work
from shieldx_operator.blocks.diagnosis import job_condition
from shieldx_operator.blocks.resources import CONFIG_MAP, EVENT, JOB, NETWORK_POLICY, POD, SECRET, SERVICE_ACCOUNT
from shieldx_operator.blocks.workload import digest, pin_template
from shieldx_operator.engine.types import Obj, Observation, Plan, Query, Reads, Ref
from shieldx_operator.kinds.backup.view import POLICY_RESOURCE, RUN, View

OWNED: Final = (SERVICE_ACCOUNT, JOB, NETWORK_POLICY)
LOOKS_AT: Final = (SECRET, CONFIG_MAP, POLICY_RESOURCE, stores.CREDITS_RESOURCE)
LISTS: Final = (POD, EVENT)
DEADLINE_MARGIN_S: Final = 60
"""The program's own deadline comes first: it can say what was slow."""


def reads(v: View) -> Reads:
    """Once it has ended, its Job alone; before, what it is made of, its pods, and who holds the service."""
    if v.ended:
        return Reads((v.job,))
    namespace = v.service.namespace
    objects = [v.job]
    if v.effective is None and v.policy is not None:
        objects.append(v.policy)
    if v.credits_name:
        objects += [Ref(stores.CREDITS_RESOURCE, namespace, v.credits_name), hold.ref(namespace, v.credits_name)]
    if v.effective and v.stores:
        objects += backup.secrets(namespace, v.effective, v.stores, v.reaches)
    queries = {
        "pods": Query(POD, namespace, label_selector=v.service.label_selector()),
        "Job warnings": Query(
            EVENT, namespace, field_selector="type=Warning,reason=FailedCreate,involvedObject.kind=Job"
        ),
    }
    return Reads(objects, queries)


def plan(v: View, seen: Observation) -> Plan:
    """While it runs all of it is held true; a Job that has ended needs neither account nor policies."""
    job = seen.objects.get(v.job)
    mine = frozenset(helpers(v))
    if v.ended or job_condition(job) in ("Complete", "Failed"):
        return Plan(keep=frozenset((v.job,)))
    work = v.work
    if work is None or (job is None and waits_for(v, work, seen)):
        return Plan()
    if backup.problem(work, seen):
        return Plan(keep=mine)
    return Plan(apply=[backup.account(work), *backup.network(work, seen), run(work, v, job)])


def waits_for(v: View, work: Work, seen: Observation) -> tuple[str, str] | None:
    """Reason and message of what must pass before the run begins; None: nothing."""
    restore = hold.holder(seen, v.service.namespace, work.target)
    if restore is not None:
        return "RestoreRuns", f"Restore {restore} holds CreditsService {work.target}; the copy is made when it is done"
    return backup.problem(work, seen)


def helpers(v: View) -> list[Ref]:
    """Everything that a run may be made of."""
    namespace, base = v.service.namespace, f"{v.service.name}-{RUN}"
    policies = [Ref(NETWORK_POLICY, namespace, f"{base}{suffix}") for suffix in ("", "-to-database", "-to-cache")]
    return [v.job, Ref(SERVICE_ACCOUNT, namespace, base), *policies]


def run(work: Work, v: View, live: Obj | None) -> Obj:
    stream = v.reaches[0]
    pod = backup.template(work, [backup.container(work, ("run", "--stream", stream), {})])
    deadline_s = work.run.deadline_seconds + DEADLINE_MARGIN_S
    made = backup.job(work.metadata(f"-{RUN}"), pod, deadline_s=deadline_s, hopeless=backup.HOPELESS)
    # a Job's template cannot change: what the first look built stays
    return pin_template(made, live, digest(work.run.to_json()))
