"""A calm life from creation to deletion, and all that it must do, and must not leave behind."""

import json

import pytest
import yaml

from shieldx_contract import API_GROUP, MANAGED_BY
from tests.e2e.operator import compare
from tests.e2e.operator.life import SERVICE, TENANT, Life, service_spec, tenant_spec
from tests.e2e.operator.release import Release, Told, structured
from tests.e2e.operator.site import ROOT, Site

RULES = yaml.safe_load((ROOT / "charts/shieldx-platform/files/rules.yaml").read_text())
Permission = tuple[str, str]
"""Resource and verb."""


@pytest.fixture(scope="module")
def told(calm: Life) -> Told:
    assert calm.snapshots.keys() == {"created", "updated", "deleted"}
    assert calm.told is not None
    return calm.told


def used(told: Told) -> set[Permission]:
    """The permissions that calls with a good answer needed, as the API server checks them."""
    found: set[Permission] = set()
    for sample in told.metrics:
        resource, verb, code = sample.labels["resource"], sample.labels["verb"], sample.labels["code"]
        if code.startswith("2"):
            found.add((resource, verb))
        if (verb, code) == ("patch", "201"):
            found.add((resource, "create"))  # an apply that creates needs both
    # a watch that is alive has listed before
    return found | {(resource, verb) for resource in told.watched for verb in ("list", "watch")}


def granted() -> set[Permission]:
    """What the chart grants."""
    charted = (rule for part in ("watched", "home") for rule in RULES[part])
    return {(resource, verb) for rule in charted for resource in rule["resources"] for verb in rule["verbs"]}


def test_each_verb_that_is_granted_was_used_and_none_was_missing(told: Told) -> None:
    refused = [s for s in told.metrics if s.labels["code"] in ("401", "403")]
    assert refused == []
    assert "forbidden" not in "\n".join(told.logs).lower()
    unused = sorted(granted() - used(told))
    told_how = "no call of this life needed them: grant less, or let the life use them"
    assert unused == [], f"{told_how}: " + " ".join(f"{verb}:{resource}" for resource, verb in unused)


def test_no_secret_value_is_in_logs_events_statuses_or_pods(told: Told, calm: Life) -> None:
    assert len(calm.secrets) >= 10
    shown = {
        "log": "\n".join(told.logs),
        "events": json.dumps(told.events),
        "pods": json.dumps(told.pods),
        "objects": json.dumps([calm.snapshots[stage] for stage in ("created", "updated")]),
    }
    for place, text in shown.items():
        assert text
        leaked = [f"{value[:4]}... of {len(value)} characters" for value in calm.secrets if value in text]
        assert leaked == [], place


def test_every_line_of_the_log_is_json_with_a_time_a_level_and_a_message(told: Told) -> None:
    lines = structured(told.logs)
    assert len(lines) > 20
    assert [line for line in lines if not {"timestamp", "level", "message"} <= line.keys()] == []
    assert [line for line in lines if line["level"] in ("error", "critical")] == []


def test_everything_made_is_in_the_inventory_and_nothing_else_is(calm: Life) -> None:
    assert calm.orphans == {"created": set(), "updated": set()}


def test_what_outlives_the_object_is_its_data_and_nothing_else(calm: Life) -> None:
    left = {name for name in calm.snapshots["deleted"] if name != "Secret shared-cache"}
    assert left == {
        f"PersistentVolumeClaim {SERVICE}-db",
        *(f"Secret {SERVICE}-{s}" for s in ("db", "db-service", "auth", "audit")),
    }


def test_a_change_prunes_what_is_not_wanted_any_more(calm: Life) -> None:
    gone = calm.snapshots["created"].keys() - calm.snapshots["updated"].keys()
    cache = ("ConfigMap", "NetworkPolicy", "PersistentVolumeClaim", "Secret", "Service", "StatefulSet")
    assert gone == {f"PodDisruptionBudget {SERVICE}", *(f"{kind} {SERVICE}-cache" for kind in cache)}


def test_each_transition_is_an_event(told: Told, calm: Life) -> None:
    ours = [e for e in told.events if e.get("reportingComponent") == MANAGED_BY]
    for name, reason in ((SERVICE, "Available"), (TENANT, "Registered")):
        assert any(e["involvedObject"]["name"] == name and e["reason"] == reason for e in ours), name
    assert calm.namespace in {e["metadata"]["namespace"] for e in ours}


@pytest.mark.parametrize("kind", ["creditsservices", "tenants"])
def test_the_same_file_applied_again_shows_gitops_no_difference(
    site: Site, release: Release, standing: Life, kind: str
) -> None:
    release.wait_idle()
    name, spec = (SERVICE, service_spec()) if kind == "creditsservices" else (TENANT, tenant_spec("1"))
    ref = standing.service if kind == "creditsservices" else standing.tenant
    file = yaml.safe_dump(
        {
            "apiVersion": f"{API_GROUP}/v1alpha1",
            "kind": ref.resource.kind,
            "metadata": {"name": name, "namespace": standing.namespace},
            "spec": spec,
        }
    )
    before = site.there(ref)["metadata"]
    for command in (["apply", "--server-side"], ["apply", "--server-side"], ["diff", "--server-side"]):
        done = site.kubectl(*command, "-f", "-", "--field-manager=e2e-person", stdin=file, check=False)
        assert done.code == 0, done.text
    after = site.there(ref)["metadata"]
    assert after["generation"] == before["generation"]
    assert after["resourceVersion"] == before["resourceVersion"]


def test_an_object_that_is_left_alone_is_written_no_more(site: Site, release: Release, standing: Life) -> None:
    release.wait_idle()
    before = compare.versions(site, standing.namespace)
    site.merge(standing.service, {"metadata": {"labels": {"touched": "yes"}}})
    release.wait_idle()
    after = compare.versions(site, standing.namespace)
    scaled = f"HorizontalPodAutoscaler {SERVICE}"  # whose status the cluster writes as it measures
    moved = {name for name in before if before[name] != after[name]} - {scaled}
    assert moved == {f"CreditsService {SERVICE}"}, "a label of the user's is no reason to write anything"
