"""Simulated beside real raids: every figure on pulls whose answer is known, tolerances, the data file, the command."""

import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import calibrate, parallel
from pipeline.calibrate import (
    PULLS,
    calibration,
    compare,
    figures,
    load_calibration,
    measure,
    number_the_pulls,
    tasks,
    wipe_hazard,
)
from pipeline.calibrate.averages import correlation, mean, median, quantiles
from pipeline.calibrate.calibration import Calibration, Comparison, RealFigure, Tolerance
from pipeline.calibrate.fights import HAZARD_STEP_S, HAZARD_WINDOWS_S
from pipeline.calibrate.page import draw, in_columns, number, rows, table
from pipeline.calibrate.pulls import listed, pull_row
from pipeline.calibrate.raiders import CLASSES, variance_components
from pipeline.errors import PipelineError
from pipeline.simulate.season import Season, raid_frame_of, rhythm
from tests.fights import section

ROOT = Path(__file__).parents[1]
DEADLINE_S = 240
WEEK_S = 7 * 86_400
LONGEST_LABEL = 50
ANYTHING = {"between": [-1e9, 1e9]}

# --- figures of pulls that are written down


def pull(**fields: Any) -> dict[str, Any]:
    """A mythic pull of two raiders; what follows the raid's size follows `raiders`."""
    raiders = fields.get("raiders", [0, 1])
    return {
        "team": 0,
        "difficulty": "mythic",
        "evening": 0,
        "pull_of_evening": 1,
        "boss": 0,
        "killed": False,
        "duration_s": 100.0,
        "health_left": 0.0 if fields.get("killed") else 50.0,
        "deaths": 0,
        "dead_at_end": 0,
        "quarter_dead_s": None,
        "heals": 0,
        "wasted_heals": 0,
        "raiders": raiders,
        "roles": ["dps"] * len(raiders),
        "classes": ["mage"] * len(raiders),
        "specializations": ["fire"] * len(raiders),
        "item_levels": [460.0] * len(raiders),
        "casts_per_minute": [50.0] * len(raiders),
        "damage_per_second": [1000.0] * len(raiders),
        **fields,
    }


def pulls(*made: dict[str, Any]) -> pl.DataFrame:
    """The pulls, 1,000 s from one start to the next unless they say when they began."""
    return pl.DataFrame([{"start_s": 1000.0 * place} | each for place, each in enumerate(made)], schema=PULLS)


def found(name: str, *made: dict[str, Any]) -> tuple[float, ...]:
    return figures(pulls(*made))[name]


def wipes_lasting(*durations_s: float, **fields: Any) -> list[dict[str, Any]]:
    return [pull(duration_s=duration_s, **fields) for duration_s in durations_s]


def kills_lasting(*durations_s: float, **fields: Any) -> list[dict[str, Any]]:
    return [pull(duration_s=duration_s, killed=True, **fields) for duration_s in durations_s]


def is_nan(values: Sequence[float]) -> list[bool]:
    return [math.isnan(value) for value in values]


def test_pulls_per_kill_leave_out_what_warcraft_logs_drops() -> None:
    made = kills_lasting(100, 200, 300), wipes_lasting(60, 19.9)
    assert found("mythic_pulls_per_kill", *made[0], *made[1]) == (4 / 3,)
    assert found("mythic_pulls_per_kill", *kills_lasting(10)) == (1.0,), "short kills stay"
    assert is_nan(found("mythic_pulls_per_kill", *wipes_lasting(60))) == [True]


@pytest.mark.parametrize("difficulty", ["normal", "heroic", "mythic"])
def test_durations_are_those_of_one_difficulty(difficulty: str) -> None:
    ours = {"difficulty": difficulty}
    other = {"difficulty": "normal" if difficulty == "mythic" else "mythic"}
    made = [*kills_lasting(100, 200, 300, **ours), *wipes_lasting(40, 60, **ours), *wipes_lasting(900, 10, **other)]
    assert found(f"{difficulty}_kill_duration", *made) == (150, 200, 250)
    assert found(f"{difficulty}_wipe_duration", *made) == (45, 50, 55)


