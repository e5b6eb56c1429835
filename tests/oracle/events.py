"""Small but nasty Silver data: every case that a Gold formula could get wrong, by hand and at random.

Everything here keeps what Silver promises: rows sorted by (timestamp, event_id), no event outside the time of its pull.
Amounts are multiples of 0.25, so that their sums are exact in any order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import polars as pl
from hypothesis import strategies as st

from pipeline.params import Gold
from pipeline.wire import TIMESTAMP, WIRE_SCHEMA, event_frame

Row = dict[str, Any]

# A pull of exactly ten seconds, one death and a boss at exactly five per cent lies on every limit at once.
TRAP_PARAMS = Gold(success_boss_hp_pct=5.0, time_limit_s=10.0, max_deaths=1, reset_s=9.0)
LENIENT_PARAMS = Gold(success_boss_hp_pct=50.0, time_limit_s=900.0, max_deaths=None, reset_s=3.0)
SILVER_SCHEMA = pl.Schema(
    {
        **WIRE_SCHEMA,
        "batch_id": pl.String(),
        "ingest_timestamp": TIMESTAMP,
        "ingest_latency_ms": pl.Int64(),
        "is_massive_hit": pl.Boolean(),
        "event_date": pl.Date(),
    }
)


@dataclass(frozen=True)
class Entity:
    """Somebody who acts or is met, with what the log says of them."""

    id: str
    name: str
    kind: str | None = None
    role: str | None = None
    player_class: str | None = None
    specialization: str | None = None
    item_level: float | None = None
    owner: str | None = None

    def acting(self) -> Row:
        """The source fields of an event."""
        return {
            "source_player_id": self.id,
            "source_player_name": self.name,
            "source_player_role": self.role,
            "source_player_class": self.player_class,
            "source_player_specialization": self.specialization,
            "source_item_level": self.item_level,
            "source_owner_id": self.owner,
        }

    def met(self) -> Row:
        """The target fields of an event."""
        return {"target_entity_id": self.id, "target_entity_name": self.name, "target_entity_type": self.kind}


TANK = Entity("tank", "Tank", "player", "tank", "warrior", "protection", 480.5)
HEALER = Entity("healer", "Healer", "player", "healer", "priest", "holy", 470.0)
MAGE = Entity("mage", "Mage", "player", "dps", "mage", "frost", 475.0)
HUNTER = Entity("hunter", "Hunter", "player", "dps", "hunter", None, None)
DRUID = Entity("druid", "Druid", "player", "healer", "druid", "restoration", 465.0)
DRUID_EARLIER = Entity("druid", "Druid-Before", "player", "dps", None, "feral", 460.0)
DRUID_LATER = Entity("druid", "Druid-After", "player", "tank", "monk", "guardian", 490.0)
MONK_UNKNOWN = Entity("monk", "Monk", "player", None, "monk")
MONK_HEALING = Entity("monk", "Monk", "player", "healer", "monk", "mistweaver", 455.0)
MONK_FIGHTING = Entity("monk", "Monk", "player", "dps", "monk", "windwalker", 456.0)
GHOST = Entity("ghost", "Ghost", "player")
ROGUE = Entity("rogue", "Rogue", "player", "dps")
WOLF = Entity("wolf", "Wolf", None, owner="hunter")
WOLF_WITH_CLASS = Entity("wolf", "Wolf", None, "dps", "hunter", owner="hunter")
MAGE_CHARMED = Entity("mage", "Mage", None, "dps", "mage", owner="hunter")
TANK_AS_OWN_PET = Entity("tank", "Tank", None, "tank", "warrior", owner="tank")
STRAY = Entity("stray", "Stray", None, owner="nobody-known")
BOSS = Entity("boss", "Boss", "boss")
TWIN = Entity("twin", "Twin", "boss")
ADD = Entity("add", "Add", "add")
ADD_OF_BOSS = Entity("add", "Add", "add", owner="boss")
ENVIRONMENT = Entity("environment", "environment")
ENVIRONMENT_WITH_CLASS = Entity("environment", "environment", "player", "dps", "mage")


def event(event_type: str, at: float, source: Entity = BOSS, target: Entity | None = None, **fields: Any) -> Row:
    """One event `at` seconds after its pull's begin."""
    where = target.met() if target else {}
    return {"event_type": event_type, "at": at, **source.acting(), **where, **fields}


