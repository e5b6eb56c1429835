"""The contracts of the Silver and Gold tables, and the one way in which they become Parquet files.

Types, nullability, ranges and descriptions stand here and nowhere else: the Polars and Arrow schemas and the data
dictionary are derived from them. What the Gold columns mean exactly is in `docs/gold.md`.
"""

import typing
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pyarrow
import pyarrow.parquet as pq
from pandera.errors import SchemaErrors
from pydantic.fields import FieldInfo

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.events import EVENT_TYPES, event_fields
from pipeline.wire import WIRE_SCHEMA

Table = type[pa.DataFrameModel]
Timestamp = typing.Annotated[pl.Datetime, "us", "UTC"]

FLAGS = ("is_critical_hit", "is_resisted", "is_blocked", "is_absorbed")
"""Flags that are false where an event does not carry them."""
PERCENTAGES = ("target_entity_health_pct_before", "target_entity_health_pct_after")
AMOUNTS = (
    "damage_amount",
    "healing_amount",
    "overkill_amount",
    "overheal_amount",
    "absorbed_amount",
    "blocked_amount",
    "resource_amount_before",
    "resource_amount_after",
    "resource_regeneration_rate",
)
ROLES = ("tank", "healer", "dps")
OUTCOMES = ("success", "wipe", "unknown")
REASONS: dict[str, str] = {
    "malformed": "a field does not have the contract's type, is unknown, or the timestamp cannot be read",
    "missing_required": "a field that the contract requires is absent",
    "wrong_raid": "the event names another raid than its batch",
    "unknown_event_type": "the contract has no such kind of event",
    "unknown_value": "a field's value is not in the contract's list (role, class, school, difficulty, …)",
    "invalid_text": "a text that is empty, too long or not of the form that the contract asks for",
    "health_out_of_range": "a health percentage below 0 or above 100",
    "negative_amount": "an amount below 0",
    "zero_amount": "a hit of no damage or a heal of no healing",
    "amount_too_large": "an amount above the contract's greatest",
    "number_out_of_range": "another number outside of its bounds (level, multiplier, raid size, a duration, …)",
    "clock_skew": "later than the batch's arrival by more than `silver.max_clock_skew_s`",
    "outside_pull": "before its pull's encounter_start or after its encounter_end",
}
"""Why an event is set aside, in the order of the checks: the first that applies is the event's reason."""

MAX_EXPLAINED_FAULTS = 5


class _Contract(pa.DataFrameModel):
    class Config:
        strict = True
        ordered = True
        coerce = False


def required_fields() -> tuple[str, ...]:
    """The fields that every event carries."""
    return tuple(
        name for name, annotation in event_fields().items() if typing.get_origin(annotation) is typing.Required
    )


def _wire_description(name: str, annotation: Any) -> str:
    if name == "event_type":
        return "What happened."
    if typing.get_origin(annotation) is typing.Required:
        annotation = typing.get_args(annotation)[0]
    infos = [each for each in typing.get_args(annotation)[1:] if isinstance(each, FieldInfo)]
    return next(info.description for info in infos if info.description)


def _wire_columns(name: str, never_null: tuple[str, ...], checks: dict[str, dict[str, Any]]) -> Any:
    """A model with one column per field of the wire: the base of the event tables."""
    fields = {
        column: pa.Field(
            nullable=column not in never_null,
            description=_wire_description(column, annotation),
            **checks.get(column, {}),
        )
        for column, annotation in event_fields().items()
    }
    namespace = {"__annotations__": dict(WIRE_SCHEMA), "__module__": __name__}
    return type(name, (_Contract,), namespace | fields)


_SilverWire: Any = _wire_columns(
    "_SilverWire",
    never_null=(*required_fields(), *FLAGS, "critical_multiplier"),
    checks={
        "event_id": {"unique": True},
        "event_type": {"isin": EVENT_TYPES},
        **{name: {"ge": 0.0} for name in AMOUNTS},
        **{name: {"in_range": {"min_value": 0.0, "max_value": 100.0}} for name in PERCENTAGES},
    },
)
_QuarantineWire: Any = _wire_columns("_QuarantineWire", never_null=(), checks={})