def test_the_spread_of_kills_is_within_bosses_of_five_kills() -> None:
    made = [
        *kills_lasting(*np.exp([4, 4.1, 4.2, 4.3, 4.4]), boss=0),
        *kills_lasting(*np.exp([6, 6.2, 6.4, 6.6, 6.8]), boss=1),
        *kills_lasting(20, 20, 20, 900, boss=2),
    ]
    assert found("mythic_kill_duration_spread", *made) == pytest.approx((0.15 * math.sqrt(2.5),))


def test_the_hazard_is_that_of_the_pulls_still_going_on() -> None:
    made = [*wipes_lasting(*[25] * 5, *[45] * 4, *[100] * 16), *kills_lasting(29)]
    hazard = wipe_hazard(pulls(*made))
    # The kill is at risk until it is over; the 16 that are left at 60 s are too few.
    assert hazard[:2] == [5 / 26, 4 / 20]
    assert is_nan(hazard[2:]) == [True] * len(hazard[2:])


def test_hazards_are_averaged_over_stretches_and_compared_with_each_other() -> None:
    # A constant share: of 2,048 pulls a half wipes in every 30 s, until too few are left.
    durations = [30 * step + 29.0 for step in range(7) for _ in range(2048 >> (step + 1))]
    made = wipes_lasting(*durations, *[30 * 7 + 29.0] * 16)
    first, second, third, *late = found("mythic_wipe_hazard", *made)
    assert (first, second, third) == (0.5, 0.5, 0.5)
    assert is_nan(late) == [True, True]
    middle, end = found("mythic_wipe_hazard_shape", *made)
    assert middle == 1.0
    assert math.isnan(end)


def test_stretches_without_a_wipe_have_no_ratio() -> None:
    assert is_nan(found("mythic_wipe_hazard_shape", *wipes_lasting(*[400] * 25))) == [True, True]


def test_wipes_are_measured_by_their_boss_s_median_kill() -> None:
    made = [
        *kills_lasting(90, 100, 300, difficulty="heroic", boss=0),
        *kills_lasting(200, difficulty="heroic", boss=1),
        pull(difficulty="heroic", boss=0, duration_s=115, health_left=5),
        pull(difficulty="heroic", boss=0, duration_s=90, health_left=15),
        pull(difficulty="heroic", boss=1, duration_s=160, health_left=18),
        pull(difficulty="heroic", boss=1, duration_s=40, health_left=95),
        pull(difficulty="heroic", boss=2, duration_s=500, health_left=15),  # never killed: not relative to anything
    ]
    by_left = found("heroic_duration_by_fight_left", *made)
    assert (by_left[0], by_left[1], by_left[-1]) == pytest.approx((1.15, 0.85, 0.2))
    assert is_nan(by_left[2:-1]) == [True] * 6
    assert found("heroic_long_wipes", *made) == (25.0,)
    paces = [1.15 / 0.95, 0.9 / 0.85, 0.8 / 0.82]
    assert found("heroic_pace", *made) == pytest.approx((statistics.median(paces),))
    assert found("heroic_fight_left", *made) == (15, 15, 18), "of all wipes"


def test_fight_left_goes_with_duration_by_rank() -> None:
    falling = [
        pull(duration_s=20.0 + step**3, health_left=left) for step, left in enumerate((90, 80, 50, 49, 1), start=1)
    ]
    assert found("mythic_duration_and_fight_left", *falling) == pytest.approx((-1.0,))
    swapped = [falling[0] | {"health_left": 80.0}, falling[1] | {"health_left": 90.0}, *falling[2:]]
    # Spearman's formula without ties: 1 − 6 Σd²/(n(n² − 1)), with d² = 4², 2², 0, 2², 4² before the swap.
    assert found("mythic_duration_and_fight_left", *swapped) == pytest.approx((1 - 6 * (9 + 9 + 0 + 4 + 16) / 120,))


