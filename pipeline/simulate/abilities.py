"""The world's abilities as arrays, which compiled code reads.

A player's *kind* is the index of the specialisation in the world.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.simulate.world import Boss, GameClass, Slot, Specialization, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

NONE = -1
"""The index of nothing."""
CONSUMABLE = "Healing Potion"


ABILITY = np.dtype([("mean", np.float64), ("effect", np.int64), ("is_cast", np.bool_), ("is_periodic", np.bool_)])


class Effect(IntEnum):
    """What an action does beyond being cast."""

    NOTHING = 0
    DAMAGE = 1
    HEAL = 2
    RESOURCE = 3
    SHIELD = 4
    DEFENSIVE = 5
    POTION = 6


class BossAbility(IntEnum):
    """What a boss and its adds can do, as a place among the boss's abilities."""

    TANK_HIT = 0
    PULSE = 1
    AVOIDABLE = 2
    FAILURE = 3
    SPELL = 4
    CURSE = 5
    ADD_HIT = 6


@dataclass(frozen=True)
class Abilities:
    """All abilities, one row each, and which of them each kind of actor has."""

    names: pl.DataFrame
    """ability_id, ability_name, ability_school, ability_category by ability."""
    mean: Floats
    effect: Ints
    is_cast: Flags
    """Whether its use is a spell_cast event (a tick or a pet's attack is none)."""
    is_periodic: Flags
    kind_slots: Ints
    """Abilities by (kind, slot), NONE where the kind lacks it; slots as in `SLOTS`."""
    interrupt: Ints
    """By kind, or NONE; so are the next."""
    dispel: Ints
    taunt: Ints
    resurrect: Ints
    shield: Ints
    pet: Ints
    """The attack of the kind's pet."""
    boss: Ints
    """By (boss, `BossAbility`)."""

    @property
    def records(self) -> NDArray[np.void]:
        """What the engine must know, one record by ability."""
        columns = {"mean": self.mean, "effect": self.effect, "is_cast": self.is_cast, "is_periodic": self.is_periodic}
        records = np.zeros(len(self.mean), dtype=ABILITY)
        for name, values in columns.items():
            records[name] = values
        return records


SLOTS: tuple[Slot, ...] = ("filler", "heavy", "periodic", "shield", "defensive", "consumable", "resource")
"""What an action is chosen from."""


class _Builder:
    """Collects abilities and hands out their indices."""

    def __init__(self) -> None:
        self.rows: list[tuple[str | None, str | None, str | None, str | None]] = []
        self.traits: list[tuple[float, Effect, bool, bool]] = []

    def add(
        self,
        name: str | None,
        school: str | None,
        category: str | None,
        mean: float = 0.0,
        effect: Effect = Effect.NOTHING,
        *,
        is_tick: bool = False,
        is_silent: bool = False,
    ) -> int:
        """A further ability; `is_silent`: using it is no cast."""
        ability_id = None if name is None else "".join(c if c.isalnum() else "_" for c in name.lower())
        self.rows.append((ability_id, name, school, category))
        self.traits.append((mean, effect, not (is_tick or is_silent), is_tick))
        return len(self.rows) - 1

    def optional(self, name: str | None, school: str, category: str) -> int:
        """An ability without an amount that not every class has, or NONE."""
        return NONE if name is None else self.add(name, school, category)

    def slot(self, game_class: GameClass, spec: Specialization, slot: Slot, mean: float) -> int:
        """The ability that a specialisation uses in a slot, or NONE."""
        match slot:
            case "filler" | "heavy" | "periodic":
                heals = spec.role == "healer"
                category, effect = ("heal", Effect.HEAL) if heals else ("damage", Effect.DAMAGE)
                return self.add(getattr(spec, slot), spec.school, category, mean, effect, is_tick=slot == "periodic")
            case "resource":
                return self.add(None, None, None, effect=Effect.RESOURCE, is_silent=True)
            case "consumable":
                return self.add(CONSUMABLE, None, "consumable", effect=Effect.POTION)
            case "shield":
                return NONE if spec.absorb is None else self.add(spec.absorb, spec.school, "heal", mean, Effect.SHIELD)
        if game_class.defensive is None:
            return NONE
        return self.add(game_class.defensive, spec.school, "defensive", effect=Effect.DEFENSIVE)


def compile_abilities(world: World) -> Abilities:
    """The world's abilities as arrays."""
    builder = _Builder()
    specs = world.specializations
    slots = np.full((len(specs), len(SLOTS)), NONE)
    others = {name: np.full(len(specs), NONE) for name in ("interrupt", "dispel", "taunt", "resurrect", "pet")}
    for kind, (class_name, _, spec) in enumerate(specs):
        game_class = world.classes[class_name]
        rules = world.roles[spec.role].slots
        for place, slot in enumerate(SLOTS):
            if slot in rules:
                slots[kind, place] = builder.slot(game_class, spec, slot, rules[slot].mean)
        for name in ("interrupt", "dispel", "taunt", "resurrect"):
            others[name][kind] = builder.optional(getattr(game_class, name), spec.school, name)
        if spec.pet:
            others["pet"][kind] = builder.add(
                spec.pet, "physical", "damage", world.pet_attack.mean, Effect.DAMAGE, is_silent=True
            )
    bosses = np.array([[builder.add(*named) for named in _boss_abilities(boss)] for boss in world.bosses])
    mean, effect, is_cast, is_periodic = zip(*builder.traits, strict=True)
    columns = ["ability_id", "ability_name", "ability_school", "ability_category"]
    return Abilities(
        names=pl.DataFrame(builder.rows, schema=dict.fromkeys(columns, pl.String), orient="row"),
        mean=np.array(mean),
        effect=np.array(effect, dtype=np.int64),
        is_cast=np.array(is_cast),
        is_periodic=np.array(is_periodic),
        kind_slots=slots,
        shield=slots[:, SLOTS.index("shield")],
        boss=bosses,
        **others,
    )


def _boss_abilities(boss: Boss) -> list[tuple[str, str, str]]:
    """In the order of `BossAbility`."""
    names = (boss.tank_hit, boss.pulse, boss.avoidable, boss.trial, boss.spell, boss.curse, boss.add_hit)
    return [(name, "physical" if name == boss.tank_hit else boss.school, "damage") for name in names]
