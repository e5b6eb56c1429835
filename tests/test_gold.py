"""Gold: the rules that are easy to get wrong, the stage, and what notebooks read.

Every formula is held against an independent implementation in `test_gold_oracle.py`; here stand the rules by name.
"""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal

from pipeline import gold, params, paths, silver, tables
from pipeline.errors import PipelineError
from pipeline.gold import RaidGold
from tests.oracle import events as cases
from tests.oracle.events import BOSS, ENVIRONMENT, HEALER, HUNTER, MAGE, TANK, WOLF, Row, boss_hit, death, event, hit
from tests.raids import ARRIVAL, batch, evening, write_bronze
from tests.raids import event as wire_event

BEGIN = datetime(2026, 1, 1, 20, 0, tzinfo=UTC)
RULE = params.Gold(success_boss_hp_pct=1.0, time_limit_s=900.0, max_deaths=None, reset_s=10.0)
SEASON = ("raid_summary", "player_raid_stats", "dim_player", "dim_raid")


def built(rows: list[Row], rule: params.Gold = RULE, **fields: Any) -> RaidGold:
    return gold.raid_gold(cases.silver_frame("raid001", cases.pull("p1", BEGIN, rows, **fields)), rule)


def pull(rows: list[Row], rule: params.Gold = RULE) -> dict[str, Any]:
    return built(rows, rule).raid_summary.row(0, named=True)


def player(rows: list[Row], player_id: str) -> dict[str, Any]:
    return built(rows).player_raid_stats.row(by_predicate=pl.col("player_id") == player_id, named=True)


def verdict(at: float, success: bool | None) -> Row:
    return event("encounter_end", at, ENVIRONMENT, encounter_success=success)


@pytest.mark.parametrize(("success", "outcome"), [(True, "success"), (False, "wipe")])
def test_the_logs_own_verdict_decides_whatever_the_boss_has_left(success: bool, outcome: str) -> None:
    row = pull([boss_hit(1, 0.0 if outcome == "wipe" else 99.0), verdict(2, success)])
    assert (row["raid_outcome"], row["has_verdict"]) == (outcome, True)


def test_the_latest_verdict_counts_and_an_end_without_one_does_not() -> None:
    assert pull([verdict(1, False), verdict(2, True), verdict(3, None)])["raid_outcome"] == "success"


@pytest.mark.parametrize(
    ("rows", "rule", "outcome"),
    [
        ([boss_hit(5, 1.0)], RULE, "success"),
        ([boss_hit(5, 1.5)], RULE, "wipe"),
        ([boss_hit(5, 1.5)], RULE.model_copy(update={"success_boss_hp_pct": 2.0}), "success"),
        ([hit(5, MAGE, BOSS, 10)], RULE, "unknown"),
        ([boss_hit(5, None, 0.5)], RULE, "unknown"),
        ([boss_hit(0, 0.5), boss_hit(10, 40)], RULE.model_copy(update={"time_limit_s": 10.0}), "success"),
        ([boss_hit(0, 0.5), boss_hit(10.001, 40)], RULE.model_copy(update={"time_limit_s": 10.0}), "wipe"),
        ([boss_hit(5, 0.5), death(6, TANK)], RULE, "success"),
        ([boss_hit(5, 0.5), death(6, TANK)], RULE.model_copy(update={"max_deaths": 1}), "success"),
        ([boss_hit(5, 0.5), death(6, TANK)], RULE.model_copy(update={"max_deaths": 0}), "wipe"),
        ([boss_hit(5, 0.5), death(6, BOSS)], RULE.model_copy(update={"max_deaths": 0}), "success"),
    ],
)
def test_without_a_verdict_the_rule_decides(rows: list[Row], rule: params.Gold, outcome: str) -> None:
    row = pull(rows, rule)
    assert (row["raid_outcome"], row["has_verdict"]) == (outcome, False)