def test_the_learning_curve_is_the_slope_and_residual_of_logs() -> None:
    noise = [0.3, -0.1, 0.0, 0.2, -0.4, 0.1, 0.25, -0.05, 0.1, -0.2, 0.0, 0.3, -0.3, 0.15, -0.1]
    durations = [50 * (n + 1) ** 0.2 * math.exp(each) for n, each in enumerate(noise)]
    made = [*wipes_lasting(*durations), *kills_lasting(120)]
    x = [math.log(n + 1) for n in range(16)]
    y = [math.log(duration / 120) for duration in (*durations, 120)]
    slope, level = statistics.linear_regression(x, y)
    squares = sum((y_ - slope * x_ - level) ** 2 for x_, y_ in zip(x, y, strict=True))
    assert found("mythic_learning_slope", *made) == pytest.approx((slope,))
    assert found("mythic_learning_residual", *made) == pytest.approx((math.sqrt(squares / 14),))
    assert is_nan(found("mythic_learning_slope", *made[-14:])) == [True], "fewer than 15 pulls are no curve"


def first_kills() -> list[dict[str, Any]]:
    """Team 0 kills its boss at the third pull of its second evening, team 1 at the fifth of one."""
    return [
        pull(evening=0),
        pull(evening=1),
        pull(evening=1, killed=True),
        pull(evening=1, killed=True),
        *[pull(team=1, evening=4) for _ in range(4)],
        pull(team=1, evening=4, killed=True),
        pull(team=1, evening=5),
        pull(team=1, boss=1, evening=5),  # never killed
    ]


def test_first_kills_are_counted_in_pulls_and_evenings() -> None:
    assert found("mythic_pulls_to_first_kill", *first_kills()) == (3.5, 4, 4.5)
    assert found("mythic_evenings_to_first_kill", *first_kills()) == (1.25, 1.5, 1.75)
    heroic = [each | {"difficulty": "heroic"} for each in first_kills()]
    assert found("heroic_pulls_to_first_kill", *heroic) == (3.5, 4, 4.5)


def test_kill_rates_before_and_after_the_first_kill() -> None:
    assert found("mythic_kill_rates", *first_kills()) == pytest.approx((100 * 2 / 9, 100 * 1 / 2))
    assert found("mythic_repeat_kills", *first_kills()) == pytest.approx((100 / 3,))
    heroic = [each | {"difficulty": "heroic"} for each in first_kills()]
    assert found("heroic_later_success", *heroic) == (50.0,)


def test_the_farm_ladder_counts_pulls_from_kill_to_kill() -> None:
    outcomes = [False, True, False, False, True, True, False, True]
    ladder = found("mythic_farm_ladder", *[pull(killed=killed) for killed in outcomes])
    assert ladder[:3] == (3, 1, 2)
    assert is_nan(ladder[3:]) == [True] * 3


def test_the_best_health_and_the_share_killed_count_teams_that_went_so_far() -> None:
    made = [
        *[pull(team=0, health_left=left) for left in (80, 90)],
        pull(team=0, killed=True),
        *[pull(team=1, health_left=left) for left in (90, 70, 75, 40, 30)],
    ]
    best = found("mythic_best_health_left", *made)
    assert best[:3] == (85, 15, 0), "after 10 pulls only the killed one counts"
    assert found("mythic_killed_early", *made) == (0, 50, 100)
    assert found("mythic_killed_late", *made) == (100, 100, 100)


def test_survival_on_the_way_to_the_first_kill() -> None:
    # The wipe number n lasts n/10 of the kill; its place on the way is (n − 1)/33.
    made = [*wipes_lasting(*[100.0 * n for n in range(1, 35)]), *kills_lasting(1000)]
    assert found("mythic_way_to_first_kill", *made) == pytest.approx((0.4, 0.9, 1.75, 2.6, 3.1, 3.35))
    assert is_nan(found("mythic_way_to_first_kill", *made[:-1])) == [True] * 6, "nobody got there"


def test_successive_wipes_are_compared_within_a_team_s_boss() -> None:
    alternating = [pull(health_left=left) for left in [10, 90] * 8]
    rising = [pull(team=1, health_left=left) for left in range(16)]
    short = [pull(team=2, health_left=left) for left in (3, 9, 4)]
    assert found("mythic_successive_wipes", *alternating) == pytest.approx((-1,))
    assert found("mythic_successive_wipes", *alternating, *rising, *short) == pytest.approx((0,))


def test_the_first_three_pulls_of_an_evening_are_cold() -> None:
    early = [pull(pull_of_evening=n, duration_s=duration_s) for n, duration_s in ((1, 20), (2, 40), (3, 30))]
    later = [pull(pull_of_evening=n, duration_s=duration_s) for n, duration_s in ((4, 60), (5, 70))]
    kill = [pull(pull_of_evening=6, duration_s=100, killed=True), pull(pull_of_evening=1, duration_s=100)]
    assert found("mythic_cold_pulls", *early, *later, *kill) == pytest.approx((0.3, 0.7))


