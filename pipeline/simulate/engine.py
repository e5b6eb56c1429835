"""The fight itself, compiled: one thing happens after another, each from the state that the one before it left.

Nothing here knows the outcome before it has happened: the boss dies when its health is gone, a player when theirs is,
and a pull is over when the boss or the whole raid is dead, or when its leader has called it off.
"""

from typing import Any

import numpy as np
from numpy.random import Generator

from pipeline.events import EVENT_TYPES
from pipeline.progress import console
from pipeline.simulate import machine_code
from pipeline.simulate.abilities import ABILITY, NONE, SLOTS, BossAbility, Effect
from pipeline.simulate.fight import (
    BOSS,
    HEALER,
    ON_DUTY,
    RAIDER,
    TANK,
    TRIAL,
    Count,
    Due,
    Fight,
    Log,
    Ready,
    State,
    begin,
    empty_log,
)
from pipeline.simulate.machine_code import compiled

HEAVY = SLOTS.index("heavy")
ROOM_FOR_ONE = 128
"""Most events that one thing can bring about: a hit, a shield and a death for each raider and some more."""

CAST, DAMAGE, HEAL, ABSORB, DEATH, RESOURCE, PHASE, RESURRECT = (
    EVENT_TYPES.index(name)
    for name in (
        *("spell_cast", "combat_damage", "heal", "absorb", "player_death", "mana_regeneration", "boss_phase"),
        "resurrect",
    )
)
AMOUNT_CV = 0.2
HIT_CV = 0.15
CRIT_MULTIPLIER = 2.0
HEAVY_COST = 0.3
POTION_HEALS = 0.25
DEFENSIVE_S = 8.0
DEFENSIVE_TAKES_OFF = 0.4
STACK_ADDS = 0.12
"""Each stack of the swap debuff makes the next tank hit so much harder."""
SWAP_AT_STACKS = 5
BARE = 2.0
"""Who is no tank wears no tank's armour: the boss hits so much harder."""
ASSIGNED = 0.5
"""Chance that whose turn it is answers a spell or a curse, and not whoever is ready."""
COOLDOWN_S = 180.0
COOLDOWN_BELOW = 0.5
"""Mean health of the living, share, below which a healer uses the cooldown."""
CURSE_TICK_S = 3.0
ADD_HIT_S = 4.0
SPELL_CAST_S = 2.5
ENRAGE_DOUBLES_S = 10.0
CHARGE_EVERY_S = 300.0
RESURRECTION_DELAY_S = (3.0, 12.0)
RESURRECTED_HEALTH = 0.4
CALL_S = (3.0, 8.0)
LAST_DEATH_S = 1.5
SHORTEST_GAP = 0.4
"""A gap between actions is uniform from this to 2 - this, times its mean."""


def make_ready() -> None:
    """Compile the engine, and say so, where no process has done it yet for these sources.

    To be called before other processes begin: else each of them would compile it for itself.
    """
    if machine_code.is_kept(play.__name__):
        return
    console.print("simulate: compiling the engine, once for this version of it (about 20 s)")
    nobody = np.zeros(1, dtype=RAIDER)
    fight = Fight(
        raid=nobody,
        boss=np.zeros(1, dtype=BOSS),
        trials=np.zeros(1, dtype=TRIAL),
        abilities=np.zeros(1, dtype=ABILITY),
        phases=np.zeros(1),
        adds=np.zeros((1, 1), dtype=np.int64),
        boss_abilities=np.zeros(1, dtype=np.int64),
    )
    nobody["role"] = TANK
    rng = np.random.default_rng(0)
    play(fight, begin(fight, rng), empty_log(0), rng, -1.0)
    machine_code.forget_old_versions()


