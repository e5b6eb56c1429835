"""A store that is killed while it writes: what it acknowledged must be there afterwards."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

import psutil
import pytest

from pipeline import embedded_store
from pipeline import store as store_module
from pipeline.store import ObjectStore, StoreUnavailable, open_store

KILLS = 3
WRITES_BETWEEN_KILLS = 60
DEADLINE_S = 60.0


@pytest.fixture
def up(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[embedded_store.Status]:
    monkeypatch.delenv("S3_ENDPOINT_URL", raising=False)
    yield embedded_store.up()
    embedded_store.down()


@dataclass
class Writers:
    """Threads that create objects, for as long as they are let, and remember what was acknowledged."""

    store: ObjectStore
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    unconfirmed: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    _numbers: Iterator[int] = field(default_factory=count)

    def write(self) -> None:
        while not self.done.is_set():
            number = next(self._numbers)
            key, content = f"raid/{number:06}", f"{number} ".encode() * 2000
            try:
                if self.store.put_if_absent(key, content, {"event-count": str(number)}):
                    self.acknowledged[key] = content
            except StoreUnavailable:
                self.unconfirmed += 1

    def wait_for(self, acknowledged: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while len(self.acknowledged) < acknowledged:
            assert time.monotonic() < deadline, f"only {len(self.acknowledged)} writes were acknowledged"
            self.done.wait(0.01)


def kill_and_restart() -> None:
    process = psutil.Process(embedded_store.status().pid)
    process.kill()
    process.wait(DEADLINE_S)
    embedded_store.up()


def test_no_acknowledged_object_is_lost_when_the_store_is_killed(up: embedded_store.Status) -> None:
    store = open_store("s3://bronze/killed", up.connection)
    writers = Writers(store)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(writers.write) for _ in range(4)]
        try:
            for _ in range(KILLS):
                writers.wait_for(len(writers.acknowledged) + WRITES_BETWEEN_KILLS)
                kill_and_restart()
            writers.wait_for(len(writers.acknowledged) + WRITES_BETWEEN_KILLS)
        finally:
            writers.done.set()
    assert [each.exception() for each in running] == [None] * 4
    for key, content in writers.acknowledged.items():
        assert store.get(key) == content
        found = store.head(key)
        assert found
        assert found.attributes == {"event-count": str(int(key.removeprefix("raid/")))}
    assert set(writers.acknowledged) <= {each.key for each in store.list()}


def test_one_of_sixteen_creators_wins_also_right_after_a_kill(
    up: embedded_store.Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sixteen who race for one key keep each other waiting; what counts is who wins, not how soon.
    monkeypatch.setattr(store_module, "REQUEST_TIMEOUT", timedelta(seconds=120))
    store = open_store("s3://bronze/raced", up.connection)
    store.put("before", b"x")
    kill_and_restart()
    starting_line = threading.Barrier(16)

    def create(number: int) -> bool:
        starting_line.wait()
        return store.put_if_absent("raced", str(number).encode())

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert store.get("raced") == str(won.index(True)).encode()