def test_deaths_of_kills_and_how_wipes_collapse() -> None:
    heroic = [pull(difficulty="heroic", killed=True, deaths=deaths) for deaths in (0, 2, 8)]
    assert found("heroic_deaths_per_kill", *heroic) == (1, 2, 5)
    assert found("normal_deaths_per_kill", pull(difficulty="normal", killed=True, deaths=3)) == (3,)
    twenty = list(range(20))
    made = [
        pull(raiders=twenty, dead_at_end=19, quarter_dead_s=70.0),
        pull(raiders=twenty, dead_at_end=18, quarter_dead_s=90.0),
        pull(raiders=twenty, dead_at_end=0, duration_s=14.0),
        pull(raiders=twenty, dead_at_end=20, killed=True, quarter_dead_s=1.0),
    ]
    assert found("all_dead_wipes", *made) == (50.0,)
    assert found("collapse_duration", *made) == (20.0,)


def test_resets_are_short_and_without_a_death() -> None:
    made = [*wipes_lasting(9, 9.9), *wipes_lasting(8, deaths=1), *wipes_lasting(11), *kills_lasting(5)]
    assert found("resets", *made) == (50.0,)


def test_overheal_and_casts() -> None:
    made = [
        pull(heals=30, wasted_heals=10, casts_per_minute=[10.0, 20.0]),
        pull(heals=10, wasted_heals=2, casts_per_minute=[30.0, 110.0]),
        pull(heals=0, duration_s=5, casts_per_minute=[900.0, 900.0]),
    ]
    assert found("overheal_share", *made) == (30.0,)
    assert found("casts_per_minute", *made) == pytest.approx((13, 25, 86)), "without the pull that is not listed"


def test_sizes_and_healers() -> None:
    def raid(difficulty: str, healers: int, others: int) -> dict[str, Any]:
        return pull(
            difficulty=difficulty,
            raiders=list(range(healers + others)),
            roles=["healer"] * healers + ["dps"] * others,
        )

    made = [raid("normal", 2, 8), raid("heroic", 3, 22), raid("heroic", 5, 10), raid("mythic", 4, 16)]
    assert found("raid_size", *made) == (10, 20, 20)
    assert found("healers", *made) == (4,)
    assert found("heroic_healers", *made) == pytest.approx(((3 / 4.4 + 5 / 3.12) / 2,))


def test_rosters_over_a_season() -> None:
    # Player 0 in all of ten pulls, 1 in eight, 2 in five, 3 in one.
    present = [[0, *([1] if n < 8 else []), *([2] if n % 2 else []), *([3] if n == 0 else [])] for n in range(10)]
    made = [pull(raiders=raiders) for raiders in present]
    assert found("pool", *made) == (4,)
    assert found("regulars", *made) == (2, 3)


def test_the_core_of_an_evening_was_in_half_of_its_pulls() -> None:
    evenings = [([0, 1, 2], [0, 1, 2], [0, 1, 3]), ([0, 1, 4], [0, 5, 4])]
    made = [pull(evening=number, raiders=raiders) for number, some in enumerate(evenings) for raiders in some]
    # {0, 1, 2} and then {0, 1, 4, 5}.
    next_evening, tenth = found("core_overlap", *made)
    assert next_evening == pytest.approx(2 / 3)
    assert math.isnan(tenth)


def test_changes_of_the_roster_are_within_an_evening() -> None:
    made = [
        pull(raiders=[0, 1, 2]),
        pull(raiders=[0, 1, 2]),
        pull(raiders=[0, 1, 3]),
        pull(raiders=[4, 5, 3], boss=1),
        pull(raiders=[4, 5, 3], boss=2),
        pull(raiders=[7, 8, 9], boss=2, evening=1),
    ]
    assert found("roster_changes", *made) == (50, 50, 2)


