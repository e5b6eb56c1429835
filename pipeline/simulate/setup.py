"""Who stands before which boss, how strong, how careful and how practised: the `Fight` that a pull starts from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.simulate.abilities import NONE, SLOTS, Abilities, Floats, Ints
from pipeline.simulate.fight import BOSS, DAMAGE_DEALER, HEALER, ON_DUTY, RAIDER, TANK, TRIAL, Fight, Records
from pipeline.simulate.teams import Entities, Player, Team
from pipeline.simulate.world import Boss, Difficulty, PlayedDifficulty, RoleRule, StyleRule, World

ROLES = {"dps": DAMAGE_DEALER, "healer": HEALER, "tank": TANK}
SKILL_BETWEEN, SKILL_WITHIN = 0.36, 0.95
"""Standard deviations of a player's skill between players, and from pull to pull."""
SKILL_POWER = 0.09
"""Log damage by standard deviation of skill; the next likewise."""
SKILL_CARELESSNESS = -0.3
SKILL_REACTION = -0.15
TEAM_POWER = 0.065
"""Log damage by standard deviation of the team's form; the next likewise."""
TEAM_FAILURE = -0.40
PULL_POWER_SD = 0.058
"""Log damage of the whole raid from pull to pull: cooldowns that come together or do not."""
PRACTICE_POWER = 0.005
"""Log damage by log of the number of the pull on this boss."""
COLD_FAILURE = 1.7
"""Trials are failed so much more often in the first pulls of an evening."""
COLD_PULLS = 3
FAILURE_NOISE = 0.35
"""Log standard deviation of the chance to fail, from pull to pull."""
HARDEST = 0.95
TRIALS_AFTER_ENRAGE_S = 30.0
TRIAL_JITTER_S = 3.0
REACTION_S = 1.3
PET_GAP_S = 1.5
LEVEL_POWER = 0.0055
"""Log damage and health by point of item level."""
MANA = 50_000.0
OTHER_RESOURCE = 100.0
HEAL_COST = 0.005
MANA_GAIN = 0.012
"""Of a healer's one gain, share of the maximum; of everybody else's, the next."""
OTHER_GAIN = 0.2
COOLDOWN_HEALS = 0.25
"""Share of a damage dealer's health, of everybody, by a healer of average skill."""
AT_THE_REAL_RHYTHM = ("defensive", "consumable")
"""Slots that are used as often at any rhythm, since they answer the boss, who knows no rhythm; so are the shields of
those who are no healers."""
RESURRECTION_CHANCE = 0.5
FIGHT_TO_THE_LAST = 0.55
"""Share of pulls that are fought until nobody lives; in the others the leader calls when a part is dead."""
CALL_AT_DEAD_SHARES = (0.25, 0.6)
MISPULL_S = (2.0, 9.0)
EMPTY_SLOT = 0
HARMS = ("tank_hit", "pulse", "avoidable", "add_hit", "spell", "curse")
REFERENCE_CRIT_CHANCE = 0.225


@dataclass(frozen=True)
class Attempt:
    """What a pull is: of which boss, at which difficulty, by whom, and how often they have been here."""

    boss: int
    difficulty: PlayedDifficulty
    raiders: Ints
    """Places in the team's pool."""
    pull_number: int
    """On this boss, from 1."""
    trials_seen: Ints
    """How often the team has met each trial of this boss; those beyond were never met."""
    pull_of_evening: int
    """From 1."""
    form: float
    """The team's form this evening, in standard deviations."""
    item_levels: Floats
    """By player of the pool."""
    rhythm: float
    """Actions relative to the real rhythm."""
    style_strength: float


