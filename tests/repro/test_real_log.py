"""A real combat log, from its text over HTTP to Gold, gives exactly the figures that an independent reading gave."""

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.repro.checkouts import ROOT, Checkout, copy_of_working_tree

LOG = Path(os.environ.get("WOW_REAL_LOGS", ROOT.parent / "shared" / "real-logs")) / "princess-huhuran-40.txt"

pytestmark = pytest.mark.skipif(
    not LOG.is_file(), reason=f"the real log is not at {LOG} (WOW_REAL_LOGS names another folder)"
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A season of nothing but this log."""
    checkout = copy_of_working_tree(tmp_path_factory.mktemp("real-log") / "checkout")
    checkout.set_param("teams: 4", "teams: 0")
    checkout.set_param("raid_id: raid001", "raid_id: null")
    log = checkout.root / "data" / "raw" / "huhuran.txt"
    log.write_bytes(LOG.read_bytes())
    log.with_name("huhuran.txt.yaml").write_text('year: 2022\nutc_offset: "+02:00"\n')
    checkout.run("dvc", "repro")
    yield checkout


def gold(checkout: Checkout, table: str) -> pl.DataFrame:
    return pl.read_parquet(checkout.root / "data" / "gold" / table / "v1" / "part-0.parquet")


def silver(checkout: Checkout) -> pl.DataFrame:
    return pl.read_parquet(checkout.root / "data/silver/wow_raid_events/v1/**/*.parquet", hive_partitioning=False)


def test_the_pull_is_the_kill_that_the_log_states(checkout: Checkout) -> None:
    (pull,) = gold(checkout, "raid_summary").to_dicts()
    expected = {
        "boss_id": "714",
        "encounter_name": "Princess Huhuran",
        "encounter_difficulty": "other",
        "raid_size": 40,
        "n_players": 40,
        "duration_ms": 55_696,
        "raid_outcome": "success",
        "total_player_deaths": 1,
        "total_damage_taken": 180_093,
    }
    assert {name: pull[name] for name in expected} == expected


def test_damage_is_that_of_the_players_and_of_what_they_own(checkout: Checkout) -> None:
    stats = gold(checkout, "player_raid_stats")
    assert stats["damage_own"].sum() == 998_063
    assert stats.filter(pl.col("damage_own") > 0).height == 29
    # The log has one pet (1,195) and one totem that hits (1,130); both go to those who called them.
    assert stats["damage_pets"].sum() == 1_195 + 1_130
    hits = silver(checkout).filter(pl.col("event_type") == "combat_damage")
    pets = hits.filter(pl.col("source_player_id").str.starts_with("Pet-"))
    assert pets["damage_amount"].sum() == 1_195
    assert pets["source_owner_id"].str.starts_with("Player-").all()


def test_the_best_are_the_best(checkout: Checkout) -> None:
    stats = gold(checkout, "player_raid_stats")
    assert stats.sort("damage_own", descending=True)["damage_own"].head(3).to_list() == [86_262, 66_143, 64_583]
    assert stats["healing_total"].max() == 23_891


def test_healing_is_net_of_overheal(checkout: Checkout) -> None:
    assert gold(checkout, "player_raid_stats")["healing_total"].sum() == 140_625
    heals = silver(checkout).filter(pl.col("event_type") == "heal")
    assert heals.height == 542
    assert heals.filter(pl.col("healing_amount") == pl.col("overheal_amount")).height == 259


def test_casts_and_deaths_are_the_players(checkout: Checkout) -> None:
    stats = gold(checkout, "player_raid_stats")
    assert stats["casts"].sum() == 819
    assert stats["player_deaths"].sum() == 1


def test_nothing_is_guessed_and_nothing_set_aside(checkout: Checkout) -> None:
    stats = gold(checkout, "player_raid_stats")
    assert stats["player_class"].null_count() == stats["role"].null_count() == 40
    assert checkout.metrics("silver")["quarantined"] == dict.fromkeys(checkout.metrics("silver")["quarantined"], 0)


def test_the_studies_say_what_they_cannot_do_and_the_paper_says_so_too(checkout: Checkout) -> None:
    assert checkout.metrics("classification")["status"] == checkout.metrics("clustering")["status"] == "not possible"
    reports = checkout.root / "reports"
    for notebook in ("01-eda", "02-classification", "03-clustering"):
        assert (reports / f"notebooks/{notebook}.html").is_file()
    assert "not possible with these data" in (reports / "report.en.html").read_text()
    assert "no fue posible" in (reports / "report.es.html").read_text()
    assert (reports / "report.es.pdf").read_bytes().startswith(b"%PDF")
