"""Bronze to Silver from local files, in two worker processes, beside what parsing and writing alone take."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import polars as pl
import pyarrow.json
import pyarrow.parquet as pq

from benchmarks.measurement import Measurement
from benchmarks.season import ROOT
from pipeline import bronze, events, params, silver, simulate, tables, wire
from pipeline.silver import parse

RAIDS = 40
EVENTS_PER_RAID = 8700
BATCH_EVENTS = 1000
WORKERS = 2
SEED = 1
NAME = "Bronze to Silver, 2 workers"
FLOOR = "JSON parsing alone (orjson)"

Times = tuple[float, float]
"""Seconds on the wall and of the processor."""


def measure(raids: int = RAIDS) -> list[Measurement]:
    """About half a million events; the workers' start is not counted, each has done a raid before the clock runs."""
    with TemporaryDirectory(prefix="bench-") as folder:
        tasks = _make_bronze(Path(folder), raids)
        with _workers() as pool:
            figures = [
                _measured(pool, tasks, NAME, _clean),
                _measured(pool, tasks, FLOOR, _parse_with_orjson),
                _measured(pool, tasks, "JSON parsing alone (Polars)", _parse_with_polars),
                _measured(pool, tasks, "JSON parsing alone (pyarrow)", _parse_with_pyarrow),
                _measured(pool, tasks, "Parquet writing alone", _write),
            ]
    return [replace(figures[0], floor=FLOOR, asked=200_000, original=14_000), *figures[1:]]


def _make_bronze(folder: Path, raids: int) -> list[silver.RaidTask]:
    """Simulated raids as the stage `ingest` leaves them, and Silver's tasks on them."""
    section = params.load(ROOT / "params.yaml").silver
    tasks = []
    for raid_id, frame in simulate.simulate_raids(raids, EVENTS_PER_RAID, SEED):
        rows = [_store(folder, raid_id, batch) for batch in frame.iter_slices(BATCH_EVENTS)]
        tasks.append(silver.RaidTask(raid_id, bronze.manifest(rows), folder, folder / "silver", section))
    return tasks


def _store(folder: Path, raid_id: str, batch: pl.DataFrame) -> bronze.ManifestRow:
    content = events.canonical_json(events.batch_adapter.validate_json(wire.json_array(wire.json_events(batch))))
    arrival = batch["timestamp"][-1]
    identity = bronze.batch_id(content)
    key = bronze.object_key(raid_id, arrival.date(), identity)
    (folder / key).parent.mkdir(parents=True, exist_ok=True)
    (folder / key).write_bytes(content)
    return bronze.ManifestRow(
        key, str(identity), raid_id, "benchmark", batch.height, arrival, len(content), bronze.sha256(content)
    )


@contextmanager
def _workers() -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each, as the stage has them."""
    before = os.environ.copy()
    os.environ["POLARS_MAX_THREADS"] = "1"
    try:
        with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool
    finally:
        os.environ.clear()
        os.environ.update(before)


def _measured(
    pool: ProcessPoolExecutor, tasks: list[silver.RaidTask], name: str, work: Callable[[silver.RaidTask], Times]
) -> Measurement:
    list(pool.map(work, tasks[: 2 * WORKERS]))
    seconds, cpu_seconds = map(sum, zip(*pool.map(work, tasks), strict=True))
    count = sum(int(task.objects["event_count"].sum()) for task in tasks)
    return Measurement(name, count, seconds / WORKERS, cpu_seconds)


def _clean(task: silver.RaidTask) -> Times:
    return _times(lambda: silver.clean_and_write(task))


def _parse_with_orjson(task: silver.RaidTask) -> Times:
    bodies = bronze.read_objects(task.source, task.objects)
    return _times(lambda: [orjson.loads(body) for body in bodies])


def _parse_with_polars(task: silver.RaidTask) -> Times:
    lines = _lines(task)
    return _times(lambda: pl.read_ndjson(lines, schema=parse.JSON_SCHEMA))


def _parse_with_pyarrow(task: silver.RaidTask) -> Times:
    lines = pyarrow.BufferReader(_lines(task))
    options = pyarrow.json.ReadOptions(use_threads=False, block_size=parse.BLOCK_BYTES)
    return _times(lambda: pyarrow.json.read_json(lines, read_options=options))


def _lines(task: silver.RaidTask) -> bytes:
    bodies = bronze.read_objects(task.source, task.objects)
    return b"\n".join(line for body in bodies for line in map(orjson.dumps, orjson.loads(body)))


def _write(task: silver.RaidTask) -> Times:
    rows = silver.read_events(task.target, task.raid_id).to_arrow().cast(tables.arrow_schema(tables.SilverEvents))
    return _times(lambda: pq.write_table(rows, task.target / f"{task.raid_id}.parquet", compression="snappy"))


def _times(work: Callable[[], object]) -> Times:
    began, cpu_before = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu_before
