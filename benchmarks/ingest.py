"""How fast events are acknowledged in the store: sender, receiver and store in processes of their own, on this machine.

Beside each delivery stand its floors, measured in the same run on the same events: parsing their JSON, and validating
them, on one core with nothing around it. `cpu_seconds` of a delivery are those of all three processes.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import orjson
import polars as pl
import psutil

from benchmarks.measurement import Measurement
from benchmarks.season import ROOT, checkout
from pipeline import embedded_store, events, ingest, replay, settings, simulate, wire
from pipeline.replay import Arrival, Delivery, RaidPart
from pipeline.store import ObjectStore, open_store

RAIDS = 36
EVENTS_PER_RAID = 8700
SEED = 1
BATCH_SIZE = 2500  # as in params.yaml
WORKERS = 2
ARRIVAL = Arrival(seed=1)
ASKED = 80_000
ORIGINAL = 10_400
PARSING = "parsing the same JSON alone, one core (orjson)"
VALIDATING = "validating the same JSON alone, one core (pydantic)"


class Stopwatch:
    """Measures work of this process and of the receiver and store that it uses."""

    def __init__(self, count: int, receiver: psutil.Process | None = None) -> None:
        self._count = count
        self._others = receiver.children(recursive=True) if receiver else []
        store = embedded_store.status().pid if receiver else None
        self._others += [psutil.Process(store)] if store else []

    def time(
        self, name: str, work: Callable[[], object], floor: str | None = None, asked: int | None = None
    ) -> Measurement:
        """Do a piece of work on so many events."""
        cpu, began = self._cpu_seconds(), time.perf_counter()
        work()
        seconds = time.perf_counter() - began
        original = ORIGINAL if asked else None
        return Measurement(name, self._count, seconds, self._cpu_seconds() - cpu, floor, asked, original)

    def _cpu_seconds(self) -> float:
        return time.process_time() + sum(sum(process.cpu_times()[:2]) for process in self._others)


def measure(raids: int = RAIDS) -> list[Measurement]:
    """Deliver simulated raids to a receiver and an embedded store in a throw-away checkout.

    Returns:
        The floors; a first delivery and its objects into a folder; the same again, when all are duplicates; and a
        first delivery by a plain client, whose JSON has the fields in another order, nulls, and instants with `+00:00`.
    """
    season = list(simulate.simulate_raids(raids, EVENTS_PER_RAID, SEED))
    count = sum(frame.height for _, frame in season)
    bodies = [wire.json_array(batch.events) for batch in replay.micro_batches(season, BATCH_SIZE, ARRIVAL)]
    floors = Stopwatch(count)
    with serving() as (receiver, bucket, folder):
        watch = Stopwatch(count, psutil.Process(receiver.process.pid))
        return [
            floors.time(PARSING, lambda: deque(map(orjson.loads, bodies), maxlen=0)),
            floors.time(VALIDATING, lambda: deque(map(events.batch_adapter.validate_json, bodies), maxlen=0)),
            *delivered_twice(season, receiver.url, bucket, folder, watch),
            by_a_plain_client(season, receiver.url, watch),
        ]


def delivered_twice(
    season: list[RaidPart], url: str, bucket: ObjectStore, folder: Path, watch: Stopwatch
) -> list[Measurement]:
    """A first delivery as the stage `ingest` makes it, and a second one, and the objects of each into a folder."""
    measured = []
    for name, asked in (("ingest, first delivery", ASKED), ("ingest, all duplicates", None)):
        delivery = Delivery()
        work = partial(deliver, season, url, folder / name, delivery)
        measured.append(watch.time(name, work, VALIDATING, asked))
        measured.append(watch.time(f"{name}: into data/bronze", partial(bring_back, bucket, delivery, folder / name)))
    return measured


def deliver(season: list[RaidPart], url: str, folder: Path, delivery: Delivery) -> None:
    """Deliver a season, and add what became of it to `delivery`."""

    def keep(batch: replay.StoredBatch, body: bytes) -> None:
        ingest.write_object(folder, batch.key, body)

    delivery.add(replay.deliver(season, url, "simulation", batch_size=BATCH_SIZE, arrival=ARRIVAL, keep=keep))


def bring_back(bucket: ObjectStore, delivery: Delivery, folder: Path) -> None:
    """Complete the folder of a delivery."""
    ingest.bring_back(bucket, delivery.batches, folder)


def by_a_plain_client(season: list[RaidPart], url: str, watch: Stopwatch) -> Measurement:
    """A first delivery of JSON that lay ready."""
    bodies = [plain_body(part) for _, frame in season for part in frame.iter_slices(BATCH_SIZE)]
    return watch.time("ingest, plain client's JSON", lambda: post_all(url, bodies), VALIDATING, ASKED)


def plain_body(frame: pl.DataFrame) -> bytes:
    """A batch as somebody else might send it: every field in the wire's order, nulls too, instants with an offset."""
    return orjson.dumps(frame.to_dicts())


def post_all(url: str, bodies: list[bytes]) -> None:
    """Post bodies without keys, as many at once as the sender does; each must be stored."""
    headers = {"Content-Type": "application/json"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client,
        ThreadPoolExecutor(replay.DEFAULT_CONCURRENCY) as pool,
    ):
        for answer in pool.map(lambda body: client.post("/events", content=body), bodies):
            if answer.status_code != httpx.codes.CREATED:
                raise RuntimeError(f"not stored: {answer.status_code}, {answer.text}")


@contextmanager
def serving() -> Iterator[tuple[ingest.Receiver, ObjectStore, Path]]:
    """A receiver, warm, and its Bronze bucket, in a throw-away checkout, and that folder."""
    with (
        checkout() as folder,
        working_in(folder),
        embedded_store.running() as connection,
        ingest.receiver_process(connection, WORKERS) as receiver,
    ):
        httpx.get(f"{receiver.url}/health/ready", timeout=60, trust_env=False).raise_for_status()
        yield receiver, open_store(f"s3://{settings.load().s3_bucket_bronze}", connection), folder


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Make a folder this process's checkout, with an embedded store of its own."""
    before, environment = Path.cwd(), dict(os.environ)
    for name in [name for name in os.environ if name.startswith("S3_")]:
        del os.environ[name]
    os.environ.update(DVC_ROOT=str(folder), PYTHONPATH=str(ROOT))
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)
