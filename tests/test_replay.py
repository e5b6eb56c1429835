"""The sender, against a real receiver, and against a server that answers by script where one must misbehave."""

import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby, islice
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import bronze, ingest, replay, wire
from pipeline.errors import PipelineError
from pipeline.replay import Arrival, Delivery, ReplayOptions
from pipeline.store import Connection, open_store
from tests.conftest import ROOT, make_home

BEGIN = datetime(2024, 11, 24, 20, tzinfo=UTC)
ARRIVAL = Arrival(seed=1, median_latency_ms=100)


def raid_frame(raid_id: str, count: int) -> pl.DataFrame:
    """A raid of valid events, one every 100 ms; the same id gives the same raid."""
    rng = random.Random(raid_id)
    rows = [
        {
            "event_id": str(UUID(int=rng.getrandbits(128), version=4)),
            "event_type": rng.choice(["combat_damage", "heal", "spell_cast"]),
            "timestamp": BEGIN + timedelta(milliseconds=100 * number),
            "raid_id": raid_id,
            "source_player_id": f"p{number % 5}",
            "source_player_name": "Thrall",
            "damage_amount": float(rng.randint(1, 1000)),
            "healing_amount": float(rng.randint(1, 1000)),
        }
        for number in range(count)
    ]
    return wire.event_frame(pl.DataFrame(rows))


def spoiled(frame: pl.DataFrame, *positions: int) -> pl.DataFrame:
    """The same raid with events that the contract refuses at these positions."""
    bad = pl.int_range(pl.len()).is_in(list(positions))
    return frame.with_columns(
        pl.when(bad).then(0).otherwise(pl.col("source_player_level")).alias("source_player_level")
    )


def new_raid() -> str:
    return f"raid-{uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def url(connection: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(make_home(tmp_path_factory.mktemp("replay"))))
        patch.setenv("PYTHONPATH", str(ROOT))
        with ingest.receiver_process(connection, workers=1) as running:
            yield running.url


@contextmanager
def scripted(*answers: tuple[int, dict[str, str], Any]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives these answers to POSTs, the last one for ever; and the bodies it got."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, {}, {"status": "live"})

        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(*answers[min(len(got), len(answers)) - 1])

        def answer(self, status: int, headers: dict[str, str], content: Any) -> None:
            body = orjson.dumps(content)
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


def stored_answer(count: int, **changed: Any) -> dict[str, Any]:
    return {
        "batch_id": str(uuid4()),
        "key": "k",
        "event_count": count,
        "duplicate": False,
        "ingest_timestamp": "2024-11-24T20:00:00.000000Z",
        "content_sha256": "s",
    } | changed


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 50), st.integers(0, 5))
def test_batches_are_the_raid_cut_and_arrive_after_their_last_event(count: int, batch_size: int, seed: int) -> None:
    frame = raid_frame("raid001", 40).head(count)
    batches = list(replay.micro_batches([("raid001", frame)], batch_size, Arrival(seed, 100)))
    sizes = [len(batch.events) for batch in batches]
    assert sizes[:-1] == [batch_size] * (count // batch_size - (not count % batch_size and count > 0))
    assert sum(sizes) == count and all(1 <= size <= batch_size for size in sizes)
    assert [event for batch in batches for event in batch.events] == wire.json_events(frame).to_list()
    for batch in batches:
        latest = frame["timestamp"][batch.first_event + len(batch.events) - 1]
        assert batch.arrival is not None
        assert batch.arrival > latest
        assert (batch.arrival - latest) % timedelta(milliseconds=1) == timedelta(0)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 15)), max_size=6), st.integers(1, 7), st.integers(1, 6)
)
def test_where_batches_begin_and_end_depends_on_no_part(
    parts: list[tuple[str, int]], batch_size: int, encoded_at_once: int
) -> None:
    raids = [(f"raid-{name}", raid_frame(name, 15).head(count)) for name, count in sorted(parts)]
    whole = [
        (raid_id, pl.concat(frame for _, frame in each)) for raid_id, each in groupby(raids, key=lambda raid: raid[0])
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "ENCODED_AT_ONCE", encoded_at_once)
        cut = list(replay.micro_batches(raids, batch_size, ARRIVAL))
    expected = list(replay.micro_batches(whole, batch_size, ARRIVAL))
    assert [(one.raid_id, one.first_event, one.arrival) for one in cut] == [
        (one.raid_id, one.first_event, one.arrival) for one in expected
    ]
    assert [one.events.to_list() for one in cut] == [one.events.to_list() for one in expected]


