"""A million events from the simulation to Gold, stage by stage, each a process as `dvc repro` starts it."""

import json
from pathlib import Path

from benchmarks.measurement import Measurement, watching
from benchmarks.season import checkout, stage

STAGES = ("simulate", "ingest", "silver", "gold")
ASKED_S = 30
# What the original system did in each step, events/s.
ORIGINAL = {"simulate": 31_000, "ingest": 10_400, "silver": 14_000, "gold": 58_000}


def measure() -> list[Measurement]:
    """The default season through four stages, start of each process included."""
    taken, used = {}, {}
    with checkout() as folder:
        for verb in STAGES:
            with watching() as watch:
                used[verb] = stage(verb, folder)
            taken[verb] = watch.seconds
        events = _events(folder)
    steps = [Measurement(f"stage {verb}", events, taken[verb], used[verb], original=ORIGINAL[verb]) for verb in STAGES]
    whole = Measurement(
        "simulation to Gold, all four stages",
        events,
        sum(taken.values()),
        sum(used.values()),
        asked=1_000_000 // ASKED_S,
        original=round(1 / sum(1 / rate for rate in ORIGINAL.values())),
    )
    return [*steps, whole]


def _events(folder: Path) -> int:
    metrics = json.loads((folder / "reports" / "metrics" / "simulate.json").read_text())
    return int(metrics["events"])
