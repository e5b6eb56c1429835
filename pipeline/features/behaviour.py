"""How a player behaved in a pull: rates per second alive, and shares, comparable between short pulls and long ones."""

import polars as pl

KEY = ["raid_id", "encounter_id"]
PER_SECOND = {
    "damage_per_s": "damage_total",
    "healing_per_s": "healing_total",
    "absorb_per_s": "absorb_total",
    "damage_taken_per_s": "damage_taken",
    "avoidable_taken_per_s": "avoidable_damage_taken",
    "casts_per_s": "casts",
}
PER_MINUTE = {
    "interrupts_per_min": "interrupts",
    "dispels_per_min": "dispels",
    "defensives_per_min": "defensives",
    "taunts_per_min": "taunts",
    "consumables_per_min": "consumables",
}
SHARES = {
    "pet_damage_share": ("damage_pets", "damage_total"),
    "add_damage_share": ("damage_to_adds", "damage_total"),
    "self_healing_share": ("healing_to_self", "healing_total"),
    "tank_healing_share": ("healing_to_tanks", "healing_total"),
}
BURST_WINDOW_S = 10


def player_behaviour(players: pl.DataFrame, pulls: pl.DataFrame, player_seconds: pl.DataFrame) -> pl.DataFrame:
    """The table `player_behaviour` of some pulls.

    Args:
        players: `player_raid_stats` rows.
        pulls: their `raid_summary`.
        player_seconds: their `player_timeline`.

    Returns:
        One row per pull and player who lived at least a second, sorted by key.
    """
    fights = pulls.select(*KEY, "encounter_name", "encounter_difficulty", "start_timestamp")
    alive = pl.col("alive_s")
    return (
        players.filter(alive > 0)
        .join(fights, on=KEY)
        .join(_burstiness(player_seconds), on=[*KEY, "player_id"], how="left")
        .with_columns(
            *((pl.col(total) / alive).alias(rate) for rate, total in PER_SECOND.items()),
            *((pl.col(count) / alive * 60).alias(rate) for rate, count in PER_MINUTE.items()),
            *(_share(part, whole).alias(share) for share, (part, whole) in SHARES.items()),
            died=(pl.col("player_deaths") > 0),
        )
        .sort(*KEY, "player_id")
    )


def _share(part: str, whole: str) -> pl.Expr:
    return pl.when(pl.col(whole) > 0).then(pl.col(part) / pl.col(whole))


def _burstiness(player_seconds: pl.DataFrame) -> pl.DataFrame:
    """Coefficient of variation of damage and healing between windows of 10 s in which the player lived throughout."""
    window = [*KEY, "player_id", "_window"]
    windows = (
        player_seconds.with_columns(_window=pl.col("second") // BURST_WINDOW_S)
        .group_by(window, maintain_order=True)
        .agg(pl.col("damage", "healing").sum(), _alive=pl.col("is_alive").sum())
        .filter(pl.col("_alive") == BURST_WINDOW_S)
    )
    done = pl.col("damage") + pl.col("healing")
    return windows.group_by(*KEY, "player_id", maintain_order=True).agg(
        burstiness=pl.when(done.mean() > 0).then(done.std() / done.mean())
    )
