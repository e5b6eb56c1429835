"""Events as columns and back: what the sender posts is what the frame says."""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline import events, wire

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


@given(frames())
def test_what_is_posted_is_what_the_frame_says(frame: pl.DataFrame) -> None:
    batch = events.batch_adapter.validate_json(wire.json_array(wire.json_events(frame)))
    posted = [dict(event) for event in batch]
    for event, row in zip(posted, frame.to_dicts(), strict=True):
        said = {name: value for name, value in row.items() if value is not None}
        assert event == said | {"event_id": UUID(said["event_id"])}


@given(frames())
def test_most_nulls_are_not_sent(frame: pl.DataFrame) -> None:
    for event in map(json.loads, wire.json_events(frame)):
        assert None not in event.values()


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
def test_a_raid_file_gives_the_frame_back(tmp_path_factory: pytest.TempPathFactory, frame: pl.DataFrame) -> None:
    folder = tmp_path_factory.mktemp("simulated")
    file = wire.write_raid(frame, folder, "raid001")
    assert wire.raid_files(folder) == [file]
    assert_frame_equal(wire.read_raid(file), frame)


def test_the_same_frame_gives_the_same_bytes(tmp_path: Path) -> None:
    frame = wire.event_frame(pl.DataFrame({"event_id": ["a"], "raid_id": ["raid001"]}))
    first, second = (wire.write_raid(frame, tmp_path / name, "raid001").read_bytes() for name in ("one", "two"))
    assert first == second