def arrivals(frame: pl.DataFrame, batch_size: int) -> list[datetime | None]:
    return [batch.arrival for batch in replay.micro_batches([("raid001", frame)], batch_size, ARRIVAL)]


def with_clock(frame: pl.DataFrame, place: int, ahead: timedelta) -> pl.DataFrame:
    """The raid, the clock of one event wrong."""
    is_wrong = pl.int_range(pl.len()) == place
    return frame.with_columns(timestamp=pl.when(is_wrong).then(pl.col("timestamp") + ahead).otherwise("timestamp"))


@settings(deadline=None)
@given(st.integers(1, 38), st.integers(1, 12), st.integers(101, 10_000_000), st.integers(1, 12))
def test_a_lone_clock_that_runs_ahead_moves_no_arrival_beyond_its_neighbours(
    place: int, batch_size: int, ahead_ms: int, encoded_at_once: int
) -> None:
    clean = raid_frame("raid001", 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "ENCODED_AT_ONCE", encoded_at_once)
        told = arrivals(with_clock(clean, place, timedelta(milliseconds=ahead_ms)), batch_size)
    untold = place // batch_size if (place + 1) % batch_size == 0 else None
    for number, (found, expected) in enumerate(zip(told, arrivals(clean, batch_size), strict=True)):
        assert found is not None and expected is not None
        # The last of its batch, an event 100 ms after the one before it, is missed by that much.
        assert expected - found == (timedelta(milliseconds=100) if number == untold else timedelta(0))


@settings(deadline=None)
@given(st.integers(2, 37), st.integers(1, 12))
def test_what_is_delivered_late_arrives_late_and_moves_nothing_before_it(late: int, batch_size: int) -> None:
    clean = raid_frame("raid001", 40)
    delivered = pl.concat([clean.tail(40 - late), clean.head(late)])
    on_time = (40 - late) // batch_size  # batches without a late event
    assert arrivals(delivered, batch_size)[:on_time] == arrivals(clean.tail(40 - late), batch_size)[:on_time]
    for arrival in arrivals(delivered, batch_size)[on_time:]:
        assert arrival is not None and arrival > clean["timestamp"][39]


def test_the_first_and_the_last_event_of_a_raid_are_believed() -> None:
    clean = raid_frame("raid001", 10)
    hour = timedelta(hours=1)
    (first,), (last,) = (arrivals(with_clock(clean, place, hour), 10) for place in (0, 9))
    assert first is not None and first > clean["timestamp"][0] + hour
    assert last is not None and last > clean["timestamp"][9] + hour


def test_latencies_depend_on_seed_and_raid_and_lie_around_the_median() -> None:
    def latencies(raid_id: str, count: int, arrival: Arrival) -> list[timedelta]:
        return list(islice(replay.network_latencies(raid_id, arrival), count))

    one = latencies("raid001", 4001, ARRIVAL)
    assert one != latencies("raid002", 4001, ARRIVAL)
    assert one != latencies("raid001", 4001, replace(ARRIVAL, seed=2))
    assert median(latency.total_seconds() for latency in one) == pytest.approx(0.1, rel=0.05)
    assert set(latencies("raid001", 9, Arrival(1, 0))) == {timedelta(0)}


def test_the_key_depends_on_content_arrival_and_source() -> None:
    key = replay.idempotency_key("a1", BEGIN, "simulation")
    assert key == replay.idempotency_key("a1", BEGIN, "simulation")
    others = [
        replay.idempotency_key("a2", BEGIN, "simulation"),
        replay.idempotency_key("a1", BEGIN + timedelta(microseconds=1), "simulation"),
        replay.idempotency_key("a1", None, "simulation"),
        replay.idempotency_key("a1", BEGIN, "combat-log"),
    ]
    assert len({key, *others}) == 5


