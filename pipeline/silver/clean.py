"""One raid's Bronze to Silver: types, duplicates, ranges, enrichment, and the books that must balance."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pipeline import params as parameters
from pipeline.errors import PipelineError
from pipeline.events import EVENT_TYPES
from pipeline.silver.parse import Batch, parse_raid
from pipeline.tables import (
    AMOUNTS,
    FLAGS,
    PERCENTAGES,
    REASONS,
    Quarantine,
    SilverEvents,
    conform,
    polars_schema,
    required_fields,
)
from pipeline.wire import ORDER, TIMESTAMP, WIRE_SCHEMA

UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
REQUIRED_IN = {"combat_damage": "damage_amount", "heal": "healing_amount", "mana_regeneration": "resource_type"}
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
    """Type, deduplicate, check and enrich one raid's events.

    Of the copies of an event the one of the earliest (ingest_timestamp, batch_id, key, position) is kept.

    Args:
        batches: all of the raid's objects, in any order.
        params: the section `silver` of `params.yaml`.

    Raises:
        PipelineError: an object is no JSON array or has not as many events as the manifest says, or the books do not
            balance.
    """
    rows = parse_raid(batches)
    formed = _judge_form(_typed(rows))
    whole = formed.filter(pl.col("reason").is_null())
    unique = whole.unique("event_id", keep="first", maintain_order=True)
    judged = _judge_place(_judge_ranges(unique, params))
    result = SilverResult(
        events=_enriched(judged.filter(pl.col("reason").is_null()), params),
        quarantine=_set_aside(formed, judged),
        bronze_events=sum(batch.event_count for batch in batches),
        duplicates_removed=whole.height - unique.height,
    )
    _balance(result, batches)
    return result


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        pl.col("event_id").str.to_lowercase(),
        *(_instant(name).alias(f"{name}_parsed") for name in MOMENTS),
    )


def _instant(name: str) -> pl.Expr:
    """ISO 8601 with offset to an instant, null where it is none; one raid may mix offsets and fractions."""
    text = pl.col(name)
    zulu = text.str.ends_with("Z")
    offset = pl.when(zulu).then(text.str.head(-1) + "+00:00").otherwise(text)
    return offset.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False)


def _judge_form(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `reason` for what is no event at all; its JSON stays where the columns cannot hold it."""
    unreadable = [pl.col(name).is_not_null() & pl.col(f"{name}_parsed").is_null() for name in MOMENTS]
    no_uuid = ~pl.col("event_id").str.contains(UUID)
    lacks = [pl.col(name).is_null() for name in required_fields() if name != "event_type"]
    lacks += [(pl.col("event_type") == kind) & pl.col(name).is_null() for kind, name in REQUIRED_IN.items()]
    judged = rows.with_columns(
        reason=_first_of(
            malformed=pl.any_horizontal(pl.col("raw_event").is_not_null(), no_uuid, *unreadable),
            missing_required=pl.any_horizontal(pl.col("event_type").is_null(), *lacks),
            wrong_raid=pl.col("raid_id") != pl.col("batch_raid_id"),
            unknown_event_type=~pl.col("event_type").is_in(EVENT_TYPES),
        )
    )
    as_json = pl.struct(WIRE_SCHEMA.names()).struct.json_encode()
    untold = (pl.col("reason") == "malformed") & pl.col("raw_event").is_null()
    if judged.select(untold.any()).item():
        judged = judged.with_columns(raw_event=pl.when(untold).then(as_json).otherwise("raw_event"))
    return judged.with_columns(pl.col(f"{name}_parsed").alias(name) for name in MOMENTS)


def _judge_ranges(events: pl.DataFrame, params: parameters.Silver) -> pl.DataFrame:
    latest = pl.col("ingest_timestamp") + pl.duration(microseconds=round(params.max_clock_skew_s * 1e6))
    return events.with_columns(
        reason=_first_of(
            health_out_of_range=pl.any_horizontal(~pl.col(name).is_between(0, 100) for name in PERCENTAGES),
            negative_amount=pl.any_horizontal(pl.col(name) < 0 for name in AMOUNTS),
            clock_skew=pl.col("timestamp") > latest,
        )
    )


def _judge_place(events: pl.DataFrame) -> pl.DataFrame:
    """Set aside what lies outside the time of its pull, as the events that hold so far tell it."""
    sound = events.filter(pl.col("reason").is_null() & pl.col("encounter_id").is_not_null())
    begin = sound.filter(pl.col("event_type") == "encounter_start").group_by("encounter_id")
    end = sound.filter(pl.col("event_type") == "encounter_end").group_by("encounter_id")
    placed = events.join(
        begin.agg(_begin=pl.col("timestamp").min()), on="encounter_id", how="left", maintain_order="left"
    ).join(end.agg(_end=pl.col("timestamp").max()), on="encounter_id", how="left", maintain_order="left")
    outside = pl.any_horizontal(pl.col("timestamp") < pl.col("_begin"), pl.col("timestamp") > pl.col("_end"))
    return placed.with_columns(reason=pl.coalesce("reason", _first_of(outside_pull=outside))).drop("_begin", "_end")


def _first_of(**faults: pl.Expr) -> pl.Expr:
    """The name of the first condition that is true, null if none is (a condition on a null is not)."""
    return pl.coalesce(pl.when(fault).then(pl.lit(reason)) for reason, fault in faults.items())


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
        .sort(ORDER)
    )


def _set_aside(formed: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    refused = [rows.filter(pl.col("reason").is_not_null()) for rows in (formed, judged)]
    columns = polars_schema(Quarantine).names()
    return (
        pl.concat(rows.select(columns) for rows in refused)
        .pipe(conform, Quarantine)
        .sort("ingest_timestamp", "batch_id", "key", "position")
    )


def _balance(result: SilverResult, batches: Sequence[Batch]) -> None:
    kept, removed, refused = result.events.height, result.duplicates_removed, result.quarantine.height
    if result.bronze_events != kept + removed + refused:
        raids = ", ".join(sorted({batch.raid_id for batch in batches}))
        raise PipelineError(
            f"silver, {raids}: the books do not balance: {result.bronze_events} events in Bronze, but {kept} in "
            f"Silver, {removed} duplicates and {refused} quarantined; this is a fault of the pipeline, please report it"
        )
