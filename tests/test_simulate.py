"""The simulator: cause and effect inside a pull, the books of a raid, and the same bytes for the same team."""

import dataclasses
import json
from pathlib import Path
from uuid import UUID

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline import simulate, wire
from pipeline.events import EVENT_TYPES, MAX_BATCH_EVENTS, batch_adapter
from pipeline.params import Simulate
from pipeline.simulate import actions
from pipeline.simulate.abilities import NONE, Abilities, compile_abilities
from pipeline.simulate.pull import simulate_pull
from pipeline.simulate.rows import Rows, time_ordered_uuids
from pipeline.simulate.season import begin_evening, play_season, set_up
from pipeline.simulate.setup import Setup
from pipeline.simulate.teams import build_team
from pipeline.simulate.world import World, load

SECTION = Simulate(seed=5, teams=4, evenings_per_team=2, pulls_per_evening=4, num_events_per_raid=2400)
BY_PULL = ["raid_id", "encounter_id"]


@pytest.fixture(scope="module")
def season() -> pl.DataFrame:
    """A small season of four teams, each raid in its own order."""
    return pl.concat(raid.frame for team in range(SECTION.teams) for raid in play_season(SECTION, team))


@pytest.fixture(scope="module")
def world() -> World:
    return load()


@pytest.fixture(scope="module")
def abilities(world: World) -> Abilities:
    return compile_abilities(world)


