"""What the API server checks across the fields of a ShadowService. See `rules`."""

from typing import Final

from shieldx_operator.api.rules import Rule, Tables, of_an_api, unchanged
from shieldx_operator.api.shadowservicedefaults import SHADOW_SERVICE_PROFILES

_TABLES: Final[Tables] = (SHADOW_SERVICE_PROFILES["Production"], SHADOW_SERVICE_PROFILES["Development"])

SHADOW_SERVICE_RULES: Final[tuple[Rule, ...]] = (
    *of_an_api(_TABLES),
    Rule(
        at="spec.creditsRef",
        field=".name",
        rule=unchanged("self.name"),
        message="cannot be changed: samples and results would stay behind; make a ShadowService for the other service",
        summary="`creditsRef.name` never changes: samples and results would stay behind.",
    ),
)
