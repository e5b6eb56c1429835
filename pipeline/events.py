"""The event contract, version 1: what may come in over the wire.

Events are validated as TypedDicts, a union discriminated on `event_type`, so that the whole check of a batch runs in
pydantic's compiled core. `docs/data-dictionary.md` and `docs/event.schema.json` are generated from here.
"""

import json
import typing
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Required
from uuid import UUID

import numpy as np
import orjson
from pydantic import ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

SCHEMA_ID = "https://wow-raid-telemetry.example/schema/event/v1.0.json"
MAX_BATCH_EVENTS = 10_000
MAX_CLOCK_SKEW_S = 300
RAID_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{2,63}$"
MAX_AMOUNT = 1e9
# What an event without a source (the environment, some absorbs) carries as its source's id and name.
ENVIRONMENT = "environment"


class _IsoWithOffset:
    """ISO 8601 with offset and nothing else: pydantic alone would also take "1700000000", a number in quotes."""

    PATTERN = (
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"[Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?"
        r"([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])$"
    )
    EXPECTED = "Input should be ISO 8601 with offset, like 2026-01-05T19:30:00.250Z (hours to 23, seconds to 59)"
    # Within these the instant exists in UTC as well, in which all that follows counts.
    FIRST = datetime.min.replace(tzinfo=UTC)
    LAST = datetime.max.replace(tzinfo=UTC)

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        form = core_schema.str_schema(pattern=self.PATTERN)
        text = core_schema.custom_error_schema(form, "timestamp_form", custom_error_message=self.EXPECTED)
        instant = core_schema.datetime_schema(strict=False, ge=self.FIRST, le=self.LAST)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.chain_schema([text, instant]), python_schema=handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "date-time"}


Timestamp = Annotated[datetime, _IsoWithOffset()]
PlayerClass = Literal[
    "death_knight",
    "demon_hunter",
    "druid",
    "evoker",
    "hunter",
    "mage",
    "monk",
    "paladin",
    "priest",
    "rogue",
    "shaman",
    "warlock",
    "warrior",
]
Role = Literal["tank", "healer", "dps"]
School = Literal["physical", "fire", "frost", "nature", "shadow", "arcane", "holy", "chaos"]
EntityType = Literal["player", "boss", "add", "interactive"]
Difficulty = Literal["normal", "heroic", "mythic", "lfr", "other"]
ResourceType = Literal[
    "mana",
    "energy",
    "rage",
    "focus",
    "runic_power",
    "runes",
    "happiness",
    "combo_points",
    "soul_shards",
    "lunar_power",
    "holy_power",
    "alternate",
    "maelstrom",
    "chi",
    "insanity",
    "arcane_charges",
    "fury",
    "pain",
    "essence",
]
AbilityCategory = Literal[
    "damage",
    "heal",
    "interrupt",
    "dispel",
    "defensive",
    "taunt",
    "resurrect",
    "consumable",
    "control",
    "buff",
    "other",
]
Text = Annotated[str, Field(min_length=1)]
Amount = Annotated[float, Field(ge=0, le=MAX_AMOUNT)]
PositiveAmount = Annotated[float, Field(gt=0, le=MAX_AMOUNT)]
Quantity = Annotated[float, Field(ge=0)]
Percentage = Annotated[float, Field(ge=0, le=100)]
# Beyond this JSON readers disagree about integers, and int64 columns would overflow.
MAX_INTEGER = 2**53 - 1
Milliseconds = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
EventType = Literal[
    "combat_damage",
    "heal",
    "player_death",
    "spell_cast",
    "boss_phase",
    "mana_regeneration",
    "encounter_start",
    "encounter_end",
    "roster",
    "absorb",
    "resurrect",
]


