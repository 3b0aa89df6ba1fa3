"""Who must look again when an object is gone."""

from shieldx_operator.engine.readers import Readers
from shieldx_operator.engine.types import Ref, Resource

SERVICES = Resource("test.io", "v1", "Service", "services")
TENANTS = Resource("test.io", "v1", "Tenant", "tenants")
SECRETS = Resource("", "v1", "Secret", "secrets")
SERVICE, TENANT, OTHER = Ref(SERVICES, "a", "s"), Ref(TENANTS, "a", "t"), Ref(TENANTS, "a", "o")


def test_who_read_a_custom_resource_is_named_once_when_it_is_gone() -> None:
    readers = Readers({SERVICES, TENANTS})
    for reader in (TENANT, OTHER, TENANT):
        readers.note(reader, [SERVICE, Ref(SECRETS, "a", "s"), reader])
    assert readers.gone(Ref(SECRETS, "a", "s")) == []
    assert readers.gone(SERVICE) == [OTHER, TENANT]
    assert readers.gone(SERVICE) == []


def test_a_reader_that_is_gone_itself_is_not_asked_any_more() -> None:
    readers = Readers({SERVICES, TENANTS})
    readers.note(TENANT, [SERVICE])
    assert readers.gone(TENANT) == []
    assert readers.gone(SERVICE) == []