def pulls_of(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return frame.partition_by(BY_PULL, maintain_order=True)


def some_setups(world: World, abilities: Abilities, count: int) -> list[Setup]:
    """Pulls of several teams on the first boss."""
    setups = []
    for number in range(count):
        rng = np.random.default_rng(number)
        team = build_team(world, 1, number % 6)
        setups.append(set_up(rng, begin_evening(rng, world, abilities, team, 0, 0.05), 0, 3))
    return setups


def kills_of(setups: list[Setup], abilities: Abilities) -> int:
    return sum(
        simulate_pull(np.random.default_rng(index), setup, abilities).killed for index, setup in enumerate(setups)
    )


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


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_uuids_keep_the_order_inside_a_millisecond(gaps: list[int]) -> None:
    times = 1_767_641_400_000 + np.cumsum(np.array(gaps, dtype=np.int64))
    ids = time_ordered_uuids(times, np.random.default_rng(0))
    assert ids == sorted(set(ids))
    assert [UUID(event_id).int >> 80 for event_id in ids] == times.tolist()


def test_a_pull_starts_with_its_roster_and_ends_with_its_end(season: pl.DataFrame) -> None:
    for pull in pulls_of(season):
        size = pull["raid_size"][0]
        assert pull["event_type"][: size + 1].to_list() == ["encounter_start", *["roster"] * size]
        assert pull["timestamp"][: size + 1].n_unique() == 1
        assert pull["timestamp"][size + 1] > pull["timestamp"][0]
        assert pull["event_type"][-1] == "encounter_end"
        assert pull["timestamp"][-2] < pull["timestamp"][-1]
        assert pull["encounter_duration_ms"].to_list() == [
            round(passed.total_seconds() * 1000) for passed in pull["timestamp"] - pull["timestamp"][0]
        ]


def test_rosters_hold_two_tanks_and_two_to_four_healers_of_ten_to_twenty(season: pl.DataFrame) -> None:
    roster = season.filter(event_type="roster")
    assert roster.group_by(*BY_PULL, "source_player_id").len()["len"].max() == 1
    by_role = roster.group_by(BY_PULL).agg(
        pl.len(),
        tanks=(pl.col("source_player_role") == "tank").sum(),
        healers=(pl.col("source_player_role") == "healer").sum(),
    )
    assert by_role["len"].is_between(10, 20).all()
    assert set(by_role["tanks"]) == {2}
    assert by_role["healers"].is_between(2, 4).all()


def test_players_and_only_players_state_role_and_class(season: pl.DataFrame) -> None:
    of_player = pl.col("source_player_id").str.starts_with("player-")
    for column in ("source_player_role", "source_player_class", "source_item_level", "source_player_specialization"):
        assert season.select((pl.col(column).is_not_null() == of_player).all()).item(), column
    pets = season.filter(pl.col("source_player_id").str.starts_with("pet-"))
    assert pets.height > 0
    owners = pets["source_player_id"].str.replace("pet-", "player-")
    assert (owners == pets["source_owner_id"]).all()
    assert set(pets["event_type"]) == {"combat_damage"}


def test_boss_health_falls_by_exactly_what_is_dealt(season: pl.DataFrame) -> None:
    hits = season.filter(event_type="combat_damage", target_entity_type="boss")
    for pull in pulls_of(hits):
        before, after = pull["target_entity_health_pct_before"], pull["target_entity_health_pct_after"]
        assert before[0] == 100
        assert before[1:].equals(after[:-1], check_names=False)
        dealt = pull["damage_amount"].cum_sum()
        health = round((dealt[0]) / (1 - after[0] / 100))
        assert np.allclose(after.to_numpy(), np.maximum(100 * (1 - dealt.to_numpy() / health), 0), atol=1e-9)


def test_a_killed_boss_has_taken_its_health_and_the_overkill(world: World, abilities: Abilities) -> None:
    killed = 0
    for index, setup in enumerate(some_setups(world, abilities, 20)):
        pull = simulate_pull(np.random.default_rng(index), setup, abilities)
        blows = _blows_on_boss(pull.rows, setup)
        overkill = blows["overkill_amount"]
        killed += pull.killed
        if pull.killed:
            assert blows["damage_amount"].sum() == setup.boss_health + overkill[-1]
            assert blows["target_entity_health_pct_after"][-1] == 0
            assert np.isnan(overkill[:-1]).all()
            assert pull.rows["ms"][-1] == blows["ms"][-1] + 1
        else:
            assert blows["damage_amount"].sum() < setup.boss_health
            assert np.isnan(overkill).all()
    assert 0 < killed < 20


def _blows_on_boss(rows: Rows, setup: Setup) -> Rows:
    blows: Rows = rows[(rows["target"] == setup.boss_entity) & ~np.isnan(rows["damage_amount"])]
    return blows


def test_the_verdict_is_whether_the_boss_has_health_left(season: pl.DataFrame) -> None:
    left = season.group_by(BY_PULL).agg(
        least=pl.col("target_entity_health_pct_after").filter(pl.col("target_entity_type") == "boss").min(),
        success=pl.col("encounter_success").drop_nulls().first(),
    )
    assert left.select(((pl.col("least") == 0) == pl.col("success")).all()).item()
    assert set(left["success"]) == {True, False}


def test_phases_begin_where_health_meets_their_thresholds(season: pl.DataFrame, world: World) -> None:
    thresholds = {f"boss-{boss.slug}": boss.phases for boss in world.bosses}
    begun = 0
    for pull in pulls_of(season):
        hits = pull.filter(target_entity_type="boss").drop_nulls("target_entity_health_pct_after")
        for event in pull.filter(event_type="boss_phase").iter_rows(named=True):
            threshold = thresholds[event["source_player_id"]][event["phase"] - 2]
            crossing = hits.filter(
                (pl.col("target_entity_health_pct_before") > threshold)
                & (pl.col("target_entity_health_pct_after") <= threshold)
            )
            assert crossing["timestamp"].to_list() == [event["timestamp"]]
            begun += 1
    assert begun > 10


def test_the_dead_do_nothing_and_nothing_is_done_to_them(season: pl.DataFrame) -> None:
    returned = 0
    for pull in pulls_of(season):
        dead: set[str] = set()
        for event in pull.iter_rows(named=True):
            kind, target = event["event_type"], event["target_entity_id"]
            assert event["source_player_id"] not in dead
            assert event["source_owner_id"] not in dead
            if kind == "player_death":
                assert target not in dead
                dead.add(target)
            elif kind == "resurrect":
                dead.remove(target)
                returned += 1
            elif kind in ("combat_damage", "heal", "absorb"):
                assert target not in dead
    assert returned > 0


def test_every_death_follows_a_killing_blow_of_the_boss(season: pl.DataFrame) -> None:
    joined = season.filter(event_type="player_death").select(
        *BY_PULL, "timestamp", "source_player_id", "target_entity_id"
    )
    blows = season.filter(
        (pl.col("event_type") == "combat_damage") & (pl.col("target_entity_type") == "player")
    ).filter(pl.col("overkill_amount").is_not_null())
    before = blows.select(
        *BY_PULL, pl.col("timestamp").dt.offset_by("1ms"), "source_player_id", "target_entity_id", "overkill_amount"
    )
    assert joined.height == before.height > 0
    assert joined.join(before, on=joined.columns).height == joined.height
    assert set(joined["source_player_id"].str.slice(0, 5)) == {"boss-"}


def test_absorbs_are_what_shields_took_of_hits(season: pl.DataFrame) -> None:
    hits = season.filter((pl.col("event_type") == "combat_damage") & pl.col("is_absorbed"))
    absorbs = season.filter(event_type="absorb")
    assert absorbs.height > 0
    key = [*BY_PULL, "timestamp", "target_entity_id", "absorbed_amount"]
    assert_frame_equal(hits.select(key).sort(key), absorbs.select(key).sort(key))


def test_overheal_is_part_of_the_heal_and_resources_add_up(season: pl.DataFrame) -> None:
    heals = season.filter(event_type="heal")
    assert heals.select((pl.col("overheal_amount") <= pl.col("healing_amount")).all()).item()
    gains = season.filter(event_type="mana_regeneration")
    gained = gains["resource_amount_after"] - gains["resource_amount_before"]
    assert (gained == gains["resource_regeneration_rate"]).all()


def test_amounts_are_normal_with_bernoulli_crits() -> None:
    rng = np.random.default_rng(3)
    count = 200_000
    amount, is_crit = actions.amounts(rng, np.full(count, 5000.0), np.full(count, 0.2))
    assert is_crit.mean() == pytest.approx(0.2, abs=0.004)
    plain = amount[~is_crit]
    assert plain.mean() == pytest.approx(5000, rel=0.003)
    assert plain.std() == pytest.approx(actions.AMOUNT_CV * 5000, rel=0.01)
    assert np.mean(np.abs(plain - 5000) < actions.AMOUNT_CV * 5000) == pytest.approx(0.683, abs=0.005)
    assert amount[is_crit].mean() == pytest.approx(10_000, rel=0.005)
    assert (amount == np.rint(amount)).all()
    assert amount.min() >= 1


def test_tiny_amounts_are_at_least_one() -> None:
    amount, _ = actions.amounts(np.random.default_rng(0), np.full(100, 0.3), np.zeros(100))
    assert (amount == 1).all()


def test_crits_carry_their_multiplier_at_the_rate_of_the_players(season: pl.DataFrame) -> None:
    struck = season.filter(pl.col("source_player_role").is_not_null() & pl.col("is_critical_hit").is_not_null())
    assert 0.19 < struck.select(pl.col("is_critical_hit").mean()).item() < 0.26
    assert struck.select(
        ((pl.col("critical_multiplier") == 2.0).fill_null(False) == pl.col("is_critical_hit")).all()
    ).item()


@given(st.data())
def test_choices_fall_on_positive_weights_only(data: st.DataObject) -> None:
    row = st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=4, max_size=4)
    weights = np.array(data.draw(st.lists(row, min_size=1, max_size=20)))
    chosen = actions.choose(np.random.default_rng(0), weights)
    for index, column in enumerate(chosen):
        assert weights[index, column] > 0 if column != NONE else not weights[index].any()


