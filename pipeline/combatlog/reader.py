"""A log as a stream: plain text, gzip or Zstandard, handed on in segments that are cut between pulls if possible."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from pipeline.combatlog.evenings import VERSION, Opening
from pipeline.combatlog.pseudonyms import Pseudonyms, rewritten
from pipeline.errors import PipelineError

BLOCK_BYTES = 256 * 2**10
# A segment holds at least so many lines, so that short pulls share the fixed cost of a translation, and hardly more
# than so many, so that memory stays bounded even where a pull never ends.
MIN_SEGMENT_LINES = 30_000
MAX_SEGMENT_LINES = 200_000
MAX_SEGMENT_BYTES = 64 * 2**20
# A longer line is none that the game writes (a raid's longest, COMBATANT_INFO, has a few thousand bytes).
MAX_LINE_BYTES = 64 * 2**10
STAMP = re.compile(rb"(\d{1,2}/\d{1,2}(?:/\d{4})? \d{1,2}:\d{2}:\d{2}\.\d{3}(?:[+-]?\d[\d.]*)?)  \S")
MARKERS = (b"  ENCOUNTER_", b"  COMBAT_LOG_V")
BOM = b"\xef\xbb\xbf"
UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
GZIP = b"\x1f\x8b"
ZSTANDARD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Segment:
    """Some consecutive lines of a log."""

    first_line: int
    """Number of its first line in the log, from 1."""
    n_lines: int
    content: bytes
    """The lines as UTF-8, each ended by a newline."""
    build: str | None
    """The game's build, as the latest COMBAT_LOG_VERSION line before or at the segment's start states it."""
    next_stamp: str | None = None
    """Date and time of a line soon after it, against which its last lines can be judged."""


@dataclass
class _Lines:
    """Lines that wait for their segment to be whole."""

    first_line: int = 1
    n_lines: int = 0
    n_bytes: int = 0
    pieces: list[bytes] = field(default_factory=list)

    def add(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.n_lines += piece.count(b"\n")
        self.n_bytes += len(piece)

    def take(self, build: str | None) -> Segment:
        content = b"".join(self.pieces)
        if self.first_line == 1:
            content = content.removeprefix(BOM)
        segment = Segment(self.first_line, self.n_lines, _as_utf8(content), build)
        self.first_line, self.n_lines, self.n_bytes, self.pieces = self.first_line + self.n_lines, 0, 0, []
        return segment

    @property
    def is_long(self) -> bool:
        return self.n_lines >= MIN_SEGMENT_LINES

    @property
    def is_full(self) -> bool:
        return self.n_lines >= MAX_SEGMENT_LINES or self.n_bytes >= MAX_SEGMENT_BYTES


@contextmanager
def opened(file: Path, pseudonyms: Pseudonyms | None = None) -> Iterator[BinaryIO]:
    """Open a log for reading; its first bytes tell whether it is compressed.

    Args:
        file: the log.
        pseudonyms: what its readers see instead of names.

    Raises:
        PipelineError: it cannot be opened, or (also while it is being read) what is compressed is broken.
    """
    try:
        with file.open("rb") as raw, _unpacked(raw, raw.peek(4)[:4]) as stream:
            yield rewritten(stream, pseudonyms) if pseudonyms else stream
    except (EOFError, zlib.error, OSError) as error:
        # The system's errors have a number, those of gzip and pyarrow have none.
        if isinstance(error, OSError) and error.errno is not None:
            raise PipelineError(
                f"{file}: cannot be read ({error.strerror}); give the path of a log that this user may read"
            ) from error
        raise PipelineError(f"{file}: the compressed file is cut off or damaged ({error}); get it again") from error


def _unpacked(raw: BinaryIO, first_bytes: bytes) -> BinaryIO:
    if first_bytes.startswith(GZIP):
        return cast("BinaryIO", gzip.open(raw, "rb"))
    if first_bytes == ZSTANDARD:
        # pyarrow's, because the stream of the package zstandard ends without an error where the file is cut off.
        return io.BufferedReader(pa.input_stream(raw, compression="zstd"), BLOCK_BYTES)
    return raw


def identify(file: Path, pseudonyms: Pseudonyms | None = None) -> Opening:
    """Read a log's first lines, with pseudonyms if there are any.

    Raises:
        PipelineError: no line begins as a combat log's lines do.
    """
    _check_text(file)
    opening = Opening()
    with opened(file, pseudonyms) as stream:
        lines = (line for block in _blocks(stream) for line in block.split(b"\n"))
        for line in lines:
            text = line.removeprefix(BOM)
            if match := STAMP.match(text):
                event = text[match.end() - 1 :].partition(b",")[0]
                opening.add(match[1].decode(), _decoded(text.rstrip(b"\r")), _decoded(event))
                if opening.is_whole:
                    break
    if not opening.stamp:
        raise PipelineError(
            f"{file}: no line begins with a date and a time like `4/10 22:25:55.168`, so it is no combat log; "
            "give the WoWCombatLog.txt of the game's Logs folder"
        )
    return opening


def _check_text(file: Path) -> None:
    with opened(file) as stream:
        start = stream.read(2)
    if not start:
        raise PipelineError(f"{file}: is empty; copy it again from the game's Logs folder, or take it away")
    if start.startswith(UTF_16_BOMS):
        raise PipelineError(
            f"{file}: is in UTF-16, which the game does not write (an editor saved it?); save it as UTF-8, or copy it "
            "again from the game's Logs folder"
        )


def segments(stream: BinaryIO) -> Iterator[Segment]:
    """Cut a log: after a pull's end or before its start once the segment is long enough, and before a new build."""
    earlier: Segment | None = None
    for segment in _cut(stream):
        if earlier:
            yield replace(earlier, next_stamp=_first_stamp(segment.content))
        earlier = segment
    if earlier:
        yield earlier


