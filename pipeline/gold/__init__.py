"""Gold: the tables that notebooks, models and reports read, and the stage that builds them.

What every column means is in `docs/gold.md`; the contracts are in `tables`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline import parallel, params, paths, settings, silver
from pipeline.errors import PipelineError
from pipeline.gold import dimensions, players, summary, timelines
from pipeline.gold.fights import fights_of
from pipeline.tables import (
    GOLD_TABLES,
    OUTCOMES,
    Table,
    arrow_schema,
    nullable_columns,
    polars_schema,
    read_table,
    write_table,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "RaidGold",
    "dim_player",
    "dim_raid",
    "player_raid_stats",
    "player_timeline",
    "raid_gold",
    "raid_summary",
    "raid_timeline",
    "read",
    "run",
]

PART = "part-0.parquet"


@dataclass(frozen=True)
class RaidGold:
    """The tables of one raid, and what the dimensions need of it."""

    raid_summary: pl.DataFrame
    player_raid_stats: pl.DataFrame
    raid_timeline: pl.DataFrame
    player_timeline: pl.DataFrame
    facts: pl.DataFrame
    events_outside_pulls: int


@dataclass(frozen=True)
class _RaidTask:
    raid_id: str
    source: Path
    target: Path
    params: params.Gold


@dataclass(frozen=True)
class _RaidParts:
    raid_summary: pl.DataFrame
    player_raid_stats: pl.DataFrame
    facts: pl.DataFrame
    events_outside_pulls: int


def run() -> None:
    """Read `data/silver`, write `data/gold` and `reports/metrics/gold.json`.

    Raises:
        PipelineError: Silver is missing, or the books do not balance.
    """
    section = params.load().gold
    if not paths.SILVER.is_dir():
        raise PipelineError(f"{paths.SILVER} is missing: make it with `dvc repro silver` or fetch it with `dvc pull`")
    with paths.replacing_folder(paths.GOLD) as target:
        tasks = [_RaidTask(raid_id, paths.SILVER, target, section) for raid_id in silver.raid_ids(paths.SILVER)]
        parts = parallel.map_raids(_build_and_write, tasks, settings.load().workers, "gold")
        whole = _gathered(parts)
        for name, frame in whole.items():
            write_table(frame, GOLD_TABLES[name], _file(target, name), {"rows": str(frame.height)})
    metrics = _metrics(whole, sum(part.events_outside_pulls for part in parts))
    paths.write_atomically(paths.METRICS / "gold.json", (json.dumps(metrics, indent=2) + "\n").encode())


def raid_gold(events: pl.DataFrame, params: params.Gold) -> RaidGold:
    """All tables of one raid.

    Args:
        events: the raid's Silver events (`tables.SilverEvents`), at least one.
        params: the section `gold` of `params.yaml`.

    Raises:
        PipelineError: the books do not balance.
    """
    raid_id = str(events["raid_id"][0])
    fights = fights_of(events)
    seconds = timelines.player_seconds(fights)
    pulls = summary.summarise_pulls(fights, raid_id, params)
    inside, outside = int(pulls["n_events"].sum()), events["encounter_id"].null_count()
    if events.height != inside + outside:
        raise PipelineError(
            f"gold, {raid_id}: the books do not balance: {events.height} events in Silver, but {inside} in pulls and "
            f"{outside} outside; this is a fault of the pipeline, please report it"
        )
    return RaidGold(
        raid_summary=pulls,
        player_raid_stats=players.player_stats(fights, seconds, pulls),
        raid_timeline=timelines.raid_timeline(fights, seconds, raid_id),
        player_timeline=timelines.player_timeline(seconds, raid_id),
        facts=dimensions.raid_facts(events),
        events_outside_pulls=outside,
    )


def read(name: str, raid_id: str | None = None) -> pl.DataFrame:
    """A Gold table as a Polars frame: the whole, or (a timeline) one raid's part.

    Raises:
        PipelineError: Gold is missing, or has no such raid.
    """
    files = [_whole_file(name)] if raid_id is None else _raid_files(name, [raid_id])
    return read_table(files, GOLD_TABLES[name])


def raid_summary() -> "pd.DataFrame":
    """The table `raid_summary`: one row per pull."""
    return _table("raid_summary")


def player_raid_stats() -> "pd.DataFrame":
    """The table `player_raid_stats`: one row per pull and player."""
    return _table("player_raid_stats")


def raid_timeline(raid_id: str | None = None) -> "pd.DataFrame":
    """The table `raid_timeline` of one raid, or of all: one row per pull and second.

    Raises:
        PipelineError: there is no such raid.
    """
    return _timeline("raid_timeline", raid_id)


def player_timeline(raid_id: str | None = None) -> "pd.DataFrame":
    """The table `player_timeline` of one raid, or of all: one row per pull, player and second.

    Raises:
        PipelineError: there is no such raid.
    """
    return _timeline("player_timeline", raid_id)


def dim_player() -> "pd.DataFrame":
    """The table `dim_player`: one row per player."""
    return _table("dim_player")


def dim_raid() -> "pd.DataFrame":
    """The table `dim_raid`: one row per raid."""
    return _table("dim_raid")


def _build_and_write(task: _RaidTask) -> _RaidParts:
    gold = raid_gold(silver.read_events(task.source, task.raid_id), task.params)
    for name, frame in {"raid_timeline": gold.raid_timeline, "player_timeline": gold.player_timeline}.items():
        if not frame.is_empty():
            metadata = {"raid_id": task.raid_id, "rows": str(frame.height)}
            write_table(frame, GOLD_TABLES[name], _file(task.target, name, task.raid_id), metadata)
    return _RaidParts(gold.raid_summary, gold.player_raid_stats, gold.facts, gold.events_outside_pulls)


def _gathered(parts: list[_RaidParts]) -> dict[str, pl.DataFrame]:
    """The tables that span all raids, each sorted by its key."""
    pulls = _concat([part.raid_summary for part in parts], polars_schema(GOLD_TABLES["raid_summary"]))
    stats = _concat([part.player_raid_stats for part in parts], polars_schema(GOLD_TABLES["player_raid_stats"]))
    facts = _concat([part.facts for part in parts], dimensions.FACTS_SCHEMA)
    return {
        "raid_summary": pulls.sort("raid_id", "encounter_id"),
        "player_raid_stats": stats.sort("raid_id", "encounter_id", "player_id"),
        "dim_player": dimensions.players(pulls, stats),
        "dim_raid": dimensions.raids(facts, pulls, stats),
    }


def _concat(frames: list[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def _metrics(whole: dict[str, pl.DataFrame], events_outside_pulls: int) -> dict[str, Any]:
    pulls, raids = whole["raid_summary"], whole["dim_raid"]
    outcomes = {outcome: int((pulls["raid_outcome"] == outcome).sum()) for outcome in OUTCOMES}
    return {
        "raids": raids.height,
        "pulls": pulls.height,
        "outcomes": outcomes,
        "kill_share": round(outcomes["success"] / pulls.height, 4) if pulls.height else None,
        "players": whole["dim_player"].height,
        "player_pulls": whole["player_raid_stats"].height,
        "total_damage": pulls["total_damage"].sum(),
        "total_healing": pulls["total_healing"].sum(),
        "total_player_deaths": pulls["total_player_deaths"].sum(),
        "events_in_pulls": pulls["n_events"].sum(),
        "events_outside_pulls": events_outside_pulls,
    }


def _file(folder: Path, name: str, raid_id: str | None = None) -> Path:
    version = folder / name / "v1"
    return (version if raid_id is None else version / f"raidid={raid_id}") / PART


def _whole_file(name: str) -> Path:
    file = _file(paths.project_root() / paths.GOLD, name)
    if not file.is_file():
        raise PipelineError(f"{file} is missing: make it with `dvc repro gold` or fetch it with `dvc pull`")
    return file


def _raid_files(name: str, raid_ids: list[str]) -> list[Path]:
    files = [_file(paths.project_root() / paths.GOLD, name, raid_id) for raid_id in raid_ids]
    return [file for file in files if file.is_file()]  # a raid without pulls has no file


def _table(name: str) -> "pd.DataFrame":
    return _pandas([_whole_file(name)], GOLD_TABLES[name])


def _timeline(name: str, raid_id: str | None) -> "pd.DataFrame":
    known = list(_table("dim_raid")["raid_id"])
    if raid_id is not None and raid_id not in known:
        folder = paths.project_root() / paths.GOLD
        raise PipelineError(f"there is no raid {raid_id} in {folder}; the raids are listed by gold.dim_raid()")
    return _pandas(_raid_files(name, known if raid_id is None else [raid_id]), GOLD_TABLES[name])


def _pandas(files: list[Path], table: Table) -> "pd.DataFrame":
    """numpy-backed columns; integers that may be null as Int64, dates as datetime64."""
    arrow = read_table(files, table).to_arrow().cast(arrow_schema(table))
    integers = {name for name, dtype in polars_schema(table).items() if dtype == pl.Int64}
    frame: pd.DataFrame = arrow.to_pandas(date_as_object=False)
    return frame.astype(dict.fromkeys(sorted(integers & nullable_columns(table)), "Int64"))
