"""The receiver: batches come in over HTTP, are validated and stored whole, and acknowledged once the store confirms.

`create_app` is the Flask application, `serve` runs it behind gunicorn. What a request may look like and what is
answered stands in `docs/architecture.md`; every refusal is a problem document (RFC 9457).
"""

import codecs
import gc
import gzip
import io
import logging
import multiprocessing
import os
import re
import signal
import socket
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import orjson
import zstandard
from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker
from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json, to_json
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_options_header

from pipeline import bronze, embedded_store, events, settings
from pipeline.errors import PipelineError
from pipeline.store import Connection, ObjectStore, StoreUnavailable, configured_connection, open_store

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 * 1024 * 1024
"""The largest body, as sent and again when decompressed: twice what 10,000 usual events need."""
ZSTD_PART_BYTES = 512
"""How much of a zstd body is expanded at a time: to 22 MiB at most."""
MAX_LISTED_ERRORS = 50
EVENTS_PER_LOOK = 200
FIELDS = events.event_fields().keys()
MAX_TEXT = 300
"""A field's name or a reason is cut here: both may repeat what the sender wrote."""
RETRY_AFTER_S = 2
THREADS_PER_WORKER = 4
GC_THRESHOLD = 100_000
HEADER_DEADLINE_S = 10
REQUEST_DEADLINE_S = 120
"""From the headers to the answer: a body of 16 MiB at 250 KB/s, and a store that needs all its retries."""
PROBLEM_TYPE = "https://wow-raid-telemetry.example/problem/"
UUID_PATTERN = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
SOURCE_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
CHARSETS = ("utf-8", "utf8", "us-ascii")
BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
JSON_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


@dataclass(frozen=True)
class EventError:
    """One thing that is wrong with a batch; without index: with the batch as a whole."""

    index: int | None
    field: str | None
    input_type: str
    reason: str


@dataclass
class Refusal(Exception):  # noqa: N818 (what the receiver answers)
    """A request that is not accepted: the problem document that says why."""

    status: int
    name: str
    title: str
    detail: str
    errors: list[EventError] = field(default_factory=list)
    error_count: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """A validated batch as it is stored."""

    raid_id: str
    event_count: int
    content: bytes


@dataclass(frozen=True)
class Envelope:
    """What the headers say about a batch."""

    arrival: datetime
    source: str
    key: uuid.UUID | None


def create_app(store: ObjectStore, replay_clock: bool = False) -> Flask:
    """The receiver as a WSGI application.

    Args:
        store: the Bronze bucket, opened by the process that answers the requests.
        replay_clock: whether `X-Ingest-Timestamp` states when a batch arrived.
    """
    app = Flask("receiver")
    # Werkzeug cuts a body of unannounced length off here without a word: one byte more shows that it was too long.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    app.config["STORE"] = store
    schema = orjson.dumps(events.json_schema())

    @app.post("/events")
    def receive_batch() -> Response:
        envelope = read_envelope(request.headers, replay_clock)
        body = decompressed(_whole_body(), request.headers.get("Content-Encoding", "identity"))
        return keep(store, validated(body, envelope.arrival), envelope)

    @app.get("/health/live")
    def live() -> Response:
        return _json({"status": "live"}, 200)

    @app.get("/health/ready")
    def ready() -> Response:
        store.ready()
        return _json({"status": "ready"}, 200)

    @app.get("/schema")
    def show_schema() -> Response:
        return Response(schema, content_type="application/schema+json")

    app.register_error_handler(Refusal, _problem)
    app.register_error_handler(StoreUnavailable, _store_unavailable)
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, _internal_error)
    return app


