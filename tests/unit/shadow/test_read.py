"""The quick way through a line of NDJSON gives what the long way gives, for whatever stands in the line."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from shieldx_runtime.shadow import samples

_WORDS = some.sampled_from(
    ["attack", "BENIGN", "norm", "anom", "1", "true", "x", "", "203.0.113.7", "2026-01-01T00:00:00Z"]
)
_VALUES = some.none() | some.booleans() | some.integers(-2, 2**70) | some.floats(allow_nan=False) | some.text() | _WORDS
_FIELDS = some.sampled_from(
    ["payload", "label", "attack_type", "group", "path", "label_source", "client_ip", "timestamp", "method", "other"]
)
_ANY = some.dictionaries(_FIELDS, _VALUES | some.lists(some.integers(), max_size=2))
_LIKELY = some.fixed_dictionaries(
    {"payload": some.text(), "label": _WORDS | some.booleans() | some.integers(0, 2)},
    optional={
        "attack_type": _VALUES,
        "group": _VALUES,
        "path": some.text(),
        "client_ip": _WORDS,
        "timestamp": _WORDS | some.floats() | some.integers(),
    },
)


def both(line: bytes, *, with_client: bool, with_time: bool) -> tuple[Any, Any]:
    how = {"with_client": with_client, "with_time": with_time}
    return samples.read(line, **how), samples._read_unusual(line, **how)


@settings(max_examples=400, deadline=None)
@given(record=_ANY | _LIKELY, with_client=some.booleans(), with_time=some.booleans(), ascii_only=some.booleans())
def test_the_quick_way_is_the_long_way(
    record: dict[str, Any], *, with_client: bool, with_time: bool, ascii_only: bool
) -> None:
    line = json.dumps(record, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    quick, long = both(line, with_client=with_client, with_time=with_time)
    assert quick == long


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b'{"payload":"a","label":1}\r',
        b'{"payload":"a","label":1} {"payload":"b","label":0}',
        b'{"payload":"a","payload":"b","label":0}',
        b'{"payload":"\xff","label":1}',
        b'{"payload":"a","label":1,"other":"\xff"}',
        b'{"payload":"\\ud800","label":1}',
        b'{"payload":"a","label":1.0}',
        b'{"payload":"a","label":true}',
        b'{"payload":"a","label":2}',
        b"[" * 100_000,
    ],
)
def test_the_quick_way_is_the_long_way_for_broken_lines(line: bytes) -> None:
    quick, long = both(line, with_client=False, with_time=False)
    assert quick == long


@settings(max_examples=300, deadline=None)
@given(
    line=some.binary(max_size=60) | some.builds(lambda text: b'{"payload":"' + text + b'","label":1}', some.binary())
)
def test_no_bytes_break_it(line: bytes) -> None:
    quick, long = both(line, with_client=True, with_time=True)
    assert quick == long


_ENDS = some.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b" ", b"", b",\n", b"\n{", b"}\n"])


def by_lines(data: bytes) -> list[samples.Sample | str]:
    found = [text for text in data.split(b"\n") if text and not text.isspace()]
    return [samples.read(text, with_client=False, with_time=False) for text in found]


def at_once(data: bytes, lines: int) -> list[samples.Sample] | None:
    plain = samples.read_lines(data, lines)
    attacks = None if plain is None else samples.labels_of(plain)
    if plain is None or attacks is None:
        return None
    groups = map(samples.group_of, samples.names_of(plain, attacks))
    payloads = [record.payload for record in plain]
    return [samples.Sample(*row) for row in zip(payloads, attacks, groups, strict=True)]


@settings(max_examples=600, deadline=None)
@given(rows=some.lists(some.tuples(_ANY | _LIKELY, _ENDS), min_size=1, max_size=4), ascii_only=some.booleans())
def test_many_lines_at_once_give_what_each_gives_alone(
    rows: list[tuple[dict[str, Any], bytes]], *, ascii_only: bool
) -> None:
    texts = [json.dumps(row, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") + end for row, end in rows]
    data = b"".join(texts)
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    found = at_once(data, lines)
    assert found is None or found == by_lines(data)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b'{"payload":"a","label":1}{"payload":"b","label":0}\n', 1),
        (b'{"payload":"a",\n"label":1}{"payload":"b","label":0}', 2),
        (b'{"payload":"a","label":1,"x":{"y":1}\n}{"payload":"b","label":0}', 2),
        (b'{"payload":"a","label":1}\n\n{"payload":"b","label":0}{"payload":"b","label":0}', 3),
        (b'{"payload":"a","label":1,"x":[' + b"[" * 5000 + b"]" * 5000 + b"]}\n", 1),
        (b'{"payload":"a","label":1,"x":"\xff"}\n', 1),
        (b'{"payload":"a","label":1,"x":NaN}\n', 1),
        (b'\xef\xbb\xbf{"payload":"a","label":1}\n', 1),
        (b'{"payload":"' + b"a" * 5_000_000 + b'","label":1}\n', 1),
        (b'{"payload":"a","label":7}\n', 1),
    ],
)
def test_what_is_unusual_is_left_to_the_way_of_one_line(data: bytes, lines: int) -> None:
    assert at_once(data, lines) is None


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_usual_lines_are_read_at_once(end: bytes) -> None:
    data = b'{"payload":"a","label":"attack","attack_type":"sqli","other":{"x":[1]}}' + end
    assert at_once(data * 3, 3) == by_lines(data * 3)
    assert at_once((data * 3).removesuffix(end), 3) == by_lines(data * 3)
