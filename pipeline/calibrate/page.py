"""What a person sees of a comparison: the table that is printed, and the page that is drawn."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator
from rich.table import Table

from pipeline.calibrate.calibration import Calibration, Comparison
from pipeline.calibrate.fights import BEST_AFTER, HAZARD_STEP_S, ON_THE_WAY, wipe_hazard
from pipeline.calibrate.pulls import listed
from pipeline.simulate.world import PlayedDifficulty
from pipeline.studies.figures import FAINT, INK, PALETTE, name_of, say_empty, styled

TITLE = "Simulated and real raids"
OK, OUT = PALETTE[0], PALETTE[1]
SIMULATED, REAL = PALETTE[0], INK
RATIOS = (0.25, 4.0)
"""What the axis of ratios reaches."""
RATIO_TICKS = {0.25: "¼", 0.5: "½", 1.0: "1", 2.0: "2", 4.0: "4"}
COLUMNS = 3
# Inches.
PAGE_WIDTH, ROW, MARGIN = 18.0, 0.165, 0.3
LABELS, NUMBERS, TOP, AXIS, PANELS = 2.75, 1.4, 1.0, 0.35, 3.0
REAL_AT, SIMULATED_AT = 0.5, 1.1
"""Where the numbers end, right of the axes."""
SMALL = 7.5


def table(comparisons: Sequence[Comparison]) -> Table:
    """Every comparison in a line."""
    made = Table(title=TITLE, box=None, header_style="bold", padding=(0, 1, 0, 0))
    for heading, width, justify in (
        ("figure", 50, "left"),
        ("at", 15, "left"),
        ("real", 7, "right"),
        ("simulated", 9, "right"),
        ("tolerance", 11, "left"),
        ("", 3, "left"),
    ):
        made.add_column(heading, max_width=width, justify=justify)  # type: ignore[arg-type]
    for heading, each in _with_headings(comparisons):
        verdict = "ok" if each.is_ok else "[bold red]out[/bold red]"
        made.add_row(heading, each.at, number(each.real), number(each.simulated), str(each.tolerance), verdict)
    return made


def number(value: float) -> str:
    """Three digits, but no power of ten for what is larger."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _with_headings(comparisons: Sequence[Comparison]) -> Iterator[tuple[str, Comparison]]:
    """Each comparison, the first one of a figure with what the figure says."""
    before = ""
    for each in comparisons:
        yield each.what if each.figure != before else "", each
        before = each.figure


@dataclass(frozen=True)
class Row:
    """A line of the drawn page: a figure's heading, a value, or both."""

    label: str
    is_heading: bool
    comparison: Comparison | None


def rows(comparisons: Sequence[Comparison]) -> list[Row]:
    """The lines of the page from top to bottom: a figure of one value is one line, else it has a heading."""
    made = []
    for heading, each in _with_headings(comparisons):
        if not each.at:
            made.append(Row(heading, is_heading=True, comparison=each))
            continue
        if heading:
            made.append(Row(heading, is_heading=True, comparison=None))
        made.append(Row(each.at, is_heading=False, comparison=each))
    return made


def in_columns(lines: Sequence[Row], columns: int = COLUMNS) -> list[list[Row]]:
    """Parts of about the same length that begin with a heading."""
    parts: list[list[Row]] = [[]]
    for place, line in enumerate(lines):
        is_full = place >= len(lines) * len(parts) / columns
        if line.is_heading and is_full and len(parts) < columns:
            parts.append([])
        parts[-1].append(line)
    return parts


@styled
def draw(pulls: pl.DataFrame, comparisons: Sequence[Comparison], calibration: Calibration) -> bytes:
    """A page as SVG: every value relative to the real one, and below the hazard of wipes and the learning.

    Args:
        pulls: columns as in `PULLS`.
        comparisons: in the order of the page.
        calibration: has the real hazards.
    """
    parts = in_columns(rows(comparisons))
    longest = max(map(len, parts))
    height = TOP + longest * ROW + AXIS + PANELS + 4 * MARGIN
    figure = Figure(figsize=(PAGE_WIDTH, height))
    figure.set_layout_engine("none")
    _head(figure, comparisons, height)
    width = (PAGE_WIDTH - 2 * MARGIN) / COLUMNS
    for place, part in enumerate(parts):
        left, across = MARGIN + place * width + LABELS, width - LABELS - NUMBERS
        box = (left, height - TOP - longest * ROW, across, longest * ROW)
        _ratios(_place(figure, box, height), part, longest)
    heroic, mythic, health, way = _panels(figure, height)
    _hazard(heroic, pulls, "heroic", calibration)
    _hazard(mythic, pulls, "mythic", calibration)
    _best_health(health, _of(comparisons, "mythic_best_health_left"))
    _way(way, _of(comparisons, "mythic_way_to_first_kill"))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": TITLE})
    return buffer.getvalue()


def _place(figure: Figure, box: tuple[float, float, float, float], height: float) -> Axes:
    """Axes at (left, bottom, width, height) in inches."""
    left, bottom, across, up = box
    return figure.add_axes((left / PAGE_WIDTH, bottom / height, across / PAGE_WIDTH, up / height))


def _panels(figure: Figure, height: float) -> list[Axes]:
    """Four beside each other at the foot of the page."""
    across = (PAGE_WIDTH - 2 * MARGIN) / 4
    lefts = [MARGIN + place * across + 0.5 for place in range(4)]
    return [_place(figure, (left, 2 * MARGIN, across - 0.7, PANELS - 0.3), height) for left in lefts]


