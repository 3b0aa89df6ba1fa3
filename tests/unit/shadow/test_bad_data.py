"""Data that nobody would wish for: each record has its place or its reason, and nothing hangs."""

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from shieldx_runtime.shadow.errors import DataError
from shieldx_runtime.shadow.evaluation import CancelledError, evaluate
from shieldx_runtime.shadow.records import csv_chunks, ndjson_chunks, records
from shieldx_runtime.shadow.samples import MAX_PAYLOAD_BYTES
from shieldx_runtime.shadow.task import Task
from shieldx_verdict import Counts

RULE = {"type": "signature", "pattern": "x"}
GOOD = [{"payload": "axb", "label": "attack"}, {"payload": "ok", "label": "benign"}]


def counted(path: Path, rule: dict[str, Any] = RULE, **how: Any) -> Counts:
    return evaluate(Task.from_dict({"rule": rule, "data": {"path": str(path)}, **how})).counts


def lines(path: Path, *texts: bytes) -> Path:
    path.write_bytes(b"".join(text + b"\n" for text in texts))
    return path


def as_json(*rows: dict[str, Any]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "unreadable"),
        (b"[1, 2]", "unreadable"),
        (b'{"payload": "\xff\xfe", "label": "attack"}', "unreadable"),
        (b'{"payload": "\\ud800", "label": "attack"}', "not_utf8"),
        (b'{"label": "attack"}', "no_payload"),
        (b'{"payload": 7, "label": "attack"}', "no_payload"),
        (b'{"payload": "a"}', "no_label"),
        (b'{"payload": "a", "label": "maybe"}', "no_label"),
        (b'{"payload": "a", "label": 2}', "no_label"),
        (b"[" * 100_000, "unreadable"),
    ],
)
def test_a_record_that_cannot_be_judged_is_an_error_with_its_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    counts = counted(lines(tmp_path / "s.ndjson", *as_json(*GOOD), line, *as_json(*GOOD)))
    assert counts.errors in ({reason: 1}, {"unreadable": 1} if reason == "not_utf8" else None)
    assert (counts.matrix.tp, counts.matrix.tn) == (2, 2)


@pytest.mark.parametrize(("label", "attack"), [(1, True), (0, False), (True, True), (False, False), ("Attack", True)])
def test_labels_may_be_numbers_and_words(tmp_path: Path, label: object, attack: bool) -> None:
    matrix = counted(lines(tmp_path / "s.ndjson", *as_json({"payload": "x", "label": label}))).matrix
    assert (matrix.tp, matrix.fp) == (int(attack), int(not attack))


def test_nul_bytes_are_bytes_like_others(tmp_path: Path) -> None:
    rows = as_json({"payload": "a\0x", "label": "attack"}, {"payload": "a\0", "label": "benign"})
    matrix = counted(lines(tmp_path / "s.ndjson", *rows)).matrix
    assert (matrix.tp, matrix.tn) == (1, 1)
    (tmp_path / "s.csv").write_bytes(b"payload,label\na\0x,attack\na\0,benign\n")
    matrix = counted(tmp_path / "s.csv").matrix
    assert (matrix.tp, matrix.tn) == (1, 1)


def test_parts_of_a_request_are_a_payload(tmp_path: Path) -> None:
    row = {"method": "GET", "path": "/a", "headers": {"Host": "h"}, "body": "x", "label": "attack"}
    assert (
        counted(lines(tmp_path / "s.ndjson", *as_json(row)), {"type": "signature", "pattern": "Host: h"}).matrix.tp == 1
    )


def test_a_payload_of_ten_megabytes_is_judged_and_one_beyond_the_bound_is_an_error(tmp_path: Path) -> None:
    rows = as_json(
        {"payload": "a" * 10_000_000 + "x", "label": "attack"},
        {"payload": "b" * (MAX_PAYLOAD_BYTES + 1), "label": "attack"},
        {"payload": "c" * (3 * MAX_PAYLOAD_BYTES), "label": "attack"},
        *GOOD,
    )
    counts = counted(lines(tmp_path / "s.ndjson", *rows))
    assert counts.errors == {"too_long": 2}
    assert (counts.matrix.tp, counts.matrix.tn) == (2, 1)


