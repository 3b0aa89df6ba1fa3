"""An evaluation's document as one page of HTML that needs nothing else: no script, no font, no network.

Payloads were written by attackers: every text is escaped, and the page forbids scripts.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from shieldx_runtime.shadow import figures

RATIOS: Final = (
    ("precision", "Precision"),
    ("recall", "Recall"),
    ("f1", "F1"),
    ("falsePositiveRate", "False positive rate"),
    ("precisionAtPrevalence", "Precision at the real prevalence"),
)
_SHOWN_MISTAKES: Final = 20
_COLOURS: Final = {"PROMOTE": "#1a7f37", "REJECT": "#b42318", "INCONCLUSIVE": "#8a6100"}
_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
h1 span{padding:.1em .5em;border-radius:.3em;color:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #c8ccd0;padding:.3rem .7rem;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}code{white-space:pre-wrap;word-break:break-all}
svg{max-width:100%;height:auto}svg text{font:13px system-ui,sans-serif;fill:#1b1f24}
"""


def render(document: Mapping[str, Any]) -> str:
    """The page. `document` is what `document.document` made, perhaps read back from a file.

    Raises:
        KeyError: it is no such document.
    """
    result, counts = document["result"], document["counts"]
    verdict = str(result["verdict"])
    parts = [
        f'<h1>Shadow evaluation <span style="background:{_COLOURS.get(verdict, "#555")}">{escape(verdict)}</span></h1>',
        _list(result["reasons"]),
        "<h2>What was counted</h2>",
        _matrix(result["matrix"]),
        _errors(result),
        "<h2>How sure it is (95% intervals)</h2>",
        figures.intervals([(label, result[name]) for name, label in RATIOS if (result.get(name) or {}).get("value")]),
        _section("Attack types", figures.shares(counts["attackTypes"], "found")),
        _section("Benign groups that match", figures.shares(_noisy(counts["benignGroups"]), "match")),
        _section("Thresholds", figures.threshold_curve(counts.get("scores", []))),
        _comparison(result.get("comparison")),
        _section("Recommendations", _list(result["recommendations"])),
        _mistakes("False positives", document["mistakes"]["falsePositives"]),
        _mistakes("False negatives", document["mistakes"]["falseNegatives"]),
        _provenance(document),
    ]
    body = "\n".join(part for part in parts if part)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>Shadow evaluation: {escape(verdict)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>\n{content}" if content else ""


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _matrix(matrix: Mapping[str, int]) -> str:
    cells = {name: f'<td class="n">{number:,}</td>' for name, number in matrix.items()}
    return (
        "<table><tr><th></th><th>rule matches</th><th>rule does not match</th></tr>"
        f"<tr><th>attack</th>{cells['truePositives']}{cells['falseNegatives']}</tr>"
        f"<tr><th>benign</th>{cells['falsePositives']}{cells['trueNegatives']}</tr></table>"
    )


def _errors(result: Mapping[str, Any]) -> str:
    if not result["errors"]:
        return f"<p>{result['samples']:,} samples, no errors.</p>"
    reasons = ", ".join(f"{escape(name)} {number:,}" for name, number in result["errorsByReason"].items())
    return f"<p>{result['samples']:,} samples; {result['errors']:,} could not be judged: {reasons}.</p>"


def _noisy(groups: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    return {name: pair for name, pair in groups.items() if pair[0]}


def _comparison(comparison: Mapping[str, Any] | None) -> str:
    if comparison is None:
        return ""
    rows = (
        ("both right", "bothRight"),
        ("only this rule", "onlyCandidate"),
        ("only the live rule", "onlyLive"),
        ("both wrong", "bothWrong"),
    )
    cells = "".join(f'<tr><th>{label}</th><td class="n">{comparison[name]:,}</td></tr>' for label, name in rows)
    told = f"better: {escape(str(comparison['better']))} (McNemar's exact test, p = {comparison['pValue']:.3g})"
    return _section("Against the live rule", f"<table>{cells}</table><p>{told}</p>")


def _mistakes(title: str, mistakes: Sequence[Mapping[str, Any]]) -> str:
    if not mistakes:
        return ""
    rows = "".join(
        f'<tr><td class="n">{mistake["line"]:,}</td><td>{escape(str(mistake["group"]))}</td>'
        f"<td><code>{escape(str(mistake['payload']))}</code></td></tr>"
        for mistake in mistakes[:_SHOWN_MISTAKES]
    )
    return _section(title, f"<table><tr><th>line</th><th>group</th><th>payload</th></tr>{rows}</table>")


def _provenance(document: Mapping[str, Any]) -> str:
    size = document["sampleSize"]
    told = {
        "Rule": str(document["rule"]),
        "Live rule": str(document["baseline"] or "none"),
        "Samples": "all" if size is None else f"{size:,} drawn",
        "Seed": str(document["seed"]),
        "Data": str(document["datasetDigest"]),
        "Engine": str(document["engine"]),
    }
    rows = "".join(f"<tr><th>{name}</th><td><code>{escape(value)}</code></td></tr>" for name, value in told.items())
    return _section("To ask it again", f"<table>{rows}</table>")
