"""One raid's Bronze objects as columns, typed strictly: what does not have the contract's types keeps its JSON.

What the receiver wrote is read by Polars in one go, everything else by orjson and pyarrow, which take longer and find
what is wrong.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import numpy as np
import orjson
import polars as pl
import pyarrow
import pyarrow.json

from pipeline.errors import PipelineError
from pipeline.wire import TIMESTAMP, WIRE_SCHEMA

JSON_SCHEMA = pl.Schema({name: pl.String() if dtype == TIMESTAMP else dtype for name, dtype in WIRE_SCHEMA.items()})
"""The wire as JSON has it: timestamps are texts."""
TEXTS = tuple(name for name, dtype in JSON_SCHEMA.items() if dtype == pl.String())
BATCH_SCHEMA = pl.Schema(
    {"key": pl.String(), "batch_id": pl.String(), "batch_raid_id": pl.String(), "ingest_timestamp": TIMESTAMP}
)
# Every event of a canonical batch begins with its id. Inside a text the quotes of these would be escaped, so that these
# bytes part two events and can be nothing else.
FIRST = b'[{"event_id":'
BETWEEN = b'},{"event_id":'
PARTED = b'}\n{"event_id":'
BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Batch:
    """One object of Bronze and what the manifest says of it."""

    key: str
    batch_id: str
    raid_id: str
    ingest_timestamp: datetime
    event_count: int
    body: bytes


@dataclass(frozen=True)
class _Written:
    """What some lines of JSON hold, counted by their quotes."""

    events: int
    names: int
    texts: int
    has_blanks: bool


def parse_raid(batches: Sequence[Batch]) -> pl.DataFrame:
    """All events of a raid, in the order of (ingest_timestamp, batch_id, key, position).

    Returns:
        One row per event: the wire's columns (timestamps still texts), `raw_event` (its JSON where the columns could
        not hold it), `key`, `batch_id`, `batch_raid_id`, `ingest_timestamp`, `position` (from 0 in its object).

    Raises:
        PipelineError: an object is no JSON array, or has not as many events as the manifest says.
    """
    ordered = sorted(batches, key=lambda batch: (batch.ingest_timestamp, batch.batch_id, batch.key))
    return pl.concat([_parse(ordered), _origins(ordered)], how="horizontal")


def _origins(batches: Sequence[Batch]) -> pl.DataFrame:
    per_batch = pl.DataFrame(
        [(each.key, each.batch_id, each.raid_id, each.ingest_timestamp) for each in batches],
        schema=BATCH_SCHEMA,
        orient="row",
    )
    counts = pl.Series("event_count", [each.event_count for each in batches], dtype=pl.Int64)
    return (
        per_batch.with_columns(position=pl.int_ranges(0, counts)).explode("position", empty_as_null=False)
        if batches
        else per_batch.with_columns(position=pl.lit(None, pl.Int64))
    )


def _parse(batches: Sequence[Batch]) -> pl.DataFrame:
    """The events of all batches: in one go if each is canonical, else batch by batch."""
    events = _parse_canonical(batches)
    if events is None:
        events = pl.concat([_empty(), *map(_parse_alone, batches)], rechunk=True)
    return events


def _parse_alone(batch: Batch) -> pl.DataFrame:
    events = _parse_canonical([batch])
    return _parse_carefully(batch) if events is None else events


def _parse_canonical(batches: Sequence[Batch]) -> pl.DataFrame | None:
    """The events of batches as `events.canonical_json` writes them, or None if one is not so or breaks the types."""
    if not batches or not all(map(_looks_canonical, batches)):
        return None
    lines = [batch.body[1:-1].replace(BETWEEN, PARTED) for batch in batches]
    written = [_written(each) for each in lines]
    if [each.events for each in written] != [batch.event_count for batch in batches]:
        return None
    try:
        # A list's elements are read as categories: Polars takes anything for a text, but not for a category.
        strict = {**JSON_SCHEMA, "data_quality_flags": pl.List(pl.Categorical)}
        events = pl.read_ndjson(b"\n".join(lines), schema=strict).cast({"data_quality_flags": pl.List(pl.String)})
    except pl.exceptions.PolarsError:
        return None
    return events.rechunk().with_columns(raw_event=pl.lit(None, pl.String)) if _holds_all(events, written) else None


def _looks_canonical(batch: Batch) -> bool:
    body = batch.body
    return body.startswith(FIRST) and body.endswith(b"}]") and b"\n" not in body and b"\\" not in body


def _written(lines: bytes) -> _Written:
    text = np.frombuffer(lines, np.uint8)
    quote = text == ord('"')
    name_ends = quote[:-2] & (text[1:-1] == ord(":"))
    return _Written(
        events=1 + int(np.count_nonzero(text == ord("\n"))),
        names=int(np.count_nonzero(name_ends)),
        texts=int(np.count_nonzero(name_ends & quote[2:])),
        has_blanks=bool((quote[:-1] & (text[1:] <= ord(" "))).any()),
    )


def _holds_all(events: pl.DataFrame, written: Sequence[_Written]) -> bool:
    """Whether a frame holds every field of the lines that it was read from, with its type.

    Polars drops in silence a field that it has no column for, and a second one of the same name, and takes anything for
    a text. Where nothing is escaped and no blank follows a quote, every name ends in `":` and every text begins at
    `":"`. A text that begins with a colon makes these more, nothing makes them fewer: if there are as many as values
    and texts in the frame, nothing was dropped and nothing taken for what it is not.
    """
    values = {column.name: column.len() - column.null_count() for column in events}
    return (
        not any(each.has_blanks for each in written)
        and sum(each.names for each in written) == sum(values.values())
        and sum(each.texts for each in written) == sum(values[name] for name in TEXTS)
    )


def _parse_carefully(batch: Batch) -> pl.DataFrame:
    try:
        events = orjson.loads(batch.body)
    except orjson.JSONDecodeError as error:
        _refuse(batch, f"is not JSON ({error})")
    if not isinstance(events, list):
        _refuse(batch, "is not a JSON array")
    if len(events) != batch.event_count:
        _refuse(batch, f"holds {len(events)} events, the manifest says {batch.event_count}")
    return pl.concat([_empty(), *_parse_some(events)])


def _refuse(batch: Batch, fault: str) -> NoReturn:
    raise PipelineError(
        f"{batch.key}: {fault}; bring Bronze back with `dvc checkout`, or make it again with `dvc repro -f ingest`"
    )


def _parse_some(events: list[Any]) -> list[pl.DataFrame]:
    """The events' rows in their order; halves what does not meet the types until the faulty ones stand alone."""
    if not events:
        return []
    if all(isinstance(event, dict) for event in events):
        typed = _read_lines(b"\n".join(map(orjson.dumps, events)))
        if typed is not None:
            return [typed]
    if len(events) == 1:
        return [_keep_as_text(events[0])]
    middle = len(events) // 2
    return [*_parse_some(events[:middle]), *_parse_some(events[middle:])]


