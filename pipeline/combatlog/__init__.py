"""Combat logs of the game: `WoWCombatLog.txt` to the events of the contract.

A log is read as a stream (`reader`), and a pause of some hours divides it into evenings (`evenings`), each a raid
(`raids`). Lines are taken apart by a table of layouts (`lines`, `layouts`, `clock`), pulls, pets and bosses found
(`pulls`, `units`, `players`), and the columns of the wire made (`translate`). Dungeon encounters are left out unless
`import_logs.include_dungeons` is set.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from pipeline import parallel, params, paths, settings, wire
from pipeline.combatlog.importer import Log
from pipeline.combatlog.pseudonyms import Pseudonyms
from pipeline.combatlog.report import Books, as_json, merged, summary, totals
from pipeline.combatlog.sidefile import SideFile, find_logs, read_side_file
from pipeline.errors import PipelineError
from pipeline.progress import console

REPORT = "import-report.json"
METRICS = paths.METRICS / "import_logs.json"


@dataclass(frozen=True)
class Task:
    """One log to import."""

    log: Path
    stated: SideFile
    section: params.ImportLogs
    folder: Path
    """Where its raids go; no other log's do."""


@dataclass(frozen=True)
class ImportedRaid:
    """A raid that was imported from a log."""

    raid_id: str
    books: Books


@dataclass(frozen=True)
class Imported:
    """A log that was imported."""

    log: Path
    sha256: str
    raids: list[ImportedRaid]

    @property
    def books(self) -> Books:
        """Those of all its raids."""
        return merged(raid.books for raid in self.raids)


def run() -> None:
    """Import the logs of `data/raw/` into `data/imported/`.

    Raises:
        PipelineError: a log cannot be imported, or two logs hold the same raid.
    """
    section = params.load().import_logs
    logs = find_logs(paths.RAW)
    with paths.replacing_folder(paths.IMPORTED) as folder:
        tasks = [Task(log, read_side_file(log), section, folder / str(at)) for at, log in enumerate(logs)]
        # The first raid of each is known before anything is read; a copy of a large log is found here.
        _check_raids((task.log, Log(task.log, task.stated, section).raid_id) for task in tasks)
        imported = parallel.map_raids(import_to_folder, tasks, settings.load().workers, "import_logs", unit="logs")
        _check_raids((one.log, raid.raid_id) for one in imported for raid in one.raids)
        _bring_together(folder, tasks)
        (folder / REPORT).write_bytes(_json({"logs": [_entry(one) for one in imported]}))
    paths.write_atomically(METRICS, _json(totals(one.books for one in imported)))
    for one in imported:
        for raid in one.raids:
            console.print(f"{one.log.name}, raid {raid.raid_id}: " + "\n".join(summary(raid.books)))


def import_log(
    file: Path,
    url: str | None = None,
    year: int | None = None,
    utc_offset: str | None = None,
    raid_id: str | None = None,
    keep: bool = False,
    pseudonyms: Pseudonyms | None = None,
) -> None:
    """Read a log and post its events to a running receiver; a pull that is open at its end gets no end yet.

    Args:
        file: a WoWCombatLog*.txt, plain, .gz or .zst.
        url: the receiver's; by default the one of FLASK_HOST and FLASK_PORT.
        year: of the log's first line, where neither the log nor a side file beside it names one.
        utc_offset: like +02:00, likewise.
        raid_id: by default made from the log's date and first lines.
        keep: also copy the log, and what was stated, into `data/raw/`.
        pseudonyms: what stands for the names of players and pets in all of this (`pseudonyms.from_settings`).

    Raises:
        PipelineError: the log cannot be read, something that it does not say was not stated, or it was not delivered.
    """
    from pipeline.combatlog import delivery  # the stage needs no HTTP client

    delivery.deliver_log(file, url, delivery.stated(file, year, utc_offset, raid_id), keep, pseudonyms)


def import_to_folder(task: Task) -> Imported:
    """Import one log: a Parquet file for each of its raids that has events, written as the log is read."""
    log = Log(task.log, task.stated, task.section)
    shutil.rmtree(task.folder, ignore_errors=True)  # of a worker that was killed
    for raid_id, pairs in groupby(log.frames(), key=itemgetter(0)):
        wire.write_raid_parts((frame for _, frame in pairs), task.folder, raid_id)
    with task.log.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return Imported(task.log, sha256, [ImportedRaid(raid.raid_id, raid.books) for raid in log.raids])


def _bring_together(folder: Path, tasks: list[Task]) -> None:
    (folder / "raids").mkdir()
    for task in tasks:
        for file in wire.raid_files(task.folder):
            file.rename(wire.raid_file(folder, file.stem))
        shutil.rmtree(task.folder, ignore_errors=True)


def _check_raids(raids: Iterable[tuple[Path, str]]) -> None:
    logs: dict[str, Path] = {}
    for log, raid_id in raids:
        other = logs.setdefault(raid_id, log)
        if other != log:
            raise PipelineError(
                f"{paths.RAW}: {other.name} and {log.name} both hold raid {raid_id}: remove the copy, or give one "
                f"another raid_id in its side file ({log.name}.yaml)"
            )


def _entry(one: Imported) -> dict[str, Any]:
    raids = [{"raid_id": raid.raid_id} | as_json(raid.books) for raid in one.raids]
    return {"file": one.log.name, "sha256": one.sha256, "lines": one.books.lines, "raids": raids}


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
