"""One pull: what was settled before it, played out, and what was noted."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pipeline.simulate import engine
from pipeline.simulate.fight import Count, Fight, Log, State, begin, empty_log
from pipeline.simulate.rows import EVENT, Rows, event_rows

ROOM_AT_FIRST = 4096
FOREVER_S = 1e9


@dataclass(frozen=True)
class Pull:
    """What became of a pull."""

    rows: Rows
    killed: bool
    duration_s: float
    trials_met: int
    boss_health_left: float
    """Share."""


def simulate_pull(rng: Generator, fight: Fight) -> Pull:
    """Let a pull unfold and note what happens."""
    state, log = begin(fight, rng), empty_log(ROOM_AT_FIRST)
    duration_s = engine.play(fight, state, log, rng, FOREVER_S)
    while not state.counts[Count.IS_OVER]:
        log = _with_more_room(log)
        duration_s = engine.play(fight, state, log, rng, FOREVER_S)
    noted = log.rows[: state.counts[Count.LOGGED]]
    # The end comes after the last blow, also inside its millisecond.
    end_ms = int(duration_s * 1000) + 1
    rows = np.concatenate(
        [
            event_rows("encounter_start", np.zeros(1, dtype=np.int64), int(fight.boss["entity"][0])),
            event_rows("roster", np.zeros(len(fight.raid), dtype=np.int64), fight.raid["entity"]),
            noted,
            event_rows("encounter_end", np.array([end_ms]), int(fight.boss["entity"][0])),
        ],
        dtype=EVENT,  # else numpy finds out anew what the blocks have in common
    )
    return Pull(
        rows=rows,
        killed=bool(state.counts[Count.IS_KILL]),
        duration_s=duration_s,
        trials_met=int(state.counts[Count.TRIALS]),
        boss_health_left=float(state.boss_health[0] / fight.boss["health"][0]),
    )


def outcome_from(fight: Fight, state: State, rng: Generator) -> bool:
    """Play a copy of a state to its end: whether the boss dies."""
    played = state.copy()
    engine.play(fight, played, empty_log(0), rng, FOREVER_S)
    return bool(played.counts[Count.IS_KILL])


def _with_more_room(log: Log) -> Log:
    return Log(np.concatenate([log.rows, empty_log(len(log.rows)).rows]), log.blank)
