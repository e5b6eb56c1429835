"""What the fields of a line mean, as data: a layout is a row of the table `LAYOUTS`, an event a row of `FORMS`.

A form says of which parts an event's line consists, a layout which fields a part has in a range of game builds. The
build narrows the layouts, the number of fields decides. A further layout is a further row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Use = Literal["start", "end", "roster", "damage", "heal", "absorb", "cast", "energize", "death", "resurrect", "summon"]

# Parts that no build so far has changed.
SHARED_PARTS: dict[str, tuple[str, ...]] = {
    "base": (
        *("event", "source_id", "source_name", "source_flags", "source_raid_flags"),
        *("target_id", "target_name", "target_flags", "target_raid_flags"),
    ),
    "spell": ("spell_id", "spell_name", "spell_school"),
    "environment": ("environment_type",),
    "absorber": ("absorber_id", "absorber_name", "absorber_flags", "absorber_raid_flags"),
    "shield": ("shield_id", "shield_name", "shield_school"),
    "feign": ("feign",),
    "combatant": ("event", "source_id"),
}


@dataclass(frozen=True)
class Layout:
    """The parts that differ between builds."""

    name: str
    builds: tuple[str, ...]
    """Beginnings of `BUILD_VERSION`, cut at a dot."""
    parts: Mapping[str, tuple[str, ...]]
    resources: Mapping[str, str]
    """What a power type's number means."""


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="classic-1.14",
        builds=("1.14",),
        parts={
            "advanced": (
                *("info_id", "owner_id", "health", "max_health", "attack_power", "spell_power", "armor"),
                *("power_type", "power", "max_power", "power_cost", "x", "y", "map_id", "facing", "level"),
            ),
            "damage": (
                *("amount", "unmitigated", "overkill", "hit_school", "resisted", "blocked", "absorbed"),
                *("critical", "glancing", "crushing"),
            ),
            "heal": ("amount", "base_amount", "overheal", "absorbed", "critical"),
            "energize": ("amount", "overflow", "gained_type", "gained_max"),
            "absorbed": ("amount", "total"),
            "encounter_start": ("event", "boss_id", "encounter_name", "difficulty", "size", "instance_id", "extra"),
            "encounter_end": ("event", "boss_id", "encounter_name", "difficulty", "size", "success"),
        },
        resources={"0": "mana", "1": "rage", "2": "focus", "3": "energy", "4": "happiness"},
    ),
)


@dataclass(frozen=True)
class Form:
    """What an event's line consists of and what it is used for."""

    use: Use
    parts: tuple[str, ...]
    is_periodic: bool = False
    is_open_ended: bool = False
    """More fields may follow."""


_SPELL_BLOCK = ("base", "spell", "advanced")
_SPELL_DAMAGE = Form("damage", (*_SPELL_BLOCK, "damage"))
_SPELL_HEAL = Form("heal", (*_SPELL_BLOCK, "heal"))

FORMS: dict[str, tuple[Form, ...]] = {
    "ENCOUNTER_START": (Form("start", ("encounter_start",)),),
    "ENCOUNTER_END": (Form("end", ("encounter_end",)),),
    "COMBATANT_INFO": (Form("roster", ("combatant",), is_open_ended=True),),
    "SWING_DAMAGE": (Form("damage", ("base", "advanced", "damage")),),
    "SPELL_DAMAGE": (_SPELL_DAMAGE,),
    "SPELL_BUILDING_DAMAGE": (_SPELL_DAMAGE,),
    "RANGE_DAMAGE": (_SPELL_DAMAGE,),
    "DAMAGE_SHIELD": (_SPELL_DAMAGE,),
    "DAMAGE_SPLIT": (_SPELL_DAMAGE,),
    "SPELL_PERIODIC_DAMAGE": (Form("damage", (*_SPELL_BLOCK, "damage"), is_periodic=True),),
    "ENVIRONMENTAL_DAMAGE": (Form("damage", ("base", "advanced", "environment", "damage")),),
    "SPELL_HEAL": (_SPELL_HEAL,),
    "SPELL_BUILDING_HEAL": (_SPELL_HEAL,),
    "SPELL_PERIODIC_HEAL": (Form("heal", (*_SPELL_BLOCK, "heal"), is_periodic=True),),
    "SPELL_ABSORBED": (
        Form("absorb", ("base", "absorber", "shield", "absorbed")),
        Form("absorb", ("base", "spell", "absorber", "shield", "absorbed")),
    ),
    "SPELL_CAST_SUCCESS": (Form("cast", _SPELL_BLOCK),),
    "SPELL_ENERGIZE": (Form("energize", (*_SPELL_BLOCK, "energize")),),
    "SPELL_PERIODIC_ENERGIZE": (Form("energize", (*_SPELL_BLOCK, "energize"), is_periodic=True),),
    "UNIT_DIED": (Form("death", ("base",)), Form("death", ("base", "feign"))),
    "SPELL_RESURRECT": (Form("resurrect", ("base", "spell")),),
    "SPELL_SUMMON": (Form("summon", ("base", "spell")),),
}

