"""One raid's Bronze to Silver: types, bounds, duplicates, enrichment, and the books that must balance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from pipeline import params as parameters
from pipeline.errors import PipelineError
from pipeline.silver.faults import contract_faults
from pipeline.silver.parse import Batch, parse_raid
from pipeline.tables import FLAGS, REASONS, Quarantine, SilverEvents, conform, polars_schema
from pipeline.wire import ORDER, TIMESTAMP, WIRE_SCHEMA

UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
# As `events.canonical_json` spells it, with any offset.
INSTANT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
ISO = "%Y-%m-%dT%H:%M:%S%.f%#z"
# What Python can hold as well.
FIRST_INSTANT, LAST_INSTANT = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))
MOMENTS = tuple(name for name, dtype in WIRE_SCHEMA.items() if dtype == TIMESTAMP)


@dataclass(frozen=True)
class SilverResult:
    """What became of one raid's events."""

    events: pl.DataFrame
    """Contract `tables.SilverEvents`, sorted by (timestamp, event_id)."""
    quarantine: pl.DataFrame
    """Contract `tables.Quarantine`, sorted by (ingest_timestamp, batch_id, key, position)."""
    bronze_events: int
    duplicates_removed: int

    @property
    def quarantined(self) -> dict[str, int]:
        """How many events were set aside, for each of `tables.REASONS`."""
        counts = dict(self.quarantine.group_by("reason").len().iter_rows())
        return {reason: counts.get(reason, 0) for reason in REASONS}

    @property
    def massive_hits(self) -> int:
        """How many hits are above the threshold."""
        return int(self.events["is_massive_hit"].sum())


def clean_raid(batches: Sequence[Batch], params: parameters.Silver) -> SilverResult:
    """Type, check, deduplicate and enrich one raid's events.

    Each copy of an event is held against the contract and its batch; of those that keep them the one of the earliest
    (ingest_timestamp, batch_id, key, position) stays, if it lies inside its pull.

    Args:
        batches: all of the raid's objects, in any order.
        params: the section `silver` of `params.yaml`.

    Raises:
        PipelineError: an object is no JSON array or has not as many events as the manifest says, or the books do not
            balance.
    """
    judged = _judge_copies(_typed(parse_raid(batches)), params)
    whole = _kept(judged)
    unique = _first_copies(whole)
    placed = _judge_place(unique)
    result = SilverResult(
        events=_enriched(_kept(placed), params),
        quarantine=_set_aside(judged, placed),
        bronze_events=sum(batch.event_count for batch in batches),
        duplicates_removed=whole.height - unique.height,
    )
    _balance(result, batches)
    return result


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    """Add each moment as an instant, null where its text is none; one raid may mix offsets and fractions."""
    texts = {f"{name}_parsed": pl.col(name) for name in MOMENTS}
    instants = {
        name: pl.when(text.str.contains(INSTANT)).then(text).str.to_datetime(ISO, time_unit="us", strict=False)
        for name, text in texts.items()
    }
    held = [pl.when(pl.col(name).is_between(FIRST_INSTANT, LAST_INSTANT)).then(name).alias(name) for name in texts]
    return rows.with_columns(pl.col("event_id").str.to_lowercase(), **instants).with_columns(held)


def _judge_copies(rows: pl.DataFrame, params: parameters.Silver) -> pl.DataFrame:
    """Add `reason` for what breaks the contract or does not fit its batch; a malformed one's JSON stays."""
    parsed = {name: pl.col(f"{name}_parsed") for name in MOMENTS}
    malformed = [
        pl.col("raw_event").is_not_null(),
        ~pl.col("event_id").str.contains(UUID),
        *(pl.col(name).is_not_null() & parsed[name].is_null() for name in MOMENTS),
        pl.col("data_quality_flags").list.eval(pl.element().is_null()).list.any(),
    ]
    skew = pl.duration(microseconds=round(params.max_clock_skew_s * 1e6))
    judged = _with_reason(
        rows,
        malformed=pl.any_horizontal(malformed),
        wrong_raid=pl.col("raid_id") != pl.col("batch_raid_id"),
        clock_skew=parsed["timestamp"] > pl.col("ingest_timestamp") + skew,
        **contract_faults(),
    )
    untold = (pl.col("reason") == "malformed") & pl.col("raw_event").is_null()
    if judged.select(untold.any()).item():
        as_json = pl.struct(WIRE_SCHEMA.names()).struct.json_encode()
        judged = judged.with_columns(raw_event=pl.when(untold).then(as_json).otherwise("raw_event"))
    return judged.with_columns(**parsed)


