"""Wrong rules and tasks are refused with the path of the field."""

from typing import Any

import pytest

from shieldx_runtime.shadow.errors import TaskError
from shieldx_runtime.shadow.parse import MAX_DEPTH, parse
from shieldx_runtime.shadow.task import Task


def deep(levels: int) -> dict[str, Any]:
    rule: dict[str, Any] = {"type": "signature", "pattern": "a"}
    for _ in range(levels):
        rule = {"type": "not", "rule": rule}
    return rule


@pytest.mark.parametrize(
    ("rule", "path", "says"),
    [
        ("a", "rule", "must be an object"),
        ({}, "rule.type", "is None; it must be one of signature"),
        ({"type": "secrule"}, "rule.type", "is 'secrule'"),
        ({"type": ["signature"]}, "rule.type", "must be one of"),
        ({"type": "signature"}, "rule.pattern", "is missing"),
        ({"type": "signature", "pattern": ""}, "rule.pattern", "1 to 4096 characters"),
        ({"type": "signature", "pattern": 5}, "rule.pattern", "must be a text"),
        ({"type": "signature", "pattern": "a", "flags": "i"}, "rule.flags", "is no field of a rule of type signature"),
        ({"type": "signature", "pattern": "a", "syntax": "pcre"}, "rule.syntax", "literal or regex"),
        ({"type": "signature", "pattern": "ab(?=c)", "syntax": "regex"}, "rule.pattern", "at character 3"),
        ({"type": "signature", "pattern": r"(a)\1", "syntax": "regex"}, "rule.pattern", "at character 4"),
        ({"type": "signature", "pattern": "(a", "syntax": "regex"}, "rule.pattern", "missing )"),
        ({"type": "signature", "pattern": "\ud800"}, "rule.pattern", "surrogate"),
        ({"type": "signature", "pattern": "a", "name": float("inf")}, "rule.name", "printable characters"),
        ({"type": "signature", "pattern": "a", "id": "\ud800"}, "rule.id", "printable characters"),
        ({"type": "signature", "pattern": "a", "\ud800": None}, "rule.\ud800", "is no field"),
        ({"type": "ip_blacklist", "networks": ["10.0.0.1/8"]}, "rule.networks[0]", "host bits set"),
        ({"type": "ip_blacklist", "networks": []}, "rule.networks", "must be a list of 1"),
        ({"type": "rate_limiting", "requests": 0}, "rule.requests", "is 0"),
        ({"type": "rate_limiting", "requests": 1, "windowSeconds": 1.5}, "rule.window_seconds", "is 1.5"),
        ({"type": "anomaly_detection", "threshold": float("nan")}, "rule.threshold", "is nan"),
        ({"type": "libinjection", "injections": ["ldap"]}, "rule.injections", "sqli, xss or both"),
        ({"type": "all_of", "rules": []}, "rule.rules", "1 to 64"),
        ({"type": "any_of", "rules": [{"type": "not", "rule": {"type": "x"}}]}, "rule.rules[0].rule.type", "is 'x'"),
        (deep(MAX_DEPTH), "rule" + ".rule" * MAX_DEPTH, "nested deeper than 8"),
    ],
)
def test_a_wrong_rule_is_refused_where_it_is_wrong(rule: Any, path: str, says: str) -> None:
    with pytest.raises(TaskError) as refused:
        parse(rule)
    assert refused.value.path == path
    assert says in refused.value.problem


def letters(most: int) -> dict[str, Any]:
    return {"type": "signature", "syntax": "regex", "pattern": rf"\pL{{1,{most}}}"}


@pytest.mark.parametrize(
    ("rule", "path", "says"),
    [
        (letters(1000), "rule.pattern", "becomes too large when it is compiled: repeat less"),
        ({"type": "all_of", "rules": [letters(60)] * 9}, "rule.rules[2].pattern", "may take 150,000 together"),
        (
            {"type": "any_of", "rules": [{"type": "all_of", "rules": [deep(0)] * 60}] * 60},
            "rule.rules[4].rules[10]",
            "at most 256 in all",
        ),
    ],
)
def test_a_rule_that_would_take_minutes_or_gigabytes_to_compile_is_refused(rule: Any, path: str, says: str) -> None:
    with pytest.raises(TaskError) as refused:
        parse(rule)
    assert refused.value.path == path
    assert says in refused.value.problem


GOOD: dict[str, Any] = {"rule": {"type": "signature", "pattern": "a"}, "data": {"path": "a.ndjson"}}


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ({"rules": []}, "task.rules", "is unknown"),
        ({"rule": ...}, "rule", "is missing"),
        ({"data": "a"}, "data", "must be an object"),
        ({"data": {}}, "data", "exactly one of path and s3"),
        ({"data": {"path": "a.txt"}}, "data.format", "'a.txt' does not tell it"),
        ({"data": {"path": "a.csv", "format": "xml"}}, "data.format", "is 'xml'"),
        ({"data": {"path": "a.csv", "compression": "lzma"}}, "data.compression", "is 'lzma'"),
        ({"data": {"s3": {"endpoint": "http://s3", "bucket": "b"}}}, "data.s3.key", "must be a text"),
        ({"seed": -1}, "seed", "is -1"),
        ({"sampleSize": 0}, "sampleSize", "is 0"),
        ({"shards": 65}, "shards", "from 1 to 64"),
        ({"batchSize": True}, "batchSize", "is True"),
    ],
)
def test_a_wrong_task_is_refused_where_it_is_wrong(change: dict[str, Any], path: str, says: str) -> None:
    document = {name: value for name, value in {**GOOD, **change}.items() if value is not ...}
    with pytest.raises(TaskError) as refused:
        Task.from_dict(document)
    assert refused.value.path == path
    assert says in refused.value.problem


@pytest.mark.parametrize(
    ("name", "format_", "compression"),
    [
        ("a.ndjson", "ndjson", "none"),
        ("b/A.CSV.gz", "csv", "gzip"),
        ("c.parquet", "parquet", "none"),
        ("d.jsonl.zst", "ndjson", "zstd"),
    ],
)
def test_the_form_is_told_by_the_name(name: str, format_: str, compression: str) -> None:
    data = Task.from_dict({**GOOD, "data": {"path": name}}).data
    assert (data.format, data.compression) == (format_, compression)
