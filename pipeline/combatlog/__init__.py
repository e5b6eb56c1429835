"""Combat logs of the game: `WoWCombatLog.txt` to the events of the contract.

One log is one raid. A log is read as a stream (`reader`), its lines are taken apart by a table of layouts (`lines`,
`layouts`, `clock`), pulls, pets and bosses found (`pulls`, `units`), and the columns of the wire made (`translate`).
Dungeon encounters are left out unless `import_logs.include_dungeons` is set.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import parallel, params, paths, settings, wire
from pipeline.combatlog.importer import Log
from pipeline.combatlog.report import Books, as_json, summary, totals
from pipeline.combatlog.sidefile import SideFile, find_logs, read_side_file
from pipeline.errors import PipelineError
from pipeline.progress import console
from pipeline.wire import WIRE_SCHEMA

REPORT = "import-report.json"
METRICS = paths.METRICS / "import_logs.json"


@dataclass(frozen=True)
class Task:
    """One log to import."""

    log: Path
    stated: SideFile
    include_dungeons: bool
    folder: Path
    """Where its raid goes."""


@dataclass(frozen=True)
class Imported:
    """A log that was imported."""

    log: Path
    sha256: str
    raid_id: str
    books: Books


def run() -> None:
    """Import the logs of `data/raw/` into `data/imported/`.

    Raises:
        PipelineError: a log cannot be imported, or two logs are the same raid.
    """
    include_dungeons = params.load().import_logs.include_dungeons
    logs = find_logs(paths.RAW)
    with paths.replacing_folder(paths.IMPORTED) as folder:
        (folder / "raids").mkdir()
        tasks = [Task(log, read_side_file(log), include_dungeons, folder) for log in logs]
        _check_raids(tasks)
        imported = parallel.map_raids(import_to_file, tasks, settings.load().workers, "import_logs", unit="logs")
        report = [_entry(one) for one in imported]
        (folder / REPORT).write_bytes(_json({"logs": report}))
    paths.write_atomically(METRICS, _json(totals(one.books for one in imported)))
    for one in imported:
        console.print(f"{one.log.name}, raid {one.raid_id}: " + "\n".join(summary(one.books)))


def import_log(
    file: Path,
    url: str | None = None,
    year: int | None = None,
    utc_offset: str | None = None,
    raid_id: str | None = None,
    keep: bool = False,
) -> None:
    """Read a log and post its events to a running receiver.

    Args:
        file: a WoWCombatLog*.txt, plain or .gz.
        url: the receiver's; by default the one of FLASK_HOST and FLASK_PORT.
        year: of the log's first line, where neither the log nor a side file beside it names one.
        utc_offset: like +02:00, likewise.
        raid_id: by default made from the log's date and first lines.
        keep: also copy the log, and what was stated, into `data/raw/`.

    Raises:
        PipelineError: the log cannot be read, something that it does not say was not stated, or it was not delivered.
    """
    from pipeline.combatlog import delivery  # the stage needs no HTTP client

    delivery.deliver_log(file, url, delivery.stated(file, year, utc_offset, raid_id), keep)


def import_to_file(task: Task) -> Imported:
    """Import one log into its raid's Parquet file."""
    log = Log(task.log, task.stated, task.include_dungeons)
    frames = [_narrow(frame) for frame in log.frames()]
    events = pl.concat(frames, how="diagonal") if frames else pl.DataFrame(schema=WIRE_SCHEMA)
    wire.write_raid(wire.event_frame(events), task.folder, log.raid_id)
    with task.log.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return Imported(task.log, sha256, log.raid_id, log.books)


def _narrow(frame: pl.DataFrame) -> pl.DataFrame:
    """Without the columns that hold nothing: most of the wire's belong to few events."""
    return frame.drop(column.name for column in frame if column.null_count() == frame.height)


def _check_raids(tasks: list[Task]) -> None:
    logs: dict[str, list[str]] = {}
    for task in tasks:
        raid_id = Log(task.log, task.stated, task.include_dungeons).raid_id
        logs.setdefault(raid_id, []).append(task.log.name)
    for raid_id, names in logs.items():
        if len(names) > 1:
            raise PipelineError(
                f"{paths.RAW}: {' and '.join(names)} are both raid {raid_id}: remove the copy, or give one another "
                f"raid_id in its side file ({names[-1]}.yaml)"
            )


def _entry(one: Imported) -> dict[str, Any]:
    return {"file": one.log.name, "sha256": one.sha256, "raid_id": one.raid_id} | as_json(one.books)


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