def test_an_empty_file_and_one_of_empty_lines_hold_no_sample(tmp_path: Path) -> None:
    assert counted(lines(tmp_path / "s.ndjson")).matrix.total == 0
    assert counted(lines(tmp_path / "s.ndjson", b"", b"  ")) == Counts()


def test_data_of_one_class_leave_the_ratios_of_the_other_undefined(tmp_path: Path) -> None:
    matrix = counted(lines(tmp_path / "s.ndjson", *as_json(GOOD[1], GOOD[1]))).matrix
    assert (matrix.attacks, matrix.tn) == (0, 2)


def test_two_records_with_the_same_id_are_two_samples(tmp_path: Path) -> None:
    row = {"id": 1, **GOOD[0]}
    assert counted(lines(tmp_path / "s.ndjson", *as_json(row, row))).matrix.tp == 2


def test_a_last_line_without_an_end_counts(tmp_path: Path) -> None:
    (tmp_path / "s.ndjson").write_bytes(b"\n".join(as_json(*GOOD)))
    assert counted(tmp_path / "s.ndjson").matrix.total == 2


@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 10_000])
def test_cutting_a_csv_file_loses_no_record_and_no_line_number(chunk_bytes: int) -> None:
    text = b'payload,label\r\n"two\nlines, ""quoted""",attack\r\nplain,benign\r\n"a,b",1\r\n"\xff",0\r\nshort\r\nlast,0'
    blocks = [text[place : place + 5] for place in range(0, len(text), 5)]
    found = [record for chunk in csv_chunks(blocks, "s.csv", chunk_bytes) for record in records(chunk)]
    assert found == [
        (2, {"payload": 'two\nlines, "quoted"', "label": "attack"}),
        (4, {"payload": "plain", "label": "benign"}),
        (5, {"payload": "a,b", "label": "1"}),
        (6, "not_utf8"),
        (7, "unreadable"),
        (8, {"payload": "last", "label": "0"}),
    ]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 10_000])
def test_cutting_ndjson_loses_no_record_and_no_line_number(chunk_bytes: int) -> None:
    text = b'{"a": 1}\n\n{"a": 2}\nbad\n{"a": 3}'
    blocks = [text[place : place + 3] for place in range(0, len(text), 3)]
    found = [record for chunk in ndjson_chunks(blocks, chunk_bytes) for record in records(chunk)]
    assert found == [(1, b'{"a": 1}'), (3, b'{"a": 2}'), (4, b"bad"), (5, b'{"a": 3}')]


def test_a_csv_file_without_a_label_column_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("payload,kind\na,b\n")
    with pytest.raises(DataError, match="names the columns payload, kind; one must be label"):
        counted(tmp_path / "s.csv")


@pytest.mark.parametrize("end", ["gz", "zst"])
def test_compressed_data_give_the_same_counts_and_digest(tmp_path: Path, end: str) -> None:
    plain = lines(tmp_path / "s.ndjson", *as_json(*GOOD) * 1000)
    packed = tmp_path / f"s.ndjson.{end}"
    pack = gzip.compress if end == "gz" else zstandard.ZstdCompressor().compress
    packed.write_bytes(pack(plain.read_bytes()))
    asked = [Task.from_dict({"rule": RULE, "data": {"path": str(path)}}) for path in (plain, packed)]
    one, other = map(evaluate, asked)
    assert (one.counts, one.dataset_digest) == (other.counts, other.dataset_digest)


def test_parquet_gives_the_same_counts(tmp_path: Path) -> None:
    plain = lines(tmp_path / "s.ndjson", *as_json(*GOOD) * 3000)
    parquet.write_table(pa.Table.from_pylist(GOOD * 3000), tmp_path / "s.parquet")
    assert counted(tmp_path / "s.parquet") == counted(plain) == counted(tmp_path / "s.parquet", workers=2)