class _Common(TypedDict, total=False):
    """The fields that mean the same in every kind of event; null counts as absent."""

    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        extra="forbid", strict=True, allow_inf_nan=False
    )

    event_id: Required[
        Annotated[
            UUID,
            Field(description="Identifies the event for ever; the same id delivered twice is the same event."),
        ]
    ]
    timestamp: Required[
        Annotated[
            Timestamp,
            Field(description="When it happened: ISO 8601 with offset, at most 5 min after the batch's arrival."),
        ]
    ]
    raid_id: Required[
        Annotated[Annotated[str, Field(pattern=RAID_ID_PATTERN)], Field(description="One team's evening (one log).")]
    ]
    encounter_id: Annotated[str | None, Field(description="Identifies one pull inside the raid; absent between pulls.")]
    encounter_duration_ms: Annotated[
        Milliseconds | None, Field(description="Time since the pull began (on encounter_end: the pull's duration), ms.")
    ]
    source_player_id: Required[
        Annotated[
            Text, Field(description="Who acted: a player, a pet, a boss; `environment` where the log names nobody.")
        ]
    ]
    source_player_name: Required[
        Annotated[Annotated[str, Field(min_length=1, max_length=64)], Field(description="The name of who acted.")]
    ]
    source_player_role: Annotated[
        Role | None, Field(description="The player's role; null where unknown, never guessed.")
    ]
    source_player_class: Annotated[PlayerClass | None, Field(description="The player's class; null where unknown.")]
    source_player_level: Annotated[Annotated[int, Field(ge=1, le=90)] | None, Field(description="The player's level.")]
    source_player_specialization: Annotated[
        Text | None, Field(description="The player's specialisation in lower_snake; null where unknown.")
    ]
    source_item_level: Annotated[Quantity | None, Field(description="The player's average equipped item level.")]
    source_owner_id: Annotated[Text | None, Field(description="The player behind a pet, guardian or totem.")]
    team_id: Annotated[Text | None, Field(description="The team that raids.")]
    ability_id: Annotated[str | None, Field(description="The ability's id in the game.")]
    ability_name: Annotated[str | None, Field(description="The ability's name.")]
    ability_school: Annotated[School | None, Field(description="The school of magic of what was done.")]
    ability_category: Annotated[AbilityCategory | None, Field(description="What the ability is for.")]
    is_critical_hit: Annotated[bool | None, Field(description="A critical hit or heal; absent means false.")]
    critical_multiplier: Annotated[
        Annotated[float, Field(ge=1, le=5)] | None,
        Field(description="What the crit multiplied the amount with; absent means 1."),
    ]
    is_resisted: Annotated[bool | None, Field(description="Part of the hit was resisted; absent means false.")]
    is_blocked: Annotated[bool | None, Field(description="Part of the hit was blocked; absent means false.")]
    is_absorbed: Annotated[bool | None, Field(description="Part of the hit or heal was absorbed; absent means false.")]
    is_avoidable: Annotated[bool | None, Field(description="A hit that play can avoid; null where unknown.")]
    is_periodic: Annotated[bool | None, Field(description="A tick of an effect over time; null where unknown.")]
    overkill_amount: Annotated[Amount | None, Field(description="The part of damage_amount beyond the target's death.")]
    overheal_amount: Annotated[Amount | None, Field(description="The part of healing_amount that healed nothing.")]
    absorbed_amount: Annotated[
        Amount | None,
        Field(
            description="What a shield took: of this hit or heal, or on `absorb` the amount credited to the absorber."
        ),
    ]
    blocked_amount: Annotated[Amount | None, Field(description="What was blocked of this hit.")]
    target_entity_id: Annotated[str | None, Field(description="Whom it met; on `player_death` the player who died.")]
    target_entity_name: Annotated[str | None, Field(description="The name of whom it met.")]
    target_entity_type: Annotated[
        EntityType | None, Field(description="What was met; null for pets and where unknown.")
    ]
    target_entity_health_pct_before: Annotated[Percentage | None, Field(description="The target's health before, %.")]
    target_entity_health_pct_after: Annotated[Percentage | None, Field(description="The target's health after, %.")]
    resource_amount_before: Annotated[Quantity | None, Field(description="The resource before.")]
    resource_amount_after: Annotated[Quantity | None, Field(description="The resource after.")]
    resource_regeneration_rate: Annotated[Quantity | None, Field(description="The resource gained by this event.")]
    encounter_name: Annotated[Text | None, Field(description="The boss fight's name.")]
    encounter_difficulty: Annotated[Difficulty | None, Field(description="The boss fight's difficulty.")]
    encounter_success: Annotated[bool | None, Field(description="On encounter_end: killed (true) or not.")]
    boss_id: Annotated[Text | None, Field(description="The boss fight's id in the game.")]
    raid_size: Annotated[
        Annotated[int, Field(ge=1, le=100)] | None, Field(description="Players in the raid, as the game states it.")
    ]
    phase: Annotated[Count | None, Field(description="The phase that begins, counted from 1.")]
    ingestion_timestamp: Annotated[
        Timestamp | None,
        Field(description="What the sender claims; the receiver's own `ingest-timestamp` is the one that counts."),
    ]
    source_system: Annotated[str | None, Field(description="Who made the event.")]
    data_quality_flags: Annotated[list[str] | None, Field(description="Remarks of the sender on this event.")]
    server_latency_ms: Annotated[Milliseconds | None, Field(description="The game server's latency, ms.")]
    client_latency_ms: Annotated[Milliseconds | None, Field(description="The sender's latency, ms.")]


_Damage = Field(description="Damage done, overkill included.")
_Healing = Field(description="Healing done, gross: overheal included.")
_Resource = Field(description="Which resource.")


class _Unconditional(_Common, total=False):
    damage_amount: Annotated[Amount | None, _Damage]
    healing_amount: Annotated[Amount | None, _Healing]
    resource_type: Annotated[ResourceType | None, _Resource]


class CombatDamage(_Common, total=False):
    """A hit by anyone on anyone."""

    event_type: Required[Literal["combat_damage"]]
    damage_amount: Required[Annotated[PositiveAmount, _Damage]]
    healing_amount: Annotated[Amount | None, _Healing]
    resource_type: Annotated[ResourceType | None, _Resource]


