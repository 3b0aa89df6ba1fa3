"""What unset fields mean, and that every field has exactly one meaning."""

from typing import Any

import pytest

from shieldx_operator.api.common import NetworkPeer
from shieldx_operator.api.creditsservice import CreditsServiceSpec
from shieldx_operator.api.defaults import (
    DEVELOPMENT,
    PRODUCTION,
    EffectiveCreditsService,
    effective,
    effective_tenant,
)
from shieldx_operator.api.schema import structural, walk
from shieldx_operator.api.tenant import TenantSpec

MANAGED: dict[str, Any] = {"database": {"managed": {}}, "cache": {"managed": {}}}


def effective_of(**spec: Any) -> EffectiveCreditsService:
    return effective(CreditsServiceSpec.from_json({**MANAGED, **spec}))


def leaves(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        here = f"{path}.{name}" if path else name
        found.update(leaves(value, here) if isinstance(value, dict) and value else {here: value})
    return found


def test_an_empty_spec_gets_the_figures_of_the_product_page() -> None:
    got = effective_of()
    assert got.profile == "Production"
    assert (got.autoscaling.min_replicas, got.autoscaling.max_replicas) == (3, 10)
    assert got.autoscaling.target_cpu_utilization_percentage == 70
    assert got.autoscaling.target_memory_utilization_percentage == 80
    assert got.disruption.min_available == 2
    assert (got.resources.requests.cpu, got.resources.limits.cpu) == ("500m", "2000m")
    assert (got.resources.requests.memory, got.resources.limits.memory) == ("512Mi", "2Gi")


def test_the_development_profile_fits_a_laptop() -> None:
    got = effective_of(profile="Development")
    assert (got.autoscaling.min_replicas, got.autoscaling.max_replicas) == (1, 2)
    assert got.disruption.min_available == 0
    assert got.resources.requests.cpu == "50m"


def test_deleting_an_object_keeps_its_ledger_unless_asked_and_drops_its_cache() -> None:
    got = effective_of()
    assert got.database.managed is not None
    assert got.database.managed.deletion_policy == "Retain"
    assert got.cache.managed is not None
    assert got.cache.managed.deletion_policy == "Delete"


def test_a_value_of_the_user_wins_and_its_neighbours_keep_their_defaults() -> None:
    got = effective_of(resources={"limits": {"cpu": 3}}, autoscaling={"minReplicas": 4})
    assert got.resources.limits.cpu == "3"
    assert got.resources.limits.memory == "2Gi"
    assert got.resources.requests.cpu == "500m"
    assert (got.autoscaling.min_replicas, got.autoscaling.max_replicas) == (4, 10)


def test_an_external_store_gets_no_managed_one_beside_it() -> None:
    got = effective_of(database={"external": {"secretRef": {"name": "db"}}})
    assert got.database.managed is None
    assert got.database.external is not None
    assert (got.database.external.secret_ref.name, got.database.external.secret_ref.key) == ("db", "uri")
    assert got.cache.managed is not None
    assert got.cache.external is None


def test_an_empty_selector_stays_empty_and_does_not_become_unset() -> None:
    peer = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "a"}}}
    got = effective_of(network={"allowFrom": [peer]})
    assert got.network.allow_from[0].to_json() == peer


def test_the_effective_settings_are_a_spec_that_means_the_same() -> None:
    got = effective_of(profile="Development", scheduling={"nodeSelector": {"disk": "fast"}})
    assert effective(CreditsServiceSpec.from_json(got.to_json())) == got


def test_changing_what_one_call_gave_changes_no_default() -> None:
    effective_of().network.allow_from.append(NetworkPeer())
    assert effective_of().network.allow_from == []
    assert PRODUCTION["network"]["allowFrom"] == []


def test_every_field_of_the_spec_is_a_field_of_the_effective_settings() -> None:
    asked = {path for path, _, _ in walk(structural(CreditsServiceSpec))}
    shown = {path for path, _, _ in walk(structural(EffectiveCreditsService))}
    assert asked == shown


def test_every_default_is_one_of_a_field_that_exists() -> None:
    fields = {path for path, _, _ in walk(structural(CreditsServiceSpec))}
    assert set(leaves(PRODUCTION)) <= fields


def test_both_profiles_speak_of_the_same_fields() -> None:
    assert leaves(PRODUCTION).keys() == leaves(DEVELOPMENT).keys()


def test_only_names_selectors_and_what_the_installation_decides_have_no_default() -> None:
    defaulted = set(leaves(PRODUCTION))
    undefaulted = {
        path
        for path, node, required in walk(structural(CreditsServiceSpec))
        if not required and "[]" not in path and node.get("type") != "object" and path not in defaulted
    }
    assert undefaulted == {
        "profile",
        "version",
        "image.repository",
        "image.pullPolicy",
        "image.pullSecrets",
        "database.managed.image",
        "database.managed.storage.storageClassName",
        "cache.managed.image",
        "cache.managed.storage.storageClassName",
        "scheduling.tolerations",
        "scheduling.priorityClassName",
    }


def test_a_tenant_takes_its_id_and_its_secret_from_its_name() -> None:
    got = effective_tenant("org-1", TenantSpec.from_json({"serviceRef": {"name": "credits"}}))
    assert (got.tenant_id, got.secret_name) == ("org-1", "org-1-credits-key")
    assert (got.scopes, got.overlap_seconds, got.rotation) == (["consume", "read"], 3600, None)


@pytest.mark.parametrize("field", ["tenantID", "displayName", "plan"])
def test_what_a_tenant_says_itself_is_taken(field: str) -> None:
    spec = TenantSpec.from_json({"serviceRef": {"name": "credits"}, field: "other"})
    assert effective_tenant("org-1", spec).to_json()[field] == "other"


def test_a_tenants_key_is_as_its_spec_says() -> None:
    key = {"scopes": ["read"], "secretName": "s", "rotation": "2", "overlapSeconds": 0}
    got = effective_tenant("org-1", TenantSpec.from_json({"serviceRef": {"name": "credits"}, "key": key}))
    assert (got.scopes, got.secret_name, got.rotation, got.overlap_seconds) == (["read"], "s", "2", 0)
