"""The scoring: what was found and caught beside the truth, and that it says so where something is wrong."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import params, paths, score, silver, wire
from pipeline.errors import PipelineError
from pipeline.silver import RaidTask, clean_and_write
from pipeline.simulate.faults import CAUGHT_BY
from tests.raids import batch, evening, write_bronze

PLAYS = 64
SECTION = params.Silver(massive_hit_threshold=1e4, max_clock_skew_s=120)


def pulls(chances: list[float], seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions that know the true chances of some pulls, and these."""
    random = np.random.default_rng(seed)
    chance = np.array(chances)
    keys = {"raid_id": "raid001", "encounter_id": [f"p{number:04d}" for number in range(len(chances))]}
    is_kill = (random.random(len(chance)) < chance).astype(int)
    models = {model: np.clip(chance, 0.01, 0.99) for model in score.MODELS}
    truth = pd.DataFrame({**keys, "horizon_s": 60, "plays": PLAYS, "win_probability": chance})
    return pd.DataFrame({**keys, "is_kill": is_kill, **models}), truth


def test_a_model_that_knows_the_chances_reaches_the_ceiling() -> None:
    found = score.outcome(*pulls(list(np.linspace(0, 1, 400))), 60)
    assert found["pulls"] == 400
    for name in score.SCORES:
        assert found["winner"][name] == pytest.approx(found["ceiling"][name], abs=0.005)
    assert found["distance_from_truth"] < 0.001


def test_a_model_that_knows_nothing_lies_below_the_ceiling() -> None:
    predictions, truth = pulls(list(np.linspace(0, 1, 400)))
    found = score.outcome(predictions.assign(winner=0.5), truth, 60)
    assert found["ceiling"]["roc_auc"] > 0.75 > found["winner"]["roc_auc"] == 0.5
    assert found["ceiling"]["log_loss"] < 0.6 < found["winner"]["log_loss"]
    assert found["distance_from_truth"] == pytest.approx(0.25, abs=0.01)


def test_a_chance_of_all_plays_is_not_certain() -> None:
    """Of 64 plays all may win by luck: one wipe after that must not cost the ceiling everything."""
    predictions, truth = pulls([1.0] * 50)
    found = score.outcome(predictions.assign(is_kill=[0] + [1] * 49), truth, 60)
    assert found["ceiling"]["log_loss"] < 0.2


def test_only_pulls_of_known_chance_at_this_moment_are_scored() -> None:
    predictions, truth = pulls([0.5] * 40)
    elsewhere = truth.assign(horizon_s=[60] * 10 + [90] * 30)
    assert score.outcome(predictions, elsewhere, 60)["pulls"] == 10
    assert score.outcome(predictions, elsewhere, 30) == {"status": "too few pulls", "horizon_s": 30, "pulls": 0}
    one_sided = score.outcome(predictions.assign(is_kill=1), truth, 60)
    assert one_sided == {"status": "too few pulls", "horizon_s": 60, "pulls": 40}


def test_a_study_that_was_not_possible_is_scored_as_too_few_pulls(tmp_path: Path) -> None:
    columns = pd.DataFrame(columns=["raid_id", "encounter_id", "is_kill", *score.MODELS])
    columns.to_csv(tmp_path / "none.csv", index=False)
    found = score.outcome(pd.read_csv(tmp_path / "none.csv"), pulls([0.5])[1], 60)
    assert found["status"] == "too few pulls"


@given(st.permutations([0, 1, 2]))
def test_the_names_of_groups_do_not_matter(names: list[int]) -> None:
    styles = np.repeat([0, 1, 2], 6)
    players = [f"player-{number}" for number in range(18)]
    found = pd.DataFrame({"role": "healer", "player_id": players, "cluster": np.array(names)[styles]})
    truth = pd.DataFrame({"player_id": players, "style": np.array(["raid", "tank", "rescue"])[styles]})
    expected = {"players": 18, "styles": 3, "found": 3, "ari": 1.0}
    assert score.play_styles(found, truth) == {"healer": expected}


