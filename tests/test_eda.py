"""The exploration's tables and pictures, on small seasons whose answers are known."""

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from pipeline.errors import PipelineError
from pipeline.studies import eda, figures
from pipeline.studies import eda_figures as draw
from pipeline.studies.figures import Picture

# A pull: raid, encounter, boss, difficulty, outcome, seconds, the seconds in which somebody died.
Pull = tuple[str, str, str | None, str | None, str, int, list[int]]
SEASON: list[Pull] = [
    ("raid001", "p1", "Velk", "normal", "wipe", 40, [10, 39, 39]),
    ("raid001", "p2", "Velk", "normal", "success", 80, [79]),
    ("raid002", "p1", "Oum", "heroic", "wipe", 20, [19]),
    ("raid002", "p2", None, None, "unknown", 3, []),
]
PLAYERS = [
    ("t", "warrior", "tank", 100.0, 0.0),
    ("h", "priest", "healer", 0.0, 300.0),
    ("d", "mage", "dps", 400.0, 0.0),
]


class Season:
    """Gold frames as `pipeline.gold` gives them."""

    def __init__(self, pulls: list[Pull], players: list[tuple[str, str | None, str | None, float, float]]) -> None:
        self.raid_summary = _raid_summary(pulls)
        self.raid_timeline = pd.concat([_seconds(pull) for pull in pulls] or [_seconds(("r", "p", "", "", "", 0, []))])
        self.player_raid_stats = _player_raid_stats(pulls, players)
        self.raid_id = eda.shown_raid(self.raid_summary, None)

    def figures(self) -> dict[str, Figure]:
        """Everything that is drawn from Gold."""
        timeline, summary, stats = self.raid_timeline, self.raid_summary, self.player_raid_stats
        return {
            "outcomes": draw.draw_outcomes(summary),
            "boss-health": draw.draw_boss_health(timeline, summary),
            "boss-health-raid": draw.draw_raid_boss_health(timeline, summary, self.raid_id),
            "rates-by-class": draw.draw_rates_by_class(stats),
            "role-shares": draw.draw_role_shares(stats),
            "deaths-raid": draw.draw_raid_deaths(timeline, summary, self.raid_id),
            "deaths-along-fight": draw.draw_deaths_along_fight(timeline, summary),
        }


def _raid_summary(pulls: list[Pull]) -> pd.DataFrame:
    columns = ["raid_id", "encounter_id", "encounter_name", "encounter_difficulty", "raid_outcome", "seconds", "deaths"]
    frame = pd.DataFrame(pulls, columns=columns)
    return frame.assign(
        event_date=pd.Timestamp("2026-01-05"),
        start_timestamp=pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(np.arange(len(frame)), unit="h"),
        pull_number=frame.groupby(["raid_id", "encounter_name"], dropna=False).cumcount() + 1,
        duration_ms=frame["seconds"].astype(int) * 1000,
        total_player_deaths=frame["deaths"].map(len).astype(int),
        boss_min_hp_pct=[0.0 if outcome == "success" else 50.0 for outcome in frame["raid_outcome"]],
        n_players=3,
        raid_dps=1000.0,
        raid_hps=500.0,
    ).drop(columns=["seconds", "deaths"])


def _seconds(pull: Pull) -> pd.DataFrame:
    raid_id, encounter_id, boss, _, _, seconds, deaths = pull
    health = np.linspace(100, 0, seconds) if boss else np.full(seconds, np.nan)
    counts = np.bincount(deaths, minlength=seconds)
    frame = pd.DataFrame({"second": np.arange(seconds), "deaths": counts, "boss_hp_pct": health})
    return frame.assign(raid_id=raid_id, encounter_id=encounter_id)


def _player_raid_stats(
    pulls: list[Pull], players: list[tuple[str, str | None, str | None, float, float]]
) -> pd.DataFrame:
    rows = [(pull[0], pull[1], *player) for pull in pulls for player in players]
    frame = pd.DataFrame(rows, columns=["raid_id", "encounter_id", "player_id", "player_class", "role", "dps", "hps"])
    return frame.astype({"dps": float, "hps": float}).assign(
        damage_total=frame["dps"].astype(float) * 10,
        healing_total=frame["hps"].astype(float) * 10,
        damage_taken=5.0,
        player_deaths=0,
    )


SEASONS: dict[str, Callable[[], Season]] = {
    "a season": lambda: Season(SEASON, [*PLAYERS]),
    "one pull of a log that names no class and no role": lambda: Season(
        [("log-1", "p1", "Huhuran", "other", "success", 56, [55])],
        [("a", None, None, 100.0, 0.0), ("b", None, None, 0.0, 20.0)],
    ),
    "a pull whose boss was never seen": lambda: Season(SEASON[3:], [*PLAYERS]),
    "no pull at all": lambda: Season([], []),
    "more fights and tries than are drawn and labelled": lambda: Season(
        [("raid001", f"p{i}", f"Boss {i % 14}", "mythic", "wipe", 5, []) for i in range(150)], [*PLAYERS]
    ),
}