class SilverEvents(_SilverWire):  # type: ignore[misc]  # its columns are derived from the event contract
    """One row per event of a raid and day (UTC), clean, without duplicates, sorted by (timestamp, event_id)."""

    batch_id: str = pa.Field(description="The batch that brought the event (of several copies: the earliest batch).")
    ingest_timestamp: Timestamp = pa.Field(description="When that batch arrived at the receiver.")
    ingest_latency_ms: int = pa.Field(
        description="ingest_timestamp − timestamp in whole ms, rounded down; negative for a sender whose clock is fast."
    )
    is_massive_hit: bool = pa.Field(description="damage_amount is above `silver.massive_hit_threshold`.")
    event_date: pl.Date = pa.Field(description="The day of the timestamp, UTC.")


class Quarantine(_QuarantineWire):  # type: ignore[misc]  # its columns are derived from the event contract
    """One row per event that was set aside, with its reason, sorted by (ingest_timestamp, batch_id, key, position)."""

    batch_id: str = pa.Field(description="The batch that brought the event.")
    ingest_timestamp: Timestamp = pa.Field(description="When that batch arrived at the receiver.")
    key: str = pa.Field(description="The Bronze object that holds the event.")
    position: int = pa.Field(ge=0, description="The event's place in that object, counted from 0.")
    reason: str = pa.Field(isin=tuple(REASONS), description="Why: the first of the reasons that applies.")
    raw_event: str = pa.Field(
        nullable=True, description="For reason malformed: the event as JSON, since its columns may not hold it."
    )


class _Identified(_Contract):
    raid_id: str = pa.Field(description="The raid: one team's evening.")
    encounter_id: str = pa.Field(description="The pull, unique within the raid.")


class RaidSummary(_Identified):
    """One row per pull, sorted by (raid_id, encounter_id)."""

    event_date: pl.Date = pa.Field(description="Date of the pull's start, UTC.")
    team_id: str = pa.Field(nullable=True, description="The team that raids.")
    boss_id: str = pa.Field(nullable=True, description="The boss fight's id in the game.")
    encounter_name: str = pa.Field(nullable=True, description="The boss fight's name.")
    encounter_difficulty: str = pa.Field(nullable=True, description="The boss fight's difficulty.")
    raid_size: int = pa.Field(nullable=True, description="Players in the raid, as the game states it.")
    pull_number: int = pa.Field(ge=1, description="The how-manieth pull of this boss and difficulty in the raid.")
    start_timestamp: Timestamp = pa.Field(description="When the pull began.")
    duration_ms: int = pa.Field(ge=0, description="How long it took, whole ms.")
    total_damage: float = pa.Field(ge=0, description="Damage done by players and their pets.")
    total_healing: float = pa.Field(description="Healing done by players and their pets, net of overheal.")
    total_overheal: float = pa.Field(ge=0, description="Their healing that healed nothing.")
    total_absorbed: float = pa.Field(ge=0, description="Damage that their shields took.")
    total_damage_taken: float = pa.Field(ge=0, description="Damage that met players.")
    total_player_deaths: int = pa.Field(ge=0, description="Deaths of players.")
    n_players: int = pa.Field(ge=0, description="Players in the pull.")
    n_tanks: int = pa.Field(ge=0, description="Those with role tank.")
    n_healers: int = pa.Field(ge=0, description="Those with role healer.")
    n_dps: int = pa.Field(ge=0, description="Those with role dps.")
    raid_dps: float = pa.Field(nullable=True, ge=0, description="total_damage per second; null when duration_ms is 0.")
    raid_hps: float = pa.Field(nullable=True, description="total_healing per second; null when duration_ms is 0.")
    boss_min_hp_pct: float = pa.Field(
        nullable=True, ge=0, le=100, description="Least boss health seen, %; null where it was never seen."
    )
    boss_max_hp_pct: float = pa.Field(
        nullable=True, ge=0, le=100, description="Greatest boss health seen, %; null where it was never seen."
    )
    has_verdict: bool = pa.Field(description="Whether the log itself says how the pull ended.")
    raid_outcome: str = pa.Field(
        isin=OUTCOMES,
        description="success, wipe or unknown: the log's verdict, else by the rule in `gold.md`.",
    )
    is_reset: bool = pa.Field(
        description="Whether it was no success, cost no player's life and was over in less than `gold.reset_s`."
    )
    n_events: int = pa.Field(ge=1, description="Events of the pull.")


