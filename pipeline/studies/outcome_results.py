"""What the study of outcomes leaves for others: metrics, the report's tables, and the data of `dvc plots`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline import paths
from pipeline.studies import figures
from pipeline.studies.classification import Comparison, Pulls, Split, compared_models
from pipeline.studies.outcome_scores import SCORES, curves, reliability

METRICS_FILE = paths.METRICS / "classification.json"
RELIABILITY_BINS = 8
DIGITS = 4
MODEL_FORMATS = dict.fromkeys(SCORES.values(), "{:.3f}")
PERCENT_FORMATS = {"Share of kills": "{:.0%}"}


@dataclass(frozen=True)
class Results:
    """Everything that the study found."""

    pulls: Pulls
    split: Split
    comparison: Comparison
    predictions: pd.DataFrame
    scores: pd.DataFrame
    heldout: pd.DataFrame
    difficulties: pd.DataFrame
    importance: pd.DataFrame


def metrics(results: Results) -> dict[str, Any]:
    """What `reports/metrics/classification.json` says; of a study that was not possible, why."""
    head = {"horizon_s": results.pulls.horizon_s, **results.pulls.counts}
    if results.split.reason:
        return {"status": "not possible", "reason": results.split.reason, **head}
    crossed, heldout = _by_model(results.scores), _by_model(results.heldout)
    return {
        "status": "ok",
        **head,
        "n_heldout_teams": len(results.split.heldout_teams),
        "kill_share": _rounded(results.predictions["is_kill"].mean()),
        "winner": results.comparison.winner,
        **{score: {part: crossed["winner"][score][part] for part in ("value", "low", "high")} for score in SCORES},
        "heldout": {score: heldout["winner"][score]["value"] for score in ("roc_auc", "log_loss")},
        "baselines": {
            model: {score: crossed[model][score]["value"] for score in ("roc_auc", "log_loss")}
            for model in crossed
            if model != "winner"
        },
        "difficulty": {
            str(difficulty): {score: _by_model(group)["winner"][score]["value"] for score in ("roc_auc", "log_loss")}
            for difficulty, group in results.difficulties.groupby("difficulty", sort=False)
        },
    }


def write(results: Results, resamples: int, seed: int) -> dict[str, Any]:
    """Write metrics, tables and plot data; returns the metrics."""
    found = metrics(results)
    content = (json.dumps(found, indent=2) + "\n").encode()
    paths.write_atomically(paths.project_root() / METRICS_FILE, content)
    samples = {"cross-fitted": results.scores, "held-out": results.heldout}
    tables = {
        "models": results.comparison.table,
        "scores": pd.concat([table.assign(sample=sample) for sample, table in samples.items()]),
        "difficulty": results.difficulties,
        "importance": results.importance,
        "predictions": results.predictions,
    }
    for name, table in tables.items():
        figures.write_csv(table.round(DIGITS), paths.TABLES / f"classification-{name}.csv")
    figures.write_csv(roc(results).round(DIGITS), paths.PLOTS / "roc.csv")
    calibration = reliability_of_all(results, resamples, seed)
    figures.write_csv(calibration.round(DIGITS), paths.PLOTS / "reliability.csv")
    return found


def roc(results: Results) -> pd.DataFrame:
    """Every model's ROC curve: model, fpr, tpr; without points on the straight between their neighbours."""
    parts = [pd.DataFrame(columns=["model", "fpr", "tpr"])] if results.predictions.empty else []
    for model, name in drawn_models(results).items():
        points = curve_of(results.predictions, model)[["fpr", "tpr"]].to_numpy()
        is_corner = np.ones(len(points), dtype=bool)
        steps = np.diff(points, axis=0)
        is_corner[1:-1] = ~np.isclose(steps[:-1, 0] * steps[1:, 1], steps[1:, 0] * steps[:-1, 1])
        corners = points[is_corner]
        parts.append(pd.DataFrame({"model": name, "fpr": corners[:, 0], "tpr": corners[:, 1]}))
    return pd.concat(parts, ignore_index=True)


def curve_of(predictions: pd.DataFrame, model: str) -> pd.DataFrame:
    """`outcome_scores.curves` of one model's predictions."""
    return curves(predictions["is_kill"].to_numpy(dtype=np.float64), predictions[model].to_numpy(dtype=np.float64))


