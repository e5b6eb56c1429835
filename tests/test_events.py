"""The contract: what it takes, what it refuses, and that its generated documents are current."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import dictionary, events

ROOT = Path(__file__).parents[1]


def event(**fields: Any) -> dict[str, Any]:
    """A valid hit, with some fields changed; a field given as `...` is left out."""
    hit: dict[str, Any] = {
        "event_id": "0b9a4c1e-8f6b-4f6e-9b57-0d9b9e1f3c11",
        "event_type": "combat_damage",
        "timestamp": "2026-01-05T19:30:00.250Z",
        "raid_id": "raid001",
        "source_player_id": "player-1",
        "source_player_name": "Arin",
        "damage_amount": 1200,
    }
    return {name: value for name, value in (hit | fields).items() if value is not ...}


def errors_of(candidate: object) -> list[tuple[str, str]]:
    """Field and kind of every error that the contract finds in one event."""
    with pytest.raises(ValidationError) as caught:
        events.batch_adapter.validate_json(json.dumps([candidate]))
    return [(str(error["loc"][-1]), error["type"]) for error in caught.value.errors()]


def accepted(candidate: dict[str, Any]) -> dict[str, Any]:
    """The event as Bronze would hold it."""
    batch = events.batch_adapter.validate_json(json.dumps([candidate]))
    stored: list[dict[str, Any]] = json.loads(events.canonical_json(batch))
    return stored[0]


def kind(event_type: str) -> dict[str, Any]:
    """A valid event of each kind."""
    needs: dict[str, dict[str, Any]] = {
        "combat_damage": {},
        "heal": {"damage_amount": ..., "healing_amount": 5},
        "mana_regeneration": {"damage_amount": ..., "resource_type": "mana"},
    }
    return event(event_type=event_type, **needs.get(event_type, {"damage_amount": ...}))


@pytest.mark.parametrize("event_type", events.EVENT_TYPES)
def test_every_kind_of_event_is_accepted(event_type: str) -> None:
    assert accepted(kind(event_type))["event_type"] == event_type


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"event_id": ...}, ("event_id", "missing")),
        ({"event_id": "seven"}, ("event_id", "uuid_parsing")),
        ({"event_type": "dance"}, ("0", "union_tag_invalid")),
        ({"event_type": ...}, ("0", "union_tag_not_found")),
        ({"timestamp": "2026-01-05T19:30:00"}, ("timestamp", "timestamp_form")),
        ({"timestamp": "1767641400"}, ("timestamp", "timestamp_form")),
        ({"timestamp": 1767641400}, ("timestamp", "timestamp_form")),
        ({"timestamp": "2026-02-30T19:30:00Z"}, ("timestamp", "datetime_from_date_parsing")),
        ({"raid_id": "Raid 1"}, ("raid_id", "string_pattern_mismatch")),
        ({"raid_id": "ab"}, ("raid_id", "string_pattern_mismatch")),
        ({"raid_id": "a" * 65}, ("raid_id", "string_pattern_mismatch")),
        ({"raid_id": "raid001\n"}, ("raid_id", "string_pattern_mismatch")),
        ({"encounter_duration_ms": -1}, ("encounter_duration_ms", "greater_than_equal")),
        ({"encounter_duration_ms": 1.5}, ("encounter_duration_ms", "int_type")),
        ({"encounter_duration_ms": 2**53}, ("encounter_duration_ms", "less_than_equal")),
        ({"source_player_id": ""}, ("source_player_id", "string_too_short")),
        ({"source_player_id": ...}, ("source_player_id", "missing")),
        ({"source_player_name": "x" * 65}, ("source_player_name", "string_too_long")),
        ({"source_player_role": "bard"}, ("source_player_role", "literal_error")),
        ({"source_player_class": "Mage"}, ("source_player_class", "literal_error")),
        ({"source_player_level": 0}, ("source_player_level", "greater_than_equal")),
        ({"source_player_level": 91}, ("source_player_level", "less_than_equal")),
        ({"ability_school": "water"}, ("ability_school", "literal_error")),
        ({"damage_amount": ...}, ("damage_amount", "missing")),
        ({"damage_amount": None}, ("damage_amount", "float_type")),
        ({"damage_amount": 0}, ("damage_amount", "greater_than")),
        ({"damage_amount": 1.1e9}, ("damage_amount", "less_than_equal")),
        ({"damage_amount": "12"}, ("damage_amount", "float_type")),
        ({"damage_amount": True}, ("damage_amount", "float_type")),
        ({"healing_amount": -1}, ("healing_amount", "greater_than_equal")),
        ({"is_critical_hit": "yes"}, ("is_critical_hit", "bool_type")),
        ({"critical_multiplier": 0.5}, ("critical_multiplier", "greater_than_equal")),
        ({"critical_multiplier": 5.5}, ("critical_multiplier", "less_than_equal")),
        ({"target_entity_type": "pet"}, ("target_entity_type", "literal_error")),
        ({"target_entity_health_pct_after": 100.5}, ("target_entity_health_pct_after", "less_than_equal")),
        ({"resource_type": "gold"}, ("resource_type", "literal_error")),
        ({"resource_amount_before": -1}, ("resource_amount_before", "greater_than_equal")),
        ({"data_quality_flags": "late"}, ("data_quality_flags", "list_type")),
        ({"data_quality_flags": [1]}, ("0", "string_type")),
        ({"server_latency_ms": -1}, ("server_latency_ms", "greater_than_equal")),
        ({"encounter_difficulty": "hard"}, ("encounter_difficulty", "literal_error")),
        ({"raid_size": 0}, ("raid_size", "greater_than_equal")),
        ({"favourite_colour": "red"}, ("favourite_colour", "extra_forbidden")),
    ],
)
def test_a_violation_is_refused_and_named(fields: dict[str, Any], error: tuple[str, str]) -> None:
    assert errors_of(event(**fields)) == [error]


@pytest.mark.parametrize(
    ("event_type", "field"),
    [("combat_damage", "damage_amount"), ("heal", "healing_amount"), ("mana_regeneration", "resource_type")],
)
def test_what_one_kind_needs_the_others_may_leave_out(event_type: str, field: str) -> None:
    assert errors_of(kind(event_type) | {field: None})[0][0] == field
    assert field not in accepted(kind("spell_cast"))


def test_null_counts_as_absent() -> None:
    nulls = {name: None for name in events.event_fields() if name not in event()}
    assert accepted(event() | nulls) == accepted(event())


def test_every_field_of_the_contract_is_known() -> None:
    table = (
        "event_id event_type timestamp raid_id encounter_id encounter_duration_ms source_player_id "
        "source_player_name source_player_role source_player_class source_player_level ability_id ability_name "
        "ability_school damage_amount healing_amount is_critical_hit critical_multiplier is_resisted is_blocked "
        "is_absorbed target_entity_id target_entity_name target_entity_type target_entity_health_pct_before "
        "target_entity_health_pct_after resource_type resource_amount_before resource_amount_after "
        "resource_regeneration_rate ingestion_timestamp source_system data_quality_flags server_latency_ms "
        "client_latency_ms overkill_amount overheal_amount absorbed_amount blocked_amount source_owner_id "
        "encounter_name encounter_difficulty encounter_success boss_id raid_size phase team_id "
        "source_player_specialization source_item_level is_avoidable is_periodic ability_category "
    )
    assert set(events.event_fields()) == set(table.split())


@pytest.mark.parametrize("body", ["[]", "{}", "[", '"x"', "null", "[1]", "[NaN]", "[" * 300, '["\\ud800"]'])
def test_a_body_that_is_no_batch_is_refused(body: str) -> None:
    with pytest.raises(ValidationError):
        events.batch_adapter.validate_json(body)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    body = json.dumps([event(damage_amount=777)]).replace("777", number)
    with pytest.raises(ValidationError):
        events.batch_adapter.validate_json(body)


def test_a_batch_has_at_most_ten_thousand_events() -> None:
    with pytest.raises(ValidationError, match="at most 10000"):
        events.batch_adapter.validate_json(json.dumps([event()] * 10_001))


def test_two_spellings_of_one_batch_have_the_same_canonical_bytes() -> None:
    spelled = json.dumps([dict(reversed(event(damage_amount=1200.0, encounter_id=None).items()))], indent=2)
    plain = json.dumps([event()])
    canonical = [events.canonical_json(events.batch_adapter.validate_json(body)) for body in (spelled, plain)]
    assert canonical[0] == canonical[1]


@settings(deadline=None)
@given(st.floats(min_value=0, max_value=1e9, exclude_min=True), st.text(min_size=1, max_size=64))
def test_canonical_json_is_a_fixed_point(amount: float, name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    batch = events.batch_adapter.validate_json(json.dumps([event(damage_amount=amount, source_player_name=name)]))
    once = events.canonical_json(batch)
    assert events.canonical_json(events.batch_adapter.validate_json(once)) == once
    assert json.loads(once)[0]["damage_amount"] == amount
    assert json.loads(once)[0]["source_player_name"] == name


def test_the_generated_documents_are_current() -> None:
    for file, content in dictionary.documents().items():
        assert (ROOT / file).read_text() == content, f"{file} is out of date: run `make document`"


def test_the_schema_refuses_unknown_fields_and_names_every_kind() -> None:
    schema = events.json_schema()
    assert schema["$id"].endswith("v1.0.json")
    assert set(schema["discriminator"]["mapping"]) == set(events.EVENT_TYPES)
    assert all(schema["$defs"][cls.__name__]["additionalProperties"] is False for cls in events.EVENT_KINDS)
