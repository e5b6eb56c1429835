"""The simulator's seasons: raids on the wire, a team's way through the bosses, the same bytes for the same team."""

import ast
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from uuid import UUID

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import params, simulate, wire
from pipeline.events import EVENT_TYPES, MAX_BATCH_EVENTS, batch_adapter
from pipeline.params import Simulate
from pipeline.simulate import engine, fight, setup, team_tasks, teams, write_season
from pipeline.simulate import season as season_module
from pipeline.simulate.rows import time_ordered_uuids
from pipeline.simulate.season import WEEKDAYS, Played, play_season, raid_frame_of
from pipeline.simulate.setup import COLD_PULLS
from pipeline.simulate.teams import RAID_SIZES
from pipeline.simulate.world import (
    Boss,
    Difficulty,
    GameClass,
    Mechanics,
    RoleRule,
    SlotRule,
    Specialization,
    StyleRule,
    World,
    load,
)
from tests.fights import Evening, evenings_of, prepared, section

BY_PULL = ["raid_id", "encounter_id"]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def evenings() -> list[Evening]:
    """Two evenings of each of four teams: all three difficulties."""
    return evenings_of(section(), range(4))


@pytest.fixture(scope="module")
def season(evenings: list[Evening]) -> pl.DataFrame:
    """Their events, each raid in its own order."""
    return pl.concat(raid_frame_of(evening.raid_id, evening.season, evening.pulls) for evening in evenings)


@pytest.fixture(scope="module")
def long_seasons() -> list[list[Evening]]:
    """By team: ten evenings of few events."""
    few = section(evenings_per_team=10, pulls_per_evening=7.0, num_events_per_raid=500)
    return [evenings_of(few, [index]) for index in (0, 2, 3)]


@pytest.fixture(scope="module")
def world() -> World:
    return load()


