"""A team's season: evenings (raids), each with its pulls. The interface behind which a better model may come.

A team's season is one seeded unit: it is the same whatever other teams there are and whoever computes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.random import Generator, SeedSequence

from pipeline.params import Simulate
from pipeline.simulate.abilities import NONE, Abilities, Floats, Ints, compile_abilities
from pipeline.simulate.lives import MS, Peril
from pipeline.simulate.pull import simulate_pull
from pipeline.simulate.rows import PulledEvents, raid_frame
from pipeline.simulate.setup import Setup
from pipeline.simulate.teams import Entities, Team, build_team, team_entities
from pipeline.simulate.world import Boss, PlayedDifficulty, World, load

FIRST_EVENING_MS = int(datetime(2026, 1, 5, 19, 30, tzinfo=UTC).timestamp()) * MS
DAY_MS = 86_400 * MS
WEEKDAYS = (0, 3)
"""The evenings of a week, days after the first."""
GAP_MEDIAN_S = 114.0
GAP_LOG_SD = 0.36
MEAN_PULL_S = 225.0
MEAN_RAID_SIZE = 15.5
EVENTS_PER_ACTION = 2.0
"""All events of a pull but its start, rosters and end, by action of a player."""
ITEM_LEVEL_PER_EVENING = 0.45
EASIER_EVENING_CHANCE = 0.2
"""How often a team raids one difficulty below its own."""
EASIER: dict[PlayedDifficulty, PlayedDifficulty] = {"mythic": "heroic", "heroic": "normal", "normal": "normal"}
TEAM_SKILL_DAMAGE = 0.07
"""Log damage by standard deviation of team skill; the next likewise."""
TEAM_SKILL_HAZARD = -0.35
PLAYER_SKILL_DAMAGE = 0.10
PLAYER_SKILL_HAZARD = -0.3
SKILL_BETWEEN, SKILL_WITHIN = 0.5, 0.8
"""Standard deviations of a player's skill between players, and from pull to pull."""
EVENING_FORM_SD = 0.4
"""An evening's form, in standard deviations of team skill."""
PRACTICE_HAZARD = -0.45
"""Hazard and errors fall with this power of the number of the pull on the boss."""
PRACTICE_DAMAGE = 0.02
EVENING_NOISE_OF_ATTENDANCE = 0.5
BOSS_NOISE_OF_ATTENDANCE = 0.15
REFERENCE_DAMAGE_DEALERS = 0.72
"""Damage dealers' equivalents in a reference raid, by raider."""
REFERENCE_CRIT_CHANCE = 0.225


@dataclass(frozen=True)
class Raid:
    """One team's evening."""

    raid_id: str
    frame: pl.DataFrame
    """Its events, in the columns and the order of the wire."""
    kills: tuple[bool, ...]
    """By pull: whether the boss died."""


