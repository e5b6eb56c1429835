"""The outcome model's inputs: from rows of `pull_features` to the numbers that a model takes.

Written for both environments: the one that trains (PyCaret) and the one that predicts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Matrix = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]

HISTORY = (
    "prior_pulls",
    "prior_kills",
    "prior_best_boss_hp_pct",
    "previous_boss_hp_pct",
    "team_pulls",
    "team_kills",
    "team_kill_share",
)
FAMILIES: dict[str, tuple[str, ...]] = {
    "boss": ("encounter_name",),
    "difficulty": ("encounter_difficulty",),
    "team's history": HISTORY,
    "the evening so far": ("evening_pulls", "evening_kills"),
    "composition": ("n_players", "n_tanks", "n_healers", "n_dps", "n_classes", "mean_item_level"),
    "boss health at T": ("boss_hp_pct",),
    "damage done": ("damage_per_s", "tank_damage_per_s", "healer_damage_per_s", "dps_damage_per_s"),
    "damage taken": (
        "damage_taken_per_s",
        "last_10s_damage_taken_per_s",
        "tank_damage_taken_per_s",
        "healer_damage_taken_per_s",
        "dps_damage_taken_per_s",
    ),
    "healing": ("healing_per_s", "tank_healing_per_s", "healer_healing_per_s", "dps_healing_per_s"),
    "deaths": ("deaths", "alive_share"),
    "activity": ("activity",),
}
"""Every input by what it is about; the rest of `tables.PullFeatures` is key, label, group or time."""
CATEGORIES = ("encounter_name", "encounter_difficulty")
INPUTS = tuple(column for columns in FAMILIES.values() for column in columns)
BEFORE_THE_PULL = (*CATEGORIES, *HISTORY, *FAMILIES["the evening so far"])
ROLE_COUNTS = ("n_tanks", "n_healers", "n_dps")
OF_ROLES = (*ROLE_COUNTS, *(name for name in INPUTS if name.startswith(("tank_", "healer_", "dps_"))))
# What a team did on other evenings; the last try of this boss may have been this evening and is then known.
OF_OTHER_EVENINGS = tuple(name for name in HISTORY if name != "previous_boss_hp_pct")


@dataclass(frozen=True)
class Encoding:
    """How rows become a matrix: learned from the training pulls, stored with the model.

    A number that is not known becomes the training pulls' median; one beyond all that they showed becomes the nearest
    that they did, for no model knows what lies there. That there is none (no earlier try of a boss, say) is a fact of
    its own: for such columns a further input says so.
    """

    medians: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]
    may_be_absent: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]

    @classmethod
    def learned_from(cls, pulls: pd.DataFrame, inputs: Iterable[str] = INPUTS) -> "Encoding":
        """The encoding of these pulls; a column that none of them knows is left out."""
        values, is_absent = known_numbers(pulls)
        wanted = set(inputs)
        numbers = [name for name in values if name in wanted and values[name].notna().any()]
        return cls(
            medians={name: float(values[name].median()) for name in numbers},
            ranges={name: (float(values[name].min()), float(values[name].max())) for name in numbers},
            may_be_absent=tuple(name for name in numbers if is_absent[name].any()),
            levels={name: tuple(sorted(pulls[name].dropna().unique())) for name in CATEGORIES if name in wanted},
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Encoding":
        """The inverse of `dataclasses.asdict` and JSON."""
        return cls(
            medians=content["medians"],
            ranges={name: (low, high) for name, (low, high) in content["ranges"].items()},
            may_be_absent=tuple(content["may_be_absent"]),
            levels={name: tuple(levels) for name, levels in content["levels"].items()},
        )

    @property
    def names(self) -> list[str]:
        """The matrix' columns in order."""
        levels = [f"{name}={level}" for name, all_levels in self.levels.items() for level in all_levels]
        return [*self.medians, *(f"no_{name}" for name in self.may_be_absent), *levels]

    def matrix(self, pulls: pd.DataFrame) -> Matrix:
        """The pulls as a model takes them: one row each, one column per name, no gaps."""
        values, is_absent = known_numbers(pulls)
        columns = [values[name].fillna(self.medians[name]).clip(*self.ranges[name]) for name in self.medians]
        columns += [is_absent[name] for name in self.may_be_absent]
        columns += [pulls[name] == level for name, levels in self.levels.items() for level in levels]
        arrays = [np.asarray(column.fillna(False), dtype=np.float32) for column in columns]
        return np.column_stack(arrays) if arrays else np.empty((len(pulls), 0), dtype=np.float32)

    def not_known(self, pull: pd.DataFrame) -> list[str]:
        """The inputs of one pull that it does not tell, and for which the model sees a substitute."""
        values, is_absent = known_numbers(pull)
        numbers = [name for name in self.medians if values[name].isna().all() and not is_absent[name].all()]
        absent = [name for name in self.medians if is_absent[name].all() and name not in self.may_be_absent]
        strange = [name for name, levels in self.levels.items() if pull[name].iloc[0] not in levels]
        return [*numbers, *absent, *strange]

    def out_of_range(self, pull: pd.DataFrame) -> list[str]:
        """The inputs of one pull that lie outside all that the training pulls showed."""
        values, _ = known_numbers(pull)
        first = values.iloc[0]
        return [name for name, (low, high) in self.ranges.items() if first[name] < low or first[name] > high]


def known_numbers(pulls: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The numeric inputs with NaN where nobody knows them, and where the table says that there is none.

    Without a team, what it did on other evenings is not known (the table counts this evening alone). The parts that
    roles played are known only where every player's role is; no class at all means that the log names none.
    """
    names = [name for name in INPUTS if name not in CATEGORIES]
    values = pulls[names].astype("float64")
    is_absent = values.isna()
    no_team = pulls["team_id"].isna().to_numpy(dtype=bool)
    values.loc[no_team, list(OF_OTHER_EVENINGS)] = np.nan
    is_absent.loc[no_team, list(HISTORY)] = False
    roles_known = pulls[list(ROLE_COUNTS)].sum(axis=1) == pulls["n_players"]
    values.loc[~roles_known.to_numpy(dtype=bool), list(OF_ROLES)] = np.nan
    is_absent.loc[~roles_known.to_numpy(dtype=bool), list(OF_ROLES)] = False
    values["n_classes"] = values["n_classes"].where(values["n_classes"] > 0)
    return values, is_absent


def probabilities(model: bytes, matrix: Matrix) -> Probabilities:
    """What an exported model says: each row's probability of a kill, on one CPU thread."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (both,) = session.run(["probabilities"], {"features": matrix})
    return np.asarray(both, dtype=np.float64)[:, 1]
