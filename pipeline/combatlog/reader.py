"""A log as a stream: plain text or gzip, handed on in segments that are cut between pulls where they can be."""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.combatlog.clock import Clock, dates
from pipeline.errors import PipelineError

# A segment holds at least so many lines, so that short pulls share the fixed cost of a translation, and at most so
# many, so that memory stays bounded even where a pull never ends.
MIN_SEGMENT_LINES = 20_000
MAX_SEGMENT_LINES = 200_000
MAX_SEGMENT_BYTES = 64 * 2**20
MAX_LINE_BYTES = 64 * 2**10
STAMP = re.compile(rb"(\d{1,2}/\d{1,2}(/\d{4})?) \d{1,2}:\d{2}:\d{2}\.\d{3}([+-]?\d[\d.]*)?  \S")
VERSION = b"COMBAT_LOG_VERSION,"
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Segment:
    """Some consecutive lines of a log."""

    first_line: int
    """Number of its first line in the log, from 1."""
    n_lines: int
    text: str
    """The lines, each ended by a newline."""
    build: str | None
    """The game's build, as the latest COMBAT_LOG_VERSION line before or at the segment's start states it."""


@dataclass(frozen=True)
class Identity:
    """What the first lines of a log say about it; the same however much the log grows."""

    date_text: str
    names_year: bool
    names_offset: bool
    digest: str
    """8 hex digits of its first line and of its first line after the version."""


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Open a log for reading.

    Raises:
        PipelineError: it cannot be opened, or (also while it is being read) its gzip is broken.
    """
    try:
        with file.open("rb") as raw:
            is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
            with gzip.open(raw, "rb") if is_gzip else raw as stream:
                yield stream  # type: ignore[misc]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PipelineError(f"{file}: the gzip file is cut off or damaged ({error}); get it again") from error
    except OSError as error:
        raise PipelineError(f"{file}: cannot be read ({error.strerror or error})") from error


def identify(file: Path) -> Identity:
    """Read what the first lines say.

    Raises:
        PipelineError: no line begins as a combat log's lines do.
    """
    digest = hashlib.blake2b(digest_size=4)
    first: re.Match[bytes] | None = None
    with opened(file) as stream:
        for line in _lines(stream):
            text = line.removeprefix(BOM)
            match = STAMP.match(text)
            if not match:
                continue
            first = first or match
            digest.update(text.rstrip(b"\r\n") + b"\n")
            if not text.startswith(VERSION, match.end() - 1):
                break
    if first is None:
        raise PipelineError(
            f"{file}: no line begins with a date and a time like `4/10 22:25:55.168`, so it is no combat log; "
            "give the WoWCombatLog.txt of the game's Logs folder"
        )
    return Identity(first[1].decode(), bool(first[2]), bool(first[3]), digest.hexdigest())


def default_raid_id(identity: Identity, clock: Clock, file: Path) -> str:
    """`log-{YYYYMMDD}-{8 hex digits}`, from the first line's date and the first lines' content.

    Raises:
        PipelineError: the first line's date is none in the given year.
    """
    [day], _ = dates([(identity.date_text, 1)], clock)
    if day is None:
        raise PipelineError(
            f"{file}: its first line's date {identity.date_text} does not exist in {clock.year}; give another year"
        )
    return f"log-{day:%Y%m%d}-{identity.digest}"


def segments(stream: BinaryIO) -> Iterator[Segment]:
    """Cut a log: after a pull's end or before its start once the segment is long enough, and before a new build."""
    build: str | None = None
    first_line = 1
    lines: list[bytes] = []
    size = 0
    for line in _lines(stream):
        cut_after = False
        if b"  ENCOUNTER_" in line or b"  COMBAT_LOG_V" in line:
            stated = _build(line)
            cut_before = stated != build if stated else b"  ENCOUNTER_START," in line and _is_long(lines)
            if cut_before and lines:
                yield _segment(first_line, lines, build)
                first_line, lines, size = first_line + len(lines), [], 0
            build = stated or build
            cut_after = b"  ENCOUNTER_END," in line and _is_long(lines)
        lines.append(line)
        size += len(line)
        if cut_after or len(lines) >= MAX_SEGMENT_LINES or size >= MAX_SEGMENT_BYTES:
            yield _segment(first_line, lines, build)
            first_line, lines, size = first_line + len(lines), [], 0
    if lines:
        yield _segment(first_line, lines, build)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(MAX_LINE_BYTES):
        yield line if line.endswith(b"\n") else line + b"\n"


def _is_long(lines: list[bytes]) -> bool:
    return len(lines) >= MIN_SEGMENT_LINES


def _build(line: bytes) -> str | None:
    fields = line.partition(b"  ")[2].rstrip().split(b",")
    if fields[0] + b"," == VERSION and b"BUILD_VERSION" in fields[:-1]:
        return fields[fields.index(b"BUILD_VERSION") + 1].decode("ascii", "replace")
    return None


def _segment(first_line: int, lines: list[bytes], build: str | None) -> Segment:
    content = b"".join(lines)
    if first_line == 1:
        content = content.removeprefix(BOM)
    return Segment(first_line, len(lines), content.decode("utf-8", "replace"), build)