class Heal(_Common, total=False):
    """A heal by anyone on anyone."""

    event_type: Required[Literal["heal"]]
    damage_amount: Annotated[Amount | None, _Damage]
    healing_amount: Required[Annotated[PositiveAmount, _Healing]]
    resource_type: Annotated[ResourceType | None, _Resource]


class ManaRegeneration(_Common, total=False):
    """A gain of a resource (any resource: the original's name stays)."""

    event_type: Required[Literal["mana_regeneration"]]
    damage_amount: Annotated[Amount | None, _Damage]
    healing_amount: Annotated[Amount | None, _Healing]
    resource_type: Required[Annotated[ResourceType, _Resource]]


class PlayerDeath(_Unconditional, total=False):
    """A player died: the target is the dead, the source who or what killed."""

    event_type: Required[Literal["player_death"]]


class SpellCast(_Unconditional, total=False):
    """An ability was used."""

    event_type: Required[Literal["spell_cast"]]


class BossPhase(_Unconditional, total=False):
    """A boss enters a phase."""

    event_type: Required[Literal["boss_phase"]]


class EncounterStart(_Unconditional, total=False):
    """A pull begins."""

    event_type: Required[Literal["encounter_start"]]


class EncounterEnd(_Unconditional, total=False):
    """A pull ends, with its verdict."""

    event_type: Required[Literal["encounter_end"]]


class Roster(_Unconditional, total=False):
    """One player present at the start of a pull."""

    event_type: Required[Literal["roster"]]


class Absorb(_Unconditional, total=False):
    """Damage that a shield took, credited to the absorber (the source); the target is the protected."""

    event_type: Required[Literal["absorb"]]


class Resurrect(_Unconditional, total=False):
    """A dead player (the target) lives again."""

    event_type: Required[Literal["resurrect"]]


Event = (
    CombatDamage
    | Heal
    | PlayerDeath
    | SpellCast
    | BossPhase
    | ManaRegeneration
    | EncounterStart
    | EncounterEnd
    | Roster
    | Absorb
    | Resurrect
)
EVENT_KINDS: tuple[type, ...] = typing.get_args(Event)
EVENT_TYPES: tuple[str, ...] = typing.get_args(EventType)
Batch = Annotated[
    list[Annotated[Event, Field(discriminator="event_type")]], Field(min_length=1, max_length=MAX_BATCH_EVENTS)
]

event_adapter: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event_type")])
batch_adapter: TypeAdapter[list[Event]] = TypeAdapter(Batch)


def canonical_json(events: list[Event]) -> bytes:
    """A validated batch as compact JSON without nulls: equal events give equal bytes, however they were written."""
    # As batch_adapter.dump_json(events, exclude_none=True) writes it, in a fifth of its time.
    content = orjson.dumps(events, option=orjson.OPT_UTC_Z)
    if b":null" in content:
        content = orjson.dumps([_without_nulls(event) for event in events], option=orjson.OPT_UTC_Z)
    return content


def _without_nulls(event: Event) -> dict[str, Any]:
    return {name: value for name, value in event.items() if value is not None}


def repeated_fields(body: bytes, batch: list[Event]) -> list[tuple[int, str]]:
    """(index, field) of all that a valid batch's JSON names twice in one event, where its reader keeps only the last.

    Args:
        body: the JSON.
        batch: the events that `batch_adapter` read from it.
    """
    if _named_fields(body) == sum(map(len, batch)):
        return []
    as_written: list[list[tuple[str, Any]]] = json.loads(body, object_pairs_hook=list)
    return [
        (index, name)
        for index, pairs in enumerate(as_written)
        for name, count in Counter(name for name, _ in pairs).items()
        if count > 1
    ]


def _named_fields(body: bytes) -> int:
    """How many fields the JSON of a valid batch names: its colons after a quote that is not escaped.

    Never too few (no field's name ends in a backslash); too many where a text begins with a colon. A parser takes
    twenty times as long.
    """
    text = np.frombuffer(body, np.uint8)
    colons = np.flatnonzero(text == ord(":"))
    before = colons - 1
    blank = text[before] <= ord(" ")
    if blank.any():
        solid = np.flatnonzero(text > ord(" "))
        before[blank] = solid[np.searchsorted(solid, colons[blank]) - 1]
    return int(np.count_nonzero((text[before] == ord('"')) & (text[before - 1] != ord("\\"))))


def json_schema() -> dict[str, Any]:
    """The contract of one event as JSON Schema (draft 2020-12)."""
    schema = event_adapter.json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, "title": "Raid event"} | schema


def event_fields() -> dict[str, Any]:
    """Every field of the wire with its type, `event_type` second, in the order of the contract.

    The damage, healing and resource fields carry their unconditional types here.
    """
    hints = typing.get_type_hints(_Unconditional, include_extras=True)
    fields: dict[str, Any] = {}
    for name, annotation in hints.items():
        fields[name] = annotation
        if name == "event_id":
            fields["event_type"] = Required[EventType]
    return fields
