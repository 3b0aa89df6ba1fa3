"""An evaluation's document as one picture: matrix, intervals, attack types, threshold curve."""

import io
from collections.abc import Callable, Mapping
from typing import Any, Final

from shieldx_runtime.shadow.figures import threshold_points
from shieldx_runtime.shadow.report import RATIOS

_MOST_TYPES: Final = 15
_INCHES: Final = (14, 9)
_DOTS_AN_INCH: Final = 110


class LackingError(RuntimeError):
    """matplotlib is not installed: it is no part of an installation that only evaluates."""


def drawn(document: Mapping[str, Any]) -> bytes:
    """The picture as PNG. `document` is what `document.document` made, perhaps read back from a file.

    Raises:
        LackingError: see there.
        KeyError: it is no such document.
    """
    try:
        # half a second that only a picture pays; the figure's own class needs no display and keeps no global state
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        lacking = "a PNG needs matplotlib: install shieldx-platform[report], or write a page (--output report.html)"
        raise LackingError(lacking) from None
    result, counts = document["result"], document["counts"]
    figure = Figure(figsize=_INCHES, layout="constrained")
    figure.suptitle(f"Shadow evaluation: {result['verdict']} ({result['samples']:,} samples)")
    panels: tuple[Callable[[Any], None], ...] = (
        lambda axes: _matrix(axes, result["matrix"]),
        lambda axes: _intervals(axes, result),
        lambda axes: _types(axes, counts["attackTypes"]),
        lambda axes: _curve(axes, counts.get("scores", [])),
    )
    for axes, draw in zip(figure.subplots(2, 2).flat, panels, strict=True):
        draw(axes)
    # no time of its making: the same answer gives the same file
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DOTS_AN_INCH, metadata={"Software": None})
    return picture.getvalue()


def _matrix(axes: Any, matrix: Mapping[str, int]) -> None:
    rows = [
        [matrix["truePositives"], matrix["falseNegatives"]],
        [matrix["falsePositives"], matrix["trueNegatives"]],
    ]
    shares = [[cell / (sum(row) or 1) for cell in row] for row in rows]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            axes.text(x, y, f"{cell:,}", ha="center", va="center", color="white" if shares[y][x] > 0.5 else "black")  # noqa: PLR2004 - dark
    axes.set_xticks([0, 1], ["rule matches", "rule does not match"])
    axes.set_yticks([0, 1], ["attack", "benign"])
    axes.set_title("What was counted")


def _intervals(axes: Any, result: Mapping[str, Any]) -> None:
    # from the bottom up, as the axis goes
    rows = [(label, result[name]) for name, label in reversed(RATIOS) if _defined(result.get(name))]
    for y, (_, told) in enumerate(rows):
        axes.plot([told["low"], told["high"]], [y, y], color="#0b62c4", linewidth=5, solid_capstyle="butt")
        axes.plot([told["value"]], [y], "o", color="#1b1f24")
        axes.annotate(f"{told['value']:.3f}", (told["value"], y), (0, 8), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    axes.grid(axis="x", alpha=0.4)
    axes.set_title("How sure it is (95% intervals)")


def _defined(estimate: Mapping[str, Any] | None) -> bool:
    return bool(estimate) and estimate is not None and estimate.get("value") is not None


def _types(axes: Any, types: Mapping[str, tuple[int, int]]) -> None:
    chosen = sorted(types.items(), key=lambda entry: (-entry[1][1], entry[0]))[:_MOST_TYPES][::-1]
    found, missed = ([pair[place] for _, pair in chosen] for place in (0, 1))
    places = range(len(chosen))
    axes.barh(places, found, color="#2f7d4f", label="found")
    axes.barh(places, missed, left=found, color="#b42318", label="missed")
    # names come from samples that attackers wrote: a dollar sign would begin a formula
    axes.set_yticks(places, [name[:30].replace("$", r"\$") for name, _ in chosen])
    axes.set_title("Attack types, the most missed first" if chosen else "No attacks")
    if chosen:
        axes.legend()


def _curve(axes: Any, scores: Any) -> None:
    points = threshold_points(scores)
    for place, name in enumerate(("precision", "recall", "F1"), 1):
        axes.plot([point[0] for point in points], [point[place] for point in points], label=name)
    axes.set_ylim(0, 1.02)
    axes.set_title("By threshold" if points else "This rule has no threshold")
    if points:
        axes.set_xlabel("threshold, bits a byte")
        axes.legend()
        axes.grid(alpha=0.4)
