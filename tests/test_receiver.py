"""The receiver over real HTTP (gunicorn in a process of its own) and a real store."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import psutil
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import bronze, embedded_store, events, ingest, receiver
from pipeline.errors import PipelineError
from pipeline.receiver import Refusal
from pipeline.store import Connection, ObjectStore, open_store
from tests.conftest import ROOT, make_home

ARRIVAL = "2024-11-24T20:00:00Z"


def an_event(raid_id: str, **fields: Any) -> dict[str, Any]:
    """A valid event, with other or more fields where named."""
    return {
        "event_id": str(uuid4()),
        "event_type": "combat_damage",
        "timestamp": "2024-11-24T19:59:00+00:00",
        "raid_id": raid_id,
        "source_player_id": "p1",
        "source_player_name": "Thrall",
        "damage_amount": 100.5,
    } | fields


@pytest.fixture(scope="module")
def base_url(connection: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(make_home(tmp_path_factory.mktemp("receiver"))))
        patch.setenv("PYTHONPATH", str(ROOT))
        with ingest.receiver_process(connection, workers=2) as running:
            yield running.url


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=60, trust_env=False) as opened:
        yield opened


@pytest.fixture
def stored(connection: Connection) -> ObjectStore:
    return open_store(f"s3://{os.environ.get('S3_BUCKET_BRONZE', 'bronze')}", connection)


@pytest.fixture
def raid_id() -> str:
    return f"raid-{uuid4().hex[:12]}"


def post(client: httpx.Client, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/events", content=content, headers={"Content-Type": "application/json"} | named)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail"} <= document.keys()
    assert document["status"] == status
    return document


def test_an_accepted_batch_is_stored_in_canonical_form_with_its_metadata(
    client: httpx.Client, stored: ObjectStore, raid_id: str
) -> None:
    batch = [an_event(raid_id, phase=None), an_event(raid_id, event_type="roster", damage_amount=None)]
    key = uuid4()
    answer = post(client, batch, Idempotency_Key=str(key).upper(), X_Batch_Source="test", X_Ingest_Timestamp=ARRIVAL)

    canonical = events.canonical_json(events.batch_adapter.validate_json(orjson.dumps(batch)))
    path = f"wow_raid_events/v1/raidid={raid_id}/ingestdate=2024-11-24/batch={key}.json"
    assert answer.status_code == 201
    assert answer.json() == {
        "batch_id": str(key),
        "key": path,
        "event_count": 2,
        "duplicate": False,
        "ingest_timestamp": "2024-11-24T20:00:00.000000Z",
        "content_sha256": bronze.sha256(canonical),
    }
    assert stored.get(path) == canonical
    found = stored.head(path)
    assert found is not None
    assert found.attributes == {
        "batch-id": str(key),
        "event-count": "2",
        "ingest-timestamp": "2024-11-24T20:00:00.000000Z",
        "batch-source": "test",
        "content-sha256": bronze.sha256(canonical),
    }


def test_without_a_key_the_content_is_the_key_however_it_is_written(client: httpx.Client, raid_id: str) -> None:
    event = an_event(raid_id)
    rewritten = orjson.dumps([dict(reversed(event.items())) | {"phase": None}], option=orjson.OPT_INDENT_2)
    first, second = post(client, [event]), post(client, rewritten)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json() | {"duplicate": True}


def test_a_repeated_batch_is_acknowledged_as_the_one_that_is_stored(client: httpx.Client, raid_id: str) -> None:
    batch, key = [an_event(raid_id)], str(uuid4())
    first = post(client, batch, Idempotency_Key=key, X_Ingest_Timestamp=ARRIVAL)
    later = post(client, batch, Idempotency_Key=key, X_Ingest_Timestamp="2024-11-24T21:00:00Z")
    assert (first.status_code, later.status_code) == (201, 200)
    assert later.json() == first.json() | {"duplicate": True}


def test_a_key_is_not_used_for_two_contents(client: httpx.Client, stored: ObjectStore, raid_id: str) -> None:
    key = str(uuid4())
    first = post(client, [an_event(raid_id)], Idempotency_Key=key)
    problem(post(client, [an_event(raid_id)], Idempotency_Key=key), 409)
    assert bronze.sha256(stored.get(first.json()["key"])) == first.json()["content_sha256"]


def test_of_the_same_batch_sent_at_once_one_is_stored(client: httpx.Client, raid_id: str) -> None:
    batch = [an_event(raid_id) for _ in range(50)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(client, batch).status_code, range(16)))
    assert sorted(answers) == [200] * 15 + [201]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_compressed_batches_are_welcome(client: httpx.Client, raid_id: str, encoding: str, compress: Any) -> None:
    body = orjson.dumps([an_event(raid_id)])
    assert post(client, compress(body), Content_Encoding=encoding).status_code == 201
    assert post(client, compress(body[:9]) + compress(body[9:]), Content_Encoding=encoding).status_code == 200
    problem(post(client, body, Content_Encoding=encoding), 400)
    problem(post(client, compress(body)[:-12], Content_Encoding=encoding), 400)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", lambda body: gzip.compress(body, 1)), ("zstd", zstandard.compress)]
)
def test_a_bomb_is_refused_before_it_is_expanded(encoding: str, compress: Any) -> None:
    bomb = compress(bytes(300_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(Refusal) as refused:
            receiver.decompressed(bomb, encoding)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.status == 413
    assert peak < 4 * receiver.MAX_BODY_BYTES


def test_what_is_too_large_is_refused_plain_and_compressed_and_in_chunks(client: httpx.Client) -> None:
    body = b" " * (receiver.MAX_BODY_BYTES + 1)
    problem(post(client, body), 413)
    problem(post(client, zstandard.compress(body), Content_Encoding="zstd"), 413)
    json_only = {"Content-Type": "application/json"}
    problem(client.post("/events", content=iter([body[:-1], b"[]"]), headers=json_only), 413)
    problem(post(client, body[:-1]), 400)


def test_a_body_of_unannounced_length_is_read_whole(client: httpx.Client, raid_id: str) -> None:
    body = orjson.dumps([an_event(raid_id) for _ in range(1000)])
    parts = iter([body[:1000], body[1000:150_000], body[150_000:]])
    answer = client.post("/events", content=parts, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["event_count"]) == (201, 1000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[1",
        b"\xff\xfe",
        b"[NaN]",
        b"[" * 100_000,
        b'["\\ud800"]',
        b"[" + b"9" * 6000 + b"]",
        b"[{}]",
        b'[{"event_type":["heal"]}]',
        b'[{"event_type":null}]',
        b"[" + b",".join([b"0"] * 10_001) + b"]",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_batch_of_events_is_refused(client: httpx.Client, body: bytes) -> None:
    document = problem(post(client, body), 400)
    assert document["error_count"] >= 1
    assert document["errors"][0].keys() == {"index", "field", "input_type", "reason"}


@pytest.mark.parametrize(
    ("fields", "field", "input_type"),
    [
        ({"event_id": "x"}, "event_id", "string"),
        ({"damage_amount": None}, "damage_amount", "null"),
        ({"damage_amount": "100"}, "damage_amount", "string"),
        ({"source_player_id": ""}, "source_player_id", "string"),
        ({"event_type": "dance"}, "event_type", "string"),
        ({"event_type": 7}, "event_type", "integer"),
        ({"raid_size": 1.5}, "raid_size", "number"),
        ({"is_blocked": [True]}, "is_blocked", "array"),
        ({"data_quality_flags": ["a", {}]}, "data_quality_flags.1", "object"),
        ({"favourite_colour": True}, "favourite_colour", "boolean"),
    ],
)
def test_an_error_names_index_field_and_type(
    client: httpx.Client, raid_id: str, fields: dict[str, Any], field: str, input_type: str
) -> None:
    document = problem(post(client, [an_event(raid_id), an_event(raid_id, **fields)]), 400)
    assert document["error_count"] == 1
    assert document["errors"][0] | {"reason": ""} == {
        "index": 1,
        "field": field,
        "input_type": input_type,
        "reason": "",
    }


def test_a_missing_field_is_called_absent(client: httpx.Client, raid_id: str) -> None:
    event = an_event(raid_id)
    del event["source_player_name"]
    found = problem(post(client, [event]), 400)["errors"][0]
    assert (found["index"], found["field"], found["input_type"]) == (0, "source_player_name", "absent")


def test_a_batch_with_one_bad_event_is_not_stored_at_all(
    client: httpx.Client, stored: ObjectStore, raid_id: str
) -> None:
    problem(post(client, [an_event(raid_id), an_event(raid_id, damage_amount=-1), an_event(raid_id)]), 400)
    assert stored.list(f"wow_raid_events/v1/raidid={raid_id}") == []


def test_fifty_errors_are_listed_and_all_are_counted(client: httpx.Client, raid_id: str) -> None:
    good = [an_event(raid_id) for _ in range(500)]
    bad = [{"event_type": "heal", "raid_id": 5} for _ in range(3000)]
    document = problem(post(client, good + bad), 400)
    assert document["error_count"] == 6 * 3000
    assert [error["index"] for error in document["errors"]] == [500 + number // 6 for number in range(50)]


def test_a_million_unknown_fields_are_counted_and_fifty_listed() -> None:
    body = orjson.dumps([{"event_type": "heal"} | {f"field{number}": 1 for number in range(20_000)}])
    with pytest.raises(Refusal) as refused:
        receiver.validated(body, datetime.now(UTC))
    assert (refused.value.error_count, len(refused.value.errors)) == (20_006, 50)
    assert [error.field for error in refused.value.errors[:2]] == ["event_id", "timestamp"]


def test_long_names_and_values_do_not_come_back_whole(client: httpx.Client) -> None:
    answer = post(client, [{"event_type": "x" * 100_000}, {"event_type": "heal", "y" * 100_000: 1}])
    problem(answer, 400)
    assert len(answer.content) < 10_000


def test_a_batch_of_several_raids_names_the_foreign_events(client: httpx.Client, raid_id: str) -> None:
    batch = [an_event(raid_id), an_event("raid002"), an_event(raid_id), an_event("raid003")]
    document = problem(post(client, batch), 400)
    assert document["error_count"] == 2
    assert [(error["index"], error["field"]) for error in document["errors"]] == [(1, "raid_id"), (3, "raid_id")]


def test_an_event_later_than_its_arrival_is_refused_beyond_the_tolerance(client: httpx.Client, raid_id: str) -> None:
    arrival = datetime.fromisoformat(ARRIVAL)
    tolerated = an_event(raid_id, timestamp=(arrival + timedelta(minutes=5)).isoformat())
    late = an_event(raid_id, timestamp=(arrival + timedelta(minutes=5, microseconds=1)).isoformat())
    last = an_event(raid_id, timestamp="9999-12-31T23:59:59Z")
    document = problem(post(client, [tolerated, late, last], X_Ingest_Timestamp=ARRIVAL), 400)
    assert [(error["index"], error["field"]) for error in document["errors"]] == [(1, "timestamp"), (2, "timestamp")]
    assert post(client, [tolerated], X_Ingest_Timestamp=ARRIVAL).status_code == 201


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Idempotency-Key", "7"),
        ("Idempotency-Key", "{0b7d0e0c-1111-4111-8111-111111111111}"),
        ("X-Batch-Source", "a/b"),
        ("X-Ingest-Timestamp", "yesterday"),
        ("X-Ingest-Timestamp", "2024-11-24T20:00:00"),
        ("X-Ingest-Timestamp", "9999-12-31T23:59:59-12:00"),
    ],
)
def test_a_header_with_an_impossible_value_is_refused(
    client: httpx.Client, raid_id: str, name: str, value: str
) -> None:
    document = problem(post(client, [an_event(raid_id)], **{name: value}), 400)
    assert name in document["detail"]


def test_only_json_and_known_encodings_are_taken(client: httpx.Client, raid_id: str) -> None:
    body = orjson.dumps([an_event(raid_id)])
    problem(post(client, body, **{"Content-Type": "text/csv"}), 415)
    problem(client.post("/events", content=body), 415)
    refused = post(client, body, Content_Encoding="br")
    problem(refused, 415)
    assert refused.headers["accept-encoding"] == "gzip, zstd"
    assert post(client, body, **{"Content-Type": "Application/JSON; charset=utf-8"}).status_code == 201


def test_unknown_paths_and_methods_are_problem_documents_too(client: httpx.Client) -> None:
    problem(client.get("/nothing"), 404)
    refused = client.get("/events")
    problem(refused, 405)
    assert "POST" in refused.headers["allow"]


def test_an_internal_error_is_a_problem_document(tmp_path: Path) -> None:
    class Broken(ObjectStore):
        def ready(self) -> None:
            raise RuntimeError("secret")

    broken = Broken("broken", open_store(str(tmp_path))._backend)
    answer = receiver.create_app(broken).test_client().get("/health/ready")
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert b"secret" not in answer.data


def test_without_the_replay_clock_the_receivers_own_clock_counts(tmp_path: Path) -> None:
    client = receiver.create_app(open_store(str(tmp_path))).test_client()
    headers = {"X-Ingest-Timestamp": "2031-01-01T00:00:00Z"}
    before = datetime.now(UTC)
    answer = client.post("/events", json=[an_event("raid001", timestamp="2024-01-01T00:00:00Z")], headers=headers)
    assert before <= datetime.fromisoformat(answer.get_json()["ingest_timestamp"]) <= datetime.now(UTC)


def test_a_local_folder_serves_as_store(tmp_path: Path) -> None:
    client = receiver.create_app(open_store(str(tmp_path)), replay_clock=True).test_client()
    headers = {"X-Ingest-Timestamp": ARRIVAL, "Idempotency-Key": str(uuid4())}
    statuses = [
        client.post("/events", json=[an_event("raid001")] * count, headers=headers).status_code for count in (1, 2)
    ]
    assert statuses == [201, 409]


def test_health_and_schema_answer(client: httpx.Client) -> None:
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").status_code == 200
    answer = client.get("/schema")
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json() == events.json_schema()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(events.event_fields())), inner),
    max_leaves=20,
)


EVENT = st.dictionaries(st.sampled_from([*events.event_fields(), "unknown"]), JSON, max_size=2).map(
    lambda fields: an_event("raid001") | fields
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT | JSON, max_size=4) | JSON)
def test_whatever_json_comes_it_is_refused_with_reasons_or_what_is_stored_is_valid(content: Any) -> None:
    try:
        batch = receiver.validated(json.dumps(content).encode(), datetime.now(UTC))
    except Refusal as refusal:
        assert refusal.status == 400
        assert refusal.errors
    else:
        again = events.canonical_json(events.batch_adapter.validate_json(batch.content))
        assert (again, batch.event_count) == (batch.content, len(content))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_pass_or_be_refused(body: bytes) -> None:
    for encoding in ("gzip", "zstd", "identity"):
        try:
            receiver.validated(receiver.decompressed(body, encoding), datetime.now(UTC))
        except Refusal as refusal:
            assert refusal.status == 400


def started(code: str, home: Path, **variables: str) -> subprocess.Popen[str]:
    """A process of its own with the receiver; its first line says where it listens."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("S3_")}
    environment |= {"DVC_ROOT": str(home), "PYTHONPATH": str(ROOT)} | variables
    return subprocess.Popen([sys.executable, *code.split("\x00")], cwd=home, env=environment, stdout=-1, text=True)