def test_a_delivery_stores_every_event_once_however_often_it_is_sent(url: str, tmp_path: Path) -> None:
    raids = [(new_raid(), 250), (new_raid(), 100)]
    frames = [(raid_id, raid_frame(raid_id, count)) for raid_id, count in raids]
    first, second = (
        replay.deliver(frames, url, "simulation", batch_size=100, arrival=ARRIVAL, rejected_folder=tmp_path)
        for _ in range(2)
    )
    assert (first.sent, first.stored, first.duplicate, first.rejected) == (350, 350, 0, 0)
    assert (second.sent, second.stored, second.duplicate, second.rejected) == (350, 0, 350, 0)
    assert [replace(batch, duplicate=False) for batch in second.batches] == first.batches
    assert [(batch.raid_id, batch.event_count) for batch in first.batches] == [
        *((raids[0][0], count) for count in (100, 100, 50)),
        (raids[1][0], 100),
    ]
    assert not list(tmp_path.iterdir())


def test_what_is_stored_is_what_was_sent_with_the_stated_arrival(url: str, connection: Connection) -> None:
    raid_id = new_raid()
    frame = raid_frame(raid_id, 20)
    delivered = replay.deliver([(raid_id, frame)], url, "simulation", arrival=ARRIVAL).batches[0]
    store = open_store("s3://bronze", connection)
    head = store.head(delivered.key)
    assert head is not None
    assert head.attributes["ingest-timestamp"] == bronze.instant(delivered.ingest_timestamp)
    assert head.attributes["batch-source"] == "simulation"
    assert bronze.sha256(store.get(delivered.key)) == delivered.sha256
    assert [event["event_id"] for event in orjson.loads(store.get(delivered.key))] == frame["event_id"].to_list()
    assert f"ingestdate={delivered.ingest_timestamp.date()}" in delivered.key


def test_what_is_stored_as_it_was_sent_is_kept_and_nothing_else_is(url: str, tmp_path: Path) -> None:
    """A batch that was stored before, or is stored in another form, must be fetched by who wants it."""
    raid_id = new_raid()
    frame = raid_frame(raid_id, 30)
    # The receiver writes ids in lower case.
    other_form = frame.with_columns(event_id=pl.col("event_id").str.to_uppercase())
    kept: dict[str, bytes] = {}

    def deliver(sent: pl.DataFrame, batch_size: int) -> Delivery:
        return replay.deliver(
            [(raid_id, sent)],
            url,
            "simulation",
            batch_size=batch_size,
            rejected_folder=tmp_path,
            keep=lambda batch, body: kept.update({batch.key: body}),
        )

    first = deliver(spoiled(frame, 3), 10)
    assert {key: bronze.sha256(body) for key, body in kept.items()} == {
        batch.key: batch.sha256 for batch in first.batches
    }
    assert [len(orjson.loads(kept[batch.key])) for batch in first.batches] == [9, 10, 10]

    kept.clear()
    assert deliver(frame.tail(10), 10).duplicate == 10
    assert deliver(other_form, 15).stored == 30
    assert kept == {}


def test_without_an_arrival_the_receivers_clock_counts(url: str) -> None:
    raid_id = new_raid()
    before = datetime.now(UTC)
    delivered = replay.deliver([(raid_id, raid_frame(raid_id, 5))], url, "simulation").batches[0]
    assert before <= delivered.ingest_timestamp <= datetime.now(UTC)