@machine_code.kept
def play(fight: Fight, state: State, log: Log, rng: Generator, until_s: float) -> float:
    """Play on until the pull is over, a moment is reached, or the log has no room for what may come next.

    Returns:
        The time reached, s: when `state.counts[Count.IS_OVER]` is set, the pull's duration.
    """
    noting = len(log.rows) > 0
    now = 0.0
    while not state.counts[Count.IS_OVER]:
        if noting and state.counts[Count.LOGGED] + ROOM_FOR_ONE > len(log.rows):
            return now
        place = int(np.argmin(state.due))
        if state.due[place] > until_s:
            return until_s
        now = state.due[place]
        size = len(fight.raid)
        if place < size:
            _act(fight, state, log, rng, now, place)
        elif place < 2 * size:
            _pet_attacks(fight, state, log, rng, now, place - size)
        else:
            _boss_does(fight, state, log, rng, now, place - 2 * size)
    return now


@compiled
def _note(fight: Fight, state: State, log: Log, now: float, kind: int, source: int, target: int, ability: int) -> int:
    """Note an event; its place in the log, or NONE where nothing is noted."""
    if len(log.rows) == 0:
        return NONE
    place = int(state.counts[Count.LOGGED])
    log.rows[place] = log.blank[0]
    row = log.rows[place]
    row.event_type = kind
    row.ms = int(now * 1000.0)
    row.source = source
    row.target = target
    row.ability = ability
    state.counts[Count.LOGGED] += 1
    return place


@compiled
def _pick(cumulative: Any, chance: float) -> int:
    place = 0
    while cumulative[place] <= chance and place < len(cumulative) - 1:
        place += 1
    return place


@compiled
def _gap(rng: Generator, mean: float) -> float:
    return mean * (SHORTEST_GAP + (2.0 - 2.0 * SHORTEST_GAP) * rng.random())


@compiled
def _amount(rng: Generator, mean: float, variation: float) -> float:
    drawn: float = np.rint(mean * (1.0 + variation * rng.standard_normal()))
    return max(1.0, drawn)


@compiled
def _act(fight: Fight, state: State, log: Log, rng: Generator, now: float, who: int) -> None:
    """A raider does the next thing."""
    state.due[who] = now + _gap(rng, fight.raid[who].gap_s)
    if fight.raid[who].cooldown > 0.0 and now >= state.raid[who].cooldown_until and _raid_is_low(fight, state):
        _heal_everybody(fight, state, log, rng, now, who)
        return
    slot = _pick(fight.raid[who].slot_chance, rng.random())
    ability = fight.raid[who].slot_ability[slot]
    effect = fight.abilities[ability].effect
    if effect == Effect.RESOURCE:
        _gain(fight, state, log, now, who)
        return
    if effect == Effect.DAMAGE or effect == Effect.HEAL:
        cost = fight.raid[who].mana_cost if fight.raid[who].role == HEALER else (HEAVY_COST if slot == HEAVY else 0.0)
        if fight.abilities[ability].is_periodic:
            cost = 0.0
        if cost * fight.raid[who].resource_max > state.raid[who].resource:
            # What cannot be paid is replaced by what gives something to pay with.
            _gain(fight, state, log, now, who)
            return
        state.raid[who].resource -= cost * fight.raid[who].resource_max
    if effect == Effect.DAMAGE:
        me = fight.raid[who]
        _strike(fight, state, log, rng, now, who, me.entity, ability, me.power, me.adds_first)
    elif effect == Effect.HEAL:
        _heal(fight, state, log, rng, now, who, ability)
    elif effect == Effect.SHIELD:
        _shield(fight, state, log, rng, now, who, ability)
    else:
        _note(fight, state, log, now, CAST, fight.raid[who].entity, fight.raid[who].entity, ability)
        if effect == Effect.DEFENSIVE:
            state.raid[who].safe_until = now + DEFENSIVE_S
        elif effect == Effect.POTION:
            _mend(fight, state, log, now, who, who, ability, np.rint(POTION_HEALS * fight.raid[who].max_health), False)


