"""The study of outcomes: will this pull end in a kill, judged by what is known before it and by its first T seconds?

Runs in the automl environment (PyCaret). Teams are never split: who is predicted was not learned from.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.studies.outcome_model import BEFORE_THE_PULL, FAMILIES, INPUTS, Encoding, Probabilities
from pipeline.studies.outcome_scores import SCORES, scored, weighted_scores

FEATURES_FILE = paths.FEATURES / "pull_features" / "v1" / "part-0.parquet"
FEATURES_METRICS = paths.METRICS / "features.json"
PULL = ["raid_id", "encounter_id"]
NAMES: dict[str, str] = {
    "lr": "Logistic regression",
    "rf": "Random forest",
    "et": "Extra trees",
    "gbc": "Gradient boosting",
    "ada": "AdaBoost",
}
BASELINES: dict[str, str] = {
    "logistic": "Logistic regression, all inputs",
    "history": "History only",
    "base_rate": "Base rate",
}
DIFFICULTIES = ("lfr", "normal", "heroic", "mythic", "other", "unknown")
FEWEST_TEAMS = 3
HOLDOUT_DRAWS = 200
SHUFFLES = 5

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Pulls:
    """What the study has: all pulls still running at T, and those of them that it can learn from."""

    horizon_s: int
    running: pd.DataFrame
    labelled: pd.DataFrame
    n_ended_before: int

    @property
    def counts(self) -> dict[str, int]:
        """How many pulls and teams there are, and how many pulls were left out for which reason."""
        is_known = self.running["raid_outcome"] != "unknown"
        return {
            "n_pulls": len(self.labelled),
            "n_ended_before": self.n_ended_before,
            "n_unknown_outcome": int((~is_known).sum()),
            "n_without_team": int((is_known & self.running["team_id"].isna()).sum()),
            "n_teams": self.labelled["team_id"].nunique(),
        }


@dataclass(frozen=True)
class Split:
    """Which teams are held out, and into how many folds the others, and all, are parted; or why that cannot be."""

    heldout_teams: tuple[str, ...] = ()
    comparison_folds: int = 0
    folds: int = 0
    reason: str | None = None

    def describe(self) -> str:
        """One sentence: who is held out, or why the study cannot be done."""
        if self.reason:
            return f"This study is not possible with these data: {self.reason}."
        return f"Held out: {', '.join(self.heldout_teams)}; the others are parted into {self.comparison_folds} folds."


@dataclass(frozen=True)
class Comparison:
    """The candidates' mean scores over the folds of the training teams, best first, and the best one's kind."""

    table: pd.DataFrame
    winner: str | None


@dataclass(frozen=True)
class Fitted:
    """A model with the encoding of its inputs."""

    encoding: Encoding
    estimator: Any

    def probability(self, pulls: pd.DataFrame) -> Probabilities:
        """Each pull's probability of a kill."""
        both = self.estimator.predict_proba(self.encoding.matrix(pulls))
        return np.asarray(both, dtype=np.float64)[:, 1]


@dataclass(frozen=True)
class OutOfSample:
    """Predictions of teams by models that did not see them, and those models with the rows they were kept from."""

    predictions: pd.DataFrame
    fits: tuple[tuple[Fitted, Rows], ...] = ()


def read_features() -> tuple[pd.DataFrame, dict[int, int]]:
    """`pull_features` of all horizons, and how many pulls had ended before each.

    Raises:
        PipelineError: they were not made yet, or are damaged.
    """
    root = paths.project_root()
    try:
        features = pd.read_parquet(root / FEATURES_FILE)
        ended: dict[str, int] = json.loads((root / FEATURES_METRICS).read_text())["ended_before"]
    except FileNotFoundError as error:
        raise PipelineError(
            f"{error.filename or root / FEATURES_FILE} is missing: make it with `dvc repro features`"
        ) from error
    except (ValueError, OSError) as error:
        raise PipelineError(
            f"{FEATURES_FILE} or {FEATURES_METRICS} is damaged or cannot be read ({str(error).strip()}): "
            f"{paths.how_to_mend(FEATURES_FILE)}"
        ) from error
    return features, {int(horizon): count for horizon, count in ended.items()}


