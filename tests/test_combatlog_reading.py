"""Reading a combat log whatever its bytes: time, lines that are not understood, and the books."""

import re
import string
from datetime import date
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.combatlog import clock
from pipeline.combatlog.clock import Clock, dates, parse_offset, timestamps
from pipeline.combatlog.layouts import FORMS, UNUSED
from pipeline.combatlog.sidefile import SideFile
from pipeline.errors import PipelineError
from tests.test_combatlog import FIXTURE, LINES, assert_contract, read, written

NO_LOG = re.compile("no combat log|is empty|is in UTF-16|does not exist|compressed file is cut off")
few = settings(max_examples=40, deadline=None)


def read_bytes(content: bytes) -> pl.DataFrame:
    """Import some bytes; check the books and the contract; no events where it is no log at all."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "log.txt"
        file.write_bytes(content)
        try:
            events, log = read(file)
        except PipelineError as error:
            assert NO_LOG.search(str(error)), error
            return pl.DataFrame()
    books = log.books
    assert books.lines == books.events.total() + books.unused.total() + books.n_not_understood
    assert books.events.total() + books.added.total() == events.height
    assert events["event_id"].n_unique() == events.height
    if events.height:
        assert_contract(events)
    return events


def test_an_event_is_either_used_or_not() -> None:
    assert not FORMS.keys() & UNUSED.keys()


@given(st.binary(max_size=2000))
@few
def test_arbitrary_bytes_never_raise_and_every_line_is_counted(noise: bytes) -> None:
    read_bytes(noise)
    read_bytes("".join(LINES[:12]).encode() + noise + b"\n" + "".join(LINES[12:14]).encode())


lines = st.sampled_from(LINES)
texts = st.text(string.ascii_letters + string.digits + '",-:./() \r\0éß\u2028', max_size=12)
fields = st.one_of(texts, st.sampled_from(["nil", "-1", "1e400", "NaN", "inf", "-5", "9" * 25, "0x", '""', ""]))


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """A line with fields replaced, dropped or doubled, or cut off."""
    parts = draw(lines).rstrip("\n").split(",")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(parts) - 1))
        parts[at : at + 1] = draw(st.sampled_from([[draw(fields)], [parts[at]] * 2, []])) or [""]
    text = ",".join(parts)
    return text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


@given(st.lists(mangled(), max_size=30))
@few
def test_mangled_lines_never_break_the_contract_or_the_books(wrong: list[str]) -> None:
    read_bytes(("".join(LINES[:12]) + "\n".join(wrong) + "\n" + "".join(LINES[12:30])).encode())


@given(st.permutations(LINES[8:38]))
@few
def test_lines_in_any_order_make_the_same_number_of_events(order: list[str]) -> None:
    events = read_bytes("".join([*LINES[:8], *order]).encode())
    assert events.height == read_bytes("".join(LINES[:38]).encode()).height


def test_what_is_not_understood_is_counted_by_kind_with_its_first_lines(tmp_path: Path) -> None:
    hit = next(line for line in LINES if "RANGE_DAMAGE" in line)
    wrong = [
        hit.replace("RANGE_DAMAGE", "SPELL_TRANSMOGRIFIED"),
        hit.replace(",75,", ",75,75,"),
        hit.replace("300,300,100", "lots,300,100"),
        hit.replace("12/31", "13/31"),
        hit.replace("12/31", "2/30"),
        hit.replace("23:59:05", "23:61:05"),
        hit[:100] + "\n",
        "\n",
        "12/31 23:59:05.000  UNIT_DIED,0000000000000000,nil,0x80000000,0x80000000,Play\n",
        "12/31 23:59:05.000  COMBATANT_INFO,Player-4321-0000A001,0,54,(21,30,0),(),[(21615,81\n",
        "12/31 23:59:05.000  SPELL_CAST_START,Player-4321-0000A001\n",
        *["no line at all\n"] * 7,
        next(line for line in LINES if "Bloodrage" in line).replace(",1,1000", ",99,1000"),
    ]
    _, log = read(written(tmp_path, [*LINES[:8], *wrong]))
    first = 9
    missed = {kind: (missed.lines, missed.first_lines) for kind, missed in log.books.not_understood.items()}
    assert missed == {
        "unknown event SPELL_TRANSMOGRIFIED": (1, [first]),
        "RANGE_DAMAGE: 39 fields": (1, [first + 1]),
        "RANGE_DAMAGE: impossible number": (1, [first + 2]),
        "no valid date and time": (10, [first + 3, first + 4, first + 5, first + 11, first + 12]),
        "RANGE_DAMAGE: 6 fields": (1, [first + 6]),
        "UNIT_DIED: 6 fields": (1, [first + 8]),
        "COMBATANT_INFO: cut off": (1, [first + 9]),
        "SPELL_CAST_START: 2 fields": (1, [first + 10]),
        "SPELL_PERIODIC_ENERGIZE: power type 99": (1, [first + 18]),
    }
    assert log.books.unused["blank line"] == 1


@pytest.mark.parametrize("number", ["many", "", "inf", "nan"])
@pytest.mark.parametrize(
    ("event", "numbers", "position"),
    [
        *(("RANGE_DAMAGE", "300,300,100,1,0,0,0,nil", position) for position in (0, 2, 4, 5, 6)),
        *(("SPELL_HEAL", "1500,1500,900,100,1", position) for position in (0, 2, 3)),
    ],
)
def test_a_hit_or_heal_is_not_understood_if_one_of_its_amounts_is_no_number(
    tmp_path: Path, event: str, numbers: str, position: int, number: str
) -> None:
    sound = next(line for line in LINES if f"  {event}," in line and numbers in line)
    wrong = numbers.split(",")
    wrong[position] = number
    _, log = read(written(tmp_path, [*LINES[:8], sound, sound.replace(numbers, ",".join(wrong))]))
    missed = {kind: missed.first_lines for kind, missed in log.books.not_understood.items()}
    assert missed == {f"{event}: impossible number": [10]}


def test_a_line_without_newline_at_the_end_counts(tmp_path: Path) -> None:
    _, log = read(written(tmp_path, [*LINES[:-1], LINES[-1].rstrip("\n")]))
    assert log.books.lines == len(LINES)
    assert log.books.n_not_understood == 0


def test_advanced_logging_off_leaves_health_unknown(tmp_path: Path) -> None:
    hit = next(line for line in LINES if "RANGE_DAMAGE" in line).split(",")
    zeroed = ["0000000000000000", "0000000000000000", *["0"] * 5, "-1", *["0"] * 8]
    events, _ = read(written(tmp_path, [*LINES[:8], ",".join([*hit[:12], *zeroed, *hit[28:]])]))
    (shot,) = events.filter(event_type="combat_damage").to_dicts()
    assert shot["damage_amount"] == 300
    assert shot["target_entity_health_pct_after"] is None


def test_an_end_of_another_encounter_ends_nothing(tmp_path: Path) -> None:
    start, stray = LINES[3], '12/31 23:59:20.000  ENCOUNTER_END,901,"Someone else",16,20,1\n'
    events, log = read(written(tmp_path, [start, stray, LINES[11], stray]))
    assert [pull["verdict"] for pull in log.books.pulls] == ["no_end"]
    assert log.books.unused["ENCOUNTER_END"] == 2
    assert events.filter(event_type="encounter_end")["encounter_success"].to_list() == [None]


def test_a_pull_longer_than_memory_allows_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.combatlog.reader.MAX_SEGMENT_LINES", 10)
    events, log = read(FIXTURE)
    assert [pull["verdict"] for pull in log.books.pulls] == ["kill", "no_end", "wipe", "kill"]
    assert events.filter(encounter_id="900-1", event_type="combat_damage", target_entity_type="boss").height == 7
    owned = events.filter(pl.col("source_player_name") == "Searing Totem")
    assert owned["source_owner_id"].to_list() == ["Player-4321-0000A002"], "the summon was in an earlier part"


def run(*texts: str, year: int | None = 2022) -> list[date | None]:
    days, _ = dates([(text, 10) for text in texts], Clock(year, 0))
    return days


def test_the_year_advances_with_the_new_year() -> None:
    assert run("12/30", "12/31", "1/1", "1/2") == [
        *(date(2022, 12, 30), date(2022, 12, 31), date(2023, 1, 1), date(2023, 1, 2)),
    ]


def test_a_line_out_of_order_over_new_year_keeps_its_own_year() -> None:
    assert run("12/31", "1/1", "12/31", "1/1") == [
        *(date(2022, 12, 31), date(2023, 1, 1), date(2022, 12, 31), date(2023, 1, 1)),
    ]


def test_a_line_out_of_order_over_midnight_is_no_new_year() -> None:
    assert run("4/10", "4/11", "4/10", "4/11") == [
        *(date(2022, 4, 10), date(2022, 4, 11), date(2022, 4, 10), date(2022, 4, 11)),
    ]


def test_a_log_of_several_evenings_goes_on_after_a_gap() -> None:
    assert run("3/1", "10/5", "2/20") == [date(2022, 3, 1), date(2022, 10, 5), date(2023, 2, 20)]


def test_a_single_mangled_date_does_not_shift_the_year() -> None:
    days, after = dates([("11/10", 5), ("1/10", 1), ("11/10", 5)], Clock(2022, 0))
    assert days == [date(2022, 11, 10), None, date(2022, 11, 10)]
    assert after.last == date(2022, 11, 10)


def test_a_mangled_date_at_the_end_of_a_part_is_known_by_what_follows() -> None:
    runs = [("11/10", 5), ("1/10", 1)]
    assert dates(runs, Clock(2022, 0), "11/10") == ([date(2022, 11, 10), None], Clock(2022, 0, date(2022, 11, 10)))
    assert dates(runs, Clock(2022, 0), "1/10")[0] == [date(2022, 11, 10), date(2023, 1, 10)]
    assert dates(runs, Clock(2022, 0))[0] == [date(2022, 11, 10), date(2023, 1, 10)]


def instants(*stamps: str, clock: Clock) -> list[str]:
    return [moment.isoformat() for moment in timestamps(pl.Series(stamps), clock)[0]]


def test_new_year_without_a_year() -> None:
    stamps = ("12/31 23:59:59.999", "1/1 0:00:00.000")
    assert instants(*stamps, clock=Clock(2022, 0)) == [
        *("2022-12-31T23:59:59.999000+00:00", "2023-01-01T00:00:00+00:00"),
    ]
    # East of Greenwich the year began before UTC's, west of it after.
    assert instants(*stamps, clock=Clock(2022, 120))[1] == "2022-12-31T22:00:00+00:00"
    assert instants(*stamps, clock=Clock(2022, -480))[0] == "2023-01-01T07:59:59.999000+00:00"


def test_new_year_with_a_year() -> None:
    stamps = ("12/31/2024 23:59:59.999-5", "1/1/2025 0:00:00.000-5", "12/31/2024 23:59:59.999-5")
    assert instants(*stamps, clock=Clock(None, None)) == [
        *("2025-01-01T04:59:59.999000+00:00", "2025-01-01T05:00:00+00:00", "2025-01-01T04:59:59.999000+00:00"),
    ]


def test_a_clock_that_is_put_forward_or_back_is_told_by_the_offset() -> None:
    forward = ("3/10/2024 1:59:59.999-5", "3/10/2024 3:00:00.000-4")
    back = ("11/3/2024 1:59:59.999-4", "11/3/2024 1:00:00.000-5")
    assert instants(*forward, *back, clock=Clock(None, None)) == [
        *("2024-03-10T06:59:59.999000+00:00", "2024-03-10T07:00:00+00:00"),
        *("2024-11-03T05:59:59.999000+00:00", "2024-11-03T06:00:00+00:00"),
    ]


def test_without_offset_the_hour_that_comes_twice_lies_twice_at_one_time(tmp_path: Path) -> None:
    start, hit, end = (
        next(line.partition("  ")[2] for line in LINES if f"  {event}," in line)
        for event in ("ENCOUNTER_START", "RANGE_DAMAGE", "ENCOUNTER_END")
    )
    stamped = [
        *(f"10/30 2:59:50.000  {start}", f"10/30 2:59:55.000  {hit}"),
        *(f"10/30 2:00:05.000  {hit}", f"10/30 2:00:10.000  {end}"),
    ]
    events, log = read(written(tmp_path, stamped), SideFile(year=2022, utc_offset="+02:00"))
    assert [pull["duration_ms"] for pull in log.books.pulls] == [0]
    assert sorted(events["encounter_duration_ms"]) == [0, 0, 0, 5_000]
    assert [f"{moment:%H:%M:%S}" for moment in events["timestamp"]] == ["00:00:05", "00:00:10", "00:59:50", "00:59:55"]


def test_dates_that_do_not_exist_are_none() -> None:
    assert run("2/29") == [None]
    assert run("2/29", year=2024) == [date(2024, 2, 29)]
    assert run("13/1", "4/31", "0/0", "", "4", "4/1/0001", year=2022) == [None] * 6


@given(st.dates(date(2010, 1, 1), date(2030, 12, 31)), st.lists(st.integers(0, 200), max_size=30))
def test_dates_without_a_year_are_found_again(first: date, gaps: list[int]) -> None:
    days = [first]
    for gap in gaps:
        days.append(date.fromordinal(days[-1].toordinal() + gap))
    assert all(later >= earlier for earlier, later in pairwise(days))
    assert run(*(f"{day.month}/{day.day}" for day in days), year=first.year) == days


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("4/10 22:25:55.168", "2022-04-10T20:25:55.168000+00:00"),
        ("4/10 0:05:01.002", "2022-04-09T22:05:01.002000+00:00"),
        ("4/10/2024 22:25:55.168-4", "2024-04-11T02:25:55.168000+00:00"),
        ("4/10/2024 22:25:55.1680", "2024-04-10T22:25:55.168000+00:00"),
        ("4/10/2024 22:25:55.1682", "2024-04-10T20:25:55.168000+00:00"),
        ("4/10 24:25:55.168", None),
        ("4/10 22:25:55", None),
        ("4/10 22:25:55.168x", None),
        ("4/10 22:25:55.168-400", None),
        ("4/10", None),
        ("", None),
    ],
)
def test_timestamps_are_instants(text: str, instant: str | None) -> None:
    [moment] = clock.timestamps(pl.Series([text]), Clock(2022, 120))[0].to_list()
    assert (moment and moment.isoformat()) == instant


@pytest.mark.parametrize(
    ("text", "minutes"), [("+02:00", 120), ("-4", -240), ("+0530", 330), ("Z", 0), ("-09:30", -570)]
)
def test_offsets_are_minutes_east(text: str, minutes: int) -> None:
    assert parse_offset(text) == minutes


@pytest.mark.parametrize("text", ["", "2", "+15", "+02:75", "Europe/Madrid", "+2:0"])
def test_what_is_no_offset_is_said_so(text: str) -> None:
    with pytest.raises(PipelineError, match="no offset from UTC"):
        parse_offset(text)
