"""`params.yaml`, typed: one frozen section per stage, so that a typo or an impossible value stops before any work."""

import difflib
import math
import reprlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.events import MAX_BATCH_EVENTS, RAID_ID_PATTERN


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Rate = Annotated[float, Field(ge=0, le=0.2)]


def _all_different(values: tuple[int, ...]) -> tuple[int, ...]:
    again = next((value for at, value in enumerate(values) if value in values[:at]), None)
    if again is not None:
        raise PydanticCustomError("repeated", f"{again} is given twice; keep one")
    return values


class Faults(_Section):
    """Faults of the field that the simulation brings in, as shares of the events that can have one.

    `late_batch` is a share of the batches; the others are of events, none of which has two.
    """

    duplicate: Rate
    """Delivered again later; Silver removes the copy."""
    late: Rate
    """Delivered at the evening's end; harmless."""
    late_batch: Rate
    """A whole batch, delivered after later ones; harmless."""
    missing_field: Rate
    """Without some optional fields; harmless."""
    clock_skew: Rate
    """From a clock that runs ahead beyond Silver's bound; Silver sets it aside."""
    outside_pull: Rate
    """Dated before its pull; Silver sets it aside."""
    invalid: Rate
    """Breaks the contract; the receiver refuses it."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "Faults":
        of_events = self.model_dump(exclude={"late_batch"})
        if math.fsum(of_events.values()) > 1:
            raise PydanticCustomError("shares", f"the rates of {', '.join(of_events)} must not add up to more than 1")
        return self


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
    style_strength: Annotated[float, Field(ge=0, le=5)]
    """How much the latent play styles differ; 0: not at all."""
    win_probability_share: Annotated[float, Field(ge=0, le=1)]
    """Share of the pulls whose chance to win is found by playing on from their first minutes."""
    faults: Faults
    """What goes wrong on the way."""


class ImportLogs(_Section):
    """Real combat logs in `data/raw/`."""

    include_dungeons: bool
    """Whether dungeon bosses (five players) count as encounters."""
    evening_pause_h: Annotated[float, Field(gt=0, le=100_000)]
    """A log that pauses for so long goes on with another raid, h."""


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
    """When a pull counts as a success if the log does not say so itself, and when as a mere reset."""

    success_boss_hp_pct: Annotated[float, Field(ge=0, le=100)]
    """The boss's health must have fallen to this, %."""
    time_limit_s: Annotated[float, Field(gt=0)]
    """The pull must have taken no longer, s."""
    max_deaths: Annotated[int, Field(ge=0)] | None
    """No more players may have died; null: deaths do not decide."""
    reset_s: Annotated[float, Field(ge=0)]
    """A pull that was no success, cost no player's life and was over sooner than this is a reset, s; 0: none is."""


class Features(_Section):
    """What is known of a pull before it and in its first seconds."""

    horizons_s: Annotated[
        tuple[Annotated[int, Field(ge=5, le=3600)], ...],
        Field(min_length=1, strict=False),
        AfterValidator(_all_different),
    ]
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
Where = tuple[str, ...]
"""The keys, and positions in lists, that lead to a part of a YAML file."""
Lines = dict[Where, int]


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
    content, lines = _read(path)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [_explain(problem, model, lines) for problem in error.errors(include_url=False)]
        raise PipelineError(f"{path}: {'; '.join(problems)}") from error


def _read(path: Path) -> tuple[Any, Lines]:
    """A YAML file's content, and in which line each part of it stands."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        lines = _lines(root, path)
        return (loader.construct_document(root) if root else None), lines
    except OSError as error:
        raise PipelineError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}, " if mark else ""
        fault = " ".join(filter(None, (error.context, error.problem)))
        remedy = " (indent with spaces, not with tabs)" if "\\t" in fault else ""
        raise PipelineError(f"{path}: {place}is not YAML: {fault}{remedy}") from error
    except RecursionError as error:
        raise PipelineError(f"{path}: is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # the latter from what is no UTF-8, no day of the calendar, …
        raise PipelineError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error


def _lines(root: yaml.Node | None, path: Path) -> Lines:
    lines: Lines = {}
    for where, line in _places(root, (), set()):
        if where in lines:
            first = lines[where]
            raise PipelineError(
                f"{path}: line {line}, {_dotted(where)}: is given twice, first in line {first}; keep one"
            )
        lines[where] = line
    return lines


def _places(node: yaml.Node | None, where: Where, seen: set[int]) -> Iterator[tuple[Where, int]]:
    """Where each key and each element stands and in which line, in the file's order."""
    if id(node) in seen:  # an alias may hold itself
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        parts = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        parts = [(str(index), value, value) for index, value in enumerate(node.value)]
    else:
        return
    for name, named, value in parts:
        yield (*where, name), named.start_mark.line + 1
        yield from _places(value, (*where, name), seen)


def _explain(problem: ErrorDetails, model: type[BaseModel], lines: Lines) -> str:
    where = tuple(str(part) for part in problem["loc"] if part != "[key]")
    value, message = problem["input"], problem["msg"]
    match problem["type"]:
        case "missing":
            return f"{_dotted(where)}: is missing"
        case "extra_forbidden":
            reason = f"no such parameter; {_nearest(where[-1], _fields_at(model, where[:-1]))}"
        case "model_type" | "dict_type":
            reason = f"must hold lines like `name: value` (is {_shown(value)})"
        case "tuple_type":
            reason = f"must be a list like [a, b] (is {_shown(value)})"
        case "string_type":
            reason = f"{message} (is {_shown(value)}; put a text that looks like something else in quotes)"
        case "int_type" | "float_type" if isinstance(value, str) and _is_number(value):
            reason = f"{message} (is the text {value!r}; YAML wants numbers without quotes and exponents like 1.0e+3)"
        case _:
            reason = f"{message} (is {_shown(value)})"
    line = f"line {lines[where]}, " if where in lines else ""
    return f"{line}{_dotted(where)}: {reason}"


def _dotted(where: Where) -> str:
    return ".".join(where) or "the file"


def _shown(value: object) -> str:
    if value is None:
        return "empty"
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    return short.repr(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def _fields_at(model: type[BaseModel], where: Where) -> list[str]:
    """The fields of the model that stands there, also inside lists and mappings."""
    for part in where:
        field = model.model_fields.get(part)
        model = _model_in(field.annotation if field else model) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((found for found in inner if found), None)