def test_a_death_is_the_victims_not_the_killers() -> None:
    rows = [hit(0, MAGE, BOSS, 1), hit(1, TANK, BOSS, 1), death(2.5, TANK, MAGE), hit(4, MAGE, BOSS, 1)]
    assert (player(rows, "tank")["player_deaths"], player(rows, "tank")["first_death_ms"]) == (1, 2500)
    assert (player(rows, "mage")["player_deaths"], player(rows, "mage")["first_death_ms"]) == (0, None)
    assert pull(rows)["total_player_deaths"] == 1


def test_a_pets_deeds_are_its_owners_and_kept_apart() -> None:
    rows = [hit(0, HUNTER, BOSS, 10), hit(1, WOLF, BOSS, 7), event("spell_cast", 1, WOLF), hit(2, MAGE, BOSS, 100)]
    hunter = player(rows, "hunter")
    assert (hunter["damage_own"], hunter["damage_pets"], hunter["damage_total"]) == (10, 7, 17)
    assert (hunter["damage_events"], hunter["casts"]) == (2, 0)
    assert built(rows).player_raid_stats["player_id"].to_list() == ["hunter", "mage"]
    assert pull(rows)["total_damage"] == 117


def test_neither_boss_nor_environment_is_a_player_and_their_deeds_are_not_the_raids() -> None:
    rows = [hit(0, BOSS, TANK, 500), hit(1, ENVIRONMENT, TANK, 50), hit(2, TANK, BOSS, 5)]
    row = pull(rows)
    assert (row["n_players"], row["total_damage"], row["total_damage_taken"]) == (1, 5, 550)
    assert built(rows).player_raid_stats["player_id"].to_list() == ["tank"]


def test_a_player_without_role_and_class_is_counted_in_no_role() -> None:
    ghost = cases.GHOST
    rows = [event("roster", 0, ghost), hit(1, ghost, BOSS, 3), event("roster", 0, TANK), event("roster", 0, HEALER)]
    row = pull(rows)
    assert [row[name] for name in ("n_players", "n_tanks", "n_healers", "n_dps")] == [3, 1, 1, 0]
    stats = player(rows, "ghost")
    assert (stats["player_name"], stats["role"], stats["player_class"], stats["damage_total"]) == (
        "Ghost",
        None,
        None,
        3,
    )


def test_someone_who_is_only_met_is_known_by_the_targets_name() -> None:
    assert player([hit(0, BOSS, TANK, 5)], "tank")["player_name"] == "Tank"


def test_healing_is_net_of_overheal_and_hits_carry_none() -> None:
    rows = [cases.heal(0, HEALER, TANK, 100, 30), hit(1, HEALER, BOSS, 9, healing_amount=55.0)]
    stats = player(rows, "healer")
    assert (stats["healing_total"], stats["overheal_total"], stats["overheal_share"]) == (70, 30, 0.3)
    assert (stats["damage_total"], pull(rows)["total_healing"]) == (9, 70)


def test_a_pull_that_takes_no_time_has_one_second_and_no_rates() -> None:
    result = built([hit(0, MAGE, BOSS, 10)])
    row = result.raid_summary.row(0, named=True)
    assert (row["duration_ms"], row["raid_dps"], row["raid_hps"]) == (0, None, None)
    assert result.raid_timeline.select("second", "damage").rows() == [(0, 10.0)]


def test_the_last_instant_belongs_to_the_last_second() -> None:
    timeline = built([hit(0, MAGE, BOSS, 1), hit(1, MAGE, BOSS, 2), hit(2, MAGE, BOSS, 4)]).raid_timeline
    assert timeline.select("second", "damage").rows() == [(0, 1.0), (1, 6.0)]


def test_a_death_counts_from_the_next_second_on_until_a_resurrection() -> None:
    rows = [hit(0, MAGE, BOSS, 1), death(1.0, MAGE), cases.resurrect(3.5, MAGE), hit(6, MAGE, BOSS, 1)]
    result = built(rows)
    mage = result.player_timeline.filter(pl.col("player_id") == "mage")
    assert mage["is_alive"].to_list() == [True, True, False, False, True, True]
    assert player(rows, "mage")["alive_s"] == 4
    assert result.raid_timeline["players_alive"].to_list() == [2, 2, 1, 1, 2, 2]


