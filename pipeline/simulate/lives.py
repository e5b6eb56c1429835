"""Who lives when: deaths by a hazard, battle resurrections, and when a raid that does not kill the boss gives up.

A player's hazard per second is base(t) x carelessness x collapse(state of the raid). base(t) rises over the fight,
jumps for some seconds after a raid-wide error, and becomes deadly at the enrage. A player dies when the hazard gathered
since the pull (or the last resurrection) exceeds an Exp(1) threshold: the exact law of a Cox process.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from pipeline.simulate.abilities import NONE, Flags, Floats, Ints

BASE_HAZARD = 1.4e-3
"""Of an average player at the boss's fight_s, per second."""
EARLY_SHARE = 0.35
"""The base hazard at the pull, relative to that at fight_s."""
ERRORS_PER_S = 0.0042
"""Rate of raid-wide errors (a mechanic that fails for everybody)."""
ERRORS_FROM_S = 120
"""They begin rarely and reach that rate so long after the pull, s."""
ERROR_HAZARD = 0.05
"""Mean extra hazard per second after an error (exponentially distributed)."""
ERROR_S = 8
"""How long an error endangers the raid, s."""
ENRAGE_HAZARD = 0.25
"""Extra hazard per second after the enrage."""
RESET_AFTER_ENRAGE_S = 45
"""The boss resets so long after its enrage, s."""
COLLAPSE = 5.0
"""The hazard grows by exp(COLLAPSE x share of the raid that is dead)."""
HEALERS_MISSED = 2.0
"""… and by exp(HEALERS_MISSED x share of the healers that is dead)."""
TANKS_MISSED = 2.5
"""… and by exp(TANKS_MISSED) when no tank lives."""
TO_THE_LAST_SHARE = 0.5
"""Share of pulls that are fought until nobody lives; in the others the leader calls when a part is dead."""
CALL_AT_DEAD_SHARES = (0.25, 0.5)
CALL_S = (3.0, 8.0)
"""From the call to the end of the pull, s."""
LAST_DEATH_S = 1.5
"""From the last death to the end of the pull, s."""
RESURRECTION_CHANCE = 0.4
RESURRECTION_CHARGE_S = 300
"""One charge from the pull on, one more every so many seconds."""
RESURRECTION_DELAY_S = (4.0, 15.0)
MS = 1000


@dataclass(frozen=True)
class Peril:
    """What endangers a raid in a pull; arrays by raider."""

    fight_s: float
    enrage_s: float
    hazard: float
    """Multiple of BASE_HAZARD."""
    errors: float
    """Multiple of ERRORS_PER_S."""
    carelessness: Floats
    is_tank: Flags
    is_healer: Flags
    can_resurrect: Flags


@dataclass(frozen=True)
class Lives:
    """Deaths and resurrections in order of time, and the end of a pull in which the boss survives."""

    size: int
    deaths: tuple[tuple[int, int], ...]
    """(raider, ms of the killing blow)."""
    resurrections: tuple[tuple[int, int, int], ...]
    """(raider, ms, who cast it)."""
    end_ms: int

    def alive(self, ms: Ints) -> Flags:
        """Whether each raider lives at each moment: (moments, raiders); dead from the killing blow's ms on."""
        alive = np.ones((len(ms), self.size), dtype=bool)
        for raider, died in self.deaths:
            back = min((at for who, at, _ in self.resurrections if who == raider and at > died), default=None)
            dead = ms >= died if back is None else (ms >= died) & (ms <= back)
            alive[dead, raider] = False
        return alive

    def until(self, ms: int) -> "Lives":
        """The part before a moment, which becomes the end; a death is the killing blow and the event 1 ms after it."""
        deaths = tuple(death for death in self.deaths if death[1] + 1 < ms)
        return Lives(self.size, deaths, tuple(back for back in self.resurrections if back[1] < ms), ms)


