"""The two commands, as a person runs them, and the page that comes of it."""

import json
import re
import struct
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shieldx_runtime.shadow.commands import build
from shieldx_runtime.shadow.figures import threshold_points

RUN = CliRunner()
COMMANDS = build(serve=lambda: None, migrate=lambda: None)
EVIL = '<script>alert("x")</script>[red]x[/red]'


def asked(tmp_path: Path, rule: Any, *options: str) -> tuple[int, str, Path]:
    data, rule_file, output = tmp_path / "s.ndjson", tmp_path / "rule.json", tmp_path / "r.json"
    rows = [{"payload": EVIL, "label": "attack", "attack_type": "<b>xss $x$"}] * 30
    rows += [{"payload": f"ok {n}", "label": "benign", "path": "/a"} for n in range(70)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    rule_file.write_text(json.dumps(rule), encoding="utf-8")
    done = RUN.invoke(
        COMMANDS,
        ["evaluate", "--data", str(data), "--rule", str(rule_file), "--output", str(output), *options],
    )
    return done.exit_code, done.output, output


def test_an_evaluation_tells_verdict_matrix_and_where_it_came_from(tmp_path: Path) -> None:
    code, told, output = asked(tmp_path, {"type": "signature", "pattern": "ok 1"}, "--min-recall", "0.5")
    assert code == 0
    assert told.startswith("REJECT")
    answer = json.loads(output.read_text(encoding="utf-8"))
    assert answer["result"]["matrix"] == {
        "truePositives": 0,
        "falsePositives": 11,
        "trueNegatives": 59,
        "falseNegatives": 30,
    }
    assert answer["datasetDigest"].startswith("sha256:")
    assert len(answer["mistakes"]["falsePositives"]) == 11


@pytest.mark.parametrize(("pattern", "code"), [("<script>", 0), ("ok 1", 3)])
def test_a_pipeline_is_told_by_the_exit_code_whether_the_rule_may_go_live(
    tmp_path: Path, pattern: str, code: int
) -> None:
    rule = {"type": "signature", "pattern": pattern}
    ended, told, output = asked(tmp_path, rule, "--min-recall", "0.5", "--exit-code")
    assert (ended, told.startswith("PROMOTE")) == (code, code == 0)
    assert output.exists()


def test_a_wrong_rule_ends_with_2_and_the_field(tmp_path: Path) -> None:
    code, told, _ = asked(tmp_path, {"type": "signature", "pattern": "(?=a)", "syntax": "regex"})
    assert code == 2
    assert "rule.pattern" in told


def test_data_that_are_not_there_end_with_1(tmp_path: Path) -> None:
    rule = tmp_path / "rule.json"
    rule.write_text('{"type":"signature","pattern":"x"}', encoding="utf-8")
    done = RUN.invoke(COMMANDS, ["evaluate", "--data", str(tmp_path / "none.csv"), "--rule", str(rule)])
    assert done.exit_code == 1
    assert "cannot be read" in done.output


@pytest.mark.parametrize(
    "rule", [{"type": "signature", "pattern": "ok 1"}, {"type": "anomaly_detection", "threshold": 100}]
)
def test_the_page_holds_no_markup_of_an_attacker(tmp_path: Path, rule: dict[str, Any]) -> None:
    _, _, output = asked(tmp_path, rule, "--prevalence", "0.01")
    page = tmp_path / "report.html"
    done = RUN.invoke(COMMANDS, ["report", str(output), "--output", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>xss" not in text
    assert "&lt;script&gt;" in text
    figures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert figures
    for figure in figures:
        ET.fromstring(figure)  # noqa: S314 - our own page


@pytest.mark.parametrize("kind", ["signature", "anomaly_detection"])
def test_the_picture_is_a_png_and_the_same_for_the_same_answer(tmp_path: Path, kind: str) -> None:
    told = {"type": kind, "threshold": 5.5} if kind == "anomaly_detection" else {"type": kind, "pattern": "a$b$"}
    _, _, output = asked(tmp_path, told)
    pictures = [tmp_path / "one.png", tmp_path / "two.PNG"]
    for picture in pictures:
        done = RUN.invoke(COMMANDS, ["report", str(output), "--output", str(picture)])
        assert done.exit_code == 0, done.output
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", first[16:24])
    assert (width, height) == (1540, 990)


def test_a_picture_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, output = asked(tmp_path, {"type": "signature", "pattern": "a"})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = RUN.invoke(COMMANDS, ["report", str(output), "--output", str(tmp_path / "one.png")])
    assert done.exit_code == 1
    assert "shieldx-platform[report]" in done.output


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "null", "x", "[" * 5000, "\ud800", '{"result":[],"counts":1}', '{"result":{"verdict":1},"counts":{}}'],
)
def test_what_is_no_answer_is_refused_by_name(tmp_path: Path, text: str) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_bytes(text.encode("utf-8", "surrogatepass"))
    done = RUN.invoke(COMMANDS, ["report", str(wrong), "--output", str(tmp_path / "report.html")])
    assert done.exit_code == 1
    assert "wrong.json is no answer" in done.output


def test_a_format_is_told_by_the_name_or_by_its_option(tmp_path: Path) -> None:
    data, rule = tmp_path / "samples.txt", tmp_path / "rule.json"
    data.write_text("payload,label\na,attack\nb,benign\n", encoding="utf-8")
    rule.write_text('{"type":"signature","pattern":"a"}', encoding="utf-8")
    command = ["evaluate", "--data", str(data), "--rule", str(rule)]
    told = {name: RUN.invoke(COMMANDS, [*command, "--format", name]) for name in ("csv", "xml")}
    assert (told["csv"].exit_code, told["xml"].exit_code) == (0, 2)
    assert "2 samples, 0 errors" in told["csv"].output
    assert "must be one of ndjson, csv, parquet" in told["xml"].output
    assert RUN.invoke(COMMANDS, command).exit_code == 2


def test_a_page_is_not_written_under_the_name_of_another_picture(tmp_path: Path) -> None:
    done = RUN.invoke(COMMANDS, ["report", str(tmp_path / "r.json"), "--output", str(tmp_path / "r.svg")])
    assert done.exit_code == 2
    assert "let it end in .png or .html" in done.output
    assert not (tmp_path / "r.svg").exists()


def test_a_place_where_nothing_can_be_written_is_named_before_anything_is_judged(tmp_path: Path) -> None:
    rule = {"type": "signature", "pattern": "ok 1"}
    for place in (tmp_path, tmp_path / "none" / "r.json"):
        code, told, _ = asked(tmp_path, rule, "--output", str(place))
        assert code == 2
        assert f"--output: {place}" in told
        assert "REJECT" not in told
    _, _, answer = asked(tmp_path, rule)
    done = RUN.invoke(COMMANDS, ["report", str(answer), "--output", "/dev/full"])
    assert done.exit_code == 1
    assert "--output: /dev/full cannot be written: No space left on device" in done.output


def test_a_threshold_counts_what_lies_at_or_above_it() -> None:
    assert threshold_points([[1.0, 1, 3], [2.0, 3, 1]]) == [(1.0, 0.5, 1.0, 2 / 3), (2.0, 0.75, 0.75, 0.75)]
