"""The sender: raids cut into micro-batches, posted concurrently to a receiver, every event accounted for."""

import logging
import math
import re
import threading
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import orjson
import polars as pl
import tenacity

from pipeline import bronze, paths, settings, wire
from pipeline.errors import PipelineError
from pipeline.events import RAID_ID_PATTERN
from pipeline.progress import Advance, console, progress

log = logging.getLogger(__name__)

OUTPUT_MODES = ("http", "file")
REJECTED = Path("reports/rejected")
DEFAULT_BATCH_SIZE = 1000
DEFAULT_CONCURRENCY = 4
DEFAULT_LATENCY_MS = 120
# About what a mobile or busy home connection shows: half of all batches within 0.7 to 1.4 times the median.
LATENCY_SIGMA = 0.5
LATENCIES_DRAWN_AT_ONCE = 256
ATTEMPTS = 10
MAX_WAIT_S = 5.0
MAX_RETRY_AFTER_S = 30.0
TIMEOUT = httpx.Timeout(60, connect=5)
# Batches cut and waiting for a free connection, per connection: bounds the memory.
AHEAD = 3
# Events turned into JSON at once: of an evening in one go, of a longer log with bounded memory.
ENCODED_AT_ONCE = 10_000
_DAWN = datetime.min.replace(tzinfo=UTC)
"""Before every event."""

RaidPart = tuple[str, pl.DataFrame]
"""A raid's id with its events, sorted, or with some of them: the parts of one raid follow one another."""
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Arrival:
    """The replay clock: when each batch arrives, decided by the sender, the same every time.

    A batch arrives after the latest event delivered so far, later by a network latency that is lognormal around a
    median. An event whose clock alone runs ahead tells nothing of the time (`_told`).
    """

    seed: int
    median_latency_ms: int = DEFAULT_LATENCY_MS


@dataclass(frozen=True)
class Batch:
    """A micro-batch of one raid before it is sent."""

    raid_id: str
    first_event: int
    """Position of its first event in the raid."""
    events: pl.Series
    """Its events as JSON objects."""
    arrival: datetime | None
    """None: the receiver's clock decides."""


@dataclass(frozen=True)
class StoredBatch:
    """A batch that the receiver has acknowledged."""

    key: str
    batch_id: str
    raid_id: str
    batch_source: str
    event_count: int
    ingest_timestamp: datetime
    sha256: str
    duplicate: bool


@dataclass(frozen=True)
class RejectedEvent:
    """An event that the receiver refused."""

    event: str
    """The event as JSON."""
    errors: list[dict[str, Any]]
    """What the receiver named: field, input_type, reason."""


@dataclass(frozen=True)
class Outcome:
    """What became of one micro-batch."""

    raid_id: str
    sent: int
    stored: StoredBatch | None
    """None: the receiver refused every event of it."""
    rejected: list[RejectedEvent]


@dataclass
class Delivery:
    """What became of a delivery; counts are of events."""

    batches: list[StoredBatch] = field(default_factory=list)
    sent: int = 0
    rejected: int = 0

    @property
    def stored(self) -> int:
        """Events that this delivery stored."""
        return sum(batch.event_count for batch in self.batches if not batch.duplicate)

    @property
    def duplicate(self) -> int:
        """Events of batches that were stored before."""
        return sum(batch.event_count for batch in self.batches if batch.duplicate)

    def add(self, other: "Delivery") -> None:
        """Add another delivery's books to these."""
        self.batches += other.batches
        self.sent += other.sent
        self.rejected += other.rejected


@dataclass(frozen=True)
class ReplayOptions:
    """The options of `python -m pipeline replay`."""

    num_raids: int
    num_events_per_raid: int
    batch_size: int
    output_mode: str
    output_dir: Path
    url: str | None
    source: Path | None
    concurrency: int
    seed: int


@dataclass(frozen=True)
class Channel:
    """The way to a receiver for the time of one delivery."""

    client: httpx.Client
    source: str
    ended: threading.Event
    """Set when the delivery ends, also by an error or Ctrl-C: nothing is tried again after that."""
    keep: "Keep | None" = None


Keep = Callable[[StoredBatch, bytes], None]
"""What a sender does with a batch that the receiver stored just now, byte by byte as it was sent."""