def hit(at: float, source: Entity, target: Entity | None, amount: float, **fields: Any) -> Row:
    """Damage."""
    return event("combat_damage", at, source, target, damage_amount=amount, **fields)


def heal(
    at: float, source: Entity, target: Entity | None, amount: float, over: float | None = None, **fields: Any
) -> Row:
    """Healing, gross, of which `over` healed nothing."""
    return event("heal", at, source, target, healing_amount=amount, overheal_amount=over, **fields)


def boss_hit(at: float, after: float | None, before: float | None = None, **fields: Any) -> Row:
    """The mage hits the boss and the log tells its health."""
    health = {"target_entity_health_pct_before": before, "target_entity_health_pct_after": after}
    return hit(at, MAGE, BOSS, 100, **health, **fields)


def death(at: float, target: Entity, source: Entity = BOSS) -> Row:
    """The target dies."""
    return event("player_death", at, source, target)


def resurrect(at: float, target: Entity, source: Entity = HEALER) -> Row:
    """The target lives again."""
    return event("resurrect", at, source, target)


def pull(encounter_id: str | None, begin: datetime, rows: list[Row], **fields: Any) -> list[Row]:
    """Events of one pull (None: of none); `fields` go to every event that does not say otherwise."""
    return [
        {
            **fields,
            **row,
            "encounter_id": encounter_id,
            "timestamp": begin + timedelta(microseconds=round(row["at"] * 1e6)),
        }
        for row in rows
    ]


def silver_frame(raid_id: str, *pulls: list[Row]) -> pl.DataFrame:
    """A raid's Silver rows; events of the same instant keep the order in which they are given."""
    rows = [row for rows in pulls for row in rows]
    prefix = uuid5(NAMESPACE_URL, raid_id).int >> 64 << 64
    wire = pl.DataFrame(
        [
            {name: row.get(name) for name in WIRE_SCHEMA}
            | {"raid_id": raid_id, "event_id": str(UUID(int=prefix + number))}
            for number, row in enumerate(rows)
        ],
        schema=WIRE_SCHEMA,
    )
    return as_silver(wire)


def as_silver(wire: pl.DataFrame) -> pl.DataFrame:
    """Wire events with Silver's columns, as if each had arrived a second later in one batch."""
    return (
        event_frame(wire)
        .with_columns(
            batch_id=pl.lit(str(uuid5(NAMESPACE_URL, "batch"))),
            ingest_timestamp=pl.col("timestamp") + timedelta(seconds=1),
            ingest_latency_ms=pl.lit(1000, dtype=pl.Int64),
            is_massive_hit=(pl.col("damage_amount") > 10_000).fill_null(value=False),
            event_date=pl.col("timestamp").dt.date(),
        )
        .match_to_schema(SILVER_SCHEMA)
    )


def write_silver(frames: list[pl.DataFrame], folder: Path) -> Path:
    """Write raids as Silver lays them out, one file per raid and day."""
    for frame in frames:
        for (raid_id, day), rows in frame.partition_by(
            "raid_id", "event_date", as_dict=True, maintain_order=True
        ).items():
            file = folder / f"wow_raid_events/v1/raidid={raid_id}/eventdate={day}/part-0.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows.write_parquet(file, compression="snappy")
    return folder


# ---------------------------------------------------------------------------------------------------- traps by hand


def trap_raids() -> list[pl.DataFrame]:
    """The Silver frames of all hand-made raids."""
    return [raid() for raid in (_season_opener, _main_raid, _outcomes, _oddities, _original_schema, _idle)]