def read_envelope(headers: Headers, replay_clock: bool) -> Envelope:
    """What a request's headers say about its batch.

    Raises:
        Refusal: 415 for a body that is not JSON or is encoded in an unknown way, 400 for a header with a wrong value.
    """
    media_type, options = parse_options_header(headers.get("Content-Type", "nothing"))
    if media_type.lower() != "application/json":
        detail = f"Content-Type must be application/json, not {_cut(media_type)}"
        raise Refusal(415, "media-type", "Unsupported media type", detail)
    charset = options.get("charset", "utf-8")
    if charset.lower() not in CHARSETS:
        raise Refusal(415, "charset", "Unsupported charset", f"JSON is sent in UTF-8, not in {_cut(charset)}")
    key = headers.get("Idempotency-Key")
    if key is not None and not UUID_PATTERN.fullmatch(key):
        raise _bad_header("Idempotency-Key", key, "a UUID")
    source = headers.get("X-Batch-Source", "unknown")
    if not SOURCE_PATTERN.fullmatch(source):
        raise _bad_header("X-Batch-Source", source, "a slug such as combat-log")
    stated = headers.get("X-Ingest-Timestamp") if replay_clock else None
    arrival = datetime.now(UTC) if stated is None else _stated_arrival(stated)
    return Envelope(arrival, source, uuid.UUID(key) if key else None)


def _whole_body() -> bytes:
    length = request.content_length
    if length is None:
        return request.get_data(cache=False)
    # In one go: get_data reads 64 KiB at a time, and gunicorn then copies all the rest of the body each time.
    body: bytes = request.stream.read(length)
    if len(body) < length:
        detail = f"the body ends after {len(body)} of the {length} bytes that Content-Length announces"
        raise Refusal(400, "truncated", "Truncated body", detail)
    return body


def decompressed(body: bytes, content_encoding: str) -> bytes:
    """The body of a request without its Content-Encoding.

    Raises:
        Refusal: 415 for an unknown encoding, 400 for corrupt data, 413 for what grows beyond the limit; never more
            than the limit is expanded.
    """
    encoding = content_encoding.strip().lower()
    decoders: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": _gunzip, "zstd": _unzstd}
    if encoding not in decoders:
        detail = f"Content-Encoding {_cut(encoding)} is unknown; use gzip, zstd or none"
        accepted = {"Accept-Encoding": "gzip, zstd"}
        raise Refusal(415, "content-encoding", "Unsupported content encoding", detail, headers=accepted)
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        content = decoders[encoding](body)
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError) as error:
        raise Refusal(400, "encoding", "Corrupt body", f"the body is not valid {encoding}: {error}") from error
    if len(content) > MAX_BODY_BYTES:
        raise _too_large()
    return content


def _gunzip(body: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as reader:
        return reader.read(MAX_BODY_BYTES + 1)


def _unzstd(body: bytes) -> bytes:
    # Frame by frame: zstandard's reader takes the end of the input for the end of a frame.
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_BODY_BYTES)
    frame, rest, content = None, memoryview(body), bytearray()
    while rest and len(content) <= MAX_BODY_BYTES:
        if frame is None or frame.eof:
            frame = decompressor.decompressobj()
        part = rest[:ZSTD_PART_BYTES]
        content += frame.decompress(part)
        rest = rest[len(part) - len(frame.unused_data) :]
    if frame is not None and not frame.eof and not rest:
        raise EOFError("it ends in the middle of a frame")
    return bytes(content)


