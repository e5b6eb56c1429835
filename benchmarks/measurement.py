"""One figure of a benchmark, and the stop-watch that takes it."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """How long a piece of work took."""

    name: str
    count: int
    """Events, or lines of a log."""
    seconds: float
    """By the clock on the wall."""
    cpu_seconds: float
    """Of this process and those it started, as far as they have ended."""
    floor: str | None = None
    """The name of the measurement that no change of ours can beat; None for a floor."""
    asked: int | None = None
    """What the project asked of itself, per second."""
    original: int | None = None
    """What the original system did on such a machine, per second."""
    unit: str = "events"
    peak_mib: int | None = None
    """Most memory that one of the processes held, where that was asked."""

    @property
    def per_second(self) -> float:
        """Events or lines per second."""
        return self.count / self.seconds


@dataclass
class Watch:
    """What a stop-watch shows after its block."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def watching() -> Iterator[Watch]:
    """Time a block: `with watching() as watch: ...`."""
    watch = Watch()
    cpu, wall = _cpu_seconds(), time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - wall
    watch.cpu_seconds = _cpu_seconds() - cpu


def best(measurements: list[Measurement]) -> Measurement:
    """The quickest of some repetitions: what else ran on the machine only ever adds."""
    return min(measurements, key=lambda one: one.seconds)


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)
