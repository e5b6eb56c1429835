"""A team's season, played at the real rhythm and reduced to one row of figures per pull."""

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.calibrate.calibration import Calibration
from pipeline.events import EVENT_TYPES
from pipeline.params import Simulate
from pipeline.simulate import NO_FAULTS
from pipeline.simulate.abilities import NONE, Floats, Ints
from pipeline.simulate.rows import Rows
from pipeline.simulate.season import Played, Season, events_per_evening
from pipeline.simulate.teams import DIFFICULTY_TURNS
from pipeline.simulate.world import PlayedDifficulty

SHORTEST_LISTED_S = 20
"""Warcraft Logs drops shorter pulls, so the real figures lack them."""
SERIES = ["team", "difficulty", "boss"]
PULLS = pl.Schema(
    {
        "team": pl.Int64(),
        "difficulty": pl.String(),
        "evening": pl.Int64(),
        "start_s": pl.Float64(),
        "pull_of_evening": pl.Int64(),
        "boss": pl.Int64(),
        "killed": pl.Boolean(),
        "duration_s": pl.Float64(),
        "health_left": pl.Float64(),  # %
        "deaths": pl.Int64(),
        "dead_at_end": pl.Int64(),
        "quarter_dead_s": pl.Float64(),  # when a quarter of the raid was dead, or null
        "heals": pl.Int64(),
        "wasted_heals": pl.Int64(),  # those that were nothing but overheal
        # By raider, in one order:
        "raiders": pl.List(pl.Int64()),
        "roles": pl.List(pl.String()),
        "classes": pl.List(pl.String()),
        "specializations": pl.List(pl.String()),
        "item_levels": pl.List(pl.Float64()),
        "casts_per_minute": pl.List(pl.Float64()),
        "damage_per_second": pl.List(pl.Float64()),  # with the pet's
    }
)
"""The rows of `measure`."""


@dataclass(frozen=True)
class SeasonTask:
    """One team's season."""

    section: Simulate
    team_index: int


def tasks(calibration: Calibration) -> list[SeasonTask]:
    """The seasons to play."""
    made = []
    for group in calibration.groups:
        turns = (index for index in itertools.count() if difficulty_of(index) == group.difficulty)
        section = Simulate(
            seed=calibration.seed,
            teams=0,
            evenings_per_team=group.evenings,
            pulls_per_evening=group.pulls_per_evening,
            num_events_per_raid=events_per_evening(calibration.rhythm, group.pulls_per_evening),
            style_strength=calibration.style_strength,
            win_probability_share=0.0,
            faults=NO_FAULTS,
        )
        made += [SeasonTask(section, index) for index in itertools.islice(turns, group.teams)]
    return made


def difficulty_of(team_index: int) -> PlayedDifficulty:
    """What a team raids in most evenings."""
    return DIFFICULTY_TURNS[team_index % len(DIFFICULTY_TURNS)]


def measure(task: SeasonTask) -> pl.DataFrame:
    """Play a team's season and keep one row of figures per pull."""
    season = Season(task.section, task.team_index)
    evenings = range(task.section.evenings_per_team)
    rows = [pull_row(season, number, played) for number in evenings for played in season.evening(number)]
    return pl.DataFrame(rows, schema=PULLS)


def pull_row(season: Season, evening: int, played: Played) -> dict[str, object]:
    """A pull's figures."""
    at, pull, events = played.attempt, played.pull, played.pull.rows
    players = [season.team.players[index] for index in at.raiders]
    heals = _of_type(events, "heal")
    died_ms, risen = _of_type(events, "player_death")["ms"], len(_of_type(events, "resurrect"))
    quarter = int(np.ceil(len(players) / 4)) - 1
    return {
        "team": season.team.index,
        "difficulty": at.difficulty,
        "evening": evening,
        "start_s": played.start_ms / 1000,
        "pull_of_evening": at.pull_of_evening,
        "boss": at.boss,
        "killed": pull.killed,
        "duration_s": pull.duration_s,
        "health_left": 100 * pull.boss_health_left,
        "deaths": len(died_ms),
        "dead_at_end": len(died_ms) - risen,
        "quarter_dead_s": died_ms[quarter] / 1000 if quarter < len(died_ms) else None,
        "heals": len(heals),
        "wasted_heals": int((heals["overheal_amount"] >= heals["healing_amount"]).sum()),
        "raiders": at.raiders.tolist(),
        "roles": [player.role for player in players],
        "classes": [player.player_class for player in players],
        "specializations": [player.specialization for player in players],
        "item_levels": at.item_levels[at.raiders].tolist(),
        "casts_per_minute": (60 * casts(played) / pull.duration_s).tolist(),
        "damage_per_second": (damage(played) / pull.duration_s).tolist(),
    }


def casts(played: Played) -> Floats:
    """How often each raider cast."""
    source, raiders = _of_type(played.pull.rows, "spell_cast")["source"], played.attempt.raiders
    counts: Ints = np.bincount(source, minlength=int(raiders.max()) + 1)
    return counts[raiders].astype(np.float64)


def damage(played: Played) -> Floats:
    """What each raider did to the boss and its adds, with the pet's, points."""
    hits, raiders, pets = _of_type(played.pull.rows, "combat_damage"), played.attempt.raiders, played.fight.raid["pet"]
    last = int(max(raiders.max(), pets.max()))
    by_source = np.bincount(hits["source"], weights=hits["damage_amount"], minlength=last + 1).astype(np.float64)
    done: Floats = by_source[raiders] + np.where(pets == NONE, 0.0, by_source[pets])
    return done


def _of_type(events: Rows, event_type: str) -> Rows:
    found: Rows = events[events["event_type"] == EVENT_TYPES.index(event_type)]
    return found


def listed(pulls: pl.DataFrame) -> pl.DataFrame:
    """Those that Warcraft Logs lists."""
    return pulls.filter(pl.col("killed") | (pl.col("duration_s") >= SHORTEST_LISTED_S))


def number_the_pulls(pulls: pl.DataFrame) -> pl.DataFrame:
    """Each pull's number for its team on its boss, from 1, and how often they had killed it before."""
    killed = pl.col("killed").cast(pl.Int64)
    return pulls.sort("team", "start_s").with_columns(
        pl.col("killed").cum_count().over(SERIES).cast(pl.Int64).alias("number"),
        (killed.cum_sum().over(SERIES) - killed).alias("kills_before"),
    )