def _main_raid() -> pl.DataFrame:
    """One long pull with everything that is easily miscounted, and its second try in which others play."""
    fields = {
        "team_id": "team-1",
        "encounter_name": "Warden",
        "encounter_difficulty": "heroic",
        "boss_id": "b-1",
        "raid_size": 20,
        "source_system": "trap",
    }
    first = _roster() + _damage() + _pets() + _boss_and_environment() + _healing() + _deaths() + _casts()
    second = [
        event("encounter_start", 0, ENVIRONMENT, boss_id="b-2", raid_size=25),
        event("roster", 0, DRUID_LATER),
        hit(1, DRUID_LATER, BOSS, 700),
        hit(1.5, HUNTER, BOSS, 300, is_critical_hit=True),
        event("encounter_end", 4, ENVIRONMENT, encounter_success=False),
    ]
    between = [
        hit(0, MAGE, BOSS, 9000, is_critical_hit=True, target_entity_health_pct_after=0.0),
        heal(1, HEALER, TANK, 9000),
        death(2, TANK),
        event("spell_cast", 3, TANK, ability_category="taunt"),
    ]
    begin = datetime(2026, 3, 1, 21, 0, 0, 250_000, tzinfo=UTC)
    return silver_frame(
        "trap-main",
        pull("p1", begin, first, **fields),
        pull(None, begin + timedelta(minutes=1), between, **fields),
        pull("p2", begin + timedelta(minutes=5), second, **fields),
    )


def _roster() -> list[Row]:
    """The pull's begin and end, and players whose events contradict their roster entry."""
    return [
        event("spell_cast", 0.1, DRUID_EARLIER, team_id="team-wrong"),
        event("encounter_start", 0, ENVIRONMENT, team_id=None, boss_id=None, raid_size=None),
        event("encounter_start", 0.75, ENVIRONMENT, team_id="team-2", boss_id="b-start", raid_size=10),
        *[event("roster", 0.5, player) for player in (TANK, HEALER, MAGE, HUNTER, DRUID, MONK_UNKNOWN, GHOST)],
        event("spell_cast", 0.6, MONK_HEALING),
        event("spell_cast", 0.7, MONK_FIGHTING),
        event("spell_cast", 0.8, DRUID_LATER),
        event("encounter_end", 9, ENVIRONMENT, encounter_success=False),
        event("encounter_end", 12.3, ENVIRONMENT, encounter_success=True),
        event("encounter_end", 12.345678, ENVIRONMENT, encounter_success=None),
    ]


def _damage() -> list[Row]:
    """Crits of every kind, hits on second borders, amounts on events that are not damage."""
    return [
        hit(1, MAGE, BOSS, 1000, is_critical_hit=True, target_entity_health_pct_before=99.0),
        hit(
            2,
            MAGE,
            BOSS,
            500,
            is_critical_hit=None,
            target_entity_health_pct_before=98.0,
            target_entity_health_pct_after=90.0,
        ),
        hit(2.999999, MAGE, ADD, 250.25, is_critical_hit=False, target_entity_health_pct_after=0.0),
        hit(3, MAGE, ADD, 50, absorbed_amount=20.0, healing_amount=33.0),
        hit(3.000001, MAGE, None, 5),
        hit(3.5, MAGE, Entity("door", "Door", "interactive"), 7),
        hit(4, MAGE, ROGUE, 60, is_avoidable=True, target_entity_health_pct_after=1.0),
        hit(4.25, TANK, TANK, 11, is_avoidable=None),
        hit(12.345678, TANK, BOSS, 80, overkill_amount=40.0, target_entity_health_pct_after=70.0),
        event("spell_cast", 5, MAGE, BOSS, damage_amount=4000.0, healing_amount=4000.0, is_critical_hit=True),
        event("mana_regeneration", 5, MAGE, None, resource_type="mana", damage_amount=1.0, is_critical_hit=True),
        event("boss_phase", 6, BOSS, BOSS, phase=2, target_entity_health_pct_after=88.0),
    ]


