"""Gold: the tables that notebooks, models and reports read, and the stage that builds them.

What every column means is in `docs/gold.md`; the contracts are in `tables`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline import parallel, params, paths, settings, silver
from pipeline.errors import PipelineError
from pipeline.gold import dimensions, players, summary, timelines
from pipeline.gold.fights import COLUMNS, fights_of
from pipeline.tables import (
    GOLD_TABLES,
    OUTCOMES,
    SilverEvents,
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
    "batches",
    "build",
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
BATCH_BYTES = 8 * 2**20
"""How much of Silver becomes Gold at once: some 130,000 events, enough to make up for the start and little to hold."""
BATCHES_WORTH_A_PROCESS = 10
"""A process begins in about the time in which one core makes so many."""


@dataclass(frozen=True)
class RaidGold:
    """The tables of a raid or of several, and what the dimensions need of them."""

    raid_summary: pl.DataFrame
    player_raid_stats: pl.DataFrame
    raid_timeline: pl.DataFrame
    player_timeline: pl.DataFrame
    facts: pl.DataFrame
    events_outside_pulls: int


@dataclass(frozen=True)
class _Batch:
    files: list[Path]
    target: Path
    params: params.Gold


@dataclass(frozen=True)
class _Parts:
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
        whole, events_outside_pulls = build(paths.SILVER, target, section, settings.load().workers)
    metrics = _metrics(whole, events_outside_pulls)
    paths.write_atomically(paths.METRICS / "gold.json", (json.dumps(metrics, indent=2) + "\n").encode())


def build(source: Path, target: Path, params: params.Gold, workers: int) -> tuple[dict[str, pl.DataFrame], int]:
    """Make a folder of Silver to a folder of Gold.

    Returns:
        The tables that span all raids, by name, and how many events lie outside pulls.

    Raises:
        PipelineError: the books do not balance.
    """
    tasks = [_Batch(files, target, params) for files in batches(source)]
    in_threads = len(tasks) < BATCHES_WORTH_A_PROCESS * workers
    parts = parallel.map_raids(_build_and_write, tasks, workers, "gold", unit="batches of raids", in_threads=in_threads)
    whole = _gathered(parts)
    for name, frame in whole.items():
        write_table(frame, GOLD_TABLES[name], _file(target, name), {"rows": str(frame.height)})
    return whole, sum(part.events_outside_pulls for part in parts)


def raid_gold(events: pl.DataFrame, params: params.Gold) -> RaidGold:
    """All tables of a raid, or of several raids.

    Args:
        events: their Silver events (at least `fights.COLUMNS` of `tables.SilverEvents`), sorted by (raid_id, timestamp,
            event_id).
        params: the section `gold` of `params.yaml`.

    Raises:
        PipelineError: the events are not in that order, or the books do not balance.
    """
    _check_order(events)
    fights = fights_of(events)
    seconds = timelines.player_seconds(fights)
    pulls = summary.summarise_pulls(fights, params)
    inside, outside = int(pulls["n_events"].sum()), events["encounter_id"].null_count()
    if events.height != inside + outside:
        raise PipelineError(
            f"gold: the books do not balance: {events.height} events in Silver, but {inside} in pulls and "
            f"{outside} outside; this is a fault of the pipeline, please report it"
        )
    return RaidGold(
        raid_summary=pulls,
        player_raid_stats=players.player_stats(fights, seconds, pulls),
        raid_timeline=timelines.raid_timeline(fights, seconds),
        player_timeline=timelines.player_timeline(fights, seconds),
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


def _check_order(events: pl.DataFrame) -> None:
    raid, moment = pl.col("raid_id"), pl.col("timestamp")
    follows = (raid > raid.shift()) | ((raid == raid.shift()) & (moment >= moment.shift()))
    if not events.select(follows.all()).item():
        raise PipelineError(
            "gold: the events are not in order of (raid_id, timestamp), as Silver is to keep them: make Silver again "
            "with `dvc repro silver`"
        )


def batches(folder: Path) -> Iterator[list[Path]]:
    """The raids' files, whole raids together up to BATCH_BYTES: one raid alone costs more to begin than to compute."""
    batch: list[Path] = []
    held = 0
    for raid_id in silver.raid_ids(folder):
        files = silver.event_files(folder, raid_id)
        size = sum(file.stat().st_size for file in files)
        if batch and held + size > BATCH_BYTES:
            yield batch
            batch, held = [], 0
        batch, held = batch + files, held + size
    if batch:
        yield batch


def _build_and_write(batch: _Batch) -> _Parts:
    # One chunk instead of one for each file: Polars otherwise spends most of its time on them.
    gold = raid_gold(read_table(batch.files, SilverEvents, COLUMNS).rechunk(), batch.params)
    for name, frame in {"raid_timeline": gold.raid_timeline, "player_timeline": gold.player_timeline}.items():
        for raid_id, part in _by_raid(frame):
            metadata = {"raid_id": raid_id, "rows": str(part.height)}
            write_table(part, GOLD_TABLES[name], _file(batch.target, name, raid_id), metadata)
    return _Parts(gold.raid_summary, gold.player_raid_stats, gold.facts, gold.events_outside_pulls)


def _by_raid(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """The raids' parts of a table that is sorted by raid, without copying them."""
    begin = 0
    for height, raid_id in frame["raid_id"].rle().struct.unnest().iter_rows():
        yield raid_id, frame.slice(begin, height)
        begin += height


def _gathered(parts: list[_Parts]) -> dict[str, pl.DataFrame]:
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
        "resets": int(pulls["is_reset"].sum()),
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
