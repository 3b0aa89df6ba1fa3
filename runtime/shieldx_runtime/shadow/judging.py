"""Judging a chunk: what one process does with the records of one chunk, and the counts that come of it."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import compress
from operator import ne, not_
from typing import Any, Final

from shieldx_runtime.shadow.draw import shard_of, ticket, trains
from shieldx_runtime.shadow.parse import parse
from shieldx_runtime.shadow.records import Chunk, Piece, Record, lines_of, pieces_of, records
from shieldx_runtime.shadow.rules import Anomaly, Rule
from shieldx_runtime.shadow.samples import (
    TOO_LONG,
    Batch,
    Plain,
    Sample,
    SampleError,
    group_of,
    labels_of,
    names_of,
    read,
    read_lines,
    sample,
)
from shieldx_runtime.shadow.surprise import Bigrams, Surprise
from shieldx_runtime.shadow.vectors import tickets
from shieldx_verdict import Counts, Matrix, Pairs
from shieldx_verdict.counts import SCORE_BINS, bounded

MAX_MISTAKES: Final = 50
"""False positives, and as many false negatives, that are kept for a person to read."""
MAX_SHOWN_CHARS: Final = 500
SCORE_STEP: Final = 0.25
"""Width of a bin of scores, in bits a byte; the last bin holds all above."""
_EDGES: Final = [place * SCORE_STEP for place in range(SCORE_BINS)]
ERRORS: Final = "errors"
ATTACKS: Final = "attacks"
BENIGN: Final = "benign"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A sample on which the rule and the label differ. `payload` is cut at `MAX_SHOWN_CHARS` characters."""

    line: int
    attack: bool
    group: str
    payload: str


Mistakes = dict[str, list[tuple[int, Mistake]]]
"""By `false_positives` and `false_negatives`: tickets and mistakes, those with the smallest tickets."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a process needs to judge: the documents of the rules, and how records are chosen. It is sent to each."""

    rule: Mapping[str, Any]
    baseline: Mapping[str, Any] | None
    seed: int
    shard: int
    shards: int
    batch_size: int
    thresholds: Mapping[str, int] | None = None
    model: Bigrams | None = None


@dataclass(slots=True)
class Part:
    """What came of a chunk; parts add up."""

    counts: Counts = field(default_factory=Counts)
    mistakes: Mistakes = field(default_factory=dict)

    def add(self, other: "Part") -> None:
        self.counts += other.counts
        for kind, found in other.mistakes.items():
            together = [*self.mistakes.get(kind, []), *found]
            self.mistakes[kind] = nsmallest(MAX_MISTAKES, together, key=lambda entry: (entry[0], entry[1].line))


