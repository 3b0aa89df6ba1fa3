"""The seam between the engine and the kinds: plain values that go in and out of pure functions.

A kind says what must be read (`reads`), what must be true (`plan`) and how it is told (`status`). The engine does
the reading, applying and telling. No function here does I/O, reads a clock or draws a random number: time and
observations come in as arguments, randomness is a `GeneratedSecret` that the engine fills in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

Obj = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """An API resource. `group` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One object by its address; it may or may not exist."""

    resource: Resource
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Query:
    """A list call: label and field selectors in the API's own syntax; at most `limit` objects are returned.

    With `optional` nothing is found where the operator may not look (an installation that watches some namespaces
    alone has no permission in another), or where the API server is too old to know the selector.
    """

    resource: Resource
    namespace: str
    label_selector: str = ""
    field_selector: str = ""
    limit: int = 200
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Reads:
    """All that one reconcile needs to see, named before it is read."""

    objects: Sequence[Ref] = ()
    queries: Mapping[str, Query] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """What was there when the reconcile looked. A missing object is absent from `objects`."""

    parent: Obj
    objects: Mapping[Ref, Obj]
    lists: Mapping[str, Sequence[Obj]]
    now: datetime

    @property
    def deleting(self) -> bool:
        return "deletionTimestamp" in self.parent["metadata"]


@dataclass(frozen=True, slots=True)
class GeneratedSecret:
    """A Secret some of whose values nobody chooses.

    `random` maps a key to its number of random bytes (written base64url without padding), or to `-n` for n bytes in
    hexadecimal. An existing value is kept unless its key is in `renew`. `derived` maps a key to a `str.format`
    template over all other values and is always recomputed; so is `listed`, which maps a key to a prefix and a
    template: one text for each value whose key is the prefix and a number, the highest first, `{0}` the number and
    `{1}` the value; an empty value is left out, and stays. `carry` maps a key to another key of the existing Secret
    whose value it takes before anything is renewed (for the previous key of a rotation); it is absent where that
    other key does not exist yet, and a key that is carried in no other way keeps its value.
    """

    metadata: Obj
    random: Mapping[str, int]
    derived: Mapping[str, str] = field(default_factory=dict)
    listed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    renew: frozenset[str] = frozenset()
    carry: Mapping[str, str] = field(default_factory=dict)
    type: str = "Opaque"


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A call to a service of the platform: idempotent, repeated by level. `bearer` is never logged.

    `{secret:KEY}` in a string of `json` or in `url` is replaced by that value of the Secret `secret` as it is after
    apply. A status outside `expected` is a Failure.
    """

    name: str
    method: Literal["GET", "PUT", "POST", "DELETE"]
    url: str
    bearer: str = field(repr=False)
    json: Obj | None = field(default=None, repr=False)
    secret: Ref | None = None
    expected: frozenset[int] = frozenset({200, 201, 204})
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What must be true.

    `apply` is held true in this order. `keep` is neither written nor pruned (a workload that waits for its
    migration). Whatever the inventory names beside these is pruned, if it carries the label and the owner reference.
    `initial` holds fields for an object that does not exist yet: they are applied once, right after its creation,
    under a field manager of their own (`shieldx-operator-initial`), and belong to whoever changes them later (the
    replicas of a Deployment under an HPA). `calls` run after `apply`, and only if all of `apply` succeeded.
    `finalizer` tells whether the object must hold the engine's finalizer; None leaves it alone. True is written
    before anything else is done; False is written last, and only if everything else of the plan succeeded.
    """

    apply: Sequence[Obj | GeneratedSecret] = ()
    keep: frozenset[Ref] = frozenset()
    calls: Sequence[HttpCall] = ()
    initial: Mapping[Ref, Obj] = field(default_factory=dict)
    finalizer: bool | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that could not be done: `where` names the object or call, `message` what the server said."""

    where: str
    reason: str
    message: str
    retryable: bool = True
    ref: Ref | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """What came of a plan.

    `responses` holds an HttpCall's status and JSON body by its name, `live` what was applied as it is afterwards.
    """

    failures: Sequence[Failure] = ()
    changed: Sequence[Ref] = ()
    responses: Mapping[str, tuple[int, Obj]] = field(default_factory=dict)
    live: Mapping[Ref, Obj] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition before the engine gives it a transition time and an observed generation."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """The status a kind wants told. `fields` is everything but conditions, inventory and observedGeneration.

    `requeue_after_s` asks for another look where no event will come; None leaves it to the resync. `told_apart` are
    failures that have a condition of their own and take nothing from Ready.
    """

    conditions: Sequence[Condition]
    fields: Obj = field(default_factory=dict)
    requeue_after_s: float | None = None
    told_apart: Sequence[Failure] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of an object for Prometheus: a gauge of `Kind.measured`, and its labels beside namespace and name."""

    gauge: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Stall(Exception):  # noqa: N818 - it names what happens, to the object, not to the program
    """Raised by a kind's pure functions: nothing can go on until the user changes the object."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Kind(Protocol):
    """One custom resource, as the engine sees it. All functions are pure.

    A kind may say `told_by_others`, the names of status fields that other field managers write (a worker's shards):
    the engine then neither writes nor compares them. It may say `finalizes = False`, `lasting`, `looks_at`
    and `lists`: see `permissions`. It may say `measured`, gauges by their names with their meaning and label names, and
    then has `measures(parent, status)`, their values out of an object and the status that is told of it.
    """

    @property
    def resource(self) -> Resource: ...

    @property
    def owned(self) -> Sequence[Resource]:
        """Resources whose events lead, by controller owner reference or by label, back to the object."""

    def reads(self, parent: Obj) -> Reads: ...

    def plan(self, seen: Observation) -> Plan: ...

    def status(self, seen: Observation, plan: Plan, results: Results) -> Status:
        """`seen` holds what was applied as it is afterwards, and the rest as it was observed."""
        ...