def validated(body: bytes, arrival: datetime) -> Batch:
    """Check a batch against the contract and bring it into its canonical form.

    Raises:
        Refusal: 400 with the errors; nothing of a batch is accepted unless all of it is.
    """
    if body.startswith(BYTE_ORDER_MARKS):
        raise _invalid([EventError(None, None, "text", "begins with a byte order mark; send UTF-8 without one")], 1)
    try:
        batch = events.batch_adapter.validate_json(body)
    except ValidationError as error:
        raise _invalid(_first_errors(body, error), error.error_count()) from error
    repeated = events.repeated_fields(body, batch)
    if repeated:
        reason = "is named more than once in this event; name it once"
        raise _invalid(
            [EventError(index, name, "object", reason) for index, name in repeated[:MAX_LISTED_ERRORS]], len(repeated)
        )
    raid_id = batch[0]["raid_id"]
    foreign = [index for index, event in enumerate(batch) if event["raid_id"] != raid_id]
    if foreign:
        reason = f"a batch is of one raid: its first event is of {raid_id}"
        raise _invalid(
            [EventError(index, "raid_id", "string", reason) for index in foreign[:MAX_LISTED_ERRORS]], len(foreign)
        )
    latest = arrival + timedelta(seconds=events.MAX_CLOCK_SKEW_S)
    late = [index for index, event in enumerate(batch) if event["timestamp"] > latest]
    if late:
        reason = f"lies more than {events.MAX_CLOCK_SKEW_S} s after the batch's arrival, {bronze.instant(arrival)}"
        raise _invalid(
            [EventError(index, "timestamp", "string", reason) for index in late[:MAX_LISTED_ERRORS]], len(late)
        )
    return Batch(raid_id, len(batch), events.canonical_json(batch))


def keep(store: ObjectStore, batch: Batch, envelope: Envelope) -> Response:
    """Store a batch and answer once the store has confirmed.

    Raises:
        Refusal: 409, the key holds another content.
        StoreUnavailable: nothing is acknowledged.
    """
    batch_id = envelope.key or bronze.batch_id(batch.content)
    key = bronze.object_key(batch.raid_id, envelope.arrival.date(), batch_id)
    digest = bronze.sha256(batch.content)
    metadata = bronze.metadata(batch_id, batch.event_count, envelope.arrival, envelope.source, digest)
    duplicate = not store.put_if_absent(key, batch.content, metadata)
    if duplicate:
        metadata |= _stored_metadata(store, key)
        if metadata["content-sha256"] != digest:
            raise Refusal(
                409,
                "idempotency-key",
                "Idempotency key used before",
                f"{key} holds another content; a new batch needs a new Idempotency-Key",
            )
    answer = {
        "batch_id": str(batch_id),
        "key": key,
        "event_count": batch.event_count,
        "duplicate": duplicate,
        "ingest_timestamp": metadata["ingest-timestamp"],
        "content_sha256": digest,
    }
    return _json(answer, 200 if duplicate else 201)


def _stored_metadata(store: ObjectStore, key: str) -> dict[str, str]:
    found = store.head(key)
    if found is None:
        raise StoreUnavailable(f"{store.url}: {key} was there and is gone")
    if "content-sha256" in found.attributes:
        return found.attributes
    return {"content-sha256": bronze.sha256(store.get(key))}


def _stated_arrival(text: str) -> datetime:
    try:
        stated = datetime.fromisoformat(text)
        if stated.tzinfo is None:
            raise ValueError("no offset")
        arrival = stated.astimezone(UTC)
        _ = arrival + timedelta(seconds=events.MAX_CLOCK_SKEW_S)
    except (ValueError, OverflowError) as error:
        raise _bad_header("X-Ingest-Timestamp", text, "ISO 8601 with offset") from error
    return arrival


def _first_errors(body: bytes, error: ValidationError) -> list[EventError]:
    """The first errors of a refused batch.

    Where there are many they are looked for in a few events at a time: pydantic gives all of them or none, and half a
    million take seconds and a gigabyte.
    """
    if error.error_count() <= MAX_LISTED_ERRORS:
        return [_event_error(each) for each in error.errors(include_url=False, include_context=False)]
    batch = [_with_few_unknown_fields(event) for event in from_json(body)]
    first: list[EventError] = []
    for start in range(0, len(batch), EVENTS_PER_LOOK):
        try:
            events.batch_adapter.validate_json(to_json(batch[start : start + EVENTS_PER_LOOK]))
        except ValidationError as part:
            first += [_event_error(each, start) for each in part.errors(include_url=False, include_context=False)]
        if len(first) >= MAX_LISTED_ERRORS:
            break
    return first[:MAX_LISTED_ERRORS]


