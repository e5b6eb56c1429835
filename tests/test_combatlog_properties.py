"""Properties of reading a log of any layout, whatever became of its bytes.

A file is refused by name (`PipelineError`) before it is read, or it is read to its end: then nothing raises, every
line is in exactly one book, and every event keeps the contract.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import wire
from pipeline.combatlog import reader
from pipeline.combatlog.importer import Log
from pipeline.combatlog.layouts import LAYOUTS, layouts_of
from pipeline.combatlog.pseudonyms import Pseudonyms
from pipeline.combatlog.report import Books
from pipeline.combatlog.sidefile import SideFile
from pipeline.errors import PipelineError
from pipeline.params import ImportLogs
from tests.test_combatlog import assert_contract

Mutation = Callable[[list[bytes]], list[bytes]]

LOGS = sorted((Path(__file__).parent / "logs").glob("*.yaml"))
TOLD = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in LOGS}
CONTENT = {file.stem: file.with_suffix(".txt").read_bytes() for file in LOGS}
SECTION = ImportLogs(include_dungeons=True, evening_pause_h=4)
HIDDEN = Pseudonyms(b"a key", keep_realm=True)
# Where a log names neither, as a user would have to say.
STATED = SideFile(year=2024, utc_offset="-05:00")

every_layout = pytest.mark.parametrize("name", sorted(TOLD))
NUMBERS = (
    *("0", "-0", "-1", "1", "5", "64", "1e3", "1e9", "1e10", "1e400", "-1e400", "9" * 18, "9" * 19, "9" * 400),
    *(
        "NaN",
        "nan",
        "-nan(ind)",
        "inf",
        "-inf",
        "Infinity",
        "1.#QNAN",
        "0x",
        "0x7fffffffffffffff",
        "0xffffffffffffffff",
    ),
    *("0x-1", "1_000", " 5", "5 ", "5.", ".5", "٣", "½", "true", "nil", ""),
)
UNITS = (
    "0000000000000000",
    "Player-1-0000000A",
    "Player-",
    "Creature-0-1-2-3-4-5",
    "Pet-0-1-2-3-4-5",
    "Vehicle",
    "nil",
)
TEXTS = (
    *('"', '""', '"""', '"a,b"', '"a""b"', "'", '"' + "x" * 300 + '"', ",", "," * 10_000, "(", "[(", ")]", "\\", "\0"),
    *("  ", "\r", "\t", "\u2028", "\ufeff", "𝔗", "e\u0301", "\u202e", "\ud7ff", "\U0010ffff"),
)
STAMPS = (
    *("2/30 20:00:00.000", "13/45 20:00:00.000", "2/29 20:00:00.000", "0/0 0:0:0.000", "4/10 24:00:00.000"),
    *("4/10 20:00:60.000", "1/1/0001 0:00:00.000", "12/31/9999 23:59:59.999", "12/31/2999 23:59:59.999-14"),
    *(
        "1/1/2004 00:00:00.000+14",
        "4/10/2024 20:00:00.000+99",
        "4/10/2024 20:00:00.000-0.5",
        "4/10/2024 20:00:00.0001e9",
    ),
    *("4/10/2024 20:00:00.000nan", "4/10/2024 20:00:00", "4/10/2024", "", " ", "1/1 0:00:00.000"),
)
HEADERS = tuple(
    f"{stamp}  COMBAT_LOG_VERSION,{version}"
    for stamp in ("4/10 20:00:00.000", "7/1/2026 20:00:00.000-5")
    for version in (
        *(
            "9,ADVANCED_LOG_ENABLED,1,BUILD_VERSION,1.14.3,PROJECT_ID,2",
            "22,ADVANCED_LOG_ENABLED,1,BUILD_VERSION,12.0.7",
        ),
        *("4,ADVANCED_LOG_ENABLED,0,BUILD_VERSION,7.3.5,PROJECT_ID,1", "99,ADVANCED_LOG_ENABLED,1,BUILD_VERSION,99.0"),
        *("17,BUILD_VERSION,", "BUILD_VERSION", ""),
    )
)


@dataclass(frozen=True)
class Imported:
    """What a log became."""

    books: Books
    events: pl.DataFrame