def test_what_is_not_parquet_or_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(DataError, match="no readable Parquet file"):
        counted(tmp_path / "s.parquet")
    packed = gzip.compress(b"\n".join(as_json(*GOOD) * 1000))
    (tmp_path / "s.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="cut short"):
        counted(tmp_path / "s.ndjson.gz")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    # 1 GiB of empty lines in about 1 MB
    bomb = tmp_path / "s.ndjson.gz"
    bomb.write_bytes(gzip.compress(b"\n" * 2**20) * 1024)
    with pytest.raises(DataError, match="grows more than 200-fold"):
        counted(bomb)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.ndjson cannot be read: No such file"):
        counted(tmp_path / "none.ndjson")


def test_an_expression_that_ruins_others_is_quick(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.ndjson", *as_json({"payload": "a" * 28 + "!", "label": "attack"}))
    begin_s = time.process_time()
    assert counted(path, {"type": "signature", "syntax": "regex", "pattern": r"^(\w+\s?)*$"}).matrix.fn == 1
    assert time.process_time() - begin_s < 2, "Python's own engine takes more than 20 s for it"


def test_white_space_is_what_the_dialect_says(tmp_path: Path) -> None:
    """RE2's `\\s` is space, tab, newline, form feed and carriage return; a vertical tab is none."""
    rows = as_json(*({"payload": f"a{space}b", "label": "attack"} for space in " \t\n\f\r\v"))
    path = lines(tmp_path / "s.ndjson", *rows)
    assert counted(path, {"type": "signature", "syntax": "regex", "pattern": r"a\sb"}).matrix.tp == 5


def test_letters_beyond_ascii_are_one_character(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.ndjson", *as_json({"payload": "\u00e9\u4e2d", "label": "attack"}))
    assert counted(path, {"type": "signature", "syntax": "regex", "pattern": "^..$"}).matrix.tp == 1


def test_a_clock_that_steps_back_beyond_the_window_is_an_error_and_less_is_none(tmp_path: Path) -> None:
    rows = [
        {"payload": "p", "label": "attack", "client_ip": "198.51.100.7", "timestamp": second}
        for second in (1000, 1050, 1001, 900, 1060)
    ]
    rule = {"type": "rate_limiting", "requests": 2, "windowSeconds": 60}
    counts = counted(lines(tmp_path / "s.ndjson", *as_json(*rows)), rule)
    assert counts.errors == {"out_of_order": 1}
    # at 1001 there were two, at 1060 there are three within the 60 seconds before: 1050, 1001 and itself
    assert (counts.matrix.tp, counts.matrix.fn) == (1, 3)


@pytest.mark.parametrize("field", ["client_ip", "timestamp"])
def test_a_sample_without_the_field_that_a_rule_needs_is_an_error(tmp_path: Path, field: str) -> None:
    row = {"payload": "p", "label": "attack", "client_ip": "2001:db8::1", "timestamp": "2026-01-01T00:00:00Z"}
    rule = {"type": "not", "rule": {"type": "rate_limiting", "requests": 2, "windowSeconds": 60}}
    broken = {**row, field: "nonsense"}
    assert counted(lines(tmp_path / "s.ndjson", *as_json(row, broken)), rule).errors == {f"no_{field}": 1}


def test_errors_are_drawn_in_their_proportion(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.ndjson", *(as_json(*GOOD) * 450 + [b"bad"] * 100))
    counts = counted(path, sampleSize=100)
    assert counts.errors == {"unreadable": 10}
    assert (counts.matrix.attacks, counts.matrix.benign) == (45, 45)


def test_a_cancelled_evaluation_ends(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.ndjson", *as_json(*GOOD))
    with pytest.raises(CancelledError):
        evaluate(Task.from_dict({"rule": RULE, "data": {"path": str(path)}}), cancelled=lambda: True)
