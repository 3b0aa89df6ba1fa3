"""Detection rules: read from their JSON form, compiled to something that decides a batch of samples.

Nothing here is random, and every match takes time linear in the payload: expressions are RE2's.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import re2

from shieldx_runtime.shadow import vectors
from shieldx_runtime.shadow.pace import Pace
from shieldx_runtime.shadow.samples import Batch
from shieldx_runtime.shadow.surprise import Surprise

_MEMORY_BYTES: Final = 8 * 2**20
"""What an expression may take, its states while it searches among it; a larger one is refused when it is compiled."""
_LARGE_MEMORY_BYTES: Final = 64 * 2**20
_LARGE_STEPS: Final = 10_000
"""From here on the states of an expression need more room: without it a search goes on, but a hundred times slower."""


class Rule(ABC):
    """A compiled rule. `needs_client` and `needs_time` tell which fields a sample must have to be judged."""

    needs_client = False
    needs_time = False

    @abstractmethod
    def decide(self, batch: Batch) -> list[bool]:
        """For each sample whether the rule matches."""

    def parts(self) -> Iterator["Rule"]:
        """This rule and all in it."""
        yield self


@dataclass(slots=True)
class Literal(Rule):
    """`signature` with syntax `literal`: this very text."""

    needle: str

    def decide(self, batch: Batch) -> list[bool]:
        needle = self.needle
        return [needle in payload for payload in batch.payloads]


class Regex(Rule):
    """`signature` with syntax `regex`, in the dialect of RE2, found anywhere in the payload."""

    def __init__(self, pattern: str) -> None:
        """Raises: re2.error, it is no expression, or takes more than `_MEMORY_BYTES`."""
        compiled = _compiled(pattern, _MEMORY_BYTES)
        self.steps: int = compiled.programsize
        """How large it has become: time and memory go by it."""
        self._search = (compiled if self.steps < _LARGE_STEPS else _compiled(pattern, _LARGE_MEMORY_BYTES)).search
        self._together = vectors.matcher(pattern)

    def decide(self, batch: Batch) -> list[bool]:
        if self._together is not None and len(batch) >= vectors.WORTH_IT:
            return self._together(batch.payloads)
        search = self._search
        return [search(payload.encode()) is not None for payload in batch.payloads]


def _compiled(pattern: str, memory_bytes: int) -> Any:
    options = re2.Options()
    options.max_mem = memory_bytes
    options.log_errors = False
    # as bytes, the wrapper does not count characters back; RE2 reads them as UTF-8 all the same
    compiled = re2.compile(pattern.encode(), options)
    # the wrapper would keep the last 128, of whichever size
    re2.purge()
    return compiled


@dataclass(slots=True)
class Blacklist(Rule):
    """`ip_blacklist`: the client's address lies in one of the networks, told by prefix length and prefix."""

    prefixes: Mapping[int, frozenset[int]]
    needs_client: bool = field(default=True, init=False)

    def decide(self, batch: Batch) -> list[bool]:
        lengths = [(128 - bits, prefixes) for bits, prefixes in self.prefixes.items()]
        clients = batch.clients or []
        return [any((client or 0) >> shift in prefixes for shift, prefixes in lengths) for client in clients]


@dataclass(slots=True)
class RateLimit(Rule):
    """`rate_limiting`: the client has sent more than `requests` within the window. It keeps state: see `pace`."""

    pace: Pace
    needs_client: bool = field(default=True, init=False)
    needs_time: bool = field(default=True, init=False)

    def decide(self, batch: Batch) -> list[bool]:
        clients, times_s = batch.clients or [], batch.times_s or []
        exceeded = self.pace.exceeded
        return [exceeded(client or 0, time_s or 0.0) for client, time_s in zip(clients, times_s, strict=True)]


@dataclass(slots=True)
class Anomaly(Rule):
    """`anomaly_detection`: the payload is less like the benign ones than the threshold allows. See `surprise`."""

    threshold: float
    model: Surprise | None = None

    def score(self, payload: str) -> float:
        if self.model is None:
            raise RuntimeError("the model must be trained before it is asked")
        return self.model.score(payload.encode())

    def decide(self, batch: Batch) -> list[bool]:
        return [self.score(payload) >= self.threshold for payload in batch.payloads]


class Libinjection(Rule):
    """`libinjection`: the payload is SQL or markup as an attacker writes it."""

    def __init__(self, injections: Sequence[str]) -> None:
        # deferred: the image may lack it, and a rule of another type does not care
        import libinjection  # noqa: PLC0415

        checks = {"sqli": libinjection.is_sql_injection, "xss": libinjection.is_xss}
        self._checks = [(f"is_{name}", checks[name]) for name in injections]

    def decide(self, batch: Batch) -> list[bool]:
        return [any(check(payload)[answer] for answer, check in self._checks) for payload in batch.payloads]


@dataclass(slots=True)
class AllOf(Rule):
    """`all_of`: every part matches."""

    rules: Sequence[Rule]

    def decide(self, batch: Batch) -> list[bool]:
        # every part sees every sample: one with state must not depend on what another said
        return [all(votes) for votes in zip(*(rule.decide(batch) for rule in self.rules), strict=True)]

    def parts(self) -> Iterator[Rule]:
        yield self
        for rule in self.rules:
            yield from rule.parts()


@dataclass(slots=True)
class AnyOf(AllOf):
    """`any_of`: at least one part matches."""

    def decide(self, batch: Batch) -> list[bool]:
        return [any(votes) for votes in zip(*(rule.decide(batch) for rule in self.rules), strict=True)]


@dataclass(slots=True)
class Not(Rule):
    """`not`: the part does not match."""

    rule: Rule

    def decide(self, batch: Batch) -> list[bool]:
        return [not vote for vote in self.rule.decide(batch)]

    def parts(self) -> Iterator[Rule]:
        yield self
        yield from self.rule.parts()
