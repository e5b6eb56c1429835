"""The exploration: what the season holds, pull by pull, and what happened to its events on the way.

Frames come from `pipeline.gold` (columns in `docs/gold.md`); what a log does not say (a class, a role, a difficulty)
counts under `unknown` and is shown as such.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from pipeline import paths, silver
from pipeline.errors import PipelineError
from pipeline.studies import figures
from pipeline.studies.figures import OUTCOME_NAMES, UNKNOWN, name_of
from pipeline.tables import SilverEvents, scan_table

log = logging.getLogger(__name__)

DIFFICULTIES = ("lfr", "normal", "heroic", "mythic", "other", UNKNOWN)
OUTCOMES = ("success", "wipe", UNKNOWN)
ROLES = ("tank", "healer", "dps", UNKNOWN)
PULL = ["raid_id", "encounter_id"]
OUTCOMES_FILE = Path("reports/plots/outcomes.csv")
FIGHT_PARTS = 20
LATENCY_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
OVERVIEW_FORMATS = {
    "Pulls per kill": "{:.2f}",
    "Median kill, s": "{:,.0f}",
    "Median wipe, s": "{:,.0f}",
    "Deaths per pull": "{:.1f}",
}
RAID_PULLS_FORMATS = {
    "Duration, s": "{:,.0f}",
    "Boss health left, %": "{:.1f}",
    "Damage per s": "{:,.0f}",
    "Healing per s": "{:,.0f}",
}
LATENCY_FORMATS = {f"{quantile:.0%} within, s": "{:,.1f}" for quantile in LATENCY_QUANTILES}


def shown_raid(raid_summary: pd.DataFrame, raid_id: str | None) -> str | None:
    """The raid to show in detail: the one asked for if it has pulls, else the first that has; None without any pull."""
    raids = sorted(raid_summary["raid_id"].unique())
    if raid_id in raids:
        return raid_id
    shown = raids[0] if raids else None
    if raid_id is not None:
        log.warning("raid %s (eda.raid_id in params.yaml) has no pulls in these data: showing %s", raid_id, shown)
    return shown


def pulls(raid_summary: pd.DataFrame) -> pd.DataFrame:
    """`raid_summary` in the order of play, with `boss`, `difficulty` and `fight` (both together) for reading."""
    named = raid_summary.assign(
        boss=raid_summary["encounter_name"].astype(object).fillna("Unknown boss"),
        difficulty=raid_summary["encounter_difficulty"].astype(object).fillna(UNKNOWN),
        duration_s=raid_summary["duration_ms"] / 1000,
    )
    named = named.assign(
        fight=[f"{boss} ({level})" for boss, level in zip(named["boss"], named["difficulty"], strict=True)]
    )
    return named.sort_values(["raid_id", "start_timestamp", "encounter_id"], ignore_index=True)


def overview(raid_summary: pd.DataFrame) -> pd.DataFrame:
    """One row per difficulty: raids, pulls, their outcomes, how long kills and wipes took, deaths per pull."""
    rows = []
    for difficulty, group in grouped(pulls(raid_summary), "difficulty", DIFFICULTIES):
        kills, wipes, unknown = (group[group["raid_outcome"] == outcome] for outcome in OUTCOMES)
        rows.append(
            {
                "Difficulty": name_of(difficulty),
                "Raids": group["raid_id"].nunique(),
                "Bosses": group["boss"].nunique(),
                "Pulls": len(group),
                "Kills": len(kills),
                "Wipes": len(wipes),
                "Unknown": len(unknown),
                "Pulls per kill": len(group) / len(kills) if len(kills) else None,
                "Median kill, s": kills["duration_s"].median(),
                "Median wipe, s": wipes["duration_s"].median(),
                "Deaths per pull": group["total_player_deaths"].mean(),
            }
        )
    return pd.DataFrame(rows)


def outcomes(raid_summary: pd.DataFrame) -> pd.DataFrame:
    """Pulls by difficulty and outcome, zeros included: difficulty, outcome, group (both in one, for a chart), pulls."""
    rows = [
        (difficulty, outcome, f"{difficulty}, {OUTCOME_NAMES[outcome]}", int((group["raid_outcome"] == outcome).sum()))
        for difficulty, group in grouped(pulls(raid_summary), "difficulty", DIFFICULTIES)
        for outcome in OUTCOMES
    ]
    return pd.DataFrame(rows, columns=["difficulty", "outcome", "group", "pulls"])


def write_outcomes(raid_summary: pd.DataFrame) -> pd.DataFrame:
    """Write `outcomes` to `reports/plots/outcomes.csv` for `dvc plots`, and return it."""
    table = outcomes(raid_summary)
    figures.write_csv(table, OUTCOMES_FILE)
    return table


def describe_raid(raid_summary: pd.DataFrame, raid_id: str | None) -> str:
    """Which raid is shown, in a sentence."""
    raid = pulls(raid_summary).query("raid_id == @raid_id")
    if raid.empty:
        return "There is no raid with a pull in these data."
    kills = int((raid["raid_outcome"] == "success").sum())
    day = pd.Timestamp(raid["event_date"].iloc[0]).date()
    return f"Shown is {raid_id} of {day}: {counted(len(raid), 'pull')}, {counted(kills, 'kill')}."


def raid_pulls(raid_summary: pd.DataFrame, raid_id: str | None) -> pd.DataFrame:
    """The pulls of one raid, in the order of play, for reading."""
    raid = pulls(raid_summary).query("raid_id == @raid_id")
    return pd.DataFrame(
        {
            "Pull": range(1, len(raid) + 1),
            "Boss": raid["boss"],
            "Difficulty": raid["difficulty"].map(name_of),
            "Try": raid["pull_number"],
            "Outcome": raid["raid_outcome"].map(OUTCOME_NAMES),
            "Duration, s": raid["duration_s"],
            "Boss health left, %": raid["boss_min_hp_pct"],
            "Deaths": raid["total_player_deaths"],
            "Players": raid["n_players"],
            "Damage per s": raid["raid_dps"],
            "Healing per s": raid["raid_hps"],
        }
    )


def role_shares(player_raid_stats: pd.DataFrame) -> pd.DataFrame:
    """What each role has of all damage, healing, damage taken and deaths: a row per quantity, a column per role.

    Shares of each row's total; a total of 0 gives nulls. Healing is net of overheal.
    """
    quantities = {
        "Players": pd.Series(1.0, index=player_raid_stats.index),
        "Damage done": player_raid_stats["damage_total"],
        "Healing done": player_raid_stats["healing_total"],
        "Damage taken": player_raid_stats["damage_taken"],
        "Deaths": player_raid_stats["player_deaths"],
    }
    roles = _or_unknown(player_raid_stats["role"])
    rows = {name: [float(values[roles == role].sum()) for role in ROLES] for name, values in quantities.items()}
    sums = pd.DataFrame.from_dict(rows, orient="index", columns=list(ROLES))
    return sums.div(sums.sum(axis=1).replace(0.0, np.nan), axis=0)


def rates_by_class(player_raid_stats: pd.DataFrame, rate: str, role: str) -> dict[str, "pd.Series[float]"]:
    """Each class's `rate` (dps or hps), one value per player and pull, among players of a role, highest median first.

    Players whose role is unknown count too, if they did any of it.
    """
    is_role = (player_raid_stats["role"] == role).fillna(False).astype(bool)
    is_unknown = player_raid_stats["role"].isna() & (player_raid_stats[rate] > 0).fillna(False).astype(bool)
    chosen = player_raid_stats[(is_role | is_unknown) & player_raid_stats[rate].notna()]
    classes = _or_unknown(chosen["player_class"])
    groups = {name: values.astype(float) for name, values in chosen[rate].groupby(classes)}
    return dict(sorted(groups.items(), key=lambda item: (-item[1].median(), item[0])))


def deaths_along_fight(raid_timeline: pd.DataFrame, raid_summary: pd.DataFrame) -> pd.DataFrame:
    """Deaths per pull in each twentieth of the fight's duration: outcome, part (0 to 19), deaths_per_pull."""
    seconds = raid_timeline.merge(raid_summary[[*PULL, "raid_outcome"]], on=PULL)
    length = seconds.groupby(PULL)["second"].transform("max") + 1
    part = ((seconds["second"] + 0.5) / length * FIGHT_PARTS).astype(int)
    deaths = seconds["deaths"].groupby([seconds["raid_outcome"], part.rename("part")]).sum()
    n_pulls = raid_summary.groupby("raid_outcome").size()
    grid = pd.MultiIndex.from_product(
        [[outcome for outcome in OUTCOMES if outcome in n_pulls], range(FIGHT_PARTS)], names=["raid_outcome", "part"]
    )
    parts = deaths.reindex(grid, fill_value=0).reset_index(name="deaths")
    per_pull = parts["deaths"] / parts["raid_outcome"].map(n_pulls)
    return parts.assign(deaths_per_pull=per_pull.astype(float)).rename(columns={"raid_outcome": "outcome"})


