"""Play styles per role: are there groups of players who play alike, beyond their class, their fights and their team?

The criterion, which may well answer "no": of the mixtures with 2 to `max_clusters` components only those count that
(1) have a BIC better than that of a single Gaussian by at least 10 ("very strong" evidence, Kass and Raftery 1995),
(2) come out again when players are resampled: mean adjusted Rand index at least 0.7, (3) have five players or more in
each cluster. Among these the best BIC wins; if none is left, k is 1: no styles found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture

from pipeline.params import Cluster
from pipeline.studies import player_profiles, playstyle_model
from pipeline.studies.player_profiles import Floats, Ints, RoleProfiles
from pipeline.studies.playstyle_files import StyleModel
from pipeline.studies.playstyle_model import Mixture
from pipeline.tables import ROLES

MIN_BIC_GAIN = 10.0
MIN_STABILITY_ARI = 0.7
MIN_CLUSTER_PLAYERS = 5
METHODS = {"playstyle": "this model", "kmeans": "k-means", "gmm": "Gaussian mixture"}
CONTROLS = {"class": "player_class", "specialization": "specialization", "team": "team_id"}
PERMUTATIONS = 999
BASELINE_STARTS = 3
GMM_FLOOR = 1e-2


@dataclass(frozen=True)
class Association:
    """How much the clusters have in common with something else that is known of the players."""

    ami: float
    """Adjusted mutual information: 0 as by chance, 1 the same grouping."""
    p_value: float
    """Share of random regroupings that have as much in common."""


@dataclass(frozen=True)
class RoleStyles:
    """What was found in one role."""

    profiles: RoleProfiles
    standardised: Floats
    """Profiles with mean 0 and standard deviation 1 between players: (players, behaviours)."""
    points: Floats
    """(players, axes)."""
    lasting: Floats
    """By behaviour: the share of its variance between players that lasts from pull to pull."""
    scores: pd.DataFrame
    """By method and number of clusters: bic_gain, silhouette, stability_ari, smallest_cluster."""
    k: int
    model: StyleModel
    labels: Ints
    """The cluster of each player, from 0."""
    probabilities: Floats
    """Of that cluster."""
    k_scored: int
    """The number of clusters whose scores are reported: k, or, where k is 1, the best of the rejected."""
    associations: Mapping[str, Association | None]
    """Of the k_scored clusters, by control; None where the control is not known or the same for all."""

    def differences(self) -> Floats:
        """Profiles against the role's mean, in standard deviations between pulls: (players, behaviours)."""
        profiles = self.profiles.profiles()
        differences: Floats = profiles - profiles.mean(axis=0)
        return differences

    def score(self, method: str) -> pd.Series:
        """A method's scores at `k_scored`."""
        chosen = (self.scores["method"] == method) & (self.scores["k"] == self.k_scored)
        return self.scores[chosen].iloc[0]


@dataclass(frozen=True)
class Study:
    """What was found in all roles."""

    settings: Cluster
    device: str
    roles: Mapping[str, RoleStyles]
    refused: Mapping[str, str]
    """Why a role could not be studied."""
    left_out: Mapping[str, int]
    """Players who could not be compared, by reason."""

    @property
    def reason(self) -> str:
        """Why nothing could be studied at all; empty where something was."""
        if self.roles:
            return ""
        unknown = self.left_out["unknown_role_or_class"]
        return (
            f"no role has the {2 * MIN_CLUSTER_PLAYERS} comparable players that two clusters need; "
            f"the role or class of {unknown} players is not known"
        )


def study(behaviour: pd.DataFrame, settings: Cluster) -> Study:
    """Look for play styles in each role.

    Args:
        behaviour: the table `player_behaviour`, in any order.
        settings: the section `cluster` of `params.yaml`.

    Raises:
        PipelineError: CUDA was asked for and there is none.
    """
    device = playstyle_model.chosen_device(settings.device)
    rows = player_profiles.comparable_rows(behaviour)
    found: dict[str, RoleStyles] = {}
    refused: dict[str, str] = {}
    left_out = {"unknown_role_or_class": behaviour["player_id"].nunique() - rows["player_id"].nunique()}
    for role in ROLES:
        profiles = player_profiles.role_profiles(rows, role, settings.min_pulls)
        for reason, players in profiles.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + players
        if len(profiles.players) < 2 * MIN_CLUSTER_PLAYERS:
            refused[role] = (
                f"{len(profiles.players)} players can be compared (class known, {settings.min_pulls} pulls or more, "
                f"others of their class and specialisation), two clusters need {2 * MIN_CLUSTER_PLAYERS}"
            )
        else:
            with playstyle_model.reproducible():
                found[role] = role_styles(profiles, settings, device)
    return Study(settings, device.type, found, refused, left_out)