def test_boss_health_is_the_last_seen_and_null_before() -> None:
    rows = [hit(0, MAGE, BOSS, 1), boss_hit(1.1, 90), boss_hit(1.9, 80), hit(3, MAGE, BOSS, 1)]
    assert built(rows).raid_timeline["boss_hp_pct"].to_list() == [None, 80.0, 80.0]


def test_pulls_are_counted_per_boss_and_difficulty() -> None:
    def one(encounter_id: str, minute: int, **fields: Any) -> list[Row]:
        return cases.pull(encounter_id, BEGIN + timedelta(minutes=minute), [hit(0, MAGE, BOSS, 1)], **fields)

    warden = {"encounter_name": "Warden", "encounter_difficulty": "heroic"}
    frame = cases.silver_frame(
        "raid001",
        one("z", 0, **warden),
        one("a", 1, **warden),
        one("m", 2, **warden | {"encounter_difficulty": "mythic"}),
        one("b", 3),
        one("c", 4),
    )
    summary = gold.raid_gold(frame, RULE).raid_summary
    assert dict(summary.select("encounter_id", "pull_number").rows()) == {"z": 1, "a": 2, "m": 1, "b": 1, "c": 2}


@settings(deadline=None, max_examples=15)
@given(cases.raids())
def test_timelines_sum_to_the_pulls_totals_and_contracts_hold(raids: list[pl.DataFrame]) -> None:
    for frame in raids:
        raid = gold.raid_gold(frame, RULE)
        for name in ("raid_summary", "player_raid_stats", "raid_timeline", "player_timeline"):
            tables.check(getattr(raid, name), tables.GOLD_TABLES[name])
        sums = raid.raid_timeline.group_by("encounter_id").agg(
            total_damage=pl.col("damage").sum(),
            total_healing=pl.col("healing").sum(),
            total_damage_taken=pl.col("damage_taken").sum(),
            total_player_deaths=pl.col("deaths").sum(),
        )
        assert_frame_equal(raid.raid_summary.select(sums.columns), sums.sort("encounter_id"))
        for amount, total in (
            ("damage", "damage_total"),
            ("healing", "healing_total"),
            ("damage_taken", "damage_taken"),
        ):
            per_player = raid.player_timeline.group_by("encounter_id", "player_id").agg(
                pl.col(amount).sum().alias(total)
            )
            stats = raid.player_raid_stats.select("encounter_id", "player_id", total)
            assert_frame_equal(stats, per_player.sort("encounter_id", "player_id"))


@settings(deadline=None, max_examples=10)
@given(cases.raids())
def test_several_raids_at_once_are_the_same_as_one_after_the_other(raids: list[pl.DataFrame]) -> None:
    together, alone = gold.raid_gold(pl.concat(raids), RULE), [gold.raid_gold(frame, RULE) for frame in raids]
    for name in ("raid_summary", "player_raid_stats", "raid_timeline", "player_timeline", "facts"):
        assert_frame_equal(getattr(together, name), pl.concat(getattr(raid, name) for raid in alone))
    assert together.events_outside_pulls == sum(raid.events_outside_pulls for raid in alone)


@settings(deadline=None, max_examples=10)
@given(cases.raids())
def test_only_the_columns_that_are_read_matter(raids: list[pl.DataFrame]) -> None:
    whole, narrow = (gold.raid_gold(frame, RULE) for frame in (raids[0], raids[0].select(gold.fights.COLUMNS)))
    for name in ("raid_summary", "player_raid_stats", "raid_timeline", "player_timeline", "facts"):
        assert_frame_equal(getattr(whole, name), getattr(narrow, name))


def test_events_out_of_order_are_refused() -> None:
    first, second = (
        cases.silver_frame(raid_id, cases.pull("p1", BEGIN, [hit(0, MAGE, BOSS, 1), hit(1, MAGE, BOSS, 1)]))
        for raid_id in ("raid-a", "raid-b")
    )
    for wrong in (first[::-1], pl.concat([second, first]), pl.concat([first, second, first])):
        with pytest.raises(PipelineError, match="not in order"):
            gold.raid_gold(wrong, RULE)
    assert gold.raid_gold(pl.concat([first, second]), RULE).raid_summary.height == 2


