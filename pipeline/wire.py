"""Events as columns: the frame in which the simulator and the importer hand events to the sender.

One Parquet file per raid, one column per field of the contract, null where a field is absent.
"""

import io
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.events import EVENT_KINDS, event_fields

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


FIELD_ORDER: dict[str, tuple[str, ...]] = {
    typing.get_args(hints["event_type"])[0]: tuple(hints) for hints in map(typing.get_type_hints, EVENT_KINDS)
}
"""By kind of event: its fields in the order of `events.canonical_json`."""
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
    write_parquet(frame, target)
    return target


def write_raid_parts(parts: Iterable[pl.DataFrame], folder: Path, raid_id: str) -> Path:
    """Write one raid's events as they come, a row group each, and hold no more than one; same parts, same bytes.

    Raises:
        OSError: there is no space, for example.
    """
    target = raid_file(folder, raid_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    schema = _arrow(pl.DataFrame(schema=WIRE_SCHEMA)).schema
    with pq.ParquetWriter(target, schema, compression="zstd", compression_level=1) as writer:
        for part in parts:
            writer.write_table(_arrow(part), row_group_size=part.height)
    return target


def _arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def write_parquet(frame: pl.DataFrame, target: Path) -> None:
    """Write a Parquet file (Zstandard); the same frame gives the same bytes.

    Raises:
        OSError: there is no space, for example.
    """
    content = io.BytesIO()
    frame.write_parquet(content, compression="zstd", compression_level=1)
    target.write_bytes(content.getbuffer())  # Python says why a disk refuses, Polars not always


def read_raid(file: Path) -> pl.DataFrame:
    """Read one raid's events.

    Raises:
        PipelineError: the file is damaged, or holds no events of this version.
    """
    with _damage_told(file):
        frame = pl.read_parquet(file)
    return _of_this_version(frame, file)


def _of_this_version(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    if frame.schema != WIRE_SCHEMA:
        raise PipelineError(f"{file}: has not the columns of a raid's events: {paths.how_to_mend(file)}")
    return frame


def read_raid_parts(file: Path) -> Iterator[pl.DataFrame]:
    """Read one raid's events row group by row group, so that no more than one is held at once.

    Raises:
        PipelineError: the file is damaged, or holds no events of this version.
    """
    with _damage_told(file):
        metadata = pq.read_metadata(file)
        first = 0
        for group in range(metadata.num_row_groups):
            count = metadata.row_group(group).num_rows
            yield _of_this_version(pl.scan_parquet(file).slice(first, count).collect(), file)
            first += count


def count_events(file: Path) -> int:
    """How many events a raid's file holds, without reading them.

    Raises:
        PipelineError: the file is damaged.
    """
    with _damage_told(file):
        count: int = pl.scan_parquet(file).select(pl.len()).collect().item()
    return count


@contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's word; Arrow's own, on a damaged file, has no number
        reason = str(error).strip()
        raise PipelineError(
            f"{file}: is damaged or not a Parquet file ({reason}): {paths.how_to_mend(file)}"
        ) from error


def json_events(frame: pl.DataFrame) -> pl.Series:
    """Each event of a frame as one JSON object, in the frame's order, in the form in which the receiver stores it.

    An event's text depends on nothing else in the frame. Events of one kind with the same fields are encoded together,
    since most of the wire's fields belong to few kinds.
    """
    if frame.is_empty():
        return pl.Series("json", [], pl.String)
    mixed = [column.name for column in frame if 0 < column.null_count() < frame.height]
    absent = pl.sum_horizontal(
        pl.lit(0, pl.UInt64), *(pl.col(name).is_null().cast(pl.UInt64) * 2**bit for bit, name in enumerate(mixed))
    )
    instant = pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").str.replace(".000000Z", "Z", literal=True)
    texts = frame.with_columns(instant, absent.alias("_absent")).with_row_index("_position")
    parts = [_encoded(part) for part in texts.partition_by("event_type", "_absent")]
    return pl.concat(parts).sort("_position")["json"]


def _encoded(part: pl.DataFrame) -> pl.DataFrame:
    """The JSON of events of one kind with the same fields, with their positions."""
    kind = part["event_type"].item(0)
    fields = [name for name in FIELD_ORDER.get(kind, WIRE_SCHEMA) if part[name].item(0) is not None]
    return part.select("_position", pl.struct(fields).struct.json_encode().alias("json"))


def json_array(events: pl.Series) -> bytes:
    """The body of a request: JSON objects as one array."""
    return f"[{events.str.join(',').item()}]".encode()


SOURCES: dict[str, Path] = {"simulation": paths.SIMULATED, "combat-log": paths.IMPORTED}
"""Where the events of a delivery come from, by the `batch-source` that Bronze records."""
