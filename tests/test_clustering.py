"""Play styles on made-up seasons whose truth is known: planted styles, none at all, and data that say too little."""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.params import Cluster
from pipeline.studies import clustering, player_profiles, playstyle_files, playstyle_model
from pipeline.studies import clustering_figures as draw
from pipeline.studies import clustering_outputs as outputs
from pipeline.studies.clustering import Study
from pipeline.studies.player_profiles import BEHAVIOURS
from pipeline.tables import PlayerBehaviour, polars_schema

ROOT = Path(__file__).parents[1]
SETTINGS = Cluster(
    device="cpu", seed=3, min_pulls=4, max_clusters=4, epochs=40, batch_size=16, latent_dim=3, bootstrap_samples=5
)
CLASSES = ("mage", "rogue", "warlock")
FIGHTS = (("Velk", "normal"), ("Oum", "heroic"))
NAMES = list(BEHAVIOURS)
# Three styles, far apart in what players do, in standard deviations between pulls.
STYLES = np.zeros((3, len(NAMES)))
STYLES[0, [0, 5, 16]] = 1.2
STYLES[1, [3, 4, 18]] = 1.2
STYLES[2, [6, 8, 10]] = 1.2
NO_STYLES = np.zeros((1, len(NAMES)))


def season(
    styles: np.ndarray, players: int = 75, pulls: int = 12, seed: int = 0, *, common: float = 0.0, role: str = "dps"
) -> pd.DataFrame:
    """Rows like `features.player_behaviour`: kit + fight + the player's own + their style's + chance.

    Player i has style i modulo the number of styles, class (i // 7) modulo 3 and team (i // 15).

    Args:
        styles: (styles, behaviours), what a style adds.
        players: how many.
        pulls: of each.
        seed: of all chance.
        common: how far players differ along one line through all behaviours, which makes one long cloud.
        role: of all.
    """
    rng = np.random.default_rng(seed)
    kit, fight = rng.normal(5, 3, (len(CLASSES), len(NAMES))), rng.normal(0, 2, (len(FIGHTS), len(NAMES)))
    rows = []
    for player in range(players):
        own = rng.normal(0, 0.2, len(NAMES)) + common * rng.normal()
        for pull in range(pulls):
            values = kit[player // 7 % 3] + fight[pull % 2] + styles[player % len(styles)] + own
            boss, difficulty = FIGHTS[pull % 2]
            rows.append(
                {
                    "raid_id": f"raid{pull // 4:03d}",
                    "encounter_id": f"p{pull}",
                    "player_id": f"player-{player:03d}",
                    "team_id": f"team-{player // 15}",
                    "player_class": CLASSES[player // 7 % 3],
                    "specialization": None,
                    "role": role,
                    "encounter_name": boss,
                    "encounter_difficulty": difficulty,
                    "alive_s": int(rng.integers(100, 300)),
                    "crit_rate": 0.2,
                    "pet_damage_share": 0.0,
                    **dict(zip(NAMES, values + rng.normal(size=len(NAMES)), strict=True)),
                }
            )
    return pd.DataFrame(rows, columns=list(polars_schema(PlayerBehaviour)))


def truth(study: Study, styles: int = 3) -> list[int]:
    """The planted style of each player."""
    return [int(name.split("-")[1]) % styles for name in study.roles["dps"].profiles.players["player_id"]]


@pytest.fixture(scope="module")
def planted() -> Study:
    return clustering.study(season(STYLES), SETTINGS)


def model_bytes(study: Study, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    for styles in study.roles.values():
        playstyle_files.save(styles.model, folder)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_planted_styles_are_found(planted: Study) -> None:
    found = planted.roles["dps"]
    assert found.k == 3
    assert adjusted_rand_score(truth(planted), found.labels) > 0.8
    assert found.score("playstyle")["stability_ari"] > 0.8


def test_planted_styles_have_nothing_to_do_with_class_or_team(planted: Study) -> None:
    for control in ("class", "team"):
        found = planted.roles["dps"].associations[control]
        assert found is not None and abs(found.ami) < 0.1 and found.p_value > 0.05


def test_a_style_that_a_team_plays_shows_as_associated_with_the_team(planted: Study) -> None:
    players = planted.roles["dps"].profiles.players
    labels = planted.roles["dps"].labels
    found = clustering.associations(labels, players.assign(team_id=labels.astype(str)), seed=0)["team"]
    assert found is not None and found.ami == pytest.approx(1.0) and found.p_value == 0.001


@pytest.mark.parametrize("common", [0.0, 1.0], ids=["a round cloud", "one long cloud"])
def test_without_structure_no_styles_are_found(common: float) -> None:
    assert clustering.study(season(NO_STYLES, seed=1, common=common), SETTINGS).roles["dps"].k == 1


def test_what_only_a_specialisation_does_is_no_style() -> None:
    plain = season(NO_STYLES)
    has_pet = plain["player_id"].str[-1].isin(list("13579"))
    shifted = plain.assign(
        specialization=np.where(has_pet, "beast_mastery", "marksmanship"),
        **{name: plain[name] + 3.0 * has_pet for name in NAMES[:6]},
    )
    assert clustering.study(shifted, SETTINGS).roles["dps"].k == 1
    assert clustering.study(shifted.assign(specialization=None), SETTINGS).roles["dps"].k == 2


def test_the_order_of_rows_and_the_global_random_state_change_no_byte(planted: Study, tmp_path: Path) -> None:
    torch.manual_seed(99)
    again = clustering.study(season(STYLES).sample(frac=1, random_state=1), SETTINGS)
    assert model_bytes(again, tmp_path / "again") == model_bytes(planted, tmp_path / "first")


def test_another_seed_trains_another_model(planted: Study, tmp_path: Path) -> None:
    again = clustering.study(season(STYLES), SETTINGS.model_copy(update={"seed": 4}))
    assert model_bytes(again, tmp_path / "again") != model_bytes(planted, tmp_path / "first")


def test_threads_and_determinism_are_left_as_they_were(planted: Study) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with playstyle_model.reproducible():
        assert torch.get_num_threads() == 1 and torch.are_deterministic_algorithms_enabled()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_a_constant_added_to_all_that_a_class_does_changes_nothing(planted: Study) -> None:
    plain = season(STYLES)
    is_mage = plain["player_class"] == "mage"
    shifted = plain.assign(**{name: plain[name] + 50.0 * is_mage for name in NAMES})
    again = clustering.study(shifted, SETTINGS).roles["dps"]
    assert np.allclose(again.profiles.z, planted.roles["dps"].profiles.z, atol=1e-6)
    assert list(again.labels) == list(planted.roles["dps"].labels)


@settings(max_examples=5, deadline=None)
@given(scale=st.floats(0.01, 1000.0), shift=st.floats(-1000.0, 1000.0), name=st.sampled_from(NAMES))
def test_the_unit_of_a_behaviour_does_not_matter(scale: float, shift: float, name: str) -> None:
    plain = season(STYLES, players=12, pulls=4)
    changed = plain.assign(**{name: plain[name] * scale + shift})
    first, second = (
        player_profiles.role_profiles(player_profiles.comparable_rows(rows), "dps", 2).z for rows in (plain, changed)
    )
    assert np.allclose(first, second, atol=1e-6)


def test_in_a_cell_of_one_player_the_roles_figures_weigh_most() -> None:
    rows = player_profiles.comparable_rows(season(NO_STYLES, players=14, pulls=6))
    lonely = (rows["player_id"] == "player-000") & (rows["fight"] == "Velk/normal")
    others = (rows["kit"] == "mage") & (rows["fight"] == "Velk/normal") & ~lonely
    profiles = player_profiles.role_profiles(rows[~others].reset_index(drop=True), "dps", 2)
    rest = profiles.z[(profiles.owner == 0)].mean()
    assert profiles.normalisation.cells.notna().all(axis=None) and np.isfinite(rest)
    lean = 1 / (1 + player_profiles.SHRINKAGE_PLAYERS)
    alone = rows[lonely]
    expected = profiles.normalisation.kits.loc["mage"] + profiles.normalisation.fights.loc["Velk/normal"]
    own = np.average(alone[NAMES[0]] - expected[NAMES[0]], weights=alone["alive_s"])
    assert profiles.normalisation.cells.loc[("mage", "Velk/normal"), NAMES[0]] == pytest.approx(lean * own)


def test_a_missing_value_counts_as_the_expected_one() -> None:
    rows = season(NO_STYLES, players=12, pulls=6)
    rows.loc[rows.index[::3], "overheal_share"] = np.nan
    profiles = player_profiles.role_profiles(player_profiles.comparable_rows(rows), "dps", 2)
    assert np.isfinite(profiles.z).all()
    assert (profiles.z[:, profiles.behaviours.index("overheal_share")] == 0).sum() >= len(rows) // 3


def test_a_behaviour_that_a_role_does_not_have_is_not_used() -> None:
    rows = season(NO_STYLES, players=12, pulls=6).assign(taunts_per_min=0.0, overheal_share=np.nan)
    profiles = player_profiles.role_profiles(player_profiles.comparable_rows(rows), "dps", 2)
    assert set(BEHAVIOURS) - set(profiles.behaviours) == {"taunts_per_min", "overheal_share"}


def test_players_who_cannot_be_compared_are_left_out_and_counted() -> None:
    rows = season(NO_STYLES, players=12, pulls=6)
    rows.loc[rows["player_id"] == "player-001", "player_class"] = "priest"
    rows.loc[rows["player_id"] == "player-002", "role"] = None
    few = (rows["player_id"] == "player-003") & (rows["encounter_id"] != "p0")
    study = clustering.study(rows[~few], SETTINGS)
    assert study.left_out == {"unknown_role_or_class": 1, "few_pulls": 1, "alone_in_kit": 1}


def test_a_role_with_fewer_players_than_two_clusters_need_is_refused_and_the_others_go_on() -> None:
    few = season(NO_STYLES, players=4, role="tank")
    study = clustering.study(pd.concat([season(NO_STYLES, players=14), few]), SETTINGS)
    assert list(study.roles) == ["dps"]
    assert "4 players" in study.refused["tank"] and "0 players" in study.refused["healer"]
    assert outputs.metrics(study)["roles"]["tank"]["status"] == "not possible"


def test_no_more_clusters_are_tried_than_the_players_can_fill() -> None:
    study = clustering.study(season(NO_STYLES, players=14), SETTINGS)
    assert set(study.roles["dps"].scores["k"]) == {2}


def test_a_good_bic_alone_makes_no_style() -> None:
    scores = pd.DataFrame(
        {
            "method": "playstyle",
            "k": [2, 3, 4, 5],
            "bic_gain": [12.0, 30.0, 40.0, 9.0],
            "stability_ari": [0.8, 0.6, 0.9, 1.0],
            "smallest_cluster": [20, 20, 3, 20],
        }
    )
    assert clustering.chosen_k(scores) == 2
    assert clustering.chosen_k(scores.assign(smallest_cluster=4)) == 1
    assert clustering.best_rejected(scores) == 4


def test_cuda_asked_for_and_absent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PipelineError, match=r"cluster\.device .* no CUDA device"):
        clustering.study(season(NO_STYLES, players=2), SETTINGS.model_copy(update={"device": "cuda"}))
    assert playstyle_model.chosen_device("auto").type == "cpu"


def test_the_mixture_is_as_likely_as_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.normal(at, 1, (60, 2)) for at in ([0, 0], [6, 0], [0, 6])])
    ours = playstyle_model.fit_mixture(torch.from_numpy(points), 3, torch.Generator().manual_seed(0))
    oracle = GaussianMixture(3, covariance_type="tied", n_init=5, random_state=0).fit(points)
    assert ours.log_likelihood == pytest.approx(oracle.score(points) * len(points), rel=1e-3)
    assert ours.bic(len(points)) == pytest.approx(oracle.bic(points), rel=1e-3)
    assert np.allclose(ours.probabilities(torch.from_numpy(points)).sum(dim=1), 1.0)


