"""Every field of the contract, one by one: its type, each of its bounds from both sides, and what it is told.

The tables below repeat the contract in plain numbers and words; nothing in them is taken from `pipeline.events`.
"""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import events
from tests.test_events import accepted, event, kind


def words(line: str) -> list[str]:
    return line.split()


CLASSES = words("death_knight demon_hunter druid evoker hunter mage monk paladin priest rogue shaman warlock warrior")
ROLES = ["tank", "healer", "dps"]
SCHOOLS = words("physical fire frost nature shadow arcane holy chaos")
ENTITIES = ["player", "boss", "add", "interactive"]
DIFFICULTIES = ["normal", "heroic", "mythic", "lfr", "other"]
CATEGORIES = words("damage heal interrupt dispel defensive taunt resurrect consumable control buff other")
RESOURCES = words(
    "mana energy rage focus runic_power runes happiness combo_points soul_shards lunar_power holy_power alternate "
    "maelstrom chi insanity arcane_charges fury pain essence"
)
EVENT_TYPES = words(
    "combat_damage heal player_death spell_cast boss_phase mana_regeneration encounter_start encounter_end roster "
    "absorb resurrect"
)

CHOICES = {
    "source_player_role": ROLES,
    "source_player_class": CLASSES,
    "ability_school": SCHOOLS,
    "ability_category": CATEGORIES,
    "target_entity_type": ENTITIES,
    "encounter_difficulty": DIFFICULTIES,
    "resource_type": RESOURCES,
}
FILLED_TEXTS = words(
    "source_player_id source_player_name source_player_specialization source_owner_id team_id encounter_name boss_id"
)
ANY_TEXTS = words("encounter_id ability_id ability_name target_entity_id target_entity_name source_system")
FLAGS = words("is_critical_hit is_resisted is_blocked is_absorbed is_avoidable is_periodic encounter_success")
INTEGERS: dict[str, tuple[int, int]] = {
    "encounter_duration_ms": (0, 9_007_199_254_740_991),
    "server_latency_ms": (0, 9_007_199_254_740_991),
    "client_latency_ms": (0, 9_007_199_254_740_991),
    "phase": (0, 9_007_199_254_740_991),
    "source_player_level": (1, 90),
    "raid_size": (1, 100),
}
NUMBERS: dict[str, tuple[float, float]] = {
    "healing_amount": (0, 1_000_000_000),
    "overkill_amount": (0, 1_000_000_000),
    "overheal_amount": (0, 1_000_000_000),
    "absorbed_amount": (0, 1_000_000_000),
    "blocked_amount": (0, 1_000_000_000),
    "critical_multiplier": (1, 5),
    "target_entity_health_pct_before": (0, 100),
    "target_entity_health_pct_after": (0, 100),
    "resource_amount_before": (0, math.inf),
    "resource_amount_after": (0, math.inf),
    "resource_regeneration_rate": (0, math.inf),
    "source_item_level": (0, math.inf),
}
INSTANTS = ["timestamp", "ingestion_timestamp"]
REQUIRED = words("event_id timestamp raid_id source_player_id source_player_name")

JSON_VALUES: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": 7,
    "number": 7.5,
    "string": "x",
    "numeral": "7",
    "array": ["x"],
    "object": {"x": 1},
}
ISO = "Input should be ISO 8601 with offset, like 2026-01-05T19:30:00.250Z (hours to 23, seconds to 59)"
TEXT, INTEGER = "Input should be a valid string", "Input should be a valid integer"
NUMBER, FLAG = "Input should be a valid number", "Input should be a valid boolean"


def told(candidate: object) -> list[tuple[str, str]]:
    """The path inside the event and the message of every error that the contract finds in it."""
    with pytest.raises(ValidationError) as caught:
        events.batch_adapter.validate_json(json.dumps([candidate]))
    return [(".".join(map(str, error["loc"][2:])), error["msg"]) for error in caught.value.errors()]