class Judge:
    """Both rules, compiled, and the counting. One for each process; not for several threads."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._rule = parse(question.rule, "rule")
        self._live = None if question.baseline is None else parse(question.baseline, "baseline")
        every = [part for rule in self._rules() for part in rule.parts()]
        self.with_client = any(part.needs_client for part in every)
        self.with_time = any(part.needs_time for part in every)
        models = [part for part in every if isinstance(part, Anomaly)]
        self.learns = bool(models)
        self.has_state = self.with_time
        if question.model is not None:
            surprise = Surprise(question.model)
            for part in models:
                part.model = surprise

    def _rules(self) -> list[Rule]:
        return [self._rule] if self._live is None else [self._rule, self._live]

    def strata(self, chunk: Chunk) -> dict[str, list[int]]:
        """The tickets of a chunk's records by stratum."""
        found: dict[str, list[int]] = {}
        if self._reads_lines(chunk):
            self._add_strata([(line, TOO_LONG) for line in chunk.too_long], found)
            for piece in pieces_of(chunk, 0, 1):
                plain = read_lines(piece.data, len(piece.lines))
                attacks = None if plain is None else labels_of(plain)
                if attacks is None:
                    self._add_strata(lines_of(piece), found)
                    continue
                drawn = tickets(self._question.seed, piece.lines)
                for stratum, chosen in ((ATTACKS, attacks), (BENIGN, map(not_, attacks))):
                    found.setdefault(stratum, []).extend(compress(drawn, chosen))
            return found
        self._add_strata(records(chunk), found)
        return found

    def _add_strata(self, rows: Iterable[Record], found: dict[str, list[int]]) -> None:
        seed = self._question.seed
        for line, record in rows:
            if self.learns and trains(seed, line):
                continue
            seen = self._sample(record)
            stratum = ERRORS if isinstance(seen, str) else _stratum(seen)
            found.setdefault(stratum, []).append(ticket(seed, line))

    def learned(self, chunk: Chunk) -> dict[int, int]:
        """What a chunk's benign records of the training part teach."""
        bigrams = Bigrams()
        seed = self._question.seed
        samples = (self._sample(record) for line, record in records(chunk) if trains(seed, line))
        bigrams.learn(seen.payload.encode() for seen in samples if not isinstance(seen, str) and not seen.attack)
        return bigrams.found()

    def judge(self, chunk: Chunk) -> Part:
        """The counts of this shard's records in a chunk."""
        tally = _Tally(with_live=self._live is not None)
        if self._reads_lines(chunk):
            self._judge_records([(line, TOO_LONG) for line in chunk.too_long], tally)
            for piece in pieces_of(chunk, self._question.shard, self._question.shards):
                if not self._judge_plain(piece, tally):
                    self._judge_records(lines_of(piece), tally)
        else:
            self._judge_records(records(chunk), tally)
        return tally.part(self._question.seed)

    def _reads_lines(self, chunk: Chunk) -> bool:
        """Whether the chunk's records may go the quick way: they are read all at once, and never told apart."""
        return chunk.in_lines and not (self.has_state or self.with_client or self.learns)

    def _judge_plain(self, piece: Piece, tally: "_Tally") -> bool:
        """Judges a piece without a look at its single records; False where one of them is unusual or wrong."""
        plain = read_lines(piece.data, len(piece.lines))
        attacks = None if plain is None else labels_of(plain)
        if plain is None or attacks is None:
            return False
        lines = piece.lines
        if self._question.thresholds is not None:
            drawn = self._drawn(lines, attacks)
            plain, lines = [plain[place] for place in drawn], [lines[place] for place in drawn]
            attacks = [attacks[place] for place in drawn]
        payloads = [record.payload for record in plain]
        votes = self._votes(self._rule, payloads)
        live = None if self._live is None else self._votes(self._live, payloads)
        tally.count_plain(lines, plain, attacks, votes, live)
        return True

    def _votes(self, rule: Rule, payloads: list[str]) -> list[bool]:
        size = self._question.batch_size
        votes: list[bool] = []
        for start in range(0, len(payloads), size):
            votes += rule.decide(Batch((), payloads[start : start + size], [], []))
        return votes

    def _drawn(self, lines: Sequence[int], attacks: Sequence[bool]) -> list[int]:
        """The places of those that were drawn."""
        thresholds, seed = self._question.thresholds or {}, self._question.seed
        most = {True: thresholds.get(ATTACKS, -1), False: thresholds.get(BENIGN, -1)}
        kept = enumerate(zip(tickets(seed, lines), attacks, strict=True))
        return [place for place, (number, attack) in kept if number <= most[attack]]

    def _judge_records(self, found: Iterable[Record], tally: "_Tally") -> None:
        batch: list[tuple[int, Sample]] = []
        # a rule with state must see every sample, one after the other, also those of other shards
        limit = 1 if self.has_state else self._question.batch_size
        for line, seen, counted in self._chosen(found):
            if isinstance(seen, str):
                tally.errors[seen] += counted
                continue
            batch.append((line, seen))
            if len(batch) >= limit:
                self._decide(Batch.of(batch), tally, counted=counted)
                batch = []
        if batch:
            self._decide(Batch.of(batch), tally, counted=True)

    def _chosen(self, found: Iterable[Record]) -> Iterator[tuple[int, Sample | str, bool]]:
        """Line, sample or error, and whether it counts: it is of this shard, drawn, and not trained on."""
        question = self._question
        seed, shard, shards, thresholds = question.seed, question.shard, question.shards, question.thresholds
        for line, record in found:
            counted = (shards == 1 or shard_of(line, shards) == shard) and not (self.learns and trains(seed, line))
            if not counted and not self.has_state:
                continue
            seen = self._sample(record)
            if counted and thresholds is not None:
                stratum = ERRORS if isinstance(seen, str) else _stratum(seen)
                counted = ticket(seed, line) <= thresholds.get(stratum, -1)
            if counted or self.has_state:
                yield line, seen, counted

    def _sample(self, record: bytes | Mapping[str, Any] | str) -> Sample | str:
        if isinstance(record, bytes):
            return read(record, with_client=self.with_client, with_time=self.with_time)
        if isinstance(record, str):
            return record
        try:
            return sample(record, with_client=self.with_client, with_time=self.with_time)
        except SampleError as error:
            return str(error)

    def _decide(self, batch: Batch, tally: "_Tally", *, counted: bool) -> None:
        try:
            votes = self._rule.decide(batch)
            live = None if self._live is None else self._live.decide(batch)
        except SampleError as error:  # of a rule with state, whose batches hold one sample
            tally.errors[str(error)] += counted
            return
        if not counted:
            return
        tally.count(batch, votes, live)
        if isinstance(self._rule, Anomaly):
            for payload, attack in zip(batch.payloads, batch.attacks, strict=True):
                tally.scores[bisect_right(_EDGES, self._rule.score(payload)) - 1, attack] += 1