def _cut(stream: BinaryIO) -> Iterator[Segment]:
    build: str | None = None
    waiting = _Lines()
    for block in _blocks(stream):
        done = 0
        for start, end in _marked(block):
            waiting.add(block[done:start])
            line, done = block[start:end], end
            stated = _build(line)
            cut_before = stated != build if stated else b"  ENCOUNTER_START," in line and waiting.is_long
            if cut_before and waiting.n_lines:
                yield waiting.take(build)
            build = stated or build
            waiting.add(line)
            if b"  ENCOUNTER_END," in line and waiting.is_long:
                yield waiting.take(build)
        waiting.add(block[done:])
        if waiting.is_full:
            yield waiting.take(build)
    if waiting.n_lines:
        yield waiting.take(build)


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """A log in pieces of whole lines, each ended by a newline; of a line that fills a block only the beginning."""
    rest = b""
    while block := stream.read(BLOCK_BYTES):
        whole, newline, last = block.rpartition(b"\n")
        if newline:
            yield b"".join((rest, whole, newline))
            rest = last
        else:
            rest = (rest + last)[: 2 * MAX_LINE_BYTES]
    if rest:
        yield rest + b"\n"


def _marked(block: bytes) -> list[tuple[int, int]]:
    """Where the lines stand (start and end) that may cut."""
    found = set()
    for marker in MARKERS:
        at = block.find(marker)
        while at >= 0:
            end = block.index(b"\n", at) + 1
            found.add((block.rfind(b"\n", 0, at) + 1, end))
            at = block.find(marker, end)
    return sorted(found)


def _as_utf8(content: bytes) -> bytes:
    """The same where it is UTF-8; else with a mark in the place of what is none."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return _decoded(content).encode()
    return content


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _build(line: bytes) -> str | None:
    fields = line.partition(b"  ")[2].rstrip().split(b",")
    if fields[0] == VERSION.encode() and b"BUILD_VERSION" in fields[:-1]:
        return fields[fields.index(b"BUILD_VERSION") + 1].decode("ascii", "replace")
    return None


def _first_stamp(content: bytes) -> str | None:
    lines = content[:MAX_LINE_BYTES].split(b"\n")
    return next((match[1].decode() for match in map(STAMP.match, lines) if match), None)
