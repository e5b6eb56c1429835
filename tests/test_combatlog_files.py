"""Files that are no log, or a damaged one: what is said of them, what is still read, and that nothing half is left."""

import gzip
import io
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import zstandard
from polars.testing import assert_frame_equal

from pipeline import combatlog, wire
from pipeline.combatlog import delivery, reader
from pipeline.combatlog.report import Books, as_json, check, merged, summary
from pipeline.combatlog.sidefile import find_logs, read_side_file
from pipeline.errors import PipelineError
from tests.conftest import ROOT
from tests.test_combatlog import FIXTURE, LINES, STATED, read, written

TEXT = FIXTURE.read_bytes()
HIT = next(line for line in LINES if "RANGE_DAMAGE" in line)


def packed_zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def file_of(folder: Path, content: bytes, name: str = "WoWCombatLog.txt") -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


AS_UTF_16 = (
    r"is in UTF-16, which the game does not write \(an editor saved it\?\); save it as UTF-8, or copy it again from "
    r"the game's Logs folder$"
)
UNREADABLE = {
    "empty": (b"", r"is empty; copy it again from the game's Logs folder, or take it away"),
    "binary": (random.Random(7).randbytes(300_000), r"so it is no combat log; give the WoWCombatLog\.txt"),
    "another text": (b"date,player,damage\n4/10,Aldwyn,17\n", r"so it is no combat log; give the WoWCombatLog\.txt"),
    "zeros": (bytes(1_000_000), r"so it is no combat log"),
    "a line without end": (b"x" * 10_000_000, r"so it is no combat log"),
    "UTF-16, little end first": (b"\xff\xfe" + "".join(LINES).encode("utf-16-le"), AS_UTF_16),
    "UTF-16, big end first": (b"\xfe\xff" + "".join(LINES).encode("utf-16-be"), AS_UTF_16),
    "a BOM and nothing": (b"\xef\xbb\xbf", r"so it is no combat log"),
    "gzip, nothing in it": (gzip.compress(b""), r"is empty"),
    "gzip, cut off": (gzip.compress(TEXT)[:-30], r"compressed file is cut off or damaged \(.*\); get it again"),
    "gzip, cut off in its header": (
        gzip.compress(TEXT)[:5],
        r"compressed file is cut off or damaged \(.*\); get it again",
    ),
    "gzip, damaged": (gzip.compress(TEXT)[:400] + bytes(200), r"compressed file is cut off or damaged \(.*\); get it"),
    "zstd, cut off": (packed_zstd(TEXT)[:-30], r"compressed file is cut off or damaged \(.*\); get it again"),
    "zstd, cut off in its header": (
        packed_zstd(TEXT)[:6],
        r"compressed file is cut off or damaged \(.*\); get it again",
    ),
    "zstd, damaged": (packed_zstd(TEXT)[:400] + b"\x00" * 200, r"compressed file is cut off or damaged \(.*\); get it"),
    "zstd, another file behind it": (packed_zstd(TEXT) + b"PK\x03\x04", r"compressed file is cut off or damaged"),
}


