"""What is known before a pull: its fight, and what the team did until then."""

import polars as pl

KEY = ["raid_id", "encounter_id"]
FIGHT = ["_team", "encounter_name", "encounter_difficulty"]


def known_before(pulls: pl.DataFrame) -> pl.DataFrame:
    """The columns of `tables.PullFeatures` that are known when a pull begins, and its label.

    Args:
        pulls: `raid_summary` rows of all raids.

    Returns:
        One row per pull. A raid without a team has no history beyond its own evening. `prior_*` look at the same team,
        boss and difficulty, `evening_*` at the same raid, all strictly earlier by (start, encounter_id).
    """
    is_kill = (pl.col("raid_outcome") == "success").cast(pl.Int64)
    health = pl.when(pl.col("raid_outcome") == "success").then(0.0).otherwise(pl.col("boss_min_hp_pct"))
    ordered = pulls.with_columns(
        _team=pl.coalesce("team_id", "raid_id"), _kill=is_kill, _health=health, _one=pl.lit(1, pl.Int64)
    ).sort("_team", "start_timestamp", "encounter_id")
    known = ordered.with_columns(
        prior_pulls=_before(pl.col("_one").cum_sum(), FIGHT),
        prior_kills=_before(pl.col("_kill").cum_sum(), FIGHT),
        prior_best_boss_hp_pct=pl.col("_health").cum_min().shift(1).forward_fill().over(FIGHT),
        previous_boss_hp_pct=pl.col("_health").shift(1).over(FIGHT),
        team_pulls=_before(pl.col("_one").cum_sum(), ["_team"]),
        team_kills=_before(pl.col("_kill").cum_sum(), ["_team"]),
        evening_pulls=_before(pl.col("_one").cum_sum(), ["raid_id"]),
        evening_kills=_before(pl.col("_kill").cum_sum(), ["raid_id"]),
    )
    share = pl.when(pl.col("team_pulls") > 0).then(pl.col("team_kills") / pl.col("team_pulls"))
    return known.with_columns(team_kill_share=share).drop("n_players", "n_tanks", "n_healers", "n_dps").sort(KEY)


def _before(running: pl.Expr, group: list[str]) -> pl.Expr:
    """A running figure as it stood before this row."""
    return running.shift(1, fill_value=0).over(group)