@dataclass
class _Progress:
    """How far a team is: which boss is next, how often each was pulled."""

    next_boss: dict[PlayedDifficulty, int] = field(default_factory=dict)
    attempts: dict[tuple[PlayedDifficulty, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Evening:
    """What stays the same over an evening."""

    world: World
    abilities: Abilities
    team: Team
    number: int
    difficulty: PlayedDifficulty
    form: float
    item_levels: Floats
    attendance: Floats
    entities: Entities
    action_rate: float


def play_season(params: Simulate, team_index: int) -> Iterator[Raid]:
    """All evenings of one team, one after the other."""
    world = load()
    abilities = compile_abilities(world)
    team = build_team(world, params.seed, team_index)
    progress = _Progress()
    for number in range(params.evenings_per_team):
        rng = np.random.default_rng(SeedSequence(params.seed, spawn_key=(team_index, number)))
        evening = begin_evening(rng, world, abilities, team, number, action_rate(params))
        pulls = _play_evening(rng, params, evening, progress)
        raid_id = f"raid{team_index * params.evenings_per_team + number + 1:03d}"
        frame = raid_frame(raid_id, team.team_id, pulls, evening.entities, abilities, rng)
        yield Raid(raid_id, frame, tuple(pull.killed for pull in pulls))


def action_rate(params: Simulate) -> float:
    """Mean actions per player and second that give about `num_events_per_raid` events in an evening of mean length."""
    events_per_pull = params.num_events_per_raid / params.pulls_per_evening - (MEAN_RAID_SIZE + 2)
    # So few events that the rosters alone are more: still a few actions.
    return max(events_per_pull, 10.0) / (MEAN_PULL_S * MEAN_RAID_SIZE * EVENTS_PER_ACTION)


def _play_evening(rng: Generator, params: Simulate, evening: Evening, progress: _Progress) -> list[PulledEvents]:
    """The pulls of an evening, one after the other; what is learnt in one is known in the next."""
    week, place = divmod(evening.number, len(WEEKDAYS))
    now_ms = FIRST_EVENING_MS + (7 * week + WEEKDAYS[place]) * DAY_MS
    pulls = []
    for pull_number in range(1 + int(rng.poisson(params.pulls_per_evening - 1))):
        key = (evening.team.index, evening.number, pull_number)
        pull_rng = np.random.default_rng(SeedSequence(params.seed, spawn_key=key))
        pulls.append(_play_pull(pull_rng, evening, progress, now_ms))
        gap_s = GAP_MEDIAN_S * np.exp(rng.normal(0, GAP_LOG_SD))
        now_ms += int(pulls[-1].rows["ms"][-1]) + int(gap_s * MS)
    return pulls


def begin_evening(rng: Generator, world: World, abilities: Abilities, team: Team, number: int, rate: float) -> Evening:
    """The team on its evening with this number, counted from 0."""
    difficulty = EASIER[team.difficulty] if rng.random() < EASIER_EVENING_CHANCE else team.difficulty
    average = world.difficulties[team.difficulty].item_level + ITEM_LEVEL_PER_EVENING * number
    item_levels = average + np.array([player.item_level_offset for player in team.players])
    attendance = np.array([player.attendance for player in team.players])
    return Evening(
        world=world,
        abilities=abilities,
        team=team,
        number=number,
        difficulty=difficulty,
        form=float(team.skill + rng.normal(0, EVENING_FORM_SD)),
        item_levels=item_levels,
        attendance=attendance + rng.normal(0, EVENING_NOISE_OF_ATTENDANCE, size=len(attendance)),
        entities=team_entities(world, team, item_levels),
        action_rate=rate,
    )


def _play_pull(rng: Generator, evening: Evening, progress: _Progress, start_ms: int) -> PulledEvents:
    """One pull of the boss that is next, which moves the team's progress on."""
    difficulty = evening.difficulty
    boss_index = progress.next_boss.get(difficulty, 0)
    attempt = progress.attempts.get((difficulty, boss_index), 0) + 1
    setup = set_up(rng, evening, boss_index, attempt)
    pull = simulate_pull(rng, setup, evening.abilities)
    progress.attempts[difficulty, boss_index] = attempt
    progress.next_boss[difficulty] = (boss_index + pull.killed) % len(evening.world.bosses)
    boss = evening.world.bosses[boss_index]
    return PulledEvents(
        rows=pull.rows,
        start_ms=start_ms,
        encounter_name=boss.name,
        difficulty=difficulty,
        boss_id=f"boss-{boss.slug}",
        raid_size=setup.size,
        killed=pull.killed,
    )


def set_up(rng: Generator, evening: Evening, boss_index: int, attempt: int) -> Setup:
    """Who stands before which boss, how strong and how careful on the team's pull number `attempt` on it."""
    world, team = evening.world, evening.team
    boss, difficulty = world.bosses[boss_index], world.difficulties[evening.difficulty]
    raiders = choose_roster(rng, evening)
    players = [team.players[index] for index in raiders]
    kinds = np.array([player.kind for player in players])
    skill = SKILL_BETWEEN * np.array([player.skill for player in players])
    skill += rng.normal(0, SKILL_WITHIN, size=len(players))
    damage = TEAM_SKILL_DAMAGE * evening.form + PLAYER_SKILL_DAMAGE * skill + PRACTICE_DAMAGE * np.log(attempt)
    return Setup(
        boss=boss_index,
        boss_entity=int(evening.entities.boss[boss_index]),
        add_entity=int(evening.entities.add[boss_index]),
        boss_health=boss_health(world, boss.fight_s * difficulty.health, len(players), evening.action_rate),
        phases=boss.phases,
        boss_strength=difficulty.item_level / world.reference_item_level,
        action_rate=evening.action_rate,
        peril=_peril(evening, boss, attempt, raiders, skill),
        raiders=raiders,
        kinds=kinds,
        pets=evening.entities.pet[raiders],
        pet_kinds=kinds + len(world.specializations),
        tempo=np.array([player.tempo for player in players]),
        strength=np.exp(damage) * evening.item_levels[raiders] / world.reference_item_level,
        crit_chance=np.array([player.crit_chance for player in players]),
        uses_mana=np.array([player.resource == "mana" for player in players]),
    )


def _peril(evening: Evening, boss: Boss, attempt: int, raiders: Ints, skill: Floats) -> Peril:
    difficulty = evening.world.difficulties[evening.difficulty]
    practice = np.exp(TEAM_SKILL_HAZARD * evening.form) * attempt**PRACTICE_HAZARD
    players = [evening.team.players[index] for index in raiders]
    role = np.array([player.role for player in players])
    kinds = np.array([player.kind for player in players])
    return Peril(
        fight_s=boss.fight_s,
        enrage_s=boss.enrage_s,
        hazard=difficulty.hazard * boss.hazard * practice,
        errors=difficulty.errors * boss.errors * practice,
        carelessness=np.exp(PLAYER_SKILL_HAZARD * skill),
        is_tank=role == "tank",
        is_healer=role == "healer",
        can_resurrect=evening.abilities.resurrect[kinds] != NONE,
    )


def choose_roster(rng: Generator, evening: Evening) -> Ints:
    """The players of the raid, as many of each role as the team takes, by attendance; in the pool's order."""
    keys = evening.attendance + rng.normal(0, BOSS_NOISE_OF_ATTENDANCE, size=len(evening.attendance))
    roles = np.array([player.role for player in evening.team.players])
    chosen = []
    for role, count in evening.team.roles.items():
        pool = np.flatnonzero(roles == role)
        chosen.append(pool[np.argsort(-keys[pool])[:count]])
    return np.sort(np.concatenate(chosen))


def boss_health(world: World, fight_s: float, raid_size: int, rate: float) -> int:
    """Health for which a reference raid of this size needs `fight_s`.

    It grows with the rate of actions, so that the number of events changes neither durations nor outcomes.
    """
    per_action = world.mean_damage_per_action() * (1 + REFERENCE_CRIT_CHANCE)
    return max(1, round(fight_s * raid_size * REFERENCE_DAMAGE_DEALERS * rate * per_action))
