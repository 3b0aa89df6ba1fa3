"""Detection rules: read from their JSON form, compiled to something that decides a batch of samples.

Nothing here is random, and every match takes time linear in the payload: expressions are RE2's.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import re2

from shieldx_runtime.shadow.pace import Pace
from shieldx_runtime.shadow.samples import Sample
from shieldx_runtime.shadow.surprise import Surprise

_REGEX_MEMORY_BYTES: Final = 64 * 2**20


class Rule(ABC):
    """A compiled rule. `needs_client` and `needs_time` tell which fields a sample must have to be judged."""

    needs_client = False
    needs_time = False

    @abstractmethod
    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        """For each sample whether the rule matches."""

    def parts(self) -> Iterator["Rule"]:
        """This rule and all in it."""
        yield self


@dataclass(slots=True)
class Literal(Rule):
    """`signature` with syntax `literal`: these very bytes."""

    needle: bytes

    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        needle = self.needle
        return [needle in sample.payload for sample in batch]


class Regex(Rule):
    """`signature` with syntax `regex`, in the dialect of RE2, found anywhere in the payload."""

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        options.max_mem = _REGEX_MEMORY_BYTES
        options.log_errors = False
        # as bytes, the wrapper does not count characters back; RE2 reads them as UTF-8 all the same
        self._search = re2.compile(pattern.encode(), options).search

    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        search = self._search
        return [search(sample.payload) is not None for sample in batch]


@dataclass(slots=True)
class Blacklist(Rule):
    """`ip_blacklist`: the client's address lies in one of the networks, told by prefix length and prefix."""

    prefixes: Mapping[int, frozenset[int]]
    needs_client: bool = field(default=True, init=False)

    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        lengths = [(128 - bits, prefixes) for bits, prefixes in self.prefixes.items()]
        return [any((sample.client or 0) >> shift in prefixes for shift, prefixes in lengths) for sample in batch]


@dataclass(slots=True)
class RateLimit(Rule):
    """`rate_limiting`: the client has sent more than `requests` within the window. It keeps state: see `pace`."""

    pace: Pace
    needs_client: bool = field(default=True, init=False)
    needs_time: bool = field(default=True, init=False)

    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        return [self.pace.exceeded(sample) for sample in batch]


@dataclass(slots=True)
class Anomaly(Rule):
    """`anomaly_detection`: the payload is less like the benign ones than the threshold allows. See `surprise`."""

    threshold: float
    model: Surprise | None = None

    def score(self, sample: Sample) -> float:
        if self.model is None:
            raise RuntimeError("the model must be trained before it is asked")
        return self.model.score(sample.payload)

    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        return [self.score(sample) >= self.threshold for sample in batch]


class Libinjection(Rule):
    """`libinjection`: the payload is SQL or markup as an attacker writes it."""

    def __init__(self, injections: Sequence[str]) -> None:
        # deferred: the image may lack it, and a rule of another type does not care
        import libinjection  # noqa: PLC0415

        checks = {"sqli": libinjection.is_sql_injection, "xss": libinjection.is_xss}
        self._checks = [(f"is_{name}", checks[name]) for name in injections]

    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        return [any(check(sample.payload.decode())[answer] for answer, check in self._checks) for sample in batch]


@dataclass(slots=True)
class AllOf(Rule):
    """`all_of`: every part matches."""

    rules: Sequence[Rule]

    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        # every part sees every sample: one with state must not depend on what another said
        return [all(votes) for votes in zip(*(rule.decide(batch) for rule in self.rules), strict=True)]

    def parts(self) -> Iterator[Rule]:
        yield self
        for rule in self.rules:
            yield from rule.parts()


@dataclass(slots=True)
class AnyOf(AllOf):
    """`any_of`: at least one part matches."""

    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        return [any(votes) for votes in zip(*(rule.decide(batch) for rule in self.rules), strict=True)]


@dataclass(slots=True)
class Not(Rule):
    """`not`: the part does not match."""

    rule: Rule

    def decide(self, batch: Sequence[Sample]) -> list[bool]:
        return [not vote for vote in self.rule.decide(batch)]

    def parts(self) -> Iterator[Rule]:
        yield self
        yield from self.rule.parts()
