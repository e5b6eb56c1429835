"""One suite for both kinds of store: a real S3 server and a local folder."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import store as store_module
from pipeline.errors import PipelineError
from pipeline.store import (
    BucketMissing,
    Connection,
    ObjectMissing,
    ObjectStore,
    StoredObject,
    StoreUnavailable,
    ensure_bucket,
    open_store,
)

ROOT = Path(__file__).parents[1]
KEY = "wow_raid_events/v1/raidid=raid001/ingestdate=2026-11-24/batch=0d9e.json"
ATTRIBUTES = {"batch-id": "0d9e", "event-count": "12", "ingest-timestamp": "2026-11-24T19:00:00.000000Z"}
segments = st.text(st.sampled_from("abcXYZ0189_-=. +"), min_size=1, max_size=12).filter(lambda text: text.strip(". "))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen who race for one key keep each other waiting; what counts is who wins, not how soon."""
    monkeypatch.setattr(store_module, "REQUEST_TIMEOUT", timedelta(seconds=120))


@pytest.fixture(params=["s3", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        bucket: ObjectStore = request.getfixturevalue("bucket")
        return bucket
    return open_store(str(tmp_path / "layer"))


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(path=st.lists(segments, min_size=1, max_size=4), content=st.binary(max_size=2000))
def test_what_is_put_is_read_back_and_listed(store: ObjectStore, path: list[str], content: bytes) -> None:
    folder = uuid4().hex
    key = "/".join([folder, *path])
    store.put(key, content)
    assert store.get(key) == content
    assert store.list(folder) == [StoredObject(key, len(content))]


def test_put_if_absent_stores_once_and_never_overwrites(store: ObjectStore) -> None:
    assert store.put_if_absent(KEY, b"first", ATTRIBUTES)
    assert not store.put_if_absent(KEY, b"second", {"batch-id": "other"})
    assert store.get(KEY) == b"first"


def test_of_sixteen_racing_creators_exactly_one_wins(patient: None, store: ObjectStore) -> None:
    starting_line = threading.Barrier(16)

    def create(number: int) -> bool:
        starting_line.wait()
        return store.put_if_absent(KEY, f"content {number}".encode())

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert store.get(KEY) == f"content {won.index(True)}".encode()


def test_put_overwrites(store: ObjectStore) -> None:
    store.put(KEY, b"old and longer")
    store.put(KEY, b"new")
    assert store.get(KEY) == b"new"


def test_an_object_of_several_parts_comes_back_whole(store: ObjectStore) -> None:
    content = bytes(range(256)) * 50_000
    store.put(KEY, content)
    assert store.get(KEY) == content
    assert store.put_if_absent(KEY + "2", content)
    assert store.get(KEY + "2") == content


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    assert store.head("no/such") is None
    with pytest.raises(ObjectMissing, match="no/such"):
        store.get("no/such")


def test_head_gives_size_and_where_the_store_keeps_them_attributes(store: ObjectStore) -> None:
    store.put_if_absent(KEY, b"12345", ATTRIBUTES)
    kept = ATTRIBUTES if store.url.startswith("s3://") else {}
    assert store.head(KEY) == StoredObject(KEY, 5, kept)


def test_listing_is_sorted_by_key_and_takes_whole_segments(store: ObjectStore) -> None:
    keys = ["b/1", "a/2", "a/b/3", "a-b/4", "ab/5", "a=1/6"]
    for key in keys:
        store.put(key, b"x")
    assert [each.key for each in store.list()] == sorted(keys)
    assert [each.key for each in store.list("a")] == ["a/2", "a/b/3"]
    assert store.list("nothing/here") == []


def test_listing_goes_beyond_one_page(store: ObjectStore) -> None:
    keys = [f"page/{number:04}" for number in range(1050)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    assert [each.key for each in store.list("page")] == keys


def test_a_key_cannot_leave_the_store(store: ObjectStore) -> None:
    for key in ("../outside", "a//b", "a/./b"):
        with pytest.raises(ValueError, match="path"):
            store.put(key, b"x")


def test_a_store_that_answers_is_ready_also_when_empty(store: ObjectStore) -> None:
    store.ready()


def test_a_prefix_is_a_store_of_its_own(connection: Connection, bucket: ObjectStore) -> None:
    inner = open_store(f"{bucket.url}/season/", connection)
    inner.put("raid", b"x")
    assert [each.key for each in inner.list()] == ["raid"]
    assert [each.key for each in bucket.list()] == ["season/raid"]


def test_attributes_beyond_ascii_are_refused_before_they_become_unreadable(bucket: ObjectStore) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        bucket.put(KEY, b"x", {"batch-source": "Zürich"})
    assert bucket.head(KEY) is None


def test_a_missing_bucket_is_said(connection: Connection) -> None:
    store = open_store("s3://no-such-bucket", connection)
    create = partial(store.put_if_absent, "a", b"x")
    attempts: list[Callable[[], object]] = [store.ready, store.list, create, lambda: store.get("a")]
    for attempt in attempts:
        with pytest.raises(BucketMissing, match="s3://no-such-bucket: there is no such bucket"):
            attempt()


def test_a_missing_bucket_can_be_created(connection: Connection) -> None:
    name = f"test-{uuid4().hex[:12]}"
    ensure_bucket(name, connection)
    ensure_bucket(name, connection)
    open_store(f"s3://{name}", connection).ready()


@pytest.mark.parametrize("wrong", [{"secret_key": "wrong-secret-key"}, {"access_key": "nobody"}])
def test_wrong_keys_are_said(connection: Connection, bucket: ObjectStore, wrong: dict[str, str]) -> None:
    store = open_store(bucket.url, replace(connection, **wrong))
    attempts: list[Callable[[], object]] = [store.ready, lambda: store.head(KEY), lambda: store.put(KEY, b"x")]
    for attempt in attempts:
        with pytest.raises(StoreUnavailable, match="refuses the credentials; check S3_ACCESS_KEY"):
            attempt()


def test_a_store_that_is_down_is_said_soon(connection: Connection) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        down = replace(connection, endpoint_url=f"http://127.0.0.1:{unused.getsockname()[1]}")
        store = open_store("s3://bronze", down)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            store.put_if_absent(KEY, b"x")
        assert time.monotonic() - began < 15


def test_a_store_that_hangs_is_given_up(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "REQUEST_TIMEOUT", timedelta(seconds=0.3))
    monkeypatch.setattr(store_module, "RETRY_TIMEOUT", timedelta(seconds=1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = replace(connection, endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = open_store("s3://bronze", hanging)
        create = partial(store.put_if_absent, KEY, b"x")
        attempts: list[Callable[[], object]] = [store.list, create, lambda: store.get(KEY)]
        for attempt in attempts:
            with pytest.raises(StoreUnavailable, match="does not answer"):
                attempt()


def test_a_folder_that_disappeared_is_said(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "layer"))
    shutil.rmtree(tmp_path / "layer")
    with pytest.raises(StoreUnavailable, match="layer"):
        store.ready()


@pytest.fixture
def losing_the_first_answer(connection: Connection) -> Iterator[Callable[[], Connection]]:
    """A way to the store on which the answer to the first request is lost after the store has given it."""
    target = urlsplit(connection.endpoint_url)
    listener = socket.create_server(("127.0.0.1", 0))

    def exchange(client: socket.socket, lose: bool) -> None:
        with client, socket.create_connection((target.hostname or "", target.port or 80)) as server:
            server.sendall(client.recv(65536))
            answer = server.recv(65536)
            if not lose:
                client.sendall(answer)

    def serve() -> None:
        lose = True
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            exchange(client, lose)
            lose = False

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield lambda: replace(connection, endpoint_url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_create_whose_answer_was_lost_is_stored_once_and_says_that_it_exists(
    bucket: ObjectStore, losing_the_first_answer: Callable[[], Connection]
) -> None:
    store = open_store(bucket.url, losing_the_first_answer())
    assert not store.put_if_absent("lost", b"mine", ATTRIBUTES)
    assert bucket.get("lost") == b"mine"
    assert [each.key for each in bucket.list()] == ["lost"]


def test_variables_for_other_stores_and_proxies_do_not_count(connection: Connection, bucket: ObjectStore) -> None:
    """On clusters a proxy, and on laptops AWS keys, are usual; neither may come between us and our store."""
    code = "import sys; from pipeline.store import open_store; open_store(sys.argv[1]).put('key', b'x')"
    other = {
        "AWS_SESSION_TOKEN": "token",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_PROFILE": "nobody",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }
    command = [sys.executable, "-c", code, bucket.url]
    environment = os.environ | connection.environment() | other
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert bucket.get("key") == b"x"


def test_the_secret_key_is_not_shown(connection: Connection) -> None:
    assert connection.secret_key not in repr(connection)


@pytest.mark.parametrize("address", ["127.0.0.1:9000", "ftp://store", "http://", "http://a b", "minio"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(PipelineError, match="no address of a store"):
        Connection(address, "access", "secret")


def test_an_s3_url_without_a_store_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S3_ENDPOINT_URL", raising=False)
    with pytest.raises(PipelineError, match=r"store up.*store use ENDPOINT"):
        open_store("s3://bronze")


def test_an_endpoint_without_keys_says_what_is_missing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.delenv("S3_SECRET_KEY", raising=False)
    with pytest.raises(PipelineError, match="S3_SECRET_KEY is missing"):
        open_store("s3://bronze")