class PlayerRaidStats(_Identified):
    """One row per pull and player, sorted by (raid_id, encounter_id, player_id)."""

    player_id: str = pa.Field(description="The player.")
    player_name: str = pa.Field(nullable=True, description="The player's name.")
    player_class: str = pa.Field(nullable=True, description="The player's class; null where unknown.")
    specialization: str = pa.Field(nullable=True, description="The player's specialisation; null where unknown.")
    role: str = pa.Field(nullable=True, description="tank, healer or dps; null where unknown.")
    item_level: float = pa.Field(nullable=True, description="Average equipped item level; null where unknown.")
    team_id: str = pa.Field(nullable=True, description="The team of the pull.")
    damage_own: float = pa.Field(ge=0, description="Damage done by the player's own hand.")
    damage_pets: float = pa.Field(ge=0, description="Damage done by the player's pets.")
    damage_total: float = pa.Field(ge=0, description="Both together.")
    damage_to_boss: float = pa.Field(ge=0, description="Of damage_total, what met a boss.")
    damage_to_adds: float = pa.Field(ge=0, description="Of damage_total, what met adds.")
    damage_events: int = pa.Field(ge=0, description="Hits by the player and their pets.")
    healing_events: int = pa.Field(ge=0, description="Heals by the player and their pets.")
    healing_total: float = pa.Field(description="Healing by the player and their pets, net of overheal.")
    overheal_total: float = pa.Field(ge=0, description="Their healing that healed nothing.")
    healing_to_self: float = pa.Field(description="Of healing_total, what met the player.")
    healing_to_tanks: float = pa.Field(description="Of healing_total, what met the pull's tanks.")
    absorb_total: float = pa.Field(ge=0, description="Damage that the player's shields took.")
    overheal_share: float = pa.Field(nullable=True, description="overheal_total over gross healing; null without any.")
    casts: int = pa.Field(ge=0, description="The player's own casts.")
    interrupts: int = pa.Field(ge=0, description="Casts of category interrupt.")
    dispels: int = pa.Field(ge=0, description="Casts of category dispel.")
    defensives: int = pa.Field(ge=0, description="Casts of category defensive.")
    taunts: int = pa.Field(ge=0, description="Casts of category taunt.")
    resurrects: int = pa.Field(ge=0, description="Casts of category resurrect.")
    consumables: int = pa.Field(ge=0, description="Casts of category consumable.")
    player_deaths: int = pa.Field(ge=0, description="How often the player died.")
    first_death_ms: int = pa.Field(nullable=True, description="When first, ms since the start; null without a death.")
    crit_events: int = pa.Field(ge=0, description="Critical hits and heals by the player and their pets.")
    crit_rate: float = pa.Field(nullable=True, ge=0, le=1, description="Their share of hits and heals; null if none.")
    damage_taken: float = pa.Field(ge=0, description="Damage that met the player.")
    avoidable_damage_taken: float = pa.Field(ge=0, description="Of it, what play could have avoided.")
    avoidable_share: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="avoidable_damage_taken over the damage of which it is known.",
    )
    alive_s: int = pa.Field(ge=0, description="Seconds in which the player was alive.")
    activity: float = pa.Field(
        nullable=True, ge=0, le=1, description="Share of those in which the player hit, healed, absorbed or cast."
    )
    dps: float = pa.Field(nullable=True, ge=0, description="damage_total per second; null when the pull took 0 ms.")
    hps: float = pa.Field(nullable=True, description="healing_total per second; null when the pull took 0 ms.")
    damage_share: float = pa.Field(nullable=True, ge=0, description="damage_total over the pull's total_damage.")
    healing_share: float = pa.Field(nullable=True, description="healing_total over the pull's total_healing.")


class RaidTimeline(_Identified):
    """One row per pull and second, sorted by (encounter_id, second); one file per raid."""

    second: int = pa.Field(ge=0, description="Seconds since the pull's start.")
    damage: float = pa.Field(ge=0, description="Damage done by players and their pets in this second.")
    healing: float = pa.Field(description="Healing done by them, net of overheal.")
    damage_taken: float = pa.Field(ge=0, description="Damage that met players.")
    deaths: int = pa.Field(ge=0, description="Deaths of players.")
    boss_hp_pct: float = pa.Field(
        nullable=True, ge=0, le=100, description="Boss health as last seen, %; null before it was first seen."
    )
    players_alive: int = pa.Field(ge=0, description="Players alive in this second.")


