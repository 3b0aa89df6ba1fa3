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


@settings(max_examples=200, deadline=None)
@given(rows=some.lists(_ANY | _LIKELY, min_size=1, max_size=4), ascii_only=some.booleans())
def test_the_way_by_columns_is_the_way_by_lines(rows: list[dict[str, Any]], *, ascii_only: bool) -> None:
    texts = [json.dumps(row, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") for row in rows]
    lines = list(range(1, len(rows) + 1))
    batch = samples.read_plain(lines, texts)
    found = [samples.read(text, with_client=False, with_time=False) for text in texts]
    if batch is not None:
        assert [samples.Sample(*row) for row in zip(batch.payloads, batch.attacks, batch.groups, strict=True)] == found


def test_a_usual_line_goes_by_columns() -> None:
    assert samples.read_plain([1], [b'{"payload":"a","label":"attack","attack_type":"sqli"}']) is not None
