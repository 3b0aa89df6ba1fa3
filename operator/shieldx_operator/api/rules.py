"""What the API server checks across fields: CEL rules, as data.

A rule about two fields takes for an unset one what the operator would take: the default of the object's profile,
written into the rule out of `defaults`. So `maxReplicas: 2` alone is refused in Production, whose minReplicas is 3.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from shieldx_operator.api.defaults import DEFAULT_PROFILE, DEVELOPMENT, PRODUCTION, TENANT_SECRET_SUFFIX
from shieldx_operator.api.fields import TENANT_ID, cel_text

NAME_MAX_LENGTH: Final = 40
"""Of a CreditsService: names of its objects are this name and a suffix, and must fit the 63 characters of a label."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule on the field `at` ("" is the whole object), told about `field` below it.

    `message` is what a user reads who broke the rule, `summary` the sentence for the reference page.
    """

    at: str
    rule: str
    message: str
    summary: str
    field: str = ""

    def to_json(self) -> dict[str, str]:
        field = {"fieldPath": self.field} if self.field else {}
        return {"rule": self.rule, "message": self.message, **field}


Tables: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The defaults of a kind in profile Production and in profile Development; twice the same where it has no profiles."""
_CREDITS: Final[Tables] = (PRODUCTION, DEVELOPMENT)


def _literal(value: Any) -> str:
    return cel_text(value) if isinstance(value, str) else str(value)


def _default(tree: Mapping[str, Any], path: str) -> Any:
    value: Any = tree
    for part in path.split("."):
        value = value[part]
    return value


def _is_set(path: str, of: str) -> str:
    parts = path.split(".")
    return " && ".join(f"has({of}.{'.'.join(parts[: i + 1])})" for i in range(len(parts)))


def value_of(path: str, *, of: str = "self", default: str = "", tables: Tables = _CREDITS) -> str:
    """CEL, on the spec: the value of the field at `path`, or what the operator takes where it is unset.

    `default` is CEL for that where it is not the profile's. Written with `has` instead of optional values (`.?`):
    the API server bounds the cost of a rule by the sizes it knows, and it knows none behind an optional.
    """
    if not default:
        production, development = (_default(table, path) for table in tables)
        default = _literal(production)
        if production != development:
            chosen = f"has({of}.profile) ? {of}.profile : {cel_text(DEFAULT_PROFILE)}"
            default = f"(({chosen}) == 'Development' ? {_literal(development)} : {_literal(production)})"
    return f"({_is_set(path, of)} ? {of}.{path} : {default})"


def _compared(left: str, method: str, right: str, result: str = "") -> str:
    """CEL that compares two quantities; true where one is none, which has a message of its own already."""
    a, b = f"string({left})", f"string({right})"
    return f"!isQuantity({a}) || !isQuantity({b}) || quantity({a}).{method}(quantity({b})){result}"


def named(path: str, shown: str = "", *, tables: Tables = _CREDITS) -> str:
    """A field in a message, with what it is taken for where it is unset: a user sees why it counts."""
    production, development = (_default(table, path) for table in tables)
    default = f"{production}" if production == development else f"{production}, in profile Development {development}"
    return f"{shown or path} (unset: {default})"


def unchanged(expression: str) -> str:
    return f"{expression} == {expression.replace('self.', 'oldSelf.')}"


def at_most_the_limit(where: str, *, tables: Tables = _CREDITS) -> Iterable[Rule]:
    """Requests above limits: Kubernetes refuses such a pod long after the user has gone."""
    branch = where.rpartition(".")[0]
    guard = f"!has(self.{branch}) || " if branch else ""
    for amount in ("cpu", "memory"):
        request, limit = f"{where}.requests.{amount}", f"{where}.limits.{amount}"
        yield Rule(
            at="spec",
            field=f".{where}",
            rule=guard
            + _compared(value_of(request, tables=tables), "compareTo", value_of(limit, tables=tables), " <= 0"),
            message=f"{named(request, f'requests.{amount}', tables=tables)} must not be more than "
            f"{named(limit, f'limits.{amount}', tables=tables)}: lower the request or raise the limit",
            summary=f"`{request}` is at most `{limit}`.",
        )


def _never_shrinks(store: str) -> Rule:
    """A volume claim refuses to shrink: the object would stall where nobody looks."""
    size = f"{store}.managed.storage.size"
    return Rule(
        at="spec",
        field=f".{store}.managed",
        rule=(
            f"!has(self.{store}.managed) || !has(oldSelf.{store}.managed) || "
            + _compared(value_of(size), "compareTo", value_of(size, of="oldSelf"), " >= 0")
        ),
        message=f"{named(size, 'storage.size')} cannot shrink, a volume only grows: restore the old size (or the "
        "profile it came from), or move the data to a new CreditsService",
        summary=f"`{size}` never shrinks.",
    )


def _keeps_its_class(store: str) -> Rule:
    return Rule(
        at=f"spec.{store}.managed",
        field=".storage",
        rule=unchanged(value_of("storage.storageClassName", default="''")),
        message="storageClassName cannot be set, changed or unset once the volume exists: restore the old value, or "
        "move the data to a new CreditsService",
        summary=f"`{store}.managed.storage.storageClassName` never changes.",
    )


def _exactly_one(store: str, what: str) -> Rule:
    return Rule(
        at=f"spec.{store}",
        rule="has(self.external) != has(self.managed)",
        message=f"set exactly one of external (a {what} of yours, by a Secret with its URI) and managed (one that the "
        "operator runs; {} takes all defaults)",
        summary=f"Exactly one of `{store}.external` and `{store}.managed`.",
    )


