"""Seconds of a raid's pulls: what was done and met in each, who was alive, and how the boss stood."""

import polars as pl

from pipeline.gold.fights import PULL, SECOND_US, Fights
from pipeline.tables import PlayerTimeline, RaidTimeline, conform

ACTS = ("combat_damage", "heal", "absorb", "spell_cast")
SUMS = ("damage", "healing")


def player_seconds(fights: Fights) -> pl.DataFrame:
    """One row per pull, player and second, sorted so.

    Returns:
        encounter_id, player_id, second, damage, healing, damage_taken, casts, is_alive, and `is_active`: whether the
        player hit, healed, absorbed or cast in that second.
    """
    key = [PULL, "player_id", "second"]
    own = pl.col("is_own")
    did = fights.credits.group_by(key, maintain_order=True).agg(
        pl.col(SUMS).sum(),
        casts=(own & (pl.col("event_type") == "spell_cast")).sum().cast(pl.Int64),
        is_active=(own & pl.col("event_type").is_in(ACTS)).any(),
    )
    met = _met(fights).group_by(key, maintain_order=True).agg(pl.col("damage_taken").sum())
    grid = _grid(fights.pulls, fights.players.select(PULL, "player_id"))
    return (
        grid.join(did, on=key, how="left")
        .join(met, on=key, how="left")
        .join(_changes(fights), on=key, how="left")
        .sort(key)
        .with_columns(
            pl.col("damage", "healing", "damage_taken").fill_null(0.0),
            pl.col("casts").fill_null(0),
            pl.col("is_active").fill_null(value=False),
            pl.col("is_alive").forward_fill().over(PULL, "player_id").fill_null(value=True),
        )
    )


def player_timeline(seconds: pl.DataFrame, raid_id: str) -> pl.DataFrame:
    """The table `player_timeline` of one raid, out of its `player_seconds`."""
    return seconds.with_columns(raid_id=pl.lit(raid_id)).pipe(conform, PlayerTimeline)


def raid_timeline(fights: Fights, seconds: pl.DataFrame, raid_id: str) -> pl.DataFrame:
    """The table `raid_timeline` of one raid, sorted by (encounter_id, second)."""
    key = [PULL, "second"]
    credited = fights.events.filter("is_credited").group_by(key, maintain_order=True).agg(pl.col(SUMS).sum())
    met = fights.events.group_by(key, maintain_order=True).agg(
        pl.col("damage_taken").sum(), deaths=pl.col("is_death").sum()
    )
    alive = seconds.group_by(key).agg(players_alive=pl.col("is_alive").sum())
    return (
        _grid(fights.pulls, fights.pulls.select(PULL))
        .join(credited, on=key, how="left")
        .join(met, on=key, how="left")
        .join(alive, on=key, how="left")
        .join(_boss_health(fights.events), on=key, how="left")
        .sort(key)
        .with_columns(
            pl.col("damage", "healing", "damage_taken").fill_null(0.0),
            pl.col("deaths", "players_alive").fill_null(0),
            pl.col("boss_hp_pct").forward_fill().over(PULL),
            raid_id=pl.lit(raid_id),
        )
        .pipe(conform, RaidTimeline)
    )


def _grid(pulls: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Every row of `rows` (keyed by encounter_id) once for each second of its pull."""
    seconds = pulls.select(PULL, second=pl.int_ranges(0, "n_seconds"))
    return rows.join(seconds, on=PULL).explode("second")


def _met(fights: Fights) -> pl.DataFrame:
    return fights.events.filter("target_is_player").with_columns(player_id="target_entity_id")


def _changes(fights: Fights) -> pl.DataFrame:
    """Per player, the seconds from which on a death or a resurrection counts: those that begin after it."""
    kinds = pl.col("event_type").is_in(["player_death", "resurrect"])
    return (
        _met(fights)
        .filter(kinds)
        .with_columns(second=pl.col("offset_us") // SECOND_US + 1)
        .group_by(PULL, "player_id", "second", maintain_order=True)
        .agg(is_alive=pl.col("event_type").last() == "resurrect")
    )


def _boss_health(events: pl.DataFrame) -> pl.DataFrame:
    health = pl.col("target_entity_health_pct_after")
    seen = events.filter((pl.col("target_entity_type") == "boss") & health.is_not_null())
    return seen.group_by(PULL, "second", maintain_order=True).agg(boss_hp_pct=health.last())
