"""What a simulated season is held against: `calibration.yaml`, typed and checked, and the comparison itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline import params
from pipeline.errors import PipelineError
from pipeline.simulate.world import PlayedDifficulty

FILE = Path(__file__).with_name("calibration.yaml")
Value = Annotated[float, Field(allow_inf_nan=False)]
Values = Annotated[tuple[Value, ...], Field(min_length=1)]
Figures = dict[str, tuple[float, ...]]
"""By name: one value or several."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Tolerance(_Data):
    """How far a simulated value may lie from the real one: exactly one of these."""

    relative: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the real value."""
    factor: Annotated[float, Field(gt=1)] | None = None
    """Up to so many times the real value, or down to that part of it."""
    absolute: Annotated[float, Field(gt=0)] | None = None
    """In the figure's own unit."""
    between: tuple[Value, Value] | None = None
    """The value itself lies in this interval."""

    @model_validator(mode="after")
    def _is_one(self) -> "Tolerance":
        if len(self.model_fields_set) != 1:
            raise ValueError("state exactly one of relative, factor, absolute, between")
        if self.between is not None and self.between[0] >= self.between[1]:
            raise ValueError("`between` needs the lower end first")
        return self

    @property
    def is_multiple(self) -> bool:
        """Whether it is stated as a multiple of the real value."""
        return self.relative is not None or self.factor is not None

    def interval(self, real: float) -> tuple[float, float]:
        """From where to where a value is good, both ends included."""
        if self.between is not None:
            return self.between
        if self.absolute is not None:
            return real - self.absolute, real + self.absolute
        if self.factor is not None:
            ends = real / self.factor, real * self.factor
        else:
            assert self.relative is not None
            ends = real * (1 - self.relative), real * (1 + self.relative)
        return min(ends), max(ends)

    def __str__(self) -> str:
        if self.between is not None:
            return "{:g} … {:g}".format(*self.between)
        if self.absolute is not None:
            return f"±{self.absolute:g}"
        if self.factor is not None:
            return f"×÷ {self.factor:g}"
        assert self.relative is not None
        return f"±{100 * self.relative:.0f} %"


class RealFigure(_Data):
    """A figure that was counted from real raids."""

    what: str
    """What it says, with its unit."""
    at: tuple[str, ...] = ()
    """What each value is; none for a single value."""
    real: Values
    tolerance: Tolerance
    reason: Annotated[str, Field(min_length=10)]
    """Why that tolerance."""
    source: Annotated[str, Field(min_length=3)]
    """The line of the real figures that it stands in."""

    @model_validator(mode="after")
    def _fits(self) -> "RealFigure":
        if len(self.real) != (len(self.at) or 1):
            raise ValueError(f"`at` names {len(self.at)} values, `real` has {len(self.real)}")
        if self.tolerance.is_multiple and 0 in self.real:
            raise ValueError("a real 0 needs an absolute tolerance, or `between`")
        return self


class Hazard(_Data):
    """Real wipes per 30 s from the pull on, as a share of the pulls still going on."""

    real: Values
    source: Annotated[str, Field(min_length=3)]


class Group(_Data):
    """Teams of one difficulty."""

    difficulty: PlayedDifficulty
    teams: Annotated[int, Field(ge=1)]
    evenings: Annotated[int, Field(ge=1)]
    pulls_per_evening: Annotated[float, Field(ge=1)]


class Calibration(_Data):
    """The whole of `calibration.yaml`."""

    seed: int
    rhythm: Annotated[float, Field(gt=0)]
    """Actions relative to the real rhythm."""
    style_strength: Annotated[float, Field(ge=0)]
    fewest_pulls: dict[PlayedDifficulty, int]
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]
    hazards: dict[PlayedDifficulty, Hazard]
    """For the eye: what is drawn beside the simulated one."""
    figures: dict[str, RealFigure]


@dataclass(frozen=True)
class Comparison:
    """One value of a figure beside its real one."""

    figure: str
    what: str
    at: str
    real: float
    simulated: float
    tolerance: Tolerance

    @property
    def is_ok(self) -> bool:
        """Whether it is within tolerance; what could not be computed is not."""
        low, high = self.tolerance.interval(self.real)
        return low <= self.simulated <= high

    def __str__(self) -> str:
        return f"{self.figure} {self.at}".strip()


def load_calibration() -> Calibration:
    """Read the package's `calibration.yaml`.

    Raises:
        PipelineError: it has a typo, a wrong type or an impossible value.
    """
    return params.load_model(FILE, Calibration)


def compare(found: Mapping[str, tuple[float, ...]], calibration: Calibration) -> list[Comparison]:
    """Each value of each figure beside the real one, in the order of the file.

    Raises:
        PipelineError: the file names a figure that is not computed, or other values than are.
    """
    made = []
    for name, real in calibration.figures.items():
        if name not in found:
            raise PipelineError(f"{FILE}: figures.{name}: no such figure is computed; correct its name or take it out")
        if len(found[name]) != len(real.real):
            raise PipelineError(f"{FILE}: figures.{name}: has {len(real.real)} values, {len(found[name])} are computed")
        for at, expected, simulated in zip(real.at or ("",), real.real, found[name], strict=True):
            made.append(Comparison(name, real.what, at, expected, simulated, real.tolerance))
    return made
