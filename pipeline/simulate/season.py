"""A team's season: evenings (raids), each with its pulls; what a team has learnt, it knows in the next.

A team's season is one seeded unit: it is the same whatever other teams there are and whoever computes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.random import Generator, SeedSequence

from pipeline.params import Simulate
from pipeline.simulate.abilities import Floats, Ints, compile_abilities
from pipeline.simulate.fight import Fight
from pipeline.simulate.pull import Pull, simulate_pull
from pipeline.simulate.rows import PulledEvents, raid_frame
from pipeline.simulate.setup import Attempt, prepare
from pipeline.simulate.teams import Entities, Team, build_team, team_entities
from pipeline.simulate.world import PlayedDifficulty, World, load

MS = 1000
IDS_KEY = 0
FIRST_EVENING_MS = int(datetime(2026, 1, 5, 19, 30, tzinfo=UTC).timestamp()) * MS
DAY_MS = 86_400 * MS
WEEKDAYS = (0, 3)
"""The evenings of a week, days after the first; a boss killed in one comes back in the next week."""
GAP_MEDIAN_S = 108.0
GAP_LOG_SD = 0.32
TRASH_S = 900.0
TRASH_SPREAD = (0.5, 1.5)
"""Mean way to the next boss, on top of the gap."""
BREAK_S = 1800.0
"""After half of an evening's pulls."""
MEAN_PULL_S = 190.0
MEAN_RAID_SIZE = 20.0
ITEM_LEVEL_PER_EVENING = 0.45
EASIER_EVENING_CHANCE = 0.2
"""How often a team raids one difficulty below its own."""
EASIER: dict[PlayedDifficulty, PlayedDifficulty] = {"mythic": "heroic", "heroic": "normal", "normal": "normal"}
EVENING_FORM_SD = 0.7
"""An evening's form, in standard deviations of team skill."""
ATTENDANCE_DRIFT = 0.65
"""How much a player's attendance moves around the own mean, over the season."""
ATTENDANCE_KEPT = 0.92
"""What is left of that from one evening to the next."""
BOSS_NOISE_OF_ATTENDANCE = 0.12
SWAP_BETWEEN_PULLS = 0.033
FARM_SHARE = 0.47
"""Share of an evening's pulls after which a team turns from bosses that it has killed before to the next new one."""
GIVE_UP_AFTER = 8
"""Pulls on a boss that was killed before, in one evening."""
DEALT_PER_ACTION = 1.55
"""Events by action: most are casts with what they do."""
HEALERS_SHARE = 0.23
"""Of a raid."""
EVENTS_OF_BOSS_PER_S = 2.1
LEAST_RHYTHM = 0.002


@dataclass(frozen=True)
class Raid:
    """One team's evening."""

    raid_id: str
    frame: pl.DataFrame
    """Its events, in the columns and the order of the wire."""
    pulls: tuple["Played", ...]


@dataclass(frozen=True)
class Played:
    """A pull that was played."""

    start_ms: int
    attempt: Attempt
    fight: Fight
    pull: Pull
    seed: SeedSequence
    stream: dict[str, Any]
    """The state of the randomness when the pull began."""

    def at_the_pull(self) -> Generator:
        """The same randomness as at the pull."""
        rng = np.random.default_rng()
        rng.bit_generator.state = self.stream
        return rng


@dataclass
class BossKnown:
    """What a team knows of one boss at one difficulty."""

    pulls: int = 0
    kills: int = 0
    killed_in_week: int = -1
    trials_seen: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def learn(self, pull: Pull, week: int) -> None:
        """After a pull."""
        self.pulls += 1
        if pull.trials_met > len(self.trials_seen):
            self.trials_seen = np.pad(self.trials_seen, (0, pull.trials_met - len(self.trials_seen)))
        self.trials_seen[: pull.trials_met] += 1
        if pull.killed:
            self.kills += 1
            self.killed_in_week = week


@dataclass
class Evening:
    """What stays the same over an evening."""

    number: int
    difficulty: PlayedDifficulty
    form: float
    item_levels: Floats
    attendance: Floats
    entities: Entities

    @property
    def week(self) -> int:
        return self.number // len(WEEKDAYS)


