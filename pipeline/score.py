"""The studies and the layers beside the simulation's truth: how much of what could be known was found.

The only reader of `data/simulated/truth/`. A season of real logs alone has no truth: the stage then says so.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from pipeline import paths, silver, wire
from pipeline.errors import PipelineError
from pipeline.studies.outcome_scores import weighted_scores

TRUTH = paths.SIMULATED / "truth"
METRICS = paths.METRICS / "score.json"
PULL = ["raid_id", "encounter_id"]
SCORES = ("roc_auc", "log_loss", "brier")
MODELS = ("winner", "logistic", "history", "base_rate")
CAUGHT = ("invalid", "duplicate", "clock_skew", "outside_pull")
"""The kinds of fault that a layer must catch; the others are harmless."""
OTHER_REASONS = "other_reasons"
DIGITS = 4

FaultCounts = Counter[tuple[str, str]]
"""By raid and kind of fault."""


def run() -> None:
    """Stage: compare the studies' tables and the layers' counts with the truth, into `reports/metrics/score.json`.

    Raises:
        PipelineError: a fault that the simulation brought in was not caught where it must be, or something else was;
            or a file is missing or damaged.
    """
    if not wire.raid_files(paths.SIMULATED):
        _write({"status": "no truth"})
        return
    predictions = _table(paths.TABLES / "classification-predictions.csv", "classify")
    players = _table(paths.TABLES / "clustering-players.csv", "cluster")
    brought_in, caught = in_ledger(_truth("faults")), caught_faults(paths.SIMULATED, paths.SILVER)
    check(brought_in, caught)
    _write(
        {
            "status": "ok",
            "outcome": outcome(predictions, _truth("win_probability"), _horizon_s()),
            "play_styles": play_styles(players, _truth("players")),
            "faults": {kind: {"brought_in": _of(brought_in, kind), "caught": _of(caught, kind)} for kind in CAUGHT},
        }
    )


def outcome(predictions: pd.DataFrame, truth: pd.DataFrame, horizon_s: int) -> dict[str, Any]:
    """The models' scores beside those of the true chance to win, on the pulls of which it is known.

    Args:
        predictions: raid_id, encounter_id, is_kill, and the cross-fitted probabilities of each of `MODELS`.
        truth: raid_id, encounter_id, horizon_s, plays, win_probability.
        horizon_s: the study's.

    Returns:
        The number of pulls; for `ceiling` (nobody who sees the events alone can know more at that moment) and each
        model its scores; and the winner's mean distance from the true chance. `status` is `too few pulls` where not
        both outcomes occur.
    """
    known = predictions.merge(truth[truth["horizon_s"] == horizon_s], on=PULL).sort_values(PULL)
    head = {"horizon_s": horizon_s, "pulls": len(known)}
    if known["is_kill"].nunique() < 2:
        return {"status": "too few pulls", **head}
    is_kill = known["is_kill"].to_numpy(dtype=np.float64)
    # Of few plays, all or none may win where the chance is neither 1 nor 0: Jeffreys' estimate.
    chance = (known["win_probability"] * known["plays"] + 0.5) / (known["plays"] + 1)
    models = {"ceiling": chance, **{model: known[model] for model in MODELS}}
    scores = {name: _scores(is_kill, column.to_numpy(dtype=np.float64)) for name, column in models.items()}
    distance = (known["winner"] - known["win_probability"]).abs().mean()
    return {"status": "ok", **head, **scores, "distance_from_truth": round(float(distance), DIGITS)}


def _scores(is_kill: npt.NDArray[np.float64], probability: npt.NDArray[np.float64]) -> dict[str, float]:
    all_scores = weighted_scores(is_kill, probability, np.ones((1, len(is_kill))))
    return {name: round(float(all_scores[name][0]), DIGITS) for name in SCORES}


def play_styles(found: pd.DataFrame, truth: pd.DataFrame) -> dict[str, Any]:
    """By role: how many styles there are, how many were found, and how far both groupings agree.

    Args:
        found: role, player_id, cluster.
        truth: player_id, style.
    """
    known = found.merge(truth[["player_id", "style"]], on="player_id")
    return {
        str(role): {
            "players": len(group),
            "styles": int(group["style"].nunique()),
            "found": int(group["cluster"].nunique()),
            "ari": round(float(adjusted_rand_score(group["style"], group["cluster"])), DIGITS),
        }
        for role, group in known.groupby("role", sort=True)
    }


def in_ledger(ledger: pd.DataFrame) -> FaultCounts:
    """How many faults of each kind that a layer must catch were brought into each raid."""
    to_catch = ledger[ledger["fault"].isin(CAUGHT)]
    return Counter(zip(to_catch["raid_id"], to_catch["fault"], strict=True))


def caught_faults(simulated: Path, silver_folder: Path) -> FaultCounts:
    """How many events of each simulated raid the receiver refused, and Silver removed or set aside.

    Args:
        simulated: `data/simulated`; a real log imported beside it has faults of its own, which count for nothing here.
        silver_folder: `data/silver`.
    """
    caught: FaultCounts = Counter()
    for file in wire.raid_files(simulated):
        stated = silver.stated_counts(silver_folder, file.stem)
        caught[file.stem, "invalid"] = wire.count_events(file) - stated.bronze_events
        caught[file.stem, "duplicate"] = stated.duplicates_removed
        for reason, count in stated.quarantined.items():
            caught[file.stem, reason if reason in CAUGHT else OTHER_REASONS] += count
    return +caught


def check(brought_in: FaultCounts, caught: FaultCounts) -> None:
    """Whether in every raid each layer caught exactly what was brought in for it.

    Raises:
        PipelineError: one did not.
    """
    wrong = [
        f"{raid}, {kind}: {brought_in[raid, kind]} brought in, {caught[raid, kind]} caught"
        for raid, kind in sorted(brought_in.keys() | caught.keys())
        if brought_in[raid, kind] != caught[raid, kind]
    ]
    if wrong:
        raise PipelineError(
            f"the layers and the ledger of faults ({TRUTH / 'faults.parquet'}) disagree: {'; '.join(wrong)}; "
            "if nobody changed the data, this is a fault of the pipeline, please report it"
        )


def _of(counts: FaultCounts, kind: str) -> int:
    return sum(count for (_, one), count in counts.items() if one == kind)


def _truth(name: str) -> pd.DataFrame:
    file = TRUTH / f"{name}.parquet"
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        reason = str(error).strip()
        raise PipelineError(
            f"{file}: cannot be read ({reason}): bring it back with `dvc checkout {TRUTH}`, or make it again with "
            "`dvc repro simulate`"
        ) from error


def _table(file: Path, stage: str) -> pd.DataFrame:
    try:
        return pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"{file}: cannot be read ({str(error).strip()}): make it with `dvc repro {stage}`"
        ) from error


def _horizon_s() -> int:
    file = paths.METRICS / "classification.json"
    try:
        return int(json.loads(file.read_text())["horizon_s"])
    except (OSError, ValueError, KeyError) as error:
        raise PipelineError(f"{file}: cannot be read ({error}): make it with `dvc repro classify`") from error


def _write(content: Mapping[str, Any]) -> None:
    paths.write_atomically(METRICS, (json.dumps(content, indent=2) + "\n").encode())
