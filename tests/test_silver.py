"""Silver: what stays, what goes to quarantine and why, and that nothing is lost on the way."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from pipeline import params, silver, tables
from pipeline.errors import PipelineError
from pipeline.events import EVENT_TYPES, batch_adapter, canonical_json, event_adapter, event_fields
from pipeline.silver import Batch, clean_raid, parse
from pipeline.silver import clean as clean_module
from pipeline.silver.faults import contract_faults
from tests.raids import ARRIVAL, EVENING, batch, evening, event, event_id, hit, write_bronze

PARAMS = params.Silver(massive_hit_threshold=10_000.0, max_clock_skew_s=300.0)
PULL: dict[str, Any] = {"encounter_id": "p1"}


def clean(*batches: Batch) -> silver.SilverResult:
    return clean_raid(batches, PARAMS)


def reasons(result: silver.SilverResult) -> list[str]:
    return result.quarantine["reason"].to_list()


def test_an_ordinary_event_keeps_every_field_and_gets_what_silver_adds() -> None:
    sent = hit(1, 10_001.5, 3.25, is_critical_hit=True, phase=2, data_quality_flags=["late", "é"], target_entity_id="b")
    row = clean(batch([sent])).events.row(0, named=True)
    given_back = {name: row[name] for name in sent if name != "timestamp"}
    assert given_back == {name: value for name, value in sent.items() if name != "timestamp"}
    assert row["timestamp"] == EVENING + timedelta(seconds=3.25)
    assert row["batch_id"] == batch([]).batch_id
    assert row["ingest_timestamp"] == ARRIVAL
    assert row["ingest_latency_ms"] == 3_596_750
    assert row["is_massive_hit"] is True
    assert row["event_date"] == date(2026, 1, 1)


def test_absent_flags_get_their_defaults_and_what_is_unknown_stays_null() -> None:
    row = clean(batch([event(1)])).events.row(0, named=True)
    assert {row[flag] for flag in tables.FLAGS} == {False}
    assert row["critical_multiplier"] == 1.0
    assert row["is_massive_hit"] is False
    assert {row[name] for name in ("is_avoidable", "is_periodic", "source_player_role", "encounter_id")} == {None}


def test_only_damage_above_the_threshold_is_massive() -> None:
    events = clean(batch([hit(1, 10_000.0, 1), hit(2, 10_000.5, 2)])).events
    assert events["is_massive_hit"].to_list() == [False, True]


def test_latency_is_rounded_down_also_below_zero() -> None:
    early = event(1, timestamp="2026-01-01T20:59:59.999500Z")
    late = event(2, timestamp="2026-01-01T21:00:00.000500Z")
    assert clean(batch([early, late])).events["ingest_latency_ms"].to_list() == [0, -1]


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T20:00:00Z",
        "2026-01-01T20:00:00.000Z",
        "2026-01-01T20:00:00.000000+00:00",
        "2026-01-01T22:00:00+02:00",
    ],
)
def test_every_spelling_of_an_instant_is_read_also_beside_others(text: str) -> None:
    beside = [event("a", timestamp="2026-01-01T20:00:01.123000Z"), event("b", timestamp="2026-01-01T16:30:02.5-03:30")]
    events = clean(batch([event("c", timestamp=text), *beside])).events
    assert events["timestamp"].to_list() == [
        EVENING,
        EVENING + timedelta(seconds=1, milliseconds=123),
        EVENING + timedelta(seconds=2, milliseconds=500),
    ]


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("malformed", {"damage_amount": "many"}),
    ("malformed", {"source_player_name": 7}),
    ("malformed", {"phase": 1.5}),
    ("malformed", {"phase": 2**63}),
    ("malformed", {"is_blocked": "yes"}),
    ("malformed", {"data_quality_flags": "late"}),
    ("malformed", {"resource_amount_before": True}),
    ("malformed", {"mood": "good"}),
    ("malformed", {"event_id": "17"}),
    ("malformed", {"timestamp": "yesterday"}),
    ("malformed", {"timestamp": "2026-01-01T20:00:00"}),
    ("malformed", {"timestamp": "1767297600"}),
    ("malformed", {"ingestion_timestamp": "soon"}),
    ("missing_required", {"event_id": None}),
    ("missing_required", {"event_type": None}),
    ("missing_required", {"timestamp": None}),
    ("missing_required", {"raid_id": None}),
    ("missing_required", {"source_player_id": None}),
    ("missing_required", {"source_player_name": None}),
    ("missing_required", {"damage_amount": None}),
    ("missing_required", {"event_type": "heal"}),
    ("missing_required", {"event_type": "mana_regeneration"}),
    ("wrong_raid", {"raid_id": "raid002"}),
    ("unknown_event_type", {"event_type": "dance"}),
    ("malformed", {"timestamp": "2026-1-1T20:00:05Z"}),
    ("malformed", {"timestamp": "2026-01-01 20:00:05Z"}),
    ("malformed", {"timestamp": "2026-01-01T20:00:60Z"}),
    ("malformed", {"timestamp": "2026-01-01T24:00:00Z"}),
    ("malformed", {"timestamp": "0000-12-31T23:59:59Z"}),
    ("malformed", {"ingestion_timestamp": "9999-12-31T23:59:59-00:01"}),
    ("malformed", {"data_quality_flags": ["late", None]}),
    ("malformed", {"data_quality_flags": ["late", 7]}),
    *(
        ("unknown_value", {name: value})
        for name in (
            "source_player_role",
            "source_player_class",
            "ability_school",
            "ability_category",
            "target_entity_type",
            "encounter_difficulty",
            "resource_type",
        )
        for value in ("", "Tank")
    ),
    ("unknown_value", {"event_type": "mana_regeneration", "resource_type": "money"}),
    *(
        ("invalid_text", {name: ""})
        for name in (
            "source_player_id",
            "source_player_name",
            "source_player_specialization",
            "source_owner_id",
            "team_id",
            "encounter_name",
            "boss_id",
        )
    ),
    ("invalid_text", {"source_player_name": "é" * 65}),
    ("health_out_of_range", {"target_entity_health_pct_before": 100.00000000000001}),
    ("health_out_of_range", {"target_entity_health_pct_before": -5e-324}),
    ("health_out_of_range", {"target_entity_health_pct_after": 100.00000000000001}),
    ("health_out_of_range", {"target_entity_health_pct_after": -5e-324}),
    *(("negative_amount", {name: -5e-324}) for name in tables.AMOUNTS),
    ("negative_amount", {"event_type": "heal", "healing_amount": -5e-324}),
    ("negative_amount", {"event_type": "spell_cast", "damage_amount": -5e-324}),
    ("zero_amount", {"damage_amount": 0}),
    ("zero_amount", {"event_type": "heal", "healing_amount": -0.0}),
    *(("amount_too_large", {name: 1_000_000_000.0000001}) for name in tables.AMOUNTS[:6]),
    ("amount_too_large", {"event_type": "heal", "healing_amount": 1_000_000_001}),
    ("number_out_of_range", {"source_player_level": 0}),
    ("number_out_of_range", {"source_player_level": 91}),
    ("number_out_of_range", {"source_item_level": -5e-324}),
    ("number_out_of_range", {"critical_multiplier": 0.9999999999999999}),
    ("number_out_of_range", {"critical_multiplier": 5.000000000000001}),
    ("number_out_of_range", {"raid_size": 0}),
    ("number_out_of_range", {"raid_size": 101}),
    *(
        ("number_out_of_range", {name: value})
        for name in ("encounter_duration_ms", "phase", "server_latency_ms", "client_latency_ms")
        for value in (-1, 2**53)
    ),
    ("clock_skew", {"timestamp": "2026-01-01T21:05:00.000001Z"}),
    ("outside_pull", {"timestamp": "2026-01-01T20:00:00.999999Z"}),
    ("outside_pull", {"timestamp": "2026-01-01T20:00:09.000001Z"}),
]


def test_every_reason_has_its_test() -> None:
    assert {reason for reason, _ in FAULTS} == set(tables.REASONS)


@pytest.mark.parametrize(("reason", "fields"), FAULTS)
def test_what_breaks_the_contract_goes_to_quarantine_with_its_reason(reason: str, fields: dict[str, Any]) -> None:
    faulty = hit("x", 5.0, 5.0, **PULL)
    faulty = {name: value for name, value in (faulty | fields).items() if value is not None}
    sound = [
        event("start", "encounter_start", 1, **PULL),
        hit("y", 1.0, 2, **PULL),
        event("end", "encounter_end", 9, **PULL),
    ]
    result = clean(batch([*sound[:2], faulty, *sound[2:]]))
    assert reasons(result) == [reason]
    assert result.quarantined == dict.fromkeys(tables.REASONS, 0) | {reason: 1}
    assert result.quarantine.select("key", "position").row(0) == ("objects/b.json", 2)
    assert result.events["event_id"].to_list() == [event_id("start"), event_id("y"), event_id("end")]


ON_A_BOUND: list[dict[str, Any]] = [
    {"source_player_level": 1, "critical_multiplier": 1, "raid_size": 1, "source_item_level": 0, "phase": 0},
    {"source_player_level": 90, "critical_multiplier": 5.0, "raid_size": 100, "source_item_level": 1e300},
    dict.fromkeys(("encounter_duration_ms", "phase", "server_latency_ms", "client_latency_ms"), 2**53 - 1),
    dict.fromkeys(("encounter_duration_ms", "server_latency_ms", "client_latency_ms"), 0),
    {"target_entity_health_pct_before": 0, "target_entity_health_pct_after": 100},
    {"target_entity_health_pct_before": 100.0, "target_entity_health_pct_after": -0.0},
    {"damage_amount": 5e-324, "healing_amount": 0.0},
    {"event_type": "heal", "healing_amount": 5e-324, "damage_amount": 0},
    dict.fromkeys(tables.AMOUNTS, 1e9),
    {**dict.fromkeys(tables.AMOUNTS, 0.0), "event_type": "absorb"},
    dict.fromkeys(("resource_amount_before", "resource_amount_after", "resource_regeneration_rate"), 1e300),
    {"source_player_name": "é" * 64, "source_player_id": "x", "encounter_id": "", "ability_name": ""},
    {"event_type": "mana_regeneration", "resource_type": "essence", "damage_amount": None},
    {"event_type": "roster", "damage_amount": None},
    {"data_quality_flags": []},
    {"timestamp": "0001-01-01T00:00:00Z", "ingestion_timestamp": "9999-12-31T23:59:59.999999Z"},
]


@pytest.mark.parametrize("fields", ON_A_BOUND)
def test_what_lies_on_a_bound_of_the_contract_stays(fields: dict[str, Any]) -> None:
    sent = {name: value for name, value in (hit(1, 5.0) | fields).items() if value is not None}
    result = clean(batch([sent]))
    assert reasons(result) == []
    row = result.events.drop("timestamp", "ingestion_timestamp").row(0, named=True)
    assert {name: row[name] for name in fields if name in row} == {
        name: value for name, value in fields.items() if name in row
    }


NO_RAID_IDS = ["ab", "a" * 65, "-ab", "Abc", "raid 1", "raid001\n", ""]


def test_the_bounds_are_those_of_the_contract_as_it_stands() -> None:
    contract_faults.cache_clear()  # so that this test derives them itself, whichever ran before
    told_of_one_event = [(reason, fields) for reason, fields in FAULTS if reason not in ("clock_skew", "outside_pull")]
    sent = [
        {name: value for name, value in (hit(number, 5.0, 5.0) | fields).items() if value is not None}
        for number, fields in enumerate([*(fields for _, fields in told_of_one_event), *ON_A_BOUND])
    ]
    refused = clean(batch(sent)).quarantine.select("position", "reason").rows()
    assert refused == [(position, reason) for position, (reason, _) in enumerate(told_of_one_event)]
    misnamed = [batch([event(raid_id, raid_id=raid_id)], raid_id, raid_id=raid_id) for raid_id in NO_RAID_IDS]
    assert reasons(clean(*misnamed)) == ["invalid_text"] * len(NO_RAID_IDS)


@pytest.mark.parametrize("raid_id", ["abc", "a" * 64, "0-_"])
def test_a_raid_id_of_the_contracts_form_stays(raid_id: str) -> None:
    assert reasons(clean(batch([event(1, raid_id=raid_id)], raid_id=raid_id))) == []


@pytest.mark.parametrize("raid_id", NO_RAID_IDS)
def test_a_raid_id_of_another_form_is_set_aside_even_if_its_batch_has_it_too(raid_id: str) -> None:
    assert reasons(clean(batch([event(1, raid_id=raid_id)], raid_id=raid_id))) == ["invalid_text"]


NUMBERS = [
    0,
    -0.0,
    1,
    5,
    5.5,
    90,
    91,
    100,
    100.5,
    101,
    1e9,
    1e9 + 1,
    2**53 - 1,
    2**53,
    2**63,
    1e300,
    -1,
    -5e-324,
    5e-324,
]
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([*NUMBERS, *map(str, NUMBERS), None, True, False, "", "x", "x" * 64, "x" * 65, [], ["x"], {}]),
    st.sampled_from([value for _, fields in FAULTS for value in fields.values()]),
    st.sampled_from(["tank", "mage", "fire", "damage", "boss", "heroic", "mana", "raid001", *EVENT_TYPES]),
)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([name for name in event_fields() if "timestamp" not in name]), VALUES, max_size=3
        ),
        min_size=1,
        max_size=30,
    )
)
def test_silver_keeps_what_the_receivers_contract_accepts_and_nothing_else(drawn: list[dict[str, Any]]) -> None:
    sent = [hit(number, 5.0, number) | each for number, each in enumerate(drawn)]
    sent = [each | {"raid_id": "raid001"} if each["raid_id"] is not None else each for each in sent]
    accepted = []
    for position, each in enumerate(sent):
        with suppress(ValidationError):
            event_adapter.validate_json(orjson.dumps(each))
            accepted.append(position)
    refused = clean(batch(sent)).quarantine["position"].to_list()
    assert sorted(set(range(len(sent))) - set(refused)) == accepted


@pytest.mark.parametrize("junk", [None, 5, "text", [1], {}])
def test_what_is_no_event_at_all_is_kept_too(junk: object) -> None:
    result = clean(batch([event(1), junk, event(2)]))
    assert reasons(result) == ["missing_required" if junk == {} else "malformed"]
    assert result.events.height == 2


def test_a_malformed_event_is_kept_as_it_was() -> None:
    wrong_type, wrong_time = hit(1, "many"), event(2, timestamp="yesterday", phase=3)  # type: ignore[arg-type]
    kept = [json.loads(text) for text in clean(batch([wrong_type, wrong_time])).quarantine["raw_event"]]
    assert kept[0] == wrong_type
    assert {name: value for name, value in kept[1].items() if value is not None} == wrong_time


def test_the_first_reason_in_the_list_is_given() -> None:
    faults: dict[str, dict[str, Any]] = {
        "unknown_value": {"ability_school": "water"},
        "invalid_text": {"team_id": ""},
        "health_out_of_range": {"target_entity_health_pct_after": 101.0},
        "negative_amount": {"blocked_amount": -1.0},
        "zero_amount": {"damage_amount": 0.0},
        "amount_too_large": {"absorbed_amount": 2e9},
        "number_out_of_range": {"phase": -1},
        "clock_skew": {"timestamp": "2027-01-01T00:00:00Z"},
    }
    assert list(faults) == [reason for reason in tables.REASONS if reason in faults]
    together = hit(1, 1.0)
    for reason, fields in reversed(faults.items()):
        together |= fields
        assert reasons(clean(batch([together]))) == [reason]


def test_kinds_that_nobody_knows_lack_nothing_and_are_told_as_such() -> None:
    assert reasons(clean(batch([event(1, "dance", damage_amount=0, raid_id="raid002")]))) == ["wrong_raid"]
    assert reasons(clean(batch([event(1, "dance", damage_amount=0)]))) == ["unknown_event_type"]


@pytest.mark.parametrize("timestamp", ["2026-01-01T20:00:01Z", "2026-01-01T20:00:09Z"])
def test_the_bounds_of_a_pull_belong_to_it(timestamp: str) -> None:
    bounds = [event("start", "encounter_start", 1, **PULL), event("end", "encounter_end", 9, **PULL)]
    assert reasons(clean(batch([*bounds, event("x", timestamp=timestamp, **PULL)]))) == []


def test_a_pull_without_start_or_end_has_no_bounds() -> None:
    events = [event("x", at_s=-500, **PULL), event("end", "encounter_end", 9, **PULL), event("y", at_s=10, **PULL)]
    assert reasons(clean(batch(events))) == ["outside_pull"]
    assert reasons(clean(batch([*events[::2]]))) == []


def test_a_faulty_start_does_not_bound_its_pull() -> None:
    skewed = event("start", "encounter_start", timestamp="2026-01-02T20:00:00Z", **PULL)
    assert reasons(clean(batch([skewed, event("x", **PULL)]))) == ["clock_skew"]


def test_the_declared_clock_skew_is_tolerated() -> None:
    assert reasons(clean(batch([event(1, timestamp="2026-01-01T21:05:00Z")]))) == []


def test_health_that_rises_is_no_fault() -> None:
    healed = event(1, target_entity_health_pct_before=10.0, target_entity_health_pct_after=20.0)
    assert reasons(clean(batch([healed]))) == []


def test_of_two_copies_the_earlier_arrival_is_kept() -> None:
    first = batch([hit(1, 1.0)], "z", ARRIVAL)
    second = batch([hit(1, 2.0), hit(2, 3.0, 1)], "a", ARRIVAL + timedelta(days=1))
    result = clean(second, first)
    assert result.events["damage_amount"].to_list() == [1.0, 3.0]
    assert result.events["batch_id"].to_list() == [first.batch_id, second.batch_id]
    assert result.duplicates_removed == 1


def test_copies_that_arrived_together_are_told_apart_by_batch_and_place() -> None:
    same_batch = clean(batch([hit(1, 1.0), hit(1, 2.0)]))
    assert same_batch.events["damage_amount"].to_list() == [1.0]
    batches = [batch([hit(1, 1.0)], "a"), batch([hit(1, 2.0)], "b")]
    least = min(batches, key=lambda each: each.batch_id)
    for order in (batches, batches[::-1]):
        assert clean(*order).events["batch_id"].to_list() == [least.batch_id]


def test_ids_that_differ_only_in_case_are_the_same_event() -> None:
    result = clean(batch([event(1), event(1) | {"event_id": event_id(1).upper()}]))
    assert result.duplicates_removed == 1


def test_a_malformed_copy_does_not_displace_a_sound_one() -> None:
    broken = batch([hit(1, "many")], "a", ARRIVAL)  # type: ignore[arg-type]
    result = clean(broken, batch([hit(1, 2.0)], "b", ARRIVAL + timedelta(days=1)))
    assert result.events["damage_amount"].to_list() == [2.0]
    assert reasons(result) == ["malformed"]


@pytest.mark.parametrize("fault", [{"damage_amount": 0}, {"raid_size": 0}, {"raid_id": "raid002"}, {"event_type": "?"}])
def test_a_copy_that_breaks_the_contract_does_not_displace_a_sound_one(fault: dict[str, Any]) -> None:
    broken = batch([hit(1, 1.0) | fault], "a", ARRIVAL)
    result = clean(broken, batch([hit(1, 2.0)], "b", ARRIVAL + timedelta(days=1)))
    assert result.events["damage_amount"].to_list() == [2.0]
    assert len(reasons(result)) == 1
    assert result.duplicates_removed == 0


def test_a_copy_from_the_future_does_not_displace_the_one_that_arrived_in_time() -> None:
    late = hit(1, 1.0, 7200)
    result = clean(batch([late], "a", ARRIVAL), batch([late], "b", ARRIVAL + timedelta(days=1)))
    assert reasons(result) == ["clock_skew"]
    assert result.events["batch_id"].to_list() == [batch([], "b").batch_id]


def test_events_are_sorted_by_time_and_then_by_id_however_they_arrive() -> None:
    sent = [event(number, at_s=number // 3) for number in range(9)]
    expected = sorted((each["timestamp"], each["event_id"]) for each in sent)
    for order in (sent, sent[::-1], sent[3:] + sent[:3]):
        assert clean(batch(order)).events["event_id"].to_list() == [each for _, each in expected]


EVENTS = st.builds(
    lambda number, at, fields: event(number, at_s=at) | fields,
    st.integers(0, 30),
    st.integers(0, 5000).map(lambda ms: ms / 1000),
    st.sampled_from(
        [
            {"event_type": "combat_damage", "damage_amount": 12_000},
            {"event_type": "heal", "healing_amount": 3.5},
            {"event_type": "encounter_start", **PULL},
            {"event_type": "encounter_end", **PULL},
            {**PULL},
            {"target_entity_health_pct_after": 120},
            {"timestamp": "2026-01-01T22:00:00Z"},
            {"timestamp": "?"},
            {"phase": "one"},
            {"event_type": "dance"},
        ]
    ),
)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(EVENTS, min_size=1, max_size=8), min_size=1, max_size=5).flatmap(
        lambda batches: st.tuples(
            st.just(batches),
            st.lists(st.sampled_from(range(len(batches))), max_size=4),
            st.randoms(use_true_random=False),
        )
    )
)
def test_repeated_and_shuffled_batches_give_the_same_silver_and_lose_nothing(drawn: tuple[Any, Any, Any]) -> None:
    contents, repeated, random = drawn
    batches = [
        batch(events, f"b{number}", ARRIVAL + timedelta(seconds=number % 2)) for number, events in enumerate(contents)
    ]
    again = [*batches, *(batches[number] for number in repeated)]
    random.shuffle(again)
    once, more = clean(*batches), clean(*again)
    assert_frame_equal(once.events, more.events)
    for result, sent in ((once, batches), (more, again)):
        events = sum(each.event_count for each in sent)
        assert events == result.events.height + result.duplicates_removed + result.quarantine.height
    assert once.events["event_id"].is_unique().all()
    tables.check(more.events, tables.SilverEvents)
    tables.check(more.quarantine, tables.Quarantine)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "ability_name": TEXT,
                "damage_amount": st.floats(0, 1e9, exclude_min=True) | st.integers(1, 10**9),
                "encounter_duration_ms": st.integers(0, 2**53 - 1),
                "data_quality_flags": st.lists(TEXT, max_size=2),
            }
        ),
        min_size=1,
        max_size=4,
    )
)
@example([{"ability_name": '},{"event_id":"x"},null', "damage_amount": 5e-324}])
def test_values_survive_the_way_through_canonical_json(fields: list[dict[str, Any]]) -> None:
    sent = [hit(number, 1.0, number) | each for number, each in enumerate(fields)]
    canonical = canonical_json(batch_adapter.validate_json(orjson.dumps(sent)))
    loose = json.dumps([dict(reversed(each.items())) for each in sent], indent=1).encode()
    for body in (canonical, loose):
        one = batch(sent)
        result = clean(Batch(one.key, one.batch_id, one.raid_id, one.ingest_timestamp, len(sent), body))
        assert result.events.select(list(sent[0])).drop("timestamp").to_dicts() == [
            {name: value for name, value in each.items() if name != "timestamp"} for each in sent
        ]


def canonical(*events: dict[str, Any], name: str = "b") -> Batch:
    """Events as the receiver stores them."""
    return replace(batch(events, name), body=canonical_json(batch_adapter.validate_json(orjson.dumps(events))))


def test_what_the_receiver_wrote_is_read_the_quick_way() -> None:
    sent = [hit(1, 2.5, data_quality_flags=["late : é"], ability_name="Mot : Douleur"), event(2)]
    read = parse._parse_canonical([canonical(*sent), canonical(event(3), name="c")])
    assert read is not None
    assert read["event_id"].to_list() == [event_id(name) for name in (1, 2, 3)]
    assert read["data_quality_flags"].to_list() == [["late : é"], None, None]
    assert read["damage_amount"].to_list() == [2.5, None, None]
    assert read["raw_event"].null_count() == 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({'"phase":1': '"mood":1'}, "malformed"),
        ({'"phase":1': '"mood" :1'}, "malformed"),
        ({'"phase":1': '"mood"  : "x"'}, "malformed"),
        ({'"phase":1': '"mood"\t:1'}, "malformed"),
        ({'"phase":1': '"mood":null'}, "malformed"),
        ({'"phase":1': '"mo\\"od":1'}, "malformed"),
        ({'"phase":1': '"phase":1.0'}, "malformed"),
        ({'"phase":1': '"phase":{"mood":1}'}, "malformed"),
        ({'"team_id":"t"': '"team_id":7'}, "malformed"),
        ({'"team_id":"t"': '"team_id":true'}, "malformed"),
        ({'"team_id":"t"': '"team_id":["t"]'}, "malformed"),
        ({'"team_id":"t"': '"team_id":{}'}, "malformed"),
        ({'"team_id":"t"': '"team_id":7', '"phase":1': '"mood":"x"'}, "malformed"),
        ({'"team_id":"t"': '"team_id":7', '"phase":1': '"mood" : 1'}, "malformed"),
        ({'"team_id":"t"': '"team_id":7', '"phase":1': '"boss_id":":"'}, "malformed"),
        ({'["q"]': "[7]"}, "malformed"),
        ({'["q"]': "[null]"}, "malformed"),
        ({'["q"]': '["q",":"]'}, None),
        ({'"phase":1': '"phase":null'}, None),
        ({'"phase":1': '"phase" : 1'}, None),
        ({'"team_id":"t"': '"team_id": "t"'}, None),
        ({'"team_id":"t"': '"team_id":":"'}, None),
        ({'"team_id":"t"': '"team_id":"\\u0074\\n"'}, None),
        ({'"team_id":"t"': '"team_id":" t"'}, None),
    ],
)
def test_the_quick_way_of_reading_lets_no_deviation_pass(changes: dict[str, str], reason: str | None) -> None:
    fields: dict[str, Any] = {"team_id": "t", "phase": 1, "data_quality_flags": ["q"]}
    sound = canonical(*(event(number, at_s=number, **fields) for number in (1, 2, 3)))
    before, line, after = sound.body.decode().split("},{")
    for written, instead in changes.items():
        assert written in line
        line = line.replace(written, instead)
    result = clean(replace(sound, body="},{".join([before, line, after]).encode()))
    kept = [1, 2, 3] if reason is None else [1, 3]
    assert result.events["event_id"].to_list() == [event_id(number) for number in kept]
    assert result.quarantine.select("event_id", "reason").rows() == ([] if reason is None else [(event_id(2), reason)])


def test_batches_beside_one_that_is_read_carefully_keep_their_order() -> None:
    odd = batch([hit(2, 1.0, 2, ability_name='a "b"'), event(3, at_s=3, mood=1)], "odd")
    result = clean(canonical(event(1, at_s=1), name="one"), odd, canonical(event(4, at_s=4), name="two"))
    assert result.events["event_id"].to_list() == [event_id(name) for name in (1, 2, 4)]
    assert result.events["ability_name"].to_list() == [None, 'a "b"', None]
    assert result.events["batch_id"].to_list() == [batch([], name).batch_id for name in ("one", "odd", "two")]
    assert result.quarantine.select("key", "position").row(0) == ("objects/odd.json", 1)


def test_batches_of_the_receiver_are_read_all_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "_parse_alone", pytest.fail)
    result = clean(canonical(event(1), name="one"), canonical(event(2, at_s=1), name="two"))
    assert result.events["event_id"].to_list() == [event_id(1), event_id(2)]


def test_a_text_longer_than_a_reader_of_json_expects_stays() -> None:
    long = event(1, ability_name='"' * (3 << 20))
    result = clean(batch([long, event(2, at_s=1)]))
    assert result.events["ability_name"].to_list() == [long["ability_name"], None]


def test_events_in_order_are_not_moved() -> None:
    events = clean(batch([event(number, at_s=number) for number in range(3)])).events
    assert clean_module._in_order(events) is events
    assert_frame_equal(clean_module._in_order(events.sort("timestamp", descending=True)), events)


def test_counts_that_are_wrong_in_two_batches_do_not_cancel() -> None:
    one, two = canonical(event(1), event(2), name="one"), canonical(event(3), name="two")
    with pytest.raises(PipelineError, match=r"objects/(one|two).json: holds"):
        clean(replace(one, event_count=1), replace(two, event_count=2))


@pytest.mark.parametrize("parted", ["},\n{", "} ,{", "}, {", "\n},{"])
def test_blanks_between_events_change_nothing(parted: str) -> None:
    spaced = canonical(event(1), event(2, at_s=1), event(3, at_s=2))
    result = clean(replace(spaced, body=spaced.body.replace(b"},{", parted.encode())))
    assert result.events["event_id"].to_list() == [event_id(name) for name in (1, 2, 3)]


@pytest.mark.parametrize(
    ("body", "count", "fault"),
    [
        (b"not json", 1, "is not JSON"),
        (b'[{"event_id":"a"}', 1, "is not JSON"),
        (b'[{"event_id":"a"}null{}]', 1, "is not JSON"),
        (b'[{"event_id":"a"}\n{"event_id":"b"}]', 2, "is not JSON"),
        (b'[{"event_id":"a"},null]', 1, "holds 2 events, the manifest says 1"),
        (b'[{"event_id":"a\xff"}]', 1, "is not JSON"),
        (b'[{"event_id":"a","damage_amount":NaN}]', 1, "is not JSON"),
        (b"\xff\xfe", 1, "is not JSON"),
        (b"{}", 1, "is not a JSON array"),
        (b"[{},{}]", 3, "holds 2 events, the manifest says 3"),
        (b"[]", 1, "holds 0 events"),
    ],
)
def test_an_object_that_is_no_batch_is_an_error_that_names_it(body: bytes, count: int, fault: str) -> None:
    broken = Batch("some/key.json", "b", "raid001", ARRIVAL, count, body)
    with pytest.raises(PipelineError, match=f"some/key.json: .*{fault}"):
        clean(batch([event(1)]), broken)


def silver_files(folder: Path = Path("data/silver")) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}


def three_raids() -> list[Batch]:
    """One raid across midnight, one whose second batch came twice with a fault in it, one that is all faults."""
    late = evening("raid-late", begin=datetime(2026, 1, 1, 23, 59, 50, tzinfo=UTC))
    twice = [*evening("raid-twice"), event("odd", "dance", raid_id="raid-twice")]
    arrival = ARRIVAL + timedelta(days=1)
    return [
        batch(late[:10], "l1", arrival, "raid-late"),
        batch(late[10:], "l2", arrival, "raid-late"),
        batch(twice[:12], "t1", arrival, "raid-twice"),
        batch(twice[12:], "t2", arrival, "raid-twice"),
        batch(twice[12:], "t3", arrival + timedelta(days=1), "raid-twice"),
        batch([event("f", "dance", raid_id="raid-zero")], "z", arrival, "raid-zero"),
    ]


@pytest.fixture
def bronze_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    write_bronze(Path("data/bronze"), three_raids())
    return home


def test_the_stage_writes_days_quarantine_and_books(bronze_home: Path) -> None:
    silver.run()
    assert list(silver_files()) == [
        "quarantine/v1/raidid=raid-twice/part-0.parquet",
        "quarantine/v1/raidid=raid-zero/part-0.parquet",
        "wow_raid_events/v1/raidid=raid-late/eventdate=2026-01-01/part-0.parquet",
        "wow_raid_events/v1/raidid=raid-late/eventdate=2026-01-02/part-0.parquet",
        "wow_raid_events/v1/raidid=raid-twice/eventdate=2026-01-01/part-0.parquet",
    ]
    metrics = json.loads(Path("reports/metrics/silver.json").read_text())
    one = len(evening("x"))
    assert metrics == {
        "bronze_events": 2 * one + 1 + (one + 1 - 12) + 1,
        "silver_rows": 2 * one,
        "duplicates_removed": one - 12,
        "quarantined": dict.fromkeys(tables.REASONS, 0) | {"unknown_event_type": 3},
        "massive_hits": 18,
        "raids": 3,
        "files": 5,
    }
    assert silver.raid_ids(Path("data/silver")) == ["raid-late", "raid-twice"]


def test_files_state_their_counts_and_are_sorted_and_split_by_day(bronze_home: Path) -> None:
    silver.run()
    first, second = silver.event_files(Path("data/silver"), "raid-late")
    metadata = pq.read_schema(first).metadata
    assert metadata[b"silver_rows"] == str(len(evening("x"))).encode()
    assert int(metadata[b"rows"]) + int(pq.read_schema(second).metadata[b"rows"]) == len(evening("x"))
    events = silver.read_events(Path("data/silver"), "raid-late")
    assert events.equals(events.sort("timestamp", "event_id"))
    assert pl.read_parquet(first, hive_partitioning=False)["event_date"].unique().to_list() == [date(2026, 1, 1)]
    assert pq.read_metadata(first).row_group(0).column(0).compression == "SNAPPY"


def test_two_workers_write_the_same_bytes_as_one(bronze_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silver.run()
    alone = silver_files() | {"metrics": Path("reports/metrics/silver.json").read_bytes()}
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    silver.run()
    assert silver_files() | {"metrics": Path("reports/metrics/silver.json").read_bytes()} == alone


def test_a_missing_object_is_named_and_the_old_silver_stays(bronze_home: Path) -> None:
    silver.run()
    before = silver_files()
    victim = next(Path("data/bronze").rglob("raidid=raid-twice/*/*.json"))
    victim.unlink()
    with pytest.raises(PipelineError, match=victim.name):
        silver.run()
    assert silver_files() == before
