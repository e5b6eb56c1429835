"""Faults of the field: each is in the ledger, and does what its kind does and nothing else."""

from collections import Counter
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import params, wire
from pipeline.errors import PipelineError
from pipeline.events import MAX_CLOCK_SKEW_S, batch_adapter
from pipeline.params import Faults
from pipeline.replay import Arrival, micro_batches, network_latencies
from pipeline.silver.clean import clean_raid
from pipeline.simulate import NO_FAULTS, TeamTask, write_season
from pipeline.simulate.faults import (
    CAUGHT_BY,
    FAULTY_TYPES,
    LEDGER_SCHEMA,
    MAX_LATENCY_MS,
    MISSING_FIELDS,
    MOST_OVERTAKEN,
    OF_EVENTS,
    SLOWEST_NETWORK_S,
    Delivery,
    inject,
)
from pipeline.simulate.season import play_season
from tests.fights import section
from tests.raids import batch

RATE = 0.02
OFTEN = Faults(**dict.fromkeys(OF_EVENTS, RATE), late_batch=0.2)
SIZES = [1, 2, 3, 7, 50, 200, 1000]
BATCH = 200
DELIVERY = Delivery(batch_size=BATCH, network_latency_ms=120, max_clock_skew_s=120)
ALL_COLUMNS = list(wire.WIRE_SCHEMA)


@pytest.fixture(scope="module")
def raid() -> pl.DataFrame:
    return next(play_season(section(num_events_per_raid=6000, pulls_per_evening=6.0), 0)).frame


@pytest.fixture(scope="module")
def short_raid() -> pl.DataFrame:
    """Small enough for batches of one event."""
    return next(play_season(section(num_events_per_raid=1500, pulls_per_evening=3.0), 0)).frame


