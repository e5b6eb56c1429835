"""What a pull starts from (`Fight`), what changes in it (`State`), and what is noted of it (`Log`), as arrays.

All three are named tuples of arrays, so that compiled code reads them as they are and a state is copied in one line.
Seconds count from the pull; health, amounts and shields are points; entities and abilities are row numbers.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.abilities import NONE, SLOTS, Floats, Ints
from pipeline.simulate.rows import EVENT, NOTHING, Rows

DAMAGE_DEALER, HEALER, TANK = 0, 1, 2
"""A raider's role."""
FIRST_TANK_HIT_S = 1.5
RESOURCE_AT_PULL = 0.9
ON_DUTY = 3
"""So many take turns with spells, and with curses."""
FIRST_HARM = (0.4, 0.8)
"""The first pulse and the first avoidable hit come after this part of their usual time."""
FIRST_SPELL = (0.5, 1.0)
"""The first spell and the first curse likewise."""


class Due(IntEnum):
    """What the boss does by the clock: places in `State.due` after those of the raiders and their pets."""

    TANK_HIT = 0
    PULSE = 1
    AVOIDABLE = 2
    TRIAL = 3
    WAVE = 4
    ADD_HIT = 5
    SPELL = 6
    SPELL_LANDS = 7
    CURSE = 8
    CURSE_TICK = 9
    TAUNT = 10
    RESURRECTION = 11
    END = 12


class Count(IntEnum):
    """Whole numbers that change: places in `State.counts`."""

    LOGGED = 0
    PHASE = 1
    TRIALS = 2
    TANK = 3
    STACKS = 4
    RESURRECTIONS = 5
    WAVES = 6
    TO_RESURRECT = 7
    IS_CALLED = 8
    IS_OVER = 9
    IS_KILL = 10
    SPELL_IS_STOPPED = 11
    SPELLS = 12
    CURSES = 13


class Ready(IntEnum):
    """What raiders volunteer for: places in `RAIDER.ready`."""

    INTERRUPT = 0
    DISPEL = 1
    RESURRECT = 2


RAIDER = np.dtype(
    [
        ("role", np.int64),
        ("entity", np.int64),
        ("pet", np.int64),  # its entity, or NONE
        ("gap_s", np.float64),  # mean time between two actions
        ("pet_gap_s", np.float64),
        ("power", np.float64),  # multiple of an ability's mean amount
        ("pet_power", np.float64),
        ("crit_chance", np.float64),
        ("max_health", np.float64),
        ("carelessness", np.float64),  # multiple of the chance to stand in what could be avoided
        ("reaction_s", np.float64),  # mean time from what calls for an answer to the answer
        ("adds_first", np.float64),  # chance that a hit goes to an add while there is one
        ("aim", np.float64, 3),  # whom to heal (a tank, the weakest, anybody): cumulative chances
        ("slot_chance", np.float64, len(SLOTS)),  # cumulative
        ("slot_ability", np.int64, len(SLOTS)),
        ("pet_ability", np.int64),  # an ability, or NONE; so are the next
        ("interrupt", np.int64),
        ("dispel", np.int64),
        ("taunt", np.int64),
        ("resurrect", np.int64),
        ("shield", np.int64),
        ("ready", np.float64, len(Ready)),  # how ready to answer, relative to others
        ("turn", np.int64, len(Ready)),  # whose turn it is to answer, from 0, or NONE
        ("mana_cost", np.float64),  # of a heal, share of the maximum
        ("gain", np.float64),  # of one action that gives a resource, share of the maximum
        ("cooldown", np.float64),  # what a healer's cooldown heals everybody by, points; 0 for others
        ("resource_max", np.float64),
    ]
)
BOSS = np.dtype(
    [
        ("entity", np.int64),
        ("health", np.float64),
        ("enrage_s", np.float64),
        ("failure", np.float64),  # mean hit of a failed trial on everybody
        ("tank_hit", np.float64),
        ("tank_hit_s", np.float64),
        ("pulse", np.float64),
        ("pulse_s", np.float64),
        ("avoidable", np.float64),
        ("avoidable_s", np.float64),
        ("avoidable_chance", np.float64),  # that a raider of carelessness 1 is met, each time
        ("add_hit", np.float64),
        ("wave_s", np.float64),  # between two waves of adds; infinite where the boss has none
        ("add_health", np.float64),
        ("spell", np.float64),
        ("spell_s", np.float64),
        ("curse", np.float64),
        ("curse_s", np.float64),
        ("phase_harm", np.float64),  # so much harder are hits with each further phase, share
        ("phase_power", np.float64),  # so much more raiders do with each further phase, share
        ("call_at", np.float64),  # share of the raid whose death makes the leader call the pull off
        ("mispull_s", np.float64),  # when the leader resets a pull that began wrong; infinite where it did not
        ("resurrection_chance", np.float64),
    ]
)
TRIAL = np.dtype([("at_s", np.float64), ("failure", np.float64)])
RAIDER_STATE = np.dtype(
    [
        ("health", np.float64),
        ("shield", np.float64),
        ("shield_by", np.int64),  # who put up the shield, or NONE
        ("resource", np.float64),
        ("safe_until", np.float64),  # how long a defensive lasts, s
        ("cooldown_until", np.float64),  # when a healer's cooldown is ready again, s
        ("cursed", np.bool_),
        ("is_alive", np.bool_),
    ]
)
Records = NDArray[np.void]