def read_pulls(horizon_s: int) -> Pulls:
    """The pulls that were still running at T.

    Raises:
        PipelineError: features were not made, or not for this T.
    """
    features, ended = read_features()
    if horizon_s not in ended:
        made = ", ".join(map(str, ended))
        raise PipelineError(
            f"classify.horizon_s is {horizon_s}, but features were made for {made} s: "
            "choose one of these, or add it to features.horizons_s in params.yaml"
        )
    running = features[features["horizon_s"] == horizon_s]
    return Pulls(horizon_s, running, labelled(running), ended[horizon_s])


def labelled(running: pd.DataFrame) -> pd.DataFrame:
    """The pulls with a known outcome and team, with `is_kill`, sorted by key."""
    usable = running[(running["raid_outcome"] != "unknown") & running["team_id"].notna()]
    is_kill = (usable["raid_outcome"] == "success").astype(int)
    return usable.assign(is_kill=is_kill).sort_values(PULL, ignore_index=True)


def describe(pulls: Pulls) -> str:
    """What the study works on, in sentences."""
    counts = pulls.counts
    return (
        f"{counts['n_pulls']:,} pulls of {counts['n_teams']:,} teams were still running after {pulls.horizon_s} s, "
        f"{pulls.labelled['is_kill'].sum():,} of them ended in a kill.\n"
        f"Left out: {counts['n_ended_before']:,} that had ended before, {counts['n_unknown_outcome']:,} of unknown "
        f"outcome, {counts['n_without_team']:,} of a raid that names no team."
    )


def split_teams(pulls: Pulls, holdout_share: float, folds: int, seed: int) -> Split:
    """Choose the teams to hold out, and folds of whole teams in which both outcomes occur.

    Of some seeded draws the first is taken that leaves both outcomes, and every difficulty of which it is possible, on
    both sides.
    """
    data = pulls.labelled
    reason = _impossible(pulls)
    if reason:
        return Split(reason=reason)
    teams = data["team_id"].unique()
    n_heldout = min(max(1, round(holdout_share * len(teams))), len(teams) - 2)
    heldout = _best_draw(data, n_heldout, seed)
    training = data[~data["team_id"].isin(heldout)]
    comparison_folds, all_folds = most_folds(training, folds), most_folds(data, folds)
    if not comparison_folds or not all_folds:
        return Split(
            reason=f"there is no way to part {len(teams) - n_heldout} training teams into folds of whole teams with "
            "kills and wipes in each"
        )
    return Split(heldout, comparison_folds, all_folds)


def _impossible(pulls: Pulls) -> str | None:
    """Why teams cannot be held out at all."""
    counts, data = pulls.counts, pulls.labelled
    if counts["n_teams"] < FEWEST_TEAMS:
        nameless = counts["n_without_team"]
        aside = f" ({nameless:,} pulls are of raids that name no team)" if nameless else ""
        return (
            f"holding whole teams out takes at least {FEWEST_TEAMS} teams with pulls of known outcome that last longer "
            f"than {pulls.horizon_s} s, and there are {counts['n_teams']}{aside}"
        )
    if data["is_kill"].nunique() < 2:
        return f"all {len(data):,} pulls ended in a {'kill' if data['is_kill'].iloc[0] else 'wipe'}"
    return None