def test_the_raid_asked_for_is_shown() -> None:
    assert eda.shown_raid(Season(SEASON, []).raid_summary, "raid002") == "raid002"


def test_a_raid_that_is_not_there_gives_way_to_the_first_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert eda.shown_raid(Season(SEASON, []).raid_summary, "raid999") == "raid001"
    assert "raid999" in caplog.text and "showing raid001" in caplog.text


def test_the_overview_counts_by_difficulty() -> None:
    overview = eda.overview(Season(SEASON, []).raid_summary).set_index("Difficulty")
    assert list(overview.index) == ["Normal", "Heroic", "Unknown"]
    normal, heroic, _ = overview.to_dict("records")
    assert normal == {
        "Raids": 1,
        "Bosses": 1,
        "Pulls": 2,
        "Kills": 1,
        "Wipes": 1,
        "Unknown": 0,
        "Pulls per kill": 2,
        "Median kill, s": 80,
        "Median wipe, s": 40,
        "Deaths per pull": 2,
    }
    assert pd.isna(heroic["Pulls per kill"])


def test_the_outcomes_hold_every_pull_once_and_say_zero() -> None:
    outcomes = eda.outcomes(Season(SEASON, []).raid_summary)
    assert outcomes["pulls"].sum() == len(SEASON)
    assert ("heroic", "success", "heroic, kill", 0) in outcomes.itertuples(index=False, name=None)


def test_the_shown_raid_is_described_in_a_sentence() -> None:
    summary = Season(SEASON, []).raid_summary
    assert eda.describe_raid(summary, "raid001") == "Shown is raid001 of 2026-01-05: 2 pulls, 1 kill."
    assert eda.describe_raid(Season([], []).raid_summary, None) == "There is no raid with a pull in these data."


def test_role_shares_sum_to_one_and_unknown_is_a_role() -> None:
    shares = eda.role_shares(Season(SEASON[:1], [*PLAYERS, ("x", None, None, 500.0, 0.0)]).player_raid_stats)
    assert list(shares.loc["Damage done"]) == [0.1, 0.0, 0.4, 0.5]
    assert shares.loc["Players"].sum() == 1
    assert shares.loc["Deaths"].isna().all()


def test_rates_take_a_role_and_those_without_one_that_did_any() -> None:
    players = [
        *PLAYERS,
        ("r", "rogue", "dps", 900.0, 0.0),
        ("x", None, None, 50.0, 0.0),
        ("y", "monk", None, 0.0, 70.0),
    ]
    stats = Season(SEASON[:1], players).player_raid_stats
    assert {name: list(rates) for name, rates in eda.rates_by_class(stats, "dps", "dps").items()} == {
        "rogue": [900.0],
        "mage": [400.0],
        "unknown": [50.0],
    }
    assert list(eda.rates_by_class(stats, "hps", "healer")) == ["priest", "monk"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["success", "wipe", "unknown"]), st.lists(st.integers(0, 59))), min_size=1))
def test_no_death_is_lost_along_the_fight(pulls: list[tuple[str, list[int]]]) -> None:
    season = Season(
        [("raid001", f"p{i}", "Velk", "normal", outcome, 60, deaths) for i, (outcome, deaths) in enumerate(pulls)], []
    )
    along = eda.deaths_along_fight(season.raid_timeline, season.raid_summary)
    assert along["deaths"].sum() == season.raid_summary["total_player_deaths"].sum()
    n_pulls = season.raid_summary.groupby("raid_outcome").size()
    assert np.allclose(along["deaths_per_pull"] * along["outcome"].map(n_pulls), along["deaths"])


def test_a_death_stands_where_in_the_fight_it_was() -> None:
    season = Season([("raid001", "p1", "Velk", "normal", "wipe", 100, [0, 52, 99])], [])
    along = eda.deaths_along_fight(season.raid_timeline, season.raid_summary)
    assert along.loc[along["deaths"] > 0, "part"].tolist() == [0, 10, 19]


def test_event_mix_and_latency_come_from_silver(tmp_path: Path) -> None:
    folder = tmp_path / "wow_raid_events/v1/raidid=raid001/eventdate=2026-01-05"
    folder.mkdir(parents=True)
    pl.DataFrame(
        {
            "event_type": ["heal"] * 30 + ["combat_damage"] * 70 + ["roster"],
            "source_system": ["simulator"] * 100 + [None],
            "ingest_latency_ms": [*range(0, 100_000, 1000), 7],
        }
    ).write_parquet(folder / "part-0.parquet")
    events = eda.silver_events(tmp_path)
    mix = eda.event_mix(events)
    assert mix[["event_type", "events"]].to_numpy().tolist() == [["combat_damage", 70], ["heal", 30], ["roster", 1]]
    latency = eda.ingest_latency(events, (0.0, 0.5, 1.0))
    assert latency["source"].unique().tolist() == ["simulator", "unknown"]
    assert latency.query("source == 'simulator'")["latency_s"].tolist() == pytest.approx([0, 50, 99], abs=1)
    assert eda.latency_table(latency)["50% within, s"].iloc[1] == 0.007
    assert isinstance(draw.draw_ingest_latency(events), Figure)


