"""A role's model of play styles as files, and what it says of players it has not seen.

`{role}.safetensors` holds every number; the names that belong to them (behaviours, kits, fights) stand in `model.json`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.studies.player_profiles import Normalisation, comparable_rows, placed
from pipeline.studies.playstyle_model import Embedding, Mixture, SplitHalfAutoencoder

MODEL_FILE = "model.json"


@dataclass(frozen=True)
class StyleModel:
    """All that places a player of one role among the play styles."""

    role: str
    normalisation: Normalisation
    embedding: Embedding
    mixture: Mixture

    def assign(self, behaviour: pd.DataFrame) -> pd.DataFrame:
        """The most probable style of each player of the role, from 1, and its probability.

        Args:
            behaviour: rows of `player_behaviour`; rows of classes and specialisations that the model does not know
                are passed over.
        """
        rows = comparable_rows(behaviour)
        known = (rows["role"] == self.role) & rows["kit"].isin(self.normalisation.kits.index)
        players = placed(rows[known].reset_index(drop=True), self.role, self.normalisation, {})
        probabilities = self.mixture.probabilities(self.embedding.points(torch.from_numpy(players.profiles())))
        best, cluster = probabilities.max(dim=1)
        return players.players.assign(cluster=cluster.numpy() + 1, probability=best.numpy())


def save(model: StyleModel, folder: Path) -> dict[str, Any]:
    """Write a role's numbers to `{role}.safetensors`; returns their names for `model.json`."""
    figures, embedding, mixture = model.normalisation, model.embedding, model.mixture
    tensors = {
        "normalisation.kits": _tensor(figures.kits),
        "normalisation.fights": _tensor(figures.fights),
        "normalisation.cells": _tensor(figures.cells),
        "normalisation.scatter": _tensor(figures.scatter),
        "normalisation.role_scatter": torch.tensor(figures.role_scatter.to_numpy(dtype="float64")),
        "embedding.mean": embedding.mean,
        "embedding.scale": embedding.scale,
        "embedding.axes": embedding.axes,
        "embedding.lasting": embedding.lasting,
        **{f"autoencoder.{name}": value for name, value in embedding.autoencoder.state_dict().items()},
        "mixture.weights": mixture.weights,
        "mixture.means": mixture.means,
        "mixture.covariance": mixture.covariance,
        "mixture.log_likelihood": torch.tensor(mixture.log_likelihood, dtype=torch.float64),
    }
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    (folder / f"{model.role}.safetensors").write_bytes(safetensors.torch.save(plain))
    return {
        "file": f"{model.role}.safetensors",
        "behaviours": list(figures.kits.columns),
        "kits": list(figures.kits.index),
        "fights": list(figures.fights.index),
        "cells": [list(cell) for cell in figures.cells.index],
    }


def load(folder: Path, role: str) -> StyleModel:
    """Read what `save` wrote, onto the CPU.

    Raises:
        PipelineError: there is no model of this role.
    """
    try:
        content = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise PipelineError(f"{folder / MODEL_FILE} is missing: make it with `dvc repro cluster`") from error
    names = content["roles"].get(role, {})
    if "file" not in names:
        raise PipelineError(f"{folder} holds no model of role {role}: {names.get('reason', 'no such role')}")
    tensors = safetensors.torch.load_file(folder / names["file"])
    return StyleModel(role, _normalisation(tensors, names), _embedding(tensors), _mixture(tensors))


def _normalisation(tensors: dict[str, Tensor], names: dict[str, Any]) -> Normalisation:
    behaviours = names["behaviours"]
    cells = pd.MultiIndex.from_tuples([tuple(cell) for cell in names["cells"]], names=["kit", "fight"])

    def frame(name: str, index: Any) -> pd.DataFrame:
        return pd.DataFrame(tensors[f"normalisation.{name}"].numpy(), index=index, columns=behaviours)

    return Normalisation(
        kits=frame("kits", pd.Index(names["kits"], name="kit")),
        fights=frame("fights", pd.Index(names["fights"], name="fight")),
        cells=frame("cells", cells),
        scatter=frame("scatter", cells),
        role_scatter=pd.Series(tensors["normalisation.role_scatter"].numpy(), index=behaviours),
    )


def _embedding(tensors: dict[str, Tensor]) -> Embedding:
    weights = {name.removeprefix("autoencoder."): value for name, value in tensors.items() if "autoencoder." in name}
    latent_dim, n_behaviours = weights["encoder.weight"].shape
    autoencoder = SplitHalfAutoencoder(n_behaviours, latent_dim, torch.Generator())
    autoencoder.load_state_dict(weights)
    mean, scale, axes, lasting = (tensors[f"embedding.{name}"] for name in ("mean", "scale", "axes", "lasting"))
    return Embedding(mean, scale, autoencoder, axes, lasting)


def _mixture(tensors: dict[str, Tensor]) -> Mixture:
    weights, means, covariance, likelihood = (
        tensors[f"mixture.{name}"] for name in ("weights", "means", "covariance", "log_likelihood")
    )
    return Mixture(weights, means, covariance, float(likelihood))


def _tensor(frame: pd.DataFrame) -> Tensor:
    return torch.tensor(frame.to_numpy(dtype="float64"))