@pytest.mark.parametrize(("content", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_said_and_leaves_no_trace(
    home: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    raw = home / "data" / "raw"
    raw.mkdir(parents=True)
    file = file_of(raw, content)
    (raw / "WoWCombatLog.txt.yaml").write_text("year: 2022\nutc_offset: Z\n")
    with pytest.raises(PipelineError, match=rf"(?s)data/raw/WoWCombatLog\.txt: .*{message}"):
        combatlog.run()
    with pytest.raises(PipelineError, match=message):
        combatlog.import_log(file, "http://127.0.0.1:1", 2022, "Z", keep=True)
    assert [path.name for path in (home / "data").iterdir()] == ["raw"]
    assert {path.name for path in raw.iterdir()} == {"WoWCombatLog.txt", "WoWCombatLog.txt.yaml"}
    assert not (home / "reports" / "metrics").exists()


def test_a_log_that_breaks_off_leaves_the_raids_of_the_last_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    raw = home / "data" / "raw"
    raw.mkdir(parents=True)
    file = file_of(raw, gzip.compress(TEXT, mtime=0), "WoWCombatLog.txt.gz")
    (raw / "WoWCombatLog.txt.gz.yaml").write_text("year: 2022\nutc_offset: Z\n")
    combatlog.run()
    before = {path: path.read_bytes() for path in (home / "data" / "imported").rglob("*") if path.is_file()}
    assert len(before) == 2
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(PipelineError, match="cut off"):
        combatlog.run()
    assert {path: path.read_bytes() for path in (home / "data" / "imported").rglob("*") if path.is_file()} == before
    assert {path.name for path in (home / "data").iterdir()} == {"raw", "imported"}
    file.write_bytes(gzip.compress(TEXT, mtime=0))
    combatlog.run()
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_is_no_log(home: Path) -> None:
    folder = home / "data" / "raw" / "WoWCombatLog.txt"
    folder.mkdir(parents=True)
    with pytest.raises(
        PipelineError, match=r"WoWCombatLog\.txt: cannot be read \(Is a directory\); give the path of a log"
    ):
        combatlog.run()
    with pytest.raises(PipelineError, match=r"cannot be read \(Is a directory\)"):
        combatlog.import_log(folder, year=2022, utc_offset="Z")


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything; as nobody it may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_log_that_this_user_may_not_read_is_said_so(tmp_path: Path) -> None:
    file = file_of(tmp_path, TEXT)
    file.chmod(0)
    with (
        without_privileges(),
        pytest.raises(PipelineError, match=r"cannot be read \(Permission denied\); give the path"),
    ):
        read(file)


@pytest.mark.parametrize(
    ("name", "pack"),
    [("WoWCombatLog.txt.gz", gzip.compress), ("WoWCombatLog.txt.zst", packed_zstd), ("WoWCombatLog.txt", packed_zstd)],
)
def test_a_compressed_log_is_read_as_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    raw = home / "data" / "raw"
    raw.mkdir(parents=True)
    # A log may be compressed in parts: both formats allow one after the other.
    file = file_of(raw, pack(TEXT[:5000]) + pack(TEXT[5000:]), name)
    assert find_logs(raw) == [file]
    assert_frame_equal(read(file)[0], read(FIXTURE)[0])
    assert delivery.keep_log(file_of(home, file.read_bytes(), name), STATED) == raw.relative_to(home) / name
    assert read_side_file(file) == STATED
    combatlog.run()
    (raid,) = wire.raid_files(home / "data" / "imported")
    assert_frame_equal(wire.read_raid(raid), read(FIXTURE)[0])


@pytest.mark.parametrize("pack", [gzip.compress, packed_zstd])
def test_a_kept_log_may_grow_though_it_is_compressed(
    home: Path, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    young = "".join(LINES[:30]).encode()
    delivery.keep_log(file_of(tmp_path, pack(young), "log.gz"), STATED)
    target = delivery.keep_log(file_of(tmp_path, pack(TEXT), "log.gz"), STATED)
    assert target.read_bytes() == pack(TEXT)
    with pytest.raises(PipelineError, match="another log of this name is kept already; rename"):
        delivery.keep_log(file_of(tmp_path, pack(young), "log.gz"), STATED)
    assert target.read_bytes() == pack(TEXT)
    assert {path.name for path in target.parent.iterdir()} == {"log.gz", "log.gz.yaml"}


def test_a_bom_at_the_beginning_is_no_part_of_the_log(tmp_path: Path) -> None:
    events, log = read(file_of(tmp_path, b"\xef\xbb\xbf" + TEXT))
    plain, plain_log = read(FIXTURE)
    assert_frame_equal(events, plain)
    assert log.raid_id == plain_log.raid_id
    assert as_json(log.books) == as_json(plain_log.books)


def test_a_name_in_latin_1_is_read_and_counted(tmp_path: Path) -> None:
    text = "".join(line.replace("Aldwyn", "Aldwýn") for line in LINES)
    events, log = read(file_of(tmp_path, text.encode("latin-1")))
    wanted = sum("Aldwyn" in line for line in LINES)
    assert log.books.not_utf8 == as_json(log.books)["lines_not_utf8"] == wanted > 10
    assert read(FIXTURE)[1].books.not_utf8 == 0
    assert log.books.n_not_understood == 0
    assert events.height == read(FIXTURE)[0].height
    assert "Aldw\ufffdn-Nowhere" in events["source_player_name"]
    assert f"  {wanted} lines with bytes that are no UTF-8: letters of names in them are lost" in summary(log.books)
    assert read(file_of(tmp_path, text.encode()))[1].books.not_utf8 == 0


def test_names_in_latin_1_are_counted_over_all_parts_of_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(line.replace("Aldwyn", "Aldwýn") for line in LINES)
    whole = read(file_of(tmp_path, text.encode("latin-1")))[1].books.not_utf8
    monkeypatch.setattr(reader, "MAX_SEGMENT_LINES", 10)
    monkeypatch.setattr(reader, "BLOCK_BYTES", 2000)
    assert read(file_of(tmp_path, text.encode("latin-1")))[1].books.not_utf8 == whole > 10


@pytest.mark.parametrize("at", range(1, 12))
def test_a_log_that_ends_in_a_line_or_in_a_letter_loses_that_line_at_most(tmp_path: Path, at: int) -> None:
    whole = "".join(LINES[:8]).encode()
    last = HIT.replace("Cedric", "Cédric").encode()
    cut = last[: last.index("é".encode()) + 1] if at == 1 else last[: len(last) * at // 12]
    events, log = read(file_of(tmp_path, whole + cut))
    assert_frame_equal(events.filter(event_type="combat_damage"), events.clear())
    assert (log.books.lines, log.books.n_not_understood) == (9, 1)
    assert log.books.not_utf8 == (at == 1)


def test_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    events, log = read(file_of(tmp_path, TEXT.replace(b"\n", b"\r\n")))
    plain, plain_log = read(FIXTURE)
    assert_frame_equal(events, plain)
    assert log.books == plain_log.books


@pytest.mark.parametrize("length", [65_537, 300_000, 10_000_000])
def test_a_line_beyond_all_measure_is_one_line_that_is_not_understood(tmp_path: Path, length: int) -> None:
    head = HIT.rstrip("\n").encode()
    long = head + b"x" * (length - len(head))
    events, log = read(file_of(tmp_path, "".join(LINES[:8]).encode() + long + b"\n" + HIT.encode()))
    missed = as_json(log.books)["not_understood"]
    assert missed == {"longer than 65,536 bytes": {"lines": 1, "first_lines": [9]}}
    assert (log.books.lines, events.filter(event_type="combat_damage").height) == (10, 1)


def test_a_line_as_long_as_is_allowed_is_judged_by_what_it_says(tmp_path: Path) -> None:
    head = "12/31 23:59:05.000  SPELL_TRANSMOGRIFIED,"
    _, log = read(written(tmp_path, [*LINES[:8], head + "x" * (65_536 - len(head)) + "\n"]))
    assert list(log.books.not_understood) == ["unknown event SPELL_TRANSMOGRIFIED"]
    ability = "Auto Shot" + "x" * (65_536 - len(HIT.rstrip("\n")))
    events, log = read(written(tmp_path, [*LINES[:8], HIT.replace("Auto Shot", ability)]))
    assert events.filter(event_type="combat_damage")["ability_name"].to_list() == [ability]
    assert log.books.not_understood == {}


def test_zeros_where_a_crash_left_them_are_one_line(tmp_path: Path) -> None:
    plain, _ = read(written(tmp_path, [*LINES[:8], HIT]))
    events, log = read(file_of(tmp_path, "".join([*LINES[:8], HIT]).encode() + bytes(4096)))
    assert_frame_equal(events, plain)
    assert as_json(log.books)["not_understood"] == {"no valid date and time": {"lines": 1, "first_lines": [10]}}
    named = HIT.replace("Cedric", "Ced\0ric")
    assert "Ced\0ric-Nowhere" in read(written(tmp_path, [*LINES[:8], named]))[0]["source_player_name"]


def test_kinds_that_are_not_understood_do_not_fill_the_memory() -> None:
    books = Books()
    for first in (1, 1500):
        numbers = range(first, first + 1500)
        books.miss(pl.DataFrame({"line": numbers, "kind": [f"kind {number}" for number in numbers]}))
    assert len(books.not_understood) == 1001
    assert books.n_not_understood == 3000
    further = books.not_understood["further kinds"]
    assert (further.lines, further.first_lines) == (2000, [1001, 1002, 1003, 1004, 1005])
    assert books.not_understood["kind 1000"].lines == 1
    assert merged([books, books]).not_understood["further kinds"].lines == 4000


def test_books_that_do_not_balance_are_a_fault() -> None:
    balanced = Books(lines=2, unused=Counter({"EMOTE": 2}))
    check(balanced, 2, "log.txt")
    with pytest.raises(PipelineError, match=r"log\.txt: 3 lines read, 2 given to raids and 2 accounted for"):
        check(balanced, 3, "log.txt")
    balanced.events["heal"] = 1
    with pytest.raises(
        PipelineError, match="2 lines read, 2 given to raids and 3 accounted for; this is a fault of the"
    ):
        check(balanced, 2, "log.txt")


def expected_cuts(least: int) -> list[int]:
    """The first lines of segments of at least so many lines: pulls begin and end there."""
    firsts = [1]
    for number, line in enumerate(LINES, 1):
        if "  ENCOUNTER_START," in line and number - firsts[-1] >= least:
            firsts.append(number)
        if "  ENCOUNTER_END," in line and number + 1 - firsts[-1] >= least:
            firsts.append(number + 1)
    return [first for first in firsts if first <= len(LINES)]


@pytest.mark.parametrize("block", [1, 7, 64, 1000, 2**18])
@pytest.mark.parametrize("least", [1, 3, 12, 1000])
def test_a_log_is_cut_between_pulls_whatever_the_block(monkeypatch: pytest.MonkeyPatch, block: int, least: int) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    monkeypatch.setattr(reader, "MIN_SEGMENT_LINES", least)
    with reader.opened(FIXTURE) as stream:
        cut = list(reader.segments(stream))
    assert b"".join(segment.content for segment in cut) == TEXT
    assert [segment.content.count(b"\n") for segment in cut] == [segment.n_lines for segment in cut]
    assert [segment.first_line for segment in cut] == expected_cuts(least)
    assert [segment.build for segment in cut] == ["1.14.3"] * len(cut)
    stamps = [segment.content.partition(b"  ")[0].decode() for segment in cut]
    assert [segment.next_stamp for segment in cut] == [*stamps[1:], None]


@pytest.mark.parametrize(("name", "limit"), [("MAX_SEGMENT_LINES", 10), ("MAX_SEGMENT_BYTES", 2000)])
def test_a_pull_without_end_is_cut_all_the_same(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", 300)
    monkeypatch.setattr(reader, name, limit)
    with reader.opened(FIXTURE) as stream:
        cut = list(reader.segments(stream))
    assert b"".join(segment.content for segment in cut) == TEXT
    sizes = [(segment.n_lines, len(segment.content))[name == "MAX_SEGMENT_BYTES"] for segment in cut]
    assert len(sizes) > 4
    assert all(limit <= size < 2 * limit for size in sizes[:-1])


def test_a_new_build_begins_a_segment() -> None:
    lines = [
        f"4/10 20:00:00.000  COMBAT_LOG_VERSION,9,BUILD_VERSION,{build},X,1\n"
        for build in ("1.14.3", "1.14.3", "8.0.1")
    ]
    text = "".join([HIT, lines[0], HIT, lines[1], HIT, lines[2], HIT])
    cut = list(reader.segments(io.BytesIO(text.encode())))
    assert [(segment.first_line, segment.n_lines, segment.build) for segment in cut] == [
        *((1, 1, None), (2, 4, "1.14.3"), (6, 2, "8.0.1")),
    ]


PEAK = """
import resource, sys
from pathlib import Path
from pipeline.combatlog import Task, import_to_folder, reader
from pipeline.combatlog.sidefile import SideFile
from pipeline.params import ImportLogs
reader.MIN_SEGMENT_LINES = 2000
section = ImportLogs(include_dungeons=False, evening_pause_h=4)
task = Task(Path(sys.argv[1]), SideFile(year=2022, utc_offset="Z"), section, Path(sys.argv[2]))
print(import_to_folder(task).books.lines, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_bytes(log: Path, folder: Path) -> tuple[int, int]:
    """The lines of a log and the memory that its import took, in a process of its own, in short segments."""
    command = [sys.executable, "-c", PEAK, str(log), str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"POLARS_MAX_THREADS": "1"}, capture_output=True, text=True, check=True
    )
    lines, peak = done.stdout.split()
    return int(lines), int(peak)


def test_the_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    fight = "".join(LINES[3:12]) + HIT * 2000
    small, large = (file_of(tmp_path, (fight * times).encode(), f"{times}.txt") for times in (10, 50))
    (few, low), (many, high) = (peak_bytes(log, tmp_path / log.stem) for log in (small, large))
    assert (few, many) == (10 * 2009, 50 * 2009)
    # All events at once would take some 100 MB more.
    assert high - low < 40 * 2**20, f"{low:,} bytes for {few:,} lines, {high:,} for {many:,}"
