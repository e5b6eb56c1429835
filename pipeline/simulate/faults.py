"""Faults of the field, each written down in a ledger together with the layer that must catch it.

Events that come twice or late, batches that change places, clocks that run ahead, fields that are missing, events that
are invalid or outside their pull. No event has more than one fault of its own, and what frames a pull (its start,
rosters, end) has none. A batch that is late stands in the ledger under its first event.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from numpy.random import Generator

from pipeline.errors import PipelineError
from pipeline.events import MAX_CLOCK_SKEW_S
from pipeline.params import Faults

CAUGHT_BY = {
    "duplicate": "silver",
    "late": "nobody",
    "missing_field": "nobody",
    "clock_skew": "silver",
    "outside_pull": "silver",
    "invalid": "receiver",
    "late_batch": "nobody",
}
"""By kind of fault."""
OF_EVENTS = tuple(kind for kind in CAUGHT_BY if kind != "late_batch")
"""The kinds that an event has by itself, in the order in which they are drawn."""
FAULTY_TYPES = ("combat_damage", "heal", "spell_cast")
MISSING_FIELDS = ("ability_school", "source_player_level", "source_item_level", "target_entity_name")
MOST_OVERTAKEN = 3
"""A late batch is delivered after so many later ones at most."""
BEFORE_PULL_S = (20.0, 60.0)
BEYOND_BOUND_S = (20.0, 60.0)
SLOWEST_NETWORK_S = 20.0
"""No batch is under way for longer than this."""
MAX_LATENCY_MS = 1000
"""With a median of so much, the latency is beyond the slowest in one of a thousand million batches."""
LEDGER_SCHEMA = pl.Schema(
    {"raid_id": pl.String(), "event_id": pl.String(), "fault": pl.String(), "caught_by": pl.String()}
)


Moments = npt.NDArray[np.int64]
"""When the events of batches happened: a row for each batch."""


@dataclass(frozen=True)
class Delivery:
    """How the events will be delivered, which decides what counts as a clock that runs ahead."""

    batch_size: int
    network_latency_ms: int
    """Median."""
    max_clock_skew_s: float
    """Silver's bound."""

    def check(self) -> None:
        """Whether a clock can run ahead of a batch's arrival by more than Silver's bound and less than the receiver's.

        Raises:
            PipelineError: there is no room.
        """
        if self.network_latency_ms > MAX_LATENCY_MS:
            raise PipelineError(
                f"params.yaml: simulate.faults.clock_skew needs ingest.network_latency_ms of at most {MAX_LATENCY_MS}: "
                f"no batch may be under way for longer than {SLOWEST_NETWORK_S:.0f} s. Lower it, or set the fault's "
                "rate to 0"
            )
        most = MAX_CLOCK_SKEW_S - SLOWEST_NETWORK_S - BEYOND_BOUND_S[1]
        if self.max_clock_skew_s > most:
            raise PipelineError(
                f"params.yaml: simulate.faults.clock_skew needs silver.max_clock_skew_s of at most {most:.0f}: the "
                f"receiver itself refuses what lies {MAX_CLOCK_SKEW_S} s ahead. Lower it, or set the fault's rate to 0"
            )