def _pets() -> list[Row]:
    """A hunter's pet in all that it may do, players as somebody's pets, a pet of nobody known, and blows on pets."""
    return [
        hit(6, WOLF, BOSS, 300, is_critical_hit=True),
        hit(6.5, WOLF_WITH_CLASS, ADD, 30),
        hit(7, HUNTER, BOSS, 400),
        heal(7.25, WOLF, HUNTER, 40, 10, is_critical_hit=True),
        heal(7.5, HUNTER, WOLF, 25, 5),
        event("absorb", 7.75, WOLF, TANK, absorbed_amount=15.0),
        event("spell_cast", 8, WOLF, BOSS, ability_category="interrupt"),
        hit(8.5, WOLF, BOSS, 20),
        hit(8.51, MAGE_CHARMED, BOSS, 13, is_critical_hit=True),
        hit(8.52, TANK_AS_OWN_PET, BOSS, 17, is_critical_hit=True),
        event("spell_cast", 8.53, TANK_AS_OWN_PET, BOSS),
        hit(8.6, STRAY, BOSS, 999, is_critical_hit=True),
        heal(8.7, STRAY, TANK, 999, 99),
        event("absorb", 8.8, STRAY, TANK, absorbed_amount=99.0),
        hit(8.9, BOSS, WOLF, 333, is_avoidable=True),
        death(8.95, WOLF),
    ]


def _boss_and_environment() -> list[Row]:
    """What boss, adds and environment do: none of it is a player's."""
    return [
        hit(1.25, BOSS, TANK, 800, is_avoidable=False, is_critical_hit=True),
        hit(1.5, BOSS, TANK, 200, is_avoidable=True, absorbed_amount=150.0),
        hit(1.75, BOSS, TANK, 100, is_avoidable=None),
        hit(2.25, BOSS, HEALER, 70, is_avoidable=None),
        hit(2.5, BOSS, Entity("bystander", "Bystander", "player"), 30),
        hit(2.75, BOSS, Entity("bystander", "Bystander-Later", "player"), 31, is_avoidable=True),
        hit(2.8, BOSS, Entity("mage", "Mage", None), 12.5),
        hit(3.25, ADD_OF_BOSS, TANK, 90, is_avoidable=False),
        hit(3.3, BOSS, BOSS, 6000, target_entity_health_pct_before=100.0),
        heal(4.5, BOSS, BOSS, 5000, 1000, target_entity_health_pct_before=86.0, target_entity_health_pct_after=95.0),
        hit(4.75, ENVIRONMENT, MAGE, 45, is_avoidable=True),
        hit(4.8, ENVIRONMENT_WITH_CLASS, ENVIRONMENT_WITH_CLASS, 77),
        event("absorb", 4.9, ENVIRONMENT, TANK, absorbed_amount=55.0),
        event("spell_cast", 5.5, BOSS, TANK, ability_category="interrupt"),
    ]


def _healing() -> list[Row]:
    """Healing on oneself, on tanks, on others; all, none or more than all of it too much."""
    return [
        heal(5, HEALER, TANK, 600, 150.5, is_critical_hit=True),
        heal(5.25, HEALER, HEALER, 100, None, is_critical_hit=False),
        heal(5.5, HEALER, MAGE, 80, 80, absorbed_amount=9.0),
        heal(5.75, HEALER, BOSS, 10, 0),
        heal(5.8, HEALER, None, 20, None, damage_amount=44.0),
        heal(6, TANK, TANK, 90, 30),
        heal(6.25, DRUID, TANK, 100, 120),
        heal(6.5, DRUID, DRUID, 40, 12, is_critical_hit=None),
        heal(6.75, MONK_HEALING, ROGUE, 500, 500),
        event("absorb", 7, HEALER, TANK, absorbed_amount=250.0, is_critical_hit=True, overheal_amount=3.0),
        event("absorb", 7.1, HEALER, HEALER, absorbed_amount=None, healing_amount=8.0),
    ]


