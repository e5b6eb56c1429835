"""What a log does not say of itself: the YAML file beside it, and which files of `data/raw/` are logs."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline import params
from pipeline.combatlog.clock import YEARS
from pipeline.errors import PipelineError
from pipeline.events import RAID_ID_PATTERN

SUFFIX = ".yaml"
PATTERNS = ("WoWCombatLog*.txt", "WoWCombatLog*.txt.gz", "WoWCombatLog*.txt.zst")
MAX_OFFSET_H = 14


class SideFile(BaseModel):
    """`<log file name>.yaml`: every key is optional, and only what the log does not say is used."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    year: Annotated[int, Field(ge=YEARS[0], le=YEARS[-1])] | None = None
    """The year of the log's first line."""
    utc_offset: str | None = None
    """The log's offset from UTC, like "+02:00"."""
    raid_id: Annotated[str, Field(pattern=RAID_ID_PATTERN)] | None = None
    """The raid's id, where the one made from the log's first lines does not please."""

    @model_validator(mode="before")
    @classmethod
    def _empty_file(cls, content: Any) -> Any:
        return {} if content is None else content

    @field_validator("utc_offset", mode="before")
    @classmethod
    def _yaml_number(cls, value: Any) -> Any:
        """YAML 1.1 reads +10:00 without quotes as 600, minutes; a small number is meant as hours."""
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        minutes = value * 60 if abs(value) <= MAX_OFFSET_H else value
        hours, minutes_over = divmod(abs(minutes), 60)
        return f"{'-' if minutes < 0 else '+'}{hours:02}:{minutes_over:02}"


def side_file(log: Path) -> Path:
    """Where the side file of a log lies."""
    return log.with_name(log.name + SUFFIX)


def read_side_file(log: Path) -> SideFile:
    """What is stated beside a log.

    Raises:
        PipelineError: the file has a typo, a wrong type or an impossible value.
    """
    file = side_file(log)
    return params.load_model(file, SideFile) if file.exists() else SideFile()


def find_logs(folder: Path) -> list[Path]:
    """The logs of a folder, sorted: `WoWCombatLog*.txt[.gz|.zst]` and whatever has a side file.

    Raises:
        PipelineError: a side file without its log.
    """
    logs = {file for pattern in PATTERNS for file in folder.glob(pattern)}
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        log = file.with_name(file.name.removesuffix(SUFFIX))
        if not log.is_file():
            raise PipelineError(f"{file}: describes {log.name}, which is not there; put the log beside it or remove it")
        logs.add(log)
    return sorted(logs)