def test_rhythm_has_the_rate_asked_for() -> None:
    rates = np.array([0.5, 2.0])
    actor, ms = actions.rhythm(np.random.default_rng(1), rates, 2_000_000)
    assert np.bincount(actor) / 2000 == pytest.approx(rates, rel=0.05)
    assert (np.diff(ms) >= 0).all()
    assert ms[0] >= 1


def test_a_boss_with_twice_the_health_is_killed_less_often(world: World, abilities: Abilities) -> None:
    setups = some_setups(world, abilities, 40)
    doubled = [dataclasses.replace(setup, boss_health=2 * setup.boss_health) for setup in setups]
    assert kills_of(doubled, abilities) < kills_of(setups, abilities) / 2


def test_players_of_half_the_strength_kill_less_often(world: World, abilities: Abilities) -> None:
    setups = some_setups(world, abilities, 40)
    halved = [dataclasses.replace(setup, strength=setup.strength / 2) for setup in setups]
    assert kills_of(halved, abilities) < kills_of(setups, abilities) / 2


def test_the_number_of_events_is_about_what_was_asked_for() -> None:
    for asked in (300, 3000):
        section = Simulate(seed=2, teams=1, evenings_per_team=4, pulls_per_evening=1, num_events_per_raid=asked)
        raids = [raid.frame.height for team in range(6) for raid in play_season(section, team)]
        assert np.mean(raids) == pytest.approx(asked, rel=0.2)