def test_halves_of_a_players_pulls_make_up_the_whole() -> None:
    rows = player_profiles.comparable_rows(season(NO_STYLES, players=12, pulls=6).assign(alive_s=100))
    profiles = player_profiles.role_profiles(rows, "dps", 2)
    splits = playstyle_model.PullSplits(profiles, torch.device("cpu"), torch.Generator().manual_seed(0))
    first, second = splits.draw(), splits.draw()
    assert np.allclose(first.mean(dim=0), profiles.profiles())
    assert not torch.equal(first, second)


def test_a_saved_model_says_the_same(planted: Study, home: Path) -> None:
    outputs.write(planted)
    loaded = playstyle_files.load(home / outputs.MODEL_FOLDER, "dps")
    again = loaded.assign(season(STYLES))
    assert list(again["cluster"]) == list(planted.roles["dps"].labels + 1)
    assert np.allclose(again["probability"], planted.roles["dps"].probabilities)


def test_a_saved_model_places_players_in_a_fight_it_has_not_seen(planted: Study, home: Path) -> None:
    outputs.write(planted)
    loaded = playstyle_files.load(home / outputs.MODEL_FOLDER, "dps")
    unseen = season(STYLES, players=9).assign(encounter_name="New boss")
    unknown_class = season(STYLES, players=3).assign(player_class="monk")
    assert len(loaded.assign(pd.concat([unseen, unknown_class]))) == 9


