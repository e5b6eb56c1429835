"""The table `player_raid_stats`: what each player did and met in each pull."""

import polars as pl

from pipeline.gold.fights import PULL, Fights, per_second, share
from pipeline.tables import PlayerRaidStats, conform, nullable_columns, polars_schema

CAST_COUNTS = {
    "interrupts": "interrupt",
    "dispels": "dispel",
    "defensives": "defensive",
    "taunts": "taunt",
    "resurrects": "resurrect",
    "consumables": "consumable",
}
KEY = [PULL, "player_id"]


def player_stats(fights: Fights, seconds: pl.DataFrame, summary: pl.DataFrame) -> pl.DataFrame:
    """The table `player_raid_stats` of one raid, sorted by (encounter_id, player_id).

    Args:
        fights: the raid's pulls.
        seconds: their `timelines.player_seconds`.
        summary: their `raid_summary`.
    """
    pulls = summary.select("raid_id", PULL, "team_id", "duration_ms", "total_damage", "total_healing")
    parts = (_done(fights), _met(fights), _deaths(fights), _presence(seconds))
    stats = fights.players.join(pulls, on=PULL)
    for part in parts:
        stats = stats.join(part, on=KEY, how="left")
    return _filled(stats).with_columns(_ratios()).pipe(conform, PlayerRaidStats).sort(KEY)


def _done(fights: Fights) -> pl.DataFrame:
    tanks = fights.players.filter(pl.col("role") == "tank")
    credited = fights.credits.join(
        tanks.select(PULL, pl.col("player_id").alias("target_entity_id"), met_tank=pl.lit(value=True)),
        on=[PULL, "target_entity_id"],
        how="left",
        maintain_order="left",
    )
    damage, healing, own, kind = pl.col("damage"), pl.col("healing"), pl.col("is_own"), pl.col("target_entity_type")
    is_cast = own & (pl.col("event_type") == "spell_cast")
    return credited.group_by(KEY, maintain_order=True).agg(
        damage_own=damage.filter(own).sum(),
        damage_pets=damage.filter("is_pet").sum(),
        damage_total=damage.sum(),
        damage_to_boss=damage.filter(kind == "boss").sum(),
        damage_to_adds=damage.filter(kind == "add").sum(),
        damage_events=pl.col("is_hit").sum(),
        healing_events=pl.col("is_heal").sum(),
        healing_total=healing.sum(),
        overheal_total=pl.col("overheal").sum(),
        healing_to_self=healing.filter(pl.col("target_entity_id") == pl.col("player_id")).sum(),
        healing_to_tanks=healing.filter("met_tank").sum(),
        absorb_total=pl.col("absorbed").sum(),
        crit_events=pl.col("is_critical").sum(),
        casts=is_cast.sum(),
        **{name: (is_cast & (pl.col("ability_category") == each)).sum() for name, each in CAST_COUNTS.items()},
    )


def _met(fights: Fights) -> pl.DataFrame:
    taken, avoidable = pl.col("damage_taken"), pl.col("is_avoidable")
    return (
        fights.events.filter("target_is_player")
        .with_columns(player_id="target_entity_id")
        .group_by(KEY, maintain_order=True)
        .agg(
            damage_taken=taken.sum(),
            avoidable_damage_taken=taken.filter(avoidable).sum(),
            judged_damage_taken=taken.filter(avoidable.is_not_null()).sum(),
        )
    )


def _deaths(fights: Fights) -> pl.DataFrame:
    deaths = fights.events.filter("is_death").with_columns(player_id="target_entity_id")
    return deaths.group_by(KEY).agg(player_deaths=pl.len(), first_death_ms=pl.col("offset_us").min() // 1000)


def _presence(seconds: pl.DataFrame) -> pl.DataFrame:
    alive = pl.col("is_alive")
    return seconds.group_by(KEY).agg(alive_s=alive.sum(), active_s=(alive & pl.col("is_active")).sum())


def _filled(stats: pl.DataFrame) -> pl.DataFrame:
    """Sums and counts of what never happened are 0."""
    never_null = set(polars_schema(PlayerRaidStats)) - nullable_columns(PlayerRaidStats) - {"raid_id", *KEY}
    return stats.with_columns(pl.col(*sorted(never_null), "judged_damage_taken").fill_null(0))


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
