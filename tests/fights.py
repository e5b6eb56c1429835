"""Small seasons of the simulator, and fights taken from them to try things on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.params import Simulate
from pipeline.simulate import NO_FAULTS, engine
from pipeline.simulate.abilities import NONE, SLOTS
from pipeline.simulate.fight import Count, Fight, State, begin, empty_log
from pipeline.simulate.pull import FOREVER_S, outcome_from
from pipeline.simulate.rows import Rows
from pipeline.simulate.season import Played, Season
from pipeline.simulate.setup import prepare
from pipeline.simulate.teams import Player, team_entities
from pipeline.simulate.world import Slot, Style

ROOM = 60_000
MANY_TRIALS = 60


@dataclass(frozen=True)
class Evening:
    """An evening that was played."""

    season: Season
    raid_id: str
    number: int
    pulls: tuple[Played, ...]


def section(**changes: Any) -> Simulate:
    """Four teams, two evenings each, no faults."""
    given: dict[str, Any] = {
        "seed": 5,
        "teams": 4,
        "evenings_per_team": 2,
        "pulls_per_evening": 4.0,
        "num_events_per_raid": 4000,
        "style_strength": 1.0,
        "win_probability_share": 0.0,
        "faults": NO_FAULTS,
    }
    return Simulate(**(given | changes))


def evenings_of(given: Simulate, teams: Sequence[int]) -> list[Evening]:
    """All evenings of some teams."""
    return [
        Evening(season, raid_id, number, pulls)
        for season in (Season(given, index) for index in teams)
        for raid_id, number, pulls in season.raids()
    ]


def practised(evening: Evening, played: Played, seed: int = 0, **changes: Any) -> Fight:
    """The same raid before the same boss, when it knows the fight well."""
    known = {"trials_seen": np.full(MANY_TRIALS, 200), "pull_number": 30, "pull_of_evening": 10}
    return prepared(evening, played, seed, **(known | changes))


def prepared(evening: Evening, played: Played, seed: int = 0, **changes: Any) -> Fight:
    """A pull's fight, made anew with some of the attempt changed and no leader who resets it."""
    season = evening.season
    entities = team_entities(season.world, season.team, played.attempt.item_levels)
    attempt = replace(played.attempt, **changes)
    fight = prepare(np.random.default_rng(seed), season.world, season.abilities, season.team, entities, attempt)
    return with_boss(fight, mispull_s=np.inf)


def with_boss(fight: Fight, **values: float) -> Fight:
    """The fight with another boss."""
    boss = fight.boss.copy()
    for name, value in values.items():
        boss[name] = value
    return fight._replace(boss=boss)


def with_raid(fight: Fight, **values: Any) -> Fight:
    """The fight with other raiders."""
    raid = fight.raid.copy()
    for name, value in values.items():
        raid[name] = value
    return fight._replace(raid=raid)


def with_trials(fight: Fight, failure: float) -> Fight:
    """The fight with every trial failed with this chance."""
    trials = fight.trials.copy()
    trials["failure"] = failure
    return fight._replace(trials=trials)


def without_trials(fight: Fight) -> Fight:
    """The fight with nothing that one error could end."""
    return with_trials(fight, 0.0)


def idle(fight: Fight) -> Fight:
    """The fight with raiders who do nothing by themselves."""
    return with_raid(fight, gap_s=np.inf, pet=NONE)


def busy_with(fight: Fight, slot: Slot, gap_s: float) -> tuple[Fight, int]:
    """The fight with idle raiders but for one, who does nothing but this; and who that is."""
    place = SLOTS.index(slot)
    who = int(np.argmax(np.diff(fight.raid["slot_chance"], axis=1, prepend=0.0)[:, place]))
    chances = (np.arange(len(SLOTS)) >= place).astype(float)
    alone = with_raid(idle(fight), slot_chance=chances)
    alone.raid["gap_s"][who] = gap_s
    return alone, who


HARMLESS = {f"{name}_s": np.inf for name in ("tank_hit", "pulse", "avoidable", "spell", "curse", "wave")}


def harmless(fight: Fight) -> Fight:
    """The fight with a boss that does next to nothing and cannot be killed."""
    return with_boss(
        without_trials(fight), **HARMLESS, tank_hit=0.0, enrage_s=np.inf, health=1e15, mispull_s=np.inf, call_at=1.0
    )


def in_the_style(evening: Evening, style: Style, role: str) -> Evening:
    """The evening's team with every player of a role in one style."""
    return with_players(evening, lambda one: replace(one, style=style) if one.role == role else one)


def with_players(evening: Evening, change: Callable[[Player], Player]) -> Evening:
    """The evening with each player of the team's pool changed."""
    season = Season(evening.season.params, evening.season.team.index)
    season.team = replace(season.team, players=tuple(change(player) for player in season.team.players))
    return replace(evening, season=season)


def played_until(fight: Fight, until_s: float = FOREVER_S, seed: int = 0) -> tuple[State, Rows, float]:
    """The state, what was noted, and the time reached."""
    rng = np.random.default_rng(seed)
    state = begin(fight, rng)
    rows, reached = played_on(fight, state, rng, until_s)
    return state, rows, reached


def played_on(fight: Fight, state: State, rng: np.random.Generator, until_s: float) -> tuple[Rows, float]:
    """What is noted when a state is played on, which changes it, and the time reached."""
    log = empty_log(ROOM)
    reached = engine.play(fight, state, log, rng, until_s)
    noted = int(state.counts[Count.LOGGED])
    assert noted + engine.ROOM_FOR_ONE <= ROOM, "the test needs more room"
    return log.rows[:noted], reached


def kills(fights: Sequence[Fight], times: int = 3) -> int:
    """In how many of so many plays of each fight the boss dies."""
    won = 0
    for number, fight in enumerate(fights):
        for seed in range(times):
            rng = np.random.default_rng((number, seed))
            won += outcome_from(fight, begin(fight, rng), rng)
    return won