@pytest.fixture(scope="module")
def delivered(raid: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return inject(raid, OFTEN, DELIVERY, np.random.default_rng(4))


def only(kind: str, rate: float = RATE) -> Faults:
    return NO_FAULTS.model_copy(update={kind: rate})


def with_fault(delivered: tuple[pl.DataFrame, pl.DataFrame], kind: str) -> pl.DataFrame:
    frame, ledger = delivered
    return frame.filter(pl.col("event_id").is_in(ledger.filter(fault=kind)["event_id"].implode()))


def is_valid(frame: pl.DataFrame) -> list[bool]:
    """By event: whether the contract accepts it."""

    def accepted(line: str) -> bool:
        try:
            batch_adapter.validate_json(wire.json_array(pl.Series([line])))
        except ValidationError:
            return False
        return True

    return [accepted(line) for line in wire.json_events(frame)]


@pytest.mark.parametrize("kind", OF_EVENTS)
def test_each_kind_comes_at_its_rate(raid: pl.DataFrame, kind: str) -> None:
    able = raid.filter(pl.col("event_type").is_in(FAULTY_TYPES)).height
    times = 5
    count = sum(inject(raid, only(kind), DELIVERY, np.random.default_rng(seed))[1].height for seed in range(times))
    expected = times * able * RATE
    # What is near to a wrong time loses its own: a share of the rate.
    assert expected * (1 - 3 * RATE) - 5 * expected**0.5 < count < expected + 5 * expected**0.5


def test_the_ledger_has_every_fault_once_with_who_catches_it(delivered: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    _, ledger = delivered
    assert ledger.schema == LEDGER_SCHEMA
    assert ledger["event_id"].n_unique() == ledger.height, "no event has two faults"
    assert set(ledger["fault"]) == set(CAUGHT_BY)
    assert dict(ledger.select("fault", "caught_by").unique().iter_rows()) == CAUGHT_BY


def test_what_is_not_in_the_ledger_is_as_it_was(
    raid: pl.DataFrame, delivered: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    frame, ledger = delivered
    faulty = pl.col("event_id").is_in(ledger["event_id"].implode())
    assert frame.filter(~faulty).sort(wire.ORDER).equals(raid.filter(~faulty))
    assert frame.schema == raid.schema


def test_faults_of_events_leave_the_others_in_their_order(raid: pl.DataFrame) -> None:
    given = OFTEN.model_copy(update={"late_batch": 0})
    frame, ledger = inject(raid, given, DELIVERY, np.random.default_rng(4))
    faulty = pl.col("event_id").is_in(ledger["event_id"].implode())
    assert frame.filter(~faulty).equals(raid.filter(~faulty))


@pytest.mark.parametrize("size", SIZES)
def test_every_event_is_delivered_and_some_twice(raid: pl.DataFrame, size: int) -> None:
    frame, ledger = inject(raid, OFTEN, Delivery(size, 120, 120), np.random.default_rng(4))
    twice = ledger.filter(fault="duplicate")["event_id"].to_list()
    assert Counter(frame["event_id"]) == Counter(raid["event_id"].to_list() + twice)
    copies = frame.filter(pl.col("event_id").is_in(twice))
    assert copies.unique(ALL_COLUMNS).height == len(twice), "a copy is the same event"


def test_what_frames_a_pull_has_no_fault(raid: pl.DataFrame, delivered: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    of_events = delivered[1].filter(pl.col("fault").is_in(OF_EVENTS))
    faulty = raid.filter(pl.col("event_id").is_in(of_events["event_id"].implode()))
    assert set(faulty["event_type"]) <= set(FAULTY_TYPES)
    assert not set(FAULTY_TYPES) & {"encounter_start", "roster", "encounter_end"}


def test_late_events_come_after_the_evening_unchanged(
    raid: pl.DataFrame, delivered: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    late = with_fault(delivered, "late")
    places = delivered[0].with_row_index("place").filter(pl.col("event_id").is_in(late["event_id"].implode()))["place"]
    on_time = raid.height - late.height
    assert places.to_list() == list(range(on_time, on_time + late.height))
    assert late.equals(raid.filter(pl.col("event_id").is_in(late["event_id"].implode())))


def places_of_batches(raid: pl.DataFrame, frame: pl.DataFrame, size: int) -> list[int]:
    """By whole batch as delivered: the place that it had before."""
    places = dict(zip(raid["event_id"], range(raid.height), strict=True))
    delivered = [[places[name] for name in part["event_id"]] for part in frame.iter_slices(size)]
    for part in delivered:
        assert part == list(range(part[0], part[0] + len(part))), "a batch stays whole"
        assert part[0] % size == 0
    return [part[0] // size for part in delivered]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 99))
def test_late_batches_come_after_later_ones_and_no_other_batch_does(
    short_raid: pl.DataFrame, size: int, seed: int
) -> None:
    frame, ledger = inject(short_raid, only("late_batch", 0.2), Delivery(size, 120, 120), np.random.default_rng(seed))
    order = places_of_batches(short_raid, frame, size)
    assert sorted(order) == list(range(len(order)))
    overtaken = {place: sum(other > place for other in order[:at]) for at, place in enumerate(order)}
    late = {short_raid["event_id"][place * size] for place, by in overtaken.items() if by}
    assert set(ledger["event_id"]) == late
    assert max(overtaken.values()) <= MOST_OVERTAKEN
    assert order[-1] == max(order) or short_raid.height % size == 0, "the last one, if not whole, stays the last"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 99))
def test_batches_that_are_late_arrive_after_those_that_came_before(
    short_raid: pl.DataFrame, size: int, seed: int
) -> None:
    frame, ledger = inject(short_raid, only("late_batch", 0.2), Delivery(size, 120, 120), np.random.default_rng(seed))
    late, latest = set(ledger["event_id"]), short_raid["timestamp"][0]
    for part, arrival in batches_of(frame, size):
        last = part["timestamp"][-1]
        assert last <= latest or part["event_id"][0] not in late
        latest = max(latest, last)
        assert arrival == latest, "a batch that is overtaken does not make its last event look like a wrong clock"


def test_late_batches_come_at_their_rate(raid: pl.DataFrame) -> None:
    size, rate, times = 20, 0.1, 20
    given = only("late_batch", rate)
    ledgers = [inject(raid, given, Delivery(size, 120, 120), np.random.default_rng(seed))[1] for seed in range(times)]
    # Those that one overtakes, two on average, are not late themselves.
    expected = times * (raid.height // size) * rate / (1 + 2 * rate)
    assert abs(sum(ledger.height for ledger in ledgers) - expected) < 5 * expected**0.5


def test_only_invalid_events_break_the_contract(delivered: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    frame, ledger = delivered
    invalid = pl.col("event_id").is_in(ledger.filter(fault="invalid")["event_id"].implode())
    assert not any(is_valid(frame.filter(invalid)))
    assert all(is_valid(frame.filter(~invalid & pl.col("event_id").is_in(ledger["event_id"].implode()))))


def test_missing_fields_are_optional_and_nothing_else_is_missing(
    raid: pl.DataFrame, delivered: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    lacking = with_fault(delivered, "missing_field").sort(wire.ORDER)
    whole = raid.filter(pl.col("event_id").is_in(lacking["event_id"].implode()))
    assert all(lacking[name].null_count() == lacking.height for name in MISSING_FIELDS)
    assert lacking.drop(MISSING_FIELDS).equals(whole.drop(MISSING_FIELDS))


def test_events_outside_their_pull_are_dated_before_it(
    raid: pl.DataFrame, delivered: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    outside = with_fault(delivered, "outside_pull")
    begin = raid.group_by("encounter_id").agg(begin=pl.col("timestamp").min())
    assert outside.join(begin, on="encounter_id").select((pl.col("timestamp") < pl.col("begin")).all()).item()


def batches_of(frame: pl.DataFrame, size: int) -> list[tuple[pl.DataFrame, datetime]]:
    """The batches of a delivery over a network that takes no time, and when each arrives."""
    raid_id = frame["raid_id"][0]
    batches = micro_batches([(raid_id, frame)], size, Arrival(seed=0, median_latency_ms=0))
    arrivals = [batch.arrival for batch in batches if batch.arrival]
    return list(zip(frame.iter_slices(size), arrivals, strict=True))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(size=st.sampled_from(SIZES), bound_s=st.floats(0, 200), seed=st.integers(0, 99))
def test_clocks_run_ahead_by_more_than_silver_and_less_than_the_receiver_bears(
    short_raid: pl.DataFrame, size: int, bound_s: float, seed: int
) -> None:
    frame, ledger = inject(short_raid, OFTEN, Delivery(size, 120, bound_s), np.random.default_rng(seed))
    assert frame["timestamp"].null_count() == 0
    wrong = pl.col("event_id").is_in(ledger.filter(fault="clock_skew")["event_id"].implode())
    for part, arrival in batches_of(frame, size):
        for at in part.filter(wrong)["timestamp"]:
            ahead_s = (at - arrival).total_seconds()
            assert bound_s < ahead_s - SLOWEST_NETWORK_S, "however slow the network"
            assert ahead_s <= MAX_CLOCK_SKEW_S, "however fast it is"
        assert part.filter(~wrong).select((pl.col("timestamp") <= arrival).all()).item(), "no other is ahead"


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 99))
def test_no_fault_moves_the_arrival_of_what_is_on_time(short_raid: pl.DataFrame, size: int, seed: int) -> None:
    frame, ledger = inject(short_raid, OFTEN, Delivery(size, 120, 120), np.random.default_rng(seed))
    right = ~pl.col("event_id").is_in(ledger.filter(fault="clock_skew")["event_id"].implode())
    latest = frame.select(pl.when(right).then("timestamp").cum_max().forward_fill()).to_series()
    arrivals = [arrival for _, arrival in batches_of(frame, size)]
    ends = [min(first + size, frame.height) - 1 for first in range(0, frame.height, size)]
    assert arrivals == latest.gather(ends).to_list()


def test_silver_sets_aside_exactly_what_the_ledger_says(delivered: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    frame, ledger = delivered
    invalid = ledger.filter(fault="invalid")["event_id"].implode()
    received = []
    for number, (part, arrival) in enumerate(batches_of(frame, BATCH)):
        accepted = part.filter(~pl.col("event_id").is_in(invalid))
        events = batch_adapter.validate_json(wire.json_array(wire.json_events(accepted)))
        plain = [{name: str(value) if name == "event_id" else value for name, value in one.items()} for one in events]
        received.append(batch(plain, f"b{number:04d}", arrival))
    result = clean_raid(received, params.Silver(massive_hit_threshold=1e4, max_clock_skew_s=120))
    counts = dict(ledger["fault"].value_counts().iter_rows())
    assert result.duplicates_removed == counts["duplicate"]
    caught = {reason: count for reason, count in result.quarantined.items() if count}
    assert caught == {"clock_skew": counts["clock_skew"], "outside_pull": counts["outside_pull"]}
    by_reason = dict(result.quarantine.select("event_id", "reason").iter_rows())
    in_ledger = ledger.filter(pl.col("fault").is_in(["clock_skew", "outside_pull"])).select("event_id", "fault")
    assert by_reason == dict(in_ledger.iter_rows())


def test_no_rates_leave_the_raid_as_it_is(raid: pl.DataFrame, tmp_path: Path) -> None:
    frame, ledger = inject(raid, NO_FAULTS, DELIVERY, np.random.default_rng(0))
    assert frame.equals(raid)
    assert ledger.is_empty()
    assert ledger.schema == LEDGER_SCHEMA
    given = section(evenings_per_team=1, pulls_per_evening=1.0, num_events_per_raid=300)
    write_season(TeamTask(given, 0, tmp_path / "season", DELIVERY, ()))
    (alone,) = play_season(given, 0)
    written = wire.write_raid(alone.frame, tmp_path / "alone", alone.raid_id)
    assert written.read_bytes() == wire.raid_file(tmp_path / "season", alone.raid_id).read_bytes()


def test_faults_change_no_other_event(tmp_path: Path) -> None:
    given = section(evenings_per_team=1, pulls_per_evening=1.0, num_events_per_raid=600)
    frames = []
    for name, faults in (("clean", NO_FAULTS), ("faulty", OFTEN)):
        write_season(TeamTask(given.model_copy(update={"faults": faults}), 0, tmp_path / name, DELIVERY, ()))
        frames.append(wire.read_raid(wire.raid_file(tmp_path / name, "raid001")))
    clean, faulty = frames
    assert set(clean["event_id"]) == set(faulty["event_id"])
    assert not clean.equals(faulty)


def test_a_silver_bound_that_leaves_no_room_is_said_so(raid: pl.DataFrame) -> None:
    narrow = Delivery(batch_size=BATCH, network_latency_ms=120, max_clock_skew_s=MAX_CLOCK_SKEW_S)
    with pytest.raises(PipelineError, match=r"silver\.max_clock_skew_s.*Lower it, or set the fault's rate to 0"):
        inject(raid, only("clock_skew"), narrow, np.random.default_rng(0))
    inject(raid, only("duplicate"), narrow, np.random.default_rng(0))


def test_a_network_too_slow_to_tell_a_wrong_clock_is_said_so(raid: pl.DataFrame) -> None:
    slow = Delivery(batch_size=BATCH, network_latency_ms=MAX_LATENCY_MS + 1, max_clock_skew_s=120)
    with pytest.raises(PipelineError, match=r"ingest\.network_latency_ms of at most 1000"):
        inject(raid, only("clock_skew"), slow, np.random.default_rng(0))
    inject(raid, only("late"), slow, np.random.default_rng(0))


def test_the_slowest_network_is_slower_than_any_batch() -> None:
    latencies = network_latencies("raid001", Arrival(seed=0, median_latency_ms=MAX_LATENCY_MS))
    assert max(islice(latencies, 20_000)).total_seconds() < SLOWEST_NETWORK_S