class Fight(NamedTuple):
    """What does not change in a pull."""

    raid: Records
    """RAIDER, one each."""
    boss: Records
    """BOSS, one record."""
    trials: Records
    """TRIAL, in order of time."""
    abilities: Records
    """ABILITY, by ability."""
    phases: Floats
    """Health at which the next phases begin, share of the maximum, falling."""
    adds: Ints
    """By wave and place: the add's entity."""
    boss_abilities: Ints
    """By `BossAbility`."""


class State(NamedTuple):
    """What changes in a pull."""

    due: Floats
    """When each raider, each pet and each of the boss's doings (`Due`) comes next, s."""
    raid: Records
    """RAIDER_STATE, one each."""
    add_health: Floats
    """Of the present wave, by place."""
    boss_health: Floats
    """One number."""
    counts: Ints
    """By `Count`."""

    def copy(self) -> "State":
        """The same state, to be played on by itself."""
        return State(
            self.due.copy(), self.raid.copy(), self.add_health.copy(), self.boss_health.copy(), self.counts.copy()
        )


class Log(NamedTuple):
    """Where events are noted."""

    rows: Rows
    """Room for events; none at all where nothing is to be noted."""
    blank: Rows
    """One event without anything."""


def begin(fight: Fight, rng: np.random.Generator) -> State:
    """The state at the pull."""
    size = len(fight.raid)
    has_pet = fight.raid["pet"] != NONE
    due = np.full(2 * size + len(Due), np.inf)
    due[:size] = fight.raid["gap_s"] * rng.random(size)
    due[size : 2 * size] = np.where(has_pet, fight.raid["pet_gap_s"] * rng.random(size), np.inf)
    boss, clock = fight.boss[0], due[2 * size :]
    clock[Due.TANK_HIT] = FIRST_TANK_HIT_S
    clock[Due.PULSE] = boss["pulse_s"] * rng.uniform(*FIRST_HARM)
    clock[Due.AVOIDABLE] = boss["avoidable_s"] * rng.uniform(*FIRST_HARM)
    clock[Due.TRIAL] = fight.trials["at_s"][0]
    clock[Due.WAVE] = boss["wave_s"]
    clock[Due.SPELL] = boss["spell_s"] * rng.uniform(*FIRST_SPELL)
    clock[Due.CURSE] = boss["curse_s"] * rng.uniform(*FIRST_SPELL)
    clock[Due.END] = boss["mispull_s"]
    raid = np.zeros(size, dtype=RAIDER_STATE)
    raid["health"] = fight.raid["max_health"]
    raid["shield_by"] = NONE
    raid["resource"] = np.rint(RESOURCE_AT_PULL * fight.raid["resource_max"])
    raid["is_alive"] = True
    counts = np.zeros(len(Count), dtype=np.int64)
    counts[Count.PHASE] = 1
    counts[Count.TANK] = int(np.flatnonzero(fight.raid["role"] == TANK)[0])
    counts[Count.TO_RESURRECT] = NONE
    return State(due, raid, np.zeros(fight.adds.shape[1]), np.array([boss["health"]]), counts)


def empty_log(events: int) -> Log:
    """A log with room for so many events; what stands there before they are noted means nothing."""
    return Log(np.empty(events, dtype=EVENT), NOTHING.copy())