def silver_events(folder: Path | None = None) -> pl.LazyFrame:
    """Every event of Silver (`data/silver` by default), lazily: only the columns that are used are read.

    Raises:
        PipelineError: there are none, or a file is damaged.
    """
    source = folder or paths.project_root() / paths.SILVER
    files = [file for raid_id in silver.raid_ids(source) for file in silver.event_files(source, raid_id)]
    if not files:
        raise PipelineError(f"{source} has no events: make them with `dvc repro silver` or fetch them with `dvc pull`")
    return scan_table(files, SilverEvents)


def event_mix(events: pl.LazyFrame) -> pd.DataFrame:
    """Events by type, most frequent first: event_type, events, share."""
    counts = (
        events.group_by("event_type").len("events").collect().sort(["events", "event_type"], descending=[True, False])
    )
    return counts.with_columns(share=pl.col("events") / pl.col("events").sum()).to_pandas()


def ingest_latency(events: pl.LazyFrame, quantiles: tuple[float, ...] = LATENCY_QUANTILES) -> pd.DataFrame:
    """Quantiles of the time from event to arrival by source system: source, events, quantile, latency_s."""
    source = pl.col("source_system").fill_null(UNKNOWN).alias("source")
    latency = pl.col("ingest_latency_ms")
    wide = (
        events.group_by(source)
        .agg(pl.len().alias("events"), *[latency.quantile(q, "nearest").alias(repr(q)) for q in quantiles])
        .collect()
        .sort("source")
    )
    long = wide.unpivot(index=["source", "events"], variable_name="quantile", value_name="latency_ms")
    return (
        long.select("source", "events", pl.col("quantile").cast(pl.Float64), latency_s=pl.col("latency_ms") / 1000)
        .sort(["source", "quantile"])
        .to_pandas()
    )