def _deaths() -> list[Row]:
    """Deaths within and on the border of a second, by boss and by players; of pets and adds; raised and dead again."""
    return [
        death(5, MAGE),
        resurrect(6.999999, MAGE),
        death(9.5, MAGE),
        death(3.4, ROGUE, MAGE),
        death(8, HUNTER),
        resurrect(9, HUNTER),
        resurrect(10, TANK),
        death(10, TANK),
        death(11, DRUID),
        resurrect(11, DRUID),
        death(4.4, ADD, MAGE),
        death(4.6, ENVIRONMENT),
        death(0, MONK_UNKNOWN),
        event("player_death", 11.5, BOSS, Entity("ghost", "Ghost", None)),
        event("player_death", 11.6, BOSS),
        hit(11.7, TANK, BOSS, 1),
        hit(11.8, MONK_FIGHTING, BOSS, 1),
    ]


def _casts() -> list[Row]:
    """Casts of every category, several where a count could be a presence, and damage with a category."""
    repeated = ["interrupt"] * 2 + ["dispel"] * 3 + ["taunt"] * 2
    categories = ["damage", "heal", *repeated, "defensive", "resurrect", "consumable", "control", "buff", "other"]
    return [
        *[event("spell_cast", 10 + i / 8, HEALER, BOSS, ability_category=name) for i, name in enumerate(categories)],
        event("spell_cast", 10.5, HEALER),
        event("spell_cast", 10.25, MAGE, HEALER, ability_category="dispel"),
        hit(10.75, HEALER, BOSS, 3, ability_category="interrupt"),
        heal(10.8, HEALER, TANK, 4, 1, ability_category="defensive"),
    ]


def _outcomes() -> pl.DataFrame:
    """A pull for every branch of the outcome; all are pulls of one boss but those whose difficulty differs."""
    begin = datetime(2026, 3, 2, 20, tzinfo=UTC)
    pulls = [
        pull(name, begin + timedelta(minutes=10 * number), rows, **{"encounter_name": "Judge", **fields})
        for number, (name, rows, fields) in enumerate(_outcome_pulls())
    ]
    return silver_frame("trap-outcome", *pulls)


def _outcome_pulls() -> list[tuple[str, list[Row], Row]]:
    def open_end(seconds: float, *rows: Row) -> list[Row]:
        return [event("encounter_start", 0), *rows, event("encounter_end", seconds)]

    def judged(*verdicts: bool | None, after: float) -> list[Row]:
        ends = [event("encounter_end", 8 + i, encounter_success=verdict) for i, verdict in enumerate(verdicts)]
        return [event("encounter_start", 0), boss_hit(1, after, 100.0), *ends]

    heroic, mythic = {"encounter_difficulty": "heroic"}, {"encounter_difficulty": "mythic"}
    return [
        ("z-limits", open_end(10, boss_hit(1, 5.0, 60.0), death(2, MAGE), boss_hit(10, 20.0, 30.0)), heroic),
        ("y-above", open_end(10, boss_hit(1, 5.25, 60.0)), heroic),
        ("x-too-long", open_end(10.001, boss_hit(1, 4.0, 60.0)), mythic),
        ("w-deaths", open_end(9, boss_hit(1, 4.0, 60.0), death(2, MAGE), death(3, HEALER)), heroic),
        ("v-dies-twice", open_end(9, boss_hit(1, 4.0), death(2, MAGE), resurrect(3, MAGE), death(4, MAGE)), heroic),
        ("u-unseen", open_end(9, boss_hit(1, None, 3.0), hit(2, MAGE, ADD, 1, target_entity_health_pct_after=0.0)), {}),
        ("t-verdict-wipe", judged(False, after=0.0), mythic),
        ("s-verdict-kill", judged(True, after=80.0), {}),
        ("r-verdict-changes", judged(True, False, None, after=0.0), heroic),
        ("q-verdict-of-start", [event("encounter_start", 0, encounter_success=True), boss_hit(1, 80.0)], {}),
        ("o-ends-at-reset-limit", open_end(9, boss_hit(1, 80.0)), heroic),
        ("n-ends-before-it", open_end(8.999, boss_hit(1, 80.0), death(2, ADD)), heroic),
        ("m-ends-before-it-unseen", open_end(8.9, boss_hit(1, None)), heroic),
        ("l-ends-before-it-with-a-death", open_end(8.9, boss_hit(1, 80.0), death(2, MAGE)), heroic),
        ("k-ends-before-it-as-kill", open_end(8.9, boss_hit(1, 1.0)), heroic),
        ("p-add-death", open_end(9, boss_hit(1, 0.0), death(2, MAGE), death(3, ADD), death(4, WOLF)), heroic),
    ]