@pytest.mark.parametrize(
    ("rows", "reset_s", "expected"),
    [
        ([verdict(9.999, False)], 10.0, True),
        ([verdict(10, False)], 10.0, False),
        ([verdict(10.001, False)], 10.0, False),
        ([verdict(0.5, False)], 0.5, False),
        ([verdict(0.499, False)], 0.5, True),
        ([verdict(0, False)], 0.0, False),
        ([verdict(5, True)], 10.0, False),
        ([hit(5, MAGE, BOSS, 1)], 10.0, True),
        ([boss_hit(5, 50)], 10.0, True),
        ([boss_hit(5, 0.5)], 10.0, False),
        ([death(3, TANK), verdict(5, False)], 10.0, False),
        ([death(3, BOSS), verdict(5, False)], 10.0, True),
    ],
)
def test_a_short_pull_without_success_or_death_is_a_reset(rows: list[Row], reset_s: float, expected: bool) -> None:
    rule = RULE.model_copy(update={"reset_s": reset_s})
    assert pull([hit(0, MAGE, BOSS, 1), *rows], rule)["is_reset"] is expected


def test_the_dimensions_span_the_raids_and_take_the_latest_identity() -> None:
    def raid(raid_id: str, day: int, mage: cases.Entity, success: bool) -> RaidGold:
        rows = [event("roster", 0, mage), hit(1, mage, BOSS, 10), verdict(2, success)]
        begin = BEGIN + timedelta(days=day)
        return gold.raid_gold(cases.silver_frame(raid_id, cases.pull("p1", begin, rows, team_id="t")), RULE)

    nameless = cases.Entity("mage", "Renamed", "player", "healer")
    raids = [raid("raid-b", 0, MAGE, True), raid("raid-a", 1, nameless, False)]
    summary = pl.concat(each.raid_summary for each in raids)
    stats = pl.concat(each.player_raid_stats for each in raids)
    one = gold.dimensions.players(summary, stats).row(0, named=True)
    assert (one["player_name"], one["role"], one["player_class"]) == ("Renamed", "healer", "mage")
    assert (one["n_raids"], one["n_pulls"], one["n_kills"], one["damage_total"]) == (2, 2, 1, 20)
    assert (one["first_seen"], one["last_seen"]) == (BEGIN, BEGIN + timedelta(days=1))
    dim_raid = gold.dimensions.raids(pl.concat(each.facts for each in raids), summary, stats)
    assert dim_raid.select("raid_id", "team_id", "event_date", "n_pulls", "n_kills", "n_wipes").rows() == [
        ("raid-a", "t", date(2026, 1, 2), 1, 0, 1),
        ("raid-b", "t", date(2026, 1, 1), 1, 1, 0),
    ]


