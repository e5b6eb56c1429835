"""The study of outcomes: honest splits, right scores, clear statements, and the same bytes."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.studies import classification as study
from pipeline.studies import outcome_results as found
from pipeline.studies.outcome_scores import SCORES, reliability, scored, team_weights, weighted_scores
from tests import outcome_season as season

PULLS = st.lists(st.tuples(st.booleans(), st.integers(0, 10), st.integers(0, 3)), min_size=2, max_size=40)


def pulls_of(features: pl.DataFrame, horizon_s: int = 60) -> study.Pulls:
    running = features.filter(horizon_s=horizon_s).to_pandas()
    return study.Pulls(horizon_s, running, study.labelled(running), n_ended_before=0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return season.studied(tmp_path_factory)


@given(PULLS)
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_scikit_learn_with_pulls_counted_as_often_as_weighted(
    pulls: list[tuple[bool, int, int]],
) -> None:
    is_kill, tenths, counts = (np.array(column, dtype=float) for column in zip(*pulls, strict=True))
    probability = 0.05 + 0.09 * tenths
    repeated = counts.astype(int)
    truth, said = np.repeat(is_kill, repeated), np.repeat(probability, repeated)
    ours = {name: values[0] for name, values in weighted_scores(is_kill, probability, counts[None, :]).items()}
    if len(set(truth)) < 2:
        assert np.isnan(ours["roc_auc"])
        assert np.isnan(ours["pr_auc"])
        return
    theirs = {
        "roc_auc": roc_auc_score(truth, said),
        "pr_auc": average_precision_score(truth, said),
        "log_loss": log_loss(truth, said),
        "brier": brier_score_loss(truth, said),
        "accuracy": accuracy_score(truth, said >= 0.5),
        "f1": f1_score(truth, said >= 0.5),
    }
    assert ours == pytest.approx(theirs)


def test_a_resample_draws_whole_teams() -> None:
    teams = pd.Series(["a", "a", "b", "c", "c", "c"])
    weights = np.concatenate(list(team_weights(teams, 300, seed=1)))
    assert weights.shape == (300, 6)
    assert (weights[:, [0, 3]] == weights[:, [1, 4]]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(weights, axis=0)) == 10


def predictions(n_teams: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    n = n_teams * 20
    probability = random.uniform(size=n)
    return pd.DataFrame(
        {
            "raid_id": "r",
            "encounter_id": [str(number) for number in range(n)],
            "team_id": [str(number % n_teams) for number in range(n)],
            "is_kill": (random.uniform(size=n) < probability).astype(int),
            "good": probability,
            "bad": 0.5,
        }
    )


def test_an_interval_holds_the_score_and_a_worse_model_is_told_apart() -> None:
    table = scored(predictions(10), {"good": "Good", "bad": "Bad"}, 200, seed=1)
    rows = {(row["model"], row["metric"]): row for row in table.to_dict("records")}
    good, bad = rows["good", "log_loss"], rows["bad", "log_loss"]
    assert good["low"] < good["value"] < good["high"]
    assert good["difference"] == good["difference_low"] == good["difference_high"] == 0
    assert bad["difference_low"] > 0
    assert rows["bad", "roc_auc"]["value"] == 0.5


def test_too_few_teams_get_scores_without_an_interval() -> None:
    table = scored(predictions(4), {"good": "Good"}, 50, seed=1)
    assert table["value"].notna().all()
    assert table[["low", "high"]].isna().all().all()


def test_honest_probabilities_are_reliable() -> None:
    honest = predictions(500)
    bins = reliability(honest, "good", 5, 20, seed=1)
    assert bins["n_pulls"].tolist() == [2000] * 5
    assert np.allclose(bins["predicted"], bins["observed"], atol=0.04)
    assert ((bins["low"] <= bins["observed"]) & (bins["observed"] <= bins["high"])).all()


@given(n_teams=st.integers(3, 12), share=st.sampled_from([0.1, 0.25, 0.5]), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_no_team_is_on_both_sides_of_a_split(n_teams: int, share: float, seed: int) -> None:
    pulls = pulls_of(season.pull_features(n_teams, 12))
    split = study.split_teams(pulls, share, 5, seed)
    assert split.reason is None
    ((training, heldout),) = study.heldout_rows(pulls.labelled, split)
    for learn, predict in [(training, heldout), *study.fold_rows(pulls.labelled, split.folds)]:
        teams = pulls.labelled["team_id"]
        assert not set(teams.iloc[learn]) & set(teams.iloc[predict])
        assert pulls.labelled["is_kill"].iloc[learn].nunique() == 2
    assert len(split.heldout_teams) == min(max(1, round(share * n_teams)), n_teams - 2)


def test_every_difficulty_is_met_by_training_and_held_out_teams_where_that_can_be() -> None:
    rare = pl.when(pl.col("team_id").is_in(["team-01", "team-02"])).then(pl.lit("mythic")).otherwise(pl.lit("normal"))
    pulls = pulls_of(season.pull_features(8, 12).with_columns(encounter_difficulty=rare))
    for seed in range(5):
        split = study.split_teams(pulls, 0.25, 4, seed)
        assert len(set(split.heldout_teams) & {"team-01", "team-02"}) == 1


def test_pulls_without_outcome_or_team_are_left_out_and_counted() -> None:
    features = season.pull_features(4, 10).with_columns(
        raid_outcome=pl.when(pl.col("encounter_id") == "raid001-p01").then(pl.lit("unknown")).otherwise("raid_outcome"),
        team_id=pl.when(pl.col("team_id") != "team-04").then("team_id"),
    )
    counts = pulls_of(features).counts
    assert (counts["n_pulls"], counts["n_unknown_outcome"], counts["n_without_team"], counts["n_teams"]) == (
        29,
        1,
        10,
        3,
    )


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (season.pull_features(8).clear(), "at least 3 teams .* there are 0"),
        (season.pull_features(2), "at least 3 teams .* there are 2"),
        (season.real_log().with_columns(horizon_s=60), r"there are 0 \(1 pulls are of raids that name no team\)"),
        (season.pull_features(4).with_columns(raid_outcome=pl.lit("wipe")), "all 96 pulls ended in a wipe"),
        (
            season.pull_features(4).with_columns(
                raid_outcome=pl.when(pl.col("team_id") == "team-01").then(pl.lit("success")).otherwise(pl.lit("wipe"))
            ),
            "no way to part 3 training teams",
        ),
    ],
)
def test_a_study_that_cannot_be_says_why_and_still_has_all_its_parts(features: pl.DataFrame, reason: str) -> None:
    pulls = pulls_of(features.cast({"horizon_s": pl.Int64}))
    split = study.split_teams(pulls, 0.25, 5, 1)
    assert split.reason is not None
    assert pd.Series([split.reason]).str.contains(reason).all(), split.reason
    comparison = study.compare(pulls, split, ["lr"], 1)
    nothing = study.out_of_sample(pulls, [], comparison.winner, 1)
    table = study.scores(nothing.predictions, None, 10, 1)
    results = found.Results(
        pulls,
        split,
        comparison,
        nothing.predictions,
        table,
        table,
        study.by_difficulty(nothing.predictions, None, 10, 1),
        study.importance(pulls, nothing, 1),
    )
    metrics = found.metrics(results)
    assert metrics["status"] == "not possible"
    assert metrics["reason"] == split.reason
    assert found.roc(results).empty
    assert found.reliability_of_all(results, 10, 1).empty
    assert split.reason in found.verdict(results)


def test_a_horizon_without_features_is_refused_with_those_that_have_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(season.write_season(tmp_path, season.pull_features(3, 4)))
    with pytest.raises(PipelineError, match=r"classify.horizon_s is 45, but features were made for 30, 60 s"):
        study.read_pulls(45)


def test_missing_features_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match=r"pull_features.*dvc repro features"):
        study.read_pulls(60)


def test_the_study_finds_what_the_season_was_made_of(home: Path) -> None:
    metrics = json.loads((home / paths.METRICS / "classification.json").read_text())
    assert metrics["status"] == "ok"
    assert (metrics["n_pulls"], metrics["n_teams"], metrics["n_heldout_teams"]) == (192, 8, 2)
    assert metrics["roc_auc"]["low"] > 0.75
    assert (
        metrics["log_loss"]["value"]
        < min(metrics["baselines"][name]["log_loss"] for name in ("history", "base_rate")) - 0.1
    )
    assert metrics["baselines"]["base_rate"]["roc_auc"] == 0.5
    assert set(metrics["difficulty"]) == {"normal", "heroic"}
    families = pd.read_csv(home / paths.TABLES / "classification-importance.csv").query("kind == 'family'")
    assert set(families["name"].head(3)) >= {"boss health at T", "deaths"}


def test_the_report_gets_its_tables_and_figures(home: Path) -> None:
    models = pd.read_csv(home / paths.TABLES / "classification-models.csv")
    assert sorted(models["model"]) == sorted(season.CLASSIFY["models"])
    assert models["log_loss"].is_monotonic_increasing
    scores = pd.read_csv(home / paths.TABLES / "classification-scores.csv")
    assert set(scores["metric"]) == set(SCORES)
    assert set(scores["sample"]) == {"cross-fitted", "held-out"}
    drawn = sorted(file.stem for file in (home / paths.FIGURES / "classification").glob("*.svg"))
    assert drawn == ["curves", "importance", "reliability"]
    roc = pd.read_csv(home / paths.PLOTS / "roc.csv")
    ends = roc.groupby("model")[["fpr", "tpr"]].agg(["first", "last"]).to_numpy()
    assert (ends == [0, 1, 0, 1]).all()


def test_the_notebook_leaves_no_litter_and_no_times(home: Path) -> None:
    assert sorted(path.name for path in home.iterdir()) == [
        "data", "dvc.yaml", "models", "notebooks", "params.yaml", "reports",
    ]  # fmt: skip
    executed = nbformat.read(home / paths.EXECUTED_NOTEBOOKS / "02-classification.ipynb", 4)  # type: ignore[no-untyped-call]
    assert "TT (Sec)" not in json.dumps(executed)


NOISE = """
import pandas as pd
from pipeline.studies import classification as study
running = pd.read_parquet("data/features/pull_features/v1/part-0.parquet").query("horizon_s == 60")
running["raid_outcome"] = running["raid_outcome"].sample(frac=1, random_state=1).to_numpy()
pulls = study.Pulls(60, running, study.labelled(running), 0)
crossed = study.out_of_sample(pulls, study.fold_rows(pulls.labelled, 4), "gbc", 1)
table = study.scores(crossed.predictions, "gbc", 200, 1).set_index(["model", "metric"])
print(table.loc[("winner", "roc_auc"), "value"], table.loc[("base_rate", "log_loss"), "difference_high"])
"""


def test_outcomes_that_are_noise_are_not_predicted(home: Path) -> None:
    auc, base_rate_is_worse_by = map(float, season.in_automl(NOISE, home).split())
    assert 0.4 < auc < 0.6
    assert base_rate_is_worse_by < 0.05


EXPORTS = """
import hashlib
import pandas as pd
from pathlib import Path
from pipeline.errors import PipelineError
from pipeline.studies import classification as study, outcome_export as export
running = pd.read_parquet("data/features/pull_features/v1/part-0.parquet").query("horizon_s == 60")
pulls = study.labelled(running)
for kind in study.candidates(1):
    fitted = study.fit(kind, pulls, 1)
    matrix = fitted.encoding.matrix(pulls)
    file = export.write_onnx(fitted, matrix, fitted.probability(pulls), Path("/dev/null"))
    print(kind, hashlib.sha256(export.to_onnx(fitted.estimator, matrix.shape[1])).hexdigest())
said = fitted.probability(pulls)
said[0] += 2e-5
try:
    export.write_onnx(fitted, matrix, said, Path("/dev/null"))
except PipelineError as error:
    print(error)
"""


def test_every_kind_passes_the_gate_with_the_same_bytes_twice_and_a_wrong_probability_does_not(home: Path) -> None:
    first, second = (season.in_automl(EXPORTS, home) for _ in range(2))
    assert first == second
    *kinds, refusal = first.splitlines()
    assert [line.split()[0] for line in kinds] == ["lr", "rf", "et", "gbc", "ada"]
    assert "differ by up to 2e-05, more than 1e-5" in refusal
