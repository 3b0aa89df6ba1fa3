"""As much of a life of the shadow kinds as shows what the operator must be allowed to do for them; no pod runs."""

from shieldx_operator.blocks.resources import CONFIG_MAP, JOB, NETWORK_POLICY, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from shieldx_operator.engine.types import Obj, Ref
from shieldx_operator.kinds.shadowevaluation import RESOURCE as EVALUATIONS
from shieldx_operator.kinds.shadowservice import RESOURCE as SERVICES
from tests.e2e.operator.life import condition
from tests.e2e.operator.site import Site
from tests.e2e.waiting import until

TOLD_WITHIN_S = 30
HELPERS = (CONFIG_MAP, SERVICE_ACCOUNT, ROLE, ROLE_BINDING, NETWORK_POLICY)
"""Of each kind an evaluation has one while its Job runs."""


def ask_for_a_service(site: Site, namespace: str) -> None:
    """One that misses the credits service whose keys it would take."""
    ref = Ref(SERVICES, namespace, "lonely")
    site.apply(ref, spec={"profile": "Development", "creditsRef": {"name": "nobody"}})
    until(f"{ref} says what it misses", lambda: condition(site.there(ref)).get("status") == "False", TOLD_WITHIN_S)
    site.delete(ref)


def ask_two_questions(site: Site, namespace: str) -> None:
    """An evaluation whose worker fits on no node, and which then asks something else: all of it is made again."""
    site.apply(Ref(CONFIG_MAP, namespace, "samples"), data={"samples.ndjson": "{}"})
    ref = Ref(EVALUATIONS, namespace, "question")
    made: list[str] = []
    for pattern in ("one", "another"):
        rule = {"id": "r", "type": "signature", "pattern": pattern}
        data = {"configMap": {"name": "samples", "key": "samples.ndjson"}}
        nowhere = {"nodeSelector": {"nowhere": "yes"}}
        site.apply(ref, spec={"rule": rule, "data": data, "shards": 1, "scheduling": nowhere})
        made.append(until(f"a Job for {pattern}", lambda: _only_job(site, namespace, made), TOLD_WITHIN_S))
    # deleted before that, its owner would be gone and the garbage collector would do what is the operator's to do
    until("nothing is left of the first question", lambda: _helpers_are_of_one(site, namespace), TOLD_WITHIN_S)
    site.delete(ref)
    for name in made:
        site.until_gone(Ref(JOB, namespace, name), TOLD_WITHIN_S)
    site.delete(Ref(CONFIG_MAP, namespace, "samples"))


def _helpers_are_of_one(site: Site, namespace: str) -> bool:
    selector = "app.kubernetes.io/name=shadow-evaluation"
    return all(len(site.list(resource, namespace, selector)) == 1 for resource in HELPERS)


def _only_job(site: Site, namespace: str, before: list[str]) -> str:
    """The name of the one Job that an evaluation has, once it is none of those before."""
    jobs: list[Obj] = site.list(JOB, namespace, "app.kubernetes.io/name=shadow-evaluation")
    names = [job["metadata"]["name"] for job in jobs]
    return names[0] if len(names) == 1 and names[0] not in before else ""
