"""What happens when the store or the receiver is killed in the middle of a delivery."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import polars as pl
import psutil
import pytest
import yaml

from pipeline import bronze, embedded_store, ingest, paths, replay, wire
from pipeline.replay import Arrival, Delivery
from pipeline.store import Connection, open_store
from tests.conftest import ROOT
from tests.test_receiver import an_event
from tests.test_replay import raid_frame

EVENTS = 6000


@pytest.fixture
def own_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """An embedded store that nobody else uses, so that it may be killed."""
    for name in [name for name in os.environ if name.startswith("S3_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    embedded_store.up()
    connection = embedded_store.status().connection
    assert connection is not None
    yield connection
    embedded_store.down()


@contextmanager
def delivering(raid_id: str, url: str) -> Iterator[tuple[Future[Delivery], threading.Event]]:
    """A delivery in small batches under way; the event is set once a fifth of it was taken."""
    begun = threading.Event()

    def raids() -> Iterator[tuple[str, pl.DataFrame]]:
        frame = raid_frame(raid_id, EVENTS)
        yield raid_id, frame.head(EVENTS // 5)
        begun.set()
        yield raid_id, frame.slice(EVENTS // 5)

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(replay.deliver, raids(), url, "test", batch_size=20, arrival=Arrival(1)), begun


def test_what_is_acknowledged_survives_a_killed_store_and_nothing_is_there_twice(own_store: Connection) -> None:
    with (
        ingest.receiver_process(own_store, workers=2) as receiver,
        delivering("raid001", receiver.url) as (sent, begun),
    ):
        assert begun.wait(30)
        store = embedded_store.status().pid
        assert store is not None
        os.kill(store, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(store)] if psutil.pid_exists(store) else [], timeout=10)
        with httpx.Client(base_url=receiver.url, timeout=60, trust_env=False) as client, ThreadPoolExecutor(2) as pool:
            refused = pool.submit(client.post, "/events", json=[an_event("raid009")])
            ready = pool.submit(client.get, "/health/ready")
        assert not sent.done()
        embedded_store.up()
        delivery = sent.result(timeout=120)

    for answer in (refused.result(), ready.result()):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
    assert delivery.sent == delivery.stored + delivery.duplicate == EVENTS
    bucket = open_store("s3://bronze", own_store)
    listed = [each.key for each in bucket.list(f"{bronze.PREFIX}/raidid=raid001")]
    assert sorted(listed) == sorted(batch.key for batch in delivery.batches)
    bodies = [bucket.get(batch.key) for batch in delivery.batches]
    assert [bronze.sha256(body) for body in bodies] == [batch.sha256 for batch in delivery.batches]
    ids = [event["event_id"] for body in bodies for event in json.loads(body)]
    assert ids == raid_frame("raid001", EVENTS)["event_id"].to_list()


def test_a_killed_receiver_ends_the_stage_with_its_reason_and_leaves_bronze_as_it_was(own_store: Connection) -> None:
    paths.BRONZE.mkdir(parents=True)
    (paths.BRONZE / "before").write_text("as it was")
    send_in_batches_of(20)
    wire.write_raid(raid_frame("raid001", EVENTS), paths.SIMULATED, "raid001")
    stage = subprocess.Popen([sys.executable, "-m", "pipeline", "ingest"], stderr=subprocess.PIPE, text=True)
    bucket = open_store("s3://bronze", own_store)
    until(lambda: len(bucket.list(f"{bronze.PREFIX}/raidid=raid001")) > 10)
    for process in psutil.Process(stage.pid).children(recursive=True):
        process.kill()

    said = stage.communicate(timeout=120)[1]
    assert stage.returncode == 1
    assert "the receiver ended with exit code -9" in said
    assert "raid raid001, events" in said
    assert "Traceback" not in said
    assert [file.name for file in paths.BRONZE.iterdir()] == ["before"]
    assert not list(Path("data").glob(".*"))


def test_an_interrupted_stage_stops_its_receiver(own_store: Connection) -> None:
    wire.write_raid(raid_frame("raid001", EVENTS), paths.SIMULATED, "raid001")
    send_in_batches_of(5)
    stage = subprocess.Popen([sys.executable, "-m", "pipeline", "ingest"], stderr=subprocess.DEVNULL)
    bucket = open_store("s3://bronze", own_store)
    until(lambda: len(bucket.list(f"{bronze.PREFIX}/raidid=raid001")) > 10)
    receivers = psutil.Process(stage.pid).children(recursive=True)
    assert receivers
    stage.terminate()
    assert stage.wait(60) != 0
    assert not psutil.wait_procs(receivers, timeout=20)[1]
    assert not paths.BRONZE.exists()


def send_in_batches_of(events: int) -> None:
    parameters = yaml.safe_load(Path("params.yaml").read_text())
    parameters["ingest"]["batch_size"] = events
    Path("params.yaml").write_text(yaml.safe_dump(parameters))


def until(reached: Callable[[], bool], deadline_s: float = 60) -> None:
    deadline = time.monotonic() + deadline_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)
