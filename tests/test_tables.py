"""The contracts of Silver and Gold: they refuse what breaks them, and files are written as they say."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pyarrow
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors
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


@pytest.mark.parametrize("name", ALL | tables.FEATURE_TABLES)
def test_the_fast_check_knows_every_rule_of_the_contracts(name: str) -> None:
    table = (ALL | tables.FEATURE_TABLES)[name]
    assert pl.DataFrame(schema=tables.polars_schema(table)).select(tables._is_sound(table)).item() is True


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_the_fast_check_accepts_is_what_pandera_accepts(
    data: st.DataObject, frames: dict[str, pl.DataFrame]
) -> None:
    name = data.draw(st.sampled_from(sorted(ALL)))
    frame = frames[name]
    column = data.draw(st.sampled_from(frame.columns))
    values: dict[Any, list[Any]] = {
        pl.Int64: [-1, 0, 1],
        pl.Float64: [-0.5, -0.0, 0.0, 1.0, 1.5, 100.0, 100.5, float("nan"), float("inf"), -float("inf")],
        pl.String: ["", "success", "heal", "malformed"],
    }
    value = data.draw(st.sampled_from([None, *values.get(frame.schema[column].base_type(), [])]))
    row = data.draw(st.integers(0, frame.height - 1))
    here = pl.int_range(pl.len()) == row
    changed = frame.with_columns(
        pl.when(here).then(pl.lit(value, frame.schema[column])).otherwise(column).alias(column)
    )
    try:
        ALL[name].validate(changed, lazy=True)
        accepted = True
    except SchemaErrors:
        accepted = False
    assert changed.select(tables._is_sound(ALL[name])).item() is accepted


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        (pa.Check.gt(1), [2, None], 1),
        (pa.Check.ge(1), [1, None], 0),
        (pa.Check.le(1), [1, None], 2),
        (pa.Check.in_range(0, 2), [0, 2, None], 3),
        (pa.Check.isin([1, 2]), [1, 2, None], 3),
    ],
)
def test_each_rule_means_in_polars_what_it_means_in_pandera(rule: pa.Check, kept: list[Any], broken: int) -> None:
    assert pl.DataFrame({"x": kept}).select(tables._keeps(pl.col("x"), rule).all()).item() is True
    assert pl.DataFrame({"x": [*kept, broken]}).select(tables._keeps(pl.col("x"), rule).all()).item() is False


@pytest.mark.parametrize("rule", [pa.Check.str_startswith("x"), pa.Check.in_range(0, 1, include_min=False)])
def test_a_rule_without_an_expression_is_a_fault_of_the_pipeline(rule: pa.Check) -> None:
    with pytest.raises(NotImplementedError):
        tables._keeps(pl.col("x"), rule)


def test_some_columns_of_a_table_can_be_read_alone(frames: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    file = tmp_path / "part-0.parquet"
    tables.write_table(frames["raid_summary"], tables.RaidSummary, file, {})
    columns = ["n_events", "raid_id"]
    assert_frame_equal(tables.read_table([file], tables.RaidSummary, columns), frames["raid_summary"].select(columns))
    assert tables.read_table([], tables.RaidSummary, columns).columns == columns


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more", b"PAR1" * 100])
def test_a_damaged_file_is_named_with_the_remedy(
    content: bytes, frames: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    files = [tmp_path / "data/gold/dim_raid" / name for name in ("good.parquet", "bad.parquet")]
    tables.write_table(frames["dim_raid"], tables.DimRaid, files[0], {})
    files[1].write_bytes(content)
    with pytest.raises(PipelineError, match=r"bad\.parquet: is damaged .*dvc checkout data/gold"):
        tables.read_table(files, tables.DimRaid)


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