def test_a_role_without_a_model_says_why(planted: Study, home: Path) -> None:
    outputs.write(planted)
    with pytest.raises(PipelineError, match="no model of role tank: 0 players"):
        playstyle_files.load(home / outputs.MODEL_FOLDER, "tank")
    with pytest.raises(PipelineError, match="dvc repro cluster"):
        playstyle_files.load(home / "elsewhere", "tank")


STUDIES: dict[str, Callable[[], pd.DataFrame]] = {
    "a log that names no role": lambda: season(NO_STYLES, players=12).assign(role=None),
    "a log that names no class and no team": lambda: season(NO_STYLES, players=12).assign(
        player_class=None, team_id=None
    ),
    "no row at all": lambda: season(NO_STYLES, players=1).iloc[:0],
}


@pytest.mark.parametrize("kind", STUDIES)
def test_what_cannot_be_studied_says_so_and_still_leaves_all_its_files(kind: str, home: Path) -> None:
    study = clustering.study(STUDIES[kind](), SETTINGS)
    outputs.write(study)
    metrics = json.loads((home / paths.METRICS / "clustering.json").read_text())
    assert metrics["status"] == "not possible" and "no role has the 10 comparable players" in metrics["reason"]
    assert "There is no model here" in (home / outputs.MODEL_FOLDER / "model-card.md").read_text()
    assert not list((home / outputs.MODEL_FOLDER).glob("*.safetensors"))
    for file in (outputs.SCORES_FILE, outputs.PROFILES_FILE, outputs.PLAYERS_FILE):
        assert pd.read_csv(home / file).empty
    assert "not possible" in outputs.sentence(study)
    assert outputs.roles_table(study).empty and outputs.association_table(study).empty


