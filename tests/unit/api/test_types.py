"""How single fields are read, where an object did not come through the API server's own checks."""

from typing import Any

import pytest
from pydantic import ValidationError

from shieldx_operator.api.apiservice import Image
from shieldx_operator.api.base import api_name
from shieldx_operator.api.common import ResourceAmounts, SecretUriReference
from shieldx_operator.api.creditsservice import CreditsServiceSpec, ManagedCache, ManagedDatabase
from shieldx_operator.api.fields import cel_text
from shieldx_operator.api.tenant import TenantSpec

MANAGED: dict[str, Any] = {"database": {"managed": {}}, "cache": {"managed": {}}}


@pytest.mark.parametrize(
    ("python", "kubernetes"),
    [
        ("min_replicas", "minReplicas"),
        ("target_cpu_utilization_percentage", "targetCPUUtilizationPercentage"),
        ("cache_ttl_seconds", "cacheTTLSeconds"),
        ("tenant_id", "tenantID"),
        ("cpu", "cpu"),
        ("id", "id"),
    ],
)
def test_names_are_written_as_kubernetes_writes_them(python: str, kubernetes: str) -> None:
    assert api_name(python) == kubernetes


def test_an_unknown_field_is_an_error_that_names_it() -> None:
    with pytest.raises(ValidationError) as caught:
        CreditsServiceSpec.from_json({**MANAGED, "settings": {"logLvl": "info"}})
    assert caught.value.errors()[0]["loc"] == ("settings", "logLvl")


def test_a_parsed_spec_cannot_be_changed() -> None:
    spec = CreditsServiceSpec.from_json(MANAGED)
    with pytest.raises(ValidationError):
        spec.suspend = True  # type: ignore[misc]


def test_what_is_read_is_written_back_unchanged() -> None:
    spec = {
        **MANAGED,
        "profile": "Development",
        "resources": {"requests": {"cpu": "500m"}},
        "network": {"allowFrom": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}}]},
        "suspend": False,
    }
    assert CreditsServiceSpec.from_json(spec).to_json() == spec


def test_a_plain_number_is_a_quantity() -> None:
    assert ResourceAmounts.from_json({"cpu": 2, "memory": 1073741824}).to_json() == {
        "cpu": "2",
        "memory": "1073741824",
    }


@pytest.mark.parametrize("cpu", ["500m", "2", "0.5", "0.05", "1.5", "2000m"])
def test_a_cpu_quantity_is_read(cpu: str) -> None:
    assert ResourceAmounts.from_json({"cpu": cpu}).cpu == cpu


@pytest.mark.parametrize("cpu", ["0", "0m", "0.0", "-1", "500mi", "1Gi", "1e3", "", " 1", "1 ", "1\n", True, 0, 1.5])
def test_what_is_no_positive_cpu_quantity_is_refused(cpu: Any) -> None:
    with pytest.raises(ValidationError):
        ResourceAmounts.from_json({"cpu": cpu})


@pytest.mark.parametrize("memory", ["512Mi", "2Gi", "1.5Gi", "0.5Gi", "1000000", "500M", "64k"])
def test_a_quantity_of_bytes_is_read(memory: str) -> None:
    assert ResourceAmounts.from_json({"memory": memory}).memory == memory


@pytest.mark.parametrize("memory", ["0", "0Gi", "512mb", "500m", "1K", "-1Gi", "1e9", "1 Gi"])
def test_what_is_no_positive_quantity_of_bytes_is_refused(memory: str) -> None:
    with pytest.raises(ValidationError):
        ResourceAmounts.from_json({"memory": memory})


@pytest.mark.parametrize("size", ["64Mi", "1Gi"])
def test_the_memory_of_a_cache_is_read(size: str) -> None:
    assert ManagedCache.from_json({"maxMemory": size}).max_memory == size


@pytest.mark.parametrize("size", ["64", 64, "64M", "1.5Gi", "0Mi"])
def test_the_memory_of_a_cache_is_whole_mebibytes_or_gibibytes(size: Any) -> None:
    with pytest.raises(ValidationError):
        ManagedCache.from_json({"maxMemory": size})


@pytest.mark.parametrize("version", ["0.1.0", "v1.2.3", "0.2.0-rc.1", "1.0.0-20260101", "0.1.0.dev1"])
def test_a_release_is_a_version(version: str) -> None:
    assert CreditsServiceSpec.from_json({**MANAGED, "version": version}).version == version


@pytest.mark.parametrize("version", ["latest", "main", "1", "1.2", "1.2.3+build", "1.2.3/x", "", "1.2.3-"])
def test_a_name_that_moves_is_no_version(version: str) -> None:
    with pytest.raises(ValidationError):
        CreditsServiceSpec.from_json({**MANAGED, "version": version})


@pytest.mark.parametrize("name", ["shieldx-platform", "registry.example.com/a/b", "localhost:5000/a", "a_b/c.d"])
def test_a_repository_is_an_image_name_without_tag(name: str) -> None:
    assert Image.from_json({"repository": name}).repository == name


@pytest.mark.parametrize("name", ["a:tag", "a@sha256:" + "0" * 64, "https://a/b", "A/b", "a//b", "localhost:5000", ""])
def test_a_repository_with_more_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Image.from_json({"repository": name})


@pytest.mark.parametrize("image", ["postgres", "postgres:17.2", "r.example.com:5000/x/postgres:17@sha256:" + "a" * 64])
def test_an_image_reference_is_read(image: str) -> None:
    assert ManagedDatabase.from_json({"image": image}).image == image


@pytest.mark.parametrize("image", ["postgres:", "postgres@sha256:abc", "https://x/y", ":17", "a b"])
def test_what_is_no_image_reference_is_refused(image: str) -> None:
    with pytest.raises(ValidationError):
        ManagedDatabase.from_json({"image": image})


@pytest.mark.parametrize("name", ["a", "a.b-c", "credits-db"])
def test_the_name_of_a_secret_is_read(name: str) -> None:
    assert SecretUriReference.from_json({"name": name}).name == name


@pytest.mark.parametrize("name", ["A", "-a", "a-", "a..b", "a_b", "", "a" * 254])
def test_a_name_that_no_object_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        SecretUriReference.from_json({"name": name})


@pytest.mark.parametrize("tenant", ["org-1", "a", "a.b_c", "9"])
def test_a_tenant_id_is_read(tenant: str) -> None:
    assert TenantSpec.from_json({"serviceRef": {"name": "s"}, "tenantID": tenant}).tenant_id == tenant


@pytest.mark.parametrize("tenant", ["Org", "org-", ".a", "", "a" * 64])
def test_what_the_ledger_takes_for_no_id_is_refused(tenant: str) -> None:
    with pytest.raises(ValidationError):
        TenantSpec.from_json({"serviceRef": {"name": "s"}, "tenantID": tenant})


def test_a_label_key_that_no_label_can_have_is_refused() -> None:
    with pytest.raises(ValidationError):
        CreditsServiceSpec.from_json({**MANAGED, "scheduling": {"nodeSelector": {"my disk": "fast"}}})


def test_a_cel_literal_that_would_end_early_is_refused() -> None:
    with pytest.raises(ValueError, match="holds a quote"):
        cel_text("it's")