def inject(raid: pl.DataFrame, rates: Faults, delivery: Delivery, rng: Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bring faults into a raid.

    Args:
        raid: its events in the columns and the order of the wire.
        rates: share of the events that can have a fault, or of the batches, by kind.
        delivery: how they will be cut into batches, and when these arrive.
        rng: what the faults are drawn from.

    Returns:
        The events in the order of their delivery, and the ledger: raid_id, event_id, fault, caught_by.
    """
    share = rates.model_dump()
    if not any(share.values()):
        return raid, pl.DataFrame(schema=LEDGER_SCHEMA)
    if share["clock_skew"]:
        delivery.check()
    drawn = raid.with_columns(fault=pl.Series(_draw(raid, share, rng), dtype=pl.String))
    fault = pl.col("fault")
    in_time = _batches_late(drawn.filter(fault.ne_missing("late")), delivery.batch_size, rates.late_batch, rng)
    copies = in_time.filter(fault == "duplicate").with_columns(fault=pl.lit(None))
    delivered = _apart(pl.concat([in_time, drawn.filter(fault == "late"), copies]))
    delivered = _clocks_ahead(_changed(delivered, rng), delivery, rng)
    return delivered.drop("fault"), _ledger(delivered)


def _draw(raid: pl.DataFrame, share: Mapping[str, float], rng: Generator) -> list[str | None]:
    chance = rng.random(raid.height)
    can = (raid["event_type"].is_in(FAULTY_TYPES) & raid["encounter_id"].is_not_null()).to_numpy()
    bounds = np.cumsum([share[kind] for kind in OF_EVENTS])
    place = np.searchsorted(bounds, chance, side="right")
    kinds = [*OF_EVENTS, None]
    return [kinds[at] if possible else None for at, possible in zip(place, can, strict=True)]


def _batches_late(in_time: pl.DataFrame, size: int, rate: float, rng: Generator) -> pl.DataFrame:
    """Some of the whole batches after later ones, each marked at its first event."""
    count = in_time.height // size
    moments = in_time["timestamp"].head(count * size).to_physical().to_numpy().reshape(count, size)
    order, late = _order_of_batches(moments, rate, rng)
    if not late:
        return in_time
    marked = in_time["fault"].scatter([place * size for place in late], "late_batch")
    rows = np.arange(count * size).reshape(count, size)[order].ravel()
    return in_time.with_columns(marked)[np.append(rows, np.arange(count * size, in_time.height))]


def _order_of_batches(moments: Moments, rate: float, rng: Generator) -> tuple[list[int], list[int]]:
    """In which order batches are delivered, and which of them are late.

    A late one comes after the next few, none of which is late. The last two events of these are later than its first:
    if only the last were, it would look like a wrong clock between two right ones (`replay.Arrival`).
    """
    is_late = rng.random(len(moments)) < rate
    places_lost = rng.integers(1, MOST_OVERTAKEN, size=len(moments), endpoint=True)
    order: list[int] = []
    late: list[int] = []
    while (place := len(order)) < len(moments):
        end = min(place + 1 + places_lost[place], len(moments)) if is_late[place] else place + 1
        is_told = (moments[place:end].ravel()[-2:] > moments[place, 0]).all()
        if end > place + 1 and is_told:
            order += [*range(place + 1, end), place]
            late.append(place)
        else:
            order.append(place)
    return order, late


def _apart(delivered: pl.DataFrame) -> pl.DataFrame:
    """A wrong time only amid four events that have right ones and are delivered in order: by these it is told."""
    is_wrong = pl.col("fault").is_in(["clock_skew", "outside_pull"]).fill_null(value=False)
    near = is_wrong.shift(1, fill_value=False) | is_wrong.shift(2, fill_value=False)
    goes_on = (pl.col("timestamp") >= pl.col("timestamp").shift(1)).fill_null(value=False)
    in_order = pl.all_horizontal(goes_on.shift(by, fill_value=False) for by in (1, 0, -1, -2))
    return delivered.with_columns(fault=pl.when(~is_wrong | (in_order & ~near)).then("fault"))


def _changed(delivered: pl.DataFrame, rng: Generator) -> pl.DataFrame:
    """What a single event shows: fields missing, a negative duration, a time before its pull."""
    fault = pl.col("fault")
    begin = pl.col("timestamp").filter(pl.col("event_type") == "encounter_start").min().over("encounter_id")
    before = pl.lit(_milliseconds(rng, BEFORE_PULL_S, delivered.height))
    return delivered.with_columns(
        *(pl.when(fault.ne_missing("missing_field")).then(name).alias(name) for name in MISSING_FIELDS),
        encounter_duration_ms=pl.when(fault.eq_missing("invalid")).then(-1).otherwise("encounter_duration_ms"),
        timestamp=pl.when(fault.eq_missing("outside_pull"))
        .then(begin - pl.duration(milliseconds=before))
        .otherwise("timestamp"),
    )


def _clocks_ahead(delivered: pl.DataFrame, delivery: Delivery, rng: Generator) -> pl.DataFrame:
    """Events whose clock ran ahead of their batch's arrival (as in `replay.Arrival`) by more than Silver's bound."""
    ahead = pl.lit(_milliseconds(rng, BEYOND_BOUND_S, delivered.height))
    is_ahead = pl.col("fault").eq_missing("clock_skew")
    latest = delivered.select(pl.when(~is_ahead).then("timestamp").cum_max().forward_fill()).to_series()
    place = np.arange(delivered.height)
    last_of_batch = np.minimum(place - place % delivery.batch_size + delivery.batch_size, delivered.height) - 1
    arrival = pl.lit(latest.gather(last_of_batch))
    beyond = pl.duration(milliseconds=round((delivery.max_clock_skew_s + SLOWEST_NETWORK_S) * 1000) + ahead)
    return delivered.with_columns(timestamp=pl.when(is_ahead).then(arrival + beyond).otherwise("timestamp"))


def _milliseconds(rng: Generator, bounds: tuple[float, float], count: int) -> pl.Series:
    return pl.Series((1000 * rng.uniform(*bounds, size=count)).astype(np.int64))


def _ledger(delivered: pl.DataFrame) -> pl.DataFrame:
    """One row per fault, by event id."""
    return (
        delivered.filter(pl.col("fault").is_not_null())
        .select("raid_id", "event_id", "fault", caught_by=pl.col("fault").replace_strict(CAUGHT_BY))
        .cast(LEDGER_SCHEMA)
        .sort("event_id")
    )
