"""A log to a running receiver, and its copy in `data/raw/`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import yaml
from pydantic import ValidationError

from pipeline import params, paths, replay
from pipeline.combatlog.importer import Log
from pipeline.combatlog.report import summary
from pipeline.combatlog.sidefile import PATTERNS, SideFile, read_side_file, side_file
from pipeline.errors import PipelineError
from pipeline.progress import console

SOURCE = "combat-log"
BLOCK_BYTES = 2**20


def stated(file: Path, year: int | None, utc_offset: str | None, raid_id: str | None) -> SideFile:
    """What the command line says of a log, and where it says nothing, the side file.

    Raises:
        PipelineError: an impossible value.
    """
    beside = read_side_file(file)
    said = {"year": year, "utc_offset": utc_offset, "raid_id": raid_id}
    try:
        return SideFile(**beside.model_dump() | {key: value for key, value in said.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(
            f"--{str(problem['loc'][0]).replace('_', '-')} {problem['input']}: {problem['msg']}"
            for problem in error.errors()
        )
        raise PipelineError(problems) from error


def deliver_log(file: Path, url: str | None, options: SideFile, keep: bool) -> None:
    """Post a log's events, segment by segment, keep it if asked, and say what its lines became.

    Raises:
        PipelineError: see `pipeline.combatlog.import_log`.
    """
    log = Log(file, options, params.load().import_logs.include_dungeons)
    delivery = replay.deliver(_raids(log), url or replay.receiver_url(), SOURCE)
    console.print(f"raid {log.raid_id}: {replay.describe(delivery)}")
    for line in summary(log.books):
        console.print(line)
    if keep:
        console.print(f"kept as {keep_log(file, options)}; the next `dvc repro` imports it")


def keep_log(file: Path, options: SideFile, folder: Path = paths.RAW) -> Path:
    """Copy a log into `data/raw/`, with a side file for what was stated or where its name tells no log.

    Raises:
        PipelineError: another log of that name lies there (an earlier state of the same log is replaced).
    """
    target = folder / file.name
    if target.exists() and not _continues(target, file):
        raise PipelineError(
            f"{target}: another log of this name is kept already; rename {file.name} and import it again"
        )
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    content = options.model_dump(exclude_none=True)
    try:
        shutil.copyfile(file, partial)
        if content or not any(target.match(pattern) for pattern in PATTERNS):
            paths.write_atomically(side_file(target), yaml.safe_dump(content, sort_keys=True).encode())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _raids(log: Log) -> Iterator[tuple[str, pl.DataFrame]]:
    for frame in log.frames():
        yield log.raid_id, frame


def _continues(kept: Path, file: Path) -> bool:
    """Whether a file begins with all that is kept."""
    with kept.open("rb") as old, file.open("rb") as new:
        while block := old.read(BLOCK_BYTES):
            if new.read(len(block)) != block:
                return False
    return True
