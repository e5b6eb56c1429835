"""Silver to Gold from local files, beside what reading the columns it needs and writing the same tables alone take."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow
import pyarrow.parquet as pq

from benchmarks.measurement import Measurement, best, watching
from benchmarks.season import ROOT
from pipeline import gold, params, silver, simulate, wire
from pipeline.gold import fights, players, summary, timelines
from pipeline.tables import SilverEvents, read_table, write_table

RAIDS = 80
EVENTS_PER_RAID = 8700
WORKERS = 2
REPETITIONS = 5
SEED = 1
FLOOR = "reading Silver's columns and writing Gold's tables alone"


def measure(raids: int = RAIDS) -> list[Measurement]:
    """About a million events in this process, whose start is not counted."""
    with TemporaryDirectory(prefix="bench-") as name:
        source, target, again = (Path(name) / folder for folder in ("silver", "gold", "again"))
        section = params.load(ROOT / "params.yaml").gold
        count = sum(_silver_rows(source, raids))

        def timed(what: str, work: Callable[[], object]) -> Measurement:
            return best([_timed(what, count, work) for _ in range(REPETITIONS)])

        whole = timed("Silver to Gold, 2 workers", lambda: gold.build(source, target, section, WORKERS))
        tables = {again / file.relative_to(target): pq.read_table(file) for file in target.rglob("*.parquet")}
        floor = timed(FLOOR, lambda: _read_and_write(source, tables))
        reading = timed("reading Silver's columns alone", lambda: _read(source))
        aggregates = timed("Silver to pulls, players and raids' seconds", lambda: _aggregate(source, section))
    return [
        replace(whole, floor=FLOOR, asked=2_000_000, original=58_000),
        replace(aggregates, floor=reading.name),
        floor,
        reading,
    ]


def _timed(what: str, count: int, work: Callable[[], object]) -> Measurement:
    with watching() as watch:
        work()
    return Measurement(what, count, watch.seconds, watch.cpu_seconds)


def _silver_rows(folder: Path, raids: int) -> Iterator[int]:
    """Write simulated raids as the stage `silver` leaves them and say how many events each has."""
    section = params.load(ROOT / "params.yaml").silver
    for raid_id, frame in simulate.simulate_raids(raids, EVENTS_PER_RAID, SEED):
        arrival = frame["timestamp"][-1]
        body = wire.json_array(wire.json_events(frame))
        events = silver.clean_raid(
            [silver.Batch(raid_id, raid_id, raid_id, arrival, frame.height, body)], section
        ).events
        for (day,), rows in events.partition_by("event_date", as_dict=True).items():
            file = folder / silver.EVENTS / f"raidid={raid_id}" / f"eventdate={day}" / silver.PART
            write_table(rows, SilverEvents, file, {})
        yield events.height


def _read(source: Path) -> None:
    for raid_id in silver.raid_ids(source):
        read_table(silver.event_files(source, raid_id), SilverEvents, fights.COLUMNS)


def _read_and_write(source: Path, tables: dict[Path, pyarrow.Table]) -> None:
    _read(source)
    for file, table in tables.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file, compression="snappy")


def _aggregate(source: Path, section: params.Gold) -> None:
    """raid_summary, player_raid_stats and raid_timeline in memory: without players' seconds, which are most rows."""
    for files in gold.batches(source):
        found = fights.fights_of(read_table(files, SilverEvents, fights.COLUMNS).rechunk())
        pulls, seconds = summary.summarise_pulls(found, section), timelines.player_seconds(found)
        players.player_stats(found, seconds, pulls)
        timelines.raid_timeline(found, seconds)
