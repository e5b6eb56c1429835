"""A small season whose outcomes are known to follow the fight, and the study of it, run once for all tests."""

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from pipeline import notebooks, paths
from pipeline.tables import FEATURE_TABLES, GOLD_TABLES, conform, polars_schema, write_table

ROOT = Path(__file__).parents[1]
AUTOML = ROOT / ".venv-automl" / "bin" / "python"
HORIZONS = (30, 60)
REAL_LOG = "log-20220410"
PART = "part-0.parquet"
BOSSES = {"Gate Warden": 0.8, "Oracle": 0.0}
DIFFICULTIES = {"normal": 0.5, "heroic": -0.5}
CLASSIFY: dict[str, Any] = {
    "horizon_s": 60,
    "seed": 3,
    "holdout_share": 0.25,
    "folds": 3,
    "bootstrap_samples": 40,
    "models": ["lr", "rf", "et", "gbc"],
}


def pull_features(n_teams: int = 8, pulls_per_team: int = 24, seed: int = 0) -> pl.DataFrame:
    """Rows of `pull_features` at each horizon; kills follow from boss health at T, deaths, boss and difficulty."""
    random = np.random.default_rng(seed)
    n = n_teams * pulls_per_team
    team, pull = np.divmod(np.arange(n), pulls_per_team)
    boss, difficulty = random.choice(list(BOSSES), n), random.choice(list(DIFFICULTIES), n)
    health, deaths = random.uniform(55, 95, n), random.poisson(1.5, n)
    ease = np.array([BOSSES[name] for name in boss]) + np.array([DIFFICULTIES[name] for name in difficulty])
    logit = ease - (health - 75) / 5 - 1.2 * (deaths - 1.5)
    kill = random.uniform(size=n) < 1 / (1 + np.exp(-logit))
    base = pl.DataFrame(
        {
            "raid_id": [f"raid{number + 1:03d}" for number in team],
            "encounter_id": [f"raid{number + 1:03d}-p{try_ + 1:02d}" for number, try_ in zip(team, pull, strict=True)],
            "raid_outcome": np.where(kill, "success", "wipe"),
            "team_id": [f"team-{number + 1:02d}" for number in team],
            "encounter_name": boss,
            "encounter_difficulty": difficulty,
            "prior_pulls": pull,
            "prior_best_boss_hp_pct": [
                None if not try_ else float(value) for try_, value in zip(pull, health, strict=True)
            ],
            "boss_hp_pct": health,
            "deaths": deaths,
            "alive_share": 1 - deaths / 20,
            "damage_per_s": random.uniform(8000, 12000, n),
        }
    )
    return pl.concat([filled(base.with_columns(horizon_s=pl.lit(horizon))) for horizon in HORIZONS])


def filled(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `pull_features` with usual values in the columns that they do not have."""
    schema = polars_schema(FEATURE_TABLES["pull_features"])
    usual: dict[str, Any] = {
        "start_timestamp": pl.datetime(2026, 1, 5, 20, time_unit="us", time_zone="UTC"),
        "n_players": 20,
        "n_tanks": 2,
        "n_healers": 4,
        "n_dps": 14,
        "n_classes": 9,
        "mean_item_level": 480.0,
    }
    others = {name: usual.get(name, 1) for name in schema if name not in rows.columns}
    exprs = [value if isinstance(value, pl.Expr) else pl.lit(value) for value in others.values()]
    complete = rows.with_columns(expr.alias(name) for name, expr in zip(others, exprs, strict=True))
    return conform(complete, FEATURE_TABLES["pull_features"])


def real_log() -> pl.DataFrame:
    """A pull out of a log that names no team, no role and no class, of a boss and a difficulty never met."""
    row = pl.DataFrame(
        {
            "raid_id": [REAL_LOG],
            "encounter_id": ["714-1"],
            "horizon_s": [30],
            "raid_outcome": ["success"],
            "team_id": pl.Series([None], dtype=pl.String),
            "encounter_name": ["Princess Huhuran"],
            "encounter_difficulty": ["other"],
            "n_players": [40],
            "n_tanks": [0],
            "n_healers": [0],
            "n_dps": [0],
            "n_classes": [0],
            "mean_item_level": pl.Series([None], dtype=pl.Float64),
            "boss_hp_pct": [40.0],
            "damage_per_s": [5_000_000.0],
        }
    )
    return filled(row)


def write_season(folder: Path, features: pl.DataFrame, ended_before: dict[int, int] | None = None) -> Path:
    """A checkout that holds features, their metrics, Gold's `raid_summary` and the notebook."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").touch()
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["features"]["horizons_s"], content["classify"] = list(HORIZONS), CLASSIFY
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    (folder / paths.NOTEBOOKS).mkdir(exist_ok=True)
    shutil.copy(ROOT / "notebooks" / "02-classification.ipynb", folder / paths.NOTEBOOKS)
    ordered = features.sort("raid_id", "encounter_id", "horizon_s")
    target = folder / paths.FEATURES / "pull_features" / "v1" / PART
    write_table(ordered, FEATURE_TABLES["pull_features"], target, {})
    ended = ended_before or dict.fromkeys(HORIZONS, 0)
    metrics = folder / paths.METRICS / "features.json"
    metrics.parent.mkdir(parents=True, exist_ok=True)
    metrics.write_text(json.dumps({"ended_before": {str(horizon): count for horizon, count in ended.items()}}))
    write_table(
        _raid_summary(ordered), GOLD_TABLES["raid_summary"], folder / paths.GOLD / "raid_summary" / "v1" / PART, {}
    )
    return folder


def _raid_summary(features: pl.DataFrame) -> pl.DataFrame:
    pulls = features.unique(["raid_id", "encounter_id"], keep="first", maintain_order=True)
    schema = polars_schema(GOLD_TABLES["raid_summary"])
    others: dict[str, Any] = {name: pl.lit(1) for name in schema if name not in pulls.columns}
    others |= {"event_date": pl.date(2026, 1, 5), "boss_id": pl.lit("1"), "has_verdict": pl.lit(True)}
    return conform(pulls.with_columns(expr.alias(name) for name, expr in others.items()), GOLD_TABLES["raid_summary"])


def studied(folders: pytest.TempPathFactory) -> Path:
    """A season of eight teams and a real log, after the notebook `02-classification`; made once per session."""
    return _studied(folders.getbasetemp())


@functools.cache
def _studied(session: Path) -> Path:
    home = write_season(session / "outcome", pl.concat([pull_features(), real_log()]), {30: 0, 60: 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("DVC_ROOT", str(home))
        patch.setenv("PYTHONPATH", str(ROOT))
        notebooks.run("02-classification", kernel="automl", section="classify")
    return home


def in_automl(code: str, folder: Path) -> str:
    """What a piece of Python prints in the automl environment, run in a folder.

    Raises:
        AssertionError: the environment is missing (`make setup` makes it), or the code failed.
    """
    assert AUTOML.is_file(), f"{AUTOML} is missing: run `make setup`"
    done = subprocess.run(
        [AUTOML, "-c", f"from pipeline import determinism\ndeterminism.fix()\n{code}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
