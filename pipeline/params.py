"""`params.yaml`, typed: one frozen section per stage, so that a typo or an impossible value stops before any work."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.events import MAX_BATCH_EVENTS, RAID_ID_PATTERN


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Simulate(_Section):
    """The simulated season."""

    seed: Annotated[int, Field(ge=0)]
    """Seed of all randomness of the simulation."""
    teams: Annotated[int, Field(ge=0, le=500)]
    """Number of teams; each plays one season. 0 leaves only what lies in `data/raw/`."""
    evenings_per_team: Annotated[int, Field(ge=1, le=200)]
    """Evenings (raids) per team."""
    pulls_per_evening: Annotated[float, Field(ge=1, le=60)]
    """Mean number of pulls in an evening."""
    num_events_per_raid: Annotated[int, Field(ge=10, le=10_000_000)]
    """About how many events an evening has: it sets the rate of actions and is no quota."""


class ImportLogs(_Section):
    """Real combat logs in `data/raw/`."""

    include_dungeons: bool
    """Whether dungeon bosses (five players) count as encounters."""


class Ingest(_Section):
    """Delivery over HTTP into Bronze."""

    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH_EVENTS)]
    """Events per micro-batch."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the simulated network latency."""
    network_latency_ms: Annotated[int, Field(ge=0, le=60_000)]
    """Median time between a batch's last event and its arrival, ms."""


class Silver(_Section):
    """Cleaning, deduplication and enrichment."""

    massive_hit_threshold: Annotated[float, Field(gt=0)]
    """Damage above this is a massive hit."""
    max_clock_skew_s: Annotated[float, Field(ge=0)]
    """How far an event may lie after its batch's arrival before it is set aside, s."""


class Gold(_Section):
    """When a pull counts as a success if the log does not say so itself."""

    success_boss_hp_pct: Annotated[float, Field(ge=0, le=100)]
    """The boss's health must have fallen to this, %."""
    time_limit_s: Annotated[float, Field(gt=0)]
    """The pull must have taken no longer, s."""
    max_deaths: Annotated[int, Field(ge=0)] | None
    """No more players may have died; null: deaths do not decide."""


class Features(_Section):
    """What is known of a pull before it and in its first seconds."""

    horizons_s: Annotated[tuple[Annotated[int, Field(ge=5, le=3600)], ...], Field(min_length=1, strict=False)]
    """The T for which features of the first T seconds are made, s."""


class Cluster(_Section):
    """The study of play styles."""

    device: Literal["auto", "cpu", "cuda"]
    """Where the model is trained; auto takes CUDA where there is one."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Seed of all randomness of the study."""
    min_pulls: Annotated[int, Field(ge=2)]
    """Players with fewer pulls in a role are left out."""
    max_clusters: Annotated[int, Field(ge=2, le=12)]
    """Most play styles looked for in a role."""
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Rounds over all players in which the autoencoder learns."""
    batch_size: Annotated[int, Field(ge=1)]
    """Players in a minibatch."""
    latent_dim: Annotated[int, Field(ge=1, le=16)]
    """Dimensions of a player's code."""
    bootstrap_samples: Annotated[int, Field(ge=2, le=10_000)]
    """Resamples of the players by which stability is measured."""


class Eda(_Section):
    """The exploration notebook."""

    raid_id: Annotated[str, Field(pattern=RAID_ID_PATTERN)] | None
    """The raid shown in detail; null takes the first."""


class Classify(_Section):
    """The study of outcomes: who will win this pull?"""

    horizon_s: Annotated[int, Field(ge=5, le=3600)]
    """The T at which models are compared and scored, s; one of `features.horizons_s`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Seed of the choice of held-out teams, of the models and of the bootstrap."""
    holdout_share: Annotated[float, Field(gt=0, le=0.5)]
    """Share of the teams that the comparison does not see."""
    folds: Annotated[int, Field(ge=2, le=20)]
    """Folds of the comparison and of the cross-fitting; each holds whole teams."""
    bootstrap_samples: Annotated[int, Field(ge=20, le=100_000)]
    """Resamples of teams behind each interval."""
    models: Annotated[tuple[Literal["lr", "rf", "et", "gbc", "ada"], ...], Field(min_length=1, strict=False)]
    """The kinds that are compared: logistic regression, random forest, extra trees, gradient boosting, AdaBoost."""


class Report(_Section):
    """The paper."""

    authors: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, strict=False)]
    """Who stands under its title."""


class Params(_Section):
    """The whole of `params.yaml`."""

    simulate: Simulate
    import_logs: ImportLogs
    ingest: Ingest
    silver: Silver
    gold: Gold
    features: Features
    eda: Eda
    classify: Classify
    cluster: Cluster
    report: Report


Model = TypeVar("Model", bound=BaseModel)


def load(path: Path = paths.PARAMS) -> Params:
    """Read and check `params.yaml`.

    Raises:
        PipelineError: the file is missing, is not YAML, or has a typo, a wrong type or an impossible value; the
            message names each one.
    """
    return load_model(path, Params)


def load_model(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a model.

    Raises:
        PipelineError: as for `load`.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PipelineError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path}: is not YAML: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise PipelineError(f"{path}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        match problem["type"]:
            case "extra_forbidden":
                lines.append(f"{where}: no such parameter (a typo?)")
            case "missing":
                lines.append(f"{where}: is missing")
            case _:
                lines.append(f"{where}: {problem['msg']} (is {problem['input']!r})")
    return "; ".join(lines)