class PlayerTimeline(_Identified):
    """One row per pull, player and second, sorted by (encounter_id, player_id, second); one file per raid."""

    player_id: str = pa.Field(description="The player.")
    second: int = pa.Field(ge=0, description="Seconds since the pull's start.")
    damage: float = pa.Field(ge=0, description="Damage done by the player and their pets in this second.")
    healing: float = pa.Field(description="Healing done by them, net of overheal.")
    damage_taken: float = pa.Field(ge=0, description="Damage that met the player.")
    casts: int = pa.Field(ge=0, description="The player's own casts.")
    is_alive: bool = pa.Field(description="Whether the player was alive when the second began.")


class DimPlayer(_Contract):
    """One row per player over all raids, sorted by player_id. It looks at the whole season: no feature may join it."""

    player_id: str = pa.Field(unique=True, description="The player.")
    player_name: str = pa.Field(nullable=True, description="Name as in the latest pull that knows it.")
    player_class: str = pa.Field(nullable=True, description="Class as in the latest pull that knows it.")
    specialization: str = pa.Field(nullable=True, description="Specialisation as in the latest pull that knows it.")
    role: str = pa.Field(nullable=True, description="Role as in the latest pull that knows it.")
    first_seen: Timestamp = pa.Field(description="Start of the player's first pull.")
    last_seen: Timestamp = pa.Field(description="Start of the player's last pull.")
    n_raids: int = pa.Field(ge=1, description="Raids with a pull that the player was in.")
    n_pulls: int = pa.Field(ge=1, description="Pulls that the player was in.")
    n_kills: int = pa.Field(ge=0, description="Those with outcome success.")
    damage_total: float = pa.Field(ge=0, description="Damage done over all pulls, pets included.")
    healing_total: float = pa.Field(description="Healing done over all pulls, net of overheal.")
    player_deaths: int = pa.Field(ge=0, description="Deaths over all pulls.")


class DimRaid(_Contract):
    """One row per raid, sorted by raid_id. It looks at the whole raid: no feature may join it."""

    raid_id: str = pa.Field(unique=True, description="The raid: one team's evening.")
    team_id: str = pa.Field(nullable=True, description="The team that raids.")
    event_date: pl.Date = pa.Field(description="Date of first_event, UTC.")
    first_event: Timestamp = pa.Field(description="The raid's earliest event.")
    last_event: Timestamp = pa.Field(description="The raid's latest event.")
    n_events: int = pa.Field(ge=1, description="Events in Silver, those outside pulls too.")
    n_pulls: int = pa.Field(ge=0, description="Pulls of the raid.")
    n_kills: int = pa.Field(ge=0, description="Those with outcome success.")
    n_wipes: int = pa.Field(ge=0, description="Those with outcome wipe.")
    n_players: int = pa.Field(ge=0, description="Players over all its pulls.")
    source_system: str = pa.Field(nullable=True, description="Who made the events.")


SILVER_TABLES: dict[str, Table] = {"wow_raid_events": SilverEvents, "quarantine": Quarantine}
GOLD_TABLES: dict[str, Table] = {
    "raid_summary": RaidSummary,
    "player_raid_stats": PlayerRaidStats,
    "raid_timeline": RaidTimeline,
    "player_timeline": PlayerTimeline,
    "dim_player": DimPlayer,
    "dim_raid": DimRaid,
}