def one_of(values: list[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    return f"Input should be {', '.join(quoted[:-1])} or {quoted[-1]}"


STRINGS = {"string", "numeral"}
TYPES: dict[str, tuple[set[str], str]] = {
    "event_id": (STRINGS, "UUID input should be a string, bytes or UUID object"),
    "raid_id": (STRINGS, TEXT),
    "damage_amount": ({"integer", "number"}, NUMBER),
    "data_quality_flags": ({"array"}, "Input should be a valid array"),
    **{name: (set(), one_of(values)) for name, values in CHOICES.items()},
    **dict.fromkeys(INSTANTS, (set(), ISO)),
    **dict.fromkeys(FLAGS, ({"boolean"}, FLAG)),
    **dict.fromkeys(INTEGERS, ({"integer"}, INTEGER)),
    **dict.fromkeys(NUMBERS, ({"integer", "number"}, NUMBER)),
    **dict.fromkeys(FILLED_TEXTS + ANY_TEXTS, (STRINGS, TEXT)),
}
"""The kinds of JSON value that may be right for a field, and what all others are told."""


def wrong_types() -> list[tuple[str, str, str]]:
    """(field, kind of JSON value, message) of every value that the field's type does not have."""
    never_null = {*REQUIRED, "damage_amount"}
    return [
        (name, json_kind, message)
        for name, (right, message) in TYPES.items()
        for json_kind in JSON_VALUES
        if json_kind not in right and (json_kind != "null" or name in never_null)
    ]


def test_the_tables_name_every_field_in_the_contracts_order() -> None:
    known = list(events.event_fields())
    assert set(known) == {*TYPES, "event_type"}
    assert known[:4] == ["event_id", "event_type", "timestamp", "raid_id"]
    assert known[-3:] == ["damage_amount", "healing_amount", "resource_type"]
    assert list(events.EVENT_TYPES) == EVENT_TYPES


@pytest.mark.parametrize(("name", "json_kind", "message"), wrong_types())
def test_a_value_of_another_type_is_refused(name: str, json_kind: str, message: str) -> None:
    assert told(event(**{name: JSON_VALUES[json_kind]})) == [(name, message)]


@pytest.mark.parametrize(
    ("name", "choice"), [(name, choice) for name, choices in CHOICES.items() for choice in choices]
)
def test_every_choice_is_accepted_and_in_this_spelling_only(name: str, choice: str) -> None:
    assert accepted(event(**{name: choice}))[name] == choice
    for misspelled in (choice.upper(), f" {choice}", f"{choice}s"):
        assert told(event(**{name: misspelled})) == [(name, one_of(CHOICES[name]))]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_another_spelling_of_an_event_type_is_refused_with_all_that_there_are(event_type: str) -> None:
    ((where, message),) = told(kind(event_type) | {"event_type": event_type.title()})
    assert where == ""
    assert all(f"'{known}'" in message for known in EVENT_TYPES)


@pytest.mark.parametrize("name", FILLED_TEXTS)
def test_a_text_that_must_say_something_is_not_empty(name: str) -> None:
    assert accepted(event(**{name: " "}))[name] == " "
    assert told(event(**{name: ""})) == [(name, "String should have at least 1 character")]


@pytest.mark.parametrize("name", ANY_TEXTS)
def test_a_text_of_the_original_may_be_empty(name: str) -> None:
    assert accepted(event(**{name: ""}))[name] == ""


def test_a_name_has_at_most_64_characters_however_many_bytes_they_take() -> None:
    longest = "𝔸" * 64
    assert accepted(event(source_player_name=longest))["source_player_name"] == longest
    message = "String should have at most 64 characters"
    assert told(event(source_player_name=longest + "𝔸")) == [("source_player_name", message)]


@pytest.mark.parametrize("raid_id", ["raid001", "abc", "0-_", "a" * 64, "7__", "2026-01-05-team"])
def test_a_raid_id_is_a_slug(raid_id: str) -> None:
    assert accepted(event(raid_id=raid_id))["raid_id"] == raid_id


@pytest.mark.parametrize(
    "raid_id",
    [
        "",
        "ab",
        "a" * 65,
        "Raid001",
        "-ab",
        "_ab",
        "raid 1",
        "raid001 ",
        " raid001",
        "raid001\n",
        "räid",
        "a/../b",
        "a.b",
    ],
)
def test_what_is_no_slug_is_no_raid_id(raid_id: str) -> None:
    message = "String should match pattern '^[a-z0-9][a-z0-9_-]{2,63}$'"
    assert told(event(raid_id=raid_id)) == [("raid_id", message)]


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_true_or_false(name: str, value: bool) -> None:
    assert accepted(event(**{name: value}))[name] is value


@pytest.mark.parametrize(("name", "low", "high"), [(name, *bounds) for name, bounds in INTEGERS.items()])
def test_an_integer_keeps_its_bounds(name: str, low: int, high: int) -> None:
    for inside in (low, low + 1, high - 1, high):
        assert accepted(event(**{name: inside}))[name] == inside
    for below in (low - 1, -(2**63), -(10**30)):
        assert told(event(**{name: below})) == [(name, f"Input should be greater than or equal to {low}")]
    for above in (high + 1, 2**63 - 1, 2**63, 2**64, 10**30):
        assert told(event(**{name: above})) == [(name, f"Input should be less than or equal to {high}")]


@pytest.mark.parametrize(("name", "low", "high"), [(name, *bounds) for name, bounds in NUMBERS.items()])
def test_a_number_keeps_its_bounds(name: str, low: float, high: float) -> None:
    greatest = min(high, 1.7976931348623157e308)
    for inside in (low, math.nextafter(low, math.inf), math.nextafter(greatest, 0), greatest):
        assert accepted(event(**{name: inside}))[name] == inside
    for below in (math.nextafter(low, -math.inf), -1e300):
        assert told(event(**{name: below})) == [(name, f"Input should be greater than or equal to {low}")]
    if high < math.inf:
        for above in (math.nextafter(high, math.inf), 1e300, 10**30):
            assert told(event(**{name: above})) == [(name, f"Input should be less than or equal to {high:.0f}")]


@pytest.mark.parametrize("name", [*NUMBERS, "damage_amount"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400])
def test_a_number_is_finite(name: str, number: str) -> None:
    body = json.dumps([event(**{name: 777})]).replace("777", number)
    with pytest.raises(ValidationError) as caught:
        events.batch_adapter.validate_json(body)
    (error,) = caught.value.errors()
    assert (error["loc"][-1], error["msg"]) == (name, "Input should be a finite number")


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1.0", "1e1", "7.5"])
def test_an_integer_is_written_as_one(name: str, number: str) -> None:
    body = json.dumps([event(**{name: 777})]).replace("777", number)
    with pytest.raises(ValidationError) as caught:
        events.batch_adapter.validate_json(body)
    (error,) = caught.value.errors()
    assert (error["loc"][-1], error["msg"]) == (name, INTEGER)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "nan", "inf", "1e3", "0x10"])