def test_refused_events_go_to_a_file_with_their_errors_and_the_rest_is_stored(url: str, tmp_path: Path) -> None:
    raid_id = new_raid()
    frame = raid_frame(raid_id, 300)
    bad = [3, *range(100, 180), 299]  # the answer names 50 at a time
    for _ in range(2):  # a second delivery does not append to the first one's file
        delivery = replay.deliver(
            [(raid_id, spoiled(frame, *bad))],
            url,
            "simulation",
            batch_size=200,
            arrival=ARRIVAL,
            rejected_folder=tmp_path,
        )
        assert (delivery.sent, delivery.rejected) == (300, len(bad))
        assert delivery.stored + delivery.duplicate == 300 - len(bad)
        lines = [orjson.loads(line) for line in (tmp_path / f"{raid_id}.jsonl").read_bytes().splitlines()]
        assert [line["event"]["event_id"] for line in lines] == frame["event_id"].gather(bad).to_list()
        assert all(error["field"] == "source_player_level" for line in lines for error in line["errors"])


def test_a_batch_of_which_every_event_is_refused_is_not_sent_empty(url: str, tmp_path: Path) -> None:
    raid_id = new_raid()
    frame = spoiled(raid_frame(raid_id, 60), *range(60))
    delivery = replay.deliver([(raid_id, frame)], url, "simulation", rejected_folder=tmp_path)
    assert (delivery.sent, delivery.rejected, delivery.batches) == (60, 60, [])


def test_a_refusal_that_names_no_event_is_held_against_the_whole_batch(tmp_path: Path) -> None:
    errors = [{"index": None, "field": None, "input_type": "array", "reason": "no"}]
    with scripted((400, {}, {"detail": "no", "errors": errors, "error_count": 1})) as (url, got):
        delivery = replay.deliver([("raid001", raid_frame("raid001", 3))], url, "test", rejected_folder=tmp_path)
    assert (delivery.rejected, len(got)) == (3, 1)


def test_temporary_refusals_are_retried_with_the_same_body_and_the_receivers_patience() -> None:
    busy = {"Retry-After": "0.3"}
    with scripted((503, busy, {}), (429, busy, {}), (201, {}, stored_answer(3))) as (url, got):
        began = datetime.now(UTC)
        delivery = replay.deliver([("raid001", raid_frame("raid001", 3))], url, "test")
        assert datetime.now(UTC) - began >= timedelta(seconds=0.6)
    assert (delivery.stored, len(got), len(set(got))) == (3, 3, 1)


@pytest.mark.parametrize("status", [404, 409, 413, 500])
def test_other_refusals_are_not_retried_and_end_the_delivery(status: int) -> None:
    with scripted((status, {}, {"detail": "because"})) as (url, got):
        with pytest.raises(PipelineError, match=f"raid001, events 0 to 2: .*{status}, because"):
            replay.deliver([("raid001", raid_frame("raid001", 3))], url, "test")
        assert len(got) == 1


def test_a_receiver_that_stays_away_ends_the_delivery_after_bounded_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "ATTEMPTS", 3)
    with scripted((503, {}, {"detail": "the store is away"})) as (url, got):
        with pytest.raises(PipelineError, match=r"503, the store is away.* 0 events before it"):
            replay.deliver([("raid001", raid_frame("raid001", 3))], url, "test")
        assert len(got) == 3


def test_no_new_batches_are_sent_after_one_could_not_be_delivered() -> None:
    with scripted((500, {}, {})) as (url, got):
        with pytest.raises(PipelineError):
            replay.deliver([("raid001", raid_frame("raid001", 400))], url, "test", batch_size=1, concurrency=2)
        assert len(got) <= 2 * replay.AHEAD


def test_an_interrupted_delivery_does_not_wait_to_try_again() -> None:
    with scripted((503, {"Retry-After": "30"}, {})) as (url, got):

        def raids() -> Iterator[replay.RaidPart]:
            # A batch is sent when the event after it is known.
            yield "raid001", raid_frame("raid001", 2)
            deadline = time.monotonic() + 10
            while not got and time.monotonic() < deadline:
                time.sleep(0.01)
            raise KeyboardInterrupt

        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            replay.deliver(raids(), url, "test", batch_size=1)
        asked_for_s = 30
        assert time.monotonic() - began < asked_for_s
        assert 1 <= len(got) <= 2


