"""Figures of those who pull: deaths, healing and casts, who is in the raid, and how that changes.

A value that the pulls do not give is NaN.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import polars as pl

from pipeline.calibrate.averages import mean, median, quantiles, ratio
from pipeline.calibrate.calibration import Figures
from pipeline.simulate.world import PlayedDifficulty

CLASSES = (
    "mage",
    "druid",
    "hunter",
    "priest",
    "paladin",
    "warrior",
    "warlock",
    "demon_hunter",
    "shaman",
    "monk",
    "death_knight",
    "rogue",
)
"""Those that there were in 2020, the most played first."""
PLAYER = ["team", "raiders"]
RESET_S = 10
FEWEST_PARSES = 10
DAYS_OF_A_WEEK = 7
DAY_S = 86_400


def lives(pulls: pl.DataFrame, by_difficulty: Mapping[PlayedDifficulty, pl.DataFrame]) -> Figures:
    """Deaths, healing and the rhythm of casts.

    Args:
        pulls: all, also the short ones that Warcraft Logs drops.
        by_difficulty: those that it lists.
    """
    size = pl.col("raiders").list.len()
    wiped = pulls.filter(~pl.col("killed"))
    long = wiped.filter(pl.col("duration_s") > 15)
    collapse = long.select(pl.col("duration_s") - pl.col("quarter_dead_s")).to_series().drop_nulls()
    rhythm = pl.concat(by_difficulty.values())["casts_per_minute"].explode()
    heroic, normal = (by_difficulty[name].filter("killed")["deaths"] for name in ("heroic", "normal"))
    wasted, heals = int(pulls["wasted_heals"].sum()), int(pulls["heals"].sum())
    reset = wiped.select((pl.col("duration_s") < RESET_S) & (pl.col("deaths") == 0)).to_series()
    return {
        "heroic_deaths_per_kill": quantiles(heroic),
        "normal_deaths_per_kill": (median(normal),),
        "all_dead_wipes": (100 * mean(long.select(pl.col("dead_at_end") >= 0.95 * size).to_series()),),
        "collapse_duration": (median(collapse),),
        "resets": (100 * mean(reset),),
        "overheal_share": (100 * ratio(wasted, heals),),
        "casts_per_minute": quantiles(rhythm, (0.1, 0.5, 0.9)),
    }


def sizes(by_difficulty: Mapping[PlayedDifficulty, pl.DataFrame]) -> Figures:
    """How many are in the raid, and how many of them heal."""
    size, healers = pl.col("raiders").list.len(), pl.col("roles").list.count_matches("healer")
    heroic = by_difficulty["heroic"].select(healers / (1.2 + 0.128 * size)).to_series()
    return {
        "raid_size": tuple(median(some.select(size).to_series()) for some in by_difficulty.values()),
        "healers": (median(by_difficulty["mythic"].select(healers).to_series()),),
        "heroic_healers": (mean(heroic),),
    }


def rosters(pulls: pl.DataFrame) -> Figures:
    """Who is in one difficulty's raids, how that changes, and how long their evenings are."""
    by_team = [team for _, team in pulls.group_by("team", maintain_order=True)]
    shares = [presence(team) for team in by_team]
    cores = [[_core(evening) for _, evening in team.group_by("evening", maintain_order=True)] for team in by_team]
    same, between = roster_changes(pulls)
    end_s = pl.col("start_s") + pl.col("duration_s")
    evenings = pulls.group_by("team", "evening").agg(end_s.max() - pl.col("start_s").min(), pl.len().alias("pulls"))
    gaps = pulls.select(pl.col("start_s") - end_s.shift(1).over("team", "evening")).to_series().drop_nulls()
    return {
        "pool": (median(pl.Series([len(share) for share in shares], dtype=pl.Int64)),),
        "regulars": tuple(median(_regulars(shares, least)) for least in (0.8, 0.5)),
        "core_overlap": tuple(mean(pl.Series(core_overlaps(cores, later), dtype=pl.Float64)) for later in (1, 10)),
        "roster_changes": (100 * mean(same > 0), 100 * mean(between > 0), mean(between.filter(between > 0))),
        "evening_hours": (median(evenings["start_s"]) / 3600,),
        "evening_pulls": (median(evenings["pulls"]),),
        "pull_gap": quantiles(gaps),
    }


def presence(pulls: pl.DataFrame) -> pl.Series:
    """By player who was there at all: the share of the pulls that they were in."""
    return pulls["raiders"].explode().value_counts()["count"] / len(pulls)


def _regulars(shares: Sequence[pl.Series], least: float) -> pl.Series:
    return pl.Series([int((share >= least).sum()) for share in shares], dtype=pl.Int64)


