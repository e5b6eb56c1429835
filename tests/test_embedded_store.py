"""The embedded store's life, with real processes in checkouts of their own."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from configobj import ConfigObj  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import embedded_store, settings
from pipeline.embedded_store import Status
from pipeline.errors import PipelineError
from pipeline.store import Connection, ObjectStore, StoreUnavailable, open_store

ROOT = Path(__file__).parents[1]
# It looks up five times a second: a signal that comes just before a blocking read would wait for its end.
STAGE = """
import select
import sys
from pipeline import determinism, embedded_store
with embedded_store.running() as connection:
    print(connection.endpoint_url, flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        pass
"""
DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def no_store_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S3_ENDPOINT_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout in which `store up` was called."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "dvc.yaml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.delenv("S3_ENDPOINT_URL", raising=False)
        embedded_store.up()
    yield folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.delenv("S3_ENDPOINT_URL", raising=False)
        embedded_store.down()


@pytest.fixture
def up(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Status:
    monkeypatch.setenv("DVC_ROOT", str(kept))
    return embedded_store.up()


@pytest.fixture
def stages() -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    """Starts processes that use the store as a stage does, until they are told to end."""
    with ExitStack() as stack:

        def start(home: Path) -> "subprocess.Popen[str]":
            stage = subprocess.Popen(
                [sys.executable, "-c", STAGE],
                cwd=ROOT,
                env=os.environ | {"DVC_ROOT": str(home)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(end, stage)
            return stage

        yield start


def end(stage: "subprocess.Popen[str]") -> None:
    """Let a stage end as it likes to."""
    if stage.poll() is None:
        stage.communicate("\n", timeout=DEADLINE_S)


def endpoint(stage: "subprocess.Popen[str]") -> str:
    """Wait until the stage is at work; where its store is."""
    assert stage.stdout
    line = stage.stdout.readline().strip()
    assert line, "the stage ended without a store"
    return line


def server(home: Path) -> psutil.Process | None:
    """The store process that the operating system knows for a checkout, whatever we wrote about it."""
    wanted = f"-dir={home.resolve() / '.store' / 'data'}"
    found = [each for each in psutil.process_iter(["cmdline"]) if wanted in (each.info["cmdline"] or [])]
    assert len(found) <= 1
    return found[0] if found else None


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_up_gives_an_answering_store_with_its_buckets(up: Status, kept: Path) -> None:
    assert up.answers
    assert up.buckets == ("bronze", "silver", "gold", "dvc")
    process = server(kept)
    assert process
    assert process.pid == up.pid
    assert embedded_store.status() == up
    for words in (str(up.pid), "http://127.0.0.1:", str(kept / ".store" / "data"), "bronze, silver, gold, dvc"):
        assert words in up.describe()


def test_up_twice_is_one_store(up: Status) -> None:
    assert embedded_store.up() == up


def test_it_listens_on_this_machine_only(up: Status) -> None:
    listening = [each for each in psutil.Process(up.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}
    ports = {each.laddr.port for each in listening}
    chosen = set(json.loads((up.data.parent / "state.json").read_text())["ports"].values()) if up.data else set()
    assert ports == chosen | {port + 10_000 for port in chosen}
    assert max(ports) < 32_768


def test_only_its_owner_reads_what_it_keeps(up: Status, kept: Path) -> None:
    folder = kept / ".store"
    assert mode(folder) == 0o700
    assert {mode(folder / name) for name in ("s3.json", "grpc.key", "state.json")} == {0o600}


def test_nobody_without_keys_gets_in(up: Status, kept: Path) -> None:
    """Over S3, and past it: through the filer's and the master's HTTP ports and over gRPC."""
    assert up.connection
    open_store("s3://bronze", up.connection).put("guarded", b"secret")
    ports = json.loads((kept / ".store" / "state.json").read_text())["ports"]
    attempts = [
        ("GET", ports["s3"], "/bronze/guarded"),
        ("GET", ports["filer"], "/buckets/bronze/guarded"),
        ("DELETE", ports["filer"], "/buckets/bronze/guarded"),
        ("PUT", ports["filer"], "/buckets/bronze/planted"),
        ("GET", ports["master"], "/col/delete?collection=bronze"),
        ("POST", ports["master"], "/col/delete?collection=bronze"),
    ]
    for method, port, path in attempts:
        answer = httpx.request(method, f"http://127.0.0.1:{port}{path}", trust_env=False)
        assert answer.is_client_error, (method, path, answer.status_code)
    shell = [psutil.Process(up.pid).exe(), "shell", f"-master=127.0.0.1:{ports['master']}"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [*shell, f"-filer=127.0.0.1:{ports['filer']}"],
            cwd="/",
            input="lock\nfs.rm -r /buckets/bronze\n",
            capture_output=True,
            text=True,
            timeout=4,
            check=False,
        )
    assert open_store("s3://bronze", up.connection).get("guarded") == b"secret"


def test_a_stage_leaves_a_kept_store_running(
    up: Status, kept: Path, stages: Callable[[Path], "subprocess.Popen[str]"]
) -> None:
    stage = stages(kept)
    assert up.connection
    assert endpoint(stage) == up.connection.endpoint_url
    end(stage)
    assert stage.returncode == 0
    assert embedded_store.status() == up


def test_down_waits_for_who_uses_it(up: Status, kept: Path, stages: Callable[[Path], "subprocess.Popen[str]"]) -> None:
    stage = stages(kept)
    endpoint(stage)
    with pytest.raises(PipelineError, match="in use by another command"):
        embedded_store.down()
    assert embedded_store.status().answers
    end(stage)
    assert server(kept) is None


def test_a_killed_store_comes_back_with_its_data_keys_and_ports(up: Status, kept: Path) -> None:
    assert up.connection
    open_store("s3://gold", up.connection).put("kept", b"x" * 10_000)
    psutil.Process(up.pid).kill()
    psutil.Process(up.pid).wait(DEADLINE_S)
    assert not embedded_store.status().answers
    again = embedded_store.up()
    assert again.connection == up.connection
    assert again.pid != up.pid
    assert open_store("s3://gold", up.connection).get("kept") == b"x" * 10_000


def test_a_busy_port_makes_it_move_with_its_data(up: Status, kept: Path) -> None:
    assert up.connection
    open_store("s3://silver", up.connection).put("moved", b"x")
    embedded_store.down()
    with holding(int(up.connection.endpoint_url.rpartition(":")[2])):
        moved = embedded_store.up().connection
    assert moved
    assert moved.endpoint_url != up.connection.endpoint_url
    assert open_store("s3://silver", moved).get("moved") == b"x"


@contextmanager
def holding(port: int) -> Iterator[None]:
    """Keep a port busy; where another store of these tests has taken it meanwhile, it is busy already."""
    deadline = time.monotonic() + DEADLINE_S / 6
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while time.monotonic() < deadline:
            try:
                squatter.bind(("127.0.0.1", port))
                squatter.listen()
                break
            except OSError:
                time.sleep(0.1)
        yield


def test_down_stops_it_and_says_whether_it_ran(up: Status, kept: Path) -> None:
    assert embedded_store.down()
    assert server(kept) is None
    assert not embedded_store.down()
    assert "not running" in embedded_store.status().describe()


def test_two_stages_at_once_share_one_store_until_the_last_ends(
    home: Path, stages: Callable[[Path], "subprocess.Popen[str]"]
) -> None:
    first, second = stages(home), stages(home)
    assert endpoint(first) == endpoint(second)
    process = server(home)
    assert process
    end(first)
    assert server(home) == process
    assert embedded_store.status().answers
    end(second)
    assert server(home) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_that_is_interrupted_stops_what_it_started(
    home: Path, stages: Callable[[Path], "subprocess.Popen[str]"], number: signal.Signals
) -> None:
    stage = stages(home)
    endpoint(stage)
    stage.send_signal(number)
    assert stage.wait(DEADLINE_S) != 0
    assert server(home) is None


def test_a_stage_that_fails_stops_what_it_started_even_after_one_that_was_killed(
    home: Path, stages: Callable[[Path], "subprocess.Popen[str]"]
) -> None:
    killed = stages(home)
    endpoint(killed)
    killed.kill()
    killed.wait(DEADLINE_S)
    orphan = server(home)
    assert orphan
    with pytest.raises(ZeroDivisionError), embedded_store.running():
        assert server(home) == orphan
        _ = 1 / 0
    assert server(home) is None


def test_a_reused_pid_is_not_taken_for_the_store(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (home / ".store").mkdir()
        state = {"ports": {}, "pid": stranger.pid, "kept": True}
        (home / ".store" / "state.json").write_text(json.dumps(state))
        assert not embedded_store.down()
        assert stranger.poll() is None
        stranger.communicate(b"\n")


def test_a_store_that_cannot_start_shows_the_end_of_its_log(home: Path) -> None:
    (home / ".store" / "data").mkdir(parents=True)
    (home / ".store" / "data" / "filerldb2").write_text("no folder")
    with pytest.raises(
        PipelineError, match=r"the embedded store ended while starting; the end of .*output\.txt:\n.*\S"
    ):
        embedded_store.up()
    assert server(home) is None


def test_too_little_disk_says_how_much_is_free_and_needed() -> None:
    assert embedded_store.disk_problem(free=10 * 10**9, total=100 * 10**9) is None
    assert embedded_store.disk_problem(free=2 * 10**9, total=100 * 10**9) == (
        "too little disk for the store: 2.0 GB free, 2.1 GB needed: free some"
    )


def test_free_ports_are_kept() -> None:
    chosen = embedded_store.choose_ports({})
    assert embedded_store.choose_ports(chosen) == chosen


def test_no_free_ports_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        monkeypatch.setattr(embedded_store, "PORTS", range(port, port + 1))
        with pytest.raises(PipelineError, match=r"no 5 free ports .*store use ENDPOINT"):
            embedded_store.choose_ports({})


def test_use_points_the_pipeline_and_dvc_to_another_store_and_back(home: Path, connection: Connection) -> None:
    (home / ".dvc").mkdir()
    (home / ".dvc" / "config.local").write_text("[cache]\n    dir = /elsewhere\n['remote \"minio\"']\n    jobs = 2\n")
    (home / ".env").write_text("# mine\nFLASK_PORT=5001\nexport S3_ACCESS_KEY=old\n")
    used = embedded_store.use(connection.endpoint_url, connection.access_key, connection.secret_key)
    assert used.kind == "external"
    assert used.answers
    assert used.connection == connection
    assert (home / ".env").read_text().startswith("# mine\nFLASK_PORT=5001\nS3_ENDPOINT_URL=")
    config = ConfigObj(str(home / ".dvc" / "config.local"))
    assert config["cache"] == {"dir": "/elsewhere"}
    assert config['remote "minio"'] == {
        "jobs": "2",
        "url": "s3://dvc",
        "endpointurl": connection.endpoint_url,
        "access_key_id": connection.access_key,
        "secret_access_key": connection.secret_key,
        "region": connection.region,
    }
    assert {mode(home / ".env"), mode(home / ".dvc" / "config.local")} == {0o600}
    with embedded_store.running() as reached:
        assert reached == connection
    with pytest.raises(PipelineError, match="store use embedded"):
        embedded_store.up()
    assert embedded_store.use("embedded").kind == "embedded"
    assert settings.load().s3_endpoint_url is None
    assert settings.load().flask_port == 5001


@pytest.mark.parametrize(
    ("secret", "wrong"), [("wrong", "refuses the credentials"), (None, "keys are missing"), ("down", "does not answer")]
)
def test_use_of_a_store_that_does_not_work_changes_nothing(
    home: Path, connection: Connection, secret: str | None, wrong: str
) -> None:
    (home / ".dvc").mkdir()
    address = "http://127.0.0.1:9" if secret == "down" else connection.endpoint_url
    with pytest.raises(PipelineError, match=wrong):
        embedded_store.use(address, connection.access_key, secret)
    assert not (home / ".env").exists()
    assert not (home / ".dvc" / "config.local").exists()


@hypothesis_settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_any_key_survives_the_way_through_env(home: Path, secret: str) -> None:
    settings.write_env({"S3_SECRET_KEY": secret})
    read = settings.load().s3_secret_key
    assert read
    assert read.get_secret_value() == secret


def test_up_started_in_parallel_is_one_store(home: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "store", "up"]
    environment = os.environ | {"DVC_ROOT": str(home), "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [each.communicate(timeout=DEADLINE_S)[0] for each in both]
    try:
        process = server(home)
        assert process
        assert said[0] == said[1]
        assert f"process {process.pid}" in said[0]
    finally:
        assert embedded_store.down()


def test_a_start_waits_until_what_was_stored_can_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = embedded_store.up()
    try:
        open_store("s3://bronze", status.connection).put("a/b.json", b"[1]")
    finally:
        embedded_store.down()
    asked: list[str] = []
    read_a_byte = ObjectStore.read_a_byte

    def not_yet(store: ObjectStore) -> None:
        asked.append(store.url)
        if asked.count("s3://bronze") < 3:
            raise StoreUnavailable(f"{store.url}: its volumes are not there yet")
        read_a_byte(store)

    monkeypatch.setattr(ObjectStore, "read_a_byte", not_yet)
    try:
        embedded_store.up()
    finally:
        embedded_store.down()
    assert asked.count("s3://bronze") == 3
    assert set(asked) == {f"s3://{bucket}" for bucket in embedded_store.bucket_names()}


def test_a_store_that_lost_its_data_starts_all_the_same_and_reading_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_store, "VOLUMES_DEADLINE_S", 0.5)
    status = embedded_store.up()
    try:
        open_store("s3://bronze", status.connection).put("a/b.json", b"[1]")
        open_store("s3://bronze", status.connection).read_a_byte()
    finally:
        embedded_store.down()
    for volume in (home / ".store" / "data").glob("bronze_*"):
        volume.unlink()
    try:
        bronze = open_store("s3://bronze", embedded_store.up().connection)
        with pytest.raises(StoreUnavailable, match="the store fails"):
            bronze.read_a_byte()
    finally:
        embedded_store.down()