@compiled
def _gain(fight: Fight, state: State, log: Log, now: float, who: int) -> None:
    most = fight.raid[who].resource_max
    gain = min(np.rint(fight.raid[who].gain * most), most - state.raid[who].resource)
    place = _note(fight, state, log, now, RESOURCE, fight.raid[who].entity, NONE, NONE)
    if place != NONE:
        log.rows[place].resource_amount_before = state.raid[who].resource
        log.rows[place].resource_amount_after = state.raid[who].resource + gain
        log.rows[place].resource_regeneration_rate = gain
    state.raid[who].resource += gain


@compiled
def _pet_attacks(fight: Fight, state: State, log: Log, rng: Generator, now: float, owner: int) -> None:
    size = len(fight.raid)
    mine = fight.raid[owner]
    state.due[size + owner] = now + _gap(rng, mine.pet_gap_s)
    _strike(fight, state, log, rng, now, owner, mine.pet, mine.pet_ability, mine.pet_power, mine.adds_first)


@compiled
def _strike(
    fight: Fight,
    state: State,
    log: Log,
    rng: Generator,
    now: float,
    who: int,
    source: int,
    ability: int,
    power: float,
    adds_first: float,
) -> None:
    """Damage to the boss or to one of its adds."""
    add = _first_add(state)
    on_add = add != NONE and rng.random() < adds_first
    target = fight.adds[state.counts[Count.WAVES] - 1, add] if on_add else fight.boss[0].entity
    is_crit = rng.random() < fight.raid[who].crit_chance
    mean = fight.abilities[ability].mean * power * _by_phase(state, fight.boss[0].phase_power)
    amount = _amount(rng, mean, AMOUNT_CV) * (CRIT_MULTIPLIER if is_crit else 1.0)
    if fight.abilities[ability].is_cast:
        _note(fight, state, log, now, CAST, source, target, ability)
    health = state.add_health[add] if on_add else state.boss_health[0]
    most = fight.boss[0].add_health if on_add else fight.boss[0].health
    left = max(health - amount, 0.0)
    place = _note(fight, state, log, now, DAMAGE, source, target, ability)
    if place != NONE:
        row = log.rows[place]
        row.damage_amount = amount
        _note_effect(row, 100.0 * health / most, 100.0 * left / most, is_crit, fight.abilities[ability].is_periodic)
        if amount > health:
            row.overkill_amount = amount - health
    if on_add:
        state.add_health[add] = left
    else:
        state.boss_health[0] = left
        _after_hit_on_boss(fight, state, log, now)


@compiled
def _after_hit_on_boss(fight: Fight, state: State, log: Log, now: float) -> None:
    left = state.boss_health[0]
    if left <= 0.0:
        state.counts[Count.IS_OVER] = 1
        state.counts[Count.IS_KILL] = 1
        return
    while (
        state.counts[Count.PHASE] <= len(fight.phases)
        and left <= fight.phases[state.counts[Count.PHASE] - 1] * fight.boss[0].health
    ):
        state.counts[Count.PHASE] += 1
        place = _note(fight, state, log, now, PHASE, fight.boss[0].entity, NONE, NONE)
        if place != NONE:
            log.rows[place].phase = state.counts[Count.PHASE]


@compiled
def _by_phase(state: State, share: float) -> float:
    """What a further phase adds, for each that has begun."""
    multiple: float = 1.0 + share * (state.counts[Count.PHASE] - 1)
    return multiple


@compiled
def _how_many_live(state: State) -> int:
    alive = 0
    for who in range(len(state.raid)):
        if state.raid[who].is_alive:
            alive += 1
    return alive


@compiled
def _first_add(state: State) -> int:
    for place in range(len(state.add_health)):
        if state.add_health[place] > 0.0:
            return place
    return NONE


@compiled
def _heal(fight: Fight, state: State, log: Log, rng: Generator, now: float, who: int, ability: int) -> None:
    whom = _whom_to_heal(fight, state, rng, who, fight.abilities[ability].is_periodic)
    is_crit = rng.random() < fight.raid[who].crit_chance
    mean = fight.abilities[ability].mean * fight.raid[who].power * _by_phase(state, fight.boss[0].phase_power)
    amount = _amount(rng, mean, AMOUNT_CV)
    if is_crit:
        amount *= CRIT_MULTIPLIER
    if fight.abilities[ability].is_cast:
        _note(fight, state, log, now, CAST, fight.raid[who].entity, fight.raid[whom].entity, ability)
    _mend(fight, state, log, now, who, whom, ability, amount, is_crit)