def test_silver_without_events_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="dvc repro silver"):
        eda.silver_events(tmp_path)


def _books(tmp_path: Path, came: int) -> pd.DataFrame:
    file = tmp_path / "silver.json"
    quarantined = {"negative_amount": 2, "clock_skew": 0}
    file.write_text(
        json.dumps(
            {"bronze_events": came, "silver_rows": 90, "duplicates_removed": 8, "quarantined": quarantined, "files": 1}
        )
    )
    return eda.silver_books(file)


def test_the_books_show_zero_and_balance(tmp_path: Path) -> None:
    books = _books(tmp_path, came=100)
    assert dict(zip(books["fate"], books["events"], strict=True)) == {
        "in Bronze": 100,
        "in Silver": 90,
        "removed: duplicate": 8,
        "set aside: negative amount": 2,
        "set aside: clock skew": 0,
    }
    sentence = "100 events in Bronze = 90 rows in Silver + 8 duplicates removed + 2 set aside: the books balance."
    assert eda.books_sentence(books) == sentence
    labels = [text.get_text() for text in draw.draw_removed(books).axes[0].texts]
    assert labels == ["0", "2  (2.0% of Bronze)", "8  (8.0% of Bronze)"]


def test_books_that_do_not_balance_say_so(tmp_path: Path) -> None:
    assert "DO NOT BALANCE" in eda.books_sentence(_books(tmp_path, came=101))


@pytest.mark.parametrize("name", SEASONS)
@pytest.mark.filterwarnings("error")
def test_every_picture_is_drawn_and_saved(name: str, home: Path) -> None:
    for figure_name, figure in SEASONS[name]().figures().items():
        picture = figures.show(figure, f"eda/{figure_name}", "what it shows")
        assert (home / f"reports/figures/eda/{figure_name}.svg").read_bytes() == picture.svg


@pytest.mark.usefixtures("home")
def test_pictures_are_the_same_bytes_whatever_matplotlib_is_set_to() -> None:
    first = figures.show(draw.draw_outcomes(Season(SEASON, []).raid_summary), "a", "x")
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "axes.grid": False}):
        second = figures.show(draw.draw_outcomes(Season(SEASON, []).raid_summary), "a", "x")
    assert first == second
    assert b"<dc:date>" not in first.svg


def test_boss_health_draws_one_line_per_pull_and_names_the_fight() -> None:
    figure = Season(SEASON, []).figures()["boss-health"]
    lines = [
        collection.get_segments()
        for panel in figure.axes
        for collection in panel.collections
        if isinstance(collection, LineCollection)
    ]
    assert sum(len(segments) for segments in lines) == 3
    titles = {panel.get_title(loc="left") for panel in figure.axes}
    assert {"Velk (normal)\n2 pulls, 1 kill", "Unknown boss (unknown)\n1 pull, 0 kills"} <= titles


def test_a_raid_of_many_tries_labels_first_last_and_best() -> None:
    pulls: list[Pull] = [("raid001", f"p{i:02d}", "Velk", "mythic", "wipe", 60, []) for i in range(9)]
    season = Season([*pulls, ("raid001", "p10", "Velk", "mythic", "success", 90, [])], [])
    season.raid_summary.loc[4, "boss_min_hp_pct"] = 0.0
    labels = [text.get_text() for panel in season.figures()["boss-health-raid"].axes for text in panel.texts]
    assert labels == ["#1", "#5", "#10"]


def test_a_picture_carries_its_text_for_those_who_cannot_see_it() -> None:
    page = Picture(b"<svg/>", 'deaths of "A & B"')._repr_html_()
    assert 'alt="deaths of &quot;A &amp; B&quot;"' in page
    assert "data:image/svg+xml;base64," in page


def test_tables_separate_thousands_and_leave_no_nan() -> None:
    frame = pd.DataFrame({"Boss": ["Velk", "Oum"], "Pulls": [1234, 5], "Kills per pull": [0.5, float("nan")]})
    page = figures.table(frame, "pulls", {"Kills per pull": "{:.2f}"}).to_html()
    assert ">1,234<" in page and ">0.50<" in page and ">–<" in page and "nan" not in page
    assert page == figures.table(frame, "pulls", {"Kills per pull": "{:.2f}"}).to_html()
