"""How players play, freed of what their class, their specialisation and the fight explain.

A row is a player's behaviour in a pull (`tables.PlayerBehaviour`), weighted by the seconds alive, since a rate over few
seconds says little. Within a role, a *kit* is class and, where known, specialisation (what only one of a class's
specialisations can do is no style of play), a *fight* is boss and difficulty, and

    x = kit + fight + rest                      weighted least squares, two-way additive
    m = w * mean(rest in the cell kit x fight)  w = p / (p + 3), p players in the cell: a small cell leans on the role
    s^2 = w * variance(cell) + (1 - w) * variance(role in this fight)
    z = (x - kit - fight - m) / s               0 where x is missing or never varies

So a constant added to all that one class does changes nothing. A player's profile is the mean of z over their pulls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Neither crit_rate (equipment) nor pet_damage_share (whether the kit has a pet): players do not choose them in a fight.
BEHAVIOURS: dict[str, str] = {
    "damage_per_s": "damage",
    "healing_per_s": "healing",
    "absorb_per_s": "absorbs",
    "damage_taken_per_s": "damage taken",
    "avoidable_taken_per_s": "avoidable damage taken",
    "casts_per_s": "casts",
    "interrupts_per_min": "interrupts",
    "dispels_per_min": "dispels",
    "defensives_per_min": "defensives",
    "taunts_per_min": "taunts",
    "consumables_per_min": "consumables",
    "overheal_share": "overheal share",
    "avoidable_share": "avoidable share",
    "add_damage_share": "share on adds",
    "self_healing_share": "healing on self",
    "tank_healing_share": "healing on tanks",
    "activity": "activity",
    "burstiness": "burstiness",
    "died": "deaths",
}
SHRINKAGE_PLAYERS = 3
"""A cell of so many players weighs as much as the role's figures."""
BACKFITTING_ROUNDS = 20
KNOWN_SHARE = 0.5
"""A behaviour is used in a role if at least this share of the rows has it."""
SMALLEST_SPREAD = 1e-9
UNKNOWN_FIGHT = "unknown"
NAMED = ("team_id", "player_class", "specialization")


@dataclass(frozen=True)
class Normalisation:
    """What is expected of a kit in a fight, and how far behaviour scatters around it; columns are behaviours."""

    kits: pd.DataFrame
    """By kit."""
    fights: pd.DataFrame
    """By fight, on top of the kit."""
    cells: pd.DataFrame
    """By kit and fight, on top of both: m above."""
    scatter: pd.DataFrame
    """By kit and fight: s above."""
    role_scatter: pd.Series
    """Over all of the role: s of a cell that was never seen."""

    def apply(self, rows: pd.DataFrame) -> Floats:
        """z of rows with `kit` and `fight`, (rows, behaviours); a fight never seen is met with the kit's figures."""
        behaviours = list(self.kits.columns)
        cells = pd.MultiIndex.from_frame(rows[["kit", "fight"]])
        expected = (
            self.kits.reindex(rows["kit"]).to_numpy()
            + self.fights.reindex(rows["fight"]).fillna(0.0).to_numpy()
            + self.cells.reindex(cells).fillna(0.0).to_numpy()
        )
        scatter = self.scatter.reindex(cells).fillna(self.role_scatter).to_numpy()
        rest = rows[behaviours].to_numpy(dtype=np.float64) - expected
        varies = np.isfinite(rest) & (scatter > SMALLEST_SPREAD)
        z: Floats = np.divide(rest, scatter, out=np.zeros_like(rest), where=varies)
        return z


@dataclass(frozen=True)
class RoleProfiles:
    """The players of one role; z by pull, and whose each row is."""

    role: str
    players: pd.DataFrame
    """player_id, team_id, player_class, specialization, n_pulls, sorted by player_id."""
    behaviours: tuple[str, ...]
    z: Floats
    alive_s: Floats
    owner: Ints
    """The player's place in `players`, by row."""
    normalisation: Normalisation
    left_out: Mapping[str, int]
    """Players of the role who could not be compared, by reason."""

    def profiles(self) -> Floats:
        """Mean z by player, weighted by seconds alive: (players, behaviours)."""
        sums = np.zeros((len(self.players), len(self.behaviours)))
        np.add.at(sums, self.owner, self.z * self.alive_s[:, None])
        means: Floats = sums / np.bincount(self.owner, self.alive_s, len(self.players))[:, None]
        return means


def comparable_rows(behaviour: pd.DataFrame) -> pd.DataFrame:
    """Rows that name role and class, with `kit` and `fight`, in a total order that does not depend on the input's."""
    named = behaviour[behaviour["role"].notna() & behaviour["player_class"].notna()]
    text = {name: named[name].astype(object).where(named[name].notna(), None) for name in named.columns}
    kit = [
        class_name if spec is None else f"{class_name}/{spec}"
        for class_name, spec in zip(text["player_class"], text["specialization"], strict=True)
    ]
    fight = [
        f"{boss or UNKNOWN_FIGHT}/{difficulty or UNKNOWN_FIGHT}"
        for boss, difficulty in zip(text["encounter_name"], text["encounter_difficulty"], strict=True)
    ]
    rows = named.assign(kit=kit, fight=fight, died=named["died"].astype(float))
    return rows.sort_values(["role", "player_id", "raid_id", "encounter_id"], ignore_index=True)