def test_one_group_for_all_says_nothing_of_the_styles() -> None:
    players = [f"player-{number}" for number in range(8)]
    found = pd.DataFrame({"role": ["dps"] * 6 + ["tank"] * 2, "player_id": players, "cluster": 1})
    truth = pd.DataFrame({"player_id": [*players, "left out"], "style": ["a", "b"] * 4 + ["a"]})
    scored = score.play_styles(found, truth)
    assert scored["dps"] == {"players": 6, "styles": 2, "found": 1, "ari": 0.0}
    assert list(scored) == ["dps", "tank"]


def test_the_ledger_counts_what_must_be_caught_by_raid() -> None:
    ledger = pd.DataFrame({"raid_id": "raid001", "fault": [*CAUGHT_BY, "invalid"]})
    counts = score.in_ledger(ledger)
    assert counts == {("raid001", kind): 2 if kind == "invalid" else 1 for kind in score.CAUGHT}
    assert set(score.CAUGHT) == {kind for kind, layer in CAUGHT_BY.items() if layer != "nobody"}


def sent(folder: Path, raid_id: str, count: int) -> None:
    """A raid of so many events in `data/simulated`."""
    rows = pl.DataFrame({"event_id": [f"{number}" for number in range(count)]})
    wire.write_raid(wire.event_frame(rows), folder, raid_id)


def layered(root: Path, raid_id: str, events: list[Any], name: str = "b") -> None:
    """A raid's events through Bronze to Silver."""
    source = root / f"bronze-{raid_id}"
    write_bronze(source, [batch(events, name, raid_id=raid_id)])
    clean_and_write(RaidTask(raid_id, pl.read_parquet(source / "manifest.parquet"), source, root / "silver", SECTION))


def test_what_the_layers_caught_is_counted_by_raid_and_only_of_simulated_ones(tmp_path: Path) -> None:
    for raid_id in ("raid001", "raid002", "log"):
        events = evening(raid_id)
        faulty = [*events, events[4], events[5]] if raid_id != "raid002" else events
        late = events[6] | {"event_id": "11111111-1111-5111-8111-111111111111", "timestamp": "2026-01-01T22:00:00Z"}
        layered(tmp_path, raid_id, [*faulty, late] if raid_id == "log" else faulty)
    size = len(evening("raid001"))
    sent(tmp_path / "simulated", "raid001", size + 2 + 3)  # three were refused
    sent(tmp_path / "simulated", "raid002", size)
    sent(tmp_path / "simulated", "raid003", 7)  # all of them
    assert score.caught_faults(tmp_path / "simulated", tmp_path / "silver") == {
        ("raid001", "invalid"): 3,
        ("raid001", "duplicate"): 2,
        ("raid003", "invalid"): 7,
    }


def test_what_is_set_aside_for_a_reason_that_nobody_brought_in_is_told(tmp_path: Path) -> None:
    events = evening("raid001")
    events[5] |= {"damage_amount": -5.0}
    layered(tmp_path, "raid001", events)
    sent(tmp_path / "simulated", "raid001", len(events))
    caught = score.caught_faults(tmp_path / "simulated", tmp_path / "silver")
    assert caught == {("raid001", score.OTHER_REASONS): 1}
    with pytest.raises(PipelineError, match=r"raid001, other_reasons: 0 brought in, 1 caught"):
        score.check(Counter(), caught)


def test_a_damaged_file_of_silver_is_named(tmp_path: Path) -> None:
    file = tmp_path / silver.EVENTS / "raidid=raid001" / "eventdate=2026-01-01" / silver.PART
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PAR1")
    with pytest.raises(PipelineError, match=r"eventdate=2026-01-01/part-0\.parquet: is damaged"):
        silver.stated_counts(tmp_path, "raid001")