def _core(evening: pl.DataFrame) -> set[int]:
    """Who was in half of an evening's pulls."""
    counts = evening["raiders"].explode().value_counts()
    return set(counts.filter(pl.col("count") >= len(evening) / 2)["raiders"])


def core_overlaps(cores: Sequence[Sequence[set[int]]], evenings: int) -> list[float]:
    """Share of an evening's core that is in the core so many evenings later."""
    pairs = [pair for team in cores for pair in zip(team, team[evenings:], strict=False)]
    return [len(now & later) / len(now) for now, later in pairs]


def roster_changes(pulls: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """How many players are new since the pull before of the evening: on the same boss, and on another one."""
    before = pulls.with_columns(pl.col("raiders", "boss").shift(1).over("team", "evening").name.prefix("last_"))
    new = pl.col("raiders").list.set_difference("last_raiders").list.len()
    changed = before.drop_nulls("last_boss").with_columns(new.alias("new"))
    is_same = changed["boss"] == changed["last_boss"]
    return changed["new"].filter(is_same), changed["new"].filter(~is_same)


def players(pulls: pl.DataFrame) -> Figures:
    """Who they are: classes, gear and skill."""
    between, within = skill_spread(pulls)
    return {
        "class_shares": class_shares(pulls),
        "item_level_spread": (item_level_spread(pulls),),
        "item_level_gain": (median(item_level_gains(pulls)),),
        "skill": (between, within),
    }


def class_shares(pulls: pl.DataFrame) -> tuple[float, ...]:
    """Shares of the players, %, by class; evokers left out."""
    by_player = pulls.select("team", "raiders", "classes").explode("raiders", "classes").unique()
    counted = by_player.filter(pl.col("classes").is_in(CLASSES))["classes"]
    return tuple(100 * mean(counted == name) for name in CLASSES)


def item_level_spread(pulls: pl.DataFrame) -> float:
    """Median over pulls of the SD of item level in the raid, % of its mean."""
    levels = pl.col("item_levels").list
    return median(pulls.select(100 * levels.std() / levels.mean()).to_series())


def item_level_gains(pulls: pl.DataFrame) -> pl.Series:
    """By team: the slope of the raid's mean item level on time, points a week."""
    slopes = []
    for _, team in pulls.group_by("team", maintain_order=True):
        weeks = (team["start_s"] - team["start_s"].min()).to_numpy() / (DAYS_OF_A_WEEK * DAY_S)
        if weeks.max() >= 1:
            slopes.append(float(np.polyfit(weeks, team["item_levels"].list.mean().to_numpy(), 1)[0]))
    return pl.Series(slopes, dtype=pl.Float64)


def skill_spread(pulls: pl.DataFrame) -> tuple[float, float]:
    """SD of damage dealers' z-scores between players, and within a player.

    As Warcraft Logs' parses: the rank of the damage per second among all of the same specialisation in kills of the
    same boss and difficulty, turned into a z-score. The two are moment estimates of a one-way layout with random
    players (Searle, Casella and McCulloch 1992, Variance components, chapter 3).
    """
    by_raider = pulls.filter("killed").explode(
        "raiders", "roles", "classes", "specializations", "item_levels", "casts_per_minute", "damage_per_second"
    )
    same = ["difficulty", "boss", "classes", "specializations"]
    rank = (pl.col("damage_per_second").rank() - 0.5) / pl.len()
    ranked = by_raider.filter(pl.col("roles") == "dps").with_columns(
        rank.over(same).alias("rank"), pl.len().over(same).alias("parses")
    )
    parses = ranked.filter(pl.col("parses") >= FEWEST_PARSES)
    normal = NormalDist()
    z = pl.Series("z", [normal.inv_cdf(share) for share in parses["rank"]], dtype=pl.Float64)
    return variance_components(parses.select(PLAYER).with_columns(z))


def variance_components(scores: pl.DataFrame) -> tuple[float, float]:
    """SD between and within players of `z`."""
    by_player = scores.group_by(PLAYER, maintain_order=True).agg(pl.len().alias("count"), pl.col("z").mean())
    count, groups = len(scores), len(by_player)
    if groups < 2 or count == groups:
        return np.nan, np.nan
    centred = scores["z"] - scores.select(pl.col("z").mean().over(PLAYER)).to_series()
    sizes = by_player["count"].to_numpy()
    mean_within = float(centred.to_numpy() @ centred.to_numpy()) / (count - groups)
    deviations = by_player["z"].to_numpy() - mean(scores["z"])
    mean_between = float(sizes @ deviations**2) / (groups - 1)
    typical_size = (count - float(sizes @ sizes) / count) / (groups - 1)
    return float(np.sqrt(max((mean_between - mean_within) / typical_size, 0))), float(np.sqrt(mean_within))