@compiled
def _mend(
    fight: Fight, state: State, log: Log, now: float, who: int, whom: int, ability: int, amount: float, is_crit: bool
) -> None:
    most = fight.raid[whom].max_health
    before = state.raid[whom].health
    after = min(before + amount, most)
    place = _note(fight, state, log, now, HEAL, fight.raid[who].entity, fight.raid[whom].entity, ability)
    if place != NONE:
        row = log.rows[place]
        row.healing_amount = amount
        row.overheal_amount = amount - (after - before)
        _note_effect(row, 100.0 * before / most, 100.0 * after / most, is_crit, fight.abilities[ability].is_periodic)
    state.raid[whom].health = after


@compiled
def _note_effect(row: Any, before_pct: float, after_pct: float, is_crit: bool, is_periodic: bool) -> None:
    """What a raider's hit and heal say alike, into their noted row."""
    row.target_entity_health_pct_before = before_pct
    row.target_entity_health_pct_after = after_pct
    row.is_critical_hit = is_crit
    if is_crit:
        row.critical_multiplier = CRIT_MULTIPLIER
    row.is_periodic = is_periodic


@compiled
def _raid_is_low(fight: Fight, state: State) -> bool:
    alive, health = 0, 0.0
    for who in range(len(fight.raid)):
        if state.raid[who].is_alive:
            alive += 1
            health += state.raid[who].health / fight.raid[who].max_health
    return health < COOLDOWN_BELOW * alive


@compiled
def _heal_everybody(fight: Fight, state: State, log: Log, rng: Generator, now: float, who: int) -> None:
    """A healer's cooldown: the heavy heal, on all who live."""
    state.raid[who].cooldown_until = now + COOLDOWN_S
    ability = fight.raid[who].slot_ability[HEAVY]
    _note(fight, state, log, now, CAST, fight.raid[who].entity, fight.raid[who].entity, ability)
    for whom in range(len(fight.raid)):
        if state.raid[whom].is_alive:
            amount = _amount(rng, fight.raid[who].cooldown, AMOUNT_CV)
            _mend(fight, state, log, now, who, whom, ability, amount, False)


@compiled
def _whom_to_heal(fight: Fight, state: State, rng: Generator, healer: int, is_periodic: bool) -> int:
    """A tank, the weakest, or anybody, as often as the healer's style has it."""
    way = _pick(fight.raid[healer].aim, rng.random())
    size = len(fight.raid)
    best, weakest = healer, 2.0
    if way < 2:
        for other in range(size):
            share = state.raid[other].health / fight.raid[other].max_health
            if state.raid[other].is_alive and (way == 1 or fight.raid[other].role == TANK) and share < weakest:
                best, weakest = other, share
        return best
    if is_periodic:
        # It was put on them before, whether they needed it or not.
        return _somebody(state, rng)
    for _ in range(4):
        other = int(rng.random() * size)
        share = state.raid[other].health / fight.raid[other].max_health
        if state.raid[other].is_alive and share < weakest:
            best, weakest = other, share
    return best


@compiled
def _shield(fight: Fight, state: State, log: Log, rng: Generator, now: float, who: int, ability: int) -> None:
    whom = _whom_to_heal(fight, state, rng, who, False) if fight.raid[who].role == HEALER else who
    _note(fight, state, log, now, CAST, fight.raid[who].entity, fight.raid[whom].entity, ability)
    # A new shield takes the place of the old one.
    state.raid[whom].shield = _amount(rng, fight.abilities[ability].mean * fight.raid[who].power, AMOUNT_CV)
    state.raid[whom].shield_by = who