def _oddities() -> pl.DataFrame:
    """Pulls with no duration, no players, no names, across midnight, at once."""
    evening = datetime(2026, 3, 3, 23, 59, 58, 500_000, tzinfo=UTC)
    midnight = [
        boss_hit(0.5, 90.0, 100.0),
        hit(1.5, MAGE, BOSS, 40, target_entity_health_pct_after=None),
        hit(1.6, MAGE, TWIN, 40, target_entity_health_pct_before=100.0, target_entity_health_pct_after=97.0),
        hit(3, MAGE, ADD, 10, target_entity_health_pct_before=100.0, target_entity_health_pct_after=2.0),
        hit(3, MAGE, BOSS, 10, target_entity_health_pct_after=55.5),
        hit(3, MAGE, TWIN, 10, target_entity_health_pct_after=96.0),
        hit(5, HEALER, BOSS, 10),
    ]
    frozen = [
        hit(0, MAGE, BOSS, 500, is_avoidable=True),
        heal(0, HEALER, MAGE, 20, 5),
        death(0, MAGE),
        hit(0, BOSS, TANK, 9),
    ]
    blink = [hit(0, MAGE, BOSS, 500), heal(0.0004, HEALER, TANK, 20, 20)]
    fraction = [boss_hit(0, 60.0), boss_hit(2.0002, 40.0), event("encounter_end", 2.0004)]
    alone = [event("encounter_start", 0), hit(1, BOSS, ADD, 10), death(1.5, ADD), event("encounter_end", 2)]
    useless = [event("roster", 0, GHOST), event("roster", 0, MONK_UNKNOWN), heal(1, MONK_UNKNOWN, GHOST, 5, 5)]
    return silver_frame(
        "trap-odd",
        pull("p1", evening, midnight, encounter_difficulty="normal"),
        pull("frozen", evening + timedelta(minutes=1), frozen),
        pull("blink", evening + timedelta(minutes=2), blink),
        pull("fraction", evening + timedelta(minutes=3), fraction, encounter_difficulty="normal"),
        pull("alone", evening + timedelta(minutes=3), alone, team_id="late-team"),
        pull("useless", evening + timedelta(minutes=3), useless, source_system="late-system"),
        _wandering("trap-odd", "dps", "elemental"),
    )


def _season_opener() -> pl.DataFrame:
    """Earlier than the others though later by id: who plays here is known better, not more recently."""
    begin = datetime(2026, 2, 1, 19, tzinfo=UTC)
    old_druid = Entity("druid", "Druid-Old", "player", "dps", "druid", "balance", 440.0)
    old_hunter = Entity("hunter", "Hunter-Old", "player", "dps", "hunter", "survival", 441.0)
    old_ghost = Entity("ghost", "Ghost-Old", "player", "tank", "death_knight", "blood", 442.0)
    rows = [
        *[event("roster", 0, player) for player in (old_druid, old_hunter, old_ghost)],
        hit(1, old_druid, BOSS, 64, target_entity_health_pct_after=0.0),
        heal(2, old_ghost, old_hunter, 32, 8),
        death(3, old_ghost),
        event("encounter_end", 4, encounter_success=True),
    ]
    opener = pull("p1", begin, rows, team_id="team-1", encounter_name="Warden")
    return silver_frame("zz-opener", opener, _wandering("zz-opener", "healer", None))


