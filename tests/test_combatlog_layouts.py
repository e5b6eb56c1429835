"""Every layout: the table of combat-log.md, one log per layout written by hand, and what the lines mean in each.

Beside each log of `tests/logs/` a YAML file says what becomes of it. All tell the same story, each in its layout's
spelling: a kill with every event kind, a reset, a dungeon, a pull that the next one ends and a pull that the file's end
ends, then one line for each kind of trouble.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pipeline.combatlog import players, pulls
from pipeline.combatlog.importer import Log
from pipeline.combatlog.layouts import FORMS, LAYOUTS, UNUSED, Layout, layouts_of, plan
from pipeline.combatlog.pulls import Pull
from pipeline.combatlog.report import as_json
from pipeline.combatlog.sidefile import SideFile
from pipeline.events import PlayerClass, ResourceType, Role
from tests.test_combatlog import assert_contract, one, read, written

LOGS = Path(__file__).parent / "logs"
NAMES = sorted(file.stem for file in LOGS.glob("*.yaml"))
TORVALD, SIGRUN, HALVAR, YRSA = (f"Player-4321-0000B00{number}" for number in (1, 2, 3, 4))
BOSS = '"Vargoth, the Hollow"'
DAMAGE, HEAL = pl.col("damage_amount"), pl.col("healing_amount")

# combat-log.md's table: build, then the number of fields of SPELL_DAMAGE, SWING_DAMAGE, SPELL_HEAL, SPELL_CAST_SUCCESS,
# SPELL_ABSORBED (two forms) and UNIT_DIED, event's name included. For 1.15.5 and version 22 it leaves out the last two:
# SPELL_ABSORBED is what others' logs of 2.5.6 and 12.0 have.
EVENTS = ("SPELL_DAMAGE", "SWING_DAMAGE", "SPELL_HEAL", "SPELL_CAST_SUCCESS", "SPELL_ABSORBED")
STATED = {
    "7.3.5": (34, 31, 29, 25, (17, 20)),
    "8.0.1": (38, 35, 33, 28, (18, 21)),
    "1.14.3": (38, 35, 33, 28, (18, 21)),
    "1.15.1": (38, 35, 33, 28, (18, 21)),
    "3.4.0": (38, 35, 33, 28, (18, 21)),
    "3.4.3": (38, 35, 33, 28, (18, 21)),
    "9.0.2": (39, 36, 34, 29, (19, 22)),
    "9.2.5": (39, 36, 34, 29, (19, 22)),
    "11.0.2": (39, 36, 34, 29, (19, 22)),
    "1.15.5": (41, 37, 35, 30, (18, 21)),
    "12.0.7": (42, 38, 36, 31, (19, 22)),
}
ADVANCED = {"7.3.5": 13, "8.0.1": 16, "1.14.3": 16, "9.2.5": 17, "11.0.2": 17, "1.15.5": 18, "12.0.7": 19}
# What the table does not say but real lines of others show: ENERGIZE ends in four fields, the environment's damage has
# no ST or AOE.
FURTHER = {"8.0.1": (32, 36), "1.14.3": (32, 36), "9.2.5": (33, 37), "1.15.5": (34, 38), "12.0.7": (35, 39)}

# The least number of fields of events without use: the base is 9, a spell 3 more.
NARROWEST = {
    **dict.fromkeys(("COMBAT_LOG_VERSION", "WORLD_MARKER_REMOVED"), 2),
    **dict.fromkeys(("ZONE_CHANGE", "MAP_CHANGE", "STAGGER_CLEAR", "STAGGER_PREVENTED"), 3),
    **{"WORLD_MARKER_PLACED": 4, "EMOTE": 6},
    **dict.fromkeys(("CHALLENGE_MODE_START", "CHALLENGE_MODE_END", "ARENA_MATCH_START", "ARENA_MATCH_END"), 5),
    **dict.fromkeys(("PARTY_KILL", "UNIT_DESTROYED", "UNIT_DISSIPATES"), 9),
    **dict.fromkeys(("SWING_DAMAGE_LANDED", "SWING_DAMAGE_LANDED_SUPPORT", "SWING_DAMAGE_SUPPORT", "SWING_MISSED"), 10),
    **dict.fromkeys(("ENCHANT_APPLIED", "ENCHANT_REMOVED"), 10),
    **dict.fromkeys((f"SPELL_EMPOWER_{stage}" for stage in ("START", "END", "INTERRUPT")), 12),
    **dict.fromkeys(("SPELL_CAST_START", "SPELL_INSTAKILL", "SPELL_CREATE"), 12),
    **dict.fromkeys(("SPELL_DURABILITY_DAMAGE", "SPELL_DURABILITY_DAMAGE_ALL"), 12),
    **dict.fromkeys((f"{kind}_SUPPORT" for kind in ("SPELL_DAMAGE", "SPELL_PERIODIC_DAMAGE", "RANGE_DAMAGE")), 13),
    **dict.fromkeys(("SPELL_HEAL_SUPPORT", "SPELL_PERIODIC_HEAL_SUPPORT"), 13),
    **dict.fromkeys((f"{kind}_MISSED" for kind in ("SPELL", "SPELL_PERIODIC", "SPELL_BUILDING", "RANGE")), 13),
    **dict.fromkeys((f"SPELL_AURA_{kind}" for kind in ("APPLIED", "REFRESH", "REMOVED", "BROKEN")), 13),
    **dict.fromkeys(("DAMAGE_SHIELD_MISSED", "SPELL_CAST_FAILED", "SPELL_EXTRA_ATTACKS"), 13),
    **dict.fromkeys(("SPELL_DRAIN", "SPELL_PERIODIC_DRAIN", "SPELL_LEECH", "SPELL_PERIODIC_LEECH"), 13),
    **dict.fromkeys(("SPELL_AURA_APPLIED_DOSE", "SPELL_AURA_REMOVED_DOSE"), 14),
    **dict.fromkeys(("SPELL_DISPEL", "SPELL_DISPEL_FAILED", "SPELL_STOLEN", "SPELL_INTERRUPT"), 15),
    **{"SPELL_AURA_BROKEN_SPELL": 15, "SPELL_HEAL_ABSORBED": 17, "SPELL_ABSORBED_SUPPORT": 18},
}


def counts(event: str, layouts: Sequence[Layout]) -> tuple[int, ...]:
    return tuple(count for count in range(60) if plan(event, count, layouts))


@pytest.mark.parametrize("build", STATED)
def test_the_numbers_of_fields_are_those_of_the_table(build: str) -> None:
    stated = [(count,) if isinstance(count, int) else count for count in STATED[build]]
    assert [counts(event, layouts_of(build)) for event in EVENTS] == stated
    assert counts("UNIT_DIED", layouts_of(build)) == (9, 10), "what a tenth field means does not depend on the build"
    for event in ("SPELL_PERIODIC_DAMAGE", "RANGE_DAMAGE", "DAMAGE_SHIELD", "DAMAGE_SPLIT", "SPELL_BUILDING_DAMAGE"):
        assert counts(event, layouts_of(build)) == counts("SPELL_DAMAGE", layouts_of(build))
    for event in ("SPELL_PERIODIC_HEAL", "SPELL_BUILDING_HEAL"):
        assert counts(event, layouts_of(build)) == counts("SPELL_HEAL", layouts_of(build))


@pytest.mark.parametrize("build", ADVANCED)
def test_the_advanced_block_has_as_many_fields_as_the_table_says(build: str) -> None:
    [layout] = layouts_of(build)
    assert len(layout.parts["advanced"]) == ADVANCED[build]


@pytest.mark.parametrize("build", FURTHER)
def test_gains_and_the_environment_have_the_numbers_of_fields_that_others_saw(build: str) -> None:
    layouts = layouts_of(build)
    found = [counts(event, layouts) for event in ("SPELL_ENERGIZE", "SPELL_PERIODIC_ENERGIZE", "ENVIRONMENTAL_DAMAGE")]
    energize, environment = FURTHER[build]
    assert found == [(energize,), (energize,), (environment,)]


@pytest.mark.parametrize("event", sorted(UNUSED))
def test_a_whole_line_of_an_unused_event_is_known_and_a_cut_one_is_not(tmp_path: Path, event: str) -> None:
    whole, cut = (",".join([event, *["1"] * (NARROWEST[event] - less)]) for less in (1, 2))
    _, log = retail(tmp_path, whole, cut)
    assert log.books.unused[event] == 1 + (event == "COMBAT_LOG_VERSION")
    assert list(log.books.not_understood) == [f"{event}: {NARROWEST[event] - 1} fields"]


@pytest.mark.parametrize(
    ("build", "names"),
    [
        ("7.3.5", ["retail-7.3"]),
        ("8.3.0", ["retail-8.0"]),
        ("9.0.1", ["retail-9.0"]),
        ("10.2.7", ["retail-9.0"]),
        ("11.0.7", ["retail-9.0"]),
        ("11.1.5", ["retail-22"]),
        ("12.1.0", ["retail-22"]),
        ("1.13.2", ["classic-1.14"]),
        ("1.14", ["classic-1.14"]),
        ("1.15.1", ["classic-1.14"]),
        ("1.15.3", ["classic-1.14", "classic-1.15.5"]),
        ("1.15.10", ["classic-1.15.5"]),
        ("2.5.4", ["classic-1.14"]),
        ("2.5.6", ["classic-1.15.5"]),
        ("3.4.3", ["classic-1.14"]),
    ],
)
def test_the_build_narrows_the_layouts(build: str, names: list[str]) -> None:
    assert [layout.name for layout in layouts_of(build)] == names


@pytest.mark.parametrize("build", [None, "", "1.140.0", "7", "13.0.0", "110.0"])
def test_an_unknown_build_may_have_any_layout(build: str | None) -> None:
    assert layouts_of(build) == LAYOUTS


def test_where_the_build_is_unknown_the_number_of_fields_decides() -> None:
    for name in {layout.name for layout in LAYOUTS} - {"retail-8.0"}:
        [layout] = (layout for layout in LAYOUTS if layout.name == name)
        [count] = counts("SPELL_DAMAGE", [layout])
        chosen = plan("SPELL_DAMAGE", count, LAYOUTS)
        assert chosen is not None
        assert chosen.layout.name == name
    chosen = plan("SPELL_DAMAGE", 38, LAYOUTS)
    assert chosen is not None
    assert chosen.layout.name == "classic-1.14", "8.0 reads the same; the earlier row names the power types"


def test_fields_that_two_layouts_share_a_number_for_mean_the_same_in_both() -> None:
    for event in FORMS:
        for count in range(60):
            plans = [found for layout in LAYOUTS if (found := plan(event, count, [layout]))]
            read_fields = [{k: v for k, v in found.positions.items() if "unknown" not in k} for found in plans]
            assert all(fields == read_fields[0] for fields in read_fields), (event, count)


def test_power_types_have_names_that_the_contract_knows() -> None:
    known = set(ResourceType.__args__)  # type: ignore[attr-defined]
    assert all(set(layout.resources.values()) <= known for layout in LAYOUTS)
    named = {layout.name: layout.resources for layout in LAYOUTS}
    assert named["classic-1.14"] == named["classic-1.15.5"]
    assert [named["classic-1.14"][str(number)] for number in range(7)] == [
        *("mana", "rage", "focus", "energy", "happiness", "runes", "runic_power"),
    ]
    retail = named["retail-22"]
    assert all(retail == named[name] for name in ("retail-7.3", "retail-8.0", "retail-9.0"))
    assert set(retail.values()) == known - {"happiness"}
    assert retail == {
        **{"0": "mana", "1": "rage", "2": "focus", "3": "energy", "4": "combo_points", "5": "runes"},
        **{"6": "runic_power", "7": "soul_shards", "8": "lunar_power", "9": "holy_power", "10": "alternate"},
        **{"11": "maelstrom", "12": "chi", "13": "insanity", "16": "arcane_charges", "17": "fury", "18": "pain"},
        **{"19": "essence", "23": "alternate", "24": "alternate", "25": "alternate"},
    }


# One log per layout.


class Fixture:
    """A log of `tests/logs/`, imported, and what its YAML file says."""

    def __init__(self, name: str) -> None:
        self.expected: dict[str, Any] = yaml.safe_load((LOGS / f"{name}.yaml").read_text(encoding="utf-8"))
        self.file = LOGS / f"{name}.txt"
        self.lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
        self.stated = SideFile(**self.expected.get("stated", {}))
        self.events, self.log = read(self.file, self.stated)
        self.kill = self.events.filter(encounter_id="9100-1")


@pytest.fixture(params=NAMES)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return Fixture(request.param)


def test_there_is_a_log_for_each_layout() -> None:
    builds = [yaml.safe_load((LOGS / f"{name}.yaml").read_text(encoding="utf-8"))["build"] for name in NAMES]
    assert len(builds) == 8
    covered = {layout.name for build in builds for layout in layouts_of(build)}
    assert covered == {layout.name for layout in LAYOUTS}


def test_each_log_has_each_event_that_is_used(fixture: Fixture) -> None:
    present = {line.partition("  ")[2].partition(",")[0].rstrip() for line in fixture.lines}
    assert set(FORMS) <= present
    assert present - set(FORMS) - set(UNUSED) == {"", "SPELL_FUTURE_THING"}


def test_each_log_becomes_what_its_yaml_file_says(fixture: Fixture) -> None:
    report, expected = as_json(fixture.log.books), fixture.expected
    for key in ("lines", "events", "events_without_line", "unused"):
        assert report[key] == expected[key], key
    assert {kind: missed["first_lines"] for kind, missed in report["not_understood"].items()} == (
        expected["not_understood"]
    )
    assert [{key: pull[key] for key in expected["pulls"][0]} for pull in report["pulls"]] == expected["pulls"]
    assert report["builds"] == [expected["build"]]
    assert fixture.events["timestamp"].min().isoformat() == expected["first_event"]  # type: ignore[union-attr]
    assert_contract(fixture.events)


def test_each_event_keeps_its_line_in_exactly_one_book(fixture: Fixture) -> None:
    books = fixture.log.books
    assert books.lines == books.events.total() + books.unused.total() + books.n_not_understood
    assert fixture.events.height == books.events.total() + books.added.total()


def test_a_pull_states_its_difficulty_and_size(fixture: Fixture) -> None:
    start = one(fixture.events, "encounter_start", encounter_id="9100-1")
    [pull, *_] = fixture.expected["pulls"]
    assert start["encounter_difficulty"] == fixture.expected["difficulty"]
    assert (start["raid_size"], start["boss_id"]) == (pull["raid_size"], "9100")
    assert start["encounter_name"] == "Vargoth, the Hollow"


def test_a_length_that_contradicts_the_times_does_not_count(fixture: Fixture) -> None:
    end = one(fixture.events, "encounter_end", encounter_id="9100-1")
    assert (end["encounter_duration_ms"], end["encounter_success"]) == (60_000, True)


def test_damage_is_credited_alike_in_every_layout(fixture: Fixture) -> None:
    hits = fixture.kill.filter(event_type="combat_damage").with_columns(
        credited=pl.coalesce("source_owner_id", "source_player_id")
    )
    own = hits.filter(pl.col("source_owner_id").is_null()).group_by("source_player_name").agg(DAMAGE.sum())
    assert dict(own.iter_rows()) == {
        "Torvald-Ashenmoor": 1045,
        "Halvar-Ashenmoor": 300,
        "Yrsa-Ashenmoor": 300,
        "Vargoth, the Hollow": 5400,
        "environment": 320,
    }
    owned = hits.filter(pl.col("source_owner_id").is_not_null())
    assert set(owned.select("source_player_name", "source_owner_id", "damage_amount").iter_rows()) == {
        ("Gnasher", HALVAR, 70),
        ("Siege Engine", HALVAR, 500),
        ("Searing Totem", YRSA, 85),
        ("Fire Elemental", YRSA, 95),
    }
    assert owned["source_player_role"].null_count() == owned.height, "a role is the player's, not the pet's"


def test_a_hit_reads_each_field_where_its_layout_has_it(fixture: Fixture) -> None:
    slam = one(fixture.kill, "combat_damage", ability_name="Shield Slam")
    assert (slam["damage_amount"], slam["ability_id"], slam["ability_school"]) == (1000, "23922", "physical")
    assert (slam["is_critical_hit"], slam["is_resisted"], slam["is_periodic"]) == (True, True, False)
    assert (slam["is_blocked"], slam["is_absorbed"]) == (False, False)
    assert (slam["target_entity_health_pct_before"], slam["target_entity_health_pct_after"]) == (100, 99)
    assert slam["target_entity_type"] == "boss"
    swing = one(fixture.kill, "combat_damage", damage_amount=400)
    assert (swing["ability_name"], swing["blocked_amount"], swing["absorbed_amount"]) == ("Melee", 60, 40)
    assert (swing["is_critical_hit"], swing["is_resisted"]) == (False, False)
    shot = one(fixture.kill, "combat_damage", ability_name="Auto Shot")
    assert (shot["overkill_amount"], shot["target_entity_health_pct_before"]) == (100, 40)
    assert shot["target_entity_type"] == "add"
    thorns = one(fixture.kill, "combat_damage", ability_name="Thorns")
    assert (thorns["damage_amount"], thorns["ability_school"]) == (20, "nature")
    fall = one(fixture.kill, "combat_damage", ability_name="Falling")
    assert (fall["damage_amount"], fall["target_entity_health_pct_before"], fall["target_entity_health_pct_after"]) == (
        *(120, 100, 88),
    )


def test_a_swing_and_its_landing_are_one_hit(fixture: Fixture) -> None:
    assert one(fixture.kill, "combat_damage", source_player_name="Gnasher")["damage_amount"] == 70
    assert fixture.log.books.unused["SWING_DAMAGE_LANDED"] == 1


def test_a_heal_is_gross_with_its_overheal_and_what_was_absorbed(fixture: Fixture) -> None:
    flash = one(fixture.kill, "heal", ability_name="Flash Heal")
    assert (flash["healing_amount"], flash["overheal_amount"], flash["absorbed_amount"]) == (1500, 900, 100)
    assert (flash["is_critical_hit"], flash["is_absorbed"], flash["is_periodic"]) == (True, True, False)
    renew = one(fixture.kill, "heal", ability_name="Renew")
    assert (renew["healing_amount"], renew["overheal_amount"], renew["is_periodic"]) == (200, 0, True)
    assert (renew["target_entity_health_pct_before"], renew["target_entity_health_pct_after"]) == (70, 90)
    repair = one(fixture.kill, "heal", ability_name="Repair")
    assert (repair["healing_amount"], repair["overheal_amount"]) == (50, 10)
    assert fixture.kill.select(HEAL.sum()).item() == 1750


def test_a_hit_that_a_shield_took_whole_deals_nothing_and_is_absorbed_once(fixture: Fixture) -> None:
    absorbs = fixture.kill.filter(event_type="absorb")
    assert absorbs["absorbed_amount"].to_list() == [40, 300]
    assert set(absorbs["source_player_id"]) == {SIGRUN}
    assert set(absorbs["target_entity_id"]) == {TORVALD}
    assert set(absorbs["ability_name"]) == {"Power Word: Shield"}
    bolts = fixture.kill.filter(ability_name="Hollow Bolt", event_type="combat_damage")
    assert bolts.is_empty(), "neither the *_MISSED nor the hit of amount 0 dealt anything"
    assert (fixture.log.books.unused["SPELL_MISSED"], fixture.log.books.unused["SWING_MISSED"]) == (1, 1)


def test_what_one_takes_in_anothers_place_is_nobodys_deed(fixture: Fixture) -> None:
    split = one(fixture.kill, "combat_damage", ability_name="Blessing of Sacrifice")
    assert split["source_player_id"] == split["source_player_name"] == "environment"
    assert (split["target_entity_id"], split["damage_amount"]) == (SIGRUN, 200)
    assert (split["target_entity_health_pct_before"], split["target_entity_health_pct_after"]) == (80, 60)
    assert "source_player_role" not in split


def test_gains_have_the_name_that_the_layout_gives_the_power_type(fixture: Fixture) -> None:
    gains = dict(
        fixture.kill.filter(event_type="mana_regeneration").select("ability_name", "resource_type").iter_rows()
    )
    assert gains == {"Rapture": "mana", "Bloodrage": "rage", "Thrill": fixture.expected["power_type_4"]}
    rapture = one(fixture.kill, "mana_regeneration", resource_type="mana")
    assert rapture["resource_regeneration_rate"] == 1200
    assert (rapture["resource_amount_before"], rapture["resource_amount_after"]) == (3800, 5000)
    assert "resource_amount_after" not in one(fixture.kill, "mana_regeneration", ability_name="Thrill"), (
        "the block describes focus, not what was gained"
    )


def test_the_dead_die_once_and_who_feigns_death_lives(fixture: Fixture) -> None:
    [death] = fixture.events.filter(event_type="player_death").to_dicts()
    assert (death["target_entity_id"], death["source_player_name"]) == (YRSA, "Vargoth, the Hollow")
    feigned = [line for line in fixture.lines if "UNIT_DIED" in line and line.rstrip().endswith(",1")]
    assert len(feigned) == fixture.expected["feigned_death"]


def test_the_dead_go_on_dealing_damage_until_they_live_again(fixture: Fixture) -> None:
    [death] = fixture.kill.filter(event_type="player_death")["timestamp"]
    [life] = fixture.kill.filter(event_type="resurrect")["timestamp"]
    ticks = fixture.kill.filter(ability_name="Flame Shock", source_player_id=YRSA)
    assert ticks.filter(pl.col("timestamp").is_between(death, life))["damage_amount"].to_list() == [150]
    assert one(fixture.kill, "resurrect")["target_entity_id"] == YRSA


def test_a_reset_of_three_seconds_is_kept(fixture: Fixture) -> None:
    reset = fixture.events.filter(encounter_id="9200-2")
    assert reset["event_type"].to_list() == ["encounter_start", "combat_damage", "encounter_end"]
    end = one(reset, "encounter_end")
    assert (end["encounter_duration_ms"], end["encounter_success"]) == (3_000, False)


def test_a_pull_without_end_ends_with_the_next_or_with_the_log(fixture: Fixture) -> None:
    for encounter_id, duration_ms in (("9200-4", 10_000), ("9200-5", 5_000)):
        end = one(fixture.events, "encounter_end", encounter_id=encounter_id)
        assert (end["encounter_duration_ms"], end["data_quality_flags"]) == (duration_ms, ["no_end"])
        assert "encounter_success" not in end


def test_dungeons_come_with_the_raid_only_when_asked_for(fixture: Fixture) -> None:
    assert fixture.events.filter(encounter_id="9300-3").is_empty()
    events, log = read(fixture.file, fixture.stated, include_dungeons=True)
    assert events.filter(encounter_id="9300-3")["event_type"].to_list() == [
        *("encounter_start", "combat_damage", "encounter_end"),
    ]
    assert all(pull["imported"] for pull in log.books.pulls)


def played(events: pl.DataFrame, player: str) -> set[tuple[Any, ...]]:
    columns = ("source_player_class", "source_player_specialization", "source_player_role", "source_item_level")
    return set(events.filter(source_player_id=player).select(columns).iter_rows())


def test_class_specialization_and_role_are_known_where_the_layout_says_them(fixture: Fixture) -> None:
    unknown = {(None, None, None, None)}
    expected = {
        TORVALD: {("warrior", "protection", "tank", 415.0)},
        SIGRUN: {("priest", "discipline", "healer", 395.0)},
        HALVAR: {("hunter", "beast_mastery", "dps", 395.0)},
        YRSA: {("shaman", "restoration", "healer", 395.0)},
    }
    for player, plays in expected.items():
        assert played(fixture.kill, player) == (plays if fixture.expected["players_are_known"] else unknown)
    others = set(fixture.kill["source_player_id"]) - expected.keys()
    assert all(played(fixture.kill, other) == unknown for other in others)


def test_who_changes_specialization_has_the_new_one_from_the_next_pull_on(fixture: Fixture) -> None:
    arms = {("warrior", "arms", "dps", 415.0)}
    unknown = {(None, None, None, None)}
    assert played(fixture.events.filter(encounter_id="9200-5"), TORVALD) == (
        arms if fixture.expected["players_are_known"] else unknown
    )
    assert played(fixture.events.filter(encounter_id="9200-4"), TORVALD) == unknown, "no roster, nothing known"
    outside = fixture.events.filter(pl.col("encounter_id").is_null())
    assert outside["ability_name"].to_list() == ["Battle Shout"]
    assert played(outside, TORVALD) == unknown


@pytest.mark.parametrize("segment_lines", [1, 3, 20])
def test_what_players_play_is_remembered_while_a_pull_goes_on(
    monkeypatch: pytest.MonkeyPatch, segment_lines: int
) -> None:
    monkeypatch.setattr("pipeline.combatlog.reader.MAX_SEGMENT_LINES", segment_lines)
    cut = Fixture("retail-22")
    after = cut.kill.filter(ability_name="Flame Shock")
    assert set(after["source_player_role"]) == {"healer"}
    assert played(cut.events.filter(encounter_id="9200-4"), TORVALD) == {(None, None, None, None)}
    assert played(cut.events.filter(encounter_id="9200-5", event_type="combat_damage"), TORVALD) == {
        ("warrior", "arms", "dps", 415.0)
    }


def test_without_a_header_the_same_events_are_read(fixture: Fixture, tmp_path: Path) -> None:
    events, log = read(written(tmp_path, fixture.lines[1:]), fixture.stated)
    told = ["timestamp", "event_type", "encounter_id", "source_player_id", "source_owner_id", "target_entity_id"]
    amounts = [column for column in events.columns if column.endswith(("_amount", "_pct_before", "_pct_after"))]
    assert Counter(events.select(*told, *amounts).iter_rows()) == Counter(
        fixture.events.select(*told, *amounts).iter_rows()
    )
    assert events["source_player_class"].null_count() == events.height, "no build, no word on what the number means"
    assert log.books.builds == []


# A log that changes.


@pytest.fixture
def changing() -> tuple[pl.DataFrame, Log]:
    """One pull: in build 11.0.2, then 11.1.5, then with advanced logging off."""
    return read(LOGS / "changes.txt", SideFile())


def test_a_layout_that_changes_in_the_middle_of_a_pull(changing: tuple[pl.DataFrame, Log]) -> None:
    events, log = changing
    slams = events.filter(event_type="combat_damage", ability_name="Shield Slam")
    assert slams["damage_amount"].to_list() == [100, 200, 300]
    assert slams["target_entity_health_pct_after"].to_list() == [90, 80, None]
    assert slams["target_entity_health_pct_before"].round(6).to_list() == [90.1, 80.2, None]
    assert set(events["encounter_id"]) == {"9100-1"}
    assert log.books.builds == ["11.0.2", "11.1.5"]
    missed = {kind: missed.first_lines for kind, missed in log.books.not_understood.items()}
    assert missed == {"SPELL_DAMAGE: 39 fields": [9]}, "a line of the layout before"
    assert_contract(events)


def test_the_pull_is_one_whatever_changes_in_it(changing: tuple[pl.DataFrame, Log]) -> None:
    events, log = changing
    assert [(pull["verdict"], pull["duration_ms"]) for pull in log.books.pulls] == [("wipe", 30_000)]
    assert events["event_type"].to_list().count("encounter_start") == 1
    assert played(events, TORVALD) == {("warrior", "protection", "tank", 415.0)}
    assert played(events, HALVAR) == {("hunter", "beast_mastery", "dps", 395.0)}


def test_without_advanced_logging_amounts_stay_and_the_rest_is_unknown(changing: tuple[pl.DataFrame, Log]) -> None:
    events, _ = changing
    swings = events.filter(event_type="combat_damage", ability_name="Melee")
    owners = swings.select("source_player_name", "damage_amount", "source_owner_id").to_dicts()
    assert [tuple(row.values()) for row in owners] == [
        ("Gnasher", 70, HALVAR),
        ("Gnasher", 80, HALVAR),
        ("Spirit Wolf", 40, None),
    ]
    heal = one(events, "heal")
    assert (heal["healing_amount"], heal["overheal_amount"]) == (500, 100)
    assert "target_entity_health_pct_after" not in heal
    gain = one(events, "mana_regeneration")
    assert (gain["resource_type"], gain["resource_regeneration_rate"]) == ("focus", 5)
    assert "resource_amount_after" not in gain
    assert one(events, "spell_cast")["source_player_id"] == TORVALD


# Pulls.


def a_pull(difficulty: int, size: int) -> Pull:
    return Pull("1-1", 1, None, "1", "Boss", difficulty, size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("difficulty", "size", "is_dungeon"),
    [
        *[(difficulty, 5, True) for difficulty in (1, 2, 8, 23)],
        *[(difficulty, 20, True) for difficulty in (1, 2, 8, 23)],
        *[(difficulty, size, False) for difficulty in (14, 15, 16, 17, 9, 198) for size in (1, 5, 6, 40)],
        (205, 5, True),
        (208, 1, True),
        (3, 10, False),
        (4, 6, False),
        (0, 5, True),
    ],
)
def test_dungeons_are_told_from_raids_by_difficulty_then_by_size(difficulty: int, size: int, is_dungeon: bool) -> None:
    assert a_pull(difficulty, size).is_dungeon is is_dungeon


def test_only_four_difficulties_have_a_name_of_the_contract() -> None:
    assert pulls.DIFFICULTIES == {14: "normal", 15: "heroic", 16: "mythic", 17: "lfr"}


def retail(tmp_path: Path, *texts: str) -> tuple[pl.DataFrame, Log]:
    version = "COMBAT_LOG_VERSION,22,ADVANCED_LOG_ENABLED,1,BUILD_VERSION,12.0.7,PROJECT_ID,1"
    lines = [f"7/1/2026 20:00:{second:02}.000-5  {text}\n" for second, text in enumerate([version, *texts])]
    return read(written(tmp_path, lines), SideFile())


@pytest.mark.parametrize("fields", ["15,20", "15,20,600", "15,20,600,2"])
def test_a_start_may_name_the_instance(tmp_path: Path, fields: str) -> None:
    events, log = retail(tmp_path, f"ENCOUNTER_START,9100,{BOSS},{fields}", f"ENCOUNTER_END,9100,{BOSS},15,20,1")
    assert log.books.not_understood == {}
    start = one(events, "encounter_start")
    assert (start["encounter_difficulty"], start["raid_size"]) == ("heroic", 20)


@pytest.mark.parametrize(("fields", "verdict"), [("1", "kill"), ("0", "wipe"), ("1,404969", "kill"), ("0,1", "wipe")])
def test_an_end_may_state_a_length(tmp_path: Path, fields: str, verdict: str) -> None:
    _, log = retail(tmp_path, f"ENCOUNTER_START,9100,{BOSS},15,20,600", f"ENCOUNTER_END,9100,{BOSS},15,20,{fields}")
    assert [(pull["verdict"], pull["duration_ms"]) for pull in log.books.pulls] == [(verdict, 1_000)]


@pytest.mark.parametrize("fields", ["15", "15,20,600,2,1"])
def test_a_start_with_another_number_of_fields_is_not_understood(tmp_path: Path, fields: str) -> None:
    _, log = retail(tmp_path, f"ENCOUNTER_START,9100,{BOSS},{fields}")
    assert log.books.pulls == []
    assert list(log.books.not_understood) == [f"ENCOUNTER_START: {len(fields.split(',')) + 3} fields"]


@pytest.mark.parametrize("fields", ["15,1E20,1", "15,20.5,1", "-15,20,1", "15,20,yes", ",20,1", "15,9999999999,1"])
def test_an_end_with_an_impossible_number_is_not_understood(tmp_path: Path, fields: str) -> None:
    _, log = retail(tmp_path, f"ENCOUNTER_START,9100,{BOSS},15,20,600", f"ENCOUNTER_END,9100,{BOSS},{fields}")
    assert list(log.books.not_understood) == ["ENCOUNTER_END: impossible number"]
    assert [pull["verdict"] for pull in log.books.pulls] == ["no_end"]


@pytest.mark.parametrize(("size", "told"), [(0, None), (1, 1), (100, 100), (101, None)])
def test_a_raid_size_beyond_the_contract_is_unknown(tmp_path: Path, size: int, told: int | None) -> None:
    events, _ = retail(tmp_path, f"ENCOUNTER_START,9100,{BOSS},15,{size},600")
    assert one(events, "encounter_start").get("raid_size") == told


def test_a_start_of_the_same_boss_while_a_pull_is_open_is_another_pull(tmp_path: Path) -> None:
    start = f"ENCOUNTER_START,9100,{BOSS},15,20,600"
    events, log = retail(tmp_path, start, start, f"ENCOUNTER_END,9100,{BOSS},15,20,0")
    assert [(pull["encounter_id"], pull["verdict"], pull["duration_ms"]) for pull in log.books.pulls] == [
        ("9100-1", "no_end", 0),
        ("9100-2", "wipe", 1_000),
    ]
    assert events["event_type"].to_list().count("encounter_end") == 2


@pytest.mark.parametrize(
    ("mask", "school"),
    [
        *((1, "physical"), (2, "holy"), (4, "fire"), (8, "nature"), (16, "frost"), (32, "shadow"), (64, "arcane")),
        *((0, None), (3, None), (127, None), (128, None)),
    ],
)
def test_a_mask_of_one_school_is_that_school(tmp_path: Path, mask: int, school: str | None) -> None:
    unit = f'{TORVALD},"Torvald",0x514,0x0'
    block = "0000000000000000,0000000000000000,0,0,0,0,0,0,0,0,-1,0,0,0,0.00,0.00,0,0.0000,0"
    hit = f'SPELL_DAMAGE,{unit},{unit},1,"Hit",{mask:#x},{block},50,50,-1,{mask},0,0,0,nil,nil,nil,ST'
    heal = f'SPELL_HEAL,{unit},{unit},2,"Heal",{mask:#x},{block},50,50,0,0,nil'
    events, _ = retail(tmp_path, hit, heal)
    assert events["ability_school"].to_list() == [school, school]


@pytest.mark.parametrize(("most", "kind"), [(0, "add"), (1, "boss")])
def test_an_enemy_without_health_is_no_boss(tmp_path: Path, most: int, kind: str) -> None:
    enemy = "Creature-0-1-600-7-9400-0000000040"
    block = f"{enemy},0000000000000000,{most},{most},0,0,0,0,0,0,-1,0,0,0,0.00,0.00,0,0.0000,0"
    hit = f'SPELL_DAMAGE,{TORVALD},"Torvald",0x514,0x0,{enemy},"Shade",0xa48,0x0,1,"Hit",0x1,{block}'
    events, _ = retail(tmp_path, f"ENCOUNTER_START,9100,{BOSS},15,20,600", f"{hit},50,50,-1,1,0,0,0,nil,nil,nil,ST")
    assert one(events, "combat_damage")["target_entity_type"] == kind


def test_a_unit_whose_greatest_health_is_zero_has_no_percentage(tmp_path: Path) -> None:
    block = f"{TORVALD},0000000000000000,0,0,1,1,1,0,0,0,-1,0,0,0,1.00,1.00,85,0.5000,60"
    hit = f'SPELL_DAMAGE,Boss-1,"Boss",0xa48,0x0,{TORVALD},"Torvald",0x514,0x0,1,"Hit",0x1,{block}'
    events, log = retail(tmp_path, f"{hit},50,50,-1,1,0,0,0,nil,nil,nil,ST")
    assert log.books.not_understood == {}
    assert events["target_entity_health_pct_after"].to_list() == [None]
    assert events["target_entity_health_pct_before"].to_list() == [None]


# What players play.


def test_every_class_and_role_of_the_contract_has_its_specializations() -> None:
    assert len(players.SPECIALIZATIONS) == 40
    classes, _, roles = zip(*players.SPECIALIZATIONS.values(), strict=True)
    assert set(classes) == set(PlayerClass.__args__)  # type: ignore[attr-defined]
    assert set(roles) == set(Role.__args__)  # type: ignore[attr-defined]


TANKS, HEALERS = {66, 73, 104, 250, 268, 581}, {65, 105, 256, 257, 264, 270, 1468}
BY_CLASS = {
    "death_knight": {250: "blood", 251: "frost", 252: "unholy"},
    "demon_hunter": {577: "havoc", 581: "vengeance", 1480: "devourer"},
    "druid": {102: "balance", 103: "feral", 104: "guardian", 105: "restoration"},
    "evoker": {1467: "devastation", 1468: "preservation", 1473: "augmentation"},
    "hunter": {253: "beast_mastery", 254: "marksmanship", 255: "survival"},
    "mage": {62: "arcane", 63: "fire", 64: "frost"},
    "monk": {268: "brewmaster", 269: "windwalker", 270: "mistweaver"},
    "paladin": {65: "holy", 66: "protection", 70: "retribution"},
    "priest": {256: "discipline", 257: "holy", 258: "shadow"},
    "rogue": {259: "assassination", 260: "outlaw", 261: "subtlety"},
    "shaman": {262: "elemental", 263: "enhancement", 264: "restoration"},
    "warlock": {265: "affliction", 266: "demonology", 267: "destruction"},
    "warrior": {71: "arms", 72: "fury", 73: "protection"},
}


@pytest.mark.parametrize("player_class", BY_CLASS)
def test_a_number_names_class_specialization_and_role(player_class: str) -> None:
    named = {number: names for number, names in players.SPECIALIZATIONS.items() if names[0] == player_class}
    assert {number: specialization for number, (_, specialization, _) in named.items()} == BY_CLASS[player_class]
    for number, (_, _, role) in named.items():
        assert role == ("tank" if number in TANKS else "healer" if number in HEALERS else "dps")


def combatant(number: object = 64, gear: str = "[(301,390,(),(),())]", stats: int = 22) -> str:
    return f"COMBATANT_INFO,{TORVALD},{','.join(['7'] * stats)},{number},[(82710,103678,1)],(0,2001),{gear},[],1,0"


def roster_of(tmp_path: Path, *infos: str) -> list[dict[str, Any]]:
    start = f"ENCOUNTER_START,9100,{BOSS},15,20,600"
    events, log = retail(tmp_path, start, *infos, f"ENCOUNTER_END,9100,{BOSS},15,20,1")
    assert log.books.not_understood == {}
    return events.filter(event_type="roster").to_dicts()


@pytest.mark.parametrize("stats", [21, 22, 23, 24])
def test_the_specialization_is_the_last_number_before_the_first_bracket(tmp_path: Path, stats: int) -> None:
    [row] = roster_of(tmp_path, combatant(stats=stats))
    assert (row["source_player_class"], row["source_player_specialization"]) == ("mage", "frost")


@pytest.mark.parametrize("number", [0, 7, 99999, "9" * 30, "nil", "-64", "६४"])
def test_an_unknown_specialization_leaves_all_unknown(tmp_path: Path, number: object) -> None:
    [row] = roster_of(tmp_path, combatant(number))
    assert row["source_player_class"] is None
    assert row["source_player_specialization"] is None
    assert row["source_player_role"] is None
    assert row["source_item_level"] is None


EMPTY = "(0,0,(),(),())"


@pytest.mark.parametrize(
    ("gear", "level"),
    [
        ("[(301,390,(),(),()),(302,400,(6230,0,0),(7188,40),(187319,255,187319,255))]", 395),
        (f"[(1,400,(),(),()),{EMPTY},(3,500,(),(),()),(4,1,(),(),()),(5,600,(),(),())]", 500),
        ("[" + ",".join(["(1,400,(),(),())"] * 17) + ",(2,20,(),(),())]", 400),
        ("[" + ",".join(["(1,400,(),(),())"] * 16) + ",(2,468,(),(),())]", 404.25),
        (f"[{EMPTY},{EMPTY}]", None),
        ("[]", None),
    ],
)
def test_the_item_level_is_the_mean_of_what_is_worn(tmp_path: Path, gear: str, level: float | None) -> None:
    [row] = roster_of(tmp_path, combatant(gear=gear))
    assert row["source_item_level"] == level
    assert row["source_player_class"] == "mage"


def test_of_two_lines_about_a_player_in_one_pull_the_first_counts(tmp_path: Path) -> None:
    first, second = roster_of(tmp_path, combatant(64), combatant(62))
    assert first["source_player_specialization"] == second["source_player_specialization"] == "frost"


def test_a_roster_outside_of_a_pull_tells_nothing_of_any_pull(tmp_path: Path) -> None:
    start = f"ENCOUNTER_START,9100,{BOSS},15,20,600"
    events, _ = retail(tmp_path, combatant(64), start, combatant(62), f"ENCOUNTER_END,9100,{BOSS},15,20,1")
    rosters = events.filter(event_type="roster").sort("timestamp")
    assert rosters["source_player_specialization"].to_list() == [None, "arcane"]


@pytest.mark.parametrize(
    "cut",
    [f"COMBATANT_INFO,{TORVALD},1,2", combatant()[:-8], combatant().rpartition("]")[0], combatant().partition("[")[0]],
)
def test_a_roster_line_that_is_cut_off_is_no_roster(tmp_path: Path, cut: str) -> None:
    _, log = retail(tmp_path, cut)
    assert list(log.books.not_understood) == ["COMBATANT_INFO: cut off"]
