"""What `world.yaml` says of bosses, difficulties, classes, specialisations and roles, typed and checked."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline import params
from pipeline.events import PlayerClass, ResourceType, Role, School

Slot = Literal["filler", "heavy", "periodic", "shield", "defensive", "consumable", "resource"]
Style = Literal["aggressive", "mechanic", "utility", "tank", "raid", "rescue", "survival"]
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


class StyleRule(_Data):
    """What a play style changes, at strength 1.

    A weight is multiplied by exp(strength x value), a chance's logit shifted by strength x value.
    """

    power: float = 0.0
    """Log of amounts."""
    carelessness: float = 0.0
    """Log of the chance to be met by what can be avoided."""
    interrupt: float = 0.0
    dispel: float = 0.0
    adds_first: float = 0.0
    aim_tank: float = 0.0
    aim_weakest: float = 0.0
    aim_anybody: float = 0.0
    slots: dict[Slot, float] = {}


class RoleRule(_Data):
    """How a role plays."""

    gap_s: Positive
    """Mean time between two actions at the real rhythm, s."""
    health: Positive
    """Multiple of a damage dealer's."""
    adds_first: Annotated[float, Field(ge=0, lt=1)]
    """Chance that a hit goes to an add while there is one."""
    interrupt: Annotated[float, Field(ge=0)]
    """How readily it interrupts, relative to others."""
    dispel: Annotated[float, Field(ge=0)]
    aim: tuple[float, float, float] = (0.3, 0.3, 0.4)
    """How often a healer heals a tank, the weakest, anybody."""
    slots: dict[Slot, SlotRule]
    styles: dict[Style, StyleRule]


class Mechanics(_Data):
    """What bosses do where a difficulty's and a boss's `damage` are 1; damage in shares of a damage dealer's health."""

    tank_hit: Positive
    tank_hit_s: Positive
    """Mean time between two, s; so are the next."""
    pulse: Positive
    pulse_s: Positive
    avoidable: Positive
    avoidable_s: Positive
    avoidable_chance: Positive
    """That an average raider is met, each time."""
    add_hit: Positive
    wave_s: Positive
    adds: Annotated[int, Field(ge=1, le=8)]
    """In a wave."""
    add_health_s: Positive
    """How long a raider, by the mean of the raid, needs for an add, s."""
    spell: Positive
    spell_s: Positive
    curse: Positive
    curse_s: Positive
    trial_s: Positive
    first_trial_s: Positive
    phase_harm: Annotated[float, Field(ge=0)]
    """So much harder are hits with each further phase, share."""
    phase_power: Annotated[float, Field(ge=0)]
    """So much more raiders do with each further phase, share."""


class Difficulty(_Data):
    """What a difficulty makes of every boss."""

    health: Positive
    """Multiple of the boss's health."""
    enrage: Annotated[float, Field(gt=1)]
    """When the boss enrages, in multiples of a reference raid's fight."""
    damage: Positive
    """Multiple of what its hits do."""
    trial_failure: Annotated[float, Field(gt=0, lt=1)]
    """Chance that an unpractised team of average skill fails the first trial."""
    late_trials: Annotated[float, Field(gt=-1)]
    """So much more of that chance has the last trial than the first; less, where negative."""
    practice: Positive
    """That chance falls with this power of how often the team has met the trial."""
    failure: Positive
    """Mean hit of a failed trial on everybody, in shares of a damage dealer's health."""
    contrast: Positive
    """The bosses' `trials` to this power: how much more they differ than at 1."""
    mispull: Annotated[float, Field(ge=0, lt=1)]
    """Chance that a pull begins wrong and is reset."""
    item_level: Positive
    """A team's average item level in its first evening."""


class Boss(_Data):
    """One boss fight."""

    slug: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    fight_s: Positive
    """How long a reference raid needs for the boss's health where the difficulty's `health` is 1, s."""
    damage: Positive
    """Multiple of what bosses' hits do."""
    trials: Positive
    """Multiple of the chance to fail a trial."""
    school: School
    phases: tuple[HealthPct, ...]
    """Health at which phases 2, 3, … begin, %, falling."""
    tank_hit: str
    pulse: str
    """The ability that meets the whole raid."""
    avoidable: str
    """The ability that good play avoids."""
    trial: str
    """What meets everybody when one raider fails."""
    spell: str
    """What an interrupt stops."""
    curse: str
    """What a dispel takes off."""
    add_hit: str = "Swipe"
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
    reference_health: Positive
    """A damage dealer's, at the reference item level."""
    roles: dict[Role, RoleRule]
    mechanics: Mechanics
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

    def mean_per_action(self, role: Role) -> float:
        """A role's mean amount per action before crits, at the reference item level and average skill."""
        slots = self.roles[role].slots
        dealt = sum(slots[slot].weight * slots[slot].mean for slot in ("filler", "heavy", "periodic"))
        return dealt / sum(rule.weight for rule in slots.values())


@cache
def load() -> World:
    """Read the package's `world.yaml`.

    Raises:
        PipelineError: it has a typo, a wrong type or an impossible value.
    """
    return params.load_model(Path(__file__).with_name("world.yaml"), World)