def prepare(rng: Generator, world: World, abilities: Abilities, team: Team, entities: Entities, at: Attempt) -> Fight:
    """All that is settled before the first blow."""
    boss, difficulty = world.bosses[at.boss], world.difficulties[at.difficulty]
    players = [team.players[index] for index in at.raiders]
    skill = SKILL_BETWEEN * np.array([player.skill for player in players])
    skill = skill + rng.normal(0, SKILL_WITHIN, size=len(players))
    raid = np.zeros(len(players), dtype=RAIDER)
    for part in (
        _behaviour(world, abilities, players, at, skill),
        _actions(world, abilities, players, at),
        _strengths(world, players, at, skill, float(rng.normal(0, PULL_POWER_SD))),
        _what_they_know(abilities, players),
        {"entity": at.raiders, "pet": entities.pet[at.raiders]},
    ):
        for name, values in part.items():
            raid[name] = values
    record = np.zeros(1, dtype=BOSS)
    damage = _reference_damage(world, difficulty, team, at)
    policy = _policy(rng, difficulty)
    for name, value in (_boss(world, boss, difficulty, at, damage) | policy).items():
        record[name] = value
    record["entity"] = entities.boss[at.boss]
    return Fight(
        raid=raid,
        boss=record,
        trials=_trials(rng, world, boss, difficulty, at),
        abilities=abilities.records,
        phases=np.array(boss.phases) / 100,
        adds=entities.adds[at.boss],
        boss_abilities=abilities.boss[at.boss],
    )


def _policy(rng: Generator, difficulty: Difficulty) -> dict[str, float]:
    """What a leader has decided before the pull: when to call it off."""
    return {
        "call_at": 1.0 if rng.random() < FIGHT_TO_THE_LAST else float(rng.uniform(*CALL_AT_DEAD_SHARES)),
        "mispull_s": float(rng.uniform(*MISPULL_S)) if rng.random() < difficulty.mispull else np.inf,
        "resurrection_chance": RESURRECTION_CHANCE,
    }


def _trials(rng: Generator, world: World, boss: Boss, difficulty: Difficulty, at: Attempt) -> Records:
    at_s = _trial_times(rng, world, _enrage_s(boss, difficulty))
    trials = np.zeros(len(at_s), dtype=TRIAL)
    trials["at_s"] = at_s
    trials["failure"] = _failure_chances(rng, boss, difficulty, at, len(at_s))
    return trials


def _enrage_s(boss: Boss, difficulty: Difficulty) -> float:
    return difficulty.enrage * boss.fight_s * difficulty.health