def test_evenings_have_a_length_pulls_and_gaps() -> None:
    first = [pull(start_s=0, duration_s=100), pull(start_s=200, duration_s=300), pull(start_s=800, duration_s=1000)]
    second = [pull(start_s=90_000, duration_s=3600, evening=1)]
    assert found("evening_hours", *first, *second) == (0.75,)
    assert found("evening_pulls", *first, *second) == (2,)
    assert found("pull_gap", *first, *second) == (150, 200, 250)


def test_classes_are_those_of_players_not_of_pulls() -> None:
    made = [
        pull(raiders=[0, 1], classes=["mage", "evoker"]),
        pull(raiders=[0, 2], classes=["mage", "rogue"]),
        pull(raiders=[0, 3], classes=["rogue", "mage"], team=1),
    ]
    shares = dict(zip(CLASSES, found("class_shares", *made), strict=True))
    assert (shares["mage"], shares["rogue"], shares["druid"]) == (50, 50, 0)


def test_item_levels_differ_and_grow() -> None:
    made = [
        pull(start_s=week * WEEK_S, item_levels=[460.0 + 2 * week - 1, 460.0 + 2 * week + 1], team=team)
        for team in (0, 1)
        for week in range(4)
    ]
    assert found("item_level_gain", *made) == pytest.approx((2.0,))
    assert found("item_level_spread", *made) == pytest.approx((100 * math.sqrt(2) / 463,), rel=1e-2)
    assert is_nan(found("item_level_gain", *made[:1])) == [True], "one evening is no growth"


def parses(damage_by_kill: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    return [pull(killed=True, raiders=[0, 1, 2], damage_per_second=list(damage)) for damage in damage_by_kill]


def test_skill_between_and_within_players_is_told_apart() -> None:
    always = parses([(1, 2, 3)] * 6)
    between, within = found("skill", *always)
    assert within == pytest.approx(0, abs=1e-9)
    assert between > 0.8
    in_turn = parses([(1, 2, 3), (2, 3, 1), (3, 1, 2)] * 3)
    between, within = found("skill", *in_turn)
    assert between == 0
    assert within > 0.8


def test_skill_is_measured_among_the_same_specialisation_and_damage_dealers() -> None:
    unlike = [each | {"specializations": ["fire", "frost", "arcane"]} for each in parses([(1, 2, 3)] * 12)]
    assert found("skill", *unlike) == pytest.approx((0, 0)), "each is alone with its own ties"
    healing = [each | {"roles": ["healer"] * 3} for each in parses([(1, 2, 3)] * 6)]
    assert is_nan(found("skill", *healing)) == [True, True]


def test_variance_components_are_those_of_the_textbook() -> None:
    # Balanced: within 2, between (16 − 2)/2.
    scores = pl.DataFrame({"team": [0] * 4, "raiders": [0, 0, 1, 1], "z": [1.0, 3.0, 5.0, 7.0]})
    assert variance_components(scores) == pytest.approx((math.sqrt(7), math.sqrt(2)))
    # One of two, one of three: n₀ = 5 − 13/5.
    scores = pl.DataFrame({"team": [0] * 5, "raiders": [0, 0, 1, 1, 1], "z": [0.0, 2.0, 4.0, 5.0, 6.0]})
    expected = (2 * (1 - 3.4) ** 2 + 3 * (5 - 3.4) ** 2 - 4 / 3) / 2.4
    assert variance_components(scores) == pytest.approx((math.sqrt(expected), math.sqrt(4 / 3)))


def test_averages_of_nothing_are_nan() -> None:
    nothing = pl.Series([], dtype=pl.Float64)
    assert is_nan([*quantiles(nothing), median(nothing), mean(nothing), correlation(nothing, nothing)]) == [True] * 6
    assert math.isnan(correlation(pl.Series([1, 2]), pl.Series([3, 3])))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(1, 900), st.floats(0, 100), st.integers(0, 2)), max_size=30))
def test_any_pulls_have_all_figures(drawn: list[tuple[bool, float, float, int]]) -> None:
    made = [pull(killed=killed, duration_s=s, health_left=left, boss=boss) for killed, s, left, boss in drawn]
    wanted = load_calibration()
    compared = compare(figures(pulls(*made)), wanted)
    assert len(compared) == sum(len(each.real) for each in wanted.figures.values())


# --- rows of pulls that are played