@pytest.mark.parametrize("answer", [{}, [], stored_answer(3, event_count=2), stored_answer(3, event_count=4)])
def test_books_that_do_not_balance_are_an_error(answer: Any) -> None:
    with scripted((201, {}, answer)) as (url, _), pytest.raises(PipelineError, match=r"balance|not a receiver's"):
        replay.deliver([("raid001", raid_frame("raid001", 3))], url, "test")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://example.org", "nonsense"])
def test_a_receiver_that_is_not_there_is_said_with_the_remedy(url: str) -> None:
    with pytest.raises(PipelineError, match="pipeline receive"):
        replay.deliver([("raid001", raid_frame("raid001", 3))], url, "test")


def test_an_impossible_raid_id_is_refused_before_it_names_a_file(url: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="cannot be a raid's id"):
        replay.deliver([("../raid", raid_frame("raid001", 3))], url, "test", rejected_folder=tmp_path)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 8))
def test_results_come_in_the_tasks_order_on_any_number_of_threads(tasks: list[int], workers: int) -> None:
    assert list(replay._in_order(lambda task: task * 2, tasks, workers, threading.Event())) == [
        task * 2 for task in tasks
    ]


def an_options(**changed: Any) -> ReplayOptions:
    return replace(
        ReplayOptions(
            num_raids=2,
            num_events_per_raid=50,
            batch_size=25,
            output_mode="http",
            output_dir=Path("out"),
            url=None,
            source=None,
            concurrency=2,
            seed=0,
        ),
        **changed,
    )


def test_files_lie_under_the_keys_of_bronze(home: Path) -> None:
    wire.write_raid(raid_frame("raid001", 60), Path("data/simulated"), "raid001")
    replay.run(an_options(output_mode="file", source=Path("data/simulated")))
    files = sorted(Path("out").rglob("*.json"))
    contents = [orjson.loads(file.read_bytes()) for file in files]
    assert sorted(map(len, contents)) == [10, 25, 25]
    assert all(
        str(file).startswith("out/wow_raid_events/v1/raidid=raid001/ingestdate=2024-11-24/batch=") for file in files
    )
    ids = {event["event_id"] for content in contents for event in content}
    assert ids == set(raid_frame("raid001", 60)["event_id"])


def test_a_folder_that_cannot_be_written_is_named(home: Path) -> None:
    Path("out").write_text("a file where the folder should be")
    wire.write_raid(raid_frame("raid001", 60), Path("data/simulated"), "raid001")
    with pytest.raises(PipelineError, match="--output-dir out: cannot be written"):
        replay.run(an_options(output_mode="file", source=Path("data/simulated")))


def test_the_original_tools_options_simulate_and_send(home: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        replay.run(an_options(url=url, seed=random.randrange(2**31)))
        sent, stored, duplicate, rejected = map(
            int, re.findall(r"(\d+) (?:events sent|stored|dup|rej)", _books(capsys))
        )
        assert sent == stored > 0
        assert duplicate == rejected == 0


def _books(capsys: pytest.CaptureFixture[str]) -> str:
    return next(line for line in capsys.readouterr().err.splitlines() if line.startswith("replay: "))


def test_unknown_modes_and_empty_folders_are_said(home: Path) -> None:
    with pytest.raises(PipelineError, match=r"kafka.*http or file"):
        replay.run(an_options(output_mode="kafka"))
    with pytest.raises(PipelineError, match="holds no raids"):
        replay.run(an_options(source=Path("data/simulated")))


def test_the_source_of_a_folder_is_the_one_that_bronze_records(home: Path) -> None:
    assert replay.batch_source(Path("data/imported")) == "combat-log"
    assert replay.batch_source(None) == replay.batch_source(home / "data/simulated") == "simulation"
    assert replay.batch_source(Path("elsewhere")) == "replay"


def test_books_add_up_over_deliveries() -> None:
    whole = Delivery(sent=2, rejected=2)
    whole.add(Delivery(sent=1, rejected=1))
    replay.reconcile(whole)
    assert (whole.sent, whole.rejected) == (3, 3)