def check(content: bytes, stated: SideFile, pseudonyms: Pseudonyms | None = None) -> Imported | None:
    """Read a log and see that what must hold of any holds; None where it is refused."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "log.txt"
        file.write_bytes(content)
        try:
            log = Log(file, stated, SECTION, pseudonyms=pseudonyms)
        except PipelineError as error:
            assert str(file) in str(error), "an error says where"
            return None
        frames = list(log.frames())
    books = log.books
    events = pl.concat([pl.DataFrame(schema=wire.WIRE_SCHEMA), *(frame for _, frame in frames)])
    assert books.lines == len(content.removesuffix(b"\n").split(b"\n"))
    assert books.lines == books.events.total() + books.unused.total() + books.n_not_understood
    assert books.events.total() + books.added.total() == events.height
    assert events["event_id"].n_unique() == events.height
    for raid_id, frame in frames:
        assert frame["raid_id"].unique().to_list() == [raid_id]
        assert_contract(frame)
    return Imported(books, events)


def stated_of(name: str) -> SideFile:
    return SideFile(**TOLD[name].get("stated", {}))


# --- mutations: from the lines of a log to the lines of what became of it ---------------------------------------------

positions = st.floats(0, 1, exclude_max=True)


def at(position: float, length: int) -> int:
    """A position in something of some length, as a share of it: so that it fits whatever came before."""
    return int(position * length)


def flip(line: float, byte: float, mask: int) -> Mutation:
    def mutate(lines: list[bytes]) -> list[bytes]:
        chosen = bytearray(lines[at(line, len(lines))] or b"?")
        chosen[at(byte, len(chosen))] ^= mask
        return replaced(lines, line, [bytes(chosen)])

    return mutate


def cut(line: float, byte: float) -> Mutation:
    def mutate(lines: list[bytes]) -> list[bytes]:
        chosen = lines[at(line, len(lines))]
        return replaced(lines, line, [chosen[: at(byte, len(chosen))]])

    return mutate


def splice(line: float, byte: float, content: bytes) -> Mutation:
    def mutate(lines: list[bytes]) -> list[bytes]:
        chosen = lines[at(line, len(lines))]
        middle = at(byte, len(chosen) + 1)
        return replaced(lines, line, [chosen[:middle] + content + chosen[middle:]])

    return mutate


def change_fields(line: float, field: float, count: int, content: bytes | None) -> Mutation:
    """Replace some fields by one, or remove them, or (None) double the first."""

    def mutate(lines: list[bytes]) -> list[bytes]:
        fields = lines[at(line, len(lines))].split(b",")
        first = at(field, len(fields))
        fields[first : first + count] = [fields[first]] * 2 if content is None else [content][: count or None]
        return replaced(lines, line, [b",".join(fields)])

    return mutate


def drop_fields(line: float, field: float, count: int) -> Mutation:
    def mutate(lines: list[bytes]) -> list[bytes]:
        fields = lines[at(line, len(lines))].split(b",")
        first = at(field, len(fields))
        return replaced(lines, line, [b",".join(fields[:first] + fields[first + count :])])

    return mutate


def change_stamp(line: float, stamp: str) -> Mutation:
    def mutate(lines: list[bytes]) -> list[bytes]:
        rest = lines[at(line, len(lines))].partition(b"  ")[2]
        return replaced(lines, line, [stamp.encode() + b"  " + rest])

    return mutate


def move(source: float, target: float) -> Mutation:
    def mutate(lines: list[bytes]) -> list[bytes]:
        moved = list(lines)
        chosen = moved.pop(at(source, len(moved)))
        moved.insert(at(target, len(moved) + 1), chosen)
        return moved

    return mutate


def repeat(line: float, times: int) -> Mutation:
    def mutate(lines: list[bytes]) -> list[bytes]:
        return replaced(lines, line, [lines[at(line, len(lines))]] * times)

    return mutate


def insert(line: float, content: bytes) -> Mutation:
    def mutate(lines: list[bytes]) -> list[bytes]:
        return replaced(lines, line, [content, lines[at(line, len(lines))]])

    return mutate


def replaced(lines: list[bytes], line: float, by: list[bytes]) -> list[bytes]:
    index = at(line, len(lines))
    return lines[:index] + by + lines[index + 1 :]


fields = st.sampled_from([text.encode() for text in (*NUMBERS, *UNITS, *TEXTS)])
noise = st.binary(max_size=200)
mutations = st.one_of(
    st.builds(flip, positions, positions, st.integers(1, 255)),
    st.builds(cut, positions, positions),
    st.builds(splice, positions, positions, st.one_of(noise, fields)),
    st.builds(change_fields, positions, positions, st.just(1), st.one_of(fields, st.none())),
    st.builds(change_fields, positions, positions, st.integers(1, 4), fields),
    st.builds(drop_fields, positions, positions, st.integers(1, 30)),
    st.builds(change_stamp, positions, st.sampled_from(STAMPS)),
    st.builds(move, positions, positions),
    st.builds(repeat, positions, st.sampled_from([0, 2, 5])),
    st.builds(insert, positions, st.one_of(noise, st.sampled_from([header.encode() for header in HEADERS]))),
)


def mutated(name: str, changes: list[Mutation]) -> bytes:
    lines = CONTENT[name].split(b"\n")
    for change in changes:
        lines = change(lines) or [b""]
    return b"\n".join(lines)


# --- properties ------------------------------------------------------------------------------------------------------


def test_there_is_a_log_of_every_layout() -> None:
    assert {layouts_of(told["build"])[0].name for told in TOLD.values()} == {layout.name for layout in LAYOUTS}


@every_layout
def test_a_sound_log_is_read(name: str) -> None:
    read = check(CONTENT[name], stated_of(name))
    assert read
    assert read.books.events.total() > 30


@every_layout
@given(st.lists(mutations, min_size=1, max_size=25))
@settings(max_examples=14, deadline=None, derandomize=True)
def test_a_mutated_log_is_read_or_refused_and_every_line_is_in_one_book(name: str, changes: list[Mutation]) -> None:
    check(mutated(name, changes), stated_of(name))


@every_layout
@given(st.lists(mutations, min_size=1, max_size=25))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_a_mutated_log_in_small_segments_too(name: str, changes: list[Mutation]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "MIN_SEGMENT_LINES", 1)
        patch.setattr(reader, "MAX_SEGMENT_LINES", 20)
        check(mutated(name, changes), stated_of(name))


@every_layout
@given(positions, st.binary(max_size=2000), st.booleans())
@settings(max_examples=8, deadline=None, derandomize=True)
def test_a_log_with_any_bytes_after_its_first_lines_is_read(
    name: str, position: float, content: bytes, is_appended: bool
) -> None:
    whole = CONTENT[name]
    head = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    middle = len(whole) if is_appended else head + at(position, len(whole) - head)
    assert check(whole[:middle] + content + whole[middle:], stated_of(name))


@given(st.one_of(st.binary(max_size=3000), st.lists(st.one_of(noise, fields), max_size=40).map(b",".join)))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    check(content, STATED)


@every_layout
def test_no_field_takes_a_number_that_breaks_the_contract(name: str) -> None:
    lines = CONTENT[name].split(b"\n")
    chosen = [line for line in lines if b"_DAMAGE,Player" in line or b"_HEAL," in line or b"ENERGIZE," in line][:4]
    chosen += [line for line in lines if b"ENCOUNTER_" in line or b"COMBATANT_INFO" in line][:3]
    wrong: list[bytes] = []
    for parts in (line.split(b",") for line in chosen):
        for position in range(1, len(parts)):
            wrong += [b",".join([*parts[:position], each.encode(), *parts[position + 1 :]]) for each in NUMBERS]
    assert check(b"\n".join([*lines, *wrong]), stated_of(name))


@every_layout
@given(st.lists(mutations, min_size=1, max_size=25))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_a_mutated_log_is_read_or_refused_with_pseudonyms_too(name: str, changes: list[Mutation]) -> None:
    content = mutated(name, changes)
    plain, hidden = check(content, stated_of(name)), check(content, stated_of(name), HIDDEN)
    if plain and hidden:
        assert hidden.books.lines == plain.books.lines


@every_layout
def test_a_hit_that_is_not_understood_kills_nobody(name: str) -> None:
    lines = CONTENT[name].split(b"\n")
    blow = next(at for at, line in enumerate(lines) if b'"Gore"' in line)
    event, _, rest = lines[blow].split(b",", 2)
    lines[blow] = b",".join([event, b"", rest])
    read = check(b"\n".join(lines), stated_of(name))
    assert read
    assert read.events.filter(event_type="player_death")["source_player_id"].to_list() == ["environment"]


@pytest.mark.parametrize("end", [b"\n", b"", b"\t", b"\n\n", b"\r", b" \r\n"])
def test_the_last_line_counts_however_it_ends(end: bytes) -> None:
    content = CONTENT["retail-22"].rstrip(b"\n") + b"\n" + end
    plain, hidden = check(content, SideFile()), check(content, SideFile(), HIDDEN)
    assert plain
    assert hidden
    assert hidden.books == plain.books