def _with_few_unknown_fields(event: Any) -> Any:
    """An event's known fields and some of the others, which may be a million."""
    if not isinstance(event, dict):
        return event
    unknown = islice((name for name in event if name not in FIELDS), MAX_LISTED_ERRORS)
    return {name: event[name] for name in (*(FIELDS & event.keys()), *unknown)}


def _event_error(error: ErrorDetails, start: int = 0) -> EventError:
    """pydantic's error in the contract's words; its location is (index, kind of event, field, ...)."""
    location = error["loc"]
    value = error["input"]
    absent = error["type"] == "missing"
    path = ".".join(str(part) for part in location[2:]) or None
    if error["type"].startswith("union_tag"):
        path = "event_type"
        absent = isinstance(value, dict) and path not in value
        value = value.get(path) if isinstance(value, dict) else value
    kind = "absent" if absent else JSON_TYPES.get(type(value), "text")
    index = start + location[0] if location and isinstance(location[0], int) else None
    return EventError(index, _cut(path) if path else None, kind, _cut(error["msg"]))


def _invalid(errors: list[EventError], error_count: int) -> Refusal:
    found = "1 error" if error_count == 1 else f"{error_count} errors, {len(errors)} of them listed"
    detail = f"{found}; nothing of the batch was stored"
    return Refusal(400, "invalid-batch", "Invalid batch", detail, errors, error_count)


def _bad_header(name: str, value: str, expected: str) -> Refusal:
    return Refusal(400, "header", "Invalid header", f"{name} must be {expected}, not {_cut(value)!r}")


def _too_large() -> Refusal:
    detail = f"a body has at most {MAX_BODY_BYTES} bytes, decompressed as well; send smaller batches"
    return Refusal(413, "too-large", "Batch too large", detail)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _json(content: dict[str, Any], status: int, content_type: str = "application/json") -> Response:
    return Response(orjson.dumps(content), status, content_type=content_type)


def _problem(refusal: Refusal) -> Response:
    document: dict[str, Any] = {
        "type": PROBLEM_TYPE + refusal.name,
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
    }
    if refusal.error_count is not None:
        document |= {"errors": refusal.errors, "error_count": refusal.error_count}
    response = _json(document, refusal.status, "application/problem+json")
    response.headers.extend(refusal.headers)
    return response


