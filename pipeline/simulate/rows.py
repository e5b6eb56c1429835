"""A raid's events as numbers, and those numbers as the frame of the wire.

Inside a pull an event is a row of the structured type EVENT: entities and abilities are indices, nothing is NaN or -1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline import wire
from pipeline.events import EVENT_TYPES
from pipeline.simulate.abilities import NONE, Abilities, Ints
from pipeline.simulate.teams import Entities

SOURCE_SYSTEM = "simulator"
UUID_LENGTH = 36
HEX_PLACES = [place for place in range(UUID_LENGTH) if place not in (8, 13, 18, 23)]
AMOUNTS = (
    "damage_amount",
    "healing_amount",
    "overkill_amount",
    "overheal_amount",
    "absorbed_amount",
    "critical_multiplier",
    "target_entity_health_pct_before",
    "target_entity_health_pct_after",
    "resource_amount_before",
    "resource_amount_after",
    "resource_regeneration_rate",
)
FLAGS = ("is_critical_hit", "is_absorbed", "is_avoidable", "is_periodic")
EVENT = np.dtype(
    [
        ("event_type", np.int8),
        ("ms", np.int64),
        ("source", np.int32),
        ("target", np.int32),
        ("ability", np.int32),
        ("phase", np.int8),
        *((name, np.float64) for name in AMOUNTS),
        *((name, np.int8) for name in FLAGS),
    ]
)
Rows = NDArray[np.void]


def _nothing() -> Rows:
    row = np.full(1, NONE, dtype=EVENT)
    for name in AMOUNTS:
        row[name] = np.nan
    return row


NOTHING = _nothing()


def event_rows(event_type: str, ms: Ints, source: Ints | int, **columns: Any) -> Rows:
    """Events of one type at the given milliseconds since the pull began; columns not named stay null."""
    rows = np.repeat(NOTHING, len(ms))
    rows["event_type"] = EVENT_TYPES.index(event_type)
    rows["ms"] = ms
    rows["source"] = source
    for name, values in columns.items():
        rows[name] = values
    return rows


@dataclass(frozen=True)
class PulledEvents:
    """One pull's events in order, and what its start and end events state."""

    rows: Rows
    start_ms: int
    """When the pull began, ms since 1970."""
    encounter_name: str
    difficulty: str
    boss_id: str
    raid_size: int
    killed: bool


def raid_frame(
    raid_id: str, team_id: str, pulls: Sequence[PulledEvents], entities: Entities, abilities: Abilities, rng: Generator
) -> pl.DataFrame:
    """An evening's events in the columns of the wire, ordered by (timestamp, event_id).

    Args:
        pulls: the evening's pulls in order of time.
        rng: for the event ids.
    """
    rows = np.concatenate([pull.rows for pull in pulls])
    number = np.repeat(np.arange(len(pulls)), [len(pull.rows) for pull in pulls])
    timestamp_ms = np.array([pull.start_ms for pull in pulls])[number] + rows["ms"]
    kinds = pl.Series("event_type", EVENT_TYPES).gather(rows["event_type"].astype(np.int64))
    frame = pl.DataFrame(
        {
            "event_id": time_ordered_uuids(timestamp_ms, rng),
            "event_type": kinds,
            "timestamp": pl.Series(timestamp_ms).cast(pl.Datetime("ms", "UTC")),
            "encounter_duration_ms": np.ascontiguousarray(rows["ms"]),
            **{name: np.ascontiguousarray(rows[name]) for name in (*AMOUNTS, *FLAGS, "phase")},
        }
    ).with_columns(
        pl.lit(raid_id).alias("raid_id"),
        pl.lit(team_id).alias("team_id"),
        pl.lit(SOURCE_SYSTEM).alias("source_system"),
        pl.col(AMOUNTS).fill_nan(None),
        pl.col(FLAGS).replace(NONE, None).cast(pl.Boolean),
        pl.col("phase").replace(NONE, None),
    )
    columns = [_sources(rows, entities), _targets(rows, entities), _gather(abilities.names, rows["ability"])]
    return wire.event_frame(
        pl.concat([frame, *columns, _pull_columns(raid_id, pulls, number, kinds)], how="horizontal")
    )