def test_a_number_in_quotes_is_none(word: str) -> None:
    assert told(event(damage_amount=word)) == [("damage_amount", NUMBER)]
    assert told(event(phase=word)) == [("phase", INTEGER)]


AMOUNTS_THAT_A_KIND_NEEDS = [("combat_damage", "damage_amount"), ("heal", "healing_amount")]


@pytest.mark.parametrize(("event_type", "name"), AMOUNTS_THAT_A_KIND_NEEDS)
def test_the_amount_that_makes_the_event_is_above_zero(event_type: str, name: str) -> None:
    for inside in (5e-324, 1, 999_999_999.9, 1e9):
        assert accepted(kind(event_type) | {name: inside})[name] == inside
    for below in (0, -0.0, -5e-324, -1):
        assert told(kind(event_type) | {name: below}) == [(name, "Input should be greater than 0")]
    for above in (math.nextafter(1e9, math.inf), 10**30):
        assert told(kind(event_type) | {name: above}) == [(name, "Input should be less than or equal to 1000000000")]


CONDITIONAL: list[tuple[str, str, Any, str]] = [
    ("combat_damage", "damage_amount", 0, NUMBER),
    ("heal", "healing_amount", 0, NUMBER),
    ("mana_regeneration", "resource_type", "mana", one_of(RESOURCES)),
]


@pytest.mark.parametrize(("needs_it", "name", "value", "message"), CONDITIONAL)
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_what_one_kind_needs_every_other_may_carry_or_leave_out(
    event_type: str, needs_it: str, name: str, value: Any, message: str
) -> None:
    without = {field: each for field, each in kind(event_type).items() if field != name}
    if event_type == needs_it:
        assert told(without) == [(name, "Field required")]
        assert told(without | {name: None}) == [(name, message)]
    else:
        assert name not in accepted(without)
        assert name not in accepted(without | {name: None})
        assert accepted(without | {name: value})[name] == value
        if value == 0:
            assert told(without | {name: -1}) == [(name, "Input should be greater than or equal to 0")]
            above = told(without | {name: 1_000_000_001})
            assert above == [(name, "Input should be less than or equal to 1000000000")]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@pytest.mark.parametrize("name", REQUIRED)