@pytest.mark.parametrize("kind", ["planted", *STUDIES])
def test_everything_can_be_drawn(kind: str, planted: Study) -> None:
    study = planted if kind == "planted" else clustering.study(STUDIES[kind](), SETTINGS)
    for drawing in (draw.draw_embedding, draw.draw_profiles, draw.draw_criterion, draw.draw_lasting):
        drawing(study).draw_without_rendering()


def test_the_profiles_of_styles_show_what_was_planted(planted: Study) -> None:
    table = outputs.profiles(planted)
    highest = table.loc[table.groupby("behaviour")["difference"].idxmax()].set_index("behaviour")
    for style in STYLES:
        marked = [name for name, effect in zip(NAMES, style, strict=True) if effect]
        assert highest.loc[marked, "cluster"].nunique() == 1
        assert (highest.loc[marked, "difference"] > 0.4).all()


def test_the_metrics_name_every_score(planted: Study) -> None:
    metrics = outputs.metrics(planted)
    found = metrics["roles"]["dps"]
    assert (metrics["status"], found["status"], found["k"]) == ("ok", "styles found", 3)
    assert set(found["silhouette"]) == set(found["stability_ari"]) == {"playstyle", "kmeans", "gmm"}
    assert set(found["association"]) == {"class", "specialization", "team"}
    assert found["association"]["specialization"] is None


def test_the_notebook_takes_every_parameter_of_its_section() -> None:
    cells = json.loads((ROOT / "notebooks" / "03-clustering.ipynb").read_text())["cells"]
    source = next("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    named = {node.targets[0].id for node in ast.parse(source).body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
    assert named == set(Cluster.model_fields)
