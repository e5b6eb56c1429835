"""The table `raid_summary`: each pull in one row, with its outcome."""

import polars as pl

from pipeline import params as parameters
from pipeline.gold import tally
from pipeline.gold.fights import Fights, amounts_of, first_known, flags_of, found_at, per_second, rows_of
from pipeline.tables import RaidSummary, conform

FACTS = ["team_id", "boss_id", "encounter_name", "encounter_difficulty", "raid_size"]


def summarise_pulls(fights: Fights, params: parameters.Gold) -> pl.DataFrame:
    """The table `raid_summary`, sorted by (raid_id, encounter_id).

    Args:
        fights: the pulls.
        params: the section `gold` of `params.yaml`: the rule for pulls of which the log gives no verdict.
    """
    pull, starts = rows_of(fights.events, "pull"), flags_of(fights.events, pl.col("event_type") == "encounter_start")
    facts = first_known(fights.events, pull, fights.pulls.height, FACTS, starts)
    boss = ["raid_id", "encounter_name", "encounter_difficulty"]
    order = ["start_timestamp", "encounter_id"]
    return (
        pl.concat([fights.pulls, facts, _totals(fights), _head_counts(fights)], how="horizontal")
        .with_columns(_verdicts(fights), *_boss_health(fights))
        .with_columns(
            event_date=pl.col("start_timestamp").dt.date(),
            raid_dps=per_second(pl.col("total_damage"), pl.col("duration_ms")),
            raid_hps=per_second(pl.col("total_healing"), pl.col("duration_ms")),
            has_verdict=pl.col("verdict").is_not_null(),
            raid_outcome=_outcome(params),
        )
        .with_columns(pull_number=1 + pl.int_range(pl.len()).over(boss, order_by=order))
        .with_columns(is_reset=_is_reset(params))
        .pipe(conform, RaidSummary)
    )


def _totals(fights: Fights) -> pl.DataFrame:
    events, n, credited = fights.events, fights.pulls.height, pl.col("is_credited")
    pull = rows_of(events, "pull")
    return pl.DataFrame(
        {
            "total_damage": tally.sums(pull, amounts_of(events, "damage", credited), n),
            "total_healing": tally.sums(pull, amounts_of(events, "healing", credited), n),
            "total_overheal": tally.sums(pull, amounts_of(events, "overheal", credited), n),
            "total_absorbed": tally.sums(pull, amounts_of(events, "absorbed", credited), n),
            "total_damage_taken": tally.sums(pull, amounts_of(events, "damage_taken"), n),
            "total_player_deaths": tally.counts(pull[flags_of(events, pl.col("is_death"))], n),
        }
    )


def _boss_health(fights: Fights) -> list[pl.Series]:
    """Least and greatest health of the bosses."""
    before, after = pl.col("target_entity_health_pct_before"), pl.col("target_entity_health_pct_after")
    seen = fights.events.select("pull", "target_entity_type", before, after).filter(
        pl.col("target_entity_type") == "boss"
    )
    least_and_greatest = seen.group_by("pull").agg(boss_min_hp_pct=after.min(), boss_max_hp_pct=before.max())
    pulls = fights.pulls.select(pull=pl.int_range(pl.len(), dtype=pl.Int64))
    return pulls.join(least_and_greatest, on="pull", how="left", maintain_order="left").drop("pull").get_columns()


def _head_counts(fights: Fights) -> pl.DataFrame:
    role, n = pl.col("role"), fights.pulls.height
    roles = {"n_tanks": "tank", "n_healers": "healer", "n_dps": "dps"}
    counts = {
        name: tally.counts(rows_of(fights.players.filter(role == each), "pull"), n) for name, each in roles.items()
    }
    return pl.DataFrame({"n_players": tally.counts(rows_of(fights.players, "pull"), n), **counts})


def _verdicts(fights: Fights) -> pl.Series:
    """What the latest encounter_end with a verdict said of each pull."""
    ends = fights.events.select("pull", "event_type", "encounter_success")
    said = ends.filter((pl.col("event_type") == "encounter_end") & pl.col("encounter_success").is_not_null())
    last = tally.lasts(rows_of(said, "pull"), fights.pulls.height)
    return found_at(said["encounter_success"], last).alias("verdict")


def _is_reset(params: parameters.Gold) -> pl.Expr:
    """Whether the raid gave up at once and began anew."""
    short = pl.col("duration_ms") < params.reset_s * 1000
    return short & (pl.col("raid_outcome") != "success") & (pl.col("total_player_deaths") == 0)


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
