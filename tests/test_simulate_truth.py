"""The truth beside the simulation: what it says, and that nothing else depends on it."""

import ast
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pipeline
from pipeline import wire
from pipeline.simulate import TeamTask, engine, truth, write_season
from pipeline.simulate.faults import Delivery
from pipeline.simulate.fight import Count, begin, empty_log
from pipeline.simulate.season import raid_frame_of
from pipeline.simulate.truth import WIN_PROBABILITY_SCHEMA
from tests.fights import Evening, evenings_of, section

HORIZONS_S = (20, 40, 80)
PLAYS = 24
DELIVERY = Delivery(batch_size=200, network_latency_ms=120, max_clock_skew_s=120)


@pytest.fixture(scope="module")
def evenings() -> list[Evening]:
    """Three evenings of each of six teams, with few events."""
    return evenings_of(section(num_events_per_raid=1200, evenings_per_team=3, pulls_per_evening=5.0), range(6))


@pytest.fixture(scope="module")
def chances(evenings: list[Evening]) -> pl.DataFrame:
    """Every pull's chance to win, and what became of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth, "PLAYS", dict.fromkeys(truth.PLAYS, PLAYS))
        rows = [
            row
            for evening in evenings
            for row in truth.win_probabilities(evening.raid_id, evening.pulls, HORIZONS_S, 1.0)
        ]
    became = [
        {
            "encounter_id": truth.encounter_id(evening.raid_id, place),
            "killed": one.pull.killed,
            "lasted": one.pull.duration_s,
        }
        for evening in evenings
        for place, one in enumerate(evening.pulls)
    ]
    return pl.DataFrame(rows, schema=WIN_PROBABILITY_SCHEMA).join(pl.DataFrame(became), on="encounter_id")


def test_a_pull_replayed_to_a_moment_is_the_noted_pull_up_to_it(evenings: list[Evening]) -> None:
    compared = 0
    for evening in evenings[:4]:
        for played in evening.pulls:
            for horizon_s in HORIZONS_S:
                if played.pull.duration_s <= horizon_s:
                    continue
                rng = played.at_the_pull()
                state, log = begin(played.fight, rng), empty_log(len(played.pull.rows) + engine.ROOM_FOR_ONE)
                engine.play(played.fight, state, log, rng, float(horizon_s))
                again = log.rows[: state.counts[Count.LOGGED]]
                noted = played.pull.rows[1 + len(played.fight.raid) :]
                assert noted[: len(again)].tobytes() == again.tobytes()
                assert (noted["ms"][len(again) :] >= 1000 * horizon_s).all()
                assert (again["ms"] <= 1000 * horizon_s).all()
                compared += 1
    assert compared > 0


def test_every_pull_still_under_way_has_its_chance_and_no_other(chances: pl.DataFrame, evenings: list[Evening]) -> None:
    expected = {
        (truth.encounter_id(evening.raid_id, place), horizon_s)
        for evening in evenings
        for place, one in enumerate(evening.pulls)
        for horizon_s in HORIZONS_S
        if one.pull.duration_s > horizon_s
    }
    assert set(chances.select("encounter_id", "horizon_s").iter_rows()) == expected
    over = [one for evening in evenings for one in evening.pulls if one.pull.duration_s <= max(HORIZONS_S)]
    assert over, "the season has pulls that are over before the last horizon"


def test_chances_are_the_same_in_whatever_order_the_moments_are_asked_for(
    evenings: list[Evening], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "PLAYS", dict.fromkeys(truth.PLAYS, 2))

    def asked(horizons_s: tuple[int, ...]) -> pl.DataFrame:
        rows = [
            row
            for evening in evenings[:3]
            for row in truth.win_probabilities(evening.raid_id, evening.pulls, horizons_s, 1.0)
        ]
        return pl.DataFrame(rows, schema=WIN_PROBABILITY_SCHEMA).sort("encounter_id", "horizon_s")

    shortest = min(one.pull.duration_s for evening in evenings[:3] for one in evening.pulls)
    horizons_s = (int(shortest) + 1, int(shortest / 2))
    assert asked(horizons_s).equals(asked(horizons_s[::-1]))


def test_chances_are_shares_of_the_plays(chances: pl.DataFrame) -> None:
    assert set(chances["plays"]) == {PLAYS}
    assert chances["win_probability"].is_between(0, 1).all()
    wins = chances["win_probability"] * PLAYS
    assert np.allclose(wins, wins.round())
    assert chances["win_probability"].n_unique() > 5


def test_what_became_of_the_pulls_is_as_frequent_as_their_chances_say(chances: pl.DataFrame) -> None:
    for horizon_s in HORIZONS_S:
        at = chances.filter(horizon_s=horizon_s)
        chance, killed = at["win_probability"].to_numpy(), at["killed"].to_numpy().astype(float)
        # The spread of the sum: of the outcomes, and of the chances, which are means of so many plays themselves.
        deviation = np.sqrt((chance * (1 - chance) * (1 + 1 / PLAYS)).sum() + 1)
        assert abs((killed - chance).sum()) < 4 * deviation
        base = killed.mean()
        assert ((chance - killed) ** 2).mean() < ((base - killed) ** 2).mean(), "they know more than the mean"


def test_later_moments_know_more(chances: pl.DataFrame) -> None:
    whole = chances.filter(pl.len().over("encounter_id") == len(HORIZONS_S))
    squared = (whole["win_probability"] - whole["killed"].cast(pl.Float64)).to_numpy() ** 2
    first, last = (squared[(whole["horizon_s"] == at).to_numpy()].mean() for at in (HORIZONS_S[0], HORIZONS_S[-1]))
    assert last <= first + 0.01


def test_in_the_last_second_the_chance_is_nearly_the_outcome(
    evenings: list[Evening], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "PLAYS", dict.fromkeys(truth.PLAYS, 8))
    far_off = []
    for evening in evenings[::2]:
        for one in evening.pulls:
            last = (int(one.pull.duration_s),)
            for row in truth.win_probabilities(evening.raid_id, (one,), last, 1.0):
                chance = row["win_probability"]
                assert isinstance(chance, float)
                far_off.append(abs(chance - one.pull.killed))
    assert np.mean(far_off) < 0.1


def test_looking_at_the_truth_changes_no_raid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "PLAYS", dict.fromkeys(truth.PLAYS, 2))
    given = section(evenings_per_team=1, pulls_per_evening=2.0, num_events_per_raid=500)
    raids = []
    for share in (0.0, 1.0):
        task = TeamTask(
            given.model_copy(update={"win_probability_share": share}), 0, tmp_path / f"{share}", DELIVERY, (5,)
        )
        books = write_season(task)
        assert (sum(frame.height for frame in books.truth["win_probability"]) > 0) == (share > 0)
        raids.append({file.name: file.read_bytes() for file in wire.raid_files(task.folder)})
    assert raids[0] == raids[1]


def test_the_truth_says_who_plays_how_and_what_each_pull_was(evenings: list[Evening]) -> None:
    for evening in evenings:
        season = evening.season
        players = truth.players(season)
        assert players["player_id"].to_list() == [player.player_id for player in season.team.players]
        for role, style in players.select("role", "style").iter_rows():
            assert style in season.world.roles[role].styles
        pulls = truth.pulls(evening.raid_id, season, evening.pulls)
        frame = raid_frame_of(evening.raid_id, season, evening.pulls)
        ends = frame.filter(event_type="encounter_end").select(
            "raid_id", "encounter_id", "team_id", difficulty="encounter_difficulty", killed="encounter_success"
        )
        assert pulls.select(ends.columns).equals(ends)
        assert pulls["chance_of_no_failure"].is_between(0, 1).all()


def test_the_truth_is_written_once_for_all_teams(tmp_path: Path) -> None:
    parts = [pl.DataFrame({"team_id": [name]}) for name in ("team-01", "team-02")]
    truth.write(tmp_path / "truth", "players", parts)
    assert pl.read_parquet(tmp_path / "truth/players.parquet")["team_id"].to_list() == ["team-01", "team-02"]
    truth.write(tmp_path / "none", "players", [])
    assert not list((tmp_path / "none").iterdir())


READERS = {"score.py"}
"""The modules outside the simulator that may know where the truth lies."""


def test_no_stage_but_the_scoring_knows_where_the_truth_lies() -> None:
    root = Path(pipeline.__file__).parent
    for file in root.rglob("*.py"):
        if file.parent.name == "simulate" or file.name in READERS:
            continue
        texts = [
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value
        ]
        assert not [text for text in texts if "truth" in text.split("/")], file


def test_raids_are_found_without_the_truth(tmp_path: Path) -> None:
    given = section(evenings_per_team=1, pulls_per_evening=1.0, num_events_per_raid=300)
    write_season(TeamTask(given, 0, tmp_path, DELIVERY, ()))
    truth.write(tmp_path / "truth", "players", [pl.DataFrame({"a": [1]})])
    with_truth = wire.raid_files(tmp_path)
    shutil.rmtree(tmp_path / "truth")
    assert wire.raid_files(tmp_path) == with_truth != []