class Season:
    """One team on its way through the bosses."""

    def __init__(self, params: Simulate, team_index: int) -> None:
        self.params = params
        self.world = load()
        self.abilities = compile_abilities(self.world)
        self.team = build_team(self.world, params.seed, team_index)
        self.drift = np.zeros(len(self.team.players))
        self.known: dict[tuple[PlayedDifficulty, int], BossKnown] = {}

    def raids(self) -> Iterator[tuple[str, int, tuple["Played", ...]]]:
        """Each evening: the raid's id, the evening's number, its pulls."""
        evenings = self.params.evenings_per_team
        for number in range(evenings):
            yield f"raid{self.team.index * evenings + number + 1:03d}", number, tuple(self.evening(number))

    def evening(self, number: int) -> Iterator[Played]:
        """The pulls of an evening, one after the other."""
        rng = np.random.default_rng(self._seed(number))
        self.drift = drift_on(rng, self.drift, number)
        evening = begin_evening(rng, self.world, self.team, number, self.drift)
        week, place = divmod(number, len(WEEKDAYS))
        now_ms = FIRST_EVENING_MS + (7 * week + WEEKDAYS[place]) * DAY_MS
        count = 1 + int(rng.poisson(self.params.pulls_per_evening - 1))
        tries: dict[int, int] = {}
        before, raiders = -1, np.zeros(0, dtype=np.int64)
        for pull_number in range(count):
            boss = self._next_boss(evening, pull_number, count, tries)
            raiders = choose_roster(rng, self.team, evening) if boss != before else swap(rng, self.team, raiders)
            before = boss
            tries[boss] = tries.get(boss, 0) + 1
            played = self._play(evening, boss, raiders, pull_number, now_ms)
            self._knows(evening.difficulty, boss).learn(played.pull, week)
            yield played
            pause_s = pause(rng, played.pull.killed, is_half_time=pull_number + 1 == count // 2)
            now_ms += int(played.pull.rows["ms"][-1]) + int(pause_s * MS)

    def _seed(self, *key: int) -> SeedSequence:
        return SeedSequence(self.params.seed, spawn_key=(self.team.index, *key))

    def _knows(self, difficulty: PlayedDifficulty, boss: int) -> BossKnown:
        return self.known.setdefault((difficulty, boss), BossKnown())

    def _next_boss(self, evening: Evening, pull_number: int, count: int, tries: dict[int, int]) -> int:
        """Those killed before, one by one, for a part of an evening (a week's first begins, its second ends with them).

        Else the first that never was killed.
        """
        bosses = range(len(self.world.bosses))
        knows = {boss: self._knows(evening.difficulty, boss) for boss in bosses}
        farm = [
            boss
            for boss in bosses
            if knows[boss].kills and knows[boss].killed_in_week != evening.week and tries.get(boss, 0) < GIVE_UP_AFTER
        ]
        new = next((boss for boss in bosses if not knows[boss].kills), None)
        begins_with_farm = evening.number % len(WEEKDAYS) == 0
        place = pull_number if begins_with_farm else count - 1 - pull_number
        if farm and (new is None or place < FARM_SHARE * count):
            return farm[0]
        if new is not None:
            return new
        return min(bosses, key=lambda boss: (tries.get(boss, 0), boss))

    def _play(self, evening: Evening, boss: int, raiders: Ints, pull_number: int, start_ms: int) -> Played:
        knows = self._knows(evening.difficulty, boss)
        attempt = Attempt(
            boss=boss,
            difficulty=evening.difficulty,
            raiders=raiders,
            pull_number=knows.pulls + 1,
            trials_seen=knows.trials_seen.copy(),
            pull_of_evening=pull_number + 1,
            form=evening.form,
            item_levels=evening.item_levels,
            rhythm=rhythm(self.params),
            style_strength=self.params.style_strength,
        )
        seed = self._seed(evening.number, pull_number)
        rng = np.random.default_rng(seed)
        fight = prepare(rng, self.world, self.abilities, self.team, evening.entities, attempt)
        stream = dict(rng.bit_generator.state)
        return Played(start_ms, attempt, fight, simulate_pull(rng, fight), seed, stream)


def play_season(params: Simulate, team_index: int) -> Iterator[Raid]:
    """All evenings of one team, one after the other."""
    season = Season(params, team_index)
    for raid_id, _, played in season.raids():
        yield Raid(raid_id, raid_frame_of(raid_id, season, played), played)


def raid_frame_of(raid_id: str, season: Season, played: tuple[Played, ...]) -> pl.DataFrame:
    """An evening's events in the columns of the wire."""
    entities = team_entities(season.world, season.team, played[0].attempt.item_levels)
    # A key below the last pull's own, from which nothing else draws.
    key = (*played[-1].seed.spawn_key, IDS_KEY)
    rng = np.random.default_rng(SeedSequence(played[-1].seed.entropy, spawn_key=key))
    pulls = [_events(season.world, one) for one in played]
    return raid_frame(raid_id, season.team.team_id, pulls, entities, season.abilities, rng)


def _events(world: World, played: Played) -> PulledEvents:
    boss = world.bosses[played.attempt.boss]
    return PulledEvents(
        rows=played.pull.rows,
        start_ms=played.start_ms,
        encounter_name=boss.name,
        difficulty=played.attempt.difficulty,
        boss_id=f"boss-{boss.slug}",
        raid_size=len(played.attempt.raiders),
        killed=played.pull.killed,
    )


def rhythm(params: Simulate) -> float:
    """Actions relative to the real rhythm that give about `num_events_per_raid` events in an evening of mean length.

    `events_per_evening` solved for the square root of the rhythm.
    """
    per_pull = params.num_events_per_raid / params.pulls_per_evening - (MEAN_RAID_SIZE + 2)
    free = max(per_pull / MEAN_PULL_S - EVENTS_OF_BOSS_PER_S, 0.0)
    a, b = _events_per_s()
    root = (-b + np.sqrt(b * b + 4 * a * free)) / (2 * a)
    # So few events that what the boss does is more: still a few actions.
    return float(max(root * root, LEAST_RHYTHM))


def events_per_evening(rhythm: float, pulls_per_evening: float) -> int:
    """About how many events an evening has at a rhythm.

    Healers' actions go with the square root of the rhythm (`setup`), what the boss does not at all.
    """
    others, healers = _events_per_s()
    per_second = others * rhythm + healers * np.sqrt(rhythm) + EVENTS_OF_BOSS_PER_S
    return round(float(pulls_per_evening * (MEAN_PULL_S * per_second + MEAN_RAID_SIZE + 2)))


def pause(rng: Generator, was_killed: bool, is_half_time: bool) -> float:
    """From a pull's end to the next pull, s."""
    gap_s = GAP_MEDIAN_S * np.exp(rng.normal(0, GAP_LOG_SD))
    way_s = TRASH_S * rng.uniform(*TRASH_SPREAD) if was_killed else 0.0
    return float(gap_s + way_s + (BREAK_S if is_half_time else 0.0))


def drift_on(rng: Generator, drift: Floats, evening: int) -> Floats:
    """How far each player's attendance is from the own mean, an evening later."""
    kept = ATTENDANCE_KEPT if evening else 0.0
    moved: Floats = kept * drift + ATTENDANCE_DRIFT * np.sqrt(1 - kept**2) * rng.normal(size=len(drift))
    return moved


def _events_per_s() -> tuple[float, float]:
    """Of the raiders who do not heal and of the healers, at the real rhythm."""
    roles = load().roles
    healers = HEALERS_SHARE * MEAN_RAID_SIZE / roles["healer"].gap_s
    others = (1 - HEALERS_SHARE) * MEAN_RAID_SIZE / roles["dps"].gap_s
    return DEALT_PER_ACTION * others, DEALT_PER_ACTION * healers


def begin_evening(rng: Generator, world: World, team: Team, number: int, drift: Floats) -> Evening:
    """The team on its evening with this number, counted from 0."""
    difficulty = EASIER[team.difficulty] if rng.random() < EASIER_EVENING_CHANCE else team.difficulty
    average = world.difficulties[team.difficulty].item_level + ITEM_LEVEL_PER_EVENING * number
    item_levels = average + np.array([player.item_level_offset for player in team.players])
    attendance = np.array([player.attendance for player in team.players])
    return Evening(
        number=number,
        difficulty=difficulty,
        form=float(team.skill + rng.normal(0, EVENING_FORM_SD)),
        item_levels=item_levels,
        attendance=attendance + drift,
        entities=team_entities(world, team, item_levels),
    )


def choose_roster(rng: Generator, team: Team, evening: Evening) -> Ints:
    """The players of the raid, as many of each role as the team takes, by attendance; in the pool's order."""
    keys = evening.attendance + rng.normal(0, BOSS_NOISE_OF_ATTENDANCE, size=len(evening.attendance))
    roles = np.array([player.role for player in team.players])
    chosen = []
    for role, count in team.roles.items():
        pool = np.flatnonzero(roles == role)
        chosen.append(pool[np.argsort(-keys[pool])[:count]])
    return np.sort(np.concatenate(chosen))


def swap(rng: Generator, team: Team, raiders: Ints) -> Ints:
    """Now and then one player makes room for another of the same role between two pulls of a boss."""
    if rng.random() >= SWAP_BETWEEN_PULLS:
        return raiders
    leaving = int(rng.integers(len(raiders)))
    role = team.players[raiders[leaving]].role
    waiting = [index for index, player in enumerate(team.players) if player.role == role and index not in raiders]
    if not waiting:
        return raiders
    changed = raiders.copy()
    changed[leaving] = waiting[int(rng.integers(len(waiting)))]
    return np.sort(changed)
