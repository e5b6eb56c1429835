"""The outcome model on its way out of the automl environment: ONNX files behind an equality gate, JSON, and a card."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.studies.classification import (
    NAMES,
    PULL,
    Fitted,
    fit,
    labelled,
    read_features,
)
from pipeline.studies.outcome_model import INPUTS, Matrix, Probabilities, probabilities
from pipeline.studies.outcome_results import Results, distinct_models, scores_table

FOLDER = paths.MODELS / "outcome"
TOLERANCE = 1e-5
OPSETS = {"": 17, "ai.onnx.ml": 3}


def export(results: Results, seed: int) -> pd.DataFrame:
    """Train the winner's kind on all teams, once for every T, and write it to `models/outcome/`.

    Returns:
        horizon_s, pulls, file (None where there is no model) and note.

    Raises:
        PipelineError: an ONNX file does not say what its model says.
    """
    features, ended = read_features()
    described: dict[str, Any] = {}
    expected = [pd.DataFrame(columns=[*PULL, "horizon_s", "probability"])]
    with paths.replacing_folder(paths.project_root() / FOLDER) as target:
        for horizon in ended if results.comparison.winner else ():
            running = features[features["horizon_s"] == horizon].sort_values(PULL, ignore_index=True)
            pulls = labelled(running)
            if pulls["is_kill"].nunique() < 2:
                described[str(horizon)] = {"file": None, "pulls": len(pulls)}
                continue
            fitted = fit(str(results.comparison.winner), pulls, seed)
            said = fitted.probability(running)
            file = write_onnx(fitted, fitted.encoding.matrix(running), said, target / f"model-{horizon:03d}.onnx")
            described[str(horizon)] = {"file": file.name, "pulls": len(pulls), **_described(fitted)}
            expected.append(running[[*PULL, "horizon_s"]].assign(probability=said.round(7)))
        _write_json(model_json(results, described), target / "model.json")
        pd.concat(expected[1:] or expected).to_csv(target / "expected.csv", index=False, lineterminator="\n")
        (target / "model-card.md").write_text(card(results, described), encoding="utf-8")
    rows = [(int(horizon), each["pulls"], each["file"]) for horizon, each in described.items()]
    return pd.DataFrame(rows, columns=["T, s", "Pulls learned from", "File"])


def write_onnx(fitted: Fitted, matrix: Matrix, said: Probabilities, target: Path) -> Path:
    """Write a model as ONNX if it says the same as the model itself of every row.

    Raises:
        PipelineError: it does not.
    """
    content = to_onnx(fitted.estimator, matrix.shape[1])
    difference = float(np.abs(probabilities(content, matrix) - said).max(initial=0.0))
    if not difference <= TOLERANCE:
        raise PipelineError(
            f"{target.name}: as ONNX the model's probabilities differ by up to {difference:.2g}, more than 1e-5: take "
            "this kind of model out of classify.models in params.yaml"
        )
    target.write_bytes(content)
    return target


def to_onnx(estimator: Any, n_inputs: int) -> bytes:
    """A trained classifier as ONNX: `features` (float32, rows × inputs) in, `label` and `probabilities` out."""
    from skl2onnx import convert_sklearn  # type: ignore[import-not-found]
    from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-not-found]

    converted = convert_sklearn(
        estimator,
        name="raid_outcome",
        initial_types=[("features", FloatTensorType([None, n_inputs]))],
        options={"zipmap": False},
        target_opset=OPSETS,
    )
    # They come out of a set, in an order that changes from run to run.
    opsets = sorted(converted.opset_import, key=lambda opset: opset.domain)
    del converted.opset_import[:]
    converted.opset_import.extend(opsets)
    return bytes(converted.SerializeToString(deterministic=True))


def model_json(results: Results, horizons: dict[str, Any]) -> dict[str, Any]:
    """What a reader of the ONNX files must know: kind, training data, and per T the file, parameters and encoding."""
    if results.split.reason:
        return {"status": "not possible", "reason": results.split.reason, "horizons": {}}
    winner = str(results.comparison.winner)
    return {
        "status": "ok",
        "kind": winner,
        "name": NAMES[winner],
        "predicts": "probability that the pull ends in a kill",
        "chosen_at_horizon_s": results.pulls.horizon_s,
        "made_with": {"scikit-learn": sklearn.__version__},
        "teams": sorted(results.pulls.labelled["team_id"].unique()),
        "horizons": horizons,
    }


def card(results: Results, horizons: dict[str, Any]) -> str:
    """The model card, in Markdown."""
    if results.split.reason:
        return f"# Outcome model: none\n\nNo model could be made of these data: {results.split.reason}.\n"
    counts, winner = results.pulls.counts, str(results.comparison.winner)
    files = "\n".join(
        f"| {horizon} | {each['pulls']:,} | {each['file'] or 'none: all these pulls ended alike'} |"
        for horizon, each in horizons.items()
    )
    return _CARD.format(
        name=NAMES[winner],
        horizon=results.pulls.horizon_s,
        n_inputs=len(INPUTS),
        files=files,
        held_out=", ".join(results.split.heldout_teams),
        scores=_markdown(scores_table(results.scores, winner)),
        heldout_scores=_markdown(scores_table(results.heldout, winner).head(1)),
        difficulties=", ".join(results.difficulties["difficulty"].unique()),
        compared=", ".join(list(distinct_models(winner).values())[1:]),
        **counts,
    )


def _described(fitted: Fitted) -> dict[str, Any]:
    is_plain = {
        name: value
        for name, value in fitted.estimator.get_params(deep=True).items()
        if isinstance(value, str | int | float | bool | None)
    }
    return {"inputs": fitted.encoding.names, "parameters": is_plain, "encoding": asdict(fitted.encoding)}


def _write_json(content: dict[str, Any], target: Path) -> None:
    target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_CARD = """# Outcome model: {name}