def _judge_place(events: pl.DataFrame) -> pl.DataFrame:
    """Add `reason` for what lies outside the time of its pull, as the events that hold so far tell it."""
    moment, kind = pl.col("timestamp"), pl.col("event_type")
    bounds = (
        events.filter(kind.is_in(["encounter_start", "encounter_end"]))
        .group_by("encounter_id")
        .agg(
            begin=moment.filter(kind == "encounter_start").min(),
            end=moment.filter(kind == "encounter_end").max(),
        )
    )
    times = events.select("encounter_id", "timestamp").join(
        bounds, on="encounter_id", how="left", maintain_order="left"
    )
    outside = times.select((moment < pl.col("begin")) | (moment > pl.col("end"))).to_series()
    return _with_reason(events, outside_pull=pl.lit(outside))


def _with_reason(rows: pl.DataFrame, **faults: pl.Expr) -> pl.DataFrame:
    """Add `reason`: the first of `tables.REASONS` whose condition is true, null if none is (a null is not)."""
    found = rows.select(**faults)
    reason = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, rows.height)
    if any(column.any() for column in found):
        ranked = [name for name in REASONS if name in faults]
        reason = found.select(reason=pl.coalesce(pl.when(name).then(pl.lit(name)) for name in ranked)).to_series()
    return rows.with_columns(reason)


def _kept(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("reason").is_null())


def _first_copies(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter(pl.col("event_id").is_first_distinct())


def _enriched(events: pl.DataFrame, params: parameters.Silver) -> pl.DataFrame:
    latency_us = (pl.col("ingest_timestamp") - pl.col("timestamp")).dt.total_microseconds()
    return (
        events.with_columns(
            pl.col(FLAGS).fill_null(value=False),
            pl.col("critical_multiplier").fill_null(1.0),
            ingest_latency_ms=latency_us // 1000,
            is_massive_hit=(pl.col("damage_amount") > params.massive_hit_threshold).fill_null(value=False),
            event_date=pl.col("timestamp").dt.date(),
        )
        .pipe(conform, SilverEvents)
        .pipe(_in_order)
    )


def _in_order(events: pl.DataFrame) -> pl.DataFrame:
    # Nearly every raid arrives in order, and asking is cheaper than moving all columns.
    in_order = events.select(pl.struct(ORDER)).to_series().is_sorted()
    return events if in_order else events.sort(ORDER)


def _set_aside(*judged: pl.DataFrame) -> pl.DataFrame:
    columns = polars_schema(Quarantine).names()
    refused = [rows.filter(pl.col("reason").is_not_null()).select(columns) for rows in judged]
    if all(rows.is_empty() for rows in refused):
        return pl.DataFrame(schema=polars_schema(Quarantine))
    return pl.concat(refused).pipe(conform, Quarantine).sort("ingest_timestamp", "batch_id", "key", "position")


def _balance(result: SilverResult, batches: Sequence[Batch]) -> None:
    kept, removed, refused = result.events.height, result.duplicates_removed, result.quarantine.height
    if result.bronze_events != kept + removed + refused:
        raids = ", ".join(sorted({batch.raid_id for batch in batches}))
        raise PipelineError(
            f"silver, {raids}: the books do not balance: {result.bronze_events} events in Bronze, but {kept} in "
            f"Silver, {removed} duplicates and {refused} quarantined; this is a fault of the pipeline, please report it"
        )