def test_what_every_event_needs_is_required_of_each_kind(event_type: str, name: str) -> None:
    assert told({field: each for field, each in kind(event_type).items() if field != name}) == [
        (name, "Field required")
    ]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@pytest.mark.parametrize("unknown", ["Damage_amount", "damage_amount ", "", "__proto__", "damage", "\x00"])
def test_an_unknown_field_is_refused_of_each_kind(event_type: str, unknown: str) -> None:
    assert told(kind(event_type) | {unknown: None}) == [(unknown, "Extra inputs are not permitted")]


TIMES = [
    ("2026-01-05T19:30:00Z", "2026-01-05T19:30:00Z"),
    ("2026-01-05T19:30:00+00:00", "2026-01-05T19:30:00Z"),
    ("2026-01-05T19:30:00-00:00", "2026-01-05T19:30:00Z"),
    ("2026-01-05 19:30:00Z", "2026-01-05T19:30:00Z"),
    ("2026-01-05t19:30:00z", "2026-01-05T19:30:00Z"),
    ("2026-01-05T19:30Z", "2026-01-05T19:30:00Z"),
    ("2026-01-05T19:30:00+0530", "2026-01-05T19:30:00+05:30"),
    ("2026-01-05T19:30:00-23:59", "2026-01-05T19:30:00-23:59"),
    ("2026-01-05T00:00:00+00:00", "2026-01-05T00:00:00Z"),
    ("2026-01-05T23:59:59.5Z", "2026-01-05T23:59:59.500000Z"),
    ("2026-01-05T19:30:00,25Z", "2026-01-05T19:30:00.250000Z"),
    ("2026-01-05T19:30:00.123456789Z", "2026-01-05T19:30:00.123456Z"),
    ("2026-01-05T19:30:00.999999999Z", "2026-01-05T19:30:00.999999Z"),
    ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ("0001-01-01T00:00:00-00:01", "0001-01-01T00:00:00-00:01"),
    ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ("9999-12-31T23:59:59+00:01", "9999-12-31T23:59:59+00:01"),
]
NO_TIMES = [
    ("2026-01-05T19:30:00", ISO),
    ("2026-01-05", ISO),
    ("19:30:00Z", ISO),
    ("1767641400", ISO),
    ("1767641400Z", ISO),
    ("now", ISO),
    ("", ISO),
    ("2026-01-05T19Z", ISO),
    ("2026-01-05T19:30:00+02", ISO),
    ("2026-01-05T19:30:00UTC", ISO),
    ("2026-01-05T19:30:00 Z", ISO),
    (" 2026-01-05T19:30:00Z", ISO),
    ("2026-01-05T19:30:00Z\n", ISO),
    ("2026-01-05T19:30:00.Z", ISO),
    ("2026-01-05T19:30:00.1234567890Z", ISO),
    ("2026-01-05_19:30:00Z", ISO),
    ("20260105T193000Z", ISO),
    ("2026-W02-1T19:30:00Z", ISO),
    ("2026-005T19:30:00Z", ISO),
    ("26-01-05T19:30:00Z", ISO),
    ("-2026-01-05T19:30:00Z", ISO),
    ("+02026-01-05T19:30:00Z", ISO),
    ("10000-01-01T00:00:00Z", ISO),
    ("2026-01-05T24:00:00Z", ISO),
    ("2026-01-05T19:60:00Z", ISO),
    ("2016-12-31T23:59:60Z", ISO),
    ("2026-01-05T19:30:00+24:00", ISO),
    ("2026-01-05T19:30:00+02:60", ISO),
    ("٢٠٢٦-01-05T19:30:00Z", ISO),
    (
        "2026-13-05T19:30:00Z",
        "Input should be a valid datetime or date, month value is outside expected range of 1-12",
    ),
    ("2026-02-29T19:30:00Z", "Input should be a valid datetime or date, day value is outside expected range"),
    ("2026-01-00T19:30:00Z", "Input should be a valid datetime or date, day value is outside expected range"),
    ("0000-12-31T23:59:59Z", "Input should be greater than or equal to 0001-01-01T00:00:00Z"),
    ("0001-01-01T00:00:00+00:01", "Input should be greater than or equal to 0001-01-01T00:00:00Z"),
    ("9999-12-31T23:59:59-00:01", "Input should be less than or equal to 9999-12-31T23:59:59.999999Z"),
]