@compiled
def _hit(
    fight: Fight,
    state: State,
    log: Log,
    rng: Generator,
    now: float,
    whom: int,
    source: int,
    ability: int,
    mean: float,
    is_avoidable: bool,
    is_periodic: bool,
) -> None:
    """The enemy hits a raider: the shield takes its part, health the rest."""
    raging = 2.0 ** ((now - fight.boss[0].enrage_s) / ENRAGE_DOUBLES_S) if now > fight.boss[0].enrage_s else 1.0
    guarded = 1.0 - DEFENSIVE_TAKES_OFF if now < state.raid[whom].safe_until else 1.0
    harder = _by_phase(state, fight.boss[0].phase_harm)
    raw = min(_amount(rng, mean * raging * guarded * harder, HIT_CV), 1e8)
    absorbed = _absorb(fight, state, log, now, whom, raw)
    amount = raw - absorbed
    if amount <= 0.0:
        return
    before = state.raid[whom].health
    after = max(before - amount, 0.0)
    place = _note(fight, state, log, now, DAMAGE, source, fight.raid[whom].entity, ability)
    if place != NONE:
        row = log.rows[place]
        row.damage_amount = amount
        row.target_entity_health_pct_before = 100.0 * before / fight.raid[whom].max_health
        row.target_entity_health_pct_after = 100.0 * after / fight.raid[whom].max_health
        row.is_critical_hit = False
        row.is_periodic = is_periodic
        row.is_avoidable = is_avoidable
        row.is_absorbed = absorbed > 0.0
        if absorbed > 0.0:
            row.absorbed_amount = absorbed
        if amount > before:
            row.overkill_amount = amount - before
    state.raid[whom].health = after
    if after <= 0.0:
        _die(fight, state, log, rng, now, whom, source, ability)


@compiled
def _absorb(fight: Fight, state: State, log: Log, now: float, whom: int, amount: float) -> float:
    """What a raider's shield takes of a hit."""
    absorbed: float = min(state.raid[whom].shield, amount)
    if absorbed > 0.0:
        state.raid[whom].shield -= absorbed
        giver = fight.raid[state.raid[whom].shield_by]
        place = _note(fight, state, log, now, ABSORB, giver.entity, fight.raid[whom].entity, giver.shield)
        if place != NONE:
            log.rows[place].absorbed_amount = absorbed
    return absorbed


@compiled
def _die(
    fight: Fight, state: State, log: Log, rng: Generator, now: float, whom: int, source: int, ability: int
) -> None:
    size = len(fight.raid)
    state.raid[whom].is_alive = False
    state.raid[whom].cursed = False
    state.raid[whom].shield = 0.0
    for other in range(size):
        # A shield falls with whoever put it up.
        if state.raid[other].shield_by == whom:
            state.raid[other].shield = 0.0
    state.due[whom] = np.inf
    state.due[size + whom] = np.inf
    _note(fight, state, log, now, DEATH, source, fight.raid[whom].entity, ability)
    alive = _how_many_live(state)
    clock = state.due[2 * size :]
    if alive == 0:
        clock[Due.END] = min(clock[Due.END], now + LAST_DEATH_S)
        return
    if size - alive >= fight.boss[0].call_at * size and not state.counts[Count.IS_CALLED]:
        state.counts[Count.IS_CALLED] = 1
        clock[Due.END] = min(clock[Due.END], now + CALL_S[0] + (CALL_S[1] - CALL_S[0]) * rng.random())
    if state.counts[Count.TANK] == whom:
        _next_tank(fight, state)
    charges = 1 + int(now / CHARGE_EVERY_S)
    if (
        state.counts[Count.TO_RESURRECT] == NONE
        and state.counts[Count.RESURRECTIONS] < charges
        and rng.random() < fight.boss[0].resurrection_chance
    ):
        state.counts[Count.TO_RESURRECT] = whom
        low, high = RESURRECTION_DELAY_S
        clock[Due.RESURRECTION] = now + low + (high - low) * rng.random()


