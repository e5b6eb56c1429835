"""The table `raid_summary`: each pull in one row, with its outcome."""

import polars as pl

from pipeline import params as parameters
from pipeline.gold.fights import PULL, Fights, first_known, per_second
from pipeline.tables import RaidSummary, conform

FACTS = ["team_id", "boss_id", "encounter_name", "encounter_difficulty", "raid_size"]


def summarise_pulls(fights: Fights, raid_id: str, params: parameters.Gold) -> pl.DataFrame:
    """The table `raid_summary` of one raid, sorted by encounter_id.

    Args:
        fights: the raid's pulls.
        raid_id: the raid.
        params: the section `gold` of `params.yaml`: the rule for pulls of which the log gives no verdict.
    """
    starts_first = fights.events.sort(pl.col("event_type") != "encounter_start", maintain_order=True)
    return (
        fights.pulls.join(first_known(starts_first, [PULL], FACTS), on=PULL, how="left")
        .join(_totals(fights.events), on=PULL, how="left")
        .join(_head_counts(fights.players), on=PULL, how="left")
        .join(_verdicts(fights.events), on=PULL, how="left")
        .with_columns(pl.col("n_players", "n_tanks", "n_healers", "n_dps").fill_null(0))
        .with_columns(
            raid_id=pl.lit(raid_id),
            event_date=pl.col("start_timestamp").dt.date(),
            raid_dps=per_second(pl.col("total_damage"), pl.col("duration_ms")),
            raid_hps=per_second(pl.col("total_healing"), pl.col("duration_ms")),
            has_verdict=pl.col("verdict").is_not_null(),
            raid_outcome=_outcome(params),
        )
        .sort("start_timestamp", PULL)
        .with_columns(pull_number=1 + pl.int_range(pl.len()).over("encounter_name", "encounter_difficulty"))
        .pipe(conform, RaidSummary)
        .sort(PULL)
    )


def _totals(events: pl.DataFrame) -> pl.DataFrame:
    credited, boss = pl.col("is_credited"), pl.col("target_entity_type") == "boss"
    return events.group_by(PULL, maintain_order=True).agg(
        total_damage=pl.col("damage").filter(credited).sum(),
        total_healing=pl.col("healing").filter(credited).sum(),
        total_overheal=pl.col("overheal").filter(credited).sum(),
        total_absorbed=pl.col("absorbed").filter(credited).sum(),
        total_damage_taken=pl.col("damage_taken").sum(),
        total_player_deaths=pl.col("is_death").sum(),
        boss_min_hp_pct=pl.col("target_entity_health_pct_after").filter(boss).min(),
        boss_max_hp_pct=pl.col("target_entity_health_pct_before").filter(boss).max(),
    )


def _head_counts(players: pl.DataFrame) -> pl.DataFrame:
    role = pl.col("role")
    return players.group_by(PULL).agg(
        n_players=pl.len(),
        n_tanks=(role == "tank").sum(),
        n_healers=(role == "healer").sum(),
        n_dps=(role == "dps").sum(),
    )


def _verdicts(events: pl.DataFrame) -> pl.DataFrame:
    said = events.filter((pl.col("event_type") == "encounter_end") & pl.col("encounter_success").is_not_null())
    return said.group_by(PULL, maintain_order=True).agg(verdict=pl.col("encounter_success").last())


def _outcome(params: parameters.Gold) -> pl.Expr:
    success = (pl.col("boss_min_hp_pct") <= params.success_boss_hp_pct) & (
        pl.col("duration_ms") <= params.time_limit_s * 1000
    )
    if params.max_deaths is not None:
        success &= pl.col("total_player_deaths") <= params.max_deaths
    verdict = pl.col("verdict")
    return (
        pl.when(verdict.is_not_null() & verdict)
        .then(pl.lit("success"))
        .when(verdict.is_not_null())
        .then(pl.lit("wipe"))
        .when(pl.col("boss_min_hp_pct").is_null())
        .then(pl.lit("unknown"))
        .when(success)
        .then(pl.lit("success"))
        .otherwise(pl.lit("wipe"))
    )
