"""Features: what is known of a pull before it and in its first seconds, and how each player behaved in it.

Nothing here looks at the end of a fight: a pull's features of its first T seconds come from the seconds before T, its
history from pulls that began earlier.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline import gold, parallel, params, paths, settings
from pipeline.errors import PipelineError
from pipeline.features import behaviour, early, history
from pipeline.tables import FEATURE_TABLES, conform, read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["player_behaviour", "pull_features", "run"]

PART = "v1/part-0.parquet"


@dataclass(frozen=True)
class _RaidTask:
    raid_id: str
    pulls: pl.DataFrame
    players: pl.DataFrame
    horizons_s: tuple[int, ...]


def run() -> None:
    """Read `data/gold`, write `data/features` and `reports/metrics/features.json`.

    Raises:
        PipelineError: Gold is missing.
    """
    horizons = params.load().features.horizons_s
    pulls, players = gold.read("raid_summary"), gold.read("player_raid_stats")
    tasks = [
        _RaidTask(raid_id, pulls.filter(raid_id=raid_id), players.filter(raid_id=raid_id), horizons)
        for raid_id in pulls["raid_id"].unique(maintain_order=True)
    ]
    parts = parallel.map_raids(_raid_features, tasks, settings.load().workers, "features")
    tables = {
        "pull_features": _pull_features(pulls, [seconds for seconds, _ in parts]),
        "player_behaviour": _gathered([styles for _, styles in parts], "player_behaviour"),
    }
    with paths.replacing_folder(paths.FEATURES) as target:
        for name, frame in tables.items():
            write_table(frame, FEATURE_TABLES[name], target / name / PART, {"rows": str(frame.height)})
    metrics = _metrics(pulls, tables["pull_features"], tables["player_behaviour"], horizons)
    paths.write_atomically(paths.METRICS / "features.json", (json.dumps(metrics, indent=2) + "\n").encode())


def pull_features() -> "pd.DataFrame":
    """One row per pull and horizon, for the pulls that were still running then.

    Raises:
        PipelineError: there are no features yet.
    """
    return _table("pull_features").to_pandas()


def player_behaviour() -> "pd.DataFrame":
    """One row per pull and player: rates per second alive, and shares.

    Raises:
        PipelineError: there are no features yet.
    """
    return _table("player_behaviour").to_pandas()


def _raid_features(task: _RaidTask) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What one raid's seconds say: the early features of its pulls and the behaviour of its players."""
    raid_seconds, player_seconds = gold.read("raid_timeline", task.raid_id), gold.read("player_timeline", task.raid_id)
    firsts = [
        early.first_seconds(task.pulls, raid_seconds, player_seconds, task.players, horizon)
        for horizon in task.horizons_s
    ]
    return pl.concat(firsts), behaviour.player_behaviour(task.players, task.pulls, player_seconds)


def _pull_features(pulls: pl.DataFrame, firsts: list[pl.DataFrame]) -> pl.DataFrame:
    key = ["raid_id", "encounter_id"]
    if not firsts:
        return _gathered([], "pull_features")
    before = history.known_before(pulls)
    return (
        pl.concat(firsts)
        .join(before, on=key, how="left")
        .pipe(conform, FEATURE_TABLES["pull_features"])
        .sort(*key, "horizon_s")
    )


def _gathered(frames: list[pl.DataFrame], name: str) -> pl.DataFrame:
    empty = read_table([], FEATURE_TABLES[name])
    return pl.concat([empty, *(frame.pipe(conform, FEATURE_TABLES[name]) for frame in frames)])


def _table(name: str) -> pl.DataFrame:
    file = paths.project_root() / paths.FEATURES / name / PART
    if not file.is_file():
        raise PipelineError(f"{file} is missing: make it with `dvc repro features` or fetch it with `dvc pull`")
    return read_table([file], FEATURE_TABLES[name])


def _metrics(
    pulls: pl.DataFrame, features: pl.DataFrame, behaviours: pl.DataFrame, horizons: tuple[int, ...]
) -> dict[str, Any]:
    running = {str(horizon): features.filter(horizon_s=horizon).height for horizon in horizons}
    return {
        "pulls": pulls.height,
        "running": running,
        "ended_before": {horizon: pulls.height - count for horizon, count in running.items()},
        "ended_before_share": {
            horizon: round(1 - count / pulls.height, 4) if pulls.height else None for horizon, count in running.items()
        },
        "player_pulls": behaviours.height,
    }