def test_a_pull_s_row_counts_its_events() -> None:
    season = Season(section(pulls_per_evening=2.0), 1)
    played = tuple(season.evening(0))
    events = raid_frame_of("raid001", season, played)
    for place, each in enumerate(played, start=1):
        row = pull_row(season, 0, each)
        some = events.filter(pl.col("encounter_id") == f"raid001-p{place:02d}")
        ids = [season.team.players[index].player_id for index in row["raiders"]]  # type: ignore[attr-defined]
        casts = some.filter(pl.col("event_type") == "spell_cast")["source_player_id"].to_list()
        minutes = each.pull.duration_s / 60
        assert row["casts_per_minute"] == pytest.approx([casts.count(player) / minutes for player in ids])
        hits = some.filter(pl.col("event_type") == "combat_damage")
        owner = pl.coalesce("source_owner_id", "source_player_id")
        done = [hits.filter(owner == player)["damage_amount"].to_numpy().sum() / each.pull.duration_s for player in ids]
        assert row["damage_per_second"] == pytest.approx(done)
        heals = some.filter(pl.col("event_type") == "heal")
        assert row["wasted_heals"] == len(heals.filter(pl.col("overheal_amount") == pl.col("healing_amount")))
        assert row["deaths"] == len(some.filter(pl.col("event_type") == "player_death"))
        ends = some.filter(pl.col("event_type") == "encounter_end")
        assert [row["killed"]] == ends["encounter_success"].to_list()


def test_a_season_is_measured_pull_by_pull() -> None:
    given = section(pulls_per_evening=2.0)
    measured = measure(calibrate.SeasonTask(given, 1))
    season = Season(given, 1)
    expected = [pull_row(season, number, each) for number in range(2) for each in season.evening(number)]
    assert measured.schema == PULLS
    assert measured.to_dicts() == expected
    assert set(measured["evening"]) == {0, 1}


def test_the_seasons_to_play_are_as_many_as_the_file_says_at_its_rhythm() -> None:
    wanted = load_calibration()
    made = tasks(wanted)
    assert len({task.team_index for task in made}) == len(made) == sum(group.teams for group in wanted.groups)
    for group in wanted.groups:
        of_group = [task for task in made if calibrate.pulls.difficulty_of(task.team_index) == group.difficulty]
        assert len(of_group) == group.teams
        assert rhythm(of_group[0].section) == pytest.approx(wanted.rhythm, rel=1e-3)


def test_pulls_are_numbered_by_team_difficulty_and_boss() -> None:
    made = [pull(killed=True), pull(boss=1), pull(killed=True), pull(team=1), pull(difficulty="heroic"), pull()]
    numbered = number_the_pulls(pulls(*made)).sort("start_s")
    assert numbered["number"].to_list() == [1, 1, 2, 1, 1, 3]
    assert numbered["kills_before"].to_list() == [0, 0, 1, 0, 0, 2]


def test_short_wipes_are_not_listed() -> None:
    made = pulls(*wipes_lasting(19.9, 20), *kills_lasting(5))
    assert listed(made)["duration_s"].to_list() == [20, 5]


# --- tolerances and the data file


@pytest.mark.parametrize(
    ("stated", "real", "interval", "text"),
    [
        ({"relative": 0.25}, 8.0, (6, 10), "±25 %"),
        ({"relative": 0.25}, -8.0, (-10, -6), "±25 %"),
        ({"factor": 2}, 8.0, (4, 16), "×÷ 2"),
        ({"factor": 2}, -8.0, (-16, -4), "×÷ 2"),
        ({"absolute": 0.5}, 0.0, (-0.5, 0.5), "±0.5"),
        ({"between": (3, 9)}, 8.0, (3, 9), "3 … 9"),
    ],
)
def test_a_tolerance_is_an_interval(
    stated: dict[str, Any], real: float, interval: tuple[float, float], text: str
) -> None:
    tolerance = Tolerance(**stated)
    assert tolerance.interval(real) == interval
    assert str(tolerance) == text
    for value, is_ok in ((interval[0], True), (interval[1], True), (interval[0] - 1e-9, False), (math.nan, False)):
        assert Comparison("f", "f", "", real, value, tolerance).is_ok is is_ok


