"""Scores of probabilities, with intervals from a bootstrap over teams."""

import itertools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

SCORES: dict[str, str] = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "Log loss",
    "brier": "Brier",
    "accuracy": "Accuracy",
    "f1": "F1",
}
LEAST_PROBABILITY = 1e-15
INTERVAL = (2.5, 97.5)
# With fewer teams a resample of teams has too few faces for its quantiles to mean anything.
FEWEST_TEAMS = 5
BLOCK = 200


def weighted_scores(is_kill: Floats, probability: Floats, weights: Floats) -> dict[str, Floats]:
    """Each score under each row of weights.

    Args:
        is_kill: the truth, 0 or 1, shape (pulls,).
        probability: what was predicted, shape (pulls,).
        weights: how often each pull counts, shape (resamples, pulls).

    Returns:
        For each of `SCORES`, shape (resamples,). ROC AUC (ties count half) and PR AUC (average precision) are NaN where
        the weights leave one class only, all scores where they leave nothing. Accuracy and F1 (of kills) are those of
        the decision at 0.5.
    """
    true_kills, false_kills = _curve_counts(is_kill, probability, weights)
    kills, wipes, total = true_kills[:, -1], false_kills[:, -1], weights.sum(axis=1)
    clipped = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    losses = -np.where(is_kill == 1, np.log(clipped), np.log1p(-clipped))
    said_kill = (probability >= 0.5).astype(np.float64)
    hits = weights @ (said_kill * is_kill)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = true_kills / (true_kills + false_kills)
        return {
            "roc_auc": _area(false_kills, true_kills) / (kills * wipes),
            "pr_auc": np.nansum(np.diff(true_kills, axis=1, prepend=0.0) * precision, axis=1)
            / np.where(wipes, kills, np.nan),
            "log_loss": weights @ losses / total,
            "brier": weights @ (probability - is_kill) ** 2 / total,
            "accuracy": weights @ (said_kill == is_kill) / total,
            "f1": 2 * hits / (weights @ said_kill + kills),
        }


def team_weights(teams: "pd.Series[str]", resamples: int, seed: int) -> Iterator[Floats]:
    """Bootstrap over teams: how often each pull counts in each resample, in blocks of shape (≤ 200, pulls)."""
    names, team_of_pull = np.unique(teams.to_numpy(dtype=str), return_inverse=True)
    random = np.random.default_rng(seed)
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        draws = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rows)
        yield draws[:, team_of_pull].astype(np.float64)


def scored(predictions: pd.DataFrame, models: Mapping[str, str], resamples: int, seed: int) -> pd.DataFrame:
    """Every model's scores with intervals, and its difference to the first model on the same resamples.

    Args:
        predictions: team_id, is_kill and one column of probabilities per model.
        models: their columns and names; the first is what the others are compared with.
        resamples: of teams.
        seed: of the resamples.

    Returns:
        model, metric, value, low, high, difference, difference_low, difference_high (model minus the first). With fewer
        than five teams there is no interval (NaN).
    """
    if predictions.empty:
        return pd.DataFrame(columns=_SCORED)
    is_kill = predictions["is_kill"].to_numpy(dtype=np.float64)
    columns = {model: predictions[model].to_numpy(dtype=np.float64) for model in models}
    once = [np.ones((1, len(is_kill)))]
    whole = _under(is_kill, columns, once)
    enough = predictions["team_id"].nunique() >= FEWEST_TEAMS
    drawn = _under(is_kill, columns, team_weights(predictions["team_id"], resamples if enough else 0, seed))
    first = next(iter(models))
    rows = []
    for model, score in itertools.product(models, SCORES):
        mine, reference = (model, score), (first, score)
        value, difference = whole[mine][0], whole[mine][0] - whole[reference][0]
        rows.append((*mine, value, *_middle(drawn[mine]), difference, *_middle(drawn[mine] - drawn[reference])))
    return pd.DataFrame(rows, columns=_SCORED)


