"""The table `player_raid_stats`: what each player did and met in each pull."""

from collections.abc import Mapping

import polars as pl

from pipeline.gold import tally
from pipeline.gold.fights import Fights, amounts_of, flags_of, found_at, per_second, rows_of, share
from pipeline.gold.timelines import PlayerSeconds
from pipeline.tables import PlayerRaidStats, conform

CAST_COUNTS = {
    "interrupts": "interrupt",
    "dispels": "dispel",
    "defensives": "defensive",
    "taunts": "taunt",
    "resurrects": "resurrect",
    "consumables": "consumable",
}
Columns = Mapping[str, tally.Rows | tally.Amounts]


def player_stats(fights: Fights, seconds: PlayerSeconds, summary: pl.DataFrame) -> pl.DataFrame:
    """The table `player_raid_stats`, sorted by (raid_id, encounter_id, player_id).

    Args:
        fights: the pulls.
        seconds: their `timelines.player_seconds`.
        summary: their `raid_summary`.
    """
    pulls = summary.select("team_id", "duration_ms", "total_damage", "total_healing")
    columns = {**_done(fights), **_met(fights), **_presence(fights, seconds)}
    return (
        pl.concat([fights.players, pulls[rows_of(fights.players, "pull")]], how="horizontal")
        .with_columns(pl.Series(name, values) for name, values in columns.items())
        .with_columns(_first_deaths(fights), *_ratios())
        .pipe(conform, PlayerRaidStats)
    )


def _done(fights: Fights) -> Columns:
    hits, heals, casts = fights.credits["combat_damage"], fights.credits["heal"], fights.credits["spell_cast"]
    n, own, met = fights.players.height, pl.col("is_own"), pl.col("target_entity_type")
    tanks = rows_of(fights.players.with_row_index().filter(pl.col("role") == "tank"), "index")

    def summed(events: pl.DataFrame, amount: str, where: pl.Expr | None = None) -> tally.Amounts:
        return tally.sums(rows_of(events, "player"), amounts_of(events, amount, where), n)

    def counted(events: pl.DataFrame, where: pl.Expr) -> tally.Rows:
        return tally.counts(rows_of(events, "player")[flags_of(events, where)], n)

    return {
        "damage_own": summed(hits, "damage", own),
        "damage_pets": summed(hits, "damage", pl.col("is_pet")),
        "damage_total": summed(hits, "damage"),
        "damage_to_boss": summed(hits, "damage", met == "boss"),
        "damage_to_adds": summed(hits, "damage", met == "add"),
        "damage_events": tally.counts(rows_of(hits, "player"), n),
        "healing_events": tally.counts(rows_of(heals, "player"), n),
        "healing_total": summed(heals, "healing"),
        "overheal_total": summed(heals, "overheal"),
        "healing_to_self": summed(heals, "healing", pl.col("target") == pl.col("player")),
        "healing_to_tanks": summed(heals, "healing", pl.col("target").is_in(tanks)),
        "absorb_total": summed(fights.credits["absorb"], "absorbed"),
        "crit_events": counted(hits, pl.col("is_critical")) + counted(heals, pl.col("is_critical")),
        "casts": counted(casts, own),
        **{name: counted(casts, own & (pl.col("ability_category") == each)) for name, each in CAST_COUNTS.items()},
    }


def _met(fights: Fights) -> Columns:
    n, avoidable = fights.players.height, pl.col("is_avoidable")
    hurt = fights.events.select("target", "damage_taken", "is_avoidable").filter(pl.col("damage_taken") != 0)
    players = rows_of(hurt, "target")
    return {
        "damage_taken": tally.sums(players, amounts_of(hurt, "damage_taken"), n),
        "avoidable_damage_taken": tally.sums(players, amounts_of(hurt, "damage_taken", avoidable), n),
        "judged_damage_taken": tally.sums(players, amounts_of(hurt, "damage_taken", avoidable.is_not_null()), n),
        "player_deaths": tally.counts(rows_of(_deaths(fights), "target"), n),
    }


def _deaths(fights: Fights) -> pl.DataFrame:
    return fights.events.select("target", "offset_us", "is_death").filter("is_death")


def _first_deaths(fights: Fights) -> pl.Series:
    deaths = _deaths(fights)
    first = tally.firsts(rows_of(deaths, "target"), fights.players.height)
    return found_at(deaths["offset_us"] // 1000, first).alias("first_death_ms")


def _presence(fights: Fights, seconds: PlayerSeconds) -> Columns:
    n, alive = fights.players.height, seconds.is_alive
    return {
        "alive_s": tally.counts(seconds.player[alive], n),
        "active_s": tally.counts(seconds.player[alive & seconds.is_active], n),
    }


def _ratios() -> list[pl.Expr]:
    column, duration_ms = pl.col, pl.col("duration_ms")
    return [
        share(column("overheal_total"), column("healing_total") + column("overheal_total")).alias("overheal_share"),
        share(column("crit_events"), column("damage_events") + column("healing_events")).alias("crit_rate"),
        share(column("avoidable_damage_taken"), column("judged_damage_taken")).alias("avoidable_share"),
        share(column("active_s"), column("alive_s")).alias("activity"),
        per_second(column("damage_total"), duration_ms).alias("dps"),
        per_second(column("healing_total"), duration_ms).alias("hps"),
        share(column("damage_total"), column("total_damage")).alias("damage_share"),
        share(column("healing_total"), column("total_healing")).alias("healing_share"),
    ]
