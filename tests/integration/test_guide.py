"""The examples of the guide run as they stand and give the statuses that stand beside them."""

from pathlib import Path

from tests.integration.guides import run_guide
from tests.integration.harness import Stack

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "credits-api.md"


def test_every_example_of_the_guide_gives_what_it_says(stack: Stack) -> None:
    run_guide(GUIDE, {"SHIELDX_URL": stack.api.url, "SHIELDX_ADMIN_KEY": stack.admin_key}, calls=40)