def named_for_services() -> Rule:
    return Rule(
        at="",
        field=".metadata.name",
        rule=f"self.metadata.name.matches('^[a-z]([-a-z0-9]{{0,{NAME_MAX_LENGTH - 2}}}[a-z0-9])?$')",
        message=f"metadata.name must be at most {NAME_MAX_LENGTH} lower case letters, digits and '-', start with a "
        "letter and end with a letter or digit: names of Services and pods are made of it",
        summary=f"`metadata.name` is at most {NAME_MAX_LENGTH} characters and starts with a letter: names of Services "
        "and pods are made of it.",
    )


def of_an_api(tables: Tables) -> Iterable[Rule]:
    """What every kind that serves an API asks: of its name, its pods, their disruption and their end."""

    def value(path: str) -> str:
        return value_of(path, tables=tables)

    def told(path: str, shown: str = "") -> str:
        return named(path, shown, tables=tables)

    yield named_for_services()
    yield Rule(
        at="spec",
        field=".autoscaling",
        rule=f"{value('autoscaling.minReplicas')} <= {value('autoscaling.maxReplicas')}",
        message=f"{told('autoscaling.minReplicas', 'minReplicas')} must not be more than "
        f"{told('autoscaling.maxReplicas', 'maxReplicas')}: lower minReplicas or raise maxReplicas",
        summary="`autoscaling.minReplicas` is at most `autoscaling.maxReplicas`.",
    )
    yield Rule(
        at="spec",
        field=".disruption",
        rule=f"{value('disruption.minAvailable')} < {value('autoscaling.minReplicas')}",
        message=f"{told('disruption.minAvailable', 'minAvailable')} must be less than "
        f"{told('autoscaling.minReplicas')}, or no node could ever be drained: lower minAvailable or raise "
        "minReplicas",
        summary="`disruption.minAvailable` is less than `autoscaling.minReplicas`.",
    )
    yield Rule(
        at="spec",
        field=".settings",
        rule=(
            f"{value('settings.terminationGracePeriodSeconds')} > "
            f"{value('settings.drainDelaySeconds')} + {value('settings.requestTimeoutSeconds')}"
        ),
        message=f"{told('settings.terminationGracePeriodSeconds', 'terminationGracePeriodSeconds')} must be more "
        f"than {told('settings.drainDelaySeconds', 'drainDelaySeconds')} and "
        f"{told('settings.requestTimeoutSeconds', 'requestTimeoutSeconds')} together, or a stopping pod cuts off "
        "requests: raise terminationGracePeriodSeconds or lower the others",
        summary="`settings.terminationGracePeriodSeconds` is more than `settings.drainDelaySeconds` and "
        "`settings.requestTimeoutSeconds` together.",
    )
    yield from at_most_the_limit("resources", tables=tables)


CREDITS_SERVICE: Final[tuple[Rule, ...]] = (
    *of_an_api(_CREDITS),
    *at_most_the_limit("database.managed.resources"),
    *at_most_the_limit("cache.managed.resources"),
    Rule(
        at="spec",
        field=".cache.managed",
        rule=(
            "!has(self.cache.managed) || "
            + _compared(
                value_of("cache.managed.maxMemory"), "isLessThan", value_of("cache.managed.resources.limits.memory")
            )
        ),
        message=f"{named('cache.managed.maxMemory', 'maxMemory')} must be less than "
        f"{named('cache.managed.resources.limits.memory', 'resources.limits.memory')}, which Redis itself and its "
        "snapshots share: lower maxMemory or raise the limit",
        summary="`cache.managed.maxMemory` is less than `cache.managed.resources.limits.memory`.",
    ),
    _exactly_one("database", "PostgreSQL"),
    _exactly_one("cache", "Redis"),
    Rule(
        at="spec.database",
        rule="has(self.managed) == has(oldSelf.managed)",
        message="cannot be switched between external and managed: the ledger would not move with it; make a new "
        "CreditsService, move the data, then the callers",
        summary="`database` is never switched between external and managed: the ledger would not move with it. "
        "(`cache` may be: it fills again.)",
    ),
    _keeps_its_class("database"),
    _keeps_its_class("cache"),
    _never_shrinks("database"),
    _never_shrinks("cache"),
)

_TENANT_ID: Final = value_of("spec.tenantID", default="self.metadata.name")
_TENANT_SECRET: Final = value_of("spec.key.secretName", default=f"self.metadata.name + '{TENANT_SECRET_SUFFIX}'")

TENANT: Final[tuple[Rule, ...]] = (
    Rule(
        at="",
        field=".metadata.name",
        rule=f"self.metadata.name.size() <= {TENANT_ID.max_length}",
        message=f"metadata.name must be at most {TENANT_ID.max_length} characters: it is a label's value and, where "
        "spec.tenantID is unset, the tenant's id",
        summary=f"`metadata.name` is at most {TENANT_ID.max_length} characters: it is a label's value and, where "
        "`tenantID` is unset, the tenant's id.",
    ),
    Rule(
        at="spec.serviceRef",
        field=".name",
        rule="self.name == oldSelf.name",
        message="cannot be changed: the tenant's ledger would stay behind; make a Tenant for the other service",
        summary="`serviceRef.name` never changes: the tenant's ledger would stay behind.",
    ),
    Rule(
        at="",
        field=".spec.tenantID",
        rule=unchanged(_TENANT_ID),
        message="cannot be changed: the tenant's ledger would stay behind; make another Tenant",
        summary="`tenantID`, set or not, never changes: the tenant's ledger would stay behind.",
    ),
    Rule(
        at="",
        field=".spec.key",
        rule=unchanged(_TENANT_SECRET),
        message="secretName cannot be changed: callers would keep a Secret that nobody renews; make another Tenant, or "
        "copy the Secret",
        summary="`key.secretName`, set or not, never changes: callers would keep a Secret that nobody renews.",
    ),
)