@pytest.fixture
def silver_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose Silver holds two raids with a pull and one without."""
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    batches = [batch(evening(raid_id), raid_id, ARRIVAL, raid_id) for raid_id in ("raid-b", "raid-a")]
    idle = batch([wire_event("idle", raid_id="raid-idle")], "idle", ARRIVAL, "raid-idle")
    write_bronze(Path("data/bronze"), [*batches, idle])
    silver.run()
    return home


def gold_files() -> dict[str, bytes]:
    found = [*Path("data/gold").rglob("*.parquet"), Path("reports/metrics/gold.json")]
    return {str(file): file.read_bytes() for file in sorted(found)}


def test_the_stage_writes_tables_and_books(silver_home: Path) -> None:
    gold.run()
    season = [f"data/gold/{name}/v1/part-0.parquet" for name in SEASON]
    timelines = [
        f"data/gold/{name}/v1/raidid={raid_id}/part-0.parquet"
        for name in ("raid_timeline", "player_timeline")
        for raid_id in ("raid-a", "raid-b")
    ]
    assert sorted(gold_files()) == sorted([*season, *timelines, "reports/metrics/gold.json"])
    metrics = json.loads(Path("reports/metrics/gold.json").read_text())
    per_raid = len(evening("x"))
    assert metrics == {
        "raids": 3,
        "pulls": 2,
        "outcomes": {"success": 2, "wipe": 0, "unknown": 0},
        "resets": 0,
        "kill_share": 1.0,
        "players": 2,
        "player_pulls": 4,
        "total_damage": 2 * (190_000 + 7),
        "total_healing": 0.0,
        "total_player_deaths": 2,
        "events_in_pulls": 2 * (per_raid - 1),
        "events_outside_pulls": 3,
    }


@pytest.mark.parametrize("batches_worth_a_process", [0, 100], ids=["processes", "threads"])
def test_workers_and_batches_do_not_change_the_bytes(
    batches_worth_a_process: int, silver_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold.run()
    alone = gold_files()
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    monkeypatch.setattr(gold, "BATCH_BYTES", 1)
    monkeypatch.setattr(gold, "BATCHES_WORTH_A_PROCESS", batches_worth_a_process)
    gold.run()
    assert gold_files() == alone


def test_a_batch_holds_whole_raids_up_to_its_size(silver_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {
        raid_id: sum(f.stat().st_size for f in silver.event_files(paths.SILVER, raid_id))
        for raid_id in silver.raid_ids(paths.SILVER)
    }
    assert list(sizes) == ["raid-a", "raid-b", "raid-idle"]

    def batches(size: int) -> list[list[str]]:
        monkeypatch.setattr(gold, "BATCH_BYTES", size)
        return [[file.parts[-3].removeprefix("raidid=") for file in files] for files in gold.batches(paths.SILVER)]

    assert batches(sum(sizes.values())) == [["raid-a", "raid-b", "raid-idle"]]
    assert batches(sizes["raid-a"] + sizes["raid-b"]) == [["raid-a", "raid-b"], ["raid-idle"]]
    assert batches(sizes["raid-a"] + sizes["raid-b"] - 1) == [["raid-a"], ["raid-b", "raid-idle"]]
    assert batches(1) == [["raid-a"], ["raid-b"], ["raid-idle"]]


def test_without_silver_the_stage_says_what_to_do(home: Path) -> None:
    with pytest.raises(PipelineError, match="dvc repro silver"):
        gold.run()


def test_notebooks_read_typed_pandas_frames_from_anywhere_in_the_checkout(
    silver_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold.run()
    (silver_home / "notebooks").mkdir()
    monkeypatch.chdir(silver_home / "notebooks")
    summary, stats = gold.raid_summary(), gold.player_raid_stats()
    assert summary["raid_id"].tolist() == ["raid-a", "raid-b"]
    assert summary["start_timestamp"].dtype == pd.DatetimeTZDtype("us", "UTC")
    assert pd.api.types.is_datetime64_any_dtype(summary["event_date"])
    assert (str(summary["pull_number"].dtype), str(summary["raid_size"].dtype)) == ("int64", "Int64")
    assert stats.loc[stats["player_id"] == "tank", "first_death_ms"].tolist() == [5000, 5000]
    assert stats.groupby("raid_id")["damage_total"].sum().tolist() == summary["total_damage"].tolist()
    assert gold.dim_player()["player_id"].tolist() == ["dps", "tank"]
    assert gold.dim_raid()["n_pulls"].tolist() == [1, 1, 0]
    assert len(gold.raid_timeline()) == 40
    assert gold.raid_timeline("raid-b")["damage"].sum() == 190_007
    assert set(gold.player_timeline("raid-b")["raid_id"]) == {"raid-b"}
    assert len(gold.player_timeline()) == 80


def test_a_raid_without_pulls_has_an_empty_timeline_and_an_unknown_raid_is_an_error(silver_home: Path) -> None:
    gold.run()
    assert gold.raid_timeline("raid-idle").empty
    assert gold.raid_timeline("raid-idle").columns.tolist() == tables.polars_schema(tables.RaidTimeline).names()
    with pytest.raises(PipelineError, match="no raid raid-x"):
        gold.player_timeline("raid-x")


def test_without_gold_the_accessors_say_what_to_do(home: Path) -> None:
    with pytest.raises(PipelineError, match="dvc repro gold"):
        gold.raid_summary()