@pytest.mark.parametrize("name", INSTANTS)
@pytest.mark.parametrize(("written", "stored"), TIMES)
def test_iso_8601_with_offset_is_an_instant(name: str, written: str, stored: str) -> None:
    assert accepted(event(**{name: written}))[name] == stored


@pytest.mark.parametrize("name", INSTANTS)
@pytest.mark.parametrize(("written", "message"), NO_TIMES)
def test_what_names_no_instant_is_no_timestamp(name: str, written: str, message: str) -> None:
    assert told(event(**{name: written})) == [(name, message)]


ID = "0b9a4c1e-8f6b-4f6e-9b57-0d9b9e1f3c11"


@pytest.mark.parametrize(
    "written", [ID, ID.upper(), ID.replace("-", ""), f"urn:uuid:{ID}", f"{{{ID}}}"], ids=lambda text: text[:12]
)
def test_every_spelling_of_a_uuid_is_stored_as_one(written: str) -> None:
    assert accepted(event(event_id=written))["event_id"] == ID


@pytest.mark.parametrize("nil_or_max", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_a_uuid_of_any_version_is_one(nil_or_max: str) -> None:
    assert accepted(event(event_id=nil_or_max))["event_id"] == nil_or_max


@pytest.mark.parametrize(
    "written",
    ["", "7", ID[:-1], f"{ID}0", f"{ID} ", f" {ID}", ID.replace("-", "_"), ID.replace("b", "g"), f"({ID})", f"{{{ID}"],
)
def test_what_is_no_uuid_is_no_event_id(written: str) -> None:
    ((where, message),) = told(event(event_id=written))
    assert where == "event_id"
    assert message.startswith("Input should be a valid UUID, ")


def test_a_remark_is_a_text_and_the_first_wrong_one_is_named() -> None:
    assert accepted(event(data_quality_flags=[]))["data_quality_flags"] == []
    assert accepted(event(data_quality_flags=["late", ""]))["data_quality_flags"] == ["late", ""]
    assert told(event(data_quality_flags=["late", None, 7])) == [
        ("data_quality_flags.1", TEXT),
        ("data_quality_flags.2", TEXT),
    ]


@pytest.mark.parametrize("depth", [30, 150])
def test_values_nested_deeply_are_refused_by_their_field(depth: int) -> None:
    nested: Any = "x"
    for _ in range(depth):
        nested = [nested]
    assert told(event(data_quality_flags=nested)) == [("data_quality_flags.0", TEXT)]
    assert told(event(ability_id=nested)) == [("ability_id", TEXT)]
    assert told(event(unheard_of=nested)) == [("unheard_of", "Extra inputs are not permitted")]


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\x7f", "\u2028", "\ufeff", "🐉", "é", '"\\', "\U0010ffff"])
def test_any_unicode_text_comes_back_as_it_was(text: str) -> None:
    assert accepted(event(source_player_name=text, ability_name=text))["ability_name"] == text
    assert accepted(event(source_player_name=text))["source_player_name"] == text


@pytest.mark.parametrize("name", ["source_player_name", "source_player_id", "encounter_id", "raid_id", "unheard_of"])
@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "x\\ud83d", "\\ude00\\ud83d", "\\ud800\\ud800"])
def test_half_a_surrogate_pair_is_no_text(name: str, half: str) -> None:
    body = json.dumps([event(**{name: "HALF"})]).replace("HALF", half)
    with pytest.raises(ValidationError, match=r"Invalid JSON: .* at line 1 column"):
        events.batch_adapter.validate_json(body)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    body = json.dumps([event(source_player_name="🐉" * 64)])
    assert "\\ud83d" in body
    (stored,) = json.loads(events.canonical_json(events.batch_adapter.validate_json(body)))
    assert stored["source_player_name"] == "🐉" * 64


