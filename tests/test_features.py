"""Features: nothing of them knows how the fight ends."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline import gold, params, simulate
from pipeline.features import behaviour, early, history
from pipeline.tables import FEATURE_TABLES, RaidSummary, check, conform, polars_schema
from tests.oracle.events import as_silver

ROOT = Path(__file__).parents[1]
KEY = ["raid_id", "encounter_id"]
HORIZON_S = 60
NOT_FEATURES = ["raid_outcome"]


@pytest.fixture(scope="module")
def silver() -> pl.DataFrame:
    """A simulated evening with a death and with a pull that is long enough, as Silver."""
    evenings = (frame for _, frame in simulate.simulate_raids(9, 6000, seed=3))
    long_ms = 1500 * HORIZON_S
    return as_silver(
        next(
            frame
            for frame in evenings
            if "player_death" in frame["event_type"] and (frame["encounter_duration_ms"] > long_ms).any()
        )
    )


def built(silver: pl.DataFrame) -> gold.RaidGold:
    return gold.raid_gold(silver, params.load(ROOT / "params.yaml").gold)


def features_of(silver: pl.DataFrame) -> pl.DataFrame:
    """The table `pull_features` of one evening at T = 60 s."""
    tables = built(silver)
    seconds = (tables.raid_timeline, tables.player_timeline)
    first = early.first_seconds(tables.raid_summary, *seconds, tables.player_raid_stats, horizon_s=HORIZON_S)
    before = history.known_before(tables.raid_summary)
    return first.join(before, on=KEY).pipe(conform, FEATURE_TABLES["pull_features"]).sort(KEY)


def late(silver: pl.DataFrame, encounter_id: str) -> pl.Expr:
    """The events of a pull from T on, but for the one that ends it."""
    start = silver.filter(encounter_id=encounter_id, event_type="encounter_start")["timestamp"][0]
    after = pl.col("timestamp") >= start + timedelta(seconds=HORIZON_S)
    is_late: pl.Expr = (pl.col("encounter_id") == encounter_id) & after & (pl.col("event_type") != "encounter_end")
    return is_late


def last_pull_still_running(silver: pl.DataFrame) -> str:
    """No later pull has it in its history."""
    pulls = built(silver).raid_summary.filter(pl.col("duration_ms") > HORIZON_S * 1000)
    return str(pulls.sort("start_timestamp")["encounter_id"][-1])


def test_a_player_who_is_only_seen_later_is_not_known_yet(silver: pl.DataFrame) -> None:
    """As in a stream of the original schema: no roster, and a healer whose first event comes after T."""
    pull = last_pull_still_running(silver)
    no_roster = silver.filter(pl.col("event_type") != "roster")
    healer = no_roster.filter(encounter_id=pull, source_player_role="healer")["source_player_id"][0]
    is_theirs = (pl.col("source_player_id") == healer) | (pl.col("target_entity_id") == healer)
    shy = no_roster.filter(
        ~(pl.col("encounter_id") == pull).fill_null(value=False)
        | ~is_theirs.fill_null(value=False)
        | late(no_roster, pull).fill_null(value=False)
    )
    assert healer in shy.filter(encounter_id=pull)["source_player_id"]
    cut = shy.filter(~late(shy, pull))
    assert_frame_equal(features_of(cut).drop(NOT_FEATURES), features_of(shy).drop(NOT_FEATURES))


def test_deleting_all_that_comes_later_changes_no_feature(silver: pl.DataFrame) -> None:
    pull = last_pull_still_running(silver)
    cut = silver.filter(~late(silver, pull))
    assert cut.height < silver.height
    assert_frame_equal(features_of(cut).drop(NOT_FEATURES), features_of(silver).drop(NOT_FEATURES))


def test_shuffling_all_that_comes_later_changes_no_feature(silver: pl.DataFrame) -> None:
    pull = last_pull_still_running(silver)
    is_late = late(silver, pull)
    what = [name for name in silver.columns if name not in ("timestamp", "encounter_id", "raid_id")]
    after, before = silver.filter(is_late), silver.filter(~is_late)
    shuffled = after.select(what).sample(fraction=1.0, shuffle=True, seed=1)
    mixed = pl.concat([before, after.with_columns(shuffled)]).sort("timestamp", "event_id")
    assert not after.equals(after.with_columns(shuffled))
    assert_frame_equal(features_of(mixed).drop(NOT_FEATURES), features_of(silver).drop(NOT_FEATURES))


def test_the_outcome_changes_no_feature_of_its_own_pull(silver: pl.DataFrame) -> None:
    pull = last_pull_still_running(silver)
    is_end = (pl.col("encounter_id") == pull) & (pl.col("event_type") == "encounter_end")
    turned = silver.with_columns(
        encounter_success=pl.when(is_end).then(~pl.col("encounter_success")).otherwise("encounter_success")
    )
    ours, theirs = features_of(silver), features_of(turned)
    assert not ours["raid_outcome"].equals(theirs["raid_outcome"])
    assert_frame_equal(ours.drop(NOT_FEATURES), theirs.drop(NOT_FEATURES))


def test_only_pulls_that_still_run_have_features(silver: pl.DataFrame) -> None:
    pulls = built(silver).raid_summary
    running = pulls.filter(pl.col("duration_ms") > HORIZON_S * 1000)
    assert running.height > 0
    assert features_of(silver).select(KEY).rows() == running.select(KEY).rows()


def test_features_meet_their_contract_and_agree_with_the_seconds(silver: pl.DataFrame) -> None:
    table = features_of(silver)
    check(table, FEATURE_TABLES["pull_features"])
    seconds = built(silver).raid_timeline.filter(pl.col("second") < HORIZON_S)
    for row in table.to_dicts():
        of_pull = seconds.filter(encounter_id=row["encounter_id"])
        assert row["damage_per_s"] == pytest.approx(of_pull["damage"].sum() / HORIZON_S, rel=1e-12)
        assert row["deaths"] == of_pull["deaths"].sum()
        assert row["boss_hp_pct"] == of_pull.sort("second")["boss_hp_pct"][-1]
        roles = row["tank_damage_per_s"] + row["healer_damage_per_s"] + row["dps_damage_per_s"]
        assert roles == pytest.approx(row["damage_per_s"])


def pulls(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    """raid_summary rows: (raid, boss, outcome, boss health), one per hour, all of one team."""
    blank = dict.fromkeys(polars_schema(RaidSummary))
    frame = pl.DataFrame(
        [
            blank | {"raid_id": raid, "encounter_id": f"p{n}", "encounter_name": boss, "raid_outcome": outcome}
            for n, (raid, boss, outcome, _) in enumerate(rows)
        ]
    )
    start = pl.datetime(2026, 1, 1, time_zone="UTC") + pl.duration(hours=pl.int_range(len(rows)))
    return frame.with_columns(
        start_timestamp=start,
        team_id=pl.lit("team-1"),
        encounter_difficulty=pl.lit("heroic"),
        boss_min_hp_pct=pl.Series([health for *_, health in rows], dtype=pl.Float64),
    )


def test_history_counts_what_came_before_and_nothing_else() -> None:
    known = history.known_before(
        pulls(
            ("r1", "Warden", "wipe", 60.0),
            ("r1", "Warden", "wipe", 20.0),
            ("r1", "Golem", "wipe", 90.0),
            ("r2", "Warden", "success", 0.4),
            ("r2", "Warden", "wipe", 10.0),
        ),
    ).sort("start_timestamp")
    assert known["prior_pulls"].to_list() == [0, 1, 0, 2, 3]
    assert known["prior_kills"].to_list() == [0, 0, 0, 0, 1]
    assert known["prior_best_boss_hp_pct"].to_list() == [None, 60.0, None, 20.0, 0.0]
    assert known["previous_boss_hp_pct"].to_list() == [None, 60.0, None, 20.0, 0.0]
    assert known["team_pulls"].to_list() == [0, 1, 2, 3, 4]
    assert known["team_kill_share"].to_list() == [None, 0.0, 0.0, 0.0, 0.25]
    assert known["evening_pulls"].to_list() == [0, 1, 2, 0, 1]


def test_a_raid_without_a_team_has_only_its_own_evening() -> None:
    known = history.known_before(
        pulls(("r1", "Warden", "wipe", 60.0), ("r2", "Warden", "wipe", 20.0)).with_columns(
            team_id=pl.lit(None, pl.String)
        ),
    )
    assert known["team_pulls"].to_list() == [0, 0]


def test_roles_that_nobody_has_give_null_and_not_zero(silver: pl.DataFrame) -> None:
    unknown = silver.with_columns(source_player_role=pl.lit(None, pl.String))
    table = features_of(unknown)
    assert table["tank_damage_per_s"].null_count() == table.height
    assert table["damage_per_s"].null_count() == 0


def test_behaviour_is_per_second_alive(silver: pl.DataFrame) -> None:
    tables = built(silver)
    styles = behaviour.player_behaviour(tables.player_raid_stats, tables.raid_summary, tables.player_timeline)
    table = styles.pipe(conform, FEATURE_TABLES["player_behaviour"])
    check(table, FEATURE_TABLES["player_behaviour"])
    joined = styles.with_columns(again=pl.col("damage_total") / pl.col("alive_s"))
    assert joined["damage_per_s"].to_list() == joined["again"].to_list()
    assert styles.filter(pl.col("player_deaths") > 0).height == styles["died"].sum() > 0