@compiled
def _next_tank(fight: Fight, state: State) -> None:
    """The boss turns to another living tank, else to the healthiest raider."""
    state.counts[Count.STACKS] = 0
    best, most = state.counts[Count.TANK], -1.0
    for other in range(len(fight.raid)):
        if not state.raid[other].is_alive:
            continue
        worth = state.raid[other].health + (1e9 if fight.raid[other].role == TANK else 0.0)
        if worth > most and other != state.counts[Count.TANK]:
            best, most = other, worth
    state.counts[Count.TANK] = best


@compiled
def _boss_does(fight: Fight, state: State, log: Log, rng: Generator, now: float, what: int) -> None:
    clock = state.due[2 * len(fight.raid) :]
    if what == Due.TANK_HIT:
        clock[what] = now + _gap(rng, fight.boss[0].tank_hit_s)
        _hit_tank(fight, state, log, rng, now)
    elif what == Due.PULSE:
        clock[what] = now + _gap(rng, fight.boss[0].pulse_s)
        _hit_everybody(fight, state, log, rng, now, fight.boss_abilities[BossAbility.PULSE], fight.boss[0].pulse)
    elif what == Due.AVOIDABLE:
        clock[what] = now + _gap(rng, fight.boss[0].avoidable_s)
        _hit_the_careless(fight, state, log, rng, now)
    elif what == Due.TRIAL:
        _trial(fight, state, log, rng, now)
    elif what == Due.WAVE:
        clock[what] = now + fight.boss[0].wave_s
        _wave(fight, state, now)
    elif what == Due.ADD_HIT:
        _add_hits(fight, state, log, rng, now)
    elif what == Due.SPELL:
        clock[what] = np.inf
        clock[Due.SPELL_LANDS] = now + SPELL_CAST_S
        _answer_spell(fight, state, log, rng, now)
    elif what == Due.SPELL_LANDS:
        clock[what] = np.inf
        clock[Due.SPELL] = now + _gap(rng, fight.boss[0].spell_s)
        _spell_lands(fight, state, log, rng, now)
    elif what == Due.CURSE:
        clock[what] = now + _gap(rng, fight.boss[0].curse_s)
        _curse(fight, state, rng, now)
    elif what == Due.CURSE_TICK:
        _curse_ticks(fight, state, log, rng, now)
    elif what == Due.TAUNT:
        clock[what] = np.inf
        _taunt(fight, state, log, now)
    elif what == Due.RESURRECTION:
        clock[what] = np.inf
        _resurrect(fight, state, log, rng, now)
    else:
        state.counts[Count.IS_OVER] = 1


@compiled
def _hit_tank(fight: Fight, state: State, log: Log, rng: Generator, now: float) -> None:
    tank = state.counts[Count.TANK]
    if not state.raid[tank].is_alive:
        return
    bare = 1.0 if fight.raid[tank].role == TANK else BARE
    mean = fight.boss[0].tank_hit * bare * (1.0 + STACK_ADDS * state.counts[Count.STACKS])
    state.counts[Count.STACKS] += 1
    clock = state.due[2 * len(fight.raid) :]
    other = _other_tank(fight, state)
    if state.counts[Count.STACKS] >= SWAP_AT_STACKS and other != NONE and clock[Due.TAUNT] == np.inf:
        clock[Due.TAUNT] = now + 2.0 * fight.raid[other].reaction_s * rng.random()
    ability = fight.boss_abilities[BossAbility.TANK_HIT]
    _hit(fight, state, log, rng, now, tank, fight.boss[0].entity, ability, mean, False, False)


@compiled
def _taunt(fight: Fight, state: State, log: Log, now: float) -> None:
    """Another tank takes the boss, if one lives."""
    other = _other_tank(fight, state)
    if other == NONE:
        return
    mine = fight.raid[other]
    if mine.taunt != NONE:
        _note(fight, state, log, now, CAST, mine.entity, fight.boss[0].entity, mine.taunt)
    state.counts[Count.TANK] = other
    state.counts[Count.STACKS] = 0