def _best_draw(data: pd.DataFrame, n_heldout: int, seed: int) -> tuple[str, ...]:
    """Of some draws of teams the first with the fewest outcomes, then the fewest difficulties, on one side only."""
    outcomes = pd.crosstab(data["team_id"], data["is_kill"])
    difficulties = pd.crosstab(data["team_id"], data["encounter_difficulty"].fillna("unknown"))
    random = np.random.default_rng(seed)
    draws = [random.choice(len(outcomes), n_heldout, replace=False) for _ in range(HOLDOUT_DRAWS)]

    def one_sided(draw: Rows) -> tuple[int, ...]:
        sides = [(table.iloc[draw].sum(), table.drop(table.index[draw]).sum()) for table in (outcomes, difficulties)]
        return tuple(int((heldout == 0).sum() + (training == 0).sum()) for heldout, training in sides)

    return tuple(sorted(outcomes.index[min(draws, key=one_sided)]))


def most_folds(data: pd.DataFrame, wanted: int) -> int:
    """The greatest number of folds up to `wanted` that leaves kills and wipes on both sides of each; 0 if none does."""
    for folds in range(min(wanted, data["team_id"].nunique()), 1, -1):
        sides = [data["is_kill"].iloc[rows] for parts in fold_rows(data, folds) for rows in parts]
        if all(side.nunique() == 2 for side in sides):
            return folds
    return 0


def fold_rows(data: pd.DataFrame, folds: int) -> list[tuple[Rows, Rows]]:
    """Folds of whole teams: rows to learn from and rows to predict; none for 0 folds."""
    if not folds:
        return []
    return list(GroupKFold(folds).split(data, groups=data["team_id"]))


def heldout_rows(data: pd.DataFrame, split: Split) -> list[tuple[Rows, Rows]]:
    """The training teams' rows and the held-out teams' rows."""
    is_heldout = data["team_id"].isin(split.heldout_teams).to_numpy()
    return [(np.flatnonzero(~is_heldout), np.flatnonzero(is_heldout))] if is_heldout.any() else []


def teams(pulls: Pulls, split: Split) -> pd.DataFrame:
    """One row per team, for reading: its pulls, their outcome and difficulty, and what the team is for."""
    rows = [
        {
            "Team": team,
            "Used for": "held out" if team in split.heldout_teams else "training",
            "Pulls": len(group),
            "Kills": int(group["is_kill"].sum()),
            "Share of kills": group["is_kill"].mean(),
            "Difficulties": ", ".join(f"{name} {count}" for name, count in _difficulty_counts(group)),
        }
        for team, group in pulls.labelled.groupby("team_id", sort=True)
    ]
    return pd.DataFrame(rows, columns=["Team", "Used for", "Pulls", "Kills", "Share of kills", "Difficulties"])


def candidates(seed: int) -> dict[str, Any]:
    """The kinds of model that survive the way to ONNX, not yet trained; only the linear one is scaled.

    Linear discriminant analysis is none of them: its export was measured to be off by 0.15.
    """
    return {
        "lr": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
        "rf": RandomForestClassifier(n_estimators=200, min_samples_leaf=3, random_state=seed),
        "et": ExtraTreesClassifier(n_estimators=200, min_samples_leaf=3, random_state=seed),
        "gbc": GradientBoostingClassifier(
            n_estimators=150, learning_rate=0.05, max_depth=3, subsample=0.8, random_state=seed
        ),
        "ada": AdaBoostClassifier(n_estimators=100, learning_rate=0.5, algorithm="SAMME", random_state=seed),
    }


def fit(kind: str, pulls: pd.DataFrame, seed: int, inputs: Sequence[str] = INPUTS) -> Fitted:
    """Train a kind of model on some pulls, with an encoding learned from the same."""
    encoding = Encoding.learned_from(pulls, inputs)
    estimator = clone(candidates(seed)[kind])
    return Fitted(encoding, estimator.fit(encoding.matrix(pulls), pulls["is_kill"].to_numpy()))


