"""`python -m pipeline calibrate`: does a simulated season look like real raids?

A season of `calibration.yaml` is played at the real rhythm, reduced to one row per pull, and its figures are held
against those that were counted from real raids, each with its own tolerance. It is no stage: it judges the simulator,
not the data.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console

from pipeline import parallel, paths, settings
from pipeline.calibrate import fights, page, raiders
from pipeline.calibrate.averages import mean
from pipeline.calibrate.calibration import Calibration, Comparison, Figures, compare, load_calibration
from pipeline.calibrate.fights import wipe_hazard
from pipeline.calibrate.pulls import PULLS, SeasonTask, listed, measure, number_the_pulls, tasks
from pipeline.errors import PipelineError
from pipeline.simulate import engine
from pipeline.simulate.world import PlayedDifficulty

__all__ = [
    "PULLS",
    "SeasonTask",
    "compare",
    "figures",
    "load_calibration",
    "measure",
    "number_the_pulls",
    "run",
    "tasks",
    "wipe_hazard",
]
DIFFICULTIES: tuple[PlayedDifficulty, ...] = ("normal", "heroic", "mythic")
CHART = Path("reports/calibration.svg")
WIDTH_OF_A_PIPE = 100


def run() -> None:
    """Play the season, print the table, draw it, and complain of what is out of tolerance.

    Raises:
        PipelineError: a figure is out of tolerance, or there are too few pulls to say so.
    """
    calibration = load_calibration()
    # Against no pulls: a name that is wrong should not show after minutes of play.
    compare(figures(PULLS.to_frame()), calibration)
    engine.make_ready()
    seasons = parallel.map_raids(measure, tasks(calibration), settings.load().workers, "calibrate", unit="teams")
    pulls = pl.concat(seasons)
    comparisons = compare(figures(pulls), calibration)
    paths.write_atomically(paths.project_root() / CHART, page.draw(pulls, comparisons, calibration))
    _show(pulls, comparisons)
    _judge(too_few(pulls, calibration), comparisons)


def figures(pulls: pl.DataFrame) -> Figures:
    """Every figure that `calibration.yaml` names, from pulls (columns as in `PULLS`).

    Pulls of an evening are in order of time. A value that the pulls do not give is NaN.
    """
    numbered = number_the_pulls(listed(pulls))
    by_difficulty = {name: numbered.filter(pl.col("difficulty") == name) for name in DIFFICULTIES}
    made: Figures = {}
    for name, some in by_difficulty.items():
        made |= {f"{name}_{key}": value for key, value in fights.outcomes(some).items()}
    for name in ("heroic", "mythic"):
        made |= {f"{name}_{key}": value for key, value in fights.wipes(by_difficulty[name]).items()}
    made |= {f"mythic_{key}": value for key, value in fights.learning(by_difficulty["mythic"]).items()}
    later = by_difficulty["heroic"].filter(pl.col("kills_before") > 0)
    made["heroic_pulls_to_first_kill"] = fights.pulls_to_first_kill(by_difficulty["heroic"])
    made["heroic_later_success"] = (100 * mean(later["killed"]),)
    made |= raiders.lives(pulls, by_difficulty) | raiders.sizes(by_difficulty)
    return made | raiders.rosters(by_difficulty["mythic"]) | raiders.players(numbered)


def too_few(pulls: pl.DataFrame, calibration: Calibration) -> list[str]:
    """What to say where a difficulty has fewer pulls than the comparison needs."""
    counts = {difficulty: int((pulls["difficulty"] == difficulty).sum()) for difficulty in calibration.fewest_pulls}
    return [
        f"only {counts[difficulty]:,} {difficulty} pulls of {fewest:,}"
        for difficulty, fewest in calibration.fewest_pulls.items()
        if counts[difficulty] < fewest
    ]


def _show(pulls: pl.DataFrame, comparisons: Sequence[Comparison]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH_OF_A_PIPE)
    console.print(page.table(comparisons))
    good = sum(each.is_ok for each in comparisons)
    console.print(f"{good} of {len(comparisons)} values within tolerance; {len(pulls):,} pulls; drawn in {CHART}")


def _judge(few: Sequence[str], comparisons: Sequence[Comparison]) -> None:
    out = [str(each) for each in comparisons if not each.is_ok]
    problems = [*few, *([f"out of tolerance: {', '.join(out)}"] if out else [])]
    if problems:
        remedy = "mend pipeline/simulate/world.yaml or the constants beside it (docs/simulator.md)"
        raise PipelineError(f"{'; '.join(problems)}: {remedy}")