class PullFeatures(_Identified):
    """One row per pull and horizon T, for pulls still running at T, sorted by (raid_id, encounter_id, horizon_s)."""

    horizon_s: int = pa.Field(gt=0, description="T: only seconds of the pull before it were looked at, s.")
    raid_outcome: str = pa.Field(isin=OUTCOMES, description="The label: how the pull ended. Not a feature.")
    team_id: str = pa.Field(nullable=True, description="The team: what splits are grouped by. Not a feature.")
    start_timestamp: Timestamp = pa.Field(description="When the pull began. Not a feature.")
    encounter_name: str = pa.Field(nullable=True, description="The boss fight's name.")
    encounter_difficulty: str = pa.Field(nullable=True, description="The boss fight's difficulty.")
    n_players: int = pa.Field(ge=0, description="Players who had done or met something before T.")
    n_tanks: int = pa.Field(ge=0, description="Those of them whose role is tank.")
    n_healers: int = pa.Field(ge=0, description="Those of them whose role is healer.")
    n_dps: int = pa.Field(ge=0, description="Those of them whose role is dps.")
    n_classes: int = pa.Field(ge=0, description="Different classes among them.")
    mean_item_level: float = pa.Field(nullable=True, description="Their mean item level.")
    prior_pulls: int = pa.Field(ge=0, description="Earlier pulls of this boss and difficulty by the team.")
    prior_kills: int = pa.Field(ge=0, description="Earlier kills of it by the team.")
    prior_best_boss_hp_pct: float = pa.Field(nullable=True, description="Least boss health in those pulls, %.")
    previous_boss_hp_pct: float = pa.Field(nullable=True, description="Least boss health in the last of them, %.")
    team_pulls: int = pa.Field(ge=0, description="Earlier pulls of any boss by the team.")
    team_kills: int = pa.Field(ge=0, description="Earlier kills of any boss by the team.")
    team_kill_share: float = pa.Field(nullable=True, description="team_kills / team_pulls.")
    evening_pulls: int = pa.Field(ge=0, description="Earlier pulls in the same raid.")
    evening_kills: int = pa.Field(ge=0, description="Earlier kills in the same raid.")
    damage_per_s: float = pa.Field(description="Damage by players and pets up to T, per s.")
    healing_per_s: float = pa.Field(description="Healing net of overheal up to T, per s.")
    damage_taken_per_s: float = pa.Field(description="Damage taken by players up to T, per s.")
    last_10s_damage_taken_per_s: float = pa.Field(description="The same in the ten seconds before T, per s.")
    deaths: int = pa.Field(ge=0, description="Players' deaths up to T.")
    alive_share: float = pa.Field(
        nullable=True, description="Share of the players who live in the last second before T."
    )
    boss_hp_pct: float = pa.Field(nullable=True, description="Boss health at T, %; null where it was not seen by then.")
    activity: float = pa.Field(
        nullable=True, description="Share of the players' alive seconds with an action of theirs."
    )
    tank_damage_per_s: float = pa.Field(nullable=True, description="Damage by tanks; null where no role is known.")
    tank_healing_per_s: float = pa.Field(nullable=True, description="Healing by tanks, per s.")
    tank_damage_taken_per_s: float = pa.Field(nullable=True, description="Damage taken by tanks, per s.")
    healer_damage_per_s: float = pa.Field(nullable=True, description="Damage by healers, per s.")
    healer_healing_per_s: float = pa.Field(nullable=True, description="Healing by healers, per s.")
    healer_damage_taken_per_s: float = pa.Field(nullable=True, description="Damage taken by healers, per s.")
    dps_damage_per_s: float = pa.Field(nullable=True, description="Damage by damage dealers, per s.")
    dps_healing_per_s: float = pa.Field(nullable=True, description="Healing by damage dealers, per s.")
    dps_damage_taken_per_s: float = pa.Field(nullable=True, description="Damage taken by damage dealers, per s.")