def compare(pulls: Pulls, split: Split, kinds: Sequence[str], seed: int) -> Comparison:
    """Let PyCaret compare the kinds on the training teams, in folds of whole teams; the least log loss wins.

    Returns:
        model (kind), name and `SCORES`, means over the folds.
    """
    if split.reason:
        return Comparison(pd.DataFrame(columns=["model", "name", *SCORES]), None)
    kinds = list(dict.fromkeys(kinds))
    experiment = _experiment(pulls, split, seed)
    models = candidates(seed)
    experiment.compare_models(
        include=[clone(models[kind]) for kind in kinds], sort="Log loss", verbose=False, errors="raise"
    )
    found = experiment.pull()
    columns = {"AUC": "roc_auc", "PR AUC": "pr_auc", "Log loss": "log_loss", "Brier": "brier"}
    table = found.rename(columns={**columns, "Accuracy": "accuracy", "F1": "f1"})
    table = table.assign(model=[kinds[int(place)] for place in table.index])
    table = table.assign(name=table["model"].map(NAMES)).reset_index(drop=True)
    return Comparison(table[["model", "name", *SCORES]], str(table["model"].iloc[0]))


def _experiment(pulls: Pulls, split: Split, seed: int) -> Any:
    """A PyCaret experiment that changes nothing of the matrix and writes nothing anywhere."""
    # Read when PyCaret is imported; else it leaves a logs.log where it runs.
    os.environ.setdefault("PYCARET_CUSTOM_LOGGING_PATH", os.devnull)
    from pycaret.classification import ClassificationExperiment  # type: ignore[import-not-found]

    data = pulls.labelled
    ((training, heldout),) = heldout_rows(data, split)
    encoding = Encoding.learned_from(data.iloc[training])
    matrix = pd.DataFrame(encoding.matrix(data), columns=encoding.names).assign(is_kill=data["is_kill"])
    experiment = ClassificationExperiment()
    experiment.setup(
        data=matrix.iloc[training],
        test_data=matrix.iloc[heldout],
        target="is_kill",
        preprocess=False,
        fold_strategy="groupkfold",
        fold=split.comparison_folds,
        fold_groups=data["team_id"],
        session_id=seed,
        n_jobs=1,
        html=False,
        verbose=False,
        memory=False,
        system_log=False,
    )
    probability = {"target": "pred_proba"}
    experiment.add_metric("pr_auc", "PR AUC", average_precision_score, **probability)
    experiment.add_metric("log_loss", "Log loss", log_loss, greater_is_better=False, **probability)
    experiment.add_metric("brier", "Brier", brier_score_loss, greater_is_better=False, **probability)
    return experiment


def out_of_sample(pulls: Pulls, parts: list[tuple[Rows, Rows]], winner: str | None, seed: int) -> OutOfSample:
    """Predict the second rows of each part by models that learned from the first.

    Returns:
        Predictions: raid_id, encounter_id, team_id, difficulty, is_kill, and the probabilities that the winner and each
        of `BASELINES` gives. Without a winner there are none. The base rate is one number, the parts' mean: each part's
        own would rank the teams backwards.
    """
    data = pulls.labelled
    columns = [*PULL, "team_id", "difficulty", "is_kill", "winner", *BASELINES]
    if winner is None:
        return OutOfSample(pd.DataFrame(columns=columns))
    known = data.assign(difficulty=data["encounter_difficulty"].fillna("unknown"))
    base_rate = float(np.mean([data["is_kill"].iloc[learn].mean() for learn, _ in parts]))
    fits, predicted = [], []
    for learn, predict in parts:
        seen, unseen = known.iloc[learn], known.iloc[predict]
        best = fit(winner, seen, seed)
        predicted.append(
            unseen.assign(
                winner=best.probability(unseen),
                logistic=fit("lr", seen, seed).probability(unseen),
                history=fit("lr", seen, seed, BEFORE_THE_PULL).probability(unseen),
                base_rate=base_rate,
            )
        )
        fits.append((best, predict))
    predictions = pd.concat(predicted)[columns].sort_values(PULL, ignore_index=True)
    return OutOfSample(predictions, tuple(fits))


