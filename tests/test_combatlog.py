"""What a combat log becomes: events, books, ids and files, on a fixture written by hand with every kind of line."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import bronze, combatlog, ingest, wire
from pipeline.combatlog import delivery
from pipeline.combatlog.importer import Log
from pipeline.combatlog.layouts import LAYOUTS, Layout
from pipeline.combatlog.sidefile import SideFile, find_logs, read_side_file
from pipeline.errors import PipelineError
from pipeline.events import MAX_BATCH_EVENTS, batch_adapter
from pipeline.params import ImportLogs
from pipeline.store import Connection, open_store
from tests.conftest import ROOT

FIXTURE = Path(__file__).parent / "data" / "combatlog" / "every-kind.txt"
STATED = SideFile(year=2022, utc_offset="+01:00")
ALDWYN, BRENNA, CEDRIC, DUNYA = (f"Player-4321-0000A00{number}" for number in (1, 2, 3, 4))
LINES = FIXTURE.read_text(encoding="utf-8").splitlines(keepends=True)


def read(
    file: Path, stated: SideFile = STATED, include_dungeons: bool = False, layouts: tuple[Layout, ...] = LAYOUTS
) -> tuple[pl.DataFrame, Log]:
    log = Log(file, stated, ImportLogs(include_dungeons=include_dungeons, evening_pause_h=4), layouts)
    frames = [frame for _, frame in log.frames()]
    return wire.event_frame(pl.concat(frames)) if frames else pl.DataFrame(schema=wire.WIRE_SCHEMA), log


def written(folder: Path, lines: list[str], name: str = "WoWCombatLog.txt") -> Path:
    file = folder / name
    file.write_text("".join(lines), encoding="utf-8")
    return file


def assert_contract(frame: pl.DataFrame) -> None:
    events = wire.json_events(frame)
    for first in range(0, len(events), MAX_BATCH_EVENTS):
        batch_adapter.validate_json(wire.json_array(events[first : first + MAX_BATCH_EVENTS]))


@pytest.fixture
def imported() -> tuple[pl.DataFrame, Log]:
    return read(FIXTURE)


@pytest.fixture
def events(imported: tuple[pl.DataFrame, Log]) -> pl.DataFrame:
    return imported[0]


def one(events: pl.DataFrame, event_type: str, **fields: Any) -> dict[str, Any]:
    """The one event of a kind with these fields, without what is null."""
    (row,) = events.filter(event_type=event_type, **fields).to_dicts()
    return {name: value for name, value in row.items() if value is not None}


def test_every_kind_of_line_makes_its_kind_of_event(imported: tuple[pl.DataFrame, Log]) -> None:
    events, log = imported
    counts = dict(events["event_type"].value_counts().iter_rows())
    assert counts == {
        "absorb": 2,
        "combat_damage": 16,
        "encounter_end": 3,
        "encounter_start": 3,
        "heal": 2,
        "mana_regeneration": 2,
        "player_death": 2,
        "resurrect": 1,
        "roster": 4,
        "spell_cast": 3,
    }
    assert log.books.not_understood == {}
    assert_contract(events)


def test_every_line_is_in_one_book(imported: tuple[pl.DataFrame, Log]) -> None:
    books = imported[1].books
    assert books.lines == len(LINES) == books.events.total() + books.unused.total() + books.n_not_understood
    assert books.events.total() + books.added.total() == imported[0].height


def test_pulls_have_their_verdict_and_duration(imported: tuple[pl.DataFrame, Log]) -> None:
    pulls = [(pull["encounter_id"], pull["verdict"], pull["duration_ms"]) for pull in imported[1].books.pulls]
    assert pulls == [
        ("900-1", "kill", 60_500),
        ("910-2", "no_end", 3_000),
        ("910-3", "wipe", 30_250),
        ("920-4", "kill", 5_000),
    ]
    ends = imported[0].filter(event_type="encounter_end").sort("timestamp")
    assert ends["encounter_success"].to_list() == [True, None, False]
    assert ends["encounter_duration_ms"].to_list() == [60_500, 3_000, 30_250]
    assert ends["data_quality_flags"].to_list() == [None, ["no_end"], None]


def test_a_pull_states_its_encounter(events: pl.DataFrame) -> None:
    start = one(events, "encounter_start", encounter_id="900-1")
    assert start["encounter_name"] == "Grimtusk, the Elder"
    assert (start["boss_id"], start["encounter_difficulty"], start["raid_size"]) == ("900", "mythic", 20)
    assert one(events, "encounter_start", encounter_id="910-2")["encounter_difficulty"] == "other"


def test_events_outside_of_pulls_have_no_encounter(events: pl.DataFrame) -> None:
    outside = events.filter(pl.col("encounter_id").is_null())
    assert outside["ability_name"].to_list() == ["Arcane Brilliance", "Fireball"]


def test_dungeons_are_left_out_unless_asked_for() -> None:
    without, log = read(FIXTURE)
    assert "920-4" not in without["encounter_id"]
    assert log.books.pulls[-1]["imported"] is False
    with_them, _ = read(FIXTURE, include_dungeons=True)
    assert with_them.filter(encounter_id="920-4")["event_type"].to_list() == [
        "encounter_start",
        "combat_damage",
        "encounter_end",
    ]


def test_a_hit_tells_amount_flags_school_and_health(events: pl.DataFrame) -> None:
    hit = one(events, "combat_damage", damage_amount=1000)
    assert hit["source_player_id"] == ALDWYN
    assert (hit["ability_id"], hit["ability_name"], hit["ability_school"]) == ("25306", "Fireball", "fire")
    assert (hit["is_critical_hit"], hit["is_resisted"], hit["is_blocked"], hit["is_periodic"]) == (
        *(True, True, False, False),
    )
    assert hit["target_entity_type"] == "boss"
    assert (hit["target_entity_health_pct_before"], hit["target_entity_health_pct_after"]) == (100, 99)
    assert "overkill_amount" not in hit


def test_overkill_is_no_health_that_was_there(events: pl.DataFrame) -> None:
    kill = one(events, "combat_damage", damage_amount=98_280)
    assert kill["overkill_amount"] == 1_280
    assert (kill["target_entity_health_pct_before"], kill["target_entity_health_pct_after"]) == (97, 0)


def test_a_mixed_school_is_none(events: pl.DataFrame) -> None:
    tick = one(events, "combat_damage", ability_name="Frostfire")
    assert "ability_school" not in tick
    assert tick["is_periodic"]


def test_a_swing_is_counted_once_and_its_block_is_not_the_targets(events: pl.DataFrame) -> None:
    swing = one(events, "combat_damage", ability_name="Melee", target_entity_id=BRENNA)
    assert (swing["damage_amount"], swing["blocked_amount"], swing["absorbed_amount"]) == (400, 60, 40)
    assert swing["is_blocked"]
    assert swing["is_absorbed"]
    assert "target_entity_health_pct_after" not in swing
    assert "ability_id" not in swing


def test_health_in_percent_does_not_tell_what_was_before(events: pl.DataFrame) -> None:
    fall = one(events, "combat_damage", ability_name="Falling")
    assert fall["source_player_id"] == fall["source_player_name"] == "environment"
    assert fall["target_entity_health_pct_after"] == 90
    assert "target_entity_health_pct_before" not in fall


def test_a_heal_is_gross_with_its_overheal(events: pl.DataFrame) -> None:
    heal = one(events, "heal", target_entity_id=ALDWYN)
    assert (heal["healing_amount"], heal["overheal_amount"], heal["absorbed_amount"]) == (1500, 900, 100)
    assert heal["is_critical_hit"]
    renew = one(events, "heal", ability_name="Renew")
    assert (renew["target_entity_health_pct_before"], renew["target_entity_health_pct_after"]) == (70, 90)
    assert "target_entity_type" not in renew, "a pet is neither player nor boss nor add"


def test_an_absorb_belongs_to_whose_shield_it_was(events: pl.DataFrame) -> None:
    of_swing, of_spell = events.filter(event_type="absorb").to_dicts()
    assert of_swing["source_player_id"] == ALDWYN
    assert of_swing["target_entity_id"] == of_spell["target_entity_id"] == of_spell["source_player_id"] == BRENNA
    assert [of_swing["absorbed_amount"], of_spell["absorbed_amount"]] == [40, 300]
    assert [of_swing["ability_name"], of_spell["ability_name"]] == ["Power Word: Shield", "Shadow Protection"]
    assert [of_swing["ability_school"], of_spell["ability_school"]] == ["holy", "shadow"]


def test_the_dead_are_the_target_and_the_killer_dealt_the_last_blow(events: pl.DataFrame) -> None:
    death = one(events, "player_death", target_entity_id=CEDRIC)
    assert death["source_player_name"] == "Grimtusk, the Elder"
    untouched = one(events, "player_death", target_entity_id=BRENNA)
    assert untouched["source_player_id"] == "environment", "the last blow fell in another pull"


def test_who_feigns_death_lives(events: pl.DataFrame) -> None:
    assert events.filter(event_type="player_death", target_entity_id=ALDWYN).is_empty()


def test_pets_totems_and_what_totems_call_have_their_player(events: pl.DataFrame) -> None:
    owners = dict(
        events.filter(event_type="combat_damage")
        .filter(pl.col("source_owner_id").is_not_null())
        .select("source_player_name", "source_owner_id")
        .iter_rows()
    )
    # The pet's owner is known only from a later line, the elemental's only through its totem.
    assert owners == {"Searing Totem": BRENNA, "Pipwick": CEDRIC, "Fire Elemental": BRENNA}


def test_an_enemy_that_a_player_summons_is_no_pet(tmp_path: Path) -> None:
    summon = next(line for line in LINES if "SPELL_SUMMON" in line)
    hostile = [line.replace("0x2114", "0xa48") if '"Searing Totem",0x2114' in line else line for line in LINES]
    assert summon in hostile
    events, _ = read(written(tmp_path, hostile))
    assert one(events, "combat_damage", source_player_name="Searing Totem").get("source_owner_id") is None


def test_the_boss_bears_the_encounters_name_or_has_the_most_health(events: pl.DataFrame) -> None:
    council = events.filter(event_type="combat_damage", encounter_id="910-2")
    kinds = dict(council.select("target_entity_name", "target_entity_type").iter_rows())
    assert kinds == {"Lady Sharp": "add", "Lord Blunt": "boss"}
    first = events.filter(event_type="combat_damage", encounter_id="900-1")
    kinds = dict(first.select("target_entity_name", "target_entity_type").iter_rows())
    assert kinds["Grimtusk, the Elder"] == "boss"
    assert kinds["Tusk Whelp"] == "add"


def test_gains_name_their_resource(events: pl.DataFrame) -> None:
    mana = one(events, "mana_regeneration", resource_type="mana")
    assert mana["resource_regeneration_rate"] == 1200
    assert (mana["resource_amount_before"], mana["resource_amount_after"]) == (3800, 5000)
    rage = one(events, "mana_regeneration", resource_type="rage")
    assert rage["is_periodic"]
    assert "resource_amount_after" not in rage, "the block counts rage in tenths"


def test_a_roster_takes_names_from_other_lines(events: pl.DataFrame) -> None:
    names = dict(events.filter(event_type="roster").select("source_player_id", "source_player_name").iter_rows())
    assert names == {
        ALDWYN: "Aldwyn-Nowhere",
        BRENNA: "Brenna-Nowhere",
        CEDRIC: "Cedric-Nowhere",
        DUNYA: DUNYA,
    }


def test_a_new_year_inside_the_log_advances_the_year(events: pl.DataFrame) -> None:
    assert events["timestamp"].min().isoformat() == "2022-12-31T22:58:00+00:00"  # type: ignore[union-attr]
    local = events["timestamp"].dt.convert_time_zone("Europe/Madrid")
    assert local.max().isoformat() == "2023-01-01T00:30:00+01:00"  # type: ignore[union-attr]


def test_identical_lines_are_two_events(events: pl.DataFrame) -> None:
    twice = events.filter(event_type="combat_damage", encounter_id="910-3")
    assert twice.height == 2
    assert twice.drop("event_id").n_unique() == 1
    assert events["event_id"].n_unique() == events.height


def test_a_log_that_has_grown_keeps_its_ids(tmp_path: Path) -> None:
    young, young_log = read(written(tmp_path, LINES[:40]))
    grown, grown_log = read(written(tmp_path, LINES))
    assert young_log.raid_id == grown_log.raid_id
    from_lines = young.filter(pl.col("data_quality_flags").is_null())
    assert from_lines.height > 20
    assert set(from_lines["event_id"]) < set(grown["event_id"])


def test_ids_do_not_depend_on_how_the_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = read(FIXTURE)
    monkeypatch.setattr("pipeline.combatlog.reader.MIN_SEGMENT_LINES", 1)
    monkeypatch.setattr("pipeline.combatlog.reader.MAX_SEGMENT_LINES", 25)
    cut, log = read(FIXTURE)
    told = pl.all().exclude("source_owner_id", "source_player_id", "source_player_name", "target_entity_type")
    # Only what later lines tell may differ: a pet's owner, who the boss is.
    assert cut.select(told).equals(whole.select(told))
    assert [pull["verdict"] for pull in log.books.pulls] == ["kill", "no_end", "wipe", "kill"]


def test_raid_ids_come_from_date_and_content(tmp_path: Path) -> None:
    _, log = read(FIXTURE)
    assert log.raid_id.startswith("log-20221231-")
    other = [line.replace("Somewhere", "Elsewhere") for line in LINES]
    assert read(written(tmp_path, other))[1].raid_id != log.raid_id
    assert read(FIXTURE, SideFile(year=2022, utc_offset="Z", raid_id="my_raid"))[1].raid_id == "my_raid"


def test_gzip_and_windows_line_ends_change_nothing(tmp_path: Path, events: pl.DataFrame) -> None:
    packed = tmp_path / "WoWCombatLog.txt.gz"
    packed.write_bytes(gzip.compress(FIXTURE.read_bytes().replace(b"\n", b"\r\n")))
    assert read(packed)[0].equals(events)


def test_another_layout_is_another_row(tmp_path: Path) -> None:
    [classic] = (layout for layout in LAYOUTS if layout.name == "classic-1.14")
    block = classic.parts["advanced"]
    modern = replace(classic, builds=("99",), parts={**classic.parts, "advanced": (*block[:7], "novelty", *block[7:])})
    version = "4/10 20:00:00.000  COMBAT_LOG_VERSION,17,ADVANCED_LOG_ENABLED,1,BUILD_VERSION,99.0.5,PROJECT_ID,1\n"
    hit = next(line for line in LINES if "SPELL_DAMAGE" in line).split(",")
    longer = ["4/10 20:00:01.000  SPELL_DAMAGE", *hit[1:19], "77", *hit[19:]]
    file = written(tmp_path, [version, ",".join(longer)])
    assert read(file, layouts=(classic,))[1].books.n_not_understood == 1
    events, log = read(file, layouts=(classic, modern))
    assert log.books.n_not_understood == 0
    assert events["damage_amount"].to_list() == [1000]


def test_two_workers_import_the_same_bytes_as_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    raw = home / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / "WoWCombatLog-1.txt").write_bytes(FIXTURE.read_bytes())
    (raw / "WoWCombatLog-1.txt.yaml").write_text("year: 2022\nutc_offset: +01:00\n")
    (raw / "evening.log").write_text("".join([*LINES[2:], "cut o"]))
    (raw / "evening.log.yaml").write_text("year: 2021\nutc_offset: +10:00\nraid_id: evening\n")
    combatlog.run()
    report = json.loads((home / "data/imported/import-report.json").read_text())["logs"]
    assert [entry["file"] for entry in report] == ["WoWCombatLog-1.txt", "evening.log"]
    (first,), (evening,) = report[0]["raids"], report[1]["raids"]
    assert evening["not_understood"] == {"no valid date and time": {"lines": 1, "first_lines": [len(LINES) - 1]}}
    frames = {file.stem: wire.read_raid(file) for file in wire.raid_files(home / "data" / "imported")}
    assert set(frames) == {first["raid_id"], "evening"}
    assert [entry["lines"] for entry in report] == [first["lines"], evening["lines"]] == [len(LINES), len(LINES) - 1]
    assert frames["evening"]["timestamp"].min().isoformat() == "2021-12-31T13:58:00+00:00"  # type: ignore[union-attr]
    metrics = json.loads((home / "reports/metrics/import_logs.json").read_text())
    assert metrics["events"] == sum(frame.height for frame in frames.values())
    assert (metrics["logs"], metrics["pulls"], metrics["kills"], metrics["wipes"]) == (2, 6, 2, 2)
    before = {path: path.read_bytes() for path in (home / "data" / "imported").rglob("*") if path.is_file()}
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    combatlog.run()
    assert {path: path.read_bytes() for path in before} == before


def test_the_stage_without_logs_leaves_empty_outputs(home: Path) -> None:
    combatlog.run()
    assert (home / "data" / "imported" / "raids").is_dir()
    assert json.loads((home / "data/imported/import-report.json").read_text()) == {"logs": []}
    assert set(json.loads((home / "reports/metrics/import_logs.json").read_text()).values()) == {0}


def test_the_same_log_twice_is_refused_by_name(home: Path) -> None:
    raw = home / "data" / "raw"
    raw.mkdir(parents=True)
    for name in ("WoWCombatLog-1.txt", "WoWCombatLog-copy.txt"):
        (raw / name).write_bytes(FIXTURE.read_bytes())
        (raw / f"{name}.yaml").write_text('year: 2022\nutc_offset: "+01:00"\n')
    with pytest.raises(PipelineError, match=r"WoWCombatLog-1\.txt and WoWCombatLog-copy\.txt both hold raid log-2022"):
        combatlog.run()
    assert not (home / "data" / "imported").exists()


def test_a_year_and_an_offset_are_asked_for_where_the_log_has_none() -> None:
    with pytest.raises(PipelineError, match=r"import-log --year 2022 --utc-offset=\+02:00.*`year: 2022` and"):
        read(FIXTURE, SideFile())
    with pytest.raises(PipelineError, match=r"offset from UTC\. Say it") as raised:
        read(FIXTURE, SideFile(year=2022))
    assert "--year" not in str(raised.value)


def test_newer_logs_say_it_themselves(tmp_path: Path) -> None:
    lines = [line.replace("12/31 23:5", "12/31/2024 23:5").replace("  ", "-5  ", 1) for line in LINES[:12]]
    events, _ = read(written(tmp_path, lines), SideFile())
    assert events["timestamp"].min().isoformat() == "2025-01-01T04:58:00+00:00"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; copy it again"),
        (b"\x00\x01\xff" * 100_000, "it is no combat log"),
        (b"PK\x03\x04 something else\n" * 10, "it is no combat log"),
        (b"2/30 20:00:00.000  ZONE_CHANGE,1,2,3\n", "2/30 does not exist in 2022"),
        (b"\x1f\x8b\x08\x00broken", "compressed file is cut off or damaged"),
        (gzip.compress(FIXTURE.read_bytes())[:-30], "compressed file is cut off or damaged"),
    ],
)
def test_what_is_no_log_is_said_so(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "WoWCombatLog.txt"
    file.write_bytes(content)
    with pytest.raises(PipelineError, match=message):
        read(file)


def test_a_log_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"nowhere\.txt: cannot be read"):
        read(tmp_path / "nowhere.txt")


def test_side_files_are_checked(tmp_path: Path) -> None:
    log = written(tmp_path, LINES)
    side = log.with_name("WoWCombatLog.txt.yaml")
    side.write_text("yaer: 2022\n")
    with pytest.raises(PipelineError, match="yaer: no such parameter"):
        read_side_file(log)
    side.write_text("")
    assert read_side_file(log) == SideFile()
    (tmp_path / "gone.txt.yaml").write_text("")
    with pytest.raises(PipelineError, match=r"describes gone\.txt, which is not there"):
        find_logs(tmp_path)


@pytest.mark.parametrize(
    ("written_as", "offset"),
    [("+02:00", "+02:00"), ("'+02:00'", "+02:00"), ("+10:00", "+10:00"), ("-9:30", "-09:30"), ("2", "+02:00")],
)
def test_offsets_survive_yaml(tmp_path: Path, written_as: str, offset: str) -> None:
    log = written(tmp_path, LINES)
    log.with_name("WoWCombatLog.txt.yaml").write_text(f"utc_offset: {written_as}\n")
    assert read_side_file(log).utc_offset == offset


def test_a_kept_log_is_part_of_the_next_run(home: Path, tmp_path: Path) -> None:
    file = written(tmp_path, LINES[:40], "evening.txt")
    delivery.keep_log(file, STATED)
    written(tmp_path, LINES, "evening.txt")
    target = delivery.keep_log(file, STATED)
    assert target.read_bytes() == FIXTURE.read_bytes()
    assert [path.name for path in find_logs(home / "data" / "raw")] == ["evening.txt"]
    assert read_side_file(target) == STATED
    assert delivery.stated(target, None, "Z", None) == SideFile(year=2022, utc_offset="Z")
    with pytest.raises(PipelineError, match="another log of this name is kept already"):
        delivery.keep_log(written(tmp_path, LINES[1:], "evening.txt"), STATED)
    assert target.read_bytes() == FIXTURE.read_bytes()


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("WoWCombatLog-1.txt", []),
        ("WoWCombatLog.txt.gz", []),
        ("evening.txt", ["evening.txt.yaml"]),
        ("WoWCombatLog.log", ["WoWCombatLog.log.yaml"]),
    ],
)
def test_a_log_that_says_all_of_itself_is_kept_alone_if_its_name_tells_a_log(
    home: Path, tmp_path: Path, name: str, beside: list[str]
) -> None:
    target = delivery.keep_log(written(tmp_path, LINES, name), SideFile())
    assert sorted(path.name for path in target.parent.iterdir()) == sorted([name, *beside])
    assert find_logs(target.parent) == [target]
    assert read_side_file(target) == SideFile()


def test_import_log_posts_to_a_receiver_and_twice_adds_nothing(
    home: Path, connection: Connection, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    raid_id = "every-kind"
    with ingest.receiver_process(connection, 1) as receiver:
        for _ in range(2):
            combatlog.import_log(FIXTURE, receiver.url, 2022, "+01:00", raid_id, keep=True)
    said = capsys.readouterr().err
    assert "38 events sent = 38 stored + 0 duplicate + 0 rejected" in said
    assert "38 events sent = 0 stored + 38 duplicate + 0 rejected" in said
    assert "54 lines = 37 events + 17 known and unused + 0 not understood" in said
    kept = home / "data" / "raw" / "every-kind.txt"
    assert read_side_file(kept) == SideFile(year=2022, utc_offset="+01:00", raid_id=raid_id)
    stored = open_store("s3://bronze", connection).list(f"{bronze.PREFIX}/raidid={raid_id}/")
    assert len(list(stored)) == 1


def test_an_impossible_option_is_named(home: Path) -> None:
    with pytest.raises(PipelineError, match="--year 1999"):
        combatlog.import_log(FIXTURE, year=1999)
    with pytest.raises(PipelineError, match="'half past two' is no offset from UTC"):
        combatlog.import_log(FIXTURE, year=2022, utc_offset="half past two")
