"""Seasons into Parquet, two teams at a time, beside what writing frames like theirs takes alone; and in what memory.

The start of the two processes counts; compiling the engine, once for each version of its sources, does not.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import yaml

from benchmarks.measurement import Measurement, watching
from benchmarks.season import ROOT
from pipeline import parallel, wire
from pipeline.params import Params
from pipeline.simulate import TeamTask, engine, team_tasks, write_season
from pipeline.simulate.season import play_season

WORKERS = 2
ASKED = 500_000
ORIGINAL = 31_000
FLOOR = "writing frames like these to Parquet alone"
HIGH_RHYTHM = {
    "pulls_per_evening": 1,
    "evenings_per_team": 18,
    "num_events_per_raid": 30_000,
    "win_probability_share": 0.0,
}
"""Actions some three times as fast as real ones, so that fixed costs weigh little. What memory holds is an evening:
of one pull each they are much alike, so that the peak of few can be compared with that of many."""


def measure(teams: int = 20) -> list[Measurement]:
    """About ten million events at a high rhythm, two teams of them, and the season of `params.yaml` without and with
    the chances to win, for which a tenth of the pulls are played on some hundred times from up to four moments."""
    engine.make_ready()
    many, few = (parameters(HIGH_RHYTHM | {"teams": count}) for count in (teams, WORKERS))
    own_rhythm = parameters({"win_probability_share": 0.0})
    return [
        season("simulation to Parquet at a high rhythm, 2 workers", many, FLOOR, ASKED, ORIGINAL),
        season("simulation to Parquet at a high rhythm, two teams of it", few, FLOOR),
        season("simulation to Parquet at params.yaml's rhythm, 2 workers", own_rhythm, FLOOR, ASKED, ORIGINAL),
        season(
            "simulation to Parquet at params.yaml's rhythm, with the chances to win",
            parameters({}),
            FLOOR,
            original=ORIGINAL,
        ),
        writing(few),
    ]


def parameters(changes: Mapping[str, float]) -> Params:
    """This project's parameters, some of the simulation's changed."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["simulate"] |= changes
    return Params.model_validate(content)


def season(name: str, given: Params, floor: str, asked: int | None = None, original: int | None = None) -> Measurement:
    """All teams' seasons into a throw-away folder, and the most memory that a worker held."""
    with TemporaryDirectory(prefix="bench-") as folder:
        tasks = team_tasks(given, Path(folder))
        with watching() as watch:
            seasons = parallel.map_raids(events_and_peak, tasks, WORKERS, "bench", unit="teams")
    events, peaks = zip(*seasons, strict=True)
    return Measurement(name, sum(events), watch.seconds, watch.cpu_seconds, floor, asked, original, peak_mib=max(peaks))


def events_and_peak(task: TeamTask) -> tuple[int, int]:
    """Write a team's season: its events, and the most memory that this process has held until then, MiB."""
    books = write_season(task)
    events = sum(count for key, count in books.counts.items() if key.startswith("event:"))
    # Not from getrusage, whose figure begins with that of the process which started this one.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return events, int(peak[1]) // 1024 if peak else 0


def writing(given: Params) -> Measurement:
    """One team's evenings, already in memory, written by two threads."""
    frames = [raid.frame for raid in play_season(given.simulate, 0)]
    with TemporaryDirectory(prefix="bench-") as folder:
        tasks = [(Path(folder) / f"{place}.parquet", frame) for place, frame in enumerate(frames)]
        with watching() as watch:
            parallel.map_raids(_write, tasks, WORKERS, "bench", in_threads=True)
    return Measurement(FLOOR, sum(frame.height for frame in frames), watch.seconds, watch.cpu_seconds)


def _write(task: tuple[Path, pl.DataFrame]) -> None:
    target, frame = task
    wire.write_parquet(frame, target)