def _original_schema() -> pl.DataFrame:
    """As the original system sends: a flat list without roster, begin, end or overheal, some of it in no encounter."""
    begin = datetime(2026, 3, 4, 18, tzinfo=UTC)
    roles = [("tank", "warrior"), ("healer", "priest"), ("dps", "mage"), ("dps", None), (None, "rogue"), (None, None)]
    players = [Entity(f"player{i}", f"Player{i}", "player", role, name) for i, (role, name) in enumerate(roles)]
    rows = [
        *[hit(i * 1.5, player, BOSS, 100 + i, is_critical_hit=i % 2 == 0) for i, player in enumerate(players)],
        *[heal(i + 0.25, players[1], player, 50 + i) for i, player in enumerate(players[:3])],
        event("mana_regeneration", 3, players[1], None, resource_type="mana", resource_regeneration_rate=5.0),
        event("player_death", 6, BOSS, players[2]),
        event("boss_phase", 7, BOSS, BOSS, phase=2),
    ]
    loose = [hit(0, players[0], BOSS, 1), death(1, players[0])]
    return silver_frame("raid001", pull("enc-1", begin, rows), pull(None, begin + timedelta(minutes=1), loose))


def _wandering(raid_id: str, role: str, spec: str | None) -> list[Row]:
    """A pull that begins at the same instant in two raids, with the same player in both."""
    wanderer = Entity("wanderer", f"Wanderer-{raid_id}", "player", role, "shaman", spec, 400.0)
    rows = [hit(0, wanderer, BOSS, 10, target_entity_health_pct_after=0.0), hit(2, BOSS, wanderer, 3)]
    return pull("p-wandering", datetime(2026, 3, 5, tzinfo=UTC), rows)


def _idle() -> pl.DataFrame:
    """A raid without any pull, whose team and origin show only later."""
    rows = [
        hit(0, MAGE, BOSS, 10, target_entity_health_pct_after=0.0),
        event("roster", 1, TANK, team_id="team-9", source_system="later"),
        death(86_400, TANK),
        event("spell_cast", 86_401, TANK, team_id="team-8", source_system="last"),
    ]
    return silver_frame("trap-idle", pull(None, datetime(2026, 3, 6, 12, tzinfo=UTC), rows))


# --------------------------------------------------------------------------------------------------- traps at random

# Repetition is weight.
PLAYERS = (TANK, HEALER, MAGE, HUNTER, DRUID, DRUID_EARLIER, DRUID_LATER, MONK_UNKNOWN, MONK_HEALING, GHOST)
PETS = (
    WOLF,
    WOLF,
    WOLF_WITH_CLASS,
    Entity("wolf", "Wolf", None, owner="mage"),
    Entity("wolf", "Wolf"),
    STRAY,
    MAGE_CHARMED,
    TANK_AS_OWN_PET,
)
SOURCES = (*PLAYERS, *PETS, BOSS, BOSS, TWIN, ADD_OF_BOSS, ENVIRONMENT)
TARGETS = (
    None,
    *PLAYERS[:4],
    ROGUE,
    GHOST,
    Entity("mage", "Mage", None),
    WOLF,
    BOSS,
    BOSS,
    BOSS,
    TWIN,
    ADD,
    ENVIRONMENT,
)
WEIGHTS = {
    "combat_damage": 6,
    "heal": 4,
    "player_death": 3,
    "resurrect": 2,
    "spell_cast": 2,
    "absorb": 2,
    "roster": 1,
    "boss_phase": 1,
    "mana_regeneration": 1,
    "encounter_start": 1,
    "encounter_end": 1,
}
KINDS = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
CATEGORIES = (None, "damage", "interrupt", "dispel", "defensive", "taunt", "resurrect", "consumable")
AMOUNTS = (None, 0.0, 0.25, 1.0, 64.0, 1000.5)
FLAGS = (None, True, False)
PERCENTAGES = (None, None, 0.0, 5.0, 5.25, 50.0, 100.0)
LENGTH_S = 6.0


