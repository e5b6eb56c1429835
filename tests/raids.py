"""Small raids as events on the wire, as batches, and as a Bronze folder: what the tests of the layers start from."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from pipeline import bronze
from pipeline.silver import Batch

Event = dict[str, Any]

EVENING = datetime(2026, 1, 1, 20, 0, tzinfo=UTC)
ARRIVAL = EVENING + timedelta(hours=1)


def event_id(name: object) -> str:
    """The same id for the same name."""
    return str(uuid5(NAMESPACE_URL, str(name)))


def event(name: object, kind: str = "spell_cast", at_s: float = 0.0, **fields: Any) -> Event:
    """One event `at_s` seconds into the evening; `name` makes its id, a field that is None is absent."""
    moment = EVENING + timedelta(seconds=at_s)
    event = {
        "event_id": event_id(name),
        "event_type": kind,
        "timestamp": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "raid_id": "raid001",
        "source_player_id": "mage",
        "source_player_name": "Mäge",
    }
    return {field: value for field, value in (event | fields).items() if value is not None}


def hit(name: object, amount: float, at_s: float = 0.0, **fields: Any) -> Event:
    """Damage."""
    return event(name, "combat_damage", at_s, damage_amount=amount, **fields)


def batch(events: Sequence[object], name: str = "b", arrival: datetime = ARRIVAL, raid_id: str = "raid001") -> Batch:
    """Events as one object of Bronze."""
    return Batch(
        key=f"objects/{name}.json",
        batch_id=str(uuid5(NAMESPACE_URL, name)),
        raid_id=raid_id,
        ingest_timestamp=arrival,
        event_count=len(events),
        body=orjson.dumps(events),
    )


def evening(raid_id: str, begin: datetime = EVENING, length_s: int = 20) -> list[Event]:
    """A raid of one pull that ends in a kill: a tank who dies, a player with a pet, and an event outside."""
    fields = {"raid_id": raid_id, "encounter_id": "p1", "team_id": "team-1", "encounter_name": "Warden"}
    boss = {"target_entity_id": "boss", "target_entity_name": "Boss", "target_entity_type": "boss"}
    tank = {"target_entity_id": "tank", "target_entity_name": "Tank", "target_entity_type": "player"}
    late = (begin - EVENING).total_seconds()

    def named(name: object) -> str:
        return f"{raid_id}/{name}"

    roster = [
        event(named(role), "roster", late, source_player_id=role, source_player_role=role, **fields)
        for role in ("tank", "dps")
    ]
    mage = {"source_player_id": "dps", "target_entity_health_pct_after": 50.0, **fields, **boss}
    fight = [hit(named(second), 1000.0 * second, late + second, **mage) for second in range(1, length_s)]
    pets = [hit(named("pet"), 7.0, late + 3, source_player_id="wolf", source_owner_id="dps", **fields, **boss)]
    death = [event(named("death"), "player_death", late + 5, source_player_id="boss", **fields, **tank)]
    return [
        event(named("start"), "encounter_start", late, **fields),
        *roster,
        *fight,
        *pets,
        *death,
        event(named("end"), "encounter_end", late + length_s, encounter_success=True, **fields),
        event(named("loose"), at_s=late + length_s + 10, raid_id=raid_id),
    ]


def write_bronze(folder: Path, batches: Sequence[Batch]) -> None:
    """Batches as the stage `ingest` leaves them in `data/bronze`."""
    rows = []
    for each in batches:
        key = bronze.object_key(each.raid_id, each.ingest_timestamp.date(), UUID(each.batch_id))
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(each.body)
        rows.append(
            bronze.ManifestRow(
                key=key,
                batch_id=each.batch_id,
                raid_id=each.raid_id,
                batch_source="test",
                event_count=each.event_count,
                ingest_timestamp=each.ingest_timestamp,
                bytes=len(each.body),
                sha256=bronze.sha256(each.body),
            )
        )
    bronze.write_manifest(folder, bronze.manifest(rows))
