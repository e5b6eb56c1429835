"""What the boss does to the raid: hits, killing blows, and who comes back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from pipeline.simulate.abilities import NONE, Abilities, Flags, Floats, Ints
from pipeline.simulate.actions import choose
from pipeline.simulate.lives import MS, Lives
from pipeline.simulate.rows import Rows, event_rows
from pipeline.simulate.setup import Setup

TANK_HITS_PER_ACTION = 0.08
"""The boss's hits on a tank, relative to the raid's rate of actions."""
AVOIDABLE_HITS_PER_ACTION = 0.04
PULSES_PER_ACTION = 0.012
"""Hits on everybody, relative to the raid's rate of actions."""
TANK_HIT = 8500.0
PULSE = 3000.0
AVOIDABLE_HIT = 6000.0
HIT_CV = 0.25
SHIELDED_SHARE = 0.2
SHIELD_TAKES = (0.2, 0.6)
KILLING_BLOW = 12_000.0
AVOIDABLE_KILLING_SHARE = 0.6
OVERKILL_SHARES = (0.02, 0.4)


@dataclass(frozen=True)
class Hits:
    """Hits of the boss on raiders, arrays by hit."""

    ms: Ints
    raider: Ints
    ability: Ints
    mean: Floats
    is_avoidable: Flags

    def only(self, which: Any) -> "Hits":
        """The hits that a mask picks."""
        return Hits(**{name: values[which] for name, values in vars(self).items()})


def boss_rows(rng: Generator, setup: Setup, abilities: Abilities, fate: Lives) -> list[Rows]:
    """The boss's hits that kill nobody, and what shields took of them."""
    hits = _draw_hits(rng, setup, abilities, fate)
    raw = np.maximum(np.rint(rng.normal(hits.mean, HIT_CV * hits.mean)), 2.0)
    shielder = _shielders(rng, setup, abilities, fate, hits)
    shielded = shielder != NONE
    taken = np.clip(np.rint(raw * rng.uniform(*SHIELD_TAKES, size=len(raw))), 1.0, raw - 1)
    target = setup.raiders[hits.raider]
    damage = event_rows(
        "combat_damage",
        hits.ms,
        setup.boss_entity,
        ability=hits.ability,
        target=target,
        damage_amount=np.where(shielded, raw - taken, raw),
        absorbed_amount=np.where(shielded, taken, np.nan),
        is_absorbed=shielded,
        is_avoidable=hits.is_avoidable,
        is_critical_hit=0,
        is_periodic=0,
    )
    who = shielder[shielded]
    absorbs = event_rows(
        "absorb",
        hits.ms[shielded],
        setup.raiders[who],
        ability=abilities.absorb[setup.kinds[who]],
        target=target[shielded],
        absorbed_amount=taken[shielded],
    )
    return [damage, absorbs]


def _draw_hits(rng: Generator, setup: Setup, abilities: Abilities, fate: Lives) -> Hits:
    """When and whom the boss hits, while they live."""
    rate = setup.action_rate * setup.size
    tank_ms = _moments(rng, rate * TANK_HITS_PER_ACTION, fate)
    pulse_ms = _moments(rng, rate * PULSES_PER_ACTION, fate)
    avoidable_ms = _moments(rng, rate * AVOIDABLE_HITS_PER_ACTION, fate)
    alive = fate.alive(tank_ms)
    tanks_live = np.any(alive & setup.peril.is_tank, axis=1, keepdims=True)
    tank = choose(rng, alive & (setup.peril.is_tank | ~tanks_live))
    pulse, everybody = np.nonzero(fate.alive(pulse_ms))
    careless = choose(rng, fate.alive(avoidable_ms) * setup.peril.carelessness)
    counts = [len(tank), len(everybody), len(careless)]
    own = [abilities.boss_tank_hit[setup.boss], abilities.boss_pulse[setup.boss], abilities.boss_avoidable[setup.boss]]
    hits = Hits(
        ms=np.concatenate([tank_ms, pulse_ms[pulse], avoidable_ms]),
        raider=np.concatenate([tank, everybody, careless]),
        ability=np.repeat(own, counts),
        mean=setup.boss_strength * np.repeat([TANK_HIT, PULSE, AVOIDABLE_HIT], counts),
        is_avoidable=np.repeat([False, False, True], counts),
    )
    return hits.only(hits.raider != NONE)


def _moments(rng: Generator, rate: float, fate: Lives) -> Ints:
    """Moments of a Poisson process (ms, from 1 to before the end), in order."""
    count = rng.poisson(rate * fate.end_ms / MS)
    return np.sort(rng.integers(1, max(fate.end_ms, 2), size=count))


def _shielders(rng: Generator, setup: Setup, abilities: Abilities, fate: Lives, hits: Hits) -> Ints:
    """Whose shield meets each hit, or NONE: a healer shields anybody, others only themselves."""
    gives = abilities.absorb[setup.kinds] != NONE
    own = hits.raider[:, None] == np.arange(setup.size)
    willing = (gives & (setup.peril.is_healer | own)) & fate.alive(hits.ms)
    willing &= (rng.random(len(hits.ms)) < SHIELDED_SHARE)[:, None]
    return choose(rng, willing)


def death_rows(rng: Generator, setup: Setup, abilities: Abilities, fate: Lives) -> list[Rows]:
    """Killing blows and, a millisecond later, the deaths."""
    raider, ms = np.array(fate.deaths, dtype=np.int64).reshape(-1, 2).T
    of_avoidable = (rng.random(len(ms)) < AVOIDABLE_KILLING_SHARE) & ~setup.peril.is_tank[raider]
    unavoidable = np.where(
        setup.peril.is_tank[raider], abilities.boss_tank_hit[setup.boss], abilities.boss_pulse[setup.boss]
    )
    ability = np.where(of_avoidable, abilities.boss_avoidable[setup.boss], unavoidable)
    mean = KILLING_BLOW * setup.boss_strength
    amount = np.maximum(np.rint(rng.normal(mean, HIT_CV * mean, size=len(ms))), 1.0)
    blows = event_rows(
        "combat_damage",
        ms,
        setup.boss_entity,
        ability=ability,
        target=setup.raiders[raider],
        damage_amount=amount,
        overkill_amount=np.rint(amount * rng.uniform(*OVERKILL_SHARES, size=len(ms))),
        is_avoidable=of_avoidable,
        is_critical_hit=0,
        is_periodic=0,
    )
    deaths = event_rows("player_death", ms + 1, setup.boss_entity, ability=ability, target=setup.raiders[raider])
    return [blows, deaths]


def resurrection_rows(setup: Setup, abilities: Abilities, fate: Lives) -> list[Rows]:
    """A cast and a resurrect event for everybody who comes back."""
    raider, ms, caster = np.array(fate.resurrections, dtype=np.int64).reshape(-1, 3).T
    columns = {"ability": abilities.resurrect[setup.kinds[caster]], "target": setup.raiders[raider]}
    source = setup.raiders[caster]
    return [event_rows("spell_cast", ms, source, **columns), event_rows("resurrect", ms, source, **columns)]