def _store_unavailable(error: StoreUnavailable) -> Response:
    log.warning("%s", error)
    return _problem(
        Refusal(
            503,
            "store-unavailable",
            "Store unavailable",
            "the object store cannot confirm; nothing was acknowledged, send again later",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    )


def _http_problem(error: HTTPException) -> Response:
    """Flask's own answers (404, 405, 413, ...) as problem documents."""
    if error.code == 413:
        return _problem(_too_large())
    status = error.code or 500
    name = error.name.lower().replace(" ", "-")
    kept = {header: value for header, value in error.get_headers() if header in ("Allow", "Location")}
    return _problem(Refusal(status, name, error.name, error.description or error.name, headers=kept))


def _internal_error(error: Exception) -> Response:
    log.exception("a request failed", exc_info=error)
    return _problem(
        Refusal(500, "internal", "Internal error", "the receiver failed and logged why; nothing was acknowledged")
    )


def serve(host: str | None, port: int | None, workers: int, replay_clock: bool, until_stdin_ends: bool = False) -> None:
    """Receive until stopped (SIGTERM or Ctrl-C); says `listening on URL` on standard output when it is ready.

    The batches go to the store that the environment or `.env` names; where it names none, to the embedded one, which
    is started and stopped with the receiver unless it runs already.

    Args:
        host: address to listen on; `FLASK_HOST` by default.
        port: port to listen on, 0 for a free one; `FLASK_PORT` by default.
        workers: number of server processes, each with a few threads.
        replay_clock: whether senders may state when a batch arrived.
        until_stdin_ends: whether to stop at the end of standard input too, as it comes when the program that started
            this one is killed.

    Raises:
        PipelineError: the address cannot be used, or there is no store.
    """
    if until_stdin_ends:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    configured = settings.load()
    bucket = f"s3://{configured.s3_bucket_bronze}"
    connection = configured_connection()
    with _listen(host or configured.flask_host, configured.flask_port if port is None else port) as listener:
        if connection is not None:
            _run_server(listener, workers, bucket, connection, replay_clock)
            return
        with embedded_store.running() as embedded:
            _run_server_in_child(listener, workers, bucket, embedded, replay_clock)


def _stop_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _run_server(listener: socket.socket, workers: int, bucket: str, connection: Connection, replay_clock: bool) -> None:
    Server(listener, workers, lambda: create_app(open_store(bucket, connection), replay_clock)).run()


def _run_server_in_child(*arguments: Any) -> None:
    # This process has talked to the store; gunicorn forks, and a fork of a process that has used obstore hangs.
    server = multiprocessing.get_context("spawn").Process(target=_run_server_until_orphaned, args=arguments)
    server.start()
    try:
        server.join()
    finally:
        server.terminate()
        server.join()
    if server.exitcode:
        raise PipelineError(f"the receiver ended with exit code {server.exitcode}; what it said stands above")


def _run_server_until_orphaned(*arguments: Any) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _run_server(*arguments)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise PipelineError(
            f"cannot listen on {host}:{port} ({os.strerror(error.errno or 0)}): stop what uses the port or choose "
            "another with --port (0 takes a free one) or FLASK_PORT; the address is that of --host or FLASK_HOST"
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class DeadlineWorker(ThreadWorker):  # type: ignore[misc]
    """A gunicorn worker that drops a connection whose request takes too long, so that slow clients hold no thread."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadlines: dict[Any, float] = {}

    def handle(self, conn: Any) -> Any:
        self._deadlines[conn] = time.monotonic() + HEADER_DEADLINE_S
        try:
            return super().handle(conn)
        finally:
            self._deadlines.pop(conn, None)

    def handle_request(self, req: Any, conn: Any) -> Any:
        self._deadlines[conn] = time.monotonic() + REQUEST_DEADLINE_S
        return super().handle_request(req, conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """Called by the worker's loop about once a second."""
        super().murder_keepalived(force)
        now = time.monotonic()
        for conn, deadline in list(self._deadlines.items()):
            if deadline < now:
                self._deadlines.pop(conn, None)
                _hang_up(conn.sock)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.debug("the client was gone already")


class Server(BaseApplication):  # type: ignore[misc]
    """The receiver behind gunicorn, on a socket that is bound already."""

    def __init__(self, listener: socket.socket, workers: int, application: Callable[[], Flask]) -> None:
        url = _url(listener)
        self._options = {
            "bind": f"fd://{listener.detach()}",
            "workers": workers,
            "worker_class": DeadlineWorker,
            "threads": THREADS_PER_WORKER,
            "keepalive": 15,
            "loglevel": "warning",
            "control_socket_disable": True,
            "when_ready": lambda arbiter: _when_ready(arbiter, url),
            "post_worker_init": _begin_work,
        }
        self._application = application
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called in each worker, after the fork."""
        return self._application()


def _when_ready(arbiter: Arbiter, url: str) -> None:
    # Ctrl-C ends like SIGTERM: what is under way is answered first.
    signal.signal(signal.SIGINT, lambda *_: arbiter.signal(signal.SIGTERM, None))
    sys.stdout.write(f"listening on {url}\n")
    sys.stdout.flush()


def _begin_work(worker: ThreadWorker) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the master answers interrupts
    # A batch is thousands of objects without cycles: looking for some among them costs a tenth of its time.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    first_of_all = worker.age == 1
    if first_of_all:
        threading.Thread(target=_warn_unless_ready, args=(worker.wsgi.config["STORE"],), daemon=True).start()


def _warn_unless_ready(store: ObjectStore) -> None:
    # Not in the master: gunicorn forks, and a fork of a process that has used obstore hangs.
    try:
        store.ready()
    except StoreUnavailable as error:
        log.warning("%s; until it can be used every batch is answered with 503", error)