class Undelivered(Exception):  # noqa: N818 (what happened to the batch)
    """A batch that the receiver did not acknowledge, with the reason."""


def run(options: ReplayOptions) -> None:
    """Simulate raids, or take those of a folder, and post them to a receiver or write their batches as files.

    Raises:
        PipelineError: an unknown output mode, no raids, a receiver that is not there, batches that could not be
            delivered, or books that do not balance.
    """
    if options.output_mode not in OUTPUT_MODES:
        raise PipelineError(f"--output-mode {options.output_mode}: there is no such mode; use http or file")
    raids, total = _chosen_raids(options)
    source = batch_source(options.source)
    arrival = Arrival(options.seed)
    if options.output_mode == "file":
        try:
            count = write_batches(raids, options.output_dir, source, batch_size=options.batch_size, arrival=arrival)
        except OSError as error:
            raise PipelineError(f"--output-dir {options.output_dir}: cannot be written ({error.strerror})") from error
        console.print(f"replay: {count:,} batches written below {options.output_dir}")
        return
    delivery = deliver(
        raids,
        options.url or receiver_url(),
        source,
        batch_size=options.batch_size,
        concurrency=options.concurrency,
        arrival=arrival,
        total_events=total,
    )
    console.print(f"replay: {describe(delivery)}")


def deliver(  # noqa: PLR0913 (each is the caller's own choice; named at every call)
    raids: Iterable[RaidPart],
    url: str,
    source: str,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    concurrency: int = DEFAULT_CONCURRENCY,
    arrival: Arrival | None = None,
    rejected_folder: Path = REJECTED,
    total_events: int | None = None,
    keep: Keep | None = None,
) -> Delivery:
    """Post raids to a receiver in micro-batches until every event is acknowledged or refused.

    Args:
        raids: raids (wire schema), whole or in parts; taken one by one as the delivery goes on. Where a batch begins
            and ends does not depend on the parts.
        url: the receiver's, without path.
        source: where the events come from; becomes the objects' `batch-source`.
        batch_size: events per batch.
        concurrency: requests under way at once.
        arrival: states when each batch arrived, for a receiver that runs with `--replay-clock`.
        rejected_folder: where events that the receiver refuses go, as `{raid_id}.jsonl` with their errors.
        total_events: how many events will be sent, for the progress bar.
        keep: called, from several threads, with each batch that was stored just now as it was sent: with its bytes.

    Returns:
        The batches in the order of raids and events, and the counts.

    Raises:
        PipelineError: the receiver is not there, a batch could not be delivered at all, or the books do not balance.
    """
    ended = threading.Event()
    cut = micro_batches(raids, batch_size, arrival)
    with (
        _client(url, concurrency) as client,
        progress("delivered", total_events, "events") as advance,
        closing(
            _in_order(partial(deliver_batch, Channel(client, source, ended, keep)), cut, concurrency, ended)
        ) as outcomes,
    ):
        check_receiver(client)
        delivery = _collect(outcomes, rejected_folder, advance)
    reconcile(delivery)
    return delivery


def _collect(outcomes: Iterable[Outcome], rejected_folder: Path, advance: Advance) -> Delivery:
    """Keep the books of the batches as they are decided, and write down what was refused."""
    delivery = Delivery()
    written: set[str] = set()
    try:
        for outcome in outcomes:
            delivery.sent += outcome.sent
            delivery.rejected += len(outcome.rejected)
            if outcome.stored:
                delivery.batches.append(outcome.stored)
            _write_rejected(rejected_folder, outcome, first=outcome.raid_id not in written)
            written.add(outcome.raid_id)
            advance(outcome.sent)
    except Undelivered as error:
        raise PipelineError(
            f"{error}. {delivery.sent:,} events before it were answered; send again when the receiver runs: what is "
            "stored already is not stored twice"
        ) from error
    return delivery


def reconcile(delivery: Delivery) -> None:
    """Check that sent = stored + duplicate + rejected.

    Raises:
        PipelineError: it is not.
    """
    answered = delivery.stored + delivery.duplicate + delivery.rejected
    if delivery.sent != answered:
        raise PipelineError(
            f"the books do not balance: {delivery.sent:,} events sent, but {delivery.stored:,} stored + "
            f"{delivery.duplicate:,} duplicate + {delivery.rejected:,} rejected = {answered:,}; is the receiver of the "
            "same version?"
        )


