"""The world's abilities as arrays, so that a pull can draw thousands of actions at once.

An actor's *kind* is the index of its specialisation, or, for a pet, that plus the number of specialisations.
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


class Effect(IntEnum):
    """What an action does beyond being cast."""

    NOTHING = 0
    DAMAGE = 1
    HEAL = 2
    RESOURCE = 3


class Aim(IntEnum):
    """Whom an action meets."""

    SELF = 0
    ENEMY = 1
    ALLY = 2


@dataclass(frozen=True)
class Abilities:
    """All abilities, one row each, and which of them each kind of actor uses."""

    names: pl.DataFrame
    """ability_id, ability_name, ability_school, ability_category by ability."""
    mean: Floats
    effect: Ints
    aim: Ints
    is_cast: Flags
    """Whether its use is a spell_cast event (a tick or a pet's attack is none)."""
    is_periodic: Flags
    kind_abilities: Ints
    """Abilities by (kind, slot)."""
    kind_cumulative: Floats
    """Cumulative probability of the slots by (kind, slot)."""
    resurrect: Ints
    """The battle resurrection by kind, or NONE."""
    absorb: Ints
    """The shield by kind, or NONE."""
    boss_tank_hit: Ints
    boss_pulse: Ints
    boss_avoidable: Ints


class _Builder:
    """Collects abilities and hands out their indices."""

    def __init__(self) -> None:
        self.rows: list[tuple[str | None, str | None, str | None, str | None]] = []
        self.traits: list[tuple[float, Effect, Aim, bool, bool]] = []

    def add(  # noqa: PLR0913 (one argument per column)
        self,
        name: str | None,
        school: str | None,
        category: str | None,
        *,
        mean: float = 0.0,
        effect: Effect = Effect.NOTHING,
        aim: Aim = Aim.SELF,
        is_cast: bool = True,
        is_periodic: bool = False,
    ) -> int:
        ability_id = None if name is None else "".join(c if c.isalnum() else "_" for c in name.lower())
        self.rows.append((ability_id, name, school, category))
        self.traits.append((mean, effect, aim, is_cast, is_periodic))
        return len(self.rows) - 1

    def strike(self, spec: Specialization, slot: Slot, name: str, mean: float) -> int:
        heals = spec.role == "healer"
        periodic = slot == "periodic"
        return self.add(
            name,
            spec.school,
            "heal" if heals else "damage",
            mean=mean,
            effect=Effect.HEAL if heals else Effect.DAMAGE,
            aim=Aim.ALLY if heals else Aim.ENEMY,
            is_cast=not periodic,
            is_periodic=periodic,
        )

    def slot(self, game_class: GameClass, spec: Specialization, slot: Slot, mean: float) -> int:
        """The ability that a specialisation uses in a slot, or NONE."""
        match slot:
            case "filler" | "heavy" | "periodic":
                return self.strike(spec, slot, getattr(spec, slot), mean)
            case "resource":
                return self.add(None, None, None, effect=Effect.RESOURCE, is_cast=False)
            case "consumable":
                return self.add(CONSUMABLE, None, "consumable")
        name: str | None = getattr(game_class, slot)
        aim = {"interrupt": Aim.ENEMY, "taunt": Aim.ENEMY, "dispel": Aim.ALLY}.get(slot, Aim.SELF)
        return NONE if name is None else self.add(name, spec.school, slot, aim=aim)


def compile_abilities(world: World) -> Abilities:
    """The world's abilities as arrays."""
    builder = _Builder()
    slots = max(len(rules) for rules in world.roles.values())
    specs = world.specializations
    abilities = np.zeros((2 * len(specs), slots), dtype=np.int64)
    cumulative = np.ones((2 * len(specs), slots))
    resurrect = np.full(2 * len(specs), NONE)
    absorb = np.full(2 * len(specs), NONE)
    for kind, (class_name, _, spec) in enumerate(specs):
        game_class = world.classes[class_name]
        rules = world.roles[spec.role]
        used = [(builder.slot(game_class, spec, slot, rule.mean), rule.weight) for slot, rule in rules.items()]
        _fill(abilities[kind], cumulative[kind], [(ability, weight) for ability, weight in used if ability != NONE])
        if game_class.resurrect:
            resurrect[kind] = builder.add(game_class.resurrect, spec.school, "resurrect", aim=Aim.ALLY)
        if spec.absorb:
            absorb[kind] = builder.add(spec.absorb, spec.school, "heal", aim=Aim.ALLY)
        if spec.pet:
            attack = builder.add(
                spec.pet,
                "physical",
                "damage",
                mean=world.pet_attack.mean,
                effect=Effect.DAMAGE,
                aim=Aim.ENEMY,
                is_cast=False,
            )
            _fill(abilities[kind + len(specs)], cumulative[kind + len(specs)], [(attack, world.pet_attack.weight)])
    bosses = np.array([_boss_abilities(builder, boss) for boss in world.bosses])
    return _table(builder, abilities, cumulative, resurrect, absorb, bosses)


def _fill(abilities: Ints, cumulative: Floats, used: list[tuple[int, float]]) -> None:
    weights = np.array([weight for _, weight in used])
    abilities[: len(used)] = [ability for ability, _ in used]
    cumulative[: len(used) - 1] = np.cumsum(weights)[:-1] / weights.sum()


def _boss_abilities(builder: _Builder, boss: Boss) -> tuple[int, int, int]:
    return (
        builder.add(boss.tank_hit, "physical", "damage"),
        builder.add(boss.pulse, boss.school, "damage"),
        builder.add(boss.avoidable, boss.school, "damage"),
    )


def _table(
    builder: _Builder, abilities: Ints, cumulative: Floats, resurrect: Ints, absorb: Ints, bosses: Ints
) -> Abilities:
    mean, effect, aim, is_cast, is_periodic = zip(*builder.traits, strict=True)
    columns = ["ability_id", "ability_name", "ability_school", "ability_category"]
    return Abilities(
        names=pl.DataFrame(builder.rows, schema=dict.fromkeys(columns, pl.String), orient="row"),
        mean=np.array(mean),
        effect=np.array(effect, dtype=np.int64),
        aim=np.array(aim, dtype=np.int64),
        is_cast=np.array(is_cast),
        is_periodic=np.array(is_periodic),
        kind_abilities=abilities,
        kind_cumulative=cumulative,
        resurrect=resurrect,
        absorb=absorb,
        boss_tank_hit=bosses[:, 0],
        boss_pulse=bosses[:, 1],
        boss_avoidable=bosses[:, 2],
    )