def pulls_of(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return frame.partition_by(BY_PULL, maintain_order=True)


# --- on the wire


def test_every_event_meets_the_contract(season: pl.DataFrame) -> None:
    assert set(season["event_type"]) == set(EVENT_TYPES)
    for raid in season.partition_by("raid_id"):
        lines = wire.json_events(raid)
        for first in range(0, len(lines), MAX_BATCH_EVENTS):
            batch_adapter.validate_json(wire.json_array(lines[first : first + MAX_BATCH_EVENTS]))


def test_event_ids_are_unique_uuids_in_the_order_of_events(season: pl.DataFrame) -> None:
    assert season["event_id"].n_unique() == season.height
    assert {UUID(event_id).version for event_id in season["event_id"].head(500)} == {7}
    for raid in season.partition_by("raid_id"):
        assert raid.select(wire.ORDER).equals(raid.select(wire.ORDER).sort("timestamp", "event_id"))
        assert raid["event_id"].is_sorted()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_uuids_keep_the_order_inside_a_millisecond(gaps: list[int]) -> None:
    times = 1_767_641_400_000 + np.cumsum(np.array(gaps, dtype=np.int64))
    ids = time_ordered_uuids(times, np.random.default_rng(0)).to_list()
    assert ids == sorted(set(ids))
    assert [UUID(event_id).int >> 80 for event_id in ids] == times.tolist()


def test_a_pull_starts_with_its_roster_and_ends_with_its_end(season: pl.DataFrame) -> None:
    for pull in pulls_of(season):
        size = pull["raid_size"][0]
        assert pull["event_type"][: size + 1].to_list() == ["encounter_start", *["roster"] * size]
        assert pull["timestamp"][: size + 1].n_unique() == 1
        assert pull["event_type"][-1] == "encounter_end"
        assert pull["event_type"].is_in(["encounter_start", "encounter_end"]).sum() == 2
        assert pull["timestamp"].is_sorted()
        assert pull["timestamp"][-2] < pull["timestamp"][-1]
        assert pull["encounter_duration_ms"].to_list() == [
            round(passed.total_seconds() * 1000) for passed in pull["timestamp"] - pull["timestamp"][0]
        ]


def test_pulls_of_an_evening_follow_one_another(season: pl.DataFrame) -> None:
    spans = season.group_by(*BY_PULL).agg(begin=pl.col("timestamp").min(), end=pl.col("timestamp").max())
    for raid in spans.sort("raid_id", "begin").partition_by("raid_id"):
        assert (raid["begin"][1:] > raid["end"][:-1]).all()
        assert raid["encounter_id"].is_sorted()


def test_the_verdict_is_whether_the_boss_has_health_left(season: pl.DataFrame) -> None:
    left = season.group_by(BY_PULL).agg(
        least=pl.col("target_entity_health_pct_after").filter(pl.col("target_entity_type") == "boss").min(),
        success=pl.col("encounter_success").drop_nulls().first(),
        verdicts=pl.col("encounter_success").count(),
    )
    assert set(left["verdicts"]) == {1}
    assert left.select(((pl.col("least").fill_null(100) == 0) == pl.col("success")).all()).item()
    assert set(left["success"]) == {True, False}


def test_rosters_hold_two_tanks_and_healers_by_the_raids_size(season: pl.DataFrame) -> None:
    roster = season.filter(event_type="roster")
    assert roster.group_by(*BY_PULL, "source_player_id").len()["len"].max() == 1
    by_role = roster.group_by(BY_PULL).agg(
        pl.len(),
        tanks=(pl.col("source_player_role") == "tank").sum(),
        healers=(pl.col("source_player_role") == "healer").sum(),
    )
    assert by_role["len"].is_between(*RAID_SIZES).all()
    assert set(by_role["tanks"]) == {2}
    assert (by_role["healers"] == (1.2 + 0.128 * by_role["len"]).round()).all()


def test_players_and_only_players_state_role_and_class(season: pl.DataFrame) -> None:
    of_player = pl.col("source_player_id").str.starts_with("player-")
    for column in ("source_player_role", "source_player_class", "source_item_level", "source_player_specialization"):
        assert season.select((pl.col(column).is_not_null() == of_player).all()).item(), column
    pets = season.filter(pl.col("source_player_id").str.starts_with("pet-"))
    assert pets.height > 0
    assert (pets["source_player_id"].str.replace("pet-", "player-") == pets["source_owner_id"]).all()
    assert set(pets["event_type"]) == {"combat_damage"}


@pytest.mark.parametrize("what", ["interrupt", "dispel", "taunt", "resurrect", "defensive"])
def test_what_a_class_cannot_do_it_does_not_do(season: pl.DataFrame, world: World, what: str) -> None:
    can = {name: getattr(game_class, what) for name, game_class in world.classes.items()}
    does = season.filter(event_type="spell_cast", ability_category=what)
    assert does.height > 0
    for game_class, ability in does.select("source_player_class", "ability_name").unique().iter_rows():
        assert ability == can[game_class] is not None


def test_small_raids_for_the_replay() -> None:
    raids = list(simulate.simulate_raids(num_raids=8, num_events_per_raid=50, seed=0))
    assert [raid_id for raid_id, _ in raids] == [f"raid{number:03d}" for number in range(1, 9)]
    assert all(frame.schema == wire.WIRE_SCHEMA for _, frame in raids)
    more = [frame.height for _, frame in simulate.simulate_raids(num_raids=8, num_events_per_raid=5000, seed=0)]
    assert np.mean([frame.height for _, frame in raids]) < np.mean(more) / 2


def test_other_seeds_give_other_raids() -> None:
    first, second = (next(frame for _, frame in simulate.simulate_raids(1, 200, seed)) for seed in (1, 2))
    assert not first.equals(second)
    assert set(first["event_id"]).isdisjoint(second["event_id"])


# --- the rate of events


def test_the_number_of_events_is_a_rate_and_no_quota(evenings: list[Evening]) -> None:
    pulls = [played.pull for evening in evenings for played in evening.pulls]
    durations = [pull.duration_s for pull in pulls]
    assert np.corrcoef(durations, [len(pull.rows) for pull in pulls])[0, 1] > 0.5


def test_half_the_events_are_fewer_actions_in_as_many_pulls(evenings: list[Evening]) -> None:
    halved = evenings_of(section(num_events_per_raid=2000), range(4))
    assert [len(evening.pulls) for evening in halved] == [len(evening.pulls) for evening in evenings]
    rates = [
        sum(len(played.pull.rows) for one in each for played in one.pulls)
        / sum(played.pull.duration_s for one in each for played in one.pulls)
        for each in (halved, evenings)
    ]
    assert rates[0] < 0.85 * rates[1]


# --- a season


def test_bosses_come_in_order_and_are_farmed_once_killed(long_seasons: list[list[Evening]]) -> None:
    farmed = 0
    for season in long_seasons:
        kills: dict[tuple[str, int], list[int]] = defaultdict(list)
        bosses = range(len(season[0].season.world.bosses))
        for evening in season:
            week = evening.number // len(WEEKDAYS)
            for played in evening.pulls:
                at = played.attempt
                new = [boss for boss in bosses if not kills[at.difficulty, boss]]
                if kills[at.difficulty, at.boss]:
                    farmed += 1
                    assert not new or week not in kills[at.difficulty, at.boss], "killed in this week already"
                else:
                    assert at.boss == new[0], "progression is in the bosses' order"
                if played.pull.killed:
                    kills[at.difficulty, at.boss].append(week)
    assert farmed > 0


def test_a_team_knows_what_it_has_met(long_seasons: list[list[Evening]]) -> None:
    for season in long_seasons:
        met: dict[tuple[str, int], list[int]] = defaultdict(list)
        for evening in season:
            for place, played in enumerate(evening.pulls, start=1):
                at = played.attempt
                before = met[at.difficulty, at.boss]
                assert at.pull_number == len(before) + 1
                assert at.pull_of_evening == place
                seen = [sum(trials > number for trials in before) for number in range(max(before, default=0))]
                assert at.trials_seen.tolist() == seen
                before.append(played.pull.trials_met)


def test_what_is_met_more_often_is_failed_less_often_by_a_power_law(evenings: list[Evening]) -> None:
    evening = evenings[-1]
    played = evening.pulls[0]
    fail = [
        prepared(evening, played, trials_seen=np.full(60, seen), pull_of_evening=COLD_PULLS + 1).trials["failure"]
        for seen in (63, 255, 1023)
    ]
    assert (fail[0] > fail[1]).all()
    assert fail[2] / fail[1] == pytest.approx(fail[1] / fail[0])


def test_the_first_pulls_of_an_evening_are_colder(evenings: list[Evening]) -> None:
    evening = evenings[-1]
    seen = np.full(60, 1000)
    cold, warm = (
        prepared(evening, evening.pulls[0], trials_seen=seen, pull_of_evening=place).trials["failure"]
        for place in (COLD_PULLS, COLD_PULLS + 1)
    )
    assert (cold > warm).all()


def test_item_levels_grow(long_seasons: list[list[Evening]]) -> None:
    for season in long_seasons:
        levels = np.array([evening.pulls[0].attempt.item_levels for evening in season])
        assert (np.diff(levels, axis=0) > 0).all()


def changed(before: Played, after: Played) -> bool:
    return not np.array_equal(before.attempt.raiders, after.attempt.raiders)


def test_rosters_change_a_little_between_pulls_and_more_between_bosses(long_seasons: list[list[Evening]]) -> None:
    same: list[bool] = []
    other: list[bool] = []
    for evening in (evening for season in long_seasons for evening in season):
        for before, after in zip(evening.pulls, evening.pulls[1:], strict=False):
            (same if before.attempt.boss == after.attempt.boss else other).append(changed(before, after))
            assert len(after.attempt.raiders) == evening.season.team.raid_size
            assert len(set(after.attempt.raiders.tolist())) == evening.season.team.raid_size
    assert np.mean(same) < np.mean(other)
    assert np.mean(other) > 0


def test_a_pool_is_larger_than_a_raid_and_everybody_comes(long_seasons: list[list[Evening]]) -> None:
    for season in long_seasons:
        team = season[0].season.team
        came = {index for evening in season for played in evening.pulls for index in played.attempt.raiders.tolist()}
        assert team.raid_size < len(came) <= len(team.players)


# --- the same bytes


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}