def reliability_of_all(results: Results, resamples: int, seed: int) -> pd.DataFrame:
    """`outcome_scores.reliability` of every model that tells pulls apart: model, then its columns."""
    parts = [pd.DataFrame(columns=["model", "bin", "n_pulls", "predicted", "observed", "low", "high"])]
    for model, name in drawn_models(results).items():
        if model != "base_rate":
            part = reliability(results.predictions, model, RELIABILITY_BINS, resamples, seed)
            part.insert(0, "model", name)
            parts.append(part)
    return pd.concat(parts[1:] or parts, ignore_index=True)


def comparison_table(comparison: Comparison) -> pd.DataFrame:
    """PyCaret's comparison for reading."""
    return comparison.table.drop(columns="model").rename(columns={"name": "Model", **SCORES})


def scores_table(table: pd.DataFrame, winner: str | None) -> pd.DataFrame:
    """Scores with their intervals for reading: a row per model, a column per score."""
    table = table[table["model"].isin(distinct_models(winner))]
    rows = [{"Model": name, **_shown_scores(group)} for name, group in table.groupby("name", sort=False)]
    return pd.DataFrame(rows, columns=["Model", *SCORES.values()])


def difficulty_table(table: pd.DataFrame) -> pd.DataFrame:
    """The winner's scores within each difficulty for reading, with what they stand on."""
    rows = []
    for difficulty, group in table[table["model"] == "winner"].groupby("difficulty", sort=False):
        first = group.iloc[0]
        rows.append(
            {
                "Difficulty": figures.name_of(difficulty),
                "Pulls": first["n_pulls"],
                "Teams": first["n_teams"],
                "Share of kills": first["kill_share"],
                **_shown_scores(group),
            }
        )
    return pd.DataFrame(rows, columns=["Difficulty", "Pulls", "Teams", "Share of kills", *SCORES.values()])


def verdict(results: Results) -> str:
    """What the scores come to, in sentences."""
    if results.split.reason:
        return results.split.describe()
    names = distinct_models(results.comparison.winner)
    losses = {row["model"]: row for row in results.scores.to_dict("records") if row["metric"] == "log_loss"}
    lines = [
        f"{names['winner']} won the comparison. Its log loss over {results.pulls.counts['n_teams']} teams, each "
        f"predicted by a model that had not seen it, is {_shown(losses['winner'])}."
    ]
    for model in [model for model in names if model != "winner"]:
        row = losses[model]
        difference = _interval(row["difference"], row["difference_low"], row["difference_high"], "{:+.3f}")
        is_open = not (row["difference_low"] > 0 or row["difference_high"] < 0)
        doubt = ", which does not tell the two apart" if is_open else ""
        lines.append(f"{names[model]}: {difference} against it{doubt}.")
    return "\n".join(lines)


def distinct_models(winner: str | None) -> dict[str, str]:
    """The compared models with their names; a logistic regression that won is not shown a second time."""
    return {model: name for model, name in compared_models(winner).items() if (winner, model) != ("lr", "logistic")}


def drawn_models(results: Results) -> dict[str, str]:
    """The same where something was predicted, else none."""
    return {} if results.predictions.empty else distinct_models(results.comparison.winner)


def _by_model(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in table.to_dict("records"):
        parts = {part: _rounded(row[part]) for part in ("value", "low", "high")}
        found.setdefault(row["model"], {})[row["metric"]] = parts
    return found


def _rounded(value: float) -> float | None:
    return round(float(value), DIGITS) if np.isfinite(value) else None


def _shown_scores(rows: pd.DataFrame) -> dict[str, str]:
    return {SCORES[row["metric"]]: _shown(row) for row in rows.to_dict("records")}


def _shown(row: Mapping[Any, Any]) -> str:
    return _interval(row["value"], row["low"], row["high"], "{:.3f}")


def _interval(value: float, low: float, high: float, form: str) -> str:
    """A number with its interval, each where there is one; a constant has none."""
    if not np.isfinite(value):
        return "–"
    return form.format(value) + (f" ({form.format(low)} to {form.format(high)})" if low < high else "")
