"""Runs the SQL oracle over Silver Parquet files."""

from pathlib import Path

import duckdb
import polars as pl

from pipeline.params import Gold

SQL = Path(__file__).with_name("gold.sql")
SILVER_FILES = "wow_raid_events/v1/raidid=*/eventdate=*/part-0.parquet"
# Every table with the columns that name its rows.
KEYS: dict[str, tuple[str, ...]] = {
    "raid_summary": ("raid_id", "encounter_id"),
    "player_raid_stats": ("raid_id", "encounter_id", "player_id"),
    "raid_timeline": ("raid_id", "encounter_id", "second"),
    "player_timeline": ("raid_id", "encounter_id", "player_id", "second"),
    "dim_player": ("player_id",),
    "dim_raid": ("raid_id",),
}


def gold_tables(silver: Path, params: Gold) -> dict[str, pl.DataFrame]:
    """The six Gold tables of all raids below a Silver folder, each sorted by its key.

    Args:
        silver: the folder that holds `wow_raid_events/v1/...`.
        params: what decides a pull's outcome where the log does not, and what a reset is; the `gold` section of
            `params.yaml`.
    """
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.read_parquet(str(silver / SILVER_FILES), hive_partitioning=False).create_view("silver")
        connection.execute(
            "CREATE TABLE parameters (success_boss_hp_pct DOUBLE, time_limit_s DOUBLE, max_deaths BIGINT,"
            " reset_s DOUBLE); INSERT INTO parameters VALUES (?, ?, ?, ?)",
            [params.success_boss_hp_pct, params.time_limit_s, params.max_deaths, params.reset_s],
        )
        connection.execute(SQL.read_text(encoding="utf-8"))
        return {name: connection.table(name).pl().sort(key) for name, key in KEYS.items()}
