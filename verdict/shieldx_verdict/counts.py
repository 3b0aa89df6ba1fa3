"""What was counted: integers that add up, so that shards, batches and workers leave no trace in them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_GROUPS: Final = 64
"""How many names of attack types or benign groups are kept apart; the others are counted together under `OTHERS`."""
OTHERS: Final = "(others)"
SCORE_BINS: Final = 64
"""Thresholds are looked for at this many places."""


class CountsError(ValueError):
    """A document holds no counts; the message names the field."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A confusion matrix. Positive is "the rule matches"; true is "as the label says"."""

    tp: int = 0
    fp: int = 0
    tn: int = 0
    fn: int = 0

    @property
    def attacks(self) -> int:
        return self.tp + self.fn

    @property
    def benign(self) -> int:
        return self.fp + self.tn

    @property
    def total(self) -> int:
        return self.attacks + self.benign

    def __add__(self, other: "Matrix") -> "Matrix":
        return Matrix(self.tp + other.tp, self.fp + other.fp, self.tn + other.tn, self.fn + other.fn)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Candidate and live rule on the same samples: who of the two was right."""

    both_right: int = 0
    only_candidate: int = 0
    only_live: int = 0
    both_wrong: int = 0

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(
            self.both_right + other.both_right,
            self.only_candidate + other.only_candidate,
            self.only_live + other.only_live,
            self.both_wrong + other.both_wrong,
        )


Groups = Mapping[str, tuple[int, int]]
"""By name: how many samples matched, how many did not."""


@dataclass(frozen=True, slots=True)
class Counts:
    """All counts of a part of an evaluation; `a + b` are those of both parts, in whatever order they are added.

    `attack_types` and `benign_groups` tell matched and unmatched samples by name. `errors` tells samples outside the
    matrix by reason. `live` and `pairs` are there where a live rule was judged on the same samples. `scores` holds for
    a rule with scores, by the lower edge of each bin, how many attacks and benign samples fell there.
    """

    matrix: Matrix = Matrix()
    errors: Mapping[str, int] = field(default_factory=dict)
    attack_types: Groups = field(default_factory=dict)
    benign_groups: Groups = field(default_factory=dict)
    live: Matrix | None = None
    pairs: Pairs | None = None
    scores: Mapping[float, tuple[int, int]] = field(default_factory=dict)

    @property
    def errors_total(self) -> int:
        return sum(self.errors.values())

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            matrix=self.matrix + other.matrix,
            errors={
                name: self.errors.get(name, 0) + other.errors.get(name, 0) for name in {*self.errors, *other.errors}
            },
            attack_types=bounded(_added(self.attack_types, other.attack_types)),
            benign_groups=bounded(_added(self.benign_groups, other.benign_groups)),
            live=_both(self.live, other.live),
            pairs=_both(self.pairs, other.pairs),
            scores=_added(self.scores, other.scores),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; keys are sorted, so that equal counts are equal texts."""
        document: dict[str, Any] = {
            "matrix": _plain(self.matrix),
            "errors": dict(sorted(self.errors.items())),
            "attackTypes": {name: list(pair) for name, pair in sorted(self.attack_types.items())},
            "benignGroups": {name: list(pair) for name, pair in sorted(self.benign_groups.items())},
        }
        if self.live is not None:
            document["live"] = _plain(self.live)
        if self.pairs is not None:
            document["pairs"] = _plain(self.pairs)
        if self.scores:
            document["scores"] = [[edge, *pair] for edge, pair in sorted(self.scores.items())]
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Counts":
        """Reads what `to_dict` wrote.

        Raises:
            CountsError: a field is missing, no whole number, or below zero.
        """
        live, pairs = document.get("live"), document.get("pairs")
        return cls(
            matrix=Matrix(**_numbers(document.get("matrix"), "matrix", ("tp", "fp", "tn", "fn"))),
            errors=_numbers(document.get("errors", {}), "errors"),
            attack_types=_groups(document.get("attackTypes", {}), "attackTypes"),
            benign_groups=_groups(document.get("benignGroups", {}), "benignGroups"),
            live=None if live is None else Matrix(**_numbers(live, "live", ("tp", "fp", "tn", "fn"))),
            pairs=None if pairs is None else Pairs(**_numbers(pairs, "pairs", Pairs.__slots__)),
            scores=_scores(document.get("scores", [])),
        )


def total(parts: Iterable[Counts]) -> Counts:
    """The counts of all parts together."""
    summed: Counts | None = None
    for part in parts:
        summed = part if summed is None else summed + part
    return summed or Counts()


def bounded(groups: Groups) -> dict[str, tuple[int, int]]:
    """The first `MAX_GROUPS` names in the order of their characters; the rest is one group.

    That choice, unlike "the largest", does not depend on which part is bounded first: a name that one part leaves out
    has `MAX_GROUPS` names before it there, so the sum leaves it out as well.
    """
    names = sorted(name for name in groups if name != OTHERS)
    kept = {name: groups[name] for name in names[:MAX_GROUPS]}
    rest = [groups[name] for name in (*names[MAX_GROUPS:], *([OTHERS] if OTHERS in groups else []))]
    if rest:
        kept[OTHERS] = (sum(pair[0] for pair in rest), sum(pair[1] for pair in rest))
    return kept


def _added(left: Mapping[Any, tuple[int, int]], right: Mapping[Any, tuple[int, int]]) -> dict[Any, tuple[int, int]]:
    summed = dict(left)
    for name, (first, second) in right.items():
        one, two = summed.get(name, (0, 0))
        summed[name] = (one + first, two + second)
    return summed


def _both(left: Any, right: Any) -> Any:
    if left is None or right is None:
        return left if right is None else right
    return left + right


def _plain(record: Matrix | Pairs) -> dict[str, int]:
    return {name: getattr(record, name) for name in type(record).__slots__}


def _whole(value: Any, path: str) -> int:
    # JSON readers of others write 3 as 3.0; True is no count
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0 or value % 1 != 0:
        raise CountsError(f"{path} is {value!r}; it must be a whole number, 0 or more")
    return int(value)


def _numbers(value: Any, path: str, names: tuple[str, ...] | None = None) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise CountsError(f"{path} is missing or no object")
    if names is not None and set(value) != set(names):
        raise CountsError(f"{path} has {', '.join(sorted(map(str, value)))}; it must have {', '.join(names)}")
    return {str(name): _whole(number, f"{path}.{name}") for name, number in value.items()}


def _pair(value: Any, path: str) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:  # noqa: PLR2004 - a pair
        raise CountsError(f"{path} must be a list of two numbers")
    return _whole(value[0], f"{path}[0]"), _whole(value[1], f"{path}[1]")


def _groups(value: Any, path: str) -> dict[str, tuple[int, int]]:
    if not isinstance(value, Mapping) or len(value) > MAX_GROUPS + 1:
        raise CountsError(f"{path} must be an object of at most {MAX_GROUPS + 1} names")
    return {str(name): _pair(pair, f"{path}.{name}") for name, pair in value.items()}


def _scores(value: Any) -> dict[float, tuple[int, int]]:
    if not isinstance(value, list) or len(value) > SCORE_BINS:
        raise CountsError(f"scores must be a list of at most {SCORE_BINS} bins")
    bins: dict[float, tuple[int, int]] = {}
    for place, entry in enumerate(value):
        path = f"scores[{place}]"
        if not isinstance(entry, list) or len(entry) != 3 or isinstance(entry[0], bool):  # noqa: PLR2004 - edge, pair
            raise CountsError(f"{path} must be a list of an edge and two numbers")
        bins[float(entry[0])] = _pair(entry[1:], path)
    return bins
