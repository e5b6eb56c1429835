"""The simulator: teams, evenings (raids) and pulls, in which the fight decides who wins: `docs/simulator.md`.

What it knows and the events do not tell lies apart, in `data/simulated/truth/`.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.random import SeedSequence

from pipeline import parallel, params, paths, settings, wire
from pipeline.params import Faults, Params, Simulate
from pipeline.simulate import engine, truth
from pipeline.simulate.faults import Delivery, inject
from pipeline.simulate.season import Season, play_season, raid_frame_of
from pipeline.simulate.truth import WIN_PROBABILITY_SCHEMA

EVENTS_PER_PULL = 1500
MAX_PULLS_PER_EVENING = 6
FAULTS_KEY = 3
NO_FAULTS = Faults(**dict.fromkeys(Faults.model_fields, 0.0))


@dataclass(frozen=True)
class TeamTask:
    """One team's season and the folder that its raids go into."""

    section: Simulate
    team_index: int
    folder: Path
    delivery: Delivery
    horizons_s: tuple[int, ...]


@dataclass
class TeamBooks:
    """What a team's season leaves beside its raids."""

    counts: Counter[str] = field(default_factory=Counter)
    truth: dict[str, list[pl.DataFrame]] = field(default_factory=lambda: {name: [] for name in truth.FILES})


def run() -> None:
    """Stage: all teams' seasons into `data/simulated/`, their figures into `reports/metrics/simulate.json`."""
    given = params.load()
    with paths.replacing_folder(paths.SIMULATED) as folder:
        (folder / "raids").mkdir()
        tasks = team_tasks(given, folder)
        if tasks:
            engine.make_ready()
        books = parallel.map_raids(write_season, tasks, settings.load().workers, "simulate", unit="teams")
        for name in truth.FILES:
            truth.write(folder / "truth", name, [frame for one in books for frame in one.truth[name]])
    metrics = summarise(given.simulate.teams, [one.counts for one in books])
    paths.write_atomically(paths.METRICS / "simulate.json", (json.dumps(metrics, indent=2) + "\n").encode())


def team_tasks(given: Params, folder: Path) -> list[TeamTask]:
    """Each team's season, to be written into a folder."""
    delivery = Delivery(given.ingest.batch_size, given.ingest.network_latency_ms, given.silver.max_clock_skew_s)
    horizons_s = tuple(given.features.horizons_s)
    return [TeamTask(given.simulate, index, folder, delivery, horizons_s) for index in range(given.simulate.teams)]


def write_season(task: TeamTask) -> TeamBooks:
    """Play one team's season into its Parquet files; its counts and its truth."""
    books = TeamBooks()
    season = Season(task.section, task.team_index)
    books.truth["players"].append(truth.players(season))
    for raid_id, number, played in season.raids():
        clean = raid_frame_of(raid_id, season, played)
        rng = np.random.default_rng(SeedSequence(task.section.seed, spawn_key=(task.team_index, number, 0, FAULTS_KEY)))
        frame, ledger = inject(clean, task.section.faults, task.delivery, rng)
        wire.write_raid(frame, task.folder, raid_id)
        books.truth["faults"].append(ledger)
        books.truth["pulls"].append(truth.pulls(raid_id, season, played))
        chances = truth.win_probabilities(raid_id, played, task.horizons_s, task.section.win_probability_share)
        books.truth["win_probability"].append(pl.DataFrame(list(chances), schema=WIN_PROBABILITY_SCHEMA))
        books.counts.update(raids=1, pulls=len(played), kills=sum(one.pull.killed for one in played))
        books.counts.update({f"event:{kind}": count for kind, count in frame["event_type"].value_counts().iter_rows()})
        books.counts.update({f"fault:{kind}": count for kind, count in ledger["fault"].value_counts().iter_rows()})
    return books


def summarise(teams: int, seasons: list[Counter[str]]) -> dict[str, object]:
    """The stage's metrics from the counts of each season."""
    total = sum(seasons, Counter())
    figures = {key: total[key] for key in ("raids", "pulls", "kills")}
    by_type, faults = (_of(total, "event:"), _of(total, "fault:"))
    return {"teams": teams, **figures, "events": sum(by_type.values()), "events_by_type": by_type, "faults": faults}


def _of(total: Counter[str], group: str) -> dict[str, int]:
    return {key.removeprefix(group): total[key] for key in sorted(total) if key.startswith(group)}


def simulate_raids(num_raids: int, num_events_per_raid: int, seed: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """Raids of one team, one after the other: (raid_id, events in the columns of the wire).

    Args:
        num_raids: how many; they are `raid001`, `raid002`, …
        num_events_per_raid: about how many events each has (a rate and no quota; a roster alone is 14 to 27).
        seed: of all randomness.
    """
    section = Simulate(
        seed=seed,
        teams=1,
        evenings_per_team=num_raids,
        pulls_per_evening=min(max(num_events_per_raid / EVENTS_PER_PULL, 1.0), MAX_PULLS_PER_EVENING),
        num_events_per_raid=num_events_per_raid,
        style_strength=1.0,
        win_probability_share=0.0,
        faults=NO_FAULTS,
    )
    engine.make_ready()
    for raid in play_season(section, 0):
        yield raid.raid_id, raid.frame