@compiled
def _other_tank(fight: Fight, state: State) -> int:
    """A living tank who has not the boss, or NONE."""
    for other in range(len(fight.raid)):
        if state.raid[other].is_alive and fight.raid[other].role == TANK and other != state.counts[Count.TANK]:
            return other
    return NONE


@compiled
def _hit_everybody(fight: Fight, state: State, log: Log, rng: Generator, now: float, ability: int, mean: float) -> None:
    for whom in range(len(fight.raid)):
        if state.raid[whom].is_alive:
            _hit(fight, state, log, rng, now, whom, fight.boss[0].entity, ability, mean, False, False)


@compiled
def _hit_the_careless(fight: Fight, state: State, log: Log, rng: Generator, now: float) -> None:
    ability = fight.boss_abilities[BossAbility.AVOIDABLE]
    for whom in range(len(fight.raid)):
        if state.raid[whom].is_alive and rng.random() < fight.boss[0].avoidable_chance * fight.raid[whom].carelessness:
            _hit(fight, state, log, rng, now, whom, fight.boss[0].entity, ability, fight.boss[0].avoidable, True, False)


@compiled
def _trial(fight: Fight, state: State, log: Log, rng: Generator, now: float) -> None:
    """A mechanic that one raider must get right; where that fails, it meets everybody."""
    number = state.counts[Count.TRIALS]
    state.counts[Count.TRIALS] += 1
    clock = state.due[2 * len(fight.raid) :]
    clock[Due.TRIAL] = fight.trials[number + 1].at_s if number + 1 < len(fight.trials) else np.inf
    if rng.random() < fight.trials[number].failure:
        severity = fight.boss[0].failure * (0.5 + rng.random())
        _hit_everybody(fight, state, log, rng, now, fight.boss_abilities[BossAbility.FAILURE], severity)


@compiled
def _wave(fight: Fight, state: State, now: float) -> None:
    if state.counts[Count.WAVES] >= len(fight.adds):
        return
    state.counts[Count.WAVES] += 1
    state.add_health[:] = fight.boss[0].add_health
    state.due[2 * len(fight.raid) + Due.ADD_HIT] = now + ADD_HIT_S


@compiled
def _add_hits(fight: Fight, state: State, log: Log, rng: Generator, now: float) -> None:
    """Each add hits somebody."""
    clock = state.due[2 * len(fight.raid) :]
    clock[Due.ADD_HIT] = np.inf
    ability = fight.boss_abilities[BossAbility.ADD_HIT]
    for place in range(len(state.add_health)):
        if state.add_health[place] <= 0.0:
            continue
        clock[Due.ADD_HIT] = now + ADD_HIT_S
        whom = _somebody(state, rng)
        if whom != NONE:
            source = fight.adds[state.counts[Count.WAVES] - 1, place]
            _hit(fight, state, log, rng, now, whom, source, ability, fight.boss[0].add_hit, False, False)


@compiled
def _somebody(state: State, rng: Generator) -> int:
    """A living raider by chance, or NONE."""
    alive = _how_many_live(state)
    if alive == 0:
        return NONE
    left = int(rng.random() * alive)
    for other in range(len(state.raid)):
        if state.raid[other].is_alive:
            if left == 0:
                return other
            left -= 1
    return NONE


@compiled
def _volunteer(fight: Fight, state: State, rng: Generator, what: int) -> int:
    """A living raider, by how ready each is, or NONE."""
    total = 0.0
    for other in range(len(fight.raid)):
        if state.raid[other].is_alive:
            total += fight.raid[other].ready[what]
    left = rng.random() * total
    for other in range(len(fight.raid)):
        if state.raid[other].is_alive and fight.raid[other].ready[what] > 0.0:
            if left < fight.raid[other].ready[what]:
                return other
            left -= fight.raid[other].ready[what]
    return NONE


