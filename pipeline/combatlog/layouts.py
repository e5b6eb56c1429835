"""What the fields of a line mean, as data: a layout is a row of the table `LAYOUTS`, an event a row of `FORMS`.

A form says of which parts an event's line consists, a layout which fields a part has in a range of game builds. The
build narrows the layouts, the number of fields decides. A further layout is a further row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Use = Literal[
    "start", "end", "roster", "damage", "split", "heal", "absorb", "cast", "energize", "death", "resurrect", "summon"
]

# Parts that no build so far has changed. The ends of the encounters' lines have grown twice, and not with the layouts
# (9.1.5 states the fight's length already): there the number of fields alone decides.
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
    "encounter": ("event", "boss_id", "encounter_name", "difficulty", "size"),
    "instance": ("instance_id",),
    "instance_extra": ("instance_extra",),
    "verdict": ("success",),
    "fight_time": ("fight_time",),
}


@dataclass(frozen=True)
class Layout:
    """The parts that differ between builds."""

    name: str
    builds: tuple[str, ...]
    """Beginnings of `BUILD_VERSION`, cut at a dot; the longest that fits decides, two layouts may share one."""
    parts: Mapping[str, tuple[str, ...]]
    resources: Mapping[str, str]
    """What a power type's number means."""
    names_specialization: bool
    """Whether a COMBATANT_INFO says what a player plays; of Classic none does."""


_UNIT = ("info_id", "owner_id", "health", "max_health", "attack_power", "spell_power")
_POWER = ("power_type", "power", "max_power", "power_cost", "x", "y")
_PLACE = ("map_id", "facing", "level")
_HIT = ("overkill", "hit_school", "resisted", "blocked", "absorbed", "critical", "glancing", "crushing")
_ENERGIZE = ("amount", "overflow", "gained_type", "gained_max")


def _parts(
    advanced: tuple[str, ...], reach: tuple[str, ...] = (), absorbed: tuple[str, ...] = ("amount", "total")
) -> dict[str, tuple[str, ...]]:
    """The parts of a layout from 8.0 on; `reach` ends the damage of spells, not of swings and of the environment."""
    return {
        "advanced": advanced,
        "damage": ("amount", "unmitigated", *_HIT),
        "reach": reach,
        "heal": ("amount", "base_amount", "overheal", "absorbed", "critical"),
        "energize": _ENERGIZE,
        "absorbed": absorbed,
    }


_CLASSIC_RESOURCES = {
    **{"0": "mana", "1": "rage", "2": "focus", "3": "energy", "4": "happiness", "5": "runes", "6": "runic_power"},
}
# The game's Enum.PowerType; 14, 15 and 20 to 22 are of older expansions or stand in no log that was read.
_RETAIL_RESOURCES = {
    **{"0": "mana", "1": "rage", "2": "focus", "3": "energy", "4": "combo_points", "5": "runes", "6": "runic_power"},
    **{"7": "soul_shards", "8": "lunar_power", "9": "holy_power", "10": "alternate", "11": "maelstrom", "12": "chi"},
    **{"13": "insanity", "16": "arcane_charges", "17": "fury", "18": "pain", "19": "essence"},
    **{"23": "alternate", "24": "alternate", "25": "alternate"},
}
# Between 1.15.1 and 1.15.5 nobody has looked: the number of fields decides.
_CLASSIC_UNKNOWN = ("1.15.2", "1.15.3", "1.15.4")
_WITH_ARMOR = (*_UNIT, "armor", *_POWER, *_PLACE)
_WITH_ABSORB = (*_UNIT, "armor", "absorb", *_POWER, *_PLACE)
_ABSORBED_WITH_CRITICAL = ("amount", "total", "absorb_critical")