def role_profiles(rows: pd.DataFrame, role: str, min_pulls: int) -> RoleProfiles:
    """Normalise one role.

    Args:
        rows: `comparable_rows`.
        role: tank, healer or dps.
        min_pulls: players with fewer pulls in this role are left out.

    Returns:
        The role's players; nobody may be left.
    """
    of_role = rows[rows["role"] == role]
    often = of_role[of_role.groupby("player_id")["player_id"].transform("size") >= min_pulls]
    company = often.groupby("kit")["player_id"].transform("nunique")
    chosen = often[company > 1].reset_index(drop=True)
    left_out = {
        "few_pulls": of_role["player_id"].nunique() - often["player_id"].nunique(),
        "alone_in_kit": often["player_id"].nunique() - chosen["player_id"].nunique(),
    }
    return placed(chosen, role, fit_normalisation(chosen, used_behaviours(chosen)), left_out)


def placed(rows: pd.DataFrame, role: str, normalisation: Normalisation, left_out: Mapping[str, int]) -> RoleProfiles:
    """The players of rows of one role as a normalisation sees them; all kits must be ones that it knows."""
    players, owner = _players(rows)
    return RoleProfiles(
        role=role,
        players=players,
        behaviours=tuple(normalisation.kits.columns),
        z=normalisation.apply(rows),
        alive_s=rows["alive_s"].to_numpy(dtype=np.float64),
        owner=owner,
        normalisation=normalisation,
        left_out=left_out,
    )


def used_behaviours(rows: pd.DataFrame) -> tuple[str, ...]:
    """The behaviours that the rows know and in which they differ."""
    values = rows[list(BEHAVIOURS)].astype(np.float64)
    known = values.notna().mean() >= KNOWN_SHARE
    varies = (values.max() - values.min()) > SMALLEST_SPREAD
    return tuple(name for name in BEHAVIOURS if known[name] and varies[name])


def fit_normalisation(rows: pd.DataFrame, behaviours: tuple[str, ...]) -> Normalisation:
    """The figures of the formula above, from the rows of one role."""
    values = rows[list(behaviours)].astype(np.float64)
    weights = values.notna().mul(rows["alive_s"], axis=0)
    kits, fights, rest = _additive(values, weights, rows["kit"], rows["fight"])
    cell = [rows["kit"], rows["fight"]]
    n_players = rows.groupby(cell)["player_id"].nunique()
    lean = n_players / (n_players + SHRINKAGE_PLAYERS)
    cell_means = _means(rest, weights, cell)
    scatter = _means((rest - _spread_out(cell_means, cell)) ** 2, weights, cell)
    role_scatter = _means(rest**2, weights, rows["fight"]).reindex(scatter.index.get_level_values("fight"))
    variance = scatter.mul(lean, axis=0) + role_scatter.set_axis(scatter.index).mul(1 - lean, axis=0)
    overall = (rest**2 * weights).sum() / weights.sum()
    return Normalisation(kits, fights, cell_means.mul(lean, axis=0), variance**0.5, overall**0.5)


def _additive(
    values: pd.DataFrame, weights: pd.DataFrame, kit: pd.Series, fight: pd.Series
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Effects of kits and fights by backfitting (Hastie and Tibshirani 1990), and what they leave."""
    fights = _means(values * 0.0, weights, fight)
    for _ in range(BACKFITTING_ROUNDS):
        kits = _means(values - _spread_out(fights, fight), weights, kit)
        fights = _means(values - _spread_out(kits, kit), weights, fight)
    return kits, fights, values - _spread_out(kits, kit) - _spread_out(fights, fight)


def _means(values: pd.DataFrame, weights: pd.DataFrame, by: Any) -> pd.DataFrame:
    """Weighted means by group; 0 where a group knows no value."""
    sums = (values.fillna(0.0) * weights).groupby(by).sum()
    return (sums / weights.groupby(by).sum()).fillna(0.0)


def _spread_out(figures: pd.DataFrame, by: Any) -> Floats:
    """A group's figures for each of its rows."""
    keys = pd.MultiIndex.from_arrays(by) if isinstance(by, list) else by
    spread_out: Floats = figures.reindex(keys).to_numpy()
    return spread_out


def _players(rows: pd.DataFrame) -> tuple[pd.DataFrame, Ints]:
    """The players of rows sorted by player_id, and each row's place among them."""
    owner, ids = pd.factorize(rows["player_id"])
    groups = rows.groupby("player_id")
    named = {name: [_most_frequent(group[name]) for _, group in groups] for name in NAMED}
    players = pd.DataFrame({"player_id": ids.to_numpy(dtype=object), **named, "n_pulls": groups.size().to_numpy()})
    return players, owner.astype(np.int64)


def _most_frequent(values: "pd.Series[Any]") -> str | None:
    modes = values.dropna().mode()
    return None if modes.empty else str(modes.iloc[0])