def role_styles(profiles: RoleProfiles, settings: Cluster, device: torch.device) -> RoleStyles:
    """Look for play styles in one role."""
    generator = torch.Generator().manual_seed(settings.seed)
    embedding = playstyle_model.fit_embedding(profiles, settings, device, generator)
    lasting = playstyle_model.PullSplits(profiles, device, generator).lasting()
    whole = torch.from_numpy(profiles.profiles()).to(device)
    points = embedding.points(whole)
    standardised = ((whole - embedding.mean) / embedding.scale).cpu().numpy()
    n_players = len(profiles.players)
    most = min(settings.max_clusters, n_players // MIN_CLUSTER_PLAYERS)
    mixtures = {k: playstyle_model.fit_mixture(points, k, generator) for k in range(1, most + 1)}
    counts = playstyle_model.bootstrap_counts(n_players, settings.bootstrap_samples, generator)
    scores = [_model_scores(points, standardised, mixtures, k, counts, generator) for k in range(2, most + 1)]
    scores += [
        _baseline_scores(standardised, method, k, counts, settings.seed)
        for method in ("kmeans", "gmm")
        for k in range(2, most + 1)
    ]
    table = pd.DataFrame(scores)
    k = chosen_k(table)
    k_scored = best_rejected(table) if k == 1 else k
    probabilities = mixtures[k].probabilities(points).cpu().numpy()
    labels_scored = playstyle_model.labels(mixtures[k_scored], points)
    return RoleStyles(
        profiles=profiles,
        standardised=standardised,
        points=points.cpu().numpy(),
        lasting=lasting.cpu().numpy(),
        scores=table,
        k=k,
        model=StyleModel(profiles.role, profiles.normalisation, embedding, mixtures[k]),
        labels=probabilities.argmax(axis=1),
        probabilities=probabilities.max(axis=1),
        k_scored=k_scored,
        associations=associations(labels_scored, profiles.players, settings.seed),
    )


def chosen_k(scores: pd.DataFrame) -> int:
    """The number of clusters by the criterion above; 1 if nothing meets it."""
    good = scores[
        (scores["method"] == "playstyle")
        & (scores["bic_gain"] >= MIN_BIC_GAIN)
        & (scores["stability_ari"] >= MIN_STABILITY_ARI)
        & (scores["smallest_cluster"] >= MIN_CLUSTER_PLAYERS)
    ]
    return 1 if good.empty else _greatest_gain(good)


def best_rejected(scores: pd.DataFrame) -> int:
    """Of the numbers of clusters above 1 the one with the best BIC, whatever else speaks against it."""
    return _greatest_gain(scores[scores["method"] == "playstyle"])


def _greatest_gain(scores: pd.DataFrame) -> int:
    return int(scores.sort_values(["bic_gain", "k"], ascending=[False, True])["k"].iloc[0])


def _model_scores(
    points: torch.Tensor,
    standardised: Floats,
    mixtures: dict[int, Mixture],
    k: int,
    counts: torch.Tensor,
    generator: torch.Generator,
) -> dict[str, Any]:
    labels = playstyle_model.labels(mixtures[k], points)
    again = playstyle_model.fit_mixtures(points, counts, k, generator)
    gain = mixtures[1].bic(len(points)) - mixtures[k].bic(len(points))
    resampled = [playstyle_model.labels(mixture, points) for mixture in again]
    return _scores("playstyle", k, gain, standardised, labels, resampled)


def _baseline_scores(standardised: Floats, method: str, k: int, counts: torch.Tensor, seed: int) -> dict[str, Any]:
    """The same scores for scikit-learn's methods on the standardised profiles."""
    model = _baseline(method, k, seed).fit(standardised)
    gain = float("nan")
    if method == "gmm":
        gain = _baseline(method, 1, seed).fit(standardised).bic(standardised) - model.bic(standardised)
    draws = (np.repeat(np.arange(len(standardised)), count.astype(int)) for count in counts.numpy())
    resampled = [_baseline(method, k, seed).fit(standardised[drawn]).predict(standardised) for drawn in draws]
    return _scores(method, k, gain, standardised, model.predict(standardised), resampled)


def _baseline(method: str, k: int, seed: int) -> Any:
    if method == "kmeans":
        return KMeans(k, n_init=BASELINE_STARTS, random_state=seed)
    # Full covariances of so many behaviours would have more parameters than there are players.
    return GaussianMixture(
        k,
        covariance_type="diag",
        reg_covar=GMM_FLOOR,
        n_init=BASELINE_STARTS,
        init_params="k-means++",
        random_state=seed,
    )


def _scores(
    method: str, k: int, gain: float, standardised: Floats, labels: Ints, resampled: list[Ints]
) -> dict[str, Any]:
    sizes = np.bincount(labels, minlength=k)
    whole = np.count_nonzero(sizes) > 1
    return {
        "method": method,
        "k": k,
        "bic_gain": gain,
        "silhouette": silhouette_score(standardised, labels) if whole else float("nan"),
        "stability_ari": float(np.mean([adjusted_rand_score(labels, again) for again in resampled])),
        "smallest_cluster": int(sizes.min()),
    }


def associations(labels: Ints, players: pd.DataFrame, seed: int) -> dict[str, Association | None]:
    """What clusters have in common with class, specialisation and team, of the players for whom it is known."""
    found: dict[str, Association | None] = {}
    for control, column in CONTROLS.items():
        known = players[column].notna().to_numpy()
        groups = pd.factorize(players.loc[known, column], sort=True)[0]
        differs = len(np.unique(groups)) > 1
        found[control] = association(labels[known], groups, np.random.default_rng(seed)) if differs else None
    return found


def association(labels: Ints, groups: Ints, rng: np.random.Generator) -> Association:
    """Adjusted mutual information, and by permutation the chance of as much if the two had nothing to do."""
    shuffled = rng.permuted(np.tile(labels, (PERMUTATIONS, 1)), axis=1)
    members = np.eye(groups.max() + 1)[groups]
    observed = _shared_information(labels[None], members)[0]
    as_much = int((_shared_information(shuffled, members) >= observed - 1e-9).sum())
    return Association(float(adjusted_mutual_info_score(groups, labels)), (1 + as_much) / (1 + PERMUTATIONS))


def _shared_information(labels: Ints, members: Floats) -> Floats:
    """Sum of n log n over the contingency table of each row of labels: mutual information but for fixed margins."""
    cells = np.stack([(labels == cluster) @ members for cluster in range(labels.max() + 1)], axis=1)
    logs = np.log(np.where(cells > 0, cells, 1.0))
    total: Floats = (cells * logs).sum(axis=(1, 2))
    return total