def test_the_number_of_events_is_no_quota() -> None:
    section = Simulate(seed=2, teams=1, evenings_per_team=30, pulls_per_evening=1, num_events_per_raid=600)
    raids = [raid.frame for raid in play_season(section, 0)]
    durations = [frame["encounter_duration_ms"][-1] for frame in raids]
    assert np.corrcoef(durations, [frame.height for frame in raids])[0, 1] > 0.8


def test_a_team_goes_on_where_it_was_and_meets_the_next_boss_after_a_kill(season: pl.DataFrame, world: World) -> None:
    order = [boss.name for boss in world.bosses]
    starts = season.filter(event_type="encounter_start").sort("team_id", "raid_id", "timestamp")
    ends = season.filter(event_type="encounter_end").sort("team_id", "raid_id", "timestamp")
    pulls = starts.select("team_id", "encounter_difficulty", "encounter_name").with_columns(ends["encounter_success"])
    for progress in pulls.partition_by("team_id", "encounter_difficulty", maintain_order=True):
        kills_before = progress["encounter_success"].cum_sum().shift(1, fill_value=0)
        assert progress["encounter_name"].to_list() == [order[kills % len(order)] for kills in kills_before]


def test_small_raids_for_the_replay() -> None:
    raids = list(simulate.simulate_raids(num_raids=8, num_events_per_raid=50, seed=0))
    assert [raid_id for raid_id, _ in raids] == [f"raid{number:03d}" for number in range(1, 9)]
    assert 35 < np.mean([frame.height for _, frame in raids]) < 70
    assert all(frame.schema == wire.WIRE_SCHEMA for _, frame in raids)


def test_other_seeds_give_other_raids() -> None:
    first, second = (next(frame for _, frame in simulate.simulate_raids(1, 200, seed)) for seed in (1, 2))
    assert not first.equals(second)
    assert set(first["event_id"]).isdisjoint(second["event_id"])


def run_stage(home: Path, monkeypatch: pytest.MonkeyPatch, workers: int, **changes: int) -> dict[str, bytes]:
    """The stage's output files by name."""
    section = {"seed": 3, "teams": 2, "evenings_per_team": 2, "pulls_per_evening": 1.0, "num_events_per_raid": 200}
    content = yaml.safe_load((home / "params.yaml").read_text())
    (home / "params.yaml").write_text(yaml.safe_dump(content | {"simulate": section | changes}))
    monkeypatch.setenv("PIPELINE_WORKERS", str(workers))
    simulate.run()
    return {file.name: file.read_bytes() for file in (home / "data/simulated").rglob("*.parquet")}


def test_a_season_is_the_same_bytes_whatever_the_teams_and_workers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = run_stage(home, monkeypatch, workers=1, teams=1)
    together = run_stage(home, monkeypatch, workers=2, teams=3)
    assert sorted(alone) == ["raid001.parquet", "raid002.parquet"]
    assert sorted(together) == [f"raid{number:03d}.parquet" for number in range(1, 7)]
    assert {name: together[name] for name in alone} == alone


def test_the_stage_counts_what_it_wrote(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_stage(home, monkeypatch, workers=1)
    events = pl.concat(wire.read_raid(file) for file in wire.raid_files(home / "data/simulated"))
    metrics = json.loads((home / "reports/metrics/simulate.json").read_text())
    assert metrics == {
        "teams": 2,
        "raids": 4,
        "pulls": events.filter(event_type="encounter_end").height,
        "kills": events["encounter_success"].sum(),
        "events": events.height,
        "events_by_type": dict(events.group_by("event_type").len().sort("event_type").iter_rows()),
    }


def test_no_teams_leave_an_empty_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_stage(home, monkeypatch, workers=2, teams=0) == {}
    assert (home / "data/simulated/raids").is_dir()
    assert json.loads((home / "reports/metrics/simulate.json").read_text())["events"] == 0
