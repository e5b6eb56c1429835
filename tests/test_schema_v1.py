"""raid-savior's schema v1: every event that the original system makes is accepted as it is.

The tables are the original's model in JSON Schema's words, without the widenings of the contract. What the contract
refuses all the same is listed in `NARROWED` and nowhere else.
"""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import events, ingest
from pipeline.store import Connection, ObjectStore, open_store
from tests.conftest import ROOT, make_home

STRING = {"type": "string"}
FLAG = {"type": "boolean"}
MILLISECONDS = {"type": "integer", "minimum": 0}
QUANTITY = {"type": "number", "minimum": 0}
PERCENTAGE = {"type": "number", "minimum": 0, "maximum": 100}
INSTANT = {"type": "string", "format": "date-time"}


def choice(values: str) -> dict[str, Any]:
    return {"type": "string", "enum": values.split()}


KINDS = ("combat_damage", "heal", "player_death", "spell_cast", "boss_phase", "mana_regeneration")
V1: dict[str, dict[str, Any]] = {
    "event_id": {"type": "string", "format": "uuid"},
    "timestamp": INSTANT,
    "raid_id": {"type": "string", "pattern": r"^raid\d{3}$"},
    "encounter_id": STRING,
    "encounter_duration_ms": MILLISECONDS,
    "source_player_id": {"type": "string", "minLength": 1},
    "source_player_name": {"type": "string", "minLength": 1, "maxLength": 12},
    "source_player_role": choice("tank healer dps"),
    "source_player_class": choice("warrior paladin hunter rogue priest shaman mage warlock druid death_knight monk"),
    "source_player_level": {"type": "integer", "minimum": 1, "maximum": 90},
    "ability_id": STRING,
    "ability_name": STRING,
    "ability_school": choice("physical fire frost nature shadow arcane holy chaos"),
    "damage_amount": {"type": "number", "minimum": 0, "maximum": 1_000_000},
    "healing_amount": {"type": "number", "minimum": 0, "maximum": 500_000},
    "is_critical_hit": FLAG,
    "critical_multiplier": {"type": "number", "minimum": 1, "maximum": 5},
    "is_resisted": FLAG,
    "is_blocked": FLAG,
    "is_absorbed": FLAG,
    "target_entity_id": STRING,
    "target_entity_name": STRING,
    "target_entity_type": choice("player boss add interactive"),
    "target_entity_health_pct_before": PERCENTAGE,
    "target_entity_health_pct_after": PERCENTAGE,
    "resource_type": choice("mana energy rage focus runic_power"),
    "resource_amount_before": QUANTITY,
    "resource_amount_after": QUANTITY,
    "resource_regeneration_rate": QUANTITY,
    "ingestion_timestamp": INSTANT,
    "source_system": STRING,
    "data_quality_flags": {"type": "array", "items": STRING},
    "server_latency_ms": MILLISECONDS,
    "client_latency_ms": MILLISECONDS,
}
REQUIRED = {"event_id", "event_type", "timestamp", "raid_id", "source_player_id", "source_player_name"}
# The original's model makes up an id where none is sent; its senders always send one.
ALWAYS_SENT = (
    *("is_critical_hit", "critical_multiplier", "is_resisted", "is_blocked", "is_absorbed"),
    *("ingestion_timestamp", "source_system", "data_quality_flags"),
)
CONDITIONAL: dict[str, dict[str, dict[str, Any]]] = {
    "combat_damage": {"damage_amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000}},
    "heal": {"healing_amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 500_000}},
    "mana_regeneration": {"resource_type": V1["resource_type"]},
}
"""What its validators ask of one kind of event."""
NARROWED = {
    ("encounter_duration_ms", "maximum"): "integers end at 2^53 - 1, where JSON readers begin to disagree",
    ("server_latency_ms", "maximum"): "the same",
    ("client_latency_ms", "maximum"): "the same",
    ("combat_damage", "damage_amount"): "its validator does not run on a default, so an absent amount passes there",
    ("heal", "healing_amount"): "the same",
    ("mana_regeneration", "resource_type"): "the same",
}


def narrower(ours: dict[str, Any], theirs: dict[str, Any]) -> set[str]:
    """The keywords of JSON Schema by which our field refuses what theirs accepts."""
    low, high = float("-inf"), float("inf")
    found = set()
    if ours.get("type") != theirs["type"]:
        found.add("type")
    if "enum" in ours and not set(theirs.get("enum", ["any other text"])) <= set(ours["enum"]):
        found.add("enum")
    if ours.get("minimum", low) > theirs.get("minimum", theirs.get("exclusiveMinimum", low)):
        found.add("minimum")
    if ours.get("exclusiveMinimum", low) > theirs.get("exclusiveMinimum", low):
        found.add("exclusiveMinimum")
    if ours.get("maximum", high) < theirs.get("maximum", high):
        found.add("maximum")
    if ours.get("minLength", 0) > theirs.get("minLength", 0):
        found.add("minLength")
    if ours.get("maxLength", high) < theirs.get("maxLength", high):
        found.add("maxLength")
    if "items" in ours and narrower(ours["items"], theirs["items"]):
        found.add("items")
    if ours.get("format") != theirs.get("format"):
        found.add("format")
    unknown = ours.keys() - {*found, *theirs, "title", "description", "minimum", "maximum", "exclusiveMinimum"}
    return found | (unknown - {"minLength", "maxLength", "enum"})


SCHEMA = json.loads((ROOT / "docs" / "event.schema.json").read_text(encoding="utf-8"))


def definition(kind: str) -> dict[str, Any]:
    """Our schema of one kind of event."""
    name = SCHEMA["discriminator"]["mapping"][kind].removeprefix("#/$defs/")
    found: dict[str, Any] = SCHEMA["$defs"][name]
    return found


def not_null(field: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without the null that stands for its absence."""
    (found,) = [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]
    return dict(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", V1)
def test_each_field_accepts_all_that_it_accepted(kind: str, name: str) -> None:
    ours = not_null(definition(kind)["properties"][name])
    refused_by = narrower(ours, CONDITIONAL.get(kind, {}).get(name, V1[name]))
    if name == "raid_id":
        assert all(re.search(ours["pattern"], f"raid{number:03}") for number in range(1000))
        refused_by -= {"pattern"}
    assert refused_by == {keyword for field, keyword in NARROWED if field == name}


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_fields_are_required_than_were(kind: str) -> None:
    conditional = {name for where, name in NARROWED if where == kind}
    assert set(definition(kind)["required"]) == REQUIRED | conditional
    assert conditional == CONDITIONAL.get(kind, {}).keys()


@pytest.mark.parametrize("kind", KINDS)
def test_what_could_be_null_still_can(kind: str) -> None:
    never = REQUIRED | CONDITIONAL.get(kind, {}).keys()
    for name in V1.keys() - never:
        assert {"type": "null"} in definition(kind)["properties"][name]["anyOf"]


@pytest.mark.parametrize(
    ("narrowed", "keyword"),
    [
        ({"type": "string"}, "type"),
        ({"minimum": 1}, "minimum"),
        ({"exclusiveMinimum": 0}, "exclusiveMinimum"),
        ({"maximum": 9}, "maximum"),
        ({"multipleOf": 2}, "multipleOf"),
        ({"format": "uuid"}, "format"),
        ({"enum": [1, 2]}, "enum"),
    ],
)
def test_the_comparison_finds_a_field_that_accepts_less(narrowed: dict[str, Any], keyword: str) -> None:
    theirs = {"type": "integer", "minimum": 0, "maximum": 10}
    assert narrower(theirs | {"title": "x"}, theirs) == set()
    assert narrower(theirs | narrowed, theirs) == {keyword}


# Characters that no JSON text can carry are left out; everything else is in.
CHARACTERS = st.characters(codec="utf-8")
ARRIVAL = datetime(2026, 11, 24, tzinfo=UTC)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.one_of(
    st.datetimes(datetime(2004, 11, 23), datetime(2026, 11, 23), timezones=OFFSETS).map(datetime.isoformat),
    st.datetimes(datetime(2004, 11, 23), datetime(2026, 11, 23)).map(lambda naive: f"{naive.isoformat()}Z"),
)


def values_of(field: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Everything that a field of the original may hold."""
    if "enum" in field:
        return st.sampled_from(field["enum"])
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum")
    by_type: dict[str, st.SearchStrategy[Any]] = {
        "boolean": st.booleans(),
        "integer": st.integers(low, high or 2**53 - 1),
        "number": st.floats(low, high, exclude_min="exclusiveMinimum" in field, allow_nan=False, allow_infinity=False),
        "array": st.lists(st.text(CHARACTERS), max_size=3),
        "string": st.text(CHARACTERS, min_size=field.get("minLength", 0), max_size=field.get("maxLength", 20)),
    }
    by_format = {"date-time": INSTANTS, "uuid": st.uuids().map(str)}
    return by_format[field["format"]] if "format" in field else by_type[field["type"]]


def events_of(kind: str, raid_id: str) -> st.SearchStrategy[dict[str, Any]]:
    """Events of one kind as the original's model writes them: fields that it does not know are null or left out."""
    conditional = CONDITIONAL.get(kind, {})
    needed = {name: values_of(V1[name]) for name in (*sorted(REQUIRED - {"event_type", "raid_id"}), *ALWAYS_SENT)}
    needed |= {name: values_of(field) for name, field in conditional.items()}
    free = {name: st.none() | values_of(field) for name, field in V1.items() if name not in {*needed, "raid_id"}}
    fixed = {"event_type": st.just(kind), "raid_id": st.just(raid_id)}
    return st.fixed_dictionaries(fixed | needed, optional=free)


V1_BATCHES = (
    st.integers(0, 999)
    .map(lambda number: f"raid{number:03}")
    .flatmap(lambda raid_id: st.lists(st.one_of([events_of(kind, raid_id) for kind in KINDS]), min_size=1, max_size=8))
)


def same(name: str, sent: Any, kept: Any) -> bool:
    """Whether a stored value is the one that was sent: the same instant, id, number or text."""
    match V1.get(name, STRING).get("format"):
        case "date-time":
            return datetime.fromisoformat(sent) == datetime.fromisoformat(kept)
        case "uuid":
            return UUID(sent) == UUID(kept)
    return type(sent) in (type(kept), int) and bool(sent == kept)


def assert_same_events(sent: list[dict[str, Any]], stored: bytes) -> None:
    kept = json.loads(stored)
    assert len(kept) == len(sent)
    for ours, theirs in zip(kept, sent, strict=True):
        said = {name: value for name, value in theirs.items() if value is not None}
        assert ours.keys() == said.keys()
        for name, value in said.items():
            assert same(name, value, ours[name]), (name, value, ours[name])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(V1_BATCHES)
def test_the_validator_takes_every_event_of_the_original_and_keeps_its_values(sent: list[dict[str, Any]]) -> None:
    batch = events.batch_adapter.validate_json(json.dumps(sent))
    assert_same_events(sent, events.canonical_json(batch))


@pytest.mark.parametrize("kind", KINDS)
def test_the_one_thing_that_passed_there_and_is_refused_here(kind: str) -> None:
    """A kind's own amount may be missing in the original, against its own intent."""
    theirs = {"event_id": "0b9a4c1e-8f6b-4f6e-9b57-0d9b9e1f3c11", "event_type": kind, "raid_id": "raid001"}
    theirs |= {"timestamp": "2026-01-05T19:30:00Z", "source_player_id": "p", "source_player_name": "P"}
    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(theirs)
    assert valid is (kind not in CONDITIONAL)


@pytest.fixture(scope="module")
def by_schema() -> Any:
    """The published schema, its formats checked as well."""
    validator = jsonschema.Draft202012Validator
    validator.check_schema(SCHEMA)
    return validator(SCHEMA, format_checker=validator.FORMAT_CHECKER)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sent=V1_BATCHES)
def test_the_published_schema_takes_every_event_of_the_original(by_schema: Any, sent: list[dict[str, Any]]) -> None:
    for event in sent:
        by_schema.validate(event)
    assert not by_schema.is_valid(sent[0] | {"event_id": "seven"})
    assert not by_schema.is_valid(sent[0] | {"timestamp": "yesterday"})
    assert not by_schema.is_valid(sent[0] | {"unheard_of": 1})


@pytest.fixture(scope="module")
def client(connection: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(make_home(tmp_path_factory.mktemp("receiver"))))
        patch.setenv("PYTHONPATH", str(ROOT))
        with (
            ingest.receiver_process(connection, workers=1) as running,
            httpx.Client(base_url=running.url, timeout=60, trust_env=False) as opened,
        ):
            yield opened


@pytest.fixture(scope="module")
def stored(connection: Connection) -> ObjectStore:
    return open_store(f"s3://{os.environ.get('S3_BUCKET_BRONZE', 'bronze')}", connection)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sent=V1_BATCHES)
def test_over_http_the_events_of_the_original_come_back_from_bronze(
    client: httpx.Client, stored: ObjectStore, sent: list[dict[str, Any]]
) -> None:
    headers = {"Content-Type": "application/json", "X-Ingest-Timestamp": ARRIVAL.isoformat()}
    answer = client.post("/events", content=json.dumps(sent).encode(), headers=headers)
    assert answer.status_code in (200, 201), answer.text
    assert answer.json()["event_count"] == len(sent)
    assert_same_events(sent, stored.get(answer.json()["key"]))
