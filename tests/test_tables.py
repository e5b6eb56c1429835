"""The contracts of Silver and Gold: they refuse what breaks them, and files are written as they say."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from pipeline import gold, params, silver, tables
from pipeline.errors import PipelineError
from pipeline.wire import WIRE_SCHEMA
from tests.raids import batch, evening, event

ALL = tables.SILVER_TABLES | tables.GOLD_TABLES


@pytest.fixture(scope="module")
def frames() -> dict[str, pl.DataFrame]:
    """A sound frame of every table."""
    sections = params.load(Path(__file__).parents[1] / "params.yaml")
    cleaned = silver.clean_raid([batch([*evening("raid001"), event("x", "dance")])], sections.silver)
    raid = gold.raid_gold(cleaned.events, sections.gold)
    return {
        "wow_raid_events": cleaned.events,
        "quarantine": cleaned.quarantine,
        "raid_summary": raid.raid_summary,
        "player_raid_stats": raid.player_raid_stats,
        "raid_timeline": raid.raid_timeline,
        "player_timeline": raid.player_timeline,
        "dim_player": gold.dimensions.players(raid.raid_summary, raid.player_raid_stats),
        "dim_raid": gold.dimensions.raids(raid.facts, raid.raid_summary, raid.player_raid_stats),
    }


@pytest.mark.parametrize("name", ALL)
def test_every_column_and_table_is_described(name: str) -> None:
    assert ALL[name].__doc__
    rows = tables.column_descriptions(ALL[name])
    assert [column for column, _, _ in rows] == tables.polars_schema(ALL[name]).names()
    assert all(meaning.endswith(".") for _, _, meaning in rows)


@pytest.mark.parametrize("name", ["wow_raid_events", "quarantine"])
def test_event_tables_begin_with_the_columns_of_the_wire(name: str) -> None:
    schema = tables.polars_schema(ALL[name])
    assert list(schema.items())[: len(WIRE_SCHEMA)] == list(WIRE_SCHEMA.items())


@pytest.mark.parametrize("name", ALL)
def test_a_sound_frame_is_accepted_and_comes_back_equal(
    name: str, frames: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    assert frames[name].height > 0
    file = tmp_path / "t" / "part-0.parquet"
    tables.write_table(frames[name], ALL[name], file, {"rows": "1"})
    assert_frame_equal(tables.read_table([file], ALL[name]), frames[name])


@pytest.mark.parametrize("name", ALL)
def test_another_shape_is_refused(name: str, frames: dict[str, pl.DataFrame]) -> None:
    frame, table = frames[name], ALL[name]
    first = frame.columns[0]
    broken = {
        "an extra column": frame.with_columns(extra=1),
        "a missing column": frame.drop(first),
        "another order": frame.select(reversed(frame.columns)),
        "another type": frame.with_columns(pl.lit(1, pl.Int64).alias(first)),
    }
    for fault, other in broken.items():
        with pytest.raises(PipelineError, match=f"breaks the contract {table.__name__}"):
            tables.check(other, table)
            pytest.fail(fault)


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("wow_raid_events", "timestamp", None),
        ("wow_raid_events", "is_massive_hit", None),
        ("wow_raid_events", "is_critical_hit", None),
        ("wow_raid_events", "event_type", "dance"),
        ("wow_raid_events", "damage_amount", -1.0),
        ("wow_raid_events", "target_entity_health_pct_after", 100.1),
        ("wow_raid_events", "event_id", "the same in all rows"),
        ("quarantine", "reason", "bad mood"),
        ("raid_summary", "raid_outcome", "draw"),
        ("raid_summary", "encounter_id", None),
        ("raid_summary", "duration_ms", -1),
        ("player_raid_stats", "crit_rate", 1.5),
        ("player_timeline", "is_alive", None),
        ("raid_timeline", "boss_hp_pct", 101.0),
        ("dim_player", "n_pulls", 0),
        ("dim_raid", "first_event", None),
    ],
)
def test_an_impossible_value_is_refused_by_name_and_nothing_is_written(
    name: str, column: str, value: Any, frames: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    frame = frames[name].with_columns(pl.lit(value, frames[name].schema[column]).alias(column))
    with pytest.raises(PipelineError, match=column):
        tables.write_table(frame, ALL[name], tmp_path / "part-0.parquet", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ALL)
def test_files_have_the_declared_schema_and_plain_arrow_types(
    name: str, frames: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    file = tmp_path / "part-0.parquet"
    tables.write_table(frames[name], ALL[name], file, {"b": "2", "a": "1"})
    schema = pq.read_schema(file)
    assert schema.equals(tables.arrow_schema(ALL[name]))
    assert schema.metadata == {b"a": b"1", b"b": b"2"}
    nullable = tables.nullable_columns(ALL[name])
    for field in schema:
        assert field.type not in (pyarrow.large_string(), pyarrow.string_view())
        assert not pyarrow.types.is_timestamp(field.type) or field.type == pyarrow.timestamp("us", tz="UTC")
        assert field.nullable == (field.name in nullable)
    assert pq.read_metadata(file).row_group(0).column(0).compression == "SNAPPY"


def test_the_same_frame_gives_the_same_bytes(frames: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    files = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for file, metadata in zip(files, ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}), strict=True):
        tables.write_table(frames["wow_raid_events"].rechunk(), tables.SilverEvents, file, metadata)
    assert files[0].read_bytes() == files[1].read_bytes()
    later = frames["wow_raid_events"].with_columns(pl.col("timestamp") + timedelta(microseconds=1))
    tables.write_table(later, tables.SilverEvents, files[1], {"a": "1", "b": "2"})
    assert files[0].read_bytes() != files[1].read_bytes()


def test_no_files_are_an_empty_table() -> None:
    assert tables.read_table([], tables.DimRaid).schema == tables.polars_schema(tables.DimRaid)
