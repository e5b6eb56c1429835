"""What the study of play styles leaves behind: tables for reader and report, metrics, the models and their card."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import paths
from pipeline.studies import clustering, figures, playstyle_files
from pipeline.studies.clustering import METHODS, RoleStyles, Study
from pipeline.studies.figures import ROLE_NAMES
from pipeline.studies.player_profiles import BEHAVIOURS

MODEL_FOLDER = paths.MODELS / "playstyle"
METRICS_FILE = paths.METRICS / "clustering.json"
SCORES_FILE = paths.TABLES / "clustering-scores.csv"
PROFILES_FILE = paths.TABLES / "clustering-profiles.csv"
PLAYERS_FILE = paths.TABLES / "clustering-players.csv"
LEFT_OUT_WORDS = {
    "unknown_role_or_class": "role or class never named",
    "few_pulls": "too few pulls",
    "alone_in_kit": "nobody else of the same class and specialisation",
}
SCORES_FORMATS = {"BIC gain": "{:.1f}", "Silhouette": "{:.2f}", "Stability": "{:.2f}"}
ASSOCIATION_FORMATS = {"Adjusted mutual information": "{:.2f}", "p": "{:.3f}"}
STYLES, NO_STYLES, NOT_POSSIBLE = "styles found", "no styles found", "not possible"


def write(study: Study) -> None:
    """Write everything that the study leaves behind; the same study gives the same bytes."""
    root = paths.project_root()
    figures.write_csv(scores(study), SCORES_FILE)
    figures.write_csv(profiles(study), PROFILES_FILE)
    figures.write_csv(players(study), PLAYERS_FILE)
    paths.write_atomically(root / METRICS_FILE, _json(metrics(study)))
    with paths.replacing_folder(root / MODEL_FOLDER) as folder:
        _write_models(study, folder)


def scores(study: Study) -> pd.DataFrame:
    """By role, method and number of clusters: BIC gain over one cluster, silhouette, stability, smallest cluster."""
    columns = ["role", "method", "k", "bic_gain", "silhouette", "stability_ari", "smallest_cluster", "chosen"]
    tables = [
        styles.scores.assign(role=role, chosen=(styles.scores["k"] == styles.k)) for role, styles in study.roles.items()
    ]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return table[columns].round({"bic_gain": 1, "silhouette": 4, "stability_ari": 4})


def profiles(study: Study) -> pd.DataFrame:
    """By role, cluster and behaviour: how far the cluster's mean lies from the role's.

    Differences are in the unit of the normalisation, standard deviations between pulls; `low` and `high` are the 5 and
    95 % quantiles of the role's players in it. `lasting` is what of the players' difference lasts from pull to pull.
    """
    columns = ["role", "cluster", "n_players", "behaviour", "difference", "low", "high", "lasting"]
    tables = [
        pd.DataFrame(
            {
                "role": role,
                "cluster": cluster + 1,
                "n_players": int((styles.labels == cluster).sum()),
                "behaviour": styles.profiles.behaviours,
                "difference": styles.differences()[styles.labels == cluster].mean(axis=0),
                "low": np.quantile(styles.differences(), 0.05, axis=0),
                "high": np.quantile(styles.differences(), 0.95, axis=0),
                "lasting": styles.lasting,
            }
        )
        for role, styles in study.roles.items()
        for cluster in range(styles.k)
    ]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    # Adding zero turns -0.0 into 0.0.
    return table.assign(**{name: table[name].astype(float).round(4) + 0.0 for name in columns[4:]})


def players(study: Study) -> pd.DataFrame:
    """By role and player: who they are, their cluster and how sure it is, and their place on the first two axes."""
    tables = []
    for role, styles in study.roles.items():
        axes = [styles.points[:, axis] if axis < styles.points.shape[1] else np.nan for axis in range(2)]
        named = styles.profiles.players.assign(
            role=role,
            cluster=styles.labels + 1,
            probability=styles.probabilities.round(4),
            axis_1=np.round(axes[0], 4),
            axis_2=np.round(axes[1], 4),
        )
        tables.append(named)
    columns = ["role", "player_id", "team_id", "player_class", "specialization", "n_pulls"]
    columns += ["cluster", "probability", "axis_1", "axis_2"]
    return (pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns))[columns]


def metrics(study: Study) -> dict[str, Any]:
    """What `reports/metrics/clustering.json` says: few figures, each under its name."""
    refused = {role: {"status": NOT_POSSIBLE, "reason": reason} for role, reason in study.refused.items()}
    return {
        "status": "ok" if study.roles else NOT_POSSIBLE,
        **({"reason": study.reason} if study.reason else {}),
        "criterion": {
            "min_bic_gain": clustering.MIN_BIC_GAIN,
            "min_stability_ari": clustering.MIN_STABILITY_ARI,
            "min_cluster_players": clustering.MIN_CLUSTER_PLAYERS,
        },
        "players": sum(len(styles.profiles.players) for styles in study.roles.values()),
        "left_out": dict(study.left_out),
        "roles": {**{role: _role_metrics(styles) for role, styles in study.roles.items()}, **refused},
    }


def _role_metrics(styles: RoleStyles) -> dict[str, Any]:
    by_method = {method: styles.score(method) for method in METHODS}
    return {
        "status": STYLES if styles.k > 1 else NO_STYLES,
        "n_players": len(styles.profiles.players),
        "k": styles.k,
        "k_scored": styles.k_scored,
        "bic_gain": _rounded(by_method["playstyle"]["bic_gain"], 1),
        "silhouette": {method: _rounded(score["silhouette"]) for method, score in by_method.items()},
        "stability_ari": {method: _rounded(score["stability_ari"]) for method, score in by_method.items()},
        "association": {
            control: {"ami": _rounded(found.ami), "p_value": found.p_value} if found else None
            for control, found in styles.associations.items()
        },
    }


def _rounded(value: float, digits: int = 4) -> float | None:
    return None if math.isnan(value) else round(float(value), digits) + 0.0


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _write_models(study: Study, folder: Path) -> None:
    roles: dict[str, Any] = {role: {"status": NOT_POSSIBLE, "reason": why} for role, why in study.refused.items()}
    for role, styles in study.roles.items():
        names = playstyle_files.save(styles.model, folder)
        roles[role] = {"status": STYLES if styles.k > 1 else NO_STYLES, "k": styles.k, **names}
    content = {
        "status": "ok" if study.roles else NOT_POSSIBLE,
        "trained_on": study.device,
        "settings": study.settings.model_dump(mode="json"),
        "roles": roles,
    }
    (folder / playstyle_files.MODEL_FILE).write_bytes(_json(content))
    (folder / "model-card.md").write_text(model_card(study), encoding="utf-8")


def sentence(study: Study) -> str:
    """The answer in a few words per role."""
    lines = [
        f"{ROLE_NAMES[role]}: {_answer(styles)} ({len(styles.profiles.players)} players)"
        for role, styles in study.roles.items()
    ]
    lines += [f"{ROLE_NAMES[role]}: not possible, {reason}" for role, reason in study.refused.items()]
    left = [f"{number:,} {LEFT_OUT_WORDS[reason]}" for reason, number in study.left_out.items() if number]
    return "\n".join([*lines, f"Left out: {'; '.join(left) if left else 'nobody'}."])


def _answer(styles: RoleStyles) -> str:
    return f"{styles.k} styles found" if styles.k > 1 else "no styles found"


def roles_table(study: Study) -> pd.DataFrame:
    """By role for reading: what was found and the model's scores."""
    rows = [
        {
            "Role": figures.name_of(ROLE_NAMES[role]),
            "Players": len(styles.profiles.players),
            "Found": _answer(styles),
            "Scored k": styles.k_scored,
            **_read_scores(styles.score("playstyle")),
        }
        for role, styles in study.roles.items()
    ]
    return pd.DataFrame(rows, columns=["Role", "Players", "Found", "Scored k", *SCORES_FORMATS])