def test_the_size_of_a_batch_is_bounded_on_both_sides() -> None:
    full = json.dumps([event()] * 10_000)
    assert len(events.batch_adapter.validate_json(full)) == 10_000
    for size, message in [(0, "List should have at least 1 item"), (10_001, "List should have at most 10000 items")]:
        with pytest.raises(ValidationError, match=message):
            events.batch_adapter.validate_json(json.dumps([event()] * size))


def named_twice(body: str) -> list[tuple[int, str]]:
    """What the contract finds named more than once in a batch that is valid else."""
    return events.repeated_fields(body.encode(), events.batch_adapter.validate_json(body))


TWICE = [
    ('"damage_amount":5', ["damage_amount"]),
    ('"damage_amount" :5', ["damage_amount"]),
    ('"damage_amount"\n\t \r:5', ["damage_amount"]),
    ('"damage_am\\u006funt":1200', ["damage_amount"]),
    ('"event_type":"heal","healing_amount":4', ["event_type"]),
    ('"raid_id":"raid001"', ["raid_id"]),
    ('"ability_id":null,"ability_id":null', ["ability_id"]),
    ('"phase":1,"phase":2,"phase":3', ["phase"]),
    ('"phase":1,"event_id":"0b9a4c1e-8f6b-4f6e-9b57-0d9b9e1f3c12","phase":2', ["event_id", "phase"]),
    ('"ability_id":"a\\":b","ability_id":"\\":"', ["ability_id"]),
    ('"ability_id":" : ","phase":1,"phase" :1', ["phase"]),
]


@pytest.mark.parametrize(("more", "fields"), TWICE)
def test_a_field_named_twice_in_one_event_is_found(more: str, fields: list[str]) -> None:
    sound, doubled = json.dumps(event()), f"{json.dumps(event())[:-1]},{more}}}"
    assert named_twice(f"[{doubled}]") == [(0, name) for name in fields]
    assert named_twice(f"[{sound}, {doubled},{sound},\n{doubled}]") == [(at, name) for at in (1, 3) for name in fields]


@pytest.mark.parametrize("text", ["a:b", 'a":b', 'a" :b', '":', "a\\", '\\":', "{}:", " : ", "a : b", '" : "'])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_batch_without_repetition_is_not_parsed_again(
    text: str, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = event(source_player_name="x" + text, ability_id="x" + text, data_quality_flags=["x" + text])
    bodies = [json.dumps([spoken] * 3, indent=indent, separators=(",", colon)) for colon in (":", ": ", " : ", "\n:")]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("parsed again")

    monkeypatch.setattr(json, "loads", refuse)
    for body in bodies:
        assert named_twice(body) == []


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["phase", "raid_size", "encounter_duration_ms"]), max_size=5),
    st.text(alphabet='":\\ {},x\n', max_size=12),
    st.sampled_from([":", " :", ": ", "\t:\n"]),
)
def test_what_is_named_twice_is_found_whatever_the_texts_hold(names: list[str], text: str, colon: str) -> None:
    texts = f'"ability_id"{colon}{json.dumps(text)},"data_quality_flags"{colon}[{json.dumps(text)}]'
    more = "".join(f',"{name}"{colon}1' for name in names)
    expected = {name for name in names if names.count(name) > 1}
    assert {name for _, name in named_twice(f"[{json.dumps(event())[:-1]},{texts}{more}}}]")} == expected


def test_the_schema_says_what_it_is() -> None:
    schema = events.json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "https://wow-raid-telemetry.example/schema/event/v1.0.json"
    assert schema["title"] == "Raid event"


def test_the_canonical_form_is_compact_without_nulls_and_in_the_contracts_order() -> None:
    spelled = {"phase": None, "damage_amount": 1200, "ability_id": "ö"} | event()
    batch = events.batch_adapter.validate_json(json.dumps([spelled], indent=1))
    assert (
        events.canonical_json(batch)
        == (
            '[{"event_id":"0b9a4c1e-8f6b-4f6e-9b57-0d9b9e1f3c11","timestamp":"2026-01-05T19:30:00.250000Z",'
            '"raid_id":"raid001","source_player_id":"player-1","source_player_name":"Arin","ability_id":"ö",'
            '"event_type":"combat_damage","damage_amount":1200.0}]'
        ).encode()
    )