@dataclass
class _Course:
    """The state of the raid while its deaths unfold."""

    peril: Peril
    thresholds: Floats
    alive: Flags
    now: float = 0.0
    end: float = np.inf
    called: bool = False
    pending: list[tuple[float, int]] = field(default_factory=list)
    """Resurrections to come: (s, raider)."""
    deaths: list[tuple[int, int]] = field(default_factory=list)
    resurrections: list[tuple[int, int, int]] = field(default_factory=list)

    def rates(self) -> Floats:
        """Hazard relative to the base by raider; 0 for the dead."""
        peril = self.peril
        dead = ~self.alive
        strain = COLLAPSE * dead.mean() + HEALERS_MISSED * dead[peril.is_healer].mean()
        if not self.alive[peril.is_tank].any():
            strain += TANKS_MISSED
        return np.where(self.alive, peril.carelessness * np.exp(strain), 0.0)


def unfold(rng: Generator, peril: Peril) -> Lives:
    """Draw who dies and comes back until a wipe, a call or a reset, as if the boss would never die."""
    size = len(peril.carelessness)
    seconds, gathered = base_hazard(rng, peril)
    course = _Course(peril, rng.exponential(size=size), np.ones(size, dtype=bool), end=float(seconds[-1]))
    call_at = 1.0 if rng.random() < TO_THE_LAST_SHARE else rng.uniform(*CALL_AT_DEAD_SHARES)
    while True:
        rates = course.rates()
        level = np.interp(course.now, seconds, gathered)
        # The dead have rate 0 and never reach their threshold.
        needed = level + np.divide(course.thresholds, rates, out=np.full(size, np.inf), where=rates > 0)
        raider = int(np.argmin(needed))
        death_s = float(np.interp(needed[raider], gathered, seconds, right=np.inf))
        back_s, back = min(course.pending, default=(np.inf, NONE))
        moment = min(death_s, back_s)
        if moment >= course.end:
            break
        course.thresholds -= rates * (np.interp(moment, seconds, gathered) - level)
        course.now = moment
        if back_s <= death_s:
            _resurrect(rng, course, back)
        else:
            _die(rng, course, raider, call_at)
    end_ms = int(course.end * MS)
    return Lives(size, tuple(course.deaths), tuple(course.resurrections), end_ms).until(end_ms)


def base_hazard(rng: Generator, peril: Peril) -> tuple[Floats, Floats]:
    """Seconds since the pull and the base hazard gathered until then."""
    seconds = np.arange(int(peril.enrage_s + RESET_AFTER_ENRAGE_S) + 1, dtype=np.float64)
    begun = (seconds[1:] + seconds[:-1]) / 2
    rising = EARLY_SHARE + (1 - EARLY_SHARE) * (begun / peril.fight_s) ** 2
    error_rates = ERRORS_PER_S * peril.errors * np.minimum(begun / ERRORS_FROM_S, 1.0)
    errors = rng.poisson(error_rates) * rng.exponential(ERROR_HAZARD, size=len(begun))
    endangered = np.convolve(errors, np.ones(ERROR_S))[: len(begun)]
    hazard = peril.hazard * BASE_HAZARD * rising + endangered + ENRAGE_HAZARD * (begun > peril.enrage_s)
    return seconds, np.concatenate([[0.0], np.cumsum(hazard)])


def _die(rng: Generator, course: _Course, raider: int, call_at: float) -> None:
    course.alive[raider] = False
    back = [at for who, at, _ in course.resurrections if who == raider]
    # Two milliseconds keep a killing blow apart from the pull's start and from the resurrection before it.
    course.deaths.append((raider, max([int(course.now * MS), 2, *(at + 2 for at in back)])))
    dead_share = 1 - course.alive.mean()
    if not course.alive.any():
        course.end = min(course.end, course.now + LAST_DEATH_S)
    elif dead_share >= call_at and not course.called:
        course.called = True
        course.end = min(course.end, course.now + rng.uniform(*CALL_S))
    charges = 1 + int(course.now // RESURRECTION_CHARGE_S)
    used = len(course.resurrections) + len(course.pending)
    if used < charges and rng.random() < RESURRECTION_CHANCE:
        course.pending.append((course.now + rng.uniform(*RESURRECTION_DELAY_S), raider))


def _resurrect(rng: Generator, course: _Course, raider: int) -> None:
    course.pending = [waiting for waiting in course.pending if waiting[1] != raider]
    casters = np.flatnonzero(course.alive & course.peril.can_resurrect)
    if len(casters):
        course.alive[raider] = True
        course.thresholds[raider] = rng.exponential()
        course.resurrections.append((raider, int(course.now * MS), int(rng.choice(casters))))