def latency_table(latency: pd.DataFrame) -> pd.DataFrame:
    """`ingest_latency` for reading: one row per source, one column per quantile, in seconds."""
    wide = latency.pivot(index=["source", "events"], columns="quantile", values="latency_s").reset_index()
    names = {quantile: f"{quantile:.0%} within, s" for quantile in latency["quantile"].unique()}
    return wide.rename(columns={"source": "Source", "events": "Events", **names})


def silver_books(file: Path | None = None) -> pd.DataFrame:
    """What became of Bronze's events on the way to Silver, out of `reports/metrics/silver.json`: fate, events, share.

    One row for those that came in, that stayed, that were duplicates, and that each reason set aside, zeros included.
    """
    metrics: dict[str, Any] = json.loads((file or paths.project_root() / paths.METRICS / "silver.json").read_text())
    fates = {
        "in Bronze": metrics["bronze_events"],
        "in Silver": metrics["silver_rows"],
        "removed: duplicate": metrics["duplicates_removed"],
        **{f"set aside: {name_of(reason).lower()}": count for reason, count in metrics["quarantined"].items()},
    }
    books = pd.DataFrame({"fate": fates.keys(), "events": fates.values()})
    return books.assign(share=books["events"] / max(metrics["bronze_events"], 1))


def books_sentence(books: pd.DataFrame) -> str:
    """The conservation equation with its numbers, and whether it holds."""
    events = books.set_index("fate")["events"]
    came, stayed, duplicates = (int(events[fate]) for fate in ("in Bronze", "in Silver", "removed: duplicate"))
    aside = int(events.sum()) - came - stayed - duplicates
    verdict = "the books balance" if came == stayed + duplicates + aside else "THE BOOKS DO NOT BALANCE"
    return (
        f"{came:,} events in Bronze = {stayed:,} rows in Silver + {duplicates:,} duplicates removed "
        f"+ {aside:,} set aside: {verdict}."
    )


def grouped(frame: pd.DataFrame, column: str, order: tuple[str, ...]) -> list[tuple[str, pd.DataFrame]]:
    """The frame's groups by a column, in a given order, without the empty ones."""
    groups = [(value, frame[frame[column] == value]) for value in order]
    return [(value, group) for value, group in groups if not group.empty]


def _or_unknown(values: "pd.Series[Any]") -> "pd.Series[Any]":
    return values.astype(object).where(values.notna(), UNKNOWN)


def counted(number: int, unit: str) -> str:
    """A number of things: `1 pull`, `1,200 pulls`."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"