def scores_table(study: Study) -> pd.DataFrame:
    """By role and method for reading: the scores at the number of clusters that `roles_table` names."""
    rows = [
        {
            "Role": figures.name_of(ROLE_NAMES[role]),
            "Method": METHODS[method],
            "k": styles.k_scored,
            **_read_scores(styles.score(method)),
        }
        for role, styles in study.roles.items()
        for method in METHODS
    ]
    return pd.DataFrame(rows, columns=["Role", "Method", "k", *SCORES_FORMATS])


def _read_scores(score: "pd.Series[Any]") -> dict[str, Any]:
    names = {"BIC gain": "bic_gain", "Silhouette": "silhouette", "Stability": "stability_ari"}
    return {heading: score[name] for heading, name in names.items()}


def association_table(study: Study) -> pd.DataFrame:
    """By role and control for reading, for the number of clusters that `roles_table` names."""
    rows = [
        (figures.name_of(ROLE_NAMES[role]), styles.k_scored, control, found.ami, found.p_value)
        for role, styles in study.roles.items()
        for control, found in styles.associations.items()
        if found
    ]
    return pd.DataFrame(rows, columns=["Role", "k", "Clusters against", *ASSOCIATION_FORMATS])


def model_card(study: Study) -> str:
    """The card beside the models, in Markdown."""
    results = [
        f"| {ROLE_NAMES[role]} | {len(styles.profiles.players)} | {_answer(styles)} | {styles.k_scored} "
        f"| {styles.score('playstyle')['bic_gain']:.1f} | {styles.score('playstyle')['stability_ari']:.2f} "
        f"| {_associated(styles)} |"
        for role, styles in study.roles.items()
    ]
    results += [f"| {ROLE_NAMES[role]} | | not possible: {reason} | | | | |" for role, reason in study.refused.items()]
    return CARD.format(
        status=f"\n**There is no model here.** {study.reason}.\n" if study.reason else "",
        behaviours=", ".join(BEHAVIOURS.values()),
        results="\n".join(results),
        left_out="\n".join(f"- {LEFT_OUT_WORDS[reason]}: {number}" for reason, number in study.left_out.items()),
        gain=f"{clustering.MIN_BIC_GAIN:.0f}",
        stability=clustering.MIN_STABILITY_ARI,
        smallest=clustering.MIN_CLUSTER_PLAYERS,
        **study.settings.model_dump(exclude={"device"}),
        device=study.device,
    )


