"""One pull: everybody acts at a rhythm, the boss's health falls by what is dealt to it, who is gone first has lost.

Nothing draws the outcome: deaths (`lives`) and damage unfold independently; the pull ends when one of them has run out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from pipeline.simulate import lives
from pipeline.simulate.abilities import Abilities, Effect, Flags, Ints
from pipeline.simulate.actions import CRIT_MULTIPLIER, Actions, act
from pipeline.simulate.boss import boss_rows, death_rows, resurrection_rows
from pipeline.simulate.rows import Rows, event_rows, in_order
from pipeline.simulate.setup import Setup

ALL_OVERHEAL_CHANCE = 0.25
OVERHEAL_BETA = (1.2, 3.0)
"""Otherwise the share of a heal that heals nothing is Beta distributed."""
MANA = 50_000.0
OTHER_RESOURCE = 100.0
CAST_COST = 0.02
"""Of the maximum."""
RESOURCE_GAIN = (0.03, 0.08)


@dataclass(frozen=True)
class Pull:
    """What became of a pull."""

    rows: Rows
    killed: bool


def simulate_pull(rng: Generator, setup: Setup, abilities: Abilities) -> Pull:
    """Let a pull unfold."""
    fate = lives.unfold(rng, setup.peril)
    actions = act(rng, setup, abilities, fate)
    killing = killing_blow(setup, abilities, actions)
    killed = killing is not None
    if killing is not None:
        actions = actions.only(slice(0, killing + 1))
        fate = fate.until(int(actions.ms[killing]))
    duration_ms = fate.end_ms + 1 if killed else fate.end_ms
    blows = damage_rows(setup, abilities, actions)
    rows = in_order(
        [
            event_rows("encounter_start", np.zeros(1, dtype=np.int64), setup.boss_entity),
            event_rows("roster", np.zeros(setup.size, dtype=np.int64), setup.raiders),
            cast_rows(abilities, actions),
            blows,
            phase_rows(setup, blows),
            heal_rows(rng, abilities, actions),
            resource_rows(rng, setup, abilities, actions),
            *boss_rows(rng, setup, abilities, fate),
            *resurrection_rows(setup, abilities, fate),
            *death_rows(rng, setup, abilities, fate),
            event_rows("encounter_end", np.array([duration_ms]), setup.boss_entity),
        ]
    )
    return Pull(rows, killed)


def _on_boss(setup: Setup, abilities: Abilities, actions: Actions) -> Flags:
    damaging: Flags = abilities.effect[actions.ability] == Effect.DAMAGE
    on_it: Flags = actions.target == setup.boss_entity
    return damaging & on_it


def killing_blow(setup: Setup, abilities: Abilities, actions: Actions) -> int | None:
    """The action by which the boss's health is gone, if it ever is."""
    dealt = np.cumsum(np.where(_on_boss(setup, abilities, actions), actions.amount, 0.0))
    place = int(np.searchsorted(dealt, setup.boss_health))
    return place if place < len(dealt) else None


def cast_rows(abilities: Abilities, actions: Actions) -> Rows:
    """A spell_cast for every action that is no tick and no pet's attack."""
    casts = actions.only(abilities.is_cast[actions.ability])
    return event_rows("spell_cast", casts.ms, casts.source, ability=casts.ability, target=casts.target)


def damage_rows(setup: Setup, abilities: Abilities, actions: Actions) -> Rows:
    """The players' and pets' hits; those on the boss carry its health before and after."""
    hits = actions.only(abilities.effect[actions.ability] == Effect.DAMAGE)
    on_boss = hits.target == setup.boss_entity
    dealt = np.cumsum(np.where(on_boss, hits.amount, 0.0))
    health = np.array([dealt - hits.amount, dealt])
    before, after = np.where(on_boss, 100 * np.maximum(1 - health / setup.boss_health, 0.0), np.nan)
    overkill = np.where(on_boss & (dealt >= setup.boss_health), dealt - setup.boss_health, np.nan)
    return event_rows(
        "combat_damage",
        hits.ms,
        hits.source,
        ability=hits.ability,
        target=hits.target,
        damage_amount=hits.amount,
        target_entity_health_pct_before=before,
        target_entity_health_pct_after=after,
        overkill_amount=overkill,
        **_crit_columns(hits),
        is_periodic=abilities.is_periodic[hits.ability],
    )


def _crit_columns(hits: Actions) -> dict[str, Any]:
    return {"is_critical_hit": hits.is_crit, "critical_multiplier": np.where(hits.is_crit, CRIT_MULTIPLIER, np.nan)}


def phase_rows(setup: Setup, blows: Rows) -> Rows:
    """A boss_phase where a hit takes a living boss to a threshold or below."""
    on_boss = blows[blows["target"] == setup.boss_entity]
    after = on_boss["target_entity_health_pct_after"]
    # Health only falls, so that a phase begins after as many hits as left the boss above its threshold.
    places = np.array([int((after > threshold).sum()) for threshold in setup.phases], dtype=np.int64)
    numbers = np.arange(2, len(setup.phases) + 2)
    begun = places < (after > 0).sum()
    return event_rows("boss_phase", on_boss["ms"][places[begun]], setup.boss_entity, phase=numbers[begun])


def heal_rows(rng: Generator, abilities: Abilities, actions: Actions) -> Rows:
    """The heals, with the part that healed nothing."""
    heals = actions.only(abilities.effect[actions.ability] == Effect.HEAL)
    count = len(heals.ms)
    share = np.where(rng.random(count) < ALL_OVERHEAL_CHANCE, 1.0, rng.beta(*OVERHEAL_BETA, size=count))
    return event_rows(
        "heal",
        heals.ms,
        heals.source,
        ability=heals.ability,
        target=heals.target,
        healing_amount=heals.amount,
        overheal_amount=np.rint(heals.amount * share),
        **_crit_columns(heals),
        is_periodic=abilities.is_periodic[heals.ability],
    )


def resource_rows(rng: Generator, setup: Setup, abilities: Abilities, actions: Actions) -> Rows:
    """Gains of mana, rage and the like: what a player has left falls with every cast and rises with every gain."""
    gains = actions.only(abilities.effect[actions.ability] == Effect.RESOURCE)
    casts = actions.only(abilities.is_cast[actions.ability])
    maximum = np.where(setup.uses_mana[gains.raider], MANA, OTHER_RESOURCE)
    gain = np.maximum(np.rint(maximum * rng.uniform(*RESOURCE_GAIN, size=len(maximum))), 1.0)
    spent = CAST_COST * _how_many_before(casts, gains)
    regained = np.mean(RESOURCE_GAIN) * _how_many_before(gains, gains)
    before = np.rint(np.clip(maximum * (1 - spent + regained), 0.0, maximum - gain))
    return event_rows(
        "mana_regeneration",
        gains.ms,
        gains.source,
        resource_amount_before=before,
        resource_amount_after=before + gain,
        resource_regeneration_rate=gain,
    )


def _how_many_before(past: Actions, moments: Actions) -> Ints:
    """How many of the past actions each moment's own player had done before it."""
    span = 1 + max(past.ms.max(initial=0), moments.ms.max(initial=0))
    done = np.sort(past.raider * span + past.ms)
    start: Ints = np.searchsorted(done, moments.raider * span)
    end: Ints = np.searchsorted(done, moments.raider * span + moments.ms)
    return end - start