def _read_lines(lines: bytes) -> pl.DataFrame | None:
    """Newline-separated objects as a frame, or None if one has other fields or types than the contract."""
    try:
        table = pyarrow.json.read_json(
            io.BytesIO(lines),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=_arrow_schema(), unexpected_field_behavior="error"),
        )
    except pyarrow.ArrowInvalid:
        return None
    frame = pl.DataFrame(pl.from_arrow(table))
    if not frame.select(pl.all_horizontal(pl.col(pl.Float64).is_finite().all())).item():
        return None  # pyarrow takes NaN and Infinity, JSON does not
    return frame.select(JSON_SCHEMA.names()).with_columns(raw_event=pl.lit(None, pl.String))


def _keep_as_text(event: Any) -> pl.DataFrame:
    texts = event if isinstance(event, dict) else {}
    row = {name: texts[name] for name in TEXTS if isinstance(texts.get(name), str)}
    return pl.DataFrame([row | {"raw_event": orjson.dumps(event).decode()}], schema=_schema())


def _schema() -> dict[str, pl.DataType]:
    return {**JSON_SCHEMA, "raw_event": pl.String()}


def _empty() -> pl.DataFrame:
    return pl.DataFrame(schema=_schema())


def _arrow_schema() -> pyarrow.Schema:
    plain: dict[type[pl.DataType], pyarrow.DataType] = {
        pl.String: pyarrow.string(),
        pl.Boolean: pyarrow.bool_(),
        pl.Int64: pyarrow.int64(),
        pl.Float64: pyarrow.float64(),
        pl.List: pyarrow.list_(pyarrow.string()),
    }
    return pyarrow.schema([(name, plain[type(dtype)]) for name, dtype in JSON_SCHEMA.items()])