@pytest.mark.parametrize("stated", [{}, {"relative": 0.2, "absolute": 1}, {"relative": 1.2}, {"between": (2, 1)}])
def test_a_tolerance_that_is_none_or_two_is_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Tolerance(**stated)


def small(**changes: Any) -> dict[str, Any]:
    """A calibration of one team and two figures, as the file has it.

    It has three evenings, since an easier one of a mythic team has no mythic pull.
    """
    figure = {
        "what": "Pulls of an evening",
        "real": [3],
        "tolerance": ANYTHING,
        "reason": "Nothing is out of this.",
        "source": "none",
    }
    hazard = {"real": [0.1, 0.2], "source": "none"}
    return {
        "seed": 3,
        "rhythm": 0.2,
        "style_strength": 1.0,
        "fewest_pulls": {"mythic": 1},
        "groups": [{"difficulty": "mythic", "teams": 1, "evenings": 3, "pulls_per_evening": 3}],
        "hazards": {"heroic": hazard, "mythic": hazard},
        "figures": {"evening_pulls": figure, "resets": figure | {"what": "Resets, %", "real": [0]}},
        **changes,
    }


def with_figure(name: str, **changes: Any) -> dict[str, Any]:
    """The small calibration with one figure changed or added."""
    made = small()
    made["figures"] = made["figures"] | {name: made["figures"].get(name, made["figures"]["resets"]) | changes}
    return made


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command looks for its data."""
    target = tmp_path / "calibration.yaml"
    monkeypatch.setattr(calibration, "FILE", target)
    return target


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_figure("resets", tolerence={}), "figures.resets.tolerence"),
        (with_figure("resets", tolerance={"relativ": 0.2}), "figures.resets.tolerance.relativ"),
        (with_figure("resets", tolerance={"absolute": 1, "factor": 2}), "state exactly one of"),
        (with_figure("resets", tolerance={"relative": 0.2}), "a real 0 needs an absolute tolerance"),
        (with_figure("resets", reason=""), "figures.resets.reason"),
        (with_figure("resets", at=["a", "b"]), "`at` names 2 values, `real` has 1"),
        (with_figure("evening_pulls", real=[3, 4]), "`at` names 0 values, `real` has 2"),
        (small(groups=[]), "groups"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(file: Path, content: dict[str, Any], message: str) -> None:
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(PipelineError) as told:
        load_calibration()
    assert message in str(told.value)
    assert str(file) in str(told.value)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("deaths_of_tanks", {}, "figures.deaths_of_tanks: no such figure is computed"),
        ("resets", {"real": [0, 0], "at": ["a", "b"]}, "figures.resets: has 2 values, 1 are computed"),
    ],
)
def test_a_figure_that_is_not_computed_is_told_before_the_play(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch, name: str, changes: dict[str, Any], message: str
) -> None:
    file.write_text(yaml.safe_dump(with_figure(name, **changes)))
    monkeypatch.setattr(parallel, "map_raids", lambda *_, **__: pytest.fail("it was played"))
    with pytest.raises(PipelineError, match=message):
        calibrate.run()


def test_every_figure_of_the_file_is_computed() -> None:
    wanted = load_calibration()
    compared = compare(figures(pulls()), wanted)
    assert {each.figure for each in compared} == set(wanted.figures)
    assert not any(each.is_ok for each in compared if each.figure != "overheal_share"), "of no pulls"


def test_every_figure_states_a_reason_and_fits_the_page() -> None:
    for name, figure in load_calibration().figures.items():
        assert figure.reason.rstrip().endswith("."), name
        assert len(figure.what) <= LONGEST_LABEL, name


def test_labels_do_not_repeat() -> None:
    labels = [(figure.what, at) for figure in load_calibration().figures.values() for at in figure.at or ("",)]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("difficulty", ["heroic", "mythic"])
def test_the_hazards_of_stretches_are_means_of_the_drawn_ones(difficulty: str) -> None:
    wanted = load_calibration()
    series = wanted.hazards["heroic" if difficulty == "heroic" else "mythic"].real
    stretches = [series[low // HAZARD_STEP_S : high // HAZARD_STEP_S] for low, high in HAZARD_WINDOWS_S]
    means = [statistics.mean(stretch) for stretch in stretches]
    assert wanted.figures[f"{difficulty}_wipe_hazard"].real == pytest.approx(means, abs=5e-4)


# --- what is shown


def comparisons() -> list[Comparison]:
    relative, near = Tolerance(relative=0.2), Tolerance(absolute=0.5)
    return [
        Comparison("one", "One value", "", 10.0, 11.0, relative),
        Comparison("two", "Two values", "a", 10.0, 30.0, relative),
        Comparison("two", "Two values", "b", 0.0, 0.4, near),
        Comparison("three", "Not there", "", 5000.0, math.nan, relative),
    ]


def test_the_table_names_a_figure_once_and_says_what_is_out() -> None:
    made = table(comparisons())
    cells = [list(column.cells) for column in made.columns]
    assert cells[0] == ["One value", "Two values", "", "Not there"]
    assert cells[1] == ["", "a", "b", ""]
    assert cells[2] == ["10", "10", "0", "5,000"]
    assert cells[3] == ["11", "30", "0.4", "nan"]
    assert ["out" in str(cell) for cell in cells[5]] == [False, True, False, True]


def test_numbers_have_three_digits_and_no_powers_of_ten() -> None:
    assert [number(value) for value in (0.01234, 1.5, 123.4, 1234.5)] == ["0.0123", "1.5", "123", "1,234"]


def test_the_page_gives_a_line_to_a_value_and_a_heading_to_several() -> None:
    assert [(row.label, row.is_heading, row.comparison is None) for row in rows(comparisons())] == [
        ("One value", True, False),
        ("Two values", True, True),
        ("a", False, False),
        ("b", False, False),
        ("Not there", True, False),
    ]


def test_columns_begin_with_a_heading_and_lose_nothing() -> None:
    lines = rows(compare(figures(pulls()), load_calibration()))
    parts = in_columns(lines)
    assert [line for part in parts for line in part] == lines
    assert len(parts) == 3
    assert all(part[0].is_heading for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 24


def test_the_page_is_drawn_of_few_pulls_too() -> None:
    wanted = load_calibration()
    made = pulls(*first_kills())
    assert draw(made, compare(figures(made), wanted), wanted).rstrip().endswith(b"</svg>")


# --- the command


def run_command(home: Path, content: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """`python -m pipeline calibrate` with another data file."""
    data = home / "small.yaml"
    data.write_text(yaml.safe_dump(content))
    command = (
        "import sys; from pathlib import Path; from pipeline import cli; from pipeline.calibrate import calibration; "
        f"calibration.FILE = Path({str(data)!r}); sys.argv = ['pipeline', 'calibrate']; cli.main()"
    )
    variables = os.environ | {"PYTHONPATH": str(ROOT), "PIPELINE_WORKERS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", command],
        cwd=home,
        env=variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_a_season_within_tolerance_ends_well_and_is_drawn_the_same_each_time(home: Path) -> None:
    done = run_command(home, small())
    assert done.returncode == 0, done.stderr
    assert "2 of 2 values within tolerance" in done.stdout
    assert "calibrate: 1 teams" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    drawn = (home / "reports/calibration.svg").read_bytes()
    assert run_command(home, small()).returncode == 0
    assert (home / "reports/calibration.svg").read_bytes() == drawn


def test_a_season_out_of_tolerance_fails_and_says_where(home: Path) -> None:
    wanted = with_figure("casts_per_minute", real=[1, 2, 3], at=["10 %", "50 %", "90 %"], tolerance={"absolute": 0.1})
    done = run_command(home, wanted | {"fewest_pulls": {"mythic": 1000}})
    assert done.returncode == 1
    assert "out of tolerance: casts_per_minute 10 %, casts_per_minute 50 %, casts_per_minute 90 %:" in done.stderr
    assert "only" in done.stderr
    assert "mythic pulls of 1,000" in done.stderr
    assert "Traceback" not in done.stderr
    assert (home / "reports/calibration.svg").exists(), "what is wrong can be looked at"


def test_the_drawn_page_is_no_part_of_the_repository() -> None:
    ignored = subprocess.run(["git", "check-ignore", "reports/calibration.svg"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_types_of_the_file_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_calibration().seed = 1
    assert isinstance(load_calibration(), Calibration)
    assert all(isinstance(each, RealFigure) for each in load_calibration().figures.values())
