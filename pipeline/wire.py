"""Events as columns: the frame in which the simulator and the importer hand events to the sender.

One Parquet file per raid, one column per field of the contract, null where a field is absent.
"""

import types
import typing
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl

from pipeline import paths
from pipeline.events import event_fields

TIMESTAMP = pl.Datetime("us", "UTC")
ORDER = ("timestamp", "event_id")


def _dtype(annotation: Any) -> pl.DataType:
    """The column type of a field's annotation."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin in (typing.Annotated, typing.Required):
        return _dtype(arguments[0])
    if origin is types.UnionType or origin is typing.Union:
        return _dtype(next(argument for argument in arguments if argument is not types.NoneType))
    if origin is typing.Literal:
        return pl.String()
    if origin is list:
        return pl.List(_dtype(arguments[0]))
    plain: dict[type, pl.DataType] = {
        str: pl.String(),
        UUID: pl.String(),
        bool: pl.Boolean(),
        int: pl.Int64(),
        float: pl.Float64(),
        datetime: TIMESTAMP,
    }
    return plain[annotation]


WIRE_SCHEMA = pl.Schema({name: _dtype(annotation) for name, annotation in event_fields().items()})


def event_frame(columns: pl.DataFrame) -> pl.DataFrame:
    """Events with every column of the wire, in the contract's order and types, sorted by (timestamp, event_id).

    Args:
        columns: some of the wire's columns, castable to their types; the missing ones become null.

    Raises:
        ValueError: a column that the wire does not know.
    """
    unknown = sorted(set(columns.columns) - set(WIRE_SCHEMA))
    if unknown:
        raise ValueError(f"no such fields in the event contract: {', '.join(unknown)}")
    return columns.select(
        pl.col(name).cast(dtype) if name in columns.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in WIRE_SCHEMA.items()
    ).sort(ORDER)


def raid_file(folder: Path, raid_id: str) -> Path:
    """Where a raid's events lie inside `data/simulated` or `data/imported`."""
    return folder / "raids" / f"{raid_id}.parquet"


def raid_files(folder: Path) -> list[Path]:
    """All raids of `data/simulated` or `data/imported`, in the order of their ids."""
    return sorted((folder / "raids").glob("*.parquet"))


def write_raid(frame: pl.DataFrame, folder: Path, raid_id: str) -> Path:
    """Write one raid's events; the same frame gives the same bytes."""
    target = raid_file(folder, raid_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(target, compression="zstd", compression_level=3)
    return target


def read_raid(file: Path) -> pl.DataFrame:
    """Read one raid's events."""
    return pl.read_parquet(file)


def json_events(frame: pl.DataFrame) -> list[bytes]:
    """Each event of a frame as one JSON object, in the frame's order, nearly without nulls.

    Each kind of event is written with the columns that it uses, since most of the wire's fields belong to few kinds.
    """
    lines: list[bytes] = [b""] * frame.height
    texts = frame.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).with_row_index("_position")
    for kind in texts.partition_by("event_type", maintain_order=True):
        used = kind.drop("_position", *[column.name for column in kind if column.null_count() == kind.height])
        for position, line in zip(kind["_position"], used.write_ndjson().encode().splitlines(), strict=True):
            lines[position] = line
    return lines


def json_array(events: list[bytes]) -> bytes:
    """The body of a request: JSON objects as one array."""
    return b"[" + b",".join(events) + b"]"


SOURCES: dict[str, Path] = {"simulation": paths.SIMULATED, "combat-log": paths.IMPORTED}
"""Where the events of a delivery come from, by the `batch-source` that Bronze records."""
