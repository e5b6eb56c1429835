"""The simulator: teams, evenings (raids) and pulls, in which the fight decides who wins."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline import parallel, params, paths, settings, wire
from pipeline.params import Simulate
from pipeline.simulate.season import play_season

EVENTS_PER_PULL = 1500
MAX_PULLS_PER_EVENING = 6


@dataclass(frozen=True)
class TeamTask:
    """One team's season and the folder that its raids go into."""

    section: Simulate
    team_index: int
    folder: Path


def run() -> None:
    """Stage: all teams' seasons into `data/simulated/raids/`, their figures into `reports/metrics/simulate.json`."""
    section = params.load().simulate
    with paths.replacing_folder(paths.SIMULATED) as folder:
        (folder / "raids").mkdir()
        tasks = [TeamTask(section, index, folder) for index in range(section.teams)]
        counts = parallel.map_raids(write_season, tasks, settings.load().workers, "simulate", unit="teams")
    metrics = summarise(section.teams, counts)
    paths.write_atomically(paths.METRICS / "simulate.json", (json.dumps(metrics, indent=2) + "\n").encode())


def write_season(task: TeamTask) -> Counter[str]:
    """Play one team's season into its Parquet files and count its raids, pulls, kills, and events by type."""
    counts: Counter[str] = Counter()
    for raid in play_season(task.section, task.team_index):
        wire.write_raid(raid.frame, task.folder, raid.raid_id)
        counts.update(raids=1, pulls=len(raid.kills), kills=sum(raid.kills))
        counts.update({f"event:{kind}": count for kind, count in raid.frame["event_type"].value_counts().iter_rows()})
    return counts


def summarise(teams: int, seasons: list[Counter[str]]) -> dict[str, object]:
    """The stage's metrics from the counts of each season."""
    total = sum(seasons, Counter())
    by_type = {key.removeprefix("event:"): total[key] for key in sorted(total) if key.startswith("event:")}
    figures = {key: total[key] for key in ("raids", "pulls", "kills")}
    return {"teams": teams, **figures, "events": sum(by_type.values()), "events_by_type": by_type}


def simulate_raids(num_raids: int, num_events_per_raid: int, seed: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """Raids of one team, one after the other: (raid_id, events in the columns of the wire).

    Args:
        num_raids: how many; they are `raid001`, `raid002`, …
        num_events_per_raid: about how many events each has (a rate and no quota; a roster alone is 10 to 20).
        seed: of all randomness.
    """
    section = Simulate(
        seed=seed,
        teams=1,
        evenings_per_team=num_raids,
        pulls_per_evening=min(max(num_events_per_raid / EVENTS_PER_PULL, 1.0), MAX_PULLS_PER_EVENING),
        num_events_per_raid=num_events_per_raid,
    )
    for raid in play_season(section, 0):
        yield raid.raid_id, raid.frame