class PlayerBehaviour(_Identified):
    """One row per pull and player who lived at least a second, sorted by (raid_id, encounter_id, player_id)."""

    player_id: str = pa.Field(description="The player.")
    team_id: str = pa.Field(nullable=True, description="The team.")
    player_class: str = pa.Field(nullable=True, description="The player's class.")
    specialization: str = pa.Field(nullable=True, description="The player's specialisation.")
    role: str = pa.Field(nullable=True, isin=ROLES, description="The player's role.")
    encounter_name: str = pa.Field(nullable=True, description="The boss fight's name.")
    encounter_difficulty: str = pa.Field(nullable=True, description="The boss fight's difficulty.")
    alive_s: int = pa.Field(gt=0, description="Seconds in which the player is alive: what the rates are per.")
    damage_per_s: float = pa.Field(description="Damage, own and pets', per s alive.")
    healing_per_s: float = pa.Field(description="Healing net of overheal, per s alive.")
    absorb_per_s: float = pa.Field(description="Absorbs credited, per s alive.")
    damage_taken_per_s: float = pa.Field(description="Damage taken, per s alive.")
    avoidable_taken_per_s: float = pa.Field(description="Avoidable damage taken, per s alive.")
    casts_per_s: float = pa.Field(description="Casts, per s alive.")
    interrupts_per_min: float = pa.Field(description="Interrupts, per min alive.")
    dispels_per_min: float = pa.Field(description="Dispels, per min alive.")
    defensives_per_min: float = pa.Field(description="Defensive abilities, per min alive.")
    taunts_per_min: float = pa.Field(description="Taunts, per min alive.")
    consumables_per_min: float = pa.Field(description="Consumables, per min alive.")
    crit_rate: float = pa.Field(nullable=True, description="Share of hits and heals that are critical.")
    overheal_share: float = pa.Field(nullable=True, description="Share of gross healing that healed nothing.")
    avoidable_share: float = pa.Field(
        nullable=True, description="Share of damage taken (where known) that was avoidable."
    )
    pet_damage_share: float = pa.Field(nullable=True, description="Share of the damage done by pets.")
    add_damage_share: float = pa.Field(nullable=True, description="Share of the damage that met adds.")
    self_healing_share: float = pa.Field(nullable=True, description="Share of the healing that met the player.")
    tank_healing_share: float = pa.Field(nullable=True, description="Share of the healing that met tanks.")
    activity: float = pa.Field(nullable=True, description="Share of alive seconds with an own action.")
    burstiness: float = pa.Field(
        nullable=True, description="Standard deviation / mean of damage + healing between windows of 10 s alive."
    )
    died: bool = pa.Field(description="Whether the player died in the pull.")


FEATURE_TABLES: dict[str, Table] = {"pull_features": PullFeatures, "player_behaviour": PlayerBehaviour}


@cache
def polars_schema(table: Table) -> pl.Schema:
    """The table's columns and Polars types, in order."""
    return pl.Schema({name: column.dtype.type for name, column in table.to_schema().columns.items()})


@cache
def nullable_columns(table: Table) -> frozenset[str]:
    """The columns that may be null."""
    return frozenset(name for name, column in table.to_schema().columns.items() if column.nullable)


@cache
def arrow_schema(table: Table) -> pyarrow.Schema:
    """The schema with which the table's Parquet files are written."""
    nullable = nullable_columns(table)
    return pyarrow.schema(
        [
            pyarrow.field(name, _arrow_type(dtype), nullable=name in nullable)
            for name, dtype in polars_schema(table).items()
        ]
    )


def column_descriptions(table: Table) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each column, for the data dictionary."""
    columns = table.to_schema().columns
    return [
        (field.name, str(field.type) + (", nullable" if field.nullable else ""), columns[field.name].description or "")
        for field in arrow_schema(table)
    ]


def conform(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The table's columns out of `frame`, in its order and types."""
    return frame.select(pl.col(name).cast(dtype) for name, dtype in polars_schema(table).items())


def check(frame: pl.DataFrame, table: Table) -> None:
    """Hold a frame against its contract.

    Raises:
        PipelineError: columns, order, types, nulls or values break it; the message names the first few faults.
    """
    # One pass of Polars is some fifty times faster than Pandera, which judges and explains what that does not accept.
    if frame.schema == polars_schema(table) and frame.select(_is_sound(table)).item():
        return
    try:
        table.validate(frame, lazy=True)
    except SchemaErrors as error:
        faults = [
            f"{each['column'] or 'table'}: {each['check']} ({each['failure_case']})"
            for each in error.failure_cases.unique(["column", "check"], maintain_order=True).to_dicts()
        ]
        shown = "; ".join(faults[:MAX_EXPLAINED_FAULTS])
        raise PipelineError(f"a frame breaks the contract {table.__name__} in {len(faults)} ways: {shown}") from error


