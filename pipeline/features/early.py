"""The first T seconds of a pull, from the per-second Gold tables."""

import polars as pl

from pipeline.tables import ROLES

KEY = ["raid_id", "encounter_id"]
PLAYER = [*KEY, "player_id"]


def first_seconds(
    pulls: pl.DataFrame,
    raid_seconds: pl.DataFrame,
    player_seconds: pl.DataFrame,
    players: pl.DataFrame,
    horizon_s: int,
) -> pl.DataFrame:
    """What a raid had shown `horizon_s` seconds into each pull that was still running then.

    Args:
        pulls: `raid_summary` rows.
        raid_seconds: their `raid_timeline`.
        player_seconds: their `player_timeline`.
        players: their `player_raid_stats`; only who they are is used (role, class, item level), nothing they did.
        horizon_s: T; only seconds before it are looked at.

    Returns:
        One row per pull longer than T: its key, `horizon_s`, and the columns of `tables.PullFeatures` that come from
        the fight, rates per second.
    """
    running = pulls.filter(pl.col("duration_ms") > horizon_s * 1000).select(*KEY, horizon_s=pl.lit(horizon_s, pl.Int64))
    whole = raid_seconds.filter(pl.col("second") < horizon_s)
    single = _of_those_seen(player_seconds.filter(pl.col("second") < horizon_s)).join(
        players.select(*PLAYER, "role", "player_class", "item_level"), on=PLAYER, how="left"
    )
    return (
        running.join(_of_the_raid(whole, horizon_s), on=KEY, how="left")
        .join(_of_its_players(single), on=KEY, how="left")
        .join(_of_its_roles(single, horizon_s), on=KEY, how="left")
        .join(_composition(single), on=KEY, how="left")
        .with_columns(pl.col("n_players", "n_tanks", "n_healers", "n_dps", "n_classes").fill_null(0))
        .sort(KEY)
    )


def _of_those_seen(seconds: pl.DataFrame) -> pl.DataFrame:
    """The seconds of the players who had done or met something by then.

    A log without a roster shows some players only later: that they are there is not known yet.
    """
    something = [pl.col(name) > 0 for name in ("damage", "healing", "damage_taken", "casts")]
    return seconds.filter(pl.any_horizontal(something).any().over(PLAYER))


def _composition(seconds: pl.DataFrame) -> pl.DataFrame:
    players = seconds.unique(PLAYER, maintain_order=True).sort(PLAYER).group_by(KEY, maintain_order=True)
    counts = {"n_tanks": "tank", "n_healers": "healer", "n_dps": "dps"}
    return players.agg(
        pl.len().cast(pl.Int64).alias("n_players"),
        *((pl.col("role") == role).sum().cast(pl.Int64).alias(name) for name, role in counts.items()),
        n_classes=pl.col("player_class").drop_nulls().n_unique().cast(pl.Int64),
        mean_item_level=pl.col("item_level").mean(),
    )


def _of_the_raid(seconds: pl.DataFrame, horizon_s: int) -> pl.DataFrame:
    ordered = seconds.sort(*KEY, "second").group_by(KEY, maintain_order=True)
    return ordered.agg(
        damage_per_s=pl.col("damage").sum() / horizon_s,
        healing_per_s=pl.col("healing").sum() / horizon_s,
        damage_taken_per_s=pl.col("damage_taken").sum() / horizon_s,
        deaths=pl.col("deaths").sum(),
        boss_hp_pct=pl.col("boss_hp_pct").last(),
        last_10s_damage_taken_per_s=pl.col("damage_taken").tail(10).sum() / 10,
    )


def _of_its_players(seconds: pl.DataFrame) -> pl.DataFrame:
    """Share of alive seconds in which a player did something, and of the players who live in the last second."""
    acts = (pl.col("damage") > 0) | (pl.col("healing") > 0) | (pl.col("casts") > 0)
    last = pl.col("second") == pl.col("second").max()
    return seconds.group_by(KEY, maintain_order=True).agg(
        activity=(acts & pl.col("is_alive")).sum() / pl.col("is_alive").sum(),
        alive_share=pl.col("is_alive").filter(last).mean(),
    )


def _of_its_roles(seconds: pl.DataFrame, horizon_s: int) -> pl.DataFrame:
    def of(role: str, column: str) -> pl.Expr:
        return (pl.col(column).filter(pl.col("role") == role).sum() / horizon_s).alias(f"{role}_{column}_per_s")

    columns = ("damage", "healing", "damage_taken")
    known = pl.col("role").is_not_null().any()
    return (
        seconds.group_by(KEY, maintain_order=True)
        .agg(known.alias("_known"), *(of(role, column) for role in ROLES for column in columns))
        .with_columns(pl.when("_known").then(pl.exclude("_known", *KEY)).name.keep())
        .drop("_known")
    )