def compared_models(winner: str | None) -> dict[str, str]:
    """The columns of predictions with the names of the models behind them, the winner first."""
    return {"winner": NAMES[winner] if winner else "Winner", **BASELINES}


def scores(predictions: pd.DataFrame, winner: str | None, resamples: int, seed: int) -> pd.DataFrame:
    """`outcome_scores.scored` of the winner and the baselines, with their names."""
    names = compared_models(winner)
    table = scored(predictions, names, resamples, seed)
    table.insert(1, "name", table["model"].map(names))
    return table


def by_difficulty(predictions: pd.DataFrame, winner: str | None, resamples: int, seed: int) -> pd.DataFrame:
    """The same within each difficulty: difficulty, n_pulls, n_teams, kill_share, then the columns of `scores`."""
    parts = []
    for difficulty in DIFFICULTIES:
        inside = predictions[predictions["difficulty"] == difficulty].reset_index(drop=True)
        if not inside.empty:
            part = scores(inside, winner, resamples, seed)
            part.insert(0, "difficulty", difficulty)
            part.insert(1, "n_pulls", len(inside))
            part.insert(2, "n_teams", inside["team_id"].nunique())
            part.insert(3, "kill_share", float(inside["is_kill"].mean()))
            parts.append(part)
    if not parts:
        head = ["difficulty", "n_pulls", "n_teams", "kill_share"]
        return pd.DataFrame(columns=[*head, *scores(predictions, winner, resamples, seed).columns])
    return pd.concat(parts, ignore_index=True)


def importance(pulls: Pulls, crossed: OutOfSample, seed: int) -> pd.DataFrame:
    """How much worse the winner predicts teams it has not seen when an input, or a family of them, is shuffled.

    Returns:
        kind (family or input), name, family, rise (of the log loss, mean over the folds), low and high (least and
        greatest fold), greatest rise first within each kind.
    """
    data, random = pulls.labelled, np.random.default_rng(seed)
    subjects = [("family", family, family, list(columns)) for family, columns in FAMILIES.items()]
    subjects += [("input", name, family, [name]) for family, columns in FAMILIES.items() for name in columns]
    rows = []
    for kind, name, family, columns in subjects:
        rises = np.array([_rise(fitted, data.iloc[unseen], columns, random) for fitted, unseen in crossed.fits])
        if len(rises):
            sizes = [len(unseen) for _, unseen in crossed.fits]
            rows.append((kind, name, family, float(np.average(rises, weights=sizes)), rises.min(), rises.max()))
    table = pd.DataFrame(rows, columns=["kind", "name", "family", "rise", "low", "high"])
    return table.sort_values(["kind", "rise", "name"], ascending=[True, False, True], ignore_index=True)


def _rise(fitted: Fitted, unseen: pd.DataFrame, columns: list[str], random: np.random.Generator) -> float:
    """The log loss with these columns shuffled (together, so that they stay consistent) less that without."""
    orders = [random.permutation(len(unseen)) for _ in range(SHUFFLES)]
    shuffled = pd.concat([unseen] * SHUFFLES, ignore_index=True)
    for column in columns:
        shuffled[column] = unseen[column].iloc[np.concatenate(orders)].reset_index(drop=True)
    return _log_loss(fitted, shuffled) - _log_loss(fitted, unseen)


def _log_loss(fitted: Fitted, pulls: pd.DataFrame) -> float:
    is_kill = pulls["is_kill"].to_numpy(dtype=np.float64)
    return float(weighted_scores(is_kill, fitted.probability(pulls), np.ones((1, len(pulls))))["log_loss"][0])


def _difficulty_counts(group: pd.DataFrame) -> list[tuple[str, int]]:
    counts = group["encounter_difficulty"].fillna("unknown").value_counts()
    return [(name, int(counts[name])) for name in DIFFICULTIES if name in counts]