def announced(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:"), line
    return line.removeprefix("listening on ").strip()


RECEIVE = "\x00".join(["-m", "pipeline", "receive", "--port", "0", "--workers", "1"])


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_answered_before_the_receiver_ends(
    connection: Connection, home: Path, raid_id: str, ending: signal.Signals
) -> None:
    process = started(RECEIVE, home, **connection.environment())
    url = httpx.URL(announced(process))
    body = orjson.dumps([an_event(raid_id)])
    with socket.create_connection((url.host, url.port or 0)) as client:
        head = (
            f"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body[:20])
        _until(lambda: _workers_reading(process.pid, url.port or 0))
        process.send_signal(ending)
        client.sendall(body[20:])
        assert client.recv(100).startswith(b"HTTP/1.1 201")
    assert process.wait(20) == 0


def test_a_client_that_never_ends_its_headers_is_dropped(connection: Connection, home: Path) -> None:
    code = "from pipeline import receiver; receiver.HEADER_DEADLINE_S = 1; receiver.serve(None, 0, 1, False)"
    process = started(f"-c\x00{code}", home, **connection.environment())
    try:
        url = httpx.URL(announced(process))
        slow = [socket.create_connection((url.host, url.port or 0)) for _ in range(receiver.THREADS_PER_WORKER)]
        for client in slow:
            client.sendall(b"POST /events HTTP/1.1\r\nHost:")
        assert httpx.get(f"{url}/health/live", timeout=15, trust_env=False).status_code == 200
        for client in slow:
            client.settimeout(15)
            assert client.recv(100) == b""
            client.close()
    finally:
        process.terminate()
        process.wait(20)


def test_without_a_configured_store_the_embedded_one_runs_with_the_receiver(home: Path, raid_id: str) -> None:
    process = started(RECEIVE, home)
    try:
        url = announced(process)
        answer = post(httpx.Client(base_url=url, timeout=30, trust_env=False), [an_event(raid_id)])
        assert answer.status_code == 201
        assert embedded_store.status().answers
    finally:
        process.terminate()
        process.wait(60)
    assert embedded_store.status().pid is None


def test_a_busy_port_is_said_with_its_remedy(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(PipelineError, match=f"127.0.0.1:{port}.*--port"):
            receiver.serve("127.0.0.1", port, 1, replay_clock=False)


def _until(reached: Any, deadline_s: float = 20) -> None:
    deadline = time.monotonic() + deadline_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _workers_reading(master: int, port: int) -> bool:
    """Whether a worker has accepted the connection."""
    workers = psutil.Process(master).children(recursive=True)
    connections = [each for worker in workers for each in worker.net_connections(kind="tcp")]
    return any(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port for each in connections)
