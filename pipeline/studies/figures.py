"""The look that all figures and tables share, and the one way in which a figure becomes a file."""

import base64
import functools
import html
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from pandas.io.formats.style import Styler

from pipeline import paths

UNKNOWN = "unknown"
INK = "#333333"
FAINT = "#9A9A9A"
# The game's own colours of its classes.
CLASS_COLOURS: dict[str, str] = {
    "death_knight": "#C41E3A",
    "demon_hunter": "#A330C9",
    "druid": "#FF7C0A",
    "evoker": "#33937F",
    "hunter": "#AAD372",
    "mage": "#3FC7EB",
    "monk": "#00FF98",
    "paladin": "#F48CBA",
    "priest": "#FFFFFF",
    "rogue": "#FFF468",
    "shaman": "#0070DD",
    "warlock": "#8788EE",
    "warrior": "#C69B6D",
    UNKNOWN: "#B8B8B8",
}
# Okabe and Ito's palette, which the colour-blind tell apart (jfly.uni-koeln.de/color).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
ROLE_COLOURS: dict[str, str] = {"tank": "#0072B2", "healer": "#009E73", "dps": "#E69F00", UNKNOWN: "#B8B8B8"}
ROLE_NAMES: dict[str, str] = {"tank": "tank", "healer": "healer", "dps": "damage dealer", UNKNOWN: "unknown"}
OUTCOME_COLOURS: dict[str, str] = {"success": "#0072B2", "wipe": "#D55E00", UNKNOWN: "#B8B8B8"}
OUTCOME_NAMES: dict[str, str] = {"success": "kill", "wipe": "wipe", UNKNOWN: "outcome unknown"}

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#777777",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    # Text as outlines looks the same everywhere; the salt makes the ids inside the file the same in each run.
    "svg.fonttype": "path",
    "svg.hashsalt": "wow-raid-telemetry",
}
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def styled(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Draw in the house style, whatever Matplotlib is set to elsewhere."""

    @functools.wraps(draw)
    def in_style(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with matplotlib.style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return in_style


@dataclass(frozen=True)
class Picture:
    """A drawn figure as a notebook shows it: the bytes of the SVG file, with a text for those who cannot see it."""

    svg: bytes
    text: str

    def _repr_html_(self) -> str:
        content = base64.b64encode(self.svg).decode()
        return f'<img alt="{html.escape(self.text)}" src="data:image/svg+xml;base64,{content}"/>'

    def __repr__(self) -> str:
        return f"[{self.text}]"


@styled
def show(figure: Figure, name: str, text: str) -> Picture:
    """Save a figure as `reports/figures/{name}.svg` and return it for the notebook.

    Args:
        figure: what was drawn.
        name: study and figure, like `eda/boss-health`: the report refers to it by this name.
        text: what it shows, in a few words, for those who cannot see it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": text})
    paths.write_atomically(paths.project_root() / paths.FIGURES / f"{name}.svg", buffer.getvalue())
    return Picture(buffer.getvalue(), text)


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` × `columns` panels, each `width` × `height` inches, and its panels row by row."""
    figure = Figure(figsize=(width * columns, height * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [axes for row in grid for axes in row]


def say_empty(axes: Axes, reason: str) -> None:
    """Say inside a panel why there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", color=FAINT, transform=axes.transAxes)


def swatch(colour: str) -> Patch:
    """A colour as a legend shows it."""
    return Patch(facecolor=colour, edgecolor="none")


def name_of(value: object) -> str:
    """A value of the data as a reader writes it: `death_knight` becomes `Death knight`."""
    words = str(value).replace("_", " ")
    return words[:1].upper() + words[1:]


def table(frame: pd.DataFrame, name: str, formats: Mapping[str, str]) -> Styler:
    """A frame as a table for reading: thousands separated, an en dash where there is no value, no index.

    Args:
        frame: what to show; its column names are the headings.
        name: a name of the table, unique in the notebook.
        formats: how to write a column's numbers, like `{:,.1f}`; whole numbers get `{:,}` without being named.
    """
    whole = {column: "{:,}" for column in frame.columns if pd.api.types.is_integer_dtype(frame[column])}
    sides = {column: "right" if pd.api.types.is_numeric_dtype(frame[column]) else "left" for column in frame.columns}
    return (
        frame.style.hide(axis="index")
        .format({**whole, **formats}, na_rep="–")
        .set_uuid(name)
        .set_table_styles(
            {column: [{"selector": "", "props": f"text-align: {side}"}] for column, side in sides.items()},
            overwrite=False,
        )
    )


def write_csv(frame: pd.DataFrame, target: Path) -> None:
    """Write a small table that DVC plots or the report reads."""
    paths.write_atomically(paths.project_root() / target, frame.to_csv(index=False, lineterminator="\n").encode())