def _associated(styles: RoleStyles) -> str:
    found = [
        f"{control} {each.ami:.2f} (p {each.p_value:.3f})" for control, each in styles.associations.items() if each
    ]
    return ", ".join(found) or "–"


CARD = """# Play styles per role
{status}
## What it is

One model per role, in `{{role}}.safetensors` with its names in `model.json`: the expected behaviour of each class and
specialisation in each fight, a small autoencoder of a player's profile, and a Gaussian mixture on its codes.
`pipeline.studies.playstyle_files.load(folder, role).assign(behaviour)` gives each player's style.

## What it was made from

`player_behaviour`, one row per player and pull: {behaviours}.

Rows are normalised within class, specialisation and fight and averaged over each player's pulls, weighted by seconds
alive; only players with at least {min_pulls} pulls count. Left out (players):

{left_out}

## How

The autoencoder predicts one random half of a player's pulls from the other ({epochs} epochs, minibatches of
{batch_size} players, {latent_dim} dimensions at most; seed {seed}, trained on: {device}). Axes of the code that do not
last from pull to pull are dropped. The number of clusters, up to {max_clusters}, is the one with the best BIC among
those that gain at least {gain} over a single cluster, come out again in {bootstrap_samples} resamples of the players
(mean adjusted Rand index at least {stability}) and have at least {smallest} players in each cluster; if there is none,
it is 1: no styles found.

## What came out

The scores of a role without styles are those of the best number of clusters that was rejected.

| role | players | answer | clusters scored | BIC gain | stability | in common with (adjusted mutual information) |
| --- | --- | --- | --- | --- | --- | --- |
{results}

## Limits

- With few players only styles that lie far apart can be found; "no styles found" does not mean that there are none.
- Stability is that of the mixture given the codes: the autoencoder is not trained anew on each resample.
- A style that only one specialisation plays is taken for its kit and removed; a style that a whole team plays is not:
  see the association with teams.
- Names of styles are for people to give: the model only numbers them, along its first axis.
- On the CPU the same data and parameters give the same bytes; a GPU gives the same draws, but other last digits.
"""
