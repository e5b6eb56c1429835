"""A real log gives the figures that an independent reading of it gave (shared/real-logs/README.md)."""

import os
from pathlib import Path

import polars as pl
import pytest

from pipeline.combatlog.importer import Log
from pipeline.combatlog.sidefile import SideFile
from tests.conftest import ROOT
from tests.test_combatlog import assert_contract, read

LOG = Path(os.environ.get("WOW_REAL_LOGS", ROOT.parent / "shared" / "real-logs")) / "princess-huhuran-40.txt"
pytestmark = pytest.mark.skipif(
    not LOG.is_file(), reason=f"the real log is not at {LOG} (WOW_REAL_LOGS names another folder)"
)
BY_PLAYER = pl.col("source_player_id").str.starts_with("Player-")


@pytest.fixture(scope="module")
def imported() -> tuple[pl.DataFrame, Log]:
    return read(LOG, SideFile(year=2022, utc_offset="+02:00"))


@pytest.fixture(scope="module")
def events(imported: tuple[pl.DataFrame, Log]) -> pl.DataFrame:
    return imported[0]


def kind(events: pl.DataFrame, event_type: str) -> pl.DataFrame:
    return events.filter(event_type=event_type)


def test_every_line_is_understood_and_every_event_keeps_the_contract(imported: tuple[pl.DataFrame, Log]) -> None:
    events, log = imported
    assert log.books.lines == 7_339
    assert log.books.not_understood == {}
    assert log.raid_id.startswith("log-20220410-")
    assert_contract(events)
    assert events["event_id"].n_unique() == events.height


def test_the_pull_is_a_kill_of_56_seconds(events: pl.DataFrame) -> None:
    (end,) = kind(events, "encounter_end").to_dicts()
    assert (end["encounter_success"], end["encounter_duration_ms"]) == (True, 55_696)
    (start,) = kind(events, "encounter_start").to_dicts()
    assert (start["boss_id"], start["encounter_name"], start["raid_size"]) == ("714", "Princess Huhuran", 40)
    assert start["encounter_difficulty"] == "other"


def test_forty_players_have_names(events: pl.DataFrame) -> None:
    roster = kind(events, "roster")
    assert roster.height == roster["source_player_id"].n_unique() == 40
    assert not roster["source_player_name"].str.starts_with("Player-").any()


def test_damage_belongs_to_players_pets_and_totems(events: pl.DataFrame) -> None:
    hits = kind(events, "combat_damage")
    own = hits.filter(BY_PLAYER)
    assert (own["damage_amount"].sum(), own["source_player_id"].n_unique()) == (998_063, 29)
    by_player = own.group_by("source_player_id").agg(pl.col("damage_amount").sum())
    assert by_player["damage_amount"].sort(descending=True).head(3).to_list() == [86_262, 66_143, 64_583]
    for units, amount in ((r"^Pet-", 1_195), (r"^Creature-.*-7402-", 1_130)):
        owned = hits.filter(pl.col("source_player_id").str.contains(units))
        assert owned["damage_amount"].sum() == amount
        assert owned["source_owner_id"].str.starts_with("Player-").all()
        assert owned["source_owner_id"].null_count() == 0
    assert hits.filter(target_entity_type="player")["damage_amount"].sum() == 180_093


def test_healing_is_gross_with_overheal(events: pl.DataFrame) -> None:
    heals = kind(events, "heal")
    assert heals.height == 542
    assert heals.filter(pl.col("healing_amount") == pl.col("overheal_amount")).height == 259
    net = heals.filter(BY_PLAYER).select("source_player_id", net=pl.col("healing_amount") - pl.col("overheal_amount"))
    assert net["net"].sum() == 140_625
    assert net.group_by("source_player_id").agg(pl.col("net").sum())["net"].max() == 23_891


def test_one_player_died_and_the_boss_fell_to_zero(events: pl.DataFrame) -> None:
    (death,) = kind(events, "player_death").to_dicts()
    assert death["source_player_name"] == "Princess Huhuran"
    health = events.filter(target_entity_type="boss")["target_entity_health_pct_after"]
    assert (health.min(), round(health.max() or 0)) == (0, 100)  # type: ignore[arg-type]


def test_players_cast_819_times(events: pl.DataFrame) -> None:
    assert kind(events, "spell_cast").filter(BY_PLAYER).height == 819
