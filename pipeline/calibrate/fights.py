"""Figures of pulls (rows of `PULLS` that have been numbered): how they end, when, and how teams get better.

A value that the pulls do not give is NaN.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipeline.calibrate.averages import correlation, mean, median, quantiles, ratio
from pipeline.calibrate.calibration import Figures
from pipeline.calibrate.pulls import SERIES

HAZARD_STEP_S = 30
HAZARD_STEPS = 19
FEWEST_AT_RISK = 20
HAZARD_WINDOWS_S = ((0, 60), (60, 180), (180, 300), (300, 450), (450, 540))
FIGHT_LEFT_BANDS = ((0, 5), (10, 20), (20, 30), (30, 40), (40, 50), (50, 60), (60, 70), (70, 80), (90, 100))
LADDER = (2, 3, 4, 5, 6, 9)
FEWEST_PULLS_FOR_A_CURVE = 15
BEST_AFTER = (1, 5, 10, 20, 40, 80)
KILLED_EARLY, KILLED_LATE = (1, 5, 10), (20, 40, 80)
ON_THE_WAY = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
WINDOW_OF_THE_WAY = 0.05
COLD_PULLS = 3


def outcomes(pulls: pl.DataFrame) -> Figures:
    """How often one difficulty's pulls end in a kill, and how long kills and wipes take."""
    kills, wiped = pulls.filter("killed"), pulls.filter(~pl.col("killed"))
    within = (
        kills.group_by("boss").agg(pl.col("duration_s").log().std().alias("sd"), pl.len()).filter(pl.col("len") > 4)
    )
    return {
        "pulls_per_kill": (len(pulls) / len(kills) if len(kills) else np.nan,),
        "kill_duration": quantiles(kills["duration_s"]),
        "wipe_duration": quantiles(wiped["duration_s"]),
        "kill_duration_spread": (mean(within["sd"]),),
    }