@compiled
def _who_answers(fight: Fight, state: State, rng: Generator, what: int, number: int) -> int:
    """Whose turn it is, or else a volunteer; NONE where nobody can."""
    if rng.random() < ASSIGNED:
        for other in range(len(fight.raid)):
            if state.raid[other].is_alive and fight.raid[other].turn[what] == number % ON_DUTY:
                return other
    return _volunteer(fight, state, rng, what)


@compiled
def _answer_spell(fight: Fight, state: State, log: Log, rng: Generator, now: float) -> None:
    """Who is to interrupt does so in time or not."""
    state.counts[Count.SPELL_IS_STOPPED] = 0
    who = _who_answers(fight, state, rng, Ready.INTERRUPT, state.counts[Count.SPELLS])
    state.counts[Count.SPELLS] += 1
    if who == NONE:
        return
    answer_s = 2.0 * fight.raid[who].reaction_s * rng.random()
    if answer_s < SPELL_CAST_S:
        state.counts[Count.SPELL_IS_STOPPED] = 1
        _note(fight, state, log, now, CAST, fight.raid[who].entity, fight.boss[0].entity, fight.raid[who].interrupt)


@compiled
def _spell_lands(fight: Fight, state: State, log: Log, rng: Generator, now: float) -> None:
    if not state.counts[Count.SPELL_IS_STOPPED]:
        _hit_everybody(fight, state, log, rng, now, fight.boss_abilities[BossAbility.SPELL], fight.boss[0].spell)


@compiled
def _curse(fight: Fight, state: State, rng: Generator, now: float) -> None:
    whom = _somebody(state, rng)
    if whom == NONE:
        return
    state.raid[whom].cursed = True
    clock = state.due[2 * len(fight.raid) :]
    clock[Due.CURSE_TICK] = min(clock[Due.CURSE_TICK], now + CURSE_TICK_S)


@compiled
def _curse_ticks(fight: Fight, state: State, log: Log, rng: Generator, now: float) -> None:
    """Those who are cursed suffer, or somebody takes the curse off."""
    clock = state.due[2 * len(fight.raid) :]
    clock[Due.CURSE_TICK] = np.inf
    for whom in range(len(fight.raid)):
        if not state.raid[whom].cursed:
            continue
        who = _who_answers(fight, state, rng, Ready.DISPEL, state.counts[Count.CURSES])
        state.counts[Count.CURSES] += 1
        if who != NONE and rng.random() * 2.0 * fight.raid[who].reaction_s < CURSE_TICK_S:
            state.raid[whom].cursed = False
            _note(fight, state, log, now, CAST, fight.raid[who].entity, fight.raid[whom].entity, fight.raid[who].dispel)
            continue
        clock[Due.CURSE_TICK] = now + CURSE_TICK_S
        ability = fight.boss_abilities[BossAbility.CURSE]
        _hit(fight, state, log, rng, now, whom, fight.boss[0].entity, ability, fight.boss[0].curse, False, True)


@compiled
def _resurrect(fight: Fight, state: State, log: Log, rng: Generator, now: float) -> None:
    whom = state.counts[Count.TO_RESURRECT]
    state.counts[Count.TO_RESURRECT] = NONE
    who = _volunteer(fight, state, rng, Ready.RESURRECT)
    if who == NONE or state.raid[whom].is_alive:
        return
    state.counts[Count.RESURRECTIONS] += 1
    _note(fight, state, log, now, CAST, fight.raid[who].entity, fight.raid[whom].entity, fight.raid[who].resurrect)
    _note(fight, state, log, now, RESURRECT, fight.raid[who].entity, fight.raid[whom].entity, fight.raid[who].resurrect)
    state.raid[whom].is_alive = True
    state.raid[whom].health = np.rint(RESURRECTED_HEALTH * fight.raid[whom].max_health)
    state.due[whom] = now + _gap(rng, fight.raid[whom].gap_s)
    if fight.raid[whom].pet != NONE:
        state.due[len(fight.raid) + whom] = now + _gap(rng, fight.raid[whom].pet_gap_s)