def curves(is_kill: Floats, probability: Floats) -> pd.DataFrame:
    """The points of the ROC and the precision-recall curve: fpr, tpr, precision (recall is tpr), from the strictest
    threshold on."""
    true_kills, false_kills = _curve_counts(is_kill, probability, np.ones((1, len(is_kill))))
    true, false = np.append(0.0, true_kills[0]), np.append(0.0, false_kills[0])
    with np.errstate(invalid="ignore"):
        precision = true / (true + false)
        return pd.DataFrame({"fpr": false / false[-1], "tpr": true / true[-1], "precision": precision})


def reliability(predictions: pd.DataFrame, model: str, bins: int, resamples: int, seed: int) -> pd.DataFrame:
    """Predicted against observed: pulls in bins of equal size by probability.

    Returns:
        bin, n_pulls, predicted (mean), observed (share of kills), low and high (of the latter, by bootstrap over teams;
        NaN with fewer than five teams).
    """
    ordered = predictions.sort_values([model, "raid_id", "encounter_id"], ignore_index=True)
    number = np.arange(len(ordered)) * bins // max(len(ordered), 1)
    inside = (number[:, None] == np.arange(min(bins, len(ordered)))).astype(np.float64)
    is_kill = ordered["is_kill"].to_numpy(dtype=np.float64)
    drawn = []
    if ordered["team_id"].nunique() >= FEWEST_TEAMS:
        with np.errstate(invalid="ignore"):
            drawn = [
                (weights * is_kill) @ inside / (weights @ inside)
                for weights in team_weights(ordered["team_id"], resamples, seed)
            ]
    low, high = np.nanpercentile(np.concatenate(drawn), INTERVAL, axis=0) if drawn else (np.nan, np.nan)
    n_pulls = inside.sum(axis=0)
    return pd.DataFrame(
        {
            "bin": np.arange(1, inside.shape[1] + 1),
            "n_pulls": n_pulls.astype(int),
            "predicted": ordered[model].to_numpy(dtype=np.float64) @ inside / n_pulls,
            "observed": is_kill @ inside / n_pulls,
            "low": low,
            "high": high,
        }
    )


_SCORED = ["model", "metric", "value", "low", "high", "difference", "difference_low", "difference_high"]


def _under(is_kill: Floats, columns: dict[str, Floats], blocks: Iterable[Floats]) -> dict[tuple[str, str], Floats]:
    """Each model's scores under each row of each block of weights."""
    parts: dict[tuple[str, str], list[Floats]] = {each: [] for each in itertools.product(columns, SCORES)}
    for weights in blocks:
        for model, probability in columns.items():
            for score, values in weighted_scores(is_kill, probability, weights).items():
                parts[model, score].append(values)
    return {each: np.concatenate(values) if values else np.empty(0) for each, values in parts.items()}


def _middle(values: Floats) -> tuple[float, float]:
    """The middle 95 %, resamples without a value left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, INTERVAL)
    return float(low), float(high)


def _curve_counts(is_kill: Floats, probability: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Kills and wipes at or above each distinct probability, from the highest down: shape (resamples, thresholds)."""
    order = np.argsort(-probability, kind="stable")
    last_of_tie = np.append(np.diff(probability[order]) != 0, True)
    ordered, kills = weights[:, order], is_kill[order]
    return (
        np.cumsum(ordered * kills, axis=1)[:, last_of_tie],
        np.cumsum(ordered * (1 - kills), axis=1)[:, last_of_tie],
    )


def _area(x: Floats, y: Floats) -> Floats:
    """The area under each row's curve from (0, 0) on, by trapezoids."""
    steps = np.diff(x, axis=1, prepend=0.0)
    heights = y + np.concatenate([np.zeros((len(y), 1)), y[:, :-1]], axis=1)
    area: Floats = (steps * heights).sum(axis=1) / 2
    return area