**What it is.** A classifier that gives the probability that a pull (one attempt at a raid boss) ends in a kill,
judged by what is known before the pull and by its first T seconds. One model per T, all of the same kind and
settings, chosen at T = {horizon} s among the kinds of `classify.models` by log loss.

| T, s | pulls learned from | file |
| --- | --- | --- |
{files}

**Use.** `python -m pipeline predict raid017`, or any ONNX runtime: input `features` (float32, pulls × inputs),
output `probabilities` (the second column is the kill's). `model.json` holds each model's inputs in order, its
settings, and the encoding: medians for what is not known, the range into which values are drawn, the known bosses
and difficulties. `expected.csv` is what each model said of every pull where it was trained; the files agree with it
to 1e-5.

**Inputs.** {n_inputs} columns of `data/features/pull_features`: boss, difficulty, composition, the team's history,
the evening so far, and per-second rates up to T. Nothing after T, nothing that defines the outcome, no totals of
the season.

**Data.** {n_pulls:,} pulls of {n_teams} teams at T = {horizon} s. Left out: {n_ended_before:,} pulls that had ended
before, {n_unknown_outcome:,} of unknown outcome, {n_without_team:,} of raids that name no team. The files here
learned from all teams; the scores below are of models that had not seen the team they predict.

**Scores at T = {horizon} s**, each team predicted by a model fitted to other teams; in brackets 95 % intervals from
a bootstrap over the {n_teams} teams (an interval from so few is rather too narrow than too wide). Beside the
winner: {compared}.

{scores}

Teams that took no part in the choice either ({held_out}), predicted by the winner fitted to the others:

{heldout_scores}

Difficulties in the data: {difficulties}. Scores within each are in `reports/tables/classification-difficulty.csv`.

**Limits.** It learned from the raids of this repository's `params.yaml`, simulated ones unless logs with teams were
added: how far it holds for real raids is not known. Probabilities for raids that it learned from are better than
they would be for a new team. A boss, difficulty, role or history that a log does not tell is replaced (`predict`
says which), and values outside the range of the training pulls are taken as its nearest end. It says what tends to
go with a kill, not what causes one; it must not be used to judge a single player.
"""