def write_table(frame: pl.DataFrame, table: Table, target: Path, metadata: dict[str, str]) -> None:
    """Check a frame against its contract and write it as Parquet (Snappy); the same frame gives the same bytes.

    Args:
        frame: the table's rows, sorted by the caller.
        table: its contract.
        target: the file; its folder is made.
        metadata: what the file says of itself beside its schema.

    Raises:
        PipelineError: the frame breaks the contract; nothing is written.
    """
    check(frame, table)
    schema = arrow_schema(table).with_metadata(dict(sorted(metadata.items())) or None)
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(frame.to_arrow().cast(schema), target, compression="snappy")


@cache
def _is_sound(table: Table) -> pl.Expr:
    """The contract's word on nulls and values as one expression: whether a whole frame keeps it."""
    kept: list[pl.Expr] = []
    for name, column in table.to_schema().columns.items():
        values = pl.col(name)
        if not column.nullable:
            kept.append(values.null_count() == 0)
        if not column.nullable and polars_schema(table)[name].is_float():
            kept.append(values.is_not_nan().all())  # to Pandera NaN is a null
        if column.unique:
            kept.append(values.n_unique() == pl.len())
        kept += [_keeps(values, each).all() for each in column.checks]
    return pl.all_horizontal(kept)


def _keeps(values: pl.Expr, rule: pa.Check) -> pl.Expr:
    """Whether each value keeps one rule of the contract; null where the value is null, which `all` passes over."""
    bounds: dict[str, Any] = rule.statistics or {}
    match rule.name:
        case "greater_than":
            return values.gt(bounds["min_value"])
        case "greater_than_or_equal_to":
            return values.ge(bounds["min_value"])
        case "less_than_or_equal_to":
            return values.le(bounds["max_value"])
        case "in_range" if bounds["include_min"] and bounds["include_max"]:
            return values.is_between(bounds["min_value"], bounds["max_value"])
        case "isin":
            return values.is_in(bounds["allowed_values"])
        case _:
            raise NotImplementedError(f"tables: there is no Polars expression for the rule {rule.name}")


def read_table(files: list[Path], table: Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Files of one table as a frame, in the order given; no files give an empty frame.

    Args:
        files: the files.
        table: their contract.
        columns: which columns to read; all of them by default.

    Raises:
        PipelineError: a file is damaged, or lacks a column.
    """
    schema = polars_schema(table)
    wanted = {name: schema[name] for name in columns or schema}
    if not files:
        return pl.DataFrame(schema=wanted)
    try:
        return _read(files, wanted)
    except pl.exceptions.PolarsError as error:
        file = next((each for each in files if not _can_be_read(each, wanted)), files[0])
        raise _damaged(file, table, error) from error


def scan_table(files: list[Path], table: Table) -> pl.LazyFrame:
    """Files of one table lazily: only the columns that are used are read.

    Raises:
        PipelineError: a file is damaged, as far as its end tells.
    """
    for file in files:
        try:
            pl.read_parquet_schema(file)
        except pl.exceptions.PolarsError as error:
            raise _damaged(file, table, error) from error
    return pl.scan_parquet(files, hive_partitioning=False)


def _read(files: Path | list[Path], wanted: dict[str, pl.DataType]) -> pl.DataFrame:
    frame = pl.read_parquet(files, columns=list(wanted), hive_partitioning=False)
    return frame.select(pl.col(name).cast(dtype) for name, dtype in wanted.items())


def _can_be_read(file: Path, wanted: dict[str, pl.DataType]) -> bool:
    try:
        _read(file, wanted)
    except pl.exceptions.PolarsError:
        return False
    return True


def _damaged(file: Path, table: Table, error: pl.exceptions.PolarsError) -> PipelineError:
    reason = str(error).splitlines()[0]
    return PipelineError(f"{file}: is damaged or no {table.__name__} ({reason}): {paths.how_to_mend(file)}")


def _arrow_type(dtype: pl.DataType) -> pyarrow.DataType:
    if isinstance(dtype, pl.List):
        return pyarrow.list_(_arrow_type(typing.cast("pl.DataType", dtype.inner)))
    plain: dict[type[pl.DataType], pyarrow.DataType] = {
        pl.String: pyarrow.string(),
        pl.Boolean: pyarrow.bool_(),
        pl.Int64: pyarrow.int64(),
        pl.Float64: pyarrow.float64(),
        pl.Date: pyarrow.date32(),
        pl.Datetime: pyarrow.timestamp("us", tz="UTC"),
    }
    return plain[type(dtype)]