def describe(delivery: Delivery) -> str:
    """The books of a delivery in one line."""
    return (
        f"{delivery.sent:,} events sent = {delivery.stored:,} stored + {delivery.duplicate:,} duplicate + "
        f"{delivery.rejected:,} rejected, in {len(delivery.batches):,} batches"
    )


def micro_batches(raids: Iterable[RaidPart], batch_size: int, arrival: Arrival | None) -> Iterator[Batch]:
    """Cut raids into batches, in order, each with its time of arrival.

    Raises:
        PipelineError: a raid's id is none that the contract allows.
    """
    for raid_id, parts in groupby(raids, key=itemgetter(0)):
        if not re.match(RAID_ID_PATTERN, raid_id):
            raise PipelineError(f"{raid_id!r} cannot be a raid's id: the contract wants {RAID_ID_PATTERN}")
        latencies = None if arrival is None else network_latencies(raid_id, arrival)
        first, latest = 0, _DAWN
        for events in _cut((part for _, part in parts), batch_size):
            latest = max(latest, _last_told(events) or latest)
            yield Batch(raid_id, first, events["json"], None if latencies is None else latest + next(latencies))
            first += events.height


def _cut(parts: Iterable[pl.DataFrame], batch_size: int) -> Iterator[pl.DataFrame]:
    """Each batch of a raid: `told` (`_told`) and JSON; the parts' ends leave no trace."""
    pieces = (piece for part in parts for piece in part.iter_slices(ENCODED_AT_ONCE))
    encoded = (piece.select("timestamp", wire.json_events(piece)) for piece in pieces if not piece.is_empty())
    left = pl.DataFrame(schema={"told": wire.TIMESTAMP, "json": pl.String})
    for piece in _told(encoded):
        left = pl.concat([left, piece])
        whole = left.height - left.height % batch_size
        yield from left.head(whole).iter_slices(batch_size)
        left = left.slice(whole)
    if not left.is_empty():
        yield left


