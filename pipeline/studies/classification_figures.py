"""The pictures of the study of outcomes: results in, figures out."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.studies import figures
from pipeline.studies.figures import FAINT, INK, PALETTE, styled
from pipeline.studies.outcome_results import Results, curve_of, drawn_models, reliability_of_all

MOST_INPUTS = 12
MODEL_COLOURS = {
    "winner": PALETTE[0],
    "logistic": PALETTE[1],
    "history": PALETTE[2],
    "base_rate": FAINT,
}
NOT_POSSIBLE = "not possible with these data"


@styled
def draw_curves(results: Results) -> Figure:
    """ROC and precision-recall curves of the winner and the baselines."""
    figure, (roc, recall) = figures.panels(1, 2, 4.6, 4.2)
    models = drawn_models(results)
    if not models:
        return _empty(figure)
    for model, name in models.items():
        points = curve_of(results.predictions, model)
        look: dict[str, Any] = {"color": MODEL_COLOURS[model], "linewidth": 2.0 if model == "winner" else 1.3}
        area = results.scores.query("model == @model and metric == 'roc_auc'")["value"].iloc[0]
        precision = results.scores.query("model == @model and metric == 'pr_auc'")["value"].iloc[0]
        roc.plot(points["fpr"], points["tpr"], label=f"{name} ({area:.2f})", **look)
        recall.step(points["tpr"], points["precision"], where="pre", label=f"{name} ({precision:.2f})", **look)
    roc.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    recall.axhline(results.predictions["is_kill"].mean(), color=FAINT, linewidth=0.8, linestyle=":")
    roc.set(title="ROC", xlabel="false positive rate: wipes taken for kills", ylabel="true positive rate: kills found")
    recall.set(title="Precision and recall", xlabel="recall: kills found", ylabel="precision: kills among those named")
    for panel in (roc, recall):
        panel.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    roc.legend(loc="lower right", fontsize=8)
    recall.legend(loc="lower left", fontsize=8)
    return figure


@styled
def draw_reliability(results: Results, resamples: int, seed: int) -> Figure:
    """Observed share of kills against predicted probability, above how often each probability was given."""
    figure = Figure(figsize=(6.4, 5.6))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    models = drawn_models(results)
    if not models:
        return _empty(figure)
    top.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    bins = reliability_of_all(results, resamples, seed)
    for model, name in models.items():
        points = bins[bins["model"] == name]
        if not points.empty:
            _reliability(top, points, MODEL_COLOURS[model], name, with_intervals=model == "winner")
    bottom.hist(results.predictions["winner"], bins=np.linspace(0, 1, 21).tolist(), color=MODEL_COLOURS["winner"])
    top.set(ylabel="share that ended in a kill", ylim=(-0.02, 1.02), title="Reliability")
    bottom.set(xlabel="predicted probability of a kill", ylabel="pulls", xlim=(0, 1))
    top.legend(loc="upper left")
    return figure


@styled
def draw_importance(results: Results) -> Figure:
    """How much the log loss of teams not seen rises when a family of inputs, or one input, is shuffled."""
    table = results.importance
    families = table[table["kind"] == "family"]
    inputs = table[table["kind"] == "input"].head(MOST_INPUTS)
    figure, (left, right) = figures.panels(1, 2, 4.8, 0.9 + 0.27 * MOST_INPUTS)
    if table.empty:
        return _empty(figure)
    for panel, rows, title in ((left, families, "What it is about"), (right, inputs, "Single inputs")):
        _bars(panel, rows)
        panel.set(title=title, xlabel="rise of the log loss when shuffled")
    return figure


def _reliability(panel: Axes, points: pd.DataFrame, colour: str, name: str, *, with_intervals: bool) -> None:
    size = 5.0 if with_intervals else 3.0
    panel.plot(points["predicted"], points["observed"], "o-", color=colour, ms=size, lw=1.3, label=name)
    if with_intervals and points["low"].notna().all():
        panel.vlines(points["predicted"], points["low"], points["high"], color=colour, linewidth=1.0, alpha=0.6)


def _bars(panel: Axes, rows: pd.DataFrame) -> None:
    """One bar per row, the greatest on top, with a whisker over the folds."""
    place = np.arange(len(rows))[::-1]
    panel.barh(place, rows["rise"], color=PALETTE[0], height=0.7)
    panel.hlines(place, rows["low"], rows["high"], color=INK, linewidth=1.0)
    panel.axvline(0, color=INK, linewidth=0.8)
    panel.set_yticks(place, [str(name).replace("_", " ") for name in rows["name"]])
    panel.grid(axis="y", visible=False)


def _empty(figure: Figure) -> Figure:
    for panel in figure.axes:
        figures.say_empty(panel, NOT_POSSIBLE)
    return figure
