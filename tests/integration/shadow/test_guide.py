"""The examples of the guide to the shadow API run as they stand and give the statuses that stand beside them."""

from pathlib import Path

from tests.integration.guides import run_guide
from tests.integration.harness import Api

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "shadow-api.md"


def test_every_example_of_the_guide_gives_what_it_says(shadow: Api, api: Api) -> None:
    tenant_id = api.tenant()
    told = {"SHIELDX_URL": shadow.url, "SHIELDX_KEY": api.issue(tenant_id, "read"), "SHIELDX_TENANT": tenant_id}
    said = run_guide(GUIDE, told, calls=7)
    assert "event: completed" in said
    assert '"judged":100' in said
    assert '"verdict":"PROMOTE"' in said
