"""The object store: put if absent, put, get, head and list, on `s3://bucket` or in a local folder.

Keys are relative to the store's URL, so a store opened on `s3://bronze/season1` never leaves that prefix. Every request
has a timeout and a bounded number of retries; what stays wrong is one of this module's errors. A store may be shared
between threads. It holds a connection pool with threads of its own: open it after a fork, never before.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from pipeline import settings
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential

ENDPOINT = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?/?")
SERVER_ERROR = re.compile(r"status code: (5\d\d [A-Za-z ]+)")
# Of sixteen who create one key at once in SeaweedFS the last is answered after 5 to 14 s, of two within 1 s (measured).
REQUEST_TIMEOUT = timedelta(seconds=30)
CONNECT_TIMEOUT = timedelta(seconds=3)
# A store that is down is known after 1 to 3 s (the waits are drawn at random). One that has just started takes its time
# with each refusal, so that these retries outlast the 5 s for which it refuses writes on a busy machine (measured).
MAX_RETRIES = 8
RETRY_TIMEOUT = timedelta(seconds=30)


class StoreUnavailable(PipelineError):  # noqa: N818 (named for what the caller sees, like the next one)
    """The store does not answer, refuses the credentials or lacks the bucket: nothing can be said about the object."""


class BucketMissing(StoreUnavailable):
    """The store answers and has no such bucket."""


class ObjectMissing(PipelineError):  # noqa: N818
    """The store answers, and holds no object under this key."""


@dataclass(frozen=True)
class Connection:
    """How to reach an S3 store."""

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"

    def __post_init__(self) -> None:
        if not ENDPOINT.fullmatch(self.endpoint_url):
            raise PipelineError(
                f"{self.endpoint_url!r} is no address of a store: write it like http://127.0.0.1:9000 (S3_ENDPOINT_URL)"
            )

    def environment(self) -> dict[str, str]:
        """The variables with which a child process reaches the same store."""
        return {
            "S3_ENDPOINT_URL": self.endpoint_url,
            "S3_ACCESS_KEY": self.access_key,
            "S3_SECRET_KEY": self.secret_key,
            "S3_REGION": self.region,
        }


@dataclass(frozen=True)
class StoredObject:
    """What the store knows about an object without its content."""

    key: str
    size: int
    attributes: dict[str, str] = field(default_factory=dict)
    """User metadata; empty in a listing (S3 lists none) and in a local folder (which keeps none)."""


class ObjectStore:
    """A bucket, a prefix of one, or a local folder; made by `open_store`."""

    def __init__(self, url: str, backend: S3Store | LocalStore) -> None:
        self.url = url
        self._backend = backend

    def put_if_absent(self, key: str, content: bytes, attributes: Mapping[str, str] | None = None) -> bool:
        """Store an object unless the key exists; of any number of concurrent callers one wins.

        Returns:
            True: this call stored it. False: the key exists. If the answer to a first try was lost on the way, the
            retry finds the key and says False although the content is this caller's: who must know, compares it.

        Raises:
            StoreUnavailable: the store did not confirm; the object may be stored or not.
        """
        with self._translated_errors(key):
            try:
                obstore.put(self._backend, key, content, mode="create", attributes=self._kept(attributes))
            except AlreadyExistsError:
                return False
            return True

    def put(self, key: str, content: bytes, attributes: Mapping[str, str] | None = None) -> None:
        """Store an object, whatever the key held before; readers see the old content or the new one, never a part.

        Raises:
            StoreUnavailable: the store did not confirm.
        """
        with self._translated_errors(key):
            obstore.put(self._backend, key, content, attributes=self._kept(attributes))

    def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            ObjectMissing: there is none under this key.
            StoreUnavailable: the store did not answer.
        """
        with self._translated_errors(key):
            return bytes(obstore.get(self._backend, key).bytes())

    def head(self, key: str) -> StoredObject | None:
        """Size and attributes of an object, or None if there is none (a missing bucket looks the same: see `ready`).

        Raises:
            StoreUnavailable: the store did not answer.
        """
        try:
            with self._translated_errors(key):
                found = obstore.get(self._backend, key, options={"head": True})
        except ObjectMissing:
            return None
        attributes = {name: value for name, value in found.attributes.items() if name != "Content-Type"}
        return StoredObject(key, found.meta["size"], attributes)

    def list(self, prefix: str = "") -> list[StoredObject]:
        """All objects below a folder, sorted by key, without their attributes.

        Args:
            prefix: whole path segments: `a/b` finds `a/b/c`, never `a/bc`.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        with self._translated_errors(prefix):
            found = obstore.list(self._backend, prefix or None).collect()
        return sorted((StoredObject(each["path"], each["size"]) for each in found), key=lambda each: each.key)

    def ready(self) -> None:
        """Check that the store can be used.

        Raises:
            StoreUnavailable: it does not answer, refuses the credentials, or the bucket or folder is missing.
        """
        if isinstance(self._backend, LocalStore) and not (self._backend.prefix and self._backend.prefix.is_dir()):
            raise StoreUnavailable(f"{self.url}: there is no such folder")
        with self._translated_errors(""):
            next(iter(obstore.list(self._backend, chunk_size=1)), None)

    def read_a_byte(self) -> None:
        """Read a byte of some object, if there is one.

        Raises:
            StoreUnavailable: the store names an object and cannot read it.
        """
        with self._translated_errors(""):
            for each in next(iter(obstore.list(self._backend, chunk_size=1)), []):
                if each["size"]:
                    obstore.get_range(self._backend, each["path"], start=0, end=1)

    def _kept(self, attributes: Mapping[str, str] | None) -> dict[str, str] | None:
        if not attributes or isinstance(self._backend, LocalStore):
            return None
        for name, value in attributes.items():
            if not (name + value).isascii():
                raise ValueError(
                    f"attribute {name}={value!r}: object metadata travels in HTTP headers and must be ASCII"
                )
        return dict(attributes)

    @contextmanager
    def _translated_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise _translated(error, self.url, key) from error


def open_store(url: str, connection: Connection | None = None) -> ObjectStore:
    """Open `s3://bucket[/prefix]` or a local folder (made if missing; it keeps no attributes: the manifest has them).

    Args:
        url: where the keys begin.
        connection: how to reach S3; by default what the environment or `.env` says.

    Raises:
        PipelineError: an S3 URL, and no store is configured.
    """
    if not url.startswith("s3://"):
        return ObjectStore(url, LocalStore(Path(url).absolute(), mkdir=True))
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    reached = connection or configured_connection()
    if reached is None:
        raise PipelineError(
            f"{url}: no store is configured; start the embedded one (`python -m pipeline store up`) or name another "
            "(`python -m pipeline store use ENDPOINT`)"
        )
    return ObjectStore(url, _open_bucket(bucket, prefix.strip("/"), reached))


def configured_connection() -> Connection | None:
    """The store that the environment or `.env` names; None: the embedded one.

    Raises:
        PipelineError: an endpoint without its keys.
    """
    configured = settings.load()
    if configured.s3_endpoint_url is None:
        return None
    if configured.s3_access_key is None or configured.s3_secret_key is None:
        raise PipelineError(
            f"S3_ENDPOINT_URL is {configured.s3_endpoint_url}, but S3_ACCESS_KEY or S3_SECRET_KEY is missing: "
            "set both in .env"
        )
    return Connection(
        endpoint_url=configured.s3_endpoint_url,
        access_key=configured.s3_access_key,
        secret_key=configured.s3_secret_key.get_secret_value(),
        region=configured.s3_region,
    )


def ensure_bucket(bucket: str, connection: Connection) -> None:
    """Create a bucket where it is missing.

    Raises:
        StoreUnavailable: the store does not answer, refuses the credentials or refuses to create the bucket.
    """
    try:
        open_store(f"s3://{bucket}", connection).ready()
    except BucketMissing:
        # obstore creates no buckets, but signs any URL: a PUT on the bucket's own is all that it takes.
        address = obstore.sign(_open_bucket(bucket, "", connection), "PUT", "", timedelta(minutes=1))
        answer = httpx.put(address, timeout=REQUEST_TIMEOUT.total_seconds())
        if answer.is_error and answer.status_code != httpx.codes.CONFLICT:
            raise StoreUnavailable(
                f"{connection.endpoint_url}: the bucket {bucket} is missing and the store refuses to create it "
                f"(HTTP {answer.status_code}): create it there, or use keys that may"
            ) from None
        open_store(f"s3://{bucket}", connection).ready()


def _open_bucket(bucket: str, prefix: str, connection: Connection) -> S3Store:
    client: ClientConfig = {"allow_http": True, "timeout": REQUEST_TIMEOUT, "connect_timeout": CONNECT_TIMEOUT}
    retries: RetryConfig = {
        "max_retries": MAX_RETRIES,
        "retry_timeout": RETRY_TIMEOUT,
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
    }

    def credentials() -> "S3Credential":
        return {"access_key_id": connection.access_key, "secret_access_key": connection.secret_key, "expires_at": None}

    _reach_directly(connection.endpoint_url)
    return S3Store(
        bucket,
        prefix=prefix or None,
        endpoint=connection.endpoint_url.rstrip("/"),
        credential_provider=credentials,
        region=connection.region,
        # Said explicitly, since obstore would take what is left unsaid from AWS_* variables meant for another store.
        skip_signature=False,
        virtual_hosted_style_request=False,
        conditional_put="etag",
        client_options=client,
        retry_config=retries,
    )


def _reach_directly(endpoint_url: str) -> None:
    """Keep a proxy of the environment (usual on clusters) away from a store on this machine."""
    host = urlsplit(endpoint_url).hostname or ""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [each for each in os.environ.get(name, "").split(",") if each]
        if _is_loopback(host) and host not in hosts:
            os.environ[name] = ",".join([*hosts, host])


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _translated(error: Exception, url: str, key: str) -> PipelineError:
    text = str(error)
    if "NoSuchBucket" in text:
        return BucketMissing(
            f"{url}: there is no such bucket; `python -m pipeline store up` or `store use ENDPOINT` creates it"
        )
    if isinstance(error, FileNotFoundError):
        return ObjectMissing(f"{url}: holds no object {key}")
    reason = text.strip().splitlines()[0]
    if not url.startswith("s3://"):
        return StoreUnavailable(f"{url}: the folder cannot be used ({reason})")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or " code: 403" in text or " code: 401" in text:
        return StoreUnavailable(f"{url}: the store refuses the credentials; check S3_ACCESS_KEY, S3_SECRET_KEY in .env")
    failure = SERVER_ERROR.search(text)
    if failure:
        return StoreUnavailable(
            f"{url}: the store fails ({failure[1]}); is its disk full? Free some space there, or see its log "
            f"(the embedded store's: .store/logs) ({reason})"
        )
    return StoreUnavailable(f"{url}: the store does not answer; see `python -m pipeline store status` ({reason})")