def _told(pieces: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Replace each timestamp by the time that it tells: itself, but null where this event's clock alone runs ahead.

    That is so if the next event is earlier, and yet not before the one ahead of it: time goes on where it was. (After
    the last event in order, late ones jump back further, and its clock is right.) So one event of each piece waits
    for the next.
    """
    before, after = pl.col("timestamp").shift(1), pl.col("timestamp").shift(-1)
    told = pl.when(((pl.col("timestamp") > after) & (after >= before)).fill_null(value=False).not_()).then("timestamp")
    known = pl.DataFrame(schema={"timestamp": wire.TIMESTAMP, "json": pl.String})
    begun = 0  # whether the first of the known events was given out before, and stays as the neighbour of the next
    for piece in pieces:
        known = pl.concat([known, piece])
        yield known.select(told=told, json="json").slice(begun, known.height - 1 - begun)
        begun = min(known.height - 1, 1)
        known = known.tail(2)
    yield known.select(told=told, json="json").slice(begun)


def network_latencies(raid_id: str, arrival: Arrival) -> Iterator[timedelta]:
    """How long each batch of a raid is under way, whole milliseconds, without end; depends on no other raid.

    Lognormal: median * exp(sigma * Z), Z standard normal.
    """
    rng = np.random.default_rng(np.random.SeedSequence([arrival.seed, *raid_id.encode()]))
    while True:
        drawn = rng.standard_normal(LATENCIES_DRAWN_AT_ONCE)
        for latency in np.rint(arrival.median_latency_ms * np.exp(LATENCY_SIGMA * drawn)):
            yield timedelta(milliseconds=int(latency))


def idempotency_key(content_sha256: str, arrival: datetime | None, source: str) -> uuid.UUID:
    """The id of a batch: a UUIDv5 of content, arrival and source, so that sending it again stores nothing new."""
    arrived = "" if arrival is None else bronze.instant(arrival)
    return uuid.uuid5(bronze.NAMESPACE, f"{source}\n{arrived}\n{content_sha256}")


def deliver_batch(channel: Channel, batch: Batch) -> Outcome:
    """Post one batch; what the receiver refuses of it is taken out, and the rest is sent again.

    Raises:
        Undelivered: the receiver neither stored nor refused it.
    """
    left = batch.events
    rejected: list[RejectedEvent] = []
    while not left.is_empty():
        body = wire.json_array(left)
        digest = bronze.sha256(body)
        answer = _post(channel, batch, body, digest)
        if answer.status_code != 400:
            stored = _stored(answer, batch, channel.source)
            if channel.keep is not None and not stored.duplicate and stored.sha256 == digest:
                channel.keep(stored, body)
            return Outcome(batch.raid_id, len(batch.events), stored, rejected)
        named = _named_errors(answer, len(left))
        rejected += [RejectedEvent(left[index], errors) for index, errors in sorted(named.items())]
        left = left.gather([index for index in range(len(left)) if index not in named])
    return Outcome(batch.raid_id, len(batch.events), None, rejected)


def write_batches(raids: Iterable[RaidPart], folder: Path, source: str, *, batch_size: int, arrival: Arrival) -> int:
    """Write batches as files under the keys that they would have in Bronze, as they would be sent; returns how many."""
    count = 0
    for batch in micro_batches(raids, batch_size, arrival):
        assert batch.arrival is not None
        body = wire.json_array(batch.events)
        batch_id = idempotency_key(bronze.sha256(body), batch.arrival, source)
        paths.write_atomically(folder / bronze.object_key(batch.raid_id, batch.arrival.date(), batch_id), body)
        count += 1
    return count


def receiver_url() -> str:
    """The receiver of `FLASK_HOST` and `FLASK_PORT`, as this machine reaches it."""
    configured = settings.load()
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(configured.flask_host, configured.flask_host)
    return f"http://{host}:{configured.flask_port}"


def batch_source(folder: Path | None) -> str:
    """What the events of a folder are called in Bronze; None: simulated on the fly."""
    if folder is None:
        return "simulation"
    known = {path.resolve(): source for source, path in wire.SOURCES.items()}
    return known.get(folder.resolve(), "replay")


def raids_of(folder: Path) -> Iterator[RaidPart]:
    """The raids of `data/simulated`, `data/imported` or a folder like them, read part by part."""
    for file in wire.raid_files(folder):
        for part in wire.read_raid_parts(file):
            yield file.stem, part


def count_events(folder: Path) -> int:
    """How many events the raids of a folder have, without reading them."""
    files = wire.raid_files(folder)
    return sum(wire.count_events(file) for file in files)


def check_receiver(client: httpx.Client) -> None:
    """Check that a receiver answers, before anything is sent.

    Raises:
        PipelineError: it does not.
    """
    try:
        client.get("/health/live").raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PipelineError(
            f"{client.base_url}: no receiver answers there ({error}); start one with `python -m pipeline receive`, or "
            "name another with --url"
        ) from error


def _chosen_raids(options: ReplayOptions) -> tuple[Iterable[RaidPart], int]:
    if options.source is None:
        from pipeline import simulate  # not needed to send what exists

        simulated = simulate.simulate_raids(options.num_raids, options.num_events_per_raid, options.seed)
        return simulated, options.num_raids * options.num_events_per_raid
    if not wire.raid_files(options.source):
        raise PipelineError(
            f"{options.source}: holds no raids (raids/*.parquet); make some with `python -m pipeline simulate`"
        )
    return raids_of(options.source), count_events(options.source)


def _client(url: str, concurrency: int) -> httpx.Client:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    try:
        # A proxy of the environment (usual on clusters) is not for a receiver of one's own.
        return httpx.Client(base_url=url, timeout=TIMEOUT, limits=limits, trust_env=False)
    except httpx.InvalidURL as error:
        raise PipelineError(f"{url}: is not the URL of a receiver ({error})") from error


def _in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int, ended: threading.Event
) -> Generator[Result, None, None]:
    """Apply a function in threads; results in the tasks' order, few tasks taken ahead.

    After an error no new task is begun, and `ended` is set, so that those under way give up waiting.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= workers * AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        ended.set()
        pool.shutdown(cancel_futures=True)


def _write_rejected(folder: Path, outcome: Outcome, first: bool) -> None:
    file = folder / f"{outcome.raid_id}.jsonl"
    if first:
        file.unlink(missing_ok=True)
    if outcome.rejected:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as lines:
            for each in outcome.rejected:
                lines.write(b'{"event":' + each.event.encode() + b',"errors":' + orjson.dumps(each.errors) + b"}\n")


def _last_told(events: pl.DataFrame) -> datetime | None:
    latest = events["told"].max()
    assert latest is None or isinstance(latest, datetime)
    return latest and latest.astimezone(UTC)


def _post(channel: Channel, batch: Batch, body: bytes, content_sha256: str) -> httpx.Response:
    """Post events until the receiver decides about them (200, 201 or 400)."""
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": str(idempotency_key(content_sha256, batch.arrival, channel.source)),
        "X-Batch-Source": channel.source,
    }
    if batch.arrival is not None:
        headers["X-Ingest-Timestamp"] = bronze.instant(batch.arrival)
    last = batch.first_event + len(batch.events) - 1
    what = f"raid {batch.raid_id}, events {batch.first_event:,} to {last:,}: not delivered to {channel.client.base_url}"
    try:
        retrying = _retrying(channel.ended)
        answer: httpx.Response = retrying(channel.client.post, "/events", content=body, headers=headers)
    except httpx.TransportError as error:
        raise Undelivered(f"{what} in {retrying.statistics['attempt_number']} tries ({error!r})") from error
    if answer.status_code not in (200, 201, 400):
        raise Undelivered(f"{what}: {answer.status_code}, {_detail(answer)}")
    return answer


