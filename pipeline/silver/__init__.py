"""The stage that cleans, deduplicates and enriches Bronze, one raid at a time."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow
import pyarrow.parquet as pq

from pipeline import bronze, parallel, params, paths, settings
from pipeline.errors import PipelineError
from pipeline.silver.clean import SilverResult, clean_raid
from pipeline.silver.parse import Batch
from pipeline.tables import REASONS, Quarantine, SilverEvents, read_table, write_table

__all__ = [
    "Batch",
    "RaidBooks",
    "RaidTask",
    "SilverResult",
    "clean_and_write",
    "clean_raid",
    "event_files",
    "raid_ids",
    "read_events",
    "run",
    "stated_counts",
]

EVENTS = "wow_raid_events/v1"
QUARANTINE = "quarantine/v1"
PART = "part-0.parquet"
COUNTS = ("bronze_events", "silver_rows", "duplicates_removed", "quarantined")
"""What each file states of its whole raid."""


@dataclass(frozen=True)
class RaidTask:
    """A raid's objects in Bronze (rows of the manifest), where they lie, and the folder of Silver that it goes into."""

    raid_id: str
    objects: pl.DataFrame
    source: Path
    target: Path
    params: params.Silver


@dataclass(frozen=True)
class StatedCounts:
    """What the files of one raid say of the whole raid."""

    bronze_events: int = 0
    silver_rows: int = 0
    duplicates_removed: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RaidBooks:
    """The counts of one raid that the stage's metrics add up."""

    bronze_events: int
    silver_rows: int
    duplicates_removed: int
    quarantined: dict[str, int]
    massive_hits: int
    files: int


def run() -> None:
    """Read `data/bronze`, write `data/silver` and `reports/metrics/silver.json`.

    Raises:
        PipelineError: Bronze is missing or damaged, or the books do not balance.
    """
    section = params.load().silver
    manifest = bronze.read_manifest(paths.BRONZE)
    with paths.replacing_folder(paths.SILVER) as target:
        tasks = [
            RaidTask(raid_id, bronze.raid_batches(manifest, raid_id), paths.BRONZE, target, section)
            for raid_id in manifest["raid_id"].unique().sort()
        ]
        books = parallel.map_raids(clean_and_write, tasks, settings.load().workers, "silver")
        metrics = _metrics(books)
        _balance(metrics, expected=int(manifest["event_count"].sum()))
    paths.write_atomically(paths.METRICS / "silver.json", (json.dumps(metrics, indent=2) + "\n").encode())


def raid_ids(silver: Path) -> list[str]:
    """The raids that have rows in a Silver folder, sorted."""
    return sorted(folder.name.removeprefix("raidid=") for folder in (silver / EVENTS).glob("raidid=*"))


def event_files(silver: Path, raid_id: str) -> list[Path]:
    """The files of one raid's events, by day."""
    return sorted((silver / EVENTS / f"raidid={raid_id}").glob(f"eventdate=*/{PART}"))


def read_events(silver: Path, raid_id: str) -> pl.DataFrame:
    """One raid's Silver events (`tables.SilverEvents`), sorted by (timestamp, event_id)."""
    return read_table(event_files(silver, raid_id), SilverEvents)


def stated_counts(silver: Path, raid_id: str) -> StatedCounts:
    """What became of one raid's events, as its files state it; nothing, of a raid that has none.

    Raises:
        PipelineError: a file is damaged.
    """
    quarantined = silver / QUARANTINE / f"raidid={raid_id}" / PART
    file = next((file for file in (*event_files(silver, raid_id), quarantined) if file.exists()), None)
    if file is None:
        return StatedCounts()
    try:
        stated = pq.read_schema(file).metadata
        counts = {name: json.loads(stated[name.encode()]) for name in COUNTS}
    except (pyarrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise PipelineError(f"{file}: is damaged ({str(error).strip()}): {paths.how_to_mend(file)}") from error
    return StatedCounts(**counts)


def clean_and_write(task: RaidTask) -> RaidBooks:
    """Bring one raid from Bronze to Silver.

    Raises:
        PipelineError: an object is missing or damaged, or the raid's books do not balance.
    """
    bodies = bronze.read_objects(task.source, task.objects)
    objects = task.objects.select("key", "batch_id", "raid_id", "ingest_timestamp", "event_count")
    rows = objects.iter_rows(named=True)
    batches = [Batch(body=body, **row) for row, body in zip(rows, bodies, strict=True)]
    result = clean_raid(batches, task.params)
    return RaidBooks(
        bronze_events=result.bronze_events,
        silver_rows=result.events.height,
        duplicates_removed=result.duplicates_removed,
        quarantined=result.quarantined,
        massive_hits=result.massive_hits,
        files=_write(result, task.target, task.raid_id),
    )


def _write(result: SilverResult, target: Path, raid_id: str) -> int:
    """Write a raid's files and say how many; each one states the counts of the whole raid."""
    counts = {
        "raid_id": raid_id,
        "bronze_events": str(result.bronze_events),
        "silver_rows": str(result.events.height),
        "duplicates_removed": str(result.duplicates_removed),
        "quarantined": json.dumps(result.quarantined),
    }
    days = result.events["event_date"].unique().sort()
    for day in days:
        events = result.events.filter(pl.col("event_date") == day)
        file = target / EVENTS / f"raidid={raid_id}" / f"eventdate={day}" / PART
        write_table(events, SilverEvents, file, {**counts, "rows": str(events.height)})
    if result.quarantine.is_empty():
        return len(days)
    write_table(result.quarantine, Quarantine, target / QUARANTINE / f"raidid={raid_id}" / PART, counts)
    return len(days) + 1


def _metrics(books: list[RaidBooks]) -> dict[str, Any]:
    return {
        "bronze_events": sum(each.bronze_events for each in books),
        "silver_rows": sum(each.silver_rows for each in books),
        "duplicates_removed": sum(each.duplicates_removed for each in books),
        "quarantined": {reason: sum(each.quarantined[reason] for each in books) for reason in REASONS},
        "massive_hits": sum(each.massive_hits for each in books),
        "raids": len(books),
        "files": sum(each.files for each in books),
    }


def _balance(metrics: dict[str, Any], expected: int) -> None:
    quarantined = sum(metrics["quarantined"].values())
    accounted = metrics["silver_rows"] + metrics["duplicates_removed"] + quarantined
    if not expected == metrics["bronze_events"] == accounted:
        raise PipelineError(
            f"silver: the books do not balance: the manifest counts {expected} events, {metrics['bronze_events']} were "
            f"read and {accounted} accounted for; this is a fault of the pipeline, please report it"
        )