def _or_null(values: NDArray[Any]) -> pl.Series:
    """Numbers, with -1 as null."""
    return pl.Series(values.astype(np.int64)).replace(NONE, None)


def _gather(table: pl.DataFrame, index: NDArray[Any]) -> pl.DataFrame:
    """The table's rows at the indices; all null at -1."""
    places = _or_null(index).cast(pl.UInt32)
    return table.select(pl.all().gather(places))


def _sources(rows: Rows, entities: Entities) -> pl.DataFrame:
    table = entities.rows.select(
        pl.col("id").alias("source_player_id"),
        pl.col("name").alias("source_player_name"),
        pl.col("role").alias("source_player_role"),
        pl.col("player_class").alias("source_player_class"),
        pl.col("level").alias("source_player_level"),
        pl.col("specialization").alias("source_player_specialization"),
        pl.col("item_level").alias("source_item_level"),
        pl.col("owner_id").alias("source_owner_id"),
        pl.col("resource").alias("resource_type"),
    )
    gains = pl.Series(rows["event_type"] == EVENT_TYPES.index("mana_regeneration"))
    return _gather(table, rows["source"]).with_columns(pl.when(gains).then("resource_type").alias("resource_type"))


def _targets(rows: Rows, entities: Entities) -> pl.DataFrame:
    table = entities.rows.select(
        pl.col("id").alias("target_entity_id"),
        pl.col("name").alias("target_entity_name"),
        pl.col("entity_type").alias("target_entity_type"),
    )
    return _gather(table, rows["target"])


def _pull_columns(raid_id: str, pulls: Sequence[PulledEvents], number: Ints, kinds: pl.Series) -> pl.DataFrame:
    table = pl.DataFrame(
        {
            "encounter_id": [f"{raid_id}-p{place:02d}" for place in range(1, len(pulls) + 1)],
            "encounter_name": [pull.encounter_name for pull in pulls],
            "encounter_difficulty": [pull.difficulty for pull in pulls],
            "boss_id": [pull.boss_id for pull in pulls],
            "raid_size": [pull.raid_size for pull in pulls],
            "encounter_success": [pull.killed for pull in pulls],
        }
    )
    frames = kinds.is_in(["encounter_start", "encounter_end"])
    ends = kinds == "encounter_end"
    on_frames = [name for name in table.columns if name not in ("encounter_id", "encounter_success")]
    return _gather(table, number).with_columns(
        pl.when(frames).then(pl.col(on_frames)), pl.when(ends).then("encounter_success").alias("encounter_success")
    )


def time_ordered_uuids(timestamp_ms: Ints, rng: Generator) -> pl.Series:
    """UUIDs version 7 (RFC 9562): milliseconds, a counter inside the millisecond, 62 random bits.

    Their order is that of the events, so (timestamp, event_id) keeps what happened first inside a millisecond first.

    Args:
        timestamp_ms: never falling, ms since 1970.
    """
    count = len(timestamp_ms)
    first_of_ms = np.searchsorted(timestamp_ms, timestamp_ms, side="left")
    counter = (np.arange(count) - first_of_ms).astype(np.uint64) & np.uint64(0xFFF)
    high = (timestamp_ms.astype(np.uint64) << np.uint64(16)) | np.uint64(0x7000) | counter
    low = rng.integers(0, 1 << 62, size=count, dtype=np.uint64) | np.uint64(1 << 63)
    raw = np.stack([high, low], axis=1).astype(">u8").view(np.uint8).reshape(count, 16)
    digits = np.frombuffer(raw.tobytes().hex().encode(), dtype=np.uint8).reshape(count, 32)
    text = np.full((count, UUID_LENGTH), ord("-"), dtype=np.uint8)
    text[:, HEX_PLACES] = digits
    offsets = np.arange(0, UUID_LENGTH * (count + 1), UUID_LENGTH, dtype=np.int64)
    array = pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))
    return pl.Series("event_id", array)
