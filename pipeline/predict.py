"""How likely each pull of a raid is to end in a kill, T seconds into it, by the models in `models/outcome/`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import features, gold, paths
from pipeline.errors import PipelineError
from pipeline.studies.outcome_model import HISTORY, OF_ROLES, Encoding, probabilities

FOLDER = paths.MODELS / "outcome"
PULL = ["raid_id", "encounter_id"]
CATEGORIES = {"encounter_name": "boss", "encounter_difficulty": "difficulty"}
OUTCOMES = {"success": "kill", "wipe": "wipe", "unknown": "unknown"}
MOST_NAMED = 3


@dataclass(frozen=True)
class Horizon:
    """The model of one T."""

    horizon_s: int
    onnx: bytes
    encoding: Encoding


@dataclass(frozen=True)
class OutcomeModel:
    """The models of all T, and the teams that they learned from."""

    name: str
    teams: frozenset[str]
    horizons: tuple[Horizon, ...]


@dataclass(frozen=True)
class Prediction:
    """What is said of one pull at one T."""

    horizon_s: int
    probability: float
    not_known: tuple[str, ...]
    out_of_range: tuple[str, ...]


def describe(raid_id: str, encounter_id: str | None = None) -> str:
    """A table of a raid's pulls (or of one) with a probability at each T, and what the models could not know.

    Raises:
        PipelineError: there is no model, no such raid, or no such pull.
    """
    model = read_model(paths.project_root() / FOLDER)
    pulls = raid_pulls(gold.raid_summary(), raid_id, encounter_id)
    raid_features = _features_of(raid_id)
    predictions = {str(pull): predicted(model, rows) for pull, rows in raid_features.groupby("encounter_id")}
    shown = {pull: predictions.get(pull, []) for pull in pulls["encounter_id"]}
    return "\n".join(
        [_title(model, pulls, raid_id), "", *_table(model, pulls, shown), *_remarks(model, pulls, shown, raid_features)]
    )


def read_model(folder: Path) -> OutcomeModel:
    """The models in `models/outcome/`.

    Raises:
        PipelineError: there are none; the message says why, or how to make them.
    """
    try:
        content: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        horizons = [
            Horizon(int(horizon), (folder / each["file"]).read_bytes(), Encoding.from_json(each["encoding"]))
            for horizon, each in content["horizons"].items()
            if each["file"]
        ]
    except FileNotFoundError as error:
        raise PipelineError(
            f"{error.filename} is missing: make the model with `dvc repro classify` or fetch it with `dvc pull`"
        ) from error
    if content["status"] != "ok":
        raise PipelineError(f"there is no outcome model, because {content['reason']} ({folder}/model-card.md)")
    return OutcomeModel(content["name"], frozenset(content["teams"]), tuple(horizons))


def raid_pulls(raid_summary: pd.DataFrame, raid_id: str, encounter_id: str | None = None) -> pd.DataFrame:
    """The raid's pulls in the order of play.

    Raises:
        PipelineError: there is no such raid or pull; the message names some that there are.
    """
    raid = raid_summary[raid_summary["raid_id"] == raid_id].sort_values(["start_timestamp", "encounter_id"])
    if raid.empty:
        raise PipelineError(f"there are no pulls of a raid `{raid_id}` in Gold; {_some(raid_summary['raid_id'])}")
    if encounter_id is None:
        return raid
    pull = raid[raid["encounter_id"] == encounter_id]
    if pull.empty:
        raise PipelineError(f"{raid_id} has no pull `{encounter_id}`; {_some(raid['encounter_id'])}")
    return pull


def predicted(model: OutcomeModel, rows: pd.DataFrame) -> list[Prediction]:
    """What the models say of one pull, by T; of a T that it did not reach, nothing.

    Args:
        model: the models.
        rows: the pull's rows of `pull_features`, one per T.
    """
    said = []
    for horizon in model.horizons:
        row = rows[rows["horizon_s"] == horizon.horizon_s]
        if not row.empty:
            (probability,) = probabilities(horizon.onnx, horizon.encoding.matrix(row))
            not_known, beyond = horizon.encoding.not_known(row), horizon.encoding.out_of_range(row)
            said.append(Prediction(horizon.horizon_s, float(probability), tuple(not_known), tuple(beyond)))
    return said


def _features_of(raid_id: str) -> pd.DataFrame:
    known = features.pull_features()
    return known[known["raid_id"] == raid_id]


def _some(values: "pd.Series[str]") -> str:
    names = sorted(values.unique())
    if not names:
        return "it is empty"
    more = f", … {names[-1]}" if len(names) > MOST_NAMED else ""
    return f"there are {len(names):,}: {', '.join(names[:MOST_NAMED])}{more}"


def _title(model: OutcomeModel, pulls: pd.DataFrame, raid_id: str) -> str:
    teams = ", ".join(sorted(pulls["team_id"].dropna().unique())) or "no team named"
    return f"{raid_id} ({teams}): probability of a kill, T seconds into each pull ({model.name.lower()})"


def _table(model: OutcomeModel, pulls: pd.DataFrame, shown: dict[str, list[Prediction]]) -> list[str]:
    head = ["pull", "boss", "difficulty", "outcome", *(f"{each.horizon_s} s" for each in model.horizons)]
    rows = [head]
    columns = ["encounter_id", "encounter_name", "encounter_difficulty", "raid_outcome"]
    for pull, boss, difficulty, outcome in pulls[columns].astype(object).fillna("unknown").to_numpy():
        said = {each.horizon_s: f"{each.probability:.0%}" for each in shown[pull]}
        after = [said.get(each.horizon_s, "ended before") for each in model.horizons]
        rows.append([pull, boss, difficulty, OUTCOMES[outcome], *after])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _remarks(
    model: OutcomeModel, pulls: pd.DataFrame, shown: dict[str, list[Prediction]], raid_features: pd.DataFrame
) -> list[str]:
    """What the models could not know, and what they had seen before."""
    remarks, not_known = [], _by_input(shown, "not_known")
    if pulls["team_id"].isna().all():
        remarks.append("No team is named: what it did on other evenings is not known; a usual history is assumed.")
        not_known = {name: where for name, where in not_known.items() if name not in HISTORY}
    elif set(pulls["team_id"]) & model.teams:
        remarks.append("The models learned from this team, most likely from these pulls: see them as flattering.")
    for column, what in CATEGORIES.items():
        strange = raid_features[raid_features["encounter_id"].isin(not_known.pop(column, []))]
        values = sorted(strange[column].astype(object).fillna("not named").unique())
        if values:
            remarks.append(f"Not met in training: {what} {', '.join(values)}; taken as none of those known.")
    if set(OF_ROLES) & set(not_known):
        role_pulls = sorted({pull for name in OF_ROLES for pull in not_known.pop(name, [])})
        not_known = {"who played which role": role_pulls, **not_known}
    beyond = _by_input(shown, "out_of_range")
    remarks += _listed("Not known, replaced by the usual of the training pulls", not_known, len(shown))
    remarks += _listed("Beyond all that training showed, taken as its nearest", beyond, len(shown))
    return ["", *remarks] if remarks else []


def _by_input(shown: dict[str, list[Prediction]], what: str) -> dict[str, list[str]]:
    """For each input that a list of predictions names, the pulls for which it does."""
    found: dict[str, list[str]] = {}
    for pull, said in shown.items():
        for name in dict.fromkeys(name for each in said for name in getattr(each, what)):
            found.setdefault(name, []).append(pull)
    return found


def _listed(introduction: str, by_input: dict[str, list[str]], n_pulls: int) -> list[str]:
    if not by_input:
        return []
    names = [
        name if len(pulls) == n_pulls else f"{name} ({len(pulls)} of {n_pulls} pulls)"
        for name, pulls in by_input.items()
    ]
    return [f"{introduction}: {', '.join(names)}."]
