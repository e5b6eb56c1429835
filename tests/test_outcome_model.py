"""How the exported outcome models behave: what must not matter to them, what must, and in which direction."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import predict
from pipeline.studies.outcome_model import CATEGORIES, INPUTS, OF_ROLES, Encoding, probabilities
from pipeline.tables import FEATURE_TABLES, column_descriptions
from tests import outcome_season as season

KEYS = {"raid_id", "encounter_id", "horizon_s", "raid_outcome", "team_id", "start_timestamp"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return season.studied(tmp_path_factory) / predict.FOLDER


@pytest.fixture(scope="module")
def models(folder: Path) -> tuple[predict.Horizon, ...]:
    return predict.read_model(folder).horizons


@pytest.fixture(scope="module")
def pulls() -> pd.DataFrame:
    return season.pull_features().filter(horizon_s=60).to_pandas()


def said(model: predict.Horizon, pulls: pd.DataFrame) -> npt.NDArray[np.float64]:
    return probabilities(model.onnx, model.encoding.matrix(pulls))


def test_every_column_of_the_features_is_an_input_or_says_that_it_is_none() -> None:
    columns = {name: text for name, _, text in column_descriptions(FEATURE_TABLES["pull_features"])}
    assert set(INPUTS) | KEYS == set(columns)
    assert len(INPUTS) == len(set(INPUTS))
    assert not [name for name in INPUTS if "Not a feature" in columns[name]]


def test_the_models_say_here_what_they_said_where_they_were_trained(
    models: tuple[predict.Horizon, ...], folder: Path
) -> None:
    expected = pd.read_csv(folder / "expected.csv")
    features = pl.concat([season.pull_features(), season.real_log()]).to_pandas()
    for model in models:
        rows = features.merge(expected, on=["raid_id", "encounter_id", "horizon_s"]).query(
            "horizon_s == @model.horizon_s"
        )
        assert len(rows) == (193 if model.horizon_s == 30 else 192)
        assert np.abs(said(model, rows) - rows["probability"]).max() < 1e-5


def test_names_times_and_order_do_not_matter(models: tuple[predict.Horizon, ...], pulls: pd.DataFrame) -> None:
    renamed = pulls.assign(
        raid_id="another", encounter_id="pull", team_id="team", raid_outcome="wipe", start_timestamp=pd.Timestamp(0)
    )
    order = np.random.default_rng(1).permutation(len(pulls))
    for model in models:
        before = said(model, pulls)
        assert (said(model, renamed) == before).all()
        assert said(model, pulls.iloc[order]) == pytest.approx(before[order], abs=1e-6)
        assert said(model, pulls.iloc[[5]]) == pytest.approx(before[[5]], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"boss_hp_pct": -10.0}, +1),
        ({"boss_hp_pct": +10.0}, -1),
        ({"deaths": +2, "alive_share": -0.1}, -1),
        ({"deaths": -2, "alive_share": +0.1}, +1),
    ],
)
def test_better_play_makes_a_kill_more_likely(
    models: tuple[predict.Horizon, ...], pulls: pd.DataFrame, change: dict[str, float], sign: int
) -> None:
    changed = pulls.assign(**{name: pulls[name] + step for name, step in change.items()})
    for model in models:
        moves = sign * (said(model, changed) - said(model, pulls))
        assert moves.mean() > 0.05
        assert (moves > -0.02).mean() > 0.95


def test_an_easier_boss_and_difficulty_make_a_kill_more_likely(
    models: tuple[predict.Horizon, ...], pulls: pd.DataFrame
) -> None:
    for model in models:
        easy = said(model, pulls.assign(encounter_name="Gate Warden", encounter_difficulty="normal"))
        hard = said(model, pulls.assign(encounter_name="Oracle", encounter_difficulty="heroic"))
        assert easy.mean() > hard.mean() + 0.1


def test_plain_cases_are_seen(models: tuple[predict.Horizon, ...], pulls: pd.DataFrame) -> None:
    alike = pulls.iloc[[0, 0]].assign(
        encounter_name="Gate Warden", encounter_difficulty="normal", prior_best_boss_hp_pct=70.0
    )
    plain = alike.assign(boss_hp_pct=[57.0, 94.0], deaths=[0, 5], alive_share=[1.0, 0.75])
    for model in models:
        going_well, lost = said(model, plain)
        assert going_well > 0.8
        assert lost < 0.2


def test_a_value_beyond_all_training_is_taken_as_the_nearest(
    models: tuple[predict.Horizon, ...], pulls: pd.DataFrame
) -> None:
    for model in models:
        low, high = model.encoding.ranges["damage_per_s"]
        huge, most = pulls.assign(damage_per_s=1e9), pulls.assign(damage_per_s=high)
        assert (said(model, huge) == said(model, most)).all()
        assert model.encoding.out_of_range(huge.head(1)) == ["damage_per_s"]
        assert model.encoding.out_of_range(pulls.head(1).assign(damage_per_s=low)) == []


TRAINING = season.pull_features(2, 10).to_pandas()
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "team_id": st.sampled_from([None, "team-01"]),
            "encounter_name": st.sampled_from([None, "Oracle", "Nobody"]),
            "encounter_difficulty": st.sampled_from([None, "normal", "other"]),
            "boss_hp_pct": st.none() | st.floats(-1e12, 1e12),
            "prior_best_boss_hp_pct": st.none() | st.floats(0, 100),
            "mean_item_level": st.none() | st.floats(0, 1e6),
            "n_tanks": st.integers(0, 3),
            "n_classes": st.integers(0, 13),
        }
    ),
    min_size=1,
    max_size=5,
)


@given(ROWS)
@settings(max_examples=50, deadline=None)
def test_whatever_a_log_leaves_out_the_matrix_has_no_gap_and_stays_in_the_range_of_training(
    rows: list[dict[str, Any]],
) -> None:
    pulls = pd.DataFrame({name: TRAINING[name].iloc[[0] * len(rows)].to_list() for name in TRAINING.columns}).assign(
        **{name: [row[name] for row in rows] for name in rows[0]}
    )
    encoding, training = Encoding.learned_from(TRAINING), TRAINING
    matrix, seen = encoding.matrix(pulls), encoding.matrix(training)
    assert matrix.dtype == np.float32
    assert matrix.shape == (len(rows), len(encoding.names))
    assert np.isfinite(matrix).all()
    assert (matrix >= np.minimum(seen.min(axis=0), 0)).all()
    assert (matrix <= np.maximum(seen.max(axis=0), 1)).all()


def test_an_encoding_survives_json(pulls: pd.DataFrame) -> None:
    encoding = Encoding.learned_from(pulls)
    again = Encoding.from_json(json.loads(json.dumps(asdict(encoding))))
    assert again == encoding
    assert (again.matrix(pulls) == encoding.matrix(pulls)).all()


def test_no_earlier_try_is_a_fact_but_an_unknown_team_is_not(pulls: pd.DataFrame) -> None:
    encoding = Encoding.learned_from(pulls)
    first_try = pulls[pulls["prior_best_boss_hp_pct"].isna()].head(1)
    place = encoding.names.index("no_prior_best_boss_hp_pct")
    assert encoding.matrix(first_try)[0, place] == 1
    assert "prior_best_boss_hp_pct" not in encoding.not_known(first_try)
    nameless = first_try.assign(team_id=None)
    assert encoding.matrix(nameless)[0, place] == 0
    assert {"prior_best_boss_hp_pct", "prior_pulls", "team_kills"} <= set(encoding.not_known(nameless))


def test_roles_count_only_where_every_player_has_one(pulls: pd.DataFrame) -> None:
    encoding = Encoding.learned_from(pulls)
    some = pulls.head(1).assign(n_healers=0)
    assert set(encoding.not_known(some)) == set(OF_ROLES)


def test_a_boss_never_met_is_none_of_those_known(pulls: pd.DataFrame) -> None:
    encoding = Encoding.learned_from(pulls)
    strange = pulls.head(1).assign(encounter_name="Nobody", encounter_difficulty=None)
    levels = [place for place, name in enumerate(encoding.names) if "=" in name]
    assert (encoding.matrix(strange)[0, levels] == 0).all()
    assert encoding.matrix(pulls.head(1))[0, levels].sum() == 2
    assert set(encoding.not_known(strange)) == set(CATEGORIES)


def test_the_files_say_what_they_are(folder: Path) -> None:
    content = json.loads((folder / "model.json").read_text())
    assert sorted(file.name for file in folder.iterdir()) == [
        "expected.csv", "model-030.onnx", "model-060.onnx", "model-card.md", "model.json",
    ]  # fmt: skip
    assert content["kind"] in season.CLASSIFY["models"]
    assert content["horizons"]["60"]["parameters"]
    card = (folder / "model-card.md").read_text()
    assert "192 pulls of 8 teams" in card
    assert "**Limits.**" in card
    assert "{" not in card
