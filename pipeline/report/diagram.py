"""The picture of the pipeline: what each stage hands to the next."""

import io
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from pipeline.errors import PipelineError
from pipeline.studies.figures import INK, PALETTE, styled

BOX_WIDTH, BOX_HEIGHT = 2.68, 1.06
COLUMN, ROW = 3.26, 1.8
BLUE, ORANGE, GREEN = PALETTE[0], PALETTE[1], PALETTE[2]
# Column, row from the top, colour; the way of the data runs along the rows.
PLACES: dict[str, tuple[float, float, str]] = {
    "simulate": (0, -0.42, ORANGE),
    "import": (0, 0.42, ORANGE),
    "replay": (1, 0, BLUE),
    "receiver": (2, 0, BLUE),
    "bronze": (3, 0, BLUE),
    "silver": (0, 1.5, BLUE),
    "gold": (1, 1.5, BLUE),
    "features": (2, 1.5, GREEN),
    "studies": (3, 1.5, GREEN),
    "report": (3, 2.34, GREEN),
}
ARROWS = (
    ("simulate", "replay"),
    ("import", "replay"),
    ("replay", "receiver"),
    ("receiver", "bronze"),
    ("silver", "gold"),
    ("gold", "features"),
    ("features", "studies"),
    ("studies", "report"),
)


@styled
def draw(texts: Mapping[str, str]) -> bytes:
    """The picture as an SVG file.

    Args:
        texts: for each stage of `PLACES` its name, and after a line break what it holds; `http`, the way of the
            events; `text`, the picture in words for those who cannot see it.

    Raises:
        PipelineError: a text is missing.
    """
    missing = sorted({*PLACES, "http", "text"} - set(texts))
    if missing:
        raise PipelineError(f"`diagram` of the front matter has no text for `{missing[0]}`")
    figure = Figure(figsize=(9, 4.2))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-0.05, 3 * COLUMN + BOX_WIDTH + 0.05), ylim=(-2.34 * ROW - 0.58, 0.42 * ROW + 0.58))
    axes.set_axis_off()
    for name in PLACES:
        _box(axes, name, texts[name])
    for begin, end in ARROWS:
        _arrow(axes, begin, end)
    _turn(axes, "bronze", "silver")
    _say_over(axes, ("replay", "receiver"), texts["http"])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _corner(name: str) -> tuple[float, float]:
    column, row, _ = PLACES[name]
    return column * COLUMN, -row * ROW - BOX_HEIGHT / 2


def _box(axes: Axes, name: str, text: str) -> None:
    x, y = _corner(name)
    colour = PLACES[name][2]
    title, _, content = text.partition("\n")
    axes.add_patch(
        FancyBboxPatch(
            (x, y),
            BOX_WIDTH,
            BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor="white",
            edgecolor=colour,
            lw=1.4,
        )
    )
    middle = x + BOX_WIDTH / 2
    axes.text(middle, y + BOX_HEIGHT * 0.77, title, ha="center", va="center", weight="bold", color=colour, size=10)
    axes.text(middle, y + BOX_HEIGHT * 0.34, content, ha="center", va="center", color=INK, size=8.6, linespacing=1.25)


def _arrow(axes: Axes, begin: str, end: str) -> None:
    (x, y), (to_x, to_y) = _corner(begin), _corner(end)
    if x == to_x:
        points = ((x + BOX_WIDTH / 2, y), (to_x + BOX_WIDTH / 2, to_y + BOX_HEIGHT))
    else:
        points = ((x + BOX_WIDTH, y + BOX_HEIGHT / 2), (to_x, to_y + BOX_HEIGHT / 2))
    axes.add_patch(_pointed(points))


def _pointed(points: tuple[tuple[float, float], tuple[float, float]]) -> FancyArrowPatch:
    return FancyArrowPatch(*points, arrowstyle="-|>", mutation_scale=11, color=INK, lw=1.1, shrinkA=2, shrinkB=2)


def _turn(axes: Axes, begin: str, end: str) -> None:
    """An arrow from the end of one row to the beginning of the next."""
    (x, y), (to_x, to_y) = _corner(begin), _corner(end)
    middle, to_middle = x + BOX_WIDTH / 2, to_x + BOX_WIDTH / 2
    between = to_y + BOX_HEIGHT + 0.62
    axes.plot([middle, middle, to_middle], [y - 0.03, between, between], color=INK, lw=1.1, solid_joinstyle="round")
    axes.add_patch(_pointed(((to_middle, between), (to_middle, to_y + BOX_HEIGHT))))


def _say_over(axes: Axes, way: tuple[str, str], text: str) -> None:
    (x, y), (to_x, _) = (_corner(name) for name in way)
    axes.text((x + BOX_WIDTH + to_x) / 2, y + BOX_HEIGHT / 2 + 0.14, text, ha="center", va="bottom", size=8, color=INK)
