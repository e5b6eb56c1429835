"""What the simulation knows and no stage may read but the scoring: styles, skills, faults, and chances to win."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.random import SeedSequence

from pipeline.simulate import engine
from pipeline.simulate.fight import Count, begin, empty_log
from pipeline.simulate.pull import outcome_from
from pipeline.simulate.season import Played, Season

PLAYS = {"normal": 64, "heroic": 64, "mythic": 128}
"""How often a held-out pull is played on from a moment."""
HELD_OUT_KEY, FRESH_KEY = 1, 2
WIN_PROBABILITY_SCHEMA = pl.Schema(
    {
        "raid_id": pl.String(),
        "encounter_id": pl.String(),
        "horizon_s": pl.Int64(),
        "plays": pl.Int64(),
        "win_probability": pl.Float64(),
    }
)
FILES = ("players", "pulls", "faults", "win_probability")


def players(season: Season) -> pl.DataFrame:
    """A team's pool: team_id, player_id, role, specialization, style, skill (standard deviations)."""
    rows = [
        {
            "team_id": season.team.team_id,
            "player_id": player.player_id,
            "role": player.role,
            "specialization": player.specialization,
            "style": player.style,
            "skill": player.skill,
        }
        for player in season.team.players
    ]
    return pl.DataFrame(rows)


def pulls(raid_id: str, season: Season, played: tuple[Played, ...]) -> pl.DataFrame:
    """What was settled before each pull of an evening."""
    rows = [
        {
            "raid_id": raid_id,
            "encounter_id": encounter_id(raid_id, place),
            "team_id": season.team.team_id,
            "difficulty": one.attempt.difficulty,
            "boss": season.world.bosses[one.attempt.boss].slug,
            "pull_number": one.attempt.pull_number,
            "team_skill": season.team.skill,
            "form": one.attempt.form,
            "chance_of_no_failure": float(np.prod(1 - one.fight.trials["failure"])),
            "killed": one.pull.killed,
        }
        for place, one in enumerate(played)
    ]
    return pl.DataFrame(rows)


def win_probabilities(
    raid_id: str, played: tuple[Played, ...], horizons_s: tuple[int, ...], share: float
) -> Iterator[dict[str, object]]:
    """Of some pulls: in how many of so many continuations with fresh randomness the boss dies, from each moment on."""
    for place, one in enumerate(played):
        # Keys below the pull's own, which nothing else draws from: looking at the truth changes no raid.
        held_out = np.random.default_rng(_below(one.seed, HELD_OUT_KEY))
        if held_out.random() >= share:
            continue
        for horizon_s in horizons_s:
            if one.pull.duration_s <= horizon_s:
                continue
            plays = PLAYS[one.attempt.difficulty]
            fresh = np.random.default_rng(_below(one.seed, FRESH_KEY, horizon_s))
            yield {
                "raid_id": raid_id,
                "encounter_id": encounter_id(raid_id, place),
                "horizon_s": horizon_s,
                "plays": plays,
                "win_probability": _share_won(one, horizon_s, plays, fresh),
            }


def _share_won(played: Played, horizon_s: int, plays: int, fresh: np.random.Generator) -> float:
    rng = played.at_the_pull()
    state = begin(played.fight, rng)
    engine.play(played.fight, state, empty_log(0), rng, float(horizon_s))
    assert not state.counts[Count.IS_OVER]
    return sum(outcome_from(played.fight, state, fresh) for _ in range(plays)) / plays


def encounter_id(raid_id: str, place: int) -> str:
    """The id of a raid's pull, counted from 0."""
    return f"{raid_id}-p{place + 1:02d}"


def _below(seed: SeedSequence, *key: int) -> SeedSequence:
    return SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key))


def write(folder: Path, name: str, parts: list[pl.DataFrame]) -> None:
    """One file of the truth, all teams together; none where there are no teams."""
    folder.mkdir(parents=True, exist_ok=True)
    if parts:
        pl.concat(parts).write_parquet(folder / f"{name}.parquet", compression="zstd", compression_level=3)
