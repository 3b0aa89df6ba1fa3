"""What the API server checks across the fields of a ShadowEvaluation. See `rules`."""

from typing import Final

from shieldx_operator.api.rules import NAME_MAX_LENGTH, Rule, Tables, at_most_the_limit, named, value_of
from shieldx_operator.api.shadowevaluationdefaults import SHADOW_EVALUATION

_TABLES: Final[Tables] = (SHADOW_EVALUATION, SHADOW_EVALUATION)
_SHARDS: Final = value_of("shards", tables=_TABLES)

SHADOW_EVALUATION_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        at="",
        field=".metadata.name",
        rule=f"self.metadata.name.matches('^[a-z]([-a-z0-9]{{0,{NAME_MAX_LENGTH - 2}}}[a-z0-9])?$')",
        message=f"metadata.name must be at most {NAME_MAX_LENGTH} lower case letters, digits and '-', start with a "
        "letter and end with a letter or digit: names of a Job and its pods are made of it",
        summary=f"`metadata.name` is at most {NAME_MAX_LENGTH} characters and starts with a letter: names of a Job and "
        "its pods are made of it.",
    ),
    Rule(
        at="spec",
        field=".parallelism",
        rule=f"!has(self.parallelism) || self.parallelism <= {_SHARDS}",
        message=f"parallelism must not be more than {named('shards', tables=_TABLES)}: lower parallelism or raise "
        "shards",
        summary="`parallelism` is at most `shards`.",
    ),
    Rule(
        at="spec",
        field=".sampleSize",
        rule=f"!has(self.sampleSize) || self.sampleSize >= {_SHARDS}",
        message=f"sampleSize must be at least {named('shards', tables=_TABLES)}, or a shard would be empty: raise "
        "sampleSize or lower shards",
        summary="`sampleSize` is at least `shards`.",
    ),
    *at_most_the_limit("resources", tables=_TABLES),
)