def _head(figure: Figure, comparisons: Sequence[Comparison], height: float) -> None:
    good = sum(each.is_ok for each in comparisons)
    left, top = MARGIN / PAGE_WIDTH, 1 - MARGIN / height
    figure.text(
        left, top, f"{TITLE}: {good} of {len(comparisons)} values within tolerance", weight="bold", va="top", size=13
    )
    figure.legend(
        handles=[
            Line2D([], [], color=OK, marker="o", linestyle="", label="within tolerance (at the edge: beyond it)"),
            Line2D([], [], color=OUT, marker="D", linestyle="", label="out of tolerance"),
            Line2D([], [], color="#DDDDDD", linewidth=6, label="tolerance"),
        ],
        loc="upper right",
        bbox_to_anchor=(1 - left, 1 - 0.15 / height),
        ncols=3,
    )


def _ratios(axes: Axes, part: Sequence[Row], longest: int) -> None:
    axes.set(xscale="log", xlim=RATIOS, ylim=(longest - 0.5, -0.5), yticks=[])
    axes.xaxis.set_major_locator(FixedLocator(list(RATIO_TICKS)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(list(RATIO_TICKS.values()))
    axes.spines["left"].set_visible(False)
    axes.axvline(1, color=FAINT, linewidth=0.8, zorder=1)
    axes.set_xlabel("simulated ÷ real", fontsize=SMALL + 1)
    across = axes.get_position().width * PAGE_WIDTH
    for heading, inches in (("real", REAL_AT), ("simulated", SIMULATED_AT)):
        axes.text(
            1 + inches / across, -1, heading, transform=axes.get_yaxis_transform(), **_TEXT, ha="right", color=FAINT
        )
    for y, row in enumerate(part):
        indent = 0.0 if row.is_heading else 0.15
        ink = INK if row.is_heading else "#6B6B6B"
        x = (indent - LABELS) / across
        axes.text(x, y, row.label, transform=axes.get_yaxis_transform(), **_TEXT, color=ink)
        if row.comparison is not None:
            _ratio(axes, y, row.comparison, across)


_TEXT: dict[str, Any] = {"fontsize": SMALL, "va": "center_baseline"}


def _ratio(axes: Axes, y: int, each: Comparison, across: float) -> None:
    colour, marker = (OK, "o") if each.is_ok else (OUT, "D")
    for value, inches, ink in ((each.real, REAL_AT, INK), (each.simulated, SIMULATED_AT, colour)):
        x = 1 + inches / across
        axes.text(x, y, number(value), transform=axes.get_yaxis_transform(), **_TEXT, ha="right", color=ink)
    if not each.real:
        axes.text(1.0, y, f"{each.tolerance} of 0", **_TEXT, ha="center", color=colour)
        return
    low, high = sorted(end / each.real for end in each.tolerance.interval(each.real))
    axes.plot([_within(low), _within(high)], [y, y], color="#DDDDDD", linewidth=6, solid_capstyle="butt", zorder=2)
    if each.simulated == each.simulated:
        ratio = _within(each.simulated / each.real)
        axes.plot([ratio], [y], marker, color=colour, markersize=4.5, zorder=3, clip_on=False)


def _within(ratio: float) -> float:
    """The ratio, or the end of the axis beyond which it lies."""
    return min(max(ratio, RATIOS[0]), RATIOS[1])


def _hazard(axes: Axes, pulls: pl.DataFrame, difficulty: PlayedDifficulty, calibration: Calibration) -> None:
    real = calibration.hazards[difficulty].real
    simulated = wipe_hazard(listed(pulls.filter(pl.col("difficulty") == difficulty)))
    for values, colour, label in ((real, REAL, "real"), (simulated, SIMULATED, "simulated")):
        at = [HAZARD_STEP_S * (step + 0.5) for step in range(len(values))]
        axes.plot(at, values, marker="o", markersize=3.5, color=colour, label=label)
    axes.set(
        title=f"{name_of(difficulty)}: wipes per 30 s", xlabel="s since the pull", ylabel="of the pulls still going on"
    )
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")


def _of(comparisons: Sequence[Comparison], figure: str) -> list[Comparison]:
    return [each for each in comparisons if each.figure == figure]


def _best_health(axes: Axes, compared: Sequence[Comparison]) -> None:
    axes.set(xscale="log", title="Mythic: best health left", xlabel="pulls of a boss", ylabel="median boss health, %")
    _beside(axes, BEST_AFTER, compared)
    axes.set_xticks(BEST_AFTER, [str(count) for count in BEST_AFTER])
    axes.xaxis.set_minor_locator(NullLocator())


def _way(axes: Axes, compared: Sequence[Comparison]) -> None:
    axes.set(
        title="Mythic: survival on the way", xlabel="share of the way to the first kill", ylabel="survival ÷ kill time"
    )
    _beside(axes, ON_THE_WAY, compared)


def _beside(axes: Axes, at: Sequence[float], compared: Sequence[Comparison]) -> None:
    if not compared:
        say_empty(axes, "not compared")
        return
    real, simulated = [each.real for each in compared], [each.simulated for each in compared]
    for values, colour, label in ((real, REAL, "real"), (simulated, SIMULATED, "simulated")):
        axes.plot(at, values, marker="o", markersize=3.5, color=colour, label=label)
    intervals = [each.tolerance.interval(each.real) for each in compared]
    low, high = zip(*intervals, strict=True)
    axes.fill_between(at, low, high, color=FAINT, alpha=0.2, linewidth=0, label="tolerance")
    axes.set_ylim(bottom=0)
    axes.legend(loc="best")
