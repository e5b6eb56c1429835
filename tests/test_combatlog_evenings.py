"""A log of several evenings is several raids, each as it is in a log of its own."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from pipeline import bronze, combatlog, ingest, wire
from pipeline.combatlog import evenings
from pipeline.combatlog.clock import Clock
from pipeline.combatlog.evenings import Opening
from pipeline.combatlog.importer import Log
from pipeline.combatlog.report import as_json
from pipeline.combatlog.sidefile import SideFile
from pipeline.errors import PipelineError
from pipeline.params import ImportLogs
from pipeline.store import Connection, open_store
from tests.conftest import ROOT
from tests.test_combatlog import LINES, STATED, written

VERSION, START, HIT, END = (
    next(line.partition("  ")[2] for line in LINES if f"  {event}," in line)
    for event in ("COMBAT_LOG_VERSION", "ENCOUNTER_START", "RANGE_DAMAGE", "ENCOUNTER_END")
)
PAUSE = timedelta(hours=4)
DAWN = datetime(2022, 4, 10, 6, tzinfo=UTC)


def at(stamp: str, *texts: str) -> list[str]:
    """Lines of one time."""
    return [f"{stamp}  {text}" for text in texts]


def evening(day: str) -> list[str]:
    """A kill between 20:00 and 20:01."""
    return [
        *at(f"{day} 20:00:00.000", VERSION, HIT, START),
        *at(f"{day} 20:00:30.000", HIT),
        *at(f"{day} 20:01:00.000", END),
    ]


def raids_of(file: Path, stated: SideFile = STATED, pause_h: float = 4) -> tuple[dict[str, pl.DataFrame], Log]:
    """The events of each raid of a log."""
    log = Log(file, stated, ImportLogs(include_dungeons=False, evening_pause_h=pause_h))
    parts: dict[str, list[pl.DataFrame]] = {}
    for raid_id, frame in log.frames():
        parts.setdefault(raid_id, []).append(frame)
    return {raid_id: wire.event_frame(pl.concat(frames)) for raid_id, frames in parts.items()}, log


def heights(file: Path, pause_h: float = 4) -> list[int]:
    """How many events each raid of a log has."""
    return [frame.height for frame in raids_of(file, pause_h=pause_h)[0].values()]


def test_an_evening_is_the_same_raid_in_a_log_of_its_own(tmp_path: Path) -> None:
    first, second, third = evening("4/10"), evening("4/12"), evening("4/19")
    whole, log = raids_of(written(tmp_path, [*first, *second, *third]))
    assert [raid_id[:13] for raid_id in whole] == ["log-20220410-", "log-20220412-", "log-20220419-"]
    for raid_id, lines in zip(whole, (first, second, third), strict=True):
        alone, _ = raids_of(written(tmp_path, lines, "alone.txt"))
        assert_frame_equal(alone[raid_id], whole[raid_id])
        assert whole[raid_id]["encounter_id"].drop_nulls().unique().to_list() == ["900-1"]
    assert [raid.books.lines for raid in log.raids] == [5, 5, 5]
    assert [raid.books.events.total() for raid in log.raids] == [4, 4, 4]
    assert log.books.lines == log.books.accounted == 15


def test_a_log_that_grows_keeps_its_raids(tmp_path: Path) -> None:
    lines = [*evening("4/10"), *evening("4/12")]
    whole, _ = raids_of(written(tmp_path, lines))
    for n_lines in range(4, len(lines)):
        young, _ = raids_of(written(tmp_path, lines[:n_lines], "young.txt"))
        assert list(young) == list(whole)[: 1 if n_lines <= 6 else 2]
        for raid_id, events in young.items():
            made_up = events["data_quality_flags"].is_not_null()
            assert set(events.filter(~made_up)["event_id"]) <= set(whole[raid_id]["event_id"])


def test_stated_ids_are_numbered(tmp_path: Path) -> None:
    file = written(tmp_path, [*evening("4/10"), *evening("4/12"), *evening("4/13")])
    stated = SideFile(year=2022, utc_offset="Z", raid_id="guild")
    assert list(raids_of(file, stated)[0]) == ["guild", "guild-2", "guild-3"]


@pytest.mark.parametrize("pause_h", [0, -1, 1e6, float("inf"), "4", None])
def test_a_pause_must_be_a_time(pause_h: Any) -> None:
    with pytest.raises(ValidationError, match="evening_pause_h"):
        ImportLogs(include_dungeons=False, evening_pause_h=pause_h)


def test_a_numbered_id_is_never_too_long() -> None:
    assert evenings.numbered("a" * 64, 1) == "a" * 64
    assert evenings.numbered("a" * 64, 2) == "a" * 62 + "-2"
    assert evenings.numbered("a" * 63, 10) == "a" * 61 + "-10"


@pytest.mark.parametrize(
    ("second", "pause_h", "raids"),
    [("11:59:59.999", 4, 1), ("12:00:00.000", 4, 2), ("12:00:00.000", 4.001, 1), ("8:30:00.000", 0.5, 2)],
)
def test_a_pause_is_as_long_as_the_parameter_says(tmp_path: Path, second: str, pause_h: float, raids: int) -> None:
    lines = [*at("4/10 8:00:00.000", VERSION, HIT), *at(f"4/10 {second}", HIT, HIT)]
    assert len(heights(written(tmp_path, lines), pause_h)) == raids


def test_a_pull_does_not_go_on_after_a_pause(tmp_path: Path) -> None:
    lines = [
        *at("4/10 20:00:00.000", VERSION, START),
        *at("4/10 20:00:07.000", HIT),
        *at("4/11 20:00:00.000", HIT, END),
    ]
    raids, log = raids_of(written(tmp_path, lines))
    first, second = raids.values()
    (end,) = first.filter(event_type="encounter_end").to_dicts()
    assert (end["encounter_id"], end["encounter_duration_ms"]) == ("900-1", 7_000)
    assert (end["data_quality_flags"], end["encounter_success"]) == (["no_end"], None)
    assert second["encounter_id"].to_list() == [None]
    assert [pull["verdict"] for pull in log.raids[0].books.pulls] == ["no_end"]
    assert log.raids[1].books.pulls == []
    assert log.raids[1].books.unused == {"ENCOUNTER_END": 1}


def test_an_evening_in_which_nothing_happened_is_none(tmp_path: Path) -> None:
    lines = [*at("4/10 12:00:00.000", VERSION, "ZONE_CHANGE,1,Somewhere,0\n"), *evening("4/10"), *evening("4/12")]
    raids, log = raids_of(written(tmp_path, lines))
    assert [frame.height for frame in raids.values()] == [4, 4]
    assert log.raids[0].books.lines == 7


def test_a_log_twice_in_one_file_makes_no_evenings(tmp_path: Path) -> None:
    lines = [*evening("4/10/2022"), *evening("4/12/2022")]
    once, _ = raids_of(written(tmp_path, lines))
    thrice, log = raids_of(written(tmp_path, lines * 3))
    assert list(thrice) == list(once)
    assert [frame.height for frame in thrice.values()] == [4, 4 + 4 * 4]
    assert log.books.lines == 30


def test_a_clock_put_back_or_forward_makes_no_evening(tmp_path: Path) -> None:
    stamps = ("1:50:00.000", "2:59:00.000", "2:01:00.000", "2:59:59.000", "4:00:01.000")
    lines = [line for stamp in stamps for line in at(f"10/30 {stamp}", HIT)]
    assert heights(written(tmp_path, lines), pause_h=1.5) == [5]


@pytest.mark.parametrize("stray", ["10/1/2022 20:00:10.000", "4/11/2022 2:00:10.000", "1/1/2022 0:00:00.000"])
@pytest.mark.parametrize("place", [0, 1, 2, 4])
def test_a_single_stray_line_makes_no_evening(tmp_path: Path, stray: str, place: int) -> None:
    lines = [*at("4/10/2022 20:00:00.000", HIT, HIT), *at("4/10/2022 20:00:20.000", HIT, HIT)]
    lines[place:place] = at(stray, HIT)
    assert heights(written(tmp_path, [*lines, *evening("4/12/2022")])) == [5, 4]
    assert heights(written(tmp_path, [*lines])) == [5]


def test_two_lines_make_an_evening_wherever_the_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [*at("4/10 20:00:00.000", VERSION, HIT), *at("4/12 20:00:00.000", VERSION), *at("4/12 20:00:01.000", HIT)]
    file = written(tmp_path, lines)
    whole, _ = raids_of(file)
    assert [frame.height for frame in whole.values()] == [1, 1]
    monkeypatch.setattr("pipeline.combatlog.reader.MAX_SEGMENT_LINES", 1)
    monkeypatch.setattr("pipeline.combatlog.reader.BLOCK_BYTES", len(lines[0]))
    cut, _ = raids_of(file)
    assert list(cut) == list(whole)
    for raid_id, events in whole.items():
        assert_frame_equal(cut[raid_id], events)


def test_new_year_comes_in_a_later_evening(tmp_path: Path) -> None:
    night = [
        *at("12/31 23:59:00.000", VERSION, START),
        *at("12/31 23:59:59.999", HIT),
        *at("1/1 0:00:30.000", HIT, END),
    ]
    raids, _ = raids_of(written(tmp_path, [*evening("12/28"), *night, *evening("1/2")]))
    assert [raid_id[:13] for raid_id in raids] == ["log-20221228-", "log-20221231-", "log-20230102-"]
    _, over, after = raids.values()
    assert over["timestamp"].dt.convert_time_zone("Etc/GMT-1").dt.year().to_list() == [2022, 2022, 2023, 2023]
    assert over.filter(event_type="encounter_end")["encounter_duration_ms"].to_list() == [90_000]
    assert after["timestamp"].min() == datetime(2023, 1, 2, 19, tzinfo=UTC)


def test_an_evening_has_the_date_of_its_own_place(tmp_path: Path) -> None:
    lines = [*at("4/10/2022 20:00:00.000-11", HIT, HIT), *at("4/11/2022 20:00:00.000-11", HIT, HIT)]
    assert [raid_id[:13] for raid_id in raids_of(written(tmp_path, lines), SideFile())[0]] == [
        *("log-20220410-", "log-20220411-"),
    ]


times = st.lists(st.one_of(st.none(), st.integers(0, 40)), min_size=1, max_size=25)


@given(times, st.data())
@settings(deadline=None)
def test_evenings_begin_at_the_same_lines_however_a_log_is_cut(hours: list[int | None], data: st.DataObject) -> None:
    instants = pl.Series(
        [None if hour is None else DAWN + timedelta(hours=hour) for hour in hours], dtype=wire.TIMESTAMP
    )
    whole, latest = evenings.beginnings(instants, None, None, PAUSE)
    at = data.draw(st.integers(0, len(hours)))
    following = instants[at:].drop_nulls().to_list()
    first, so_far = evenings.beginnings(instants[:at], following[0] if following else None, None, PAUSE)
    second, in_the_end = evenings.beginnings(instants[at:], None, so_far, PAUSE)
    assert [*first, *(at + place for place in second)] == whole
    assert in_the_end == latest


@given(times)
@settings(deadline=None)
def test_evenings_begin_where_a_plain_reading_says(hours: list[int | None]) -> None:
    instants = pl.Series(
        [None if hour is None else DAWN + timedelta(hours=hour) for hour in hours], dtype=wire.TIMESTAMP
    )
    known = [(place, hour) for place, hour in enumerate(hours) if hour is not None]
    expected, latest = [], None
    for (place, hour), (_, following) in pairwise(known):
        if abs(following - hour) < 4:
            if latest is not None and hour >= latest + 4:
                expected.append(place)
            latest = hour if latest is None else max(hour, latest)
    assert evenings.beginnings(instants, None, None, PAUSE)[0] == expected


def test_lines_are_cut_into_evenings_without_empty_parts() -> None:
    lines = pl.DataFrame({"line": range(1, 7)})

    def cut(begins: Sequence[int]) -> list[tuple[bool, list[int]]]:
        return [(is_new, part["line"].to_list()) for is_new, part in evenings.parts(lines, begins)]

    assert cut([]) == [(False, [1, 2, 3, 4, 5, 6])]
    assert cut([0]) == [(True, [1, 2, 3, 4, 5, 6])]
    assert cut([2, 5]) == [(False, [1, 2]), (True, [3, 4, 5]), (True, [6])]


def test_an_opening_ends_with_the_first_line_that_states_no_version() -> None:
    opening, same, other = Opening(), Opening(), Opening()
    for each in (opening, same, other):
        each.add("4/10/2022 20:00:00.000-4", "first", "COMBAT_LOG_VERSION")
        assert not each.is_whole
    opening.add("4/10/2022 20:00:01.000-4", "second", "ZONE_CHANGE")
    same.add("4/10/2022 20:00:01.000-4", "second", "ZONE_CHANGE")
    same.add("4/10/2022 20:00:02.000-4", "third", "ZONE_CHANGE")
    other.add("4/10/2022 20:00:01.000-4", "another", "ZONE_CHANGE")
    clock = Clock(None, None)
    assert opening.raid_id(clock) == same.raid_id(clock) != other.raid_id(clock)
    assert (opening.is_whole, opening.names_year, opening.names_offset) == (True, True, True)
    assert opening.stamp == "4/10/2022 20:00:00.000-4"


def test_the_report_lists_the_raids_of_each_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    raw = home / "data" / "raw"
    raw.mkdir(parents=True)
    lines = [*evening("4/10/2022"), "cut o\n", *evening("4/12/2022"), "cut off again"]
    written(raw, lines)
    (raw / "WoWCombatLog.txt.yaml").write_text("utc_offset: Z\nraid_id: guild\n")
    combatlog.run()
    (entry,) = json.loads((home / "data/imported/import-report.json").read_text())["logs"]
    assert (entry["file"], entry["lines"]) == ("WoWCombatLog.txt", 12)
    assert [(raid["raid_id"], raid["lines"], raid["events"]["combat_damage"]) for raid in entry["raids"]] == [
        *(("guild", 6, 2), ("guild-2", 6, 2)),
    ]
    missed = [raid["not_understood"]["no valid date and time"] for raid in entry["raids"]]
    assert missed == [{"lines": 1, "first_lines": [6]}, {"lines": 1, "first_lines": [12]}], "numbers in the file"
    files = wire.raid_files(home / "data/imported")
    assert [(file.stem, wire.read_raid(file).height) for file in files] == [("guild-2", 4), ("guild", 4)]
    assert {path.name for path in (home / "data/imported").iterdir()} == {"raids", "import-report.json"}
    metrics = json.loads((home / "reports/metrics/import_logs.json").read_text())
    assert (metrics["logs"], metrics["lines"], metrics["events"], metrics["kills"]) == (1, 12, 8, 2)


def test_a_raid_that_two_logs_hold_is_refused_by_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    raw = home / "data" / "raw"
    raw.mkdir(parents=True)
    written(raw, [*evening("4/10/2022"), *evening("4/12/2022")], "WoWCombatLog-both.txt")
    written(raw, evening("4/12/2022"), "WoWCombatLog-second.txt")
    for name in ("both", "second"):
        (raw / f"WoWCombatLog-{name}.txt.yaml").write_text("utc_offset: Z\n")
    with pytest.raises(
        PipelineError, match=r"WoWCombatLog-both\.txt and WoWCombatLog-second\.txt both hold raid log-20220412-"
    ):
        combatlog.run()
    assert not (home / "data" / "imported").exists()
    assert [path.name for path in (home / "data").iterdir()] == ["raw"]


def test_delivering_a_log_again_that_has_grown_adds_what_is_new(
    home: Path,
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lines = [*evening("4/10/2022"), *evening("4/12/2022")]
    with ingest.receiver_process(connection, 1) as receiver:
        for n_lines in (len(lines) - 1, len(lines)):
            combatlog.import_log(written(tmp_path, lines[:n_lines]), receiver.url, utc_offset="Z", raid_id="evenings")
    said = capsys.readouterr().err
    assert "WoWCombatLog.txt: 7 events sent = 7 stored" in said
    assert "no_end after 30.0 s" in said
    assert "WoWCombatLog.txt: 8 events sent = 4 stored + 4 duplicate" in said
    assert "raid evenings-2: 5 lines = 4 events + 1 known and unused" in said
    bucket = open_store("s3://bronze", connection)
    keys = [each.key for each in bucket.list(f"{bronze.PREFIX}/raidid=evenings-2/")]
    ids = {event["event_id"]: event["event_type"] for key in keys for event in json.loads(bucket.get(key))}
    assert sorted(ids.values()) == ["combat_damage", "combat_damage", "encounter_end", "encounter_start"]


def test_the_books_of_raids_add_up_to_the_logs(tmp_path: Path) -> None:
    _, log = raids_of(written(tmp_path, [*evening("4/10"), "x\n", *evening("4/12"), "y\n"]))
    whole, parts = as_json(log.books), [as_json(raid.books) for raid in log.raids]
    assert whole["lines"] == sum(part["lines"] for part in parts) == 12
    assert whole["events"] == {"combat_damage": 4, "encounter_end": 2, "encounter_start": 2}
    assert whole["builds"] == parts[0]["builds"] == parts[1]["builds"] == ["1.14.3"]
    assert whole["not_understood"] == {"no valid date and time": {"lines": 2, "first_lines": [6, 12]}}
    assert whole["pulls"] == [*parts[0]["pulls"], *parts[1]["pulls"]]
