"""What `world.yaml` says of bosses, difficulties, classes, specialisations and roles, typed and checked."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline import params
from pipeline.events import PlayerClass, ResourceType, Role, School

Slot = Literal["filler", "heavy", "periodic", "interrupt", "dispel", "defensive", "taunt", "consumable", "resource"]
PlayedDifficulty = Literal["normal", "heroic", "mythic"]
Positive = Annotated[float, Field(gt=0)]
HealthPct = Annotated[float, Field(gt=0, lt=100)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SlotRule(_Data):
    """How often a role uses a slot, and with what effect."""

    weight: Positive
    """Relative frequency among the role's actions."""
    mean: Annotated[float, Field(ge=0)] = 0
    """Mean amount before crits, at the reference item level and average skill; 0 where there is none."""


class Difficulty(_Data):
    """What a difficulty makes of every boss."""

    health: Positive
    """Multiple of the boss's health."""
    hazard: Positive
    """Multiple of the players' hazard of death."""
    errors: Positive
    """Multiple of the rate of raid-wide errors."""
    item_level: Positive
    """A team's average item level in its first evening."""


class Boss(_Data):
    """One boss fight."""

    slug: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    fight_s: Positive
    """How long a reference raid needs for the boss's health at normal, s."""
    hazard: Positive
    """Multiple of the common hazard of death."""
    errors: Positive
    """Multiple of the common rate of raid-wide errors."""
    enrage_s: Positive
    """When the boss enrages, s after the pull."""
    school: School
    phases: tuple[HealthPct, ...]
    """Health at which phases 2, 3, … begin, %, falling."""
    tank_hit: str
    pulse: str
    """The ability that meets the whole raid."""
    avoidable: str
    """The ability that good play avoids."""
    add: Annotated[str, Field(max_length=64)] | None = None
    """The name of the boss's adds, if it has any."""


class Specialization(_Data):
    """What a specialisation is and what its abilities are called."""

    role: Role
    school: School
    resource: ResourceType
    filler: str
    heavy: str
    periodic: str
    absorb: str | None = None
    """The shield that it gives, if any."""
    pet: str | None = None
    """The attack of its pet, if it has one."""


class GameClass(_Data):
    """A class: its share of the players, what all its specialisations can do, and the specialisations."""

    share: Positive
    """Relative frequency among players."""
    specializations: dict[str, Specialization]
    interrupt: str | None = None
    dispel: str | None = None
    defensive: str | None = None
    taunt: str | None = None
    resurrect: str | None = None
    """Its battle resurrection, if any."""


class World(_Data):
    """The whole of `world.yaml`."""

    reference_item_level: Positive
    roles: dict[Role, dict[Slot, SlotRule]]
    pet_attack: SlotRule
    difficulties: dict[PlayedDifficulty, Difficulty]
    bosses: Annotated[tuple[Boss, ...], Field(min_length=1)]
    classes: dict[PlayerClass, GameClass]

    @property
    def specializations(self) -> list[tuple[PlayerClass, str, Specialization]]:
        """Every (class, name, specialisation), in the file's order: the index into it names a specialisation."""
        return [
            (name, specialization_name, specialization)
            for name, game_class in self.classes.items()
            for specialization_name, specialization in game_class.specializations.items()
        ]

    def mean_damage_per_action(self) -> float:
        """A damage dealer's mean damage per action before crits, at the reference item level and average skill."""
        rules = self.roles["dps"].values()
        return sum(rule.weight * rule.mean for rule in rules) / sum(rule.weight for rule in rules)


def load() -> World:
    """Read the package's `world.yaml`.

    Raises:
        PipelineError: it has a typo, a wrong type or an impossible value.
    """
    return params.load_model(Path(__file__).with_name("world.yaml"), World)
