"""Figures of a report as SVG: a line, a bar, a curve. Each gives "" where there is nothing to show."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_WIDTH: Final = 760
_LEFT: Final = 230
_RIGHT: Final = 120
_ROW: Final = 30
_SCALE: Final = _WIDTH - _LEFT - _RIGHT
_BARS: Final = 20
_HEIGHT: Final = 260


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def _at(share: float) -> float:
    return _LEFT + _SCALE * share


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def intervals(rows: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Each ratio as a point with its interval, on a scale from 0 to 1."""
    if not rows:
        return ""
    parts = []
    for place, (label, estimate) in enumerate(rows):
        y = _ROW * place + 20
        low, high, value = estimate["low"], estimate["high"], estimate["value"]
        parts += [
            _text(_LEFT - 10, y + 4, label, "end"),
            f'<line x1="{_LEFT}" x2="{_at(1)}" y1="{y}" y2="{y}" stroke="#e3e6e8"/>',
            f'<line x1="{_at(low):.1f}" x2="{_at(high):.1f}" y1="{y}" y2="{y}" stroke="#0b62c4" stroke-width="6"/>',
            f'<circle cx="{_at(value):.1f}" cy="{y}" r="5" fill="#1b1f24"/>',
            _text(_at(1) + 10, y + 4, f"{value:.3f}"),
            _text(_at(1) + 10, y + 18, f"{low:.3f} to {high:.3f}"),
        ]
    return _svg(_ROW * len(rows) + 20, "ratios with their 95% intervals", parts)


def shares(groups: Mapping[str, Sequence[int]], word: str) -> str:
    """By name how many of all matched; the largest names first."""
    chosen = sorted(groups.items(), key=lambda entry: (-sum(entry[1]), entry[0]))[:_BARS]
    if not chosen:
        return ""
    parts = []
    for place, (name, (matched, unmatched)) in enumerate(chosen):
        y = _ROW * place + 8
        share = matched / (matched + unmatched) if matched + unmatched else 0.0
        parts += [
            _text(_LEFT - 10, y + 14, name[:30], "end"),
            f'<rect x="{_LEFT}" y="{y}" width="{_SCALE}" height="18" fill="#f2d7d5"/>',
            f'<rect x="{_LEFT}" y="{y}" width="{_SCALE * share:.1f}" height="18" fill="#2f7d4f"/>',
            _text(_at(1) + 10, y + 14, f"{matched:,} of {matched + unmatched:,}"),
        ]
    return _svg(_ROW * len(chosen) + 10, f"samples that {word}, by group", parts)


def threshold_curve(scores: Sequence[Any]) -> str:
    """Precision, recall and F1 at each threshold, of a rule with scores: `[edge, attacks, benign]` by bin."""
    points = threshold_points(scores)
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return ""
    first, last = points[0][0], points[-1][0]
    bottom = _HEIGHT - 30

    def x(edge: float) -> float:
        return _LEFT + _SCALE * (edge - first) / (last - first)

    def y(share: float) -> float:
        return bottom - (bottom - 10) * share

    parts = [f'<rect x="{_LEFT}" y="10" width="{_SCALE}" height="{bottom - 10}" fill="none" stroke="#c8ccd0"/>']
    for place, (name, colour) in enumerate((("precision", "#0b62c4"), ("recall", "#b4530b"), ("F1", "#2f7d4f")), 1):
        line = " ".join(f"{x(point[0]):.1f},{y(point[place]):.1f}" for point in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_at(1) + 10:.1f}" y="{20 * place + 10}" style="fill:{colour}">{name}</text>')
    parts += [_text(x(first), _HEIGHT - 10, f"{first:g}"), _text(x(last), _HEIGHT - 10, f"{last:g}", "end")]
    parts += [_text(_LEFT - 10, y(0), "0", "end"), _text(_LEFT - 10, y(1) + 10, "1", "end")]
    return _svg(_HEIGHT, "precision, recall and F1 by threshold", parts)


def threshold_points(scores: Sequence[Any]) -> list[tuple[float, float, float, float]]:
    """Threshold, precision, recall and F1 where the rule would match from each bin's lower edge on."""
    attacks = tp = sum(entry[1] for entry in scores)
    fp = sum(entry[2] for entry in scores)
    points = []
    for edge, of_attacks, of_benign in sorted(scores):
        if attacks and tp + fp:
            points.append((edge, tp / (tp + fp), tp / attacks, 2 * tp / (tp + fp + attacks)))
        tp, fp = tp - of_attacks, fp - of_benign
    return points
