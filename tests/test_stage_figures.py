"""What the stages tell of their work, figure for figure and word for word: metrics, reports, metadata, messages."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from pipeline import combatlog, gold, params, paths, replay, silver, tables, wire
from pipeline.combatlog.sidefile import read_side_file
from pipeline.errors import PipelineError
from pipeline.silver import clean
from tests.oracle import events as cases
from tests.oracle.events import BOSS, MAGE, TANK, boss_hit, death, hit
from tests.raids import ARRIVAL, EVENING, batch, evening, event, write_bronze
from tests.test_combatlog import FIXTURE, LINES
from tests.test_combatlog_evenings import END, HIT, START, VERSION, at

EXPECTED_REPORT = FIXTURE.with_name("import-report.json")
TIMELINES = ("raid_timeline", "player_timeline")


@pytest.fixture(autouse=True)
def home_with_one_worker(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    return home


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def as_file(figures: dict[str, Any]) -> str:
    """How each file of figures is written: indented, in this order, ended by a newline."""
    return json.dumps(figures, indent=2) + "\n"


def metadata(file: Path) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in pq.read_schema(file).metadata.items()}


# --- combat logs -----------------------------------------------------------------------------------------------------


def guilds_log() -> str:
    """A wipe, a line that is cut off, and a pull that goes on at the end, with a letter in Latin-1."""
    lines = [
        *at("4/10/2022 20:00:00.000", VERSION, HIT, START),
        *at("4/10/2022 20:00:30.000", HIT),
        *at("4/10/2022 20:01:00.000", END.replace(",1\n", ",0\n")),
        "cut o\n",
        *at("4/10/2022 20:02:00.000", START),
        *at("4/10/2022 20:02:03.500", HIT.replace("Cedric", "Cédric")),
    ]
    return "".join(lines)


def raw_log(name: str, content: bytes, side_file: str) -> Path:
    paths.RAW.mkdir(parents=True, exist_ok=True)
    file = paths.RAW / name
    file.write_bytes(content)
    (paths.RAW / f"{name}.yaml").write_text(side_file)
    return file


@pytest.fixture
def two_logs() -> list[Path]:
    return [
        raw_log("WoWCombatLog-1.txt", FIXTURE.read_bytes(), "year: 2022\nutc_offset: +01:00\n"),
        raw_log("guild.log", guilds_log().encode("latin-1"), "utc_offset: Z\nraid_id: guild\n"),
    ]


def test_the_import_report_accounts_for_every_line_of_every_log(two_logs: list[Path]) -> None:
    combatlog.run()
    assert (paths.IMPORTED / "import-report.json").read_text() == EXPECTED_REPORT.read_text()
    raids = ["guild.parquet", "log-20221231-acb02293.parquet"]
    assert sorted(path.name for path in paths.IMPORTED.iterdir()) == ["import-report.json", "raids"]
    assert [file.name for file in wire.raid_files(paths.IMPORTED)] == raids


def test_the_imports_figures_are_those_of_all_logs(two_logs: list[Path]) -> None:
    combatlog.run()
    assert (paths.METRICS / "import_logs.json").read_text() == as_file(
        {
            "logs": 2,
            "lines": 62,
            "events": 45,
            "lines_unused": 18,
            "lines_not_understood": 1,
            "pulls": 5,
            "kills": 1,
            "wipes": 2,
            "pulls_without_end": 2,
        }
    )
    assert [file.name for file in paths.METRICS.iterdir()] == ["import_logs.json"]


def test_the_import_says_what_became_of_each_raid(two_logs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    combatlog.run()
    assert said(capsys) == [
        "import_logs: 2 logs",
        "WoWCombatLog-1.txt, raid log-20221231-acb02293: 54 lines = 37 events + 17 known and unused + 0 not understood",
        "  Grimtusk, the Elder: kill after 60.5 s",
        "  The Sharp Council: no_end after 3.0 s",
        "  The Sharp Council: wipe after 30.2 s",
        "  Cellar Rat King: kill after 5.0 s, a dungeon, left out",
        "guild.log, raid guild: 8 lines = 6 events + 1 known and unused + 1 not understood",
        "  1 lines with bytes that are no UTF-8: letters of names in them are lost",
        "  not understood: no valid date and time, 1 times (line 6)",
        "  Grimtusk, the Elder: wipe after 60.0 s",
        "  Grimtusk, the Elder: no_end after 3.5 s",
    ]


def test_a_raids_letters_are_no_escapes_in_the_report() -> None:
    raw_log("WoWCombatLog.txt", "".join(LINES).replace("Grimtusk", "Grîmtusk").encode(), "year: 2022\nutc_offset: Z\n")
    combatlog.run()
    assert '"encounter_name": "Grîmtusk, the Elder"' in (paths.IMPORTED / "import-report.json").read_text()


def test_two_raids_of_one_log_are_no_copies_of_another(two_logs: list[Path]) -> None:
    later = [*at("4/12/2022 20:00:00.000", VERSION, HIT, HIT)]
    raw_log("guild.log", (guilds_log() + "".join(later)).encode(), "utc_offset: Z\nraid_id: guild\n")
    combatlog.run()
    stems = [file.stem for file in wire.raid_files(paths.IMPORTED)]
    assert stems == ["guild-2", "guild", "log-20221231-acb02293"]


def test_a_copy_of_a_log_is_found_before_anything_is_read(
    two_logs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(two_logs[0], paths.RAW / "WoWCombatLog-2.txt")
    shutil.copy(f"{two_logs[0]}.yaml", paths.RAW / "WoWCombatLog-2.txt.yaml")
    monkeypatch.setattr(combatlog, "import_to_folder", pytest.fail)
    with pytest.raises(PipelineError) as raised:
        combatlog.run()
    assert str(raised.value) == (
        "data/raw: WoWCombatLog-1.txt and WoWCombatLog-2.txt both hold raid log-20221231-acb02293: remove the copy, or "
        "give one another raid_id in its side file (WoWCombatLog-2.txt.yaml)"
    )


def test_what_a_killed_worker_left_is_no_part_of_the_import(two_logs: list[Path], tmp_path: Path) -> None:
    section = params.load().import_logs
    folder = tmp_path / "0"
    wire.write_raid(pl.DataFrame(schema=wire.WIRE_SCHEMA), folder, "raid-of-before")
    task = combatlog.Task(two_logs[1], read_side_file(two_logs[1]), section, folder)
    imported = combatlog.import_to_folder(task)
    assert [file.stem for file in wire.raid_files(folder)] == ["guild"]
    assert (imported.log, [raid.raid_id for raid in imported.raids]) == (two_logs[1], ["guild"])


def test_import_log_says_what_it_sent_and_what_it_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[str, str, str, int]] = []

    def deliver(raids: Iterable[replay.RaidPart], url: str, source: str) -> replay.Delivery:
        # What the receiver and the way to it do has tests of its own.
        sent.extend((url, source, raid_id, frame.height) for raid_id, frame in raids)
        return replay.Delivery(sent=sum(height for *_, height in sent))

    monkeypatch.setattr(replay, "deliver", deliver)
    file = tmp_path / "guild.log"
    file.write_text(guilds_log(), encoding="utf-8")
    combatlog.import_log(file, "http://127.0.0.1:1", utc_offset="Z", raid_id="guild", keep=True)
    assert sent == [("http://127.0.0.1:1", "combat-log", "guild", 6)], "a pull that is open gets no end yet"
    assert said(capsys) == [
        "guild.log: 6 events sent = 0 stored + 0 duplicate + 0 rejected, in 0 batches",
        "raid guild: 8 lines = 6 events + 1 known and unused + 1 not understood",
        "  not understood: no valid date and time, 1 times (line 6)",
        "  Grimtusk, the Elder: wipe after 60.0 s",
        "  Grimtusk, the Elder: no_end after 3.5 s",
        "kept as data/raw/guild.log; the next `dvc repro` imports it",
    ]
    assert (paths.RAW / "guild.log.yaml").read_text() == "raid_id: guild\nutc_offset: Z\n"
    (paths.RAW / "guild.log").unlink()
    monkeypatch.setenv("FLASK_PORT", "17")
    combatlog.import_log(file, utc_offset="Z", raid_id="guild")
    assert sent[-1] == ("http://127.0.0.1:17", "combat-log", "guild", 6)
    assert not (paths.RAW / "guild.log").exists(), "kept only if asked"


# --- Silver ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bronze_of_two_raids() -> None:
    """Eight faulty events of four kinds, three copies, and events of two days."""
    late = evening("raid-late", begin=EVENING.replace(hour=23, minute=59, second=50))
    faulty = [
        *(event(f"kind {number}", "dance", raid_id="raid-odd") for number in range(3)),
        *(event(f"large {number}", phase=-1, raid_id="raid-odd") for number in range(2)),
        *(event(f"value {number}", ability_school="water", raid_id="raid-odd") for number in range(2)),
        event("skew", timestamp="2030-01-01T00:00:00Z", raid_id="raid-odd"),
    ]
    write_bronze(
        paths.BRONZE,
        [
            batch(late, "l", ARRIVAL.replace(day=2), "raid-late"),
            batch([*evening("raid-odd"), *faulty], "o1", ARRIVAL, "raid-odd"),
            batch(evening("raid-odd")[:3], "o2", ARRIVAL, "raid-odd"),
        ],
    )


REFUSED = {"unknown_event_type": 3, "number_out_of_range": 2, "unknown_value": 2, "clock_skew": 1}


def counted(refused: dict[str, int]) -> dict[str, int]:
    """For every reason, in the order of the list."""
    return {reason: refused.get(reason, 0) for reason in tables.REASONS}


@pytest.mark.usefixtures("bronze_of_two_raids")
def test_silvers_figures_account_for_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    silver.run()
    one = len(evening("x"))
    assert (paths.METRICS / "silver.json").read_text() == as_file(
        {
            "bronze_events": 2 * one + 8 + 3,
            "silver_rows": 2 * one,
            "duplicates_removed": 3,
            "quarantined": counted(REFUSED),
            "massive_hits": 18,
            "raids": 2,
            "files": 4,
        }
    )
    assert [file.name for file in paths.METRICS.iterdir()] == ["silver.json"]
    assert said(capsys) == ["silver: 2 raids"]


@pytest.mark.usefixtures("bronze_of_two_raids")
def test_each_file_of_silver_states_the_counts_of_its_raid() -> None:
    silver.run()
    one = len(evening("x"))
    late = {
        "raid_id": "raid-late",
        "bronze_events": str(one),
        "silver_rows": str(one),
        "duplicates_removed": "0",
        "quarantined": json.dumps(counted({})),
    }
    odd = {
        "raid_id": "raid-odd",
        "bronze_events": str(one + 8 + 3),
        "silver_rows": str(one),
        "duplicates_removed": "3",
        "quarantined": json.dumps(counted(REFUSED)),
    }
    first, second = silver.event_files(paths.SILVER, "raid-late")
    rows = [pq.read_metadata(file).num_rows for file in (first, second)]
    assert rows[0] > 0
    assert sum(rows) == one
    assert [metadata(first), metadata(second)] == [late | {"rows": str(height)} for height in rows]
    [events] = silver.event_files(paths.SILVER, "raid-odd")
    assert metadata(events) == odd | {"rows": str(one)}
    assert metadata(paths.SILVER / "quarantine/v1/raidid=raid-odd/part-0.parquet") == odd


def test_books_of_silver_that_do_not_balance_are_a_fault() -> None:
    metrics = {"bronze_events": 7, "silver_rows": 4, "duplicates_removed": 2, "quarantined": {"malformed": 1}}
    silver._balance(metrics, expected=7)
    for wrong, expected in (metrics, 8), (metrics | {"silver_rows": 5}, 7), (metrics | {"bronze_events": 8}, 7):
        with pytest.raises(PipelineError, match="the books do not balance"):
            silver._balance(wrong, expected)
    with pytest.raises(PipelineError) as raised:
        silver._balance(metrics | {"duplicates_removed": 1}, expected=9)
    assert str(raised.value) == (
        "silver: the books do not balance: the manifest counts 9 events, 7 were read and 6 accounted for; this is a "
        "fault of the pipeline, please report it"
    )


def test_books_of_a_raid_that_do_not_balance_name_the_raid() -> None:
    batches = [batch(evening("raid001")), batch([event("x", "dance")], "odd")]
    result = silver.clean_raid(batches, params.load().silver)
    clean._balance(result, batches)
    with pytest.raises(PipelineError) as raised:
        clean._balance(replace(result, duplicates_removed=2), [*batches, batch([], raid_id="raid000")])
    one = len(evening("x"))
    assert str(raised.value) == (
        f"silver, raid000, raid001: the books do not balance: {one + 1} events in Bronze, but {one} in Silver, 2 "
        "duplicates and 1 quarantined; this is a fault of the pipeline, please report it"
    )


# --- Gold ------------------------------------------------------------------------------------------------------------

RULE = params.Gold(success_boss_hp_pct=1.0, time_limit_s=900.0, max_deaths=None, reset_s=10.0)


def raid_of_three_pulls() -> pl.DataFrame:
    """A success, a wipe with two deaths, a reset of which nobody knows the outcome, and two events outside of pulls."""

    def pull(encounter_id: str, minute: int, *rows: cases.Row) -> list[cases.Row]:
        return cases.pull(encounter_id, EVENING.replace(minute=minute), [hit(0, MAGE, BOSS, 100.5), *rows])

    return cases.silver_frame(
        "raid-a",
        pull("p1", 0, boss_hit(30, 0.5)),
        pull("p2", 10, cases.heal(1, TANK, MAGE, 50, 20), boss_hit(30, 40), death(31, MAGE), death(32, TANK)),
        pull("p3", 20, hit(5, TANK, BOSS, 1)),
        cases.pull(None, EVENING.replace(minute=30), [hit(0, MAGE, BOSS, 7), hit(1, MAGE, BOSS, 7)]),
    )


@pytest.fixture
def silver_of_one_raid() -> pl.DataFrame:
    frame = raid_of_three_pulls()
    cases.write_silver([frame], paths.SILVER)
    return frame


@pytest.mark.usefixtures("silver_of_one_raid")
def test_golds_figures_are_those_of_the_season(capsys: pytest.CaptureFixture[str]) -> None:
    gold.run()
    assert (paths.METRICS / "gold.json").read_text() == as_file(
        {
            "raids": 1,
            "pulls": 3,
            "outcomes": {"success": 1, "wipe": 1, "unknown": 1},
            "resets": 1,
            "kill_share": 0.3333,
            "players": 2,
            "player_pulls": 5,
            "total_damage": 502.5,
            "total_healing": 30.0,
            "total_player_deaths": 2,
            "events_in_pulls": 9,
            "events_outside_pulls": 2,
        }
    )
    assert [file.name for file in paths.METRICS.iterdir()] == ["gold.json"]
    assert said(capsys) == ["gold: 1 batches of raids"]


def test_a_season_without_pulls_has_no_share_of_kills() -> None:
    cases.write_silver(
        [cases.silver_frame("raid-idle", cases.pull(None, EVENING, [hit(0, MAGE, BOSS, 7)]))], paths.SILVER
    )
    gold.run()
    figures = json.loads((paths.METRICS / "gold.json").read_text())
    assert (figures["raids"], figures["pulls"], figures["kill_share"]) == (1, 0, None)
    assert figures["events_outside_pulls"] == 1


@pytest.mark.usefixtures("silver_of_one_raid")
def test_each_file_of_gold_states_its_rows_and_a_timeline_its_raid() -> None:
    gold.run()
    for name in ("raid_summary", "player_raid_stats", "dim_player", "dim_raid"):
        file = paths.GOLD / name / "v1" / "part-0.parquet"
        assert metadata(file) == {"rows": str(gold.read(name).height)}
    for name in TIMELINES:
        file = paths.GOLD / name / "v1" / "raidid=raid-a" / "part-0.parquet"
        assert metadata(file) == {"raid_id": "raid-a", "rows": str(gold.read(name, "raid-a").height)}


def test_a_table_is_read_as_it_was_made(silver_of_one_raid: pl.DataFrame) -> None:
    gold.run()
    made = gold.raid_gold(silver_of_one_raid, params.load().gold)
    for name in ("raid_summary", "player_raid_stats"):
        assert_frame_equal(gold.read(name), getattr(made, name))
    for name in TIMELINES:
        assert gold.read(name, "raid-a").height > 0
        assert_frame_equal(gold.read(name, "raid-a"), getattr(made, name))
        assert_frame_equal(
            gold.read(name, "raid-b"), pl.DataFrame(schema=tables.polars_schema(tables.GOLD_TABLES[name]))
        )


def message_of(name: str, raid_id: str | None = None) -> str:
    with pytest.raises(PipelineError) as raised:
        getattr(gold, name)(*([] if raid_id is None else [raid_id]))
    return str(raised.value)


def test_what_gold_lacks_is_said_with_the_remedy(home: Path) -> None:
    file = home / "data/gold/raid_summary/v1/part-0.parquet"
    assert message_of("raid_summary") == f"{file} is missing: make it with `dvc repro gold` or fetch it with `dvc pull`"
    with pytest.raises(PipelineError) as raised:
        gold.read("raid_summary")
    assert str(raised.value) == message_of("raid_summary")
    with pytest.raises(PipelineError) as raised:
        gold.run()
    assert str(raised.value) == ("data/silver is missing: make it with `dvc repro silver` or fetch it with `dvc pull`")


def test_a_raid_that_gold_lacks_is_said_with_where_to_look(home: Path) -> None:
    cases.write_silver([raid_of_three_pulls()], paths.SILVER)
    gold.run()
    assert message_of("raid_timeline", "raid-b") == (
        f"there is no raid raid-b in {home / 'data/gold'}; the raids are listed by gold.dim_raid()"
    )


def test_events_out_of_order_are_told_with_the_remedy() -> None:
    with pytest.raises(PipelineError) as raised:
        gold.raid_gold(raid_of_three_pulls()[::-1], RULE)
    assert str(raised.value) == (
        "gold: the events are not in order of (raid_id, timestamp), as Silver is to keep them: make Silver again with "
        "`dvc repro silver`"
    )


def test_books_of_gold_that_do_not_balance_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    events = raid_of_three_pulls()
    pulls = gold.raid_gold(events, RULE).raid_summary
    monkeypatch.setattr(gold.summary, "summarise_pulls", lambda *_: pulls.head(2))
    with pytest.raises(PipelineError) as raised:
        gold.raid_gold(events, RULE)
    assert str(raised.value) == (
        f"gold: the books do not balance: {events.height} events in Silver, but {pulls['n_events'].head(2).sum()} in "
        "pulls and 2 outside; this is a fault of the pipeline, please report it"
    )