def wipes(pulls: pl.DataFrame) -> Figures:
    """When one difficulty's wipes come, and how far the fight was."""
    wiped = pulls.filter(~pl.col("killed"))
    hazard = wipe_hazard(pulls)
    windows = [(low // HAZARD_STEP_S, high // HAZARD_STEP_S) for low, high in HAZARD_WINDOWS_S]
    by_window = tuple(mean(pl.Series(hazard[low:high]).drop_nans()) for low, high in windows)
    relative = with_relative_duration(pulls).filter(~pl.col("killed"))
    return {
        "wipe_hazard": by_window,
        "wipe_hazard_shape": (ratio(by_window[2], by_window[1]), ratio(by_window[4], by_window[2])),
        "fight_left": quantiles(wiped["health_left"]),
        "duration_and_fight_left": (correlation(wiped["duration_s"].rank(), wiped["health_left"].rank()),),
        "duration_by_fight_left": by_fight_left(relative),
        "long_wipes": (100 * mean(relative["relative_duration"] > 1),),
        "pace": (pace(relative),),
    }


def wipe_hazard(pulls: pl.DataFrame) -> list[float]:
    """Share of the pulls still going on at the start of each 30 s that wipe in them; NaN for fewer than 20 pulls."""
    shares = []
    for start in range(0, HAZARD_STEPS * HAZARD_STEP_S, HAZARD_STEP_S):
        going = pulls.filter(pl.col("duration_s") >= start)
        wiped = going.filter(~pl.col("killed") & (pl.col("duration_s") < start + HAZARD_STEP_S))
        shares.append(len(wiped) / len(going) if len(going) >= FEWEST_AT_RISK else np.nan)
    return shares


def with_relative_duration(pulls: pl.DataFrame) -> pl.DataFrame:
    """Pulls of the bosses that were killed, with their duration relative to the boss's median kill."""
    usual = pulls.filter("killed").group_by("difficulty", "boss").agg(pl.col("duration_s").median().alias("kill_s"))
    joined = pulls.join(usual, on=["difficulty", "boss"], maintain_order="left")
    return joined.with_columns((pl.col("duration_s") / pl.col("kill_s")).alias("relative_duration"))


def by_fight_left(wiped: pl.DataFrame) -> tuple[float, ...]:
    """Median relative duration of the wipes with so much of the fight left."""
    left, duration = wiped["health_left"], wiped["relative_duration"]
    bands = [left.is_between(low, high, closed="right" if low else "both") for low, high in FIGHT_LEFT_BANDS]
    return tuple(median(duration.filter(band)) for band in bands)


def pace(wiped: pl.DataFrame) -> float:
    """Median relative duration of a wipe by the share of the fight that was done, where that was a tenth or more."""
    begun = wiped.filter(pl.col("health_left") < 90)
    return median(begun.select(pl.col("relative_duration") / (1 - pl.col("health_left") / 100)).to_series())


def learning(pulls: pl.DataFrame) -> Figures:
    """How one difficulty's teams get better."""
    is_progress, is_cold = pl.col("kills_before") == 0, pl.col("pull_of_evening") <= COLD_PULLS
    progress, farm = pulls.filter(is_progress), pulls.filter(~is_progress)
    relative = with_relative_duration(pulls).filter(is_progress)
    cold, warm = (median(relative.filter(which)["relative_duration"]) for which in (is_cold, ~is_cold))
    slopes, residuals = learning_curves(relative)
    killed = share_killed_by(pulls, (*KILLED_EARLY, *KILLED_LATE))
    return {
        "pulls_to_first_kill": pulls_to_first_kill(pulls),
        "evenings_to_first_kill": quantiles(evenings_to_first_kill(progress)),
        "kill_rates": (100 * mean(progress["killed"]), 100 * mean(farm["killed"])),
        "repeat_kills": (100 * mean(pulls.filter("killed")["kills_before"] > 0),),
        "learning_slope": (median(slopes),),
        "learning_residual": (mean(residuals),),
        "farm_ladder": farm_ladder(pulls),
        "best_health_left": best_health_left(pulls),
        "killed_early": killed[: len(KILLED_EARLY)],
        "killed_late": killed[len(KILLED_EARLY) :],
        "way_to_first_kill": way_to_first_kill(relative),
        "successive_wipes": (successive_wipes(progress),),
        "cold_pulls": (cold, warm),
    }


def pulls_to_first_kill(pulls: pl.DataFrame) -> tuple[float, ...]:
    """Quartiles over teams and bosses."""
    return quantiles(pulls.filter("killed", pl.col("kills_before") == 0)["number"])


def evenings_to_first_kill(progress: pl.DataFrame) -> pl.Series:
    """In how many evenings each team pulled each boss that it killed, until then."""
    of_series = progress.group_by(SERIES, maintain_order=True)
    return of_series.agg(pl.col("evening").n_unique(), pl.col("killed").any()).filter("killed")["evening"]


def learning_curves(progress: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Slope and residual SD of log relative duration on log pull number, by team and boss."""
    slopes, residuals = [], []
    for _, series in progress.group_by(SERIES, maintain_order=True):
        if len(series) >= FEWEST_PULLS_FOR_A_CURVE:
            number, duration = np.log(series["number"].to_numpy()), np.log(series["relative_duration"].to_numpy())
            slope, level = np.polyfit(number, duration, 1)
            slopes.append(float(slope))
            residuals.append(float(np.sqrt(np.square(duration - slope * number - level).sum() / (len(series) - 2))))
    return pl.Series(slopes, dtype=pl.Float64), pl.Series(residuals, dtype=pl.Float64)


def farm_ladder(pulls: pl.DataFrame) -> tuple[float, ...]:
    """Mean pulls that the next kills take, by the number of the kill."""
    since = pl.col("number") - pl.col("number").shift(1).over(SERIES)
    kills = pulls.filter("killed").with_columns(since.alias("pulls"), (pl.col("kills_before") + 1).alias("kill"))
    return tuple(mean(kills.filter(pl.col("kill") == kill)["pulls"]) for kill in LADDER)


def best_health_left(pulls: pl.DataFrame) -> tuple[float, ...]:
    """Median over teams and bosses of the least health left after so many pulls; 0 once killed."""
    return tuple(median(_first(pulls, count)["health_left"]) for count in BEST_AFTER)


def share_killed_by(pulls: pl.DataFrame, counts: Sequence[int]) -> tuple[float, ...]:
    """Share of teams' bosses that are killed after so many pulls, %."""
    return tuple(100 * mean(_first(pulls, count)["killed"]) for count in counts)


def _first(pulls: pl.DataFrame, count: int) -> pl.DataFrame:
    """What so many pulls of each team on each boss came to, where there were so many or a kill among them."""
    first = pulls.filter(pl.col("number") <= count).group_by(SERIES, maintain_order=True)
    came_to = first.agg(pl.len().alias("pulls"), pl.col("health_left").min(), pl.col("killed").any())
    return came_to.filter((pl.col("pulls") == count) | pl.col("killed"))


def way_to_first_kill(progress: pl.DataFrame) -> tuple[float, ...]:
    """Median relative duration of the wipes that are about so far on the way to the first kill.

    The first of a team's wipes on a boss is at 0, the last one before the kill at 1.
    """
    killed = pl.col("killed").any().over(SERIES)
    way = ((pl.col("number") - 1) / (pl.len().over(SERIES) - 1)).alias("way")
    wiped = progress.filter(killed & (pl.len().over(SERIES) > FEWEST_PULLS_FOR_A_CURVE)).filter(~pl.col("killed"))
    placed = wiped.with_columns(way)
    near = [placed.filter((pl.col("way") - share).abs() <= WINDOW_OF_THE_WAY) for share in ON_THE_WAY]
    return tuple(median(some["relative_duration"]) for some in near)


def successive_wipes(progress: pl.DataFrame) -> float:
    """Median over teams and bosses of the correlation of a wipe's health left with that of the wipe before."""
    wiped = progress.filter(~pl.col("killed"))
    found = []
    for _, series in wiped.group_by(SERIES, maintain_order=True):
        if len(series) >= FEWEST_PULLS_FOR_A_CURVE:
            found.append(correlation(series["health_left"][:-1], series["health_left"][1:]))
    return median(pl.Series(found, dtype=pl.Float64).drop_nans())