def run_stage(home: Path, monkeypatch: pytest.MonkeyPatch, workers: int, **changes: int) -> dict[str, bytes]:
    """The stage's output files by name."""
    content = yaml.safe_load((home / "params.yaml").read_text())
    small = {"seed": 3, "teams": 2, "evenings_per_team": 2, "pulls_per_evening": 1.0, "num_events_per_raid": 200}
    (home / "params.yaml").write_text(
        yaml.safe_dump(content | {"simulate": content["simulate"] | small | {"win_probability_share": 0.3} | changes})
    )
    monkeypatch.setenv("PIPELINE_WORKERS", str(workers))
    simulate.run()
    return files_of(home / "data/simulated")


def test_a_season_is_the_same_bytes_whatever_the_teams_and_workers(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    together = run_stage(home, monkeypatch, workers=2, teams=3)
    in_one = run_stage(home, monkeypatch, workers=1, teams=3)
    assert together == in_one
    raids = {name: content for name, content in together.items() if name.startswith("raids/")}
    assert sorted(raids) == [f"raids/raid{number:03d}.parquet" for number in range(1, 7)]
    given = params.load()
    (tmp_path / "alone" / "raids").mkdir(parents=True)
    alone = given.simulate.model_copy(update={"teams": 1})
    write_season(replace(team_tasks(given, tmp_path / "alone")[1], section=alone))
    assert files_of(tmp_path / "alone") == {
        name: raids[name] for name in ("raids/raid003.parquet", "raids/raid004.parquet")
    }


def test_a_season_played_again_is_the_same() -> None:
    first, second = (
        [raid.frame for raid in play_season(section(evenings_per_team=1, num_events_per_raid=500), 2)] for _ in range(2)
    )
    assert all(one.equals(other) for one, other in zip(first, second, strict=True))


def test_the_stage_counts_what_it_wrote(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_stage(home, monkeypatch, workers=1)
    events = pl.concat(wire.read_raid(file) for file in wire.raid_files(home / "data/simulated"))
    metrics = json.loads((home / "reports/metrics/simulate.json").read_text())
    faults = pl.read_parquet(home / "data/simulated/truth/faults.parquet")["fault"].value_counts(sort=False)
    assert metrics == {
        "teams": 2,
        "raids": 4,
        "pulls": events.filter(event_type="encounter_end").height,
        "kills": events["encounter_success"].sum(),
        "events": events.height,
        "events_by_type": dict(events.group_by("event_type").len().sort("event_type").iter_rows()),
        "faults": dict(faults.sort("fault").iter_rows()),
    }


def test_no_teams_leave_an_empty_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_stage(home, monkeypatch, workers=2, teams=0) == {}
    assert (home / "data/simulated/raids").is_dir()
    assert json.loads((home / "reports/metrics/simulate.json").read_text())["events"] == 0


def test_one_thing_brings_about_fewer_events_than_the_log_has_room_for() -> None:
    # A hit on everybody: a shield, a blow and a death each; then what the boss, its adds and its phases add.
    assert 3 * max(RAID_SIZES) + 16 <= engine.ROOM_FOR_ONE


def test_every_cast_has_a_name(season: pl.DataFrame) -> None:
    assert season.filter(event_type="spell_cast")["ability_name"].null_count() == 0


# --- the documentation


def constants(module: ModuleType) -> set[str]:
    """The names of a module's numbers and tuples of numbers: its parameters."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    targets = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
    names = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in names if name.isupper() and name not in NO_PARAMETERS}


NO_PARAMETERS = {
    *("MS", "DAY_MS", "IDS_KEY", "FIRST_EVENING_MS", "ROOM_FOR_ONE", "EMPTY_SLOT", "HARMS", "ROLES"),
    *("NAME_ONSETS", "NAME_VOWELS", "NAME_ENDINGS", "MAX_NAME_LENGTH", "ENTITY_SCHEMA"),
    *("RAIDER", "BOSS", "TRIAL", "RAIDER_STATE", "DAMAGE_DEALER", "HEALER", "TANK"),
    *("CAST", "DAMAGE", "HEAL", "ABSORB", "DEATH", "RESOURCE", "PHASE", "RESURRECT"),
}


def test_every_parameter_is_documented() -> None:
    text = (ROOT / "docs/simulator.md").read_text()
    models = (Simulate, SlotRule, StyleRule, RoleRule, Mechanics, Difficulty, Boss, Specialization, GameClass, World)
    names = {name for model in models for name in model.model_fields}
    names |= {name for module in (engine, fight, season_module, setup, teams) for name in constants(module)}
    assert {name for name in names if f"`{name}`" not in text} == set()