# Where the build is unknown and two rows have an event's number of fields, the earlier row is taken: rows differ then
# only in what a power type means and in whether specialisations are named, and the latter must be said by all.
LAYOUTS: tuple[Layout, ...] = (
    # Seen in numbers of fields only: that SPELL_ENERGIZE ends as it does later is an assumption.
    Layout(
        name="retail-7.3",
        builds=("7.3",),
        parts={
            "advanced": (*_UNIT, *_POWER, "level"),
            "damage": ("amount", *_HIT),
            "reach": (),
            "heal": ("amount", "overheal", "absorbed", "critical"),
            "energize": _ENERGIZE,
            "absorbed": ("amount",),
        },
        resources=_RETAIL_RESOURCES,
        names_specialization=True,
    ),
    Layout(
        name="classic-1.14",
        builds=(
            *("1.13", "1.14", "1.15.0", "1.15.1", *_CLASSIC_UNKNOWN),
            *("2.5.1", "2.5.2", "2.5.3", "2.5.4", "3.4"),
        ),
        parts=_parts(_WITH_ARMOR),
        resources=_CLASSIC_RESOURCES,
        names_specialization=False,
    ),
    Layout(
        name="retail-8.0",
        builds=("8",),
        parts=_parts(_WITH_ARMOR),
        resources=_RETAIL_RESOURCES,
        names_specialization=True,
    ),
    Layout(
        name="retail-9.0",
        builds=("9", "10", "11.0"),
        parts=_parts(_WITH_ABSORB, absorbed=_ABSORBED_WITH_CRITICAL),
        resources=_RETAIL_RESOURCES,
        names_specialization=True,
    ),
    # SPELL_ABSORBED is read from others' lines of 2.5.6, which has the same block.
    Layout(
        name="classic-1.15.5",
        builds=("1.15", *_CLASSIC_UNKNOWN, "2.5"),
        parts=_parts((*_UNIT, "armor", "unknown_1", "unknown_2", *_POWER, *_PLACE), reach=("reach",)),
        resources=_CLASSIC_RESOURCES,
        names_specialization=False,
    ),
    # Header version 22, from 11.1 on: read in other projects' documentation and tests, not seen. They agree on the
    # numbers of fields, not on which of the three fields after armor is the absorb; none of them is used here.
    Layout(
        name="retail-22",
        builds=("11", "12"),
        parts=_parts(
            (*_UNIT, "armor", "unknown_1", "unknown_2", "unknown_3", *_POWER, *_PLACE),
            reach=("reach",),
            absorbed=_ABSORBED_WITH_CRITICAL,
        ),
        resources=_RETAIL_RESOURCES,
        names_specialization=True,
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
_SPELL_DAMAGE = Form("damage", (*_SPELL_BLOCK, "damage", "reach"))
_SPELL_HEAL = Form("heal", (*_SPELL_BLOCK, "heal"))

FORMS: dict[str, tuple[Form, ...]] = {
    "ENCOUNTER_START": (
        Form("start", ("encounter",)),
        Form("start", ("encounter", "instance")),
        Form("start", ("encounter", "instance", "instance_extra")),
    ),
    # The fight's length can contradict the times of its lines, which count.
    "ENCOUNTER_END": (Form("end", ("encounter", "verdict")), Form("end", ("encounter", "verdict", "fight_time"))),
    "COMBATANT_INFO": (Form("roster", ("combatant",), is_open_ended=True),),
    "SWING_DAMAGE": (Form("damage", ("base", "advanced", "damage")),),
    "SPELL_DAMAGE": (_SPELL_DAMAGE,),
    "SPELL_BUILDING_DAMAGE": (_SPELL_DAMAGE,),
    "RANGE_DAMAGE": (_SPELL_DAMAGE,),
    "DAMAGE_SHIELD": (_SPELL_DAMAGE,),
    "DAMAGE_SPLIT": (Form("split", (*_SPELL_BLOCK, "damage", "reach")),),
    "SPELL_PERIODIC_DAMAGE": (Form("damage", (*_SPELL_BLOCK, "damage", "reach"), is_periodic=True),),
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
# SWING_DAMAGE; what an interrupt or a dispel cost its caster is in its SPELL_CAST_SUCCESS. A hit that a shield took
# whole is a *_MISSED and dealt nothing; what the shield took stands in the SPELL_ABSORBED beside it. A *_SUPPORT line
# says which part of a hit or heal that is counted already is owed to another player's buff: no further amount.
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
    "SPELL_ABSORBED_SUPPORT": 18,
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
    "STAGGER_CLEAR": 3,
    "STAGGER_PREVENTED": 3,
}


@dataclass(frozen=True)
class Plan:
    """How to read the lines of one event with one number of fields."""

    form: Form
    layout: Layout
    positions: Mapping[str, int]


def layouts_of(build: str | None, layouts: Sequence[Layout] = LAYOUTS) -> tuple[Layout, ...]:
    """The layouts that a build may have: those of the longest beginning that fits, all where none does."""
    fits = [
        max((len(start) for start in layout.builds if f"{build}.".startswith(f"{start}.")), default=0)
        for layout in layouts
    ]
    return tuple(layout for layout, fit in zip(layouts, fits, strict=True) if fit == max(fits))


def plan(event: str, n_fields: int, layouts: Sequence[Layout]) -> Plan | None:
    """The plan for an event of `FORMS` with so many fields; None where no layout has it."""
    for layout in layouts:
        for form in FORMS[event]:
            fields = _fields(form, layout)
            if n_fields == len(fields) or (form.is_open_ended and n_fields > len(fields)):
                return Plan(form, layout, {name: position for position, name in enumerate(fields)})
    return None


def _fields(form: Form, layout: Layout) -> tuple[str, ...]:
    parts = {**SHARED_PARTS, **layout.parts}
    return tuple(name for part in form.parts for name in parts[part])
