"""What players and pets do in a pull: when, which ability, on whom, how much."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from pipeline.simulate.abilities import NONE, Abilities, Aim, Effect, Flags, Floats, Ints
from pipeline.simulate.lives import MS, Lives
from pipeline.simulate.setup import Setup

RHYTHM_SHAPE = 4.0
"""Gaps between actions are Gamma(shape) around their mean."""
AMOUNT_CV = 0.2
CRIT_MULTIPLIER = 2.0
PET_TEMPO = 0.8
"""A pet's actions relative to its owner's."""
HEALED_TANK_WEIGHT = 4.0
"""How much more often than others a tank is healed."""
ADD_EVERY_S = 60
ADD_LIVES_S = 12
ADD_SHARE = 0.5
"""Share of the damage dealers' hits that goes to the adds while they live."""


@dataclass(frozen=True)
class Actions:
    """What players and pets did, in order of time; arrays by action."""

    ms: Ints
    raider: Ints
    """The player, or the pet's owner."""
    source: Ints
    ability: Ints
    target: Ints
    amount: Floats
    is_crit: Flags

    def only(self, which: Any) -> "Actions":
        """The actions that a mask or a slice picks."""
        return Actions(**{name: values[which] for name, values in vars(self).items()})


def act(rng: Generator, setup: Setup, abilities: Abilities, fate: Lives) -> Actions:
    """What everybody does while alive, as if the boss would never die."""
    with_pet = np.flatnonzero(setup.pets != NONE)
    raider = np.concatenate([np.arange(setup.size), with_pet])
    rates = setup.action_rate * setup.tempo[raider]
    rates[setup.size :] *= PET_TEMPO
    actor, ms = rhythm(rng, rates, fate.end_ms)
    alive = fate.alive(ms)[np.arange(len(ms)), raider[actor]]
    actor, ms = actor[alive], ms[alive]
    kinds = np.concatenate([setup.kinds, setup.pet_kinds[with_pet]])[actor]
    slot = (abilities.kind_cumulative[kinds] <= rng.random(len(ms))[:, None]).sum(axis=1)
    ability = abilities.kind_abilities[kinds, slot]
    who = raider[actor]
    amount, is_crit = amounts(rng, abilities.mean[ability] * setup.strength[who], setup.crit_chance[who])
    return Actions(
        ms=ms,
        raider=who,
        source=np.concatenate([setup.raiders, setup.pets[with_pet]])[actor],
        ability=ability,
        target=aim(rng, setup, abilities, fate, ms, who, ability),
        amount=amount,
        is_crit=is_crit,
    )


def rhythm(rng: Generator, rates: Floats, end_ms: int) -> tuple[Ints, Ints]:
    """Who acts and when (ms, from 1 to before the end), by time: gaps are Gamma around 1 / rate.

    Args:
        rates: actions per second by actor.
    """
    expected = float(rates.max()) * end_ms / MS
    count = int(expected + 6 * np.sqrt(expected / RHYTHM_SHAPE) + 10)
    gaps = rng.gamma(RHYTHM_SHAPE, 1 / RHYTHM_SHAPE, size=(len(rates), count)) * (MS / rates)[:, None]
    # The pull meets everybody somewhere inside a gap.
    gaps[:, 0] *= rng.random(len(rates))
    ms = np.maximum(np.cumsum(gaps, axis=1).astype(np.int64), 1)
    actor, place = np.nonzero(ms < end_ms)
    times = ms[actor, place]
    order = np.argsort(times, kind="stable")
    return actor[order], times[order]


def amounts(rng: Generator, means: Floats, crit_chance: Floats) -> tuple[Floats, Flags]:
    """Whole amounts >= 1 around the means (Normal), doubled by crits (Bernoulli)."""
    is_crit = rng.random(len(means)) < crit_chance
    plain = np.maximum(np.rint(rng.normal(means, AMOUNT_CV * means)), 1.0)
    return np.where(is_crit, CRIT_MULTIPLIER * plain, plain), is_crit


def aim(rng: Generator, setup: Setup, abilities: Abilities, fate: Lives, ms: Ints, raider: Ints, ability: Ints) -> Ints:
    """Whom each action meets: the boss, an add while there is one, a living ally, or nobody."""
    aims = abilities.aim[ability]
    target = np.where(aims == Aim.ENEMY, setup.boss_entity, NONE)
    if setup.add_entity != NONE:
        into_wave = (ms / MS) % ADD_EVERY_S
        on_add = (ms >= ADD_EVERY_S * MS) & (into_wave < ADD_LIVES_S) & ~setup.peril.is_tank[raider]
        on_add &= (abilities.effect[ability] == Effect.DAMAGE) & (rng.random(len(ms)) < ADD_SHARE)
        target[on_add] = setup.add_entity
    helping = np.flatnonzero(aims == Aim.ALLY)
    weights = fate.alive(ms[helping]) * np.where(setup.peril.is_tank, HEALED_TANK_WEIGHT, 1.0)
    target[helping] = setup.raiders[choose(rng, weights)]
    return target


def choose(rng: Generator, weights: Floats | Flags) -> Ints:
    """A column of each row with probability proportional to its weight; NONE where all weights are 0."""
    cumulative = np.cumsum(weights, axis=1, dtype=np.float64)
    total = cumulative[:, -1]
    picked = (cumulative <= (rng.random(len(weights)) * total)[:, None]).sum(axis=1)
    return np.where(total > 0, np.minimum(picked, weights.shape[1] - 1), NONE)