def _trial_times(rng: Generator, world: World, enrage_s: float) -> Floats:
    rules = world.mechanics
    count = int((enrage_s + TRIALS_AFTER_ENRAGE_S - rules.first_trial_s) // rules.trial_s) + 1
    jitter = rng.uniform(-TRIAL_JITTER_S, TRIAL_JITTER_S, size=count)
    return rules.first_trial_s + rules.trial_s * np.arange(count) + jitter


def _failure_chances(rng: Generator, boss: Boss, difficulty: Difficulty, at: Attempt, trials: int) -> Floats:
    """Learning by doing: a power law in how often each trial was met (Newell and Rosenbloom 1981)."""
    seen = np.zeros(trials)
    known = min(trials, len(at.trials_seen))
    seen[:known] = at.trials_seen[:known]
    later = 1 + difficulty.late_trials * np.arange(trials) / max(trials - 1, 1)
    chance = difficulty.trial_failure * boss.trials**difficulty.contrast * later
    chance = chance * np.exp(TEAM_FAILURE * at.form + rng.normal(0, FAILURE_NOISE))
    chance = chance * (1 + seen) ** -difficulty.practice
    if at.pull_of_evening <= COLD_PULLS:
        chance = chance * COLD_FAILURE
    failure: Floats = np.minimum(chance, HARDEST)
    return failure


def _behaviour(
    world: World, abilities: Abilities, players: list[Player], at: Attempt, skill: Floats
) -> dict[str, NDArray[Any]]:
    """What skill and style make of how a raider acts."""
    rules = [world.roles[player.role] for player in players]
    styles = [rule.styles[player.style] for rule, player in zip(rules, players, strict=True)]
    strength = at.style_strength
    leaning = np.array([(style.aim_tank, style.aim_weakest, style.aim_anybody) for style in styles])
    adds_first = np.array([rule.adds_first for rule in rules])
    odds = adds_first / (1 - adds_first) * np.exp(strength * np.array([style.adds_first for style in styles]))
    careless = np.array([style.carelessness for style in styles])
    return {
        "role": np.array([ROLES[player.role] for player in players]),
        "carelessness": np.exp(SKILL_CARELESSNESS * skill + strength * careless),
        "reaction_s": REACTION_S * np.exp(SKILL_REACTION * skill),
        "adds_first": odds / (1 + odds),
        "aim": _cumulative(np.array([rule.aim for rule in rules]) * np.exp(strength * leaning)),
        **_duties(abilities, players, rules, styles, at),
    }


def _duties(
    abilities: Abilities, players: list[Player], rules: list[RoleRule], styles: list[StyleRule], at: Attempt
) -> dict[str, NDArray[Any]]:
    """Who answers what: how ready each is, and whose turn it is; those who are readiest have the first turns."""
    ready = np.stack(
        [
            _willing(abilities.interrupt, players, [r.interrupt for r in rules], [s.interrupt for s in styles], at),
            _willing(abilities.dispel, players, [r.dispel for r in rules], [s.dispel for s in styles], at),
            _willing(abilities.resurrect, players, [1.0] * len(rules), [0.0] * len(rules), at),
        ],
        axis=1,
    )
    place = np.argsort(np.argsort(-ready, axis=0, kind="stable"), axis=0, kind="stable")
    return {"ready": ready, "turn": np.where((ready > 0) & (place < ON_DUTY), place, NONE)}


def _willing(table: Ints, players: list[Player], ready: list[float], style: list[float], at: Attempt) -> Floats:
    """How ready each raider is; not at all where the class cannot."""
    can = table[[player.kind for player in players]] != NONE
    return np.where(can, np.array(ready) * np.exp(at.style_strength * np.array(style)), 0.0)


def _actions(world: World, abilities: Abilities, players: list[Player], at: Attempt) -> dict[str, NDArray[Any]]:
    """What each raider does, how often, and how fast.

    A slower rhythm stretches the gaps, and with them what answers the boss would become rarer; so the weights of that
    rise, and the gaps are shortened by as much as they add.
    """
    weights = np.zeros((len(players), len(SLOTS)))
    chosen = np.full((len(players), len(SLOTS)), EMPTY_SLOT)
    keeps_time = np.array([slot in AT_THE_REAL_RHYTHM for slot in SLOTS])
    for who, player in enumerate(players):
        rule = world.roles[player.role]
        style = rule.styles[player.style]
        for place, slot in enumerate(SLOTS):
            ability = abilities.kind_slots[player.kind, place]
            if slot in rule.slots and ability != NONE:
                leaning = at.style_strength * style.slots.get(slot, 0.0)
                weights[who, place] = rule.slots[slot].weight * np.exp(leaning)
                chosen[who, place] = ability
    heals = np.array([player.role == "healer" for player in players])
    tempo = np.array([player.tempo for player in players])
    gap_s = np.array([world.roles[player.role].gap_s for player in players])
    is_shield = np.array([slot == "shield" for slot in SLOTS])
    keeps_time = keeps_time | (is_shield & ~heals[:, np.newaxis])
    rhythm = rhythms(heals, at.rhythm)
    paced = np.where(keeps_time, weights / rhythm[:, np.newaxis], weights)
    return {
        "slot_chance": _cumulative(paced),
        "slot_ability": chosen,
        "gap_s": gap_s / (tempo * rhythm) * (weights.sum(axis=1) / paced.sum(axis=1)),
    }


def rhythms(heals: NDArray[np.bool_], rhythm: float) -> Floats:
    """By raider. Fewer actions of healers are larger ones, and not as few as others': health must not fall far."""
    return np.where(heals, np.sqrt(rhythm), rhythm)


def _cumulative(weights: Floats) -> Floats:
    cumulative: Floats = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    return cumulative


def _strengths(world: World, players: list[Player], at: Attempt, skill: Floats, luck: float) -> dict[str, Floats]:
    levels = np.exp(LEVEL_POWER * (at.item_levels[at.raiders] - world.reference_item_level))
    roles = [world.roles[player.role] for player in players]
    styles = [rule.styles[player.style].power for rule, player in zip(roles, players, strict=True)]
    tempo = np.array([player.tempo for player in players])
    heals = np.array([player.role == "healer" for player in players])
    rhythm = rhythms(heals, at.rhythm)
    log_power = SKILL_POWER * skill + TEAM_POWER * at.form + at.style_strength * np.array(styles)
    log_power = log_power + PRACTICE_POWER * np.log(at.pull_number) + np.where(heals, 0.0, luck)
    power = np.exp(log_power) * levels / tempo
    uses_mana = np.array([player.resource == "mana" for player in players])
    return {
        "pet_gap_s": np.full(len(players), PET_GAP_S / at.rhythm),
        "power": np.where(heals, power / rhythm, power),
        "pet_power": np.exp(log_power) * levels,
        "crit_chance": np.array([player.crit_chance for player in players]),
        "max_health": np.rint(world.reference_health * levels * np.array([rule.health for rule in roles])),
        "mana_cost": np.where(heals, HEAL_COST / rhythm, 0.0),
        "gain": np.where(heals, MANA_GAIN / rhythm, OTHER_GAIN),
        "cooldown": np.where(heals, COOLDOWN_HEALS * world.reference_health * np.exp(log_power) * levels, 0.0),
        "resource_max": np.where(uses_mana, MANA, OTHER_RESOURCE),
    }


def _what_they_know(abilities: Abilities, players: list[Player]) -> dict[str, Ints]:
    kinds = [player.kind for player in players]
    return {
        "pet_ability": abilities.pet[kinds],
        "interrupt": abilities.interrupt[kinds],
        "dispel": abilities.dispel[kinds],
        "taunt": abilities.taunt[kinds],
        "resurrect": abilities.resurrect[kinds],
        "shield": abilities.shield[kinds],
    }


def _reference_damage(world: World, difficulty: Difficulty, team: Team, at: Attempt) -> float:
    """Damage per second of a raid of this size, average skill and the difficulty's item level, points."""
    level = np.exp(LEVEL_POWER * (difficulty.item_level - world.reference_item_level))
    crits = 1 + REFERENCE_CRIT_CHANCE
    per_second = sum(
        count * world.mean_per_action(role) / world.roles[role].gap_s
        for role, count in team.roles.items()
        if role != "healer"
    )
    return float(per_second * crits * level * at.rhythm)


def _boss(world: World, boss: Boss, difficulty: Difficulty, at: Attempt, raid_damage: float) -> dict[str, float]:
    rules = world.mechanics
    health = world.reference_health * float(np.exp(LEVEL_POWER * (difficulty.item_level - world.reference_item_level)))
    harm = health * difficulty.damage * boss.damage
    return {
        "health": max(1, round(boss.fight_s * difficulty.health * raid_damage)),
        "add_health": max(1, round(rules.add_health_s * raid_damage / len(at.raiders))),
        "enrage_s": _enrage_s(boss, difficulty),
        "failure": difficulty.failure * health,
        "wave_s": rules.wave_s if boss.add else np.inf,
        "avoidable_chance": rules.avoidable_chance,
        "phase_harm": rules.phase_harm,
        "phase_power": rules.phase_power,
        **{name: getattr(rules, name) * harm for name in HARMS},
        **{f"{name}_s": getattr(rules, f"{name}_s") for name in HARMS if name != "add_hit"},
    }
