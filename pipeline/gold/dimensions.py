"""The dimensions: players and raids over the whole season, which is the future: no feature may join them."""

import numpy as np
import polars as pl

from pipeline.gold.fights import PULL, first_known
from pipeline.tables import DimPlayer, DimRaid, conform

FACTS_SCHEMA = pl.Schema(
    {
        "raid_id": pl.String(),
        "team_id": pl.String(),
        "source_system": pl.String(),
        "first_event": pl.Datetime("us", "UTC"),
        "last_event": pl.Datetime("us", "UTC"),
        "n_events": pl.Int64(),
    }
)


def raid_facts(silver: pl.DataFrame) -> pl.DataFrame:
    """What `dim_raid` needs of raids' Silver events, those outside pulls included: one row per raid.

    Args:
        silver: their events, sorted by (raid_id, timestamp, event_id).
    """
    raid = silver.select(pl.col("raid_id").rle_id().cast(pl.Int64)).to_series().to_numpy()
    begins = np.flatnonzero(np.diff(raid, prepend=-1))
    ends = np.append(begins[1:], silver.height) - 1
    known = first_known(silver, raid, len(begins), ["team_id", "source_system"])
    return known.with_columns(
        silver["raid_id"].gather(begins),
        silver["timestamp"].gather(begins).alias("first_event"),
        silver["timestamp"].gather(ends).alias("last_event"),
        pl.Series("n_events", ends - begins + 1),
    ).select(pl.col(name).cast(kind) for name, kind in FACTS_SCHEMA.items())


def raids(facts: pl.DataFrame, summary: pl.DataFrame, stats: pl.DataFrame) -> pl.DataFrame:
    """The table `dim_raid`, sorted by raid_id.

    Args:
        facts: `raid_facts` of all raids.
        summary: `raid_summary` of all raids.
        stats: `player_raid_stats` of all raids.
    """
    outcome = pl.col("raid_outcome")
    pulls = summary.group_by("raid_id").agg(
        n_pulls=pl.len(), n_kills=(outcome == "success").sum(), n_wipes=(outcome == "wipe").sum()
    )
    players = stats.group_by("raid_id").agg(n_players=pl.col("player_id").n_unique())
    return (
        facts.join(pulls, on="raid_id", how="left")
        .join(players, on="raid_id", how="left")
        .with_columns(
            pl.col("n_pulls", "n_kills", "n_wipes", "n_players").fill_null(0),
            event_date=pl.col("first_event").dt.date(),
        )
        .pipe(conform, DimRaid)
        .sort("raid_id")
    )


def players(summary: pl.DataFrame, stats: pl.DataFrame) -> pl.DataFrame:
    """The table `dim_player`, sorted by player_id; arguments as for `raids`."""
    pulls = summary.select(*PULL, "start_timestamp", is_kill=pl.col("raid_outcome") == "success")
    appearances = stats.join(pulls, on=PULL).sort("start_timestamp", *PULL)
    identities = ["player_name", "player_class", "specialization", "role"]
    start = pl.col("start_timestamp")
    return (
        appearances.group_by("player_id", maintain_order=True)
        .agg(
            pl.col(identities).drop_nulls().last(),
            pl.col("damage_total", "healing_total", "player_deaths").sum(),
            first_seen=start.min(),
            last_seen=start.max(),
            n_raids=pl.col("raid_id").n_unique(),
            n_pulls=pl.len(),
            n_kills=pl.col("is_kill").sum(),
        )
        .pipe(conform, DimPlayer)
        .sort("player_id")
    )