def _retrying(ended: threading.Event) -> tenacity.Retrying:
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(httpx.TransportError) | tenacity.retry_if_result(_is_temporary),
        wait=_wait,
        stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_when_event_set(ended),
        sleep=tenacity.sleep_using_event(ended),
        retry_error_callback=_last_answer,
    )


def _is_temporary(answer: httpx.Response) -> bool:
    return answer.status_code in (429, 503)


def _last_answer(state: tenacity.RetryCallState) -> httpx.Response:
    assert state.outcome is not None
    answer: httpx.Response = state.outcome.result()
    return answer


_backing_off = tenacity.wait_random_exponential(multiplier=0.2, max=MAX_WAIT_S)


def _wait(state: tenacity.RetryCallState) -> float:
    """Exponential back-off with jitter, and never less than the receiver asks for."""
    asked = 0.0
    if state.outcome is not None and not state.outcome.failed:
        asked = _retry_after(state.outcome.result())
    return max(asked, _backing_off(state))


def _retry_after(answer: httpx.Response) -> float:
    try:
        seconds = float(answer.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(seconds) else 0.0


def _stored(answer: httpx.Response, batch: Batch, source: str) -> StoredBatch:
    try:
        content = orjson.loads(answer.content)
        return StoredBatch(
            key=content["key"],
            batch_id=content["batch_id"],
            raid_id=batch.raid_id,
            batch_source=source,
            event_count=content["event_count"],
            # What was stated counts: the batch may have been stored before, by a receiver with a clock of its own.
            ingest_timestamp=batch.arrival or datetime.fromisoformat(content["ingest_timestamp"]),
            sha256=content["content_sha256"],
            duplicate=content["duplicate"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Undelivered(f"{answer.url}: the answer is not a receiver's ({error!r})") from error


def _named_errors(answer: httpx.Response, count: int) -> dict[int, list[dict[str, Any]]]:
    """The errors of a refusal by the event's position; one that names no event is held against all of them."""
    try:
        errors = orjson.loads(answer.content)["errors"]
        named: dict[int, list[dict[str, Any]]] = {}
        for error in errors:
            said = {name: error[name] for name in ("field", "input_type", "reason")}
            for index in range(count) if error["index"] is None else [error["index"]]:
                named.setdefault(index, []).append(said)
    except (ValueError, KeyError, TypeError) as error:
        raise Undelivered(f"{answer.url}: refused without naming errors: {_detail(answer)}") from error
    if not named or not all(0 <= index < count for index in named):
        raise Undelivered(f"{answer.url}: refused without naming events of the batch: {_detail(answer)}")
    return named


def _detail(answer: httpx.Response) -> str:
    try:
        return str(orjson.loads(answer.content)["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