def test_counts_must_agree_in_every_raid() -> None:
    """The same sums in all are not enough."""
    brought_in = Counter({("raid001", "invalid"): 2, ("raid002", "invalid"): 1})
    score.check(brought_in, Counter(brought_in))
    with pytest.raises(PipelineError) as raised:
        score.check(brought_in, Counter({("raid001", "invalid"): 1, ("raid002", "invalid"): 2}))
    for said in ("raid001, invalid: 2 brought in, 1 caught", "raid002, invalid: 1 brought in, 2 caught"):
        assert said in str(raised.value)


def written() -> Any:
    return json.loads(score.METRICS.read_text())


def test_a_season_of_real_logs_alone_has_no_truth(home: Path) -> None:
    score.run()
    assert written() == {"status": "no truth"}


@pytest.fixture
def scored_season(home: Path) -> Path:
    """A truth, a raid of it through the layers, and the studies' tables."""
    predictions, truth = pulls([0.2, 0.4, 0.9, 0.8, 0.1])
    predictions["is_kill"] = [0, 1, 1, 1, 0]
    players = pd.DataFrame({"role": "dps", "player_id": ["a", "b", "c", "d"], "cluster": [1, 1, 2, 2]})
    faults = pd.DataFrame({"raid_id": ["raid001"], "fault": ["duplicate"]})
    score.TRUTH.mkdir(parents=True)
    truth.to_parquet(score.TRUTH / "win_probability.parquet")
    players.assign(style=["x", "x", "y", "y"]).to_parquet(score.TRUTH / "players.parquet")
    faults.to_parquet(score.TRUTH / "faults.parquet")
    events = evening("raid001")
    layered(Path("data"), "raid001", [*events, events[4]])
    sent(paths.SIMULATED, "raid001", len(events) + 1)
    paths.TABLES.mkdir(parents=True)
    paths.METRICS.mkdir(parents=True)
    predictions.to_csv(paths.TABLES / "classification-predictions.csv", index=False)
    players.to_csv(paths.TABLES / "clustering-players.csv", index=False)
    (paths.METRICS / "classification.json").write_text('{"horizon_s": 60}')
    return home


def test_the_stage_writes_what_it_found(scored_season: Path) -> None:
    score.run()
    found = written()
    assert found["status"] == found["outcome"]["status"] == "ok"
    assert found["outcome"]["pulls"] == 5
    assert found["play_styles"] == {"dps": {"players": 4, "styles": 2, "found": 2, "ari": 1.0}}
    assert found["faults"] == {
        kind: {"brought_in": int(kind == "duplicate"), "caught": int(kind == "duplicate")} for kind in score.CAUGHT
    }


def test_a_fault_that_nobody_caught_stops_the_stage(scored_season: Path) -> None:
    more = pd.DataFrame({"raid_id": ["raid001"] * 2, "fault": ["duplicate", "outside_pull"]})
    more.to_parquet(score.TRUTH / "faults.parquet")
    with pytest.raises(PipelineError, match="raid001, outside_pull: 1 brought in, 0 caught"):
        score.run()
    assert not score.METRICS.exists()


@pytest.mark.parametrize(
    ("file", "remedy"),
    [
        (score.TRUTH / "players.parquet", "dvc repro simulate"),
        (score.TRUTH / "faults.parquet", "dvc repro simulate"),
        (score.TRUTH / "win_probability.parquet", "dvc repro simulate"),
        (paths.TABLES / "classification-predictions.csv", "dvc repro classify"),
        (paths.TABLES / "clustering-players.csv", "dvc repro cluster"),
        (paths.METRICS / "classification.json", "dvc repro classify"),
    ],
)
@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_missing_or_damaged_file_is_named_with_what_to_run(
    scored_season: Path, file: Path, remedy: str, damage: str
) -> None:
    file.unlink()
    if damage == "damaged":
        file.write_bytes(b"")
    with pytest.raises(PipelineError, match=rf"{file}: cannot be read.*{remedy}"):
        score.run()