def _stratum(seen: Sample) -> str:
    return ATTACKS if seen.attack else BENIGN


class _Tally:
    """Counting, in the plainest form: a counter of what happened to whom."""

    def __init__(self, *, with_live: bool) -> None:
        self.errors: Counter[str] = Counter()
        self.scores: Counter[tuple[int, bool]] = Counter()
        self._seen: Counter[tuple[bool, bool, str]] = Counter()
        self._live: Counter[tuple[bool, bool, bool]] = Counter()
        self._with_live = with_live
        self._mistakes: list[tuple[int, bool, str, str]] = []

    def count(self, batch: Batch, votes: list[bool], live: list[bool] | None) -> None:
        attacks = batch.attacks
        self._seen.update(zip(attacks, votes, batch.groups, strict=True))
        for place, (attack, vote) in enumerate(zip(attacks, votes, strict=True)):
            if attack is not vote:
                self._mistakes.append((batch.lines[place], attack, batch.groups[place], batch.payloads[place]))
        if live is not None:
            self._live.update(zip(attacks, votes, live, strict=True))

    def count_plain(
        self,
        lines: Sequence[int],
        plain: Sequence[Plain],
        attacks: list[bool],
        votes: list[bool],
        live: list[bool] | None,
    ) -> None:
        """As `count`; a group is named once for all that are alike, and for each mistake."""
        names = names_of(plain, attacks)
        for (attack, vote, name), number in Counter(zip(attacks, votes, names, strict=True)).items():
            self._seen[attack, vote, group_of(name)] += number
        for place in compress(range(len(votes)), map(ne, attacks, votes)):
            self._mistakes.append((lines[place], attacks[place], group_of(names[place]), plain[place].payload))
        if live is not None:
            self._live.update(zip(attacks, votes, live, strict=True))

    def part(self, seed: int) -> Part:
        """All of it as a part."""
        groups: dict[bool, dict[str, list[int]]] = {True: {}, False: {}}
        for (attack, vote, group), number in self._seen.items():
            groups[attack].setdefault(group, [0, 0])[0 if vote else 1] += number
        counts = Counts(
            matrix=self._matrix(),
            errors={name: number for name, number in self.errors.items() if number},
            attack_types=bounded({name: (pair[0], pair[1]) for name, pair in groups[True].items()}),
            benign_groups=bounded({name: (pair[0], pair[1]) for name, pair in groups[False].items()}),
            live=self._live_matrix(),
            pairs=self._pairs(),
            scores=self._bins(),
        )
        return Part(counts, self._kept(seed))

    def _matrix(self) -> Matrix:
        summed: Counter[tuple[bool, bool]] = Counter()
        for (attack, vote, _), number in self._seen.items():
            summed[attack, vote] += number
        return _matrix(summed)

    def _live_matrix(self) -> Matrix | None:
        if not self._with_live:
            return None
        summed: Counter[tuple[bool, bool]] = Counter()
        for (attack, _, other), number in self._live.items():
            summed[attack, other] += number
        return _matrix(summed)

    def _pairs(self) -> Pairs | None:
        if not self._with_live:
            return None
        summed: Counter[tuple[bool, bool]] = Counter()
        for (attack, vote, other), number in self._live.items():
            summed[vote is attack, other is attack] += number
        return Pairs(summed[True, True], summed[True, False], summed[False, True], summed[False, False])

    def _bins(self) -> dict[float, tuple[int, int]]:
        places = {place for place, _ in self.scores}
        return {_EDGES[place]: (self.scores[place, True], self.scores[place, False]) for place in sorted(places)}

    def _kept(self, seed: int) -> Mistakes:
        kept: Mistakes = {}
        for kind, attack in (("false_positives", False), ("false_negatives", True)):
            of_kind = [entry for entry in self._mistakes if entry[1] is attack]
            drawn = tickets(seed, [line for line, _, _, _ in of_kind])
            first = sorted(zip(drawn, range(len(drawn)), strict=True))[:MAX_MISTAKES]
            kept[kind] = [(number, _shown(of_kind[place])) for number, place in first]
        return kept


def _shown(entry: tuple[int, bool, str, str]) -> Mistake:
    line, attack, group, payload = entry
    return Mistake(line, attack, group, payload[:MAX_SHOWN_CHARS])


def _matrix(summed: Mapping[tuple[bool, bool], int]) -> Matrix:
    """By whether it is an attack and whether the rule matches."""
    return Matrix(
        tp=summed.get((True, True), 0),
        fp=summed.get((False, True), 0),
        tn=summed.get((False, False), 0),
        fn=summed.get((True, False), 0),
    )
