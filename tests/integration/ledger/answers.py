"""What tests of the ledger read out of its answers."""

from tests.integration.harness import Api


def left(api: Api, tenant_id: str) -> list[int]:
    """Of each grant what is left of it, in the order in which they were bought."""
    return [lot["remaining"] for lot in api.grants(tenant_id)]


def balance(api: Api, tenant_id: str) -> dict[str, int]:
    """All amounts of a balance."""
    body: dict[str, int] = api.balance(tenant_id).json()
    return {k: v for k, v in body.items() if k != "tenant_id"}