# Known events that make no event here, with the least number of fields of a whole line. SWING_DAMAGE_LANDED repeats
# SWING_DAMAGE; what an interrupt or a dispel cost its caster is in its SPELL_CAST_SUCCESS.
UNUSED: dict[str, int] = {
    "COMBAT_LOG_VERSION": 2,
    "ZONE_CHANGE": 3,
    "MAP_CHANGE": 3,
    "EMOTE": 6,
    "WORLD_MARKER_PLACED": 4,
    "WORLD_MARKER_REMOVED": 2,
    "CHALLENGE_MODE_START": 5,
    "CHALLENGE_MODE_END": 5,
    "ARENA_MATCH_START": 5,
    "ARENA_MATCH_END": 5,
    "SWING_DAMAGE_LANDED": 10,
    "SWING_DAMAGE_LANDED_SUPPORT": 10,
    "SWING_DAMAGE_SUPPORT": 10,
    "SPELL_DAMAGE_SUPPORT": 13,
    "SPELL_PERIODIC_DAMAGE_SUPPORT": 13,
    "RANGE_DAMAGE_SUPPORT": 13,
    "SPELL_HEAL_SUPPORT": 13,
    "SPELL_PERIODIC_HEAL_SUPPORT": 13,
    "SWING_MISSED": 10,
    "SPELL_MISSED": 13,
    "SPELL_PERIODIC_MISSED": 13,
    "SPELL_BUILDING_MISSED": 13,
    "RANGE_MISSED": 13,
    "DAMAGE_SHIELD_MISSED": 13,
    "SPELL_AURA_APPLIED": 13,
    "SPELL_AURA_APPLIED_DOSE": 14,
    "SPELL_AURA_REFRESH": 13,
    "SPELL_AURA_REMOVED": 13,
    "SPELL_AURA_REMOVED_DOSE": 14,
    "SPELL_AURA_BROKEN": 13,
    "SPELL_AURA_BROKEN_SPELL": 15,
    "SPELL_CAST_START": 12,
    "SPELL_CAST_FAILED": 13,
    "SPELL_EMPOWER_START": 12,
    "SPELL_EMPOWER_END": 12,
    "SPELL_EMPOWER_INTERRUPT": 12,
    "SPELL_DISPEL": 15,
    "SPELL_DISPEL_FAILED": 15,
    "SPELL_STOLEN": 15,
    "SPELL_INTERRUPT": 15,
    "SPELL_EXTRA_ATTACKS": 13,
    "SPELL_DRAIN": 13,
    "SPELL_PERIODIC_DRAIN": 13,
    "SPELL_LEECH": 13,
    "SPELL_PERIODIC_LEECH": 13,
    "SPELL_HEAL_ABSORBED": 17,
    "SPELL_INSTAKILL": 12,
    "SPELL_CREATE": 12,
    "SPELL_DURABILITY_DAMAGE": 12,
    "SPELL_DURABILITY_DAMAGE_ALL": 12,
    "ENCHANT_APPLIED": 10,
    "ENCHANT_REMOVED": 10,
    "PARTY_KILL": 9,
    "UNIT_DESTROYED": 9,
    "UNIT_DISSIPATES": 9,
}


@dataclass(frozen=True)
class Plan:
    """How to read the lines of one event with one number of fields."""

    form: Form
    layout: Layout
    positions: Mapping[str, int]


def layouts_of(build: str | None, layouts: Sequence[Layout] = LAYOUTS) -> tuple[Layout, ...]:
    """The layouts that a build may have: its own rows, or all where the build is unknown."""
    own = tuple(
        layout for layout in layouts if build and any(f"{build}.".startswith(f"{start}.") for start in layout.builds)
    )
    return own or tuple(layouts)


def plan(event: str, n_fields: int, layouts: Sequence[Layout]) -> Plan | None:
    """The plan for an event of `FORMS` with so many fields; None where no layout has it."""
    for layout in layouts:
        for form in FORMS[event]:
            fields = _fields(form, layout)
            if n_fields == len(fields) or (form.is_open_ended and n_fields > len(fields)):
                return Plan(form, layout, {name: position for position, name in enumerate(fields)})
    return None


def _fields(form: Form, layout: Layout) -> tuple[str, ...]:
    return tuple(name for part in form.parts for name in (SHARED_PARTS.get(part) or layout.parts[part]))
