"""Events as columns and back: what the sender posts is what the frame says."""

import errno
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline import events, wire
from pipeline.errors import PipelineError

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
INSTANTS = st.datetimes(datetime(2005, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Some hits and casts of one raid."""
    rows = draw(st.lists(st.tuples(st.uuids(), INSTANTS, TEXTS, st.integers(1, 10**9), st.booleans()), min_size=1))
    return wire.event_frame(
        pl.DataFrame(
            {
                "event_id": [str(event_id) for event_id, *_ in rows],
                "event_type": ["combat_damage" if is_hit else "spell_cast" for *_, is_hit in rows],
                "timestamp": [instant for _, instant, *_ in rows],
                "raid_id": ["raid001"] * len(rows),
                "source_player_id": [name for _, _, name, *_ in rows],
                "source_player_name": [name for _, _, name, *_ in rows],
                "damage_amount": [float(amount) if is_hit else None for *_, amount, is_hit in rows],
                "data_quality_flags": [[name] if is_hit else None for _, _, name, _, is_hit in rows],
            },
            schema_overrides={"timestamp": wire.TIMESTAMP, "data_quality_flags": pl.List(pl.String)},
        )
    )


@settings(deadline=None)
@given(frames())
def test_what_is_posted_is_what_the_frame_says(frame: pl.DataFrame) -> None:
    batch = events.batch_adapter.validate_json(wire.json_array(wire.json_events(frame)))
    posted = [dict(event) for event in batch]
    for event, row in zip(posted, frame.to_dicts(), strict=True):
        said = {name: value for name, value in row.items() if value is not None}
        assert event == said | {"event_id": UUID(said["event_id"])}


@settings(deadline=None)
@given(frames(), st.lists(st.none() | st.floats(0, 1e30), min_size=3, max_size=3))
def test_an_event_is_sent_as_the_receiver_stores_it_whatever_stands_beside_it(
    frame: pl.DataFrame, levels: list[float | None]
) -> None:
    levels = [levels[position % 3] for position in range(frame.height)]
    frame = frame.with_columns(pl.Series("source_item_level", levels, pl.Float64))
    sent = wire.json_events(frame)
    body = wire.json_array(sent)
    assert json.loads(body) == [json.loads(event) for event in sent]
    assert events.canonical_json(events.batch_adapter.validate_json(body)) == body
    assert [wire.json_events(frame[position]).item() for position in range(frame.height)] == sent.to_list()


def test_of_no_events_there_is_an_empty_array() -> None:
    assert wire.json_array(wire.json_events(wire.event_frame(pl.DataFrame(schema={"event_id": pl.String})))) == b"[]"


@pytest.mark.parametrize("group", [1, 7, 100])
def test_a_raid_file_is_read_row_group_by_row_group(tmp_path: Path, group: int) -> None:
    frame = wire.event_frame(pl.DataFrame({"event_id": [f"{number:03}" for number in range(20)]}))
    file = tmp_path / "raid001.parquet"
    frame.write_parquet(file, row_group_size=group)
    parts = list(wire.read_raid_parts(file))
    assert max(part.height for part in parts) <= group
    assert_frame_equal(pl.concat(parts), frame)


@given(st.lists(frames(), max_size=4))
@settings(deadline=None)
def test_a_raid_written_in_parts_has_a_row_group_for_each(
    tmp_path_factory: pytest.TempPathFactory, parts: list[pl.DataFrame]
) -> None:
    first, second = (tmp_path_factory.mktemp("imported") for _ in range(2))
    file = wire.write_raid_parts(iter(parts), first, "raid001")
    assert wire.raid_files(first) == [file]
    assert [part.height for part in wire.read_raid_parts(file)] == [part.height for part in parts]
    whole = pl.concat([pl.DataFrame(schema=wire.WIRE_SCHEMA), *parts])
    assert_frame_equal(wire.read_raid(file), whole)
    assert wire.count_events(file) == whole.height
    assert wire.write_raid_parts(iter(parts), second, "raid001").read_bytes() == file.read_bytes()


def test_no_space_for_a_raid_in_parts_is_the_systems_error(tmp_path: Path) -> None:
    (tmp_path / "raids").mkdir()
    wire.raid_file(tmp_path, "raid001").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as raised:
        wire.write_raid_parts([wire.event_frame(pl.DataFrame({"event_id": ["a"]}))], tmp_path, "raid001")
    assert raised.value.errno == errno.ENOSPC


def test_a_raid_file_without_the_wires_columns_is_told_also_when_read_in_parts(tmp_path: Path) -> None:
    file = tmp_path / "raid001.parquet"
    pl.DataFrame({"event_id": ["a"]}).write_parquet(file)
    with pytest.raises(PipelineError, match=r"raid001\.parquet: has not the columns"):
        list(wire.read_raid_parts(file))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(PipelineError, match=r"raid001\.parquet: is damaged"):
        list(wire.read_raid_parts(file))


def test_the_frame_has_every_field_in_order_and_is_sorted() -> None:
    late, early = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    frame = wire.event_frame(pl.DataFrame({"event_id": ["a", "c", "b"], "timestamp": [late, early, early]}))
    assert frame.columns == list(events.event_fields())
    assert frame["event_id"].to_list() == ["b", "c", "a"]
    assert frame["damage_amount"].null_count() == 3


def test_a_column_that_the_contract_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="no such fields in the event contract: colour"):
        wire.event_frame(pl.DataFrame({"event_id": ["a"], "colour": ["red"]}))


@given(frames())
@settings(deadline=None)
def test_a_raid_file_gives_the_frame_back(tmp_path_factory: pytest.TempPathFactory, frame: pl.DataFrame) -> None:
    folder = tmp_path_factory.mktemp("simulated")
    file = wire.write_raid(frame, folder, "raid001")
    assert wire.raid_files(folder) == [file]
    assert_frame_equal(wire.read_raid(file), frame)


def test_the_same_frame_gives_the_same_bytes(tmp_path: Path) -> None:
    frame = wire.event_frame(pl.DataFrame({"event_id": ["a"], "raid_id": ["raid001"]}))
    first, second = (wire.write_raid(frame, tmp_path / name, "raid001").read_bytes() for name in ("one", "two"))
    assert first == second
