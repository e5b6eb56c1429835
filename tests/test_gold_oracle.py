"""Gold against an independent implementation in SQL, and that comparison against errors put in on purpose."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import gold
from pipeline.params import Gold
from pipeline.simulate import simulate_raids
from tests.oracle import events
from tests.oracle.comparison import differences, implemented_tables
from tests.oracle.events import BOSS, HEALER, HUNTER, LENIENT_PARAMS, TANK, TRAP_PARAMS, WOLF
from tests.oracle.mutations import MUTATIONS, Mutation, mutant
from tests.oracle.oracle import gold_tables

Tables = dict[str, pl.DataFrame]


def oracle_tables(silver: list[pl.DataFrame], params: Gold) -> Tables:
    with TemporaryDirectory() as folder:
        return gold_tables(events.write_silver(silver, Path(folder)), params)


@pytest.fixture(scope="module")
def traps() -> list[pl.DataFrame]:
    return events.trap_raids()


@pytest.fixture(scope="module")
def expected(traps: list[pl.DataFrame]) -> Tables:
    return oracle_tables(traps, TRAP_PARAMS)


def test_the_oracle_counts_as_by_hand() -> None:
    fight = [
        events.event("encounter_start", 0),
        events.event("roster", 0, TANK),
        events.event("roster", 0, HUNTER),
        events.hit(0.5, HUNTER, BOSS, 100, is_critical_hit=True, target_entity_health_pct_after=80.0),
        events.hit(1.5, WOLF, BOSS, 50, target_entity_health_pct_after=75.0),
        events.hit(1.6, BOSS, TANK, 40),
        events.heal(2.0, HEALER, TANK, 40, 10),
        events.death(2.0, HUNTER, TANK),
        events.event("encounter_end", 4, encounter_success=True),
    ]
    raid = events.silver_frame("by-hand", events.pull("p1", datetime(2026, 1, 1, tzinfo=UTC), fight))
    tables = oracle_tables([raid], TRAP_PARAMS)

    summary = tables["raid_summary"].row(0, named=True)
    assert (summary["n_players"], summary["n_tanks"], summary["n_healers"], summary["n_dps"]) == (3, 1, 1, 1)
    assert (summary["total_damage"], summary["total_healing"], summary["total_overheal"]) == (150, 30, 10)
    assert (summary["total_damage_taken"], summary["total_player_deaths"], summary["raid_dps"]) == (40, 1, 37.5)
    assert (summary["boss_min_hp_pct"], summary["raid_outcome"], summary["n_events"]) == (75, "success", 9)
    hunter = tables["player_raid_stats"].filter(player_id="hunter").row(0, named=True)
    assert (hunter["damage_own"], hunter["damage_pets"], hunter["damage_total"]) == (100, 50, 150)
    assert (hunter["crit_events"], hunter["crit_rate"], hunter["first_death_ms"]) == (1, 0.5, 2000)
    assert (hunter["alive_s"], hunter["activity"]) == (3, 1 / 3)
    assert tables["raid_timeline"]["players_alive"].to_list() == [3, 3, 3, 2]
    assert tables["raid_timeline"]["boss_hp_pct"].to_list() == [80, 75, 75, 75]
    assert tables["player_timeline"].filter(player_id="hunter")["damage"].to_list() == [100, 50, 0, 0]
    assert tables["dim_player"]["n_kills"].to_list() == [1, 1, 1]
    assert tables["dim_raid"]["n_players"].to_list() == [3]


@pytest.mark.parametrize("params", [TRAP_PARAMS, LENIENT_PARAMS], ids=["strict", "lenient"])
def test_gold_equals_the_oracle_on_every_trap(traps: list[pl.DataFrame], params: Gold) -> None:
    assert differences(implemented_tables(gold, traps, params), oracle_tables(traps, params)) == []


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(silver=events.raids(), params=st.sampled_from([TRAP_PARAMS, LENIENT_PARAMS]))
def test_gold_equals_the_oracle_on_random_raids(silver: list[pl.DataFrame], params: Gold) -> None:
    assert differences(implemented_tables(gold, silver, params), oracle_tables(silver, params)) == []


def test_gold_equals_the_oracle_on_a_simulated_season() -> None:
    silver = [events.as_silver(frame) for _, frame in simulate_raids(num_raids=2, num_events_per_raid=2000, seed=5)]
    assert differences(implemented_tables(gold, silver, TRAP_PARAMS), oracle_tables(silver, TRAP_PARAMS)) == []


def test_there_are_enough_mutations_each_with_its_own_name() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 20


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_comparison_finds(
    mutation: Mutation,
    traps: list[pl.DataFrame],
    expected: Tables,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutated = mutant(mutation, tmp_path, monkeypatch)
    assert differences(implemented_tables(mutated, traps, TRAP_PARAMS), expected) != []