def raids() -> st.SearchStrategy[list[pl.DataFrame]]:
    """One to three random raids with the same traits as the hand-made ones, players in common."""
    return st.lists(_random_raid(), min_size=1, max_size=3).map(
        lambda raids: [silver_frame(f"random-{number}", *pulls) for number, pulls in enumerate(raids)]
    )


def _random_raid() -> st.SearchStrategy[list[list[Row]]]:
    return st.lists(_random_pull(), min_size=1, max_size=3).map(
        lambda pulls: [place(number) for number, place in enumerate(pulls)]
    )


@st.composite
def _random_pull(draw: st.DrawFn) -> Callable[[int], list[Row]]:
    """A pull that still wants its number in the raid."""
    rows = draw(st.lists(_random_event(), min_size=1, max_size=25))
    has_start, has_end, is_outside = draw(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from([False, False, False, True]))
    )
    length = draw(st.sampled_from([0.0, 0.0004, 3.0, LENGTH_S, LENGTH_S + 0.0005]))
    rows = [
        {**row, "at": min(row["at"], length)}
        for row in rows
        if (has_start or row["event_type"] != "encounter_start") and (has_end or row["event_type"] != "encounter_end")
    ]
    rows += [event("encounter_start", 0.0)] * has_start + [event("encounter_end", length)] * has_end
    rows = rows or [event("boss_phase", 0.0)]
    fields = draw(
        st.fixed_dictionaries(
            {
                "encounter_name": st.sampled_from([None, "Warden"]),
                "encounter_difficulty": st.sampled_from([None, "heroic"]),
            }
        )
    )
    gap_s = draw(st.sampled_from([0, 20]))
    evening = datetime(2026, 1, 1, 23, 59, 57, tzinfo=UTC)

    def place(number: int) -> list[Row]:
        begin = evening + timedelta(seconds=gap_s * number)
        return pull(None if is_outside else f"pull-{number}", begin, rows, **fields)

    return place


@st.composite
def _random_event(draw: st.DrawFn) -> Row:
    kind = draw(st.sampled_from(KINDS))
    quarters, nudge = draw(st.integers(0, int(LENGTH_S * 4))), draw(st.sampled_from([0, 0, 1e-6, -1e-6, 0.0007]))
    fields: dict[str, tuple[Any, ...]] = {
        "damage_amount": AMOUNTS[2:] if kind == "combat_damage" else AMOUNTS,
        "healing_amount": AMOUNTS[2:] if kind == "heal" else AMOUNTS,
        "overheal_amount": AMOUNTS[:4],
        "absorbed_amount": AMOUNTS,
        "is_critical_hit": FLAGS,
        "is_avoidable": FLAGS,
        "ability_category": CATEGORIES,
        "encounter_success": FLAGS,
        "target_entity_health_pct_before": PERCENTAGES,
        "target_entity_health_pct_after": PERCENTAGES,
        "team_id": (None, "team-1", "team-2"),
        "source_system": (None, "random"),
    }
    values = draw(st.fixed_dictionaries({name: st.sampled_from(choices) for name, choices in fields.items()}))
    source, target = draw(st.sampled_from(SOURCES)), draw(st.sampled_from(TARGETS))
    return event(kind, max(0.0, quarters / 4 + nudge), source, target, **values)
