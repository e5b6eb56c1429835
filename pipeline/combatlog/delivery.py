"""A log to a running receiver, and its copy in `data/raw/`."""

import shutil
from pathlib import Path

import yaml
from pydantic import ValidationError

from pipeline import params, paths, replay
from pipeline.combatlog.importer import Log
from pipeline.combatlog.pseudonyms import Pseudonyms
from pipeline.combatlog.reader import opened
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


def deliver_log(
    file: Path, url: str | None, options: SideFile, keep: bool, pseudonyms: Pseudonyms | None = None
) -> None:
    """Post a log's events, segment by segment, keep it if asked, and say what its lines became.

    Raises:
        PipelineError: see `pipeline.combatlog.import_log`.
    """
    if pseudonyms and file.resolve().parent == paths.RAW.resolve():
        raise PipelineError(
            f"{file}: lies in {paths.RAW}/, from where the next `dvc repro` imports it with its names; move it "
            "elsewhere and import it again, with --keep to have a copy with pseudonyms there"
        )
    log = Log(file, options, params.load().import_logs, pseudonyms=pseudonyms)
    # The log may have grown when it is delivered again: an end made up now would then stand beside the true one.
    delivery = replay.deliver(log.frames(is_finished=False), url or replay.receiver_url(), SOURCE)
    console.print(f"{file.name}: {replay.describe(delivery)}")
    for raid in log.raids:
        console.print(f"raid {raid.raid_id}: " + "\n".join(summary(raid.books)))
    if keep:
        console.print(f"kept as {keep_log(file, options, pseudonyms)}; the next `dvc repro` imports it")


def keep_log(file: Path, options: SideFile, pseudonyms: Pseudonyms | None = None, folder: Path = paths.RAW) -> Path:
    """Copy a log into `data/raw/`, with a side file for what was stated or where its name tells no log.

    With pseudonyms the copy is plain text, whatever the log is.

    Raises:
        PipelineError: another log of that name lies there (an earlier state of the same log is replaced).
    """
    target = folder / (file.name.removesuffix(".gz").removesuffix(".zst") if pseudonyms else file.name)
    if target.exists() and not _continues(target, file, pseudonyms):
        raise PipelineError(
            f"{target}: another log of this name is kept already; rename {file.name} and import it again"
        )
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    content = options.model_dump(exclude_none=True)
    try:
        _copy(file, partial, pseudonyms)
        if content or not any(target.match(pattern) for pattern in PATTERNS):
            paths.write_atomically(side_file(target), yaml.safe_dump(content, sort_keys=True).encode())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _copy(file: Path, target: Path, pseudonyms: Pseudonyms | None) -> None:
    if pseudonyms is None:
        shutil.copyfile(file, target)
        return
    with opened(file, pseudonyms) as log, target.open("wb") as copy:
        shutil.copyfileobj(log, copy, BLOCK_BYTES)


def _continues(kept: Path, file: Path, pseudonyms: Pseudonyms | None) -> bool:
    """Whether a log begins with all whole lines that are kept, compressed or not.

    The last line may be cut off in the middle of a guid, of which the whole has another pseudonym.
    """
    with opened(kept) as old, opened(file, pseudonyms) as new:
        return all(line == new.readline() for line in old if line.endswith(b"\n"))
