"""The ingest stage: every raid over HTTP into Bronze, and the same objects into `data/bronze/`.

They are those of this delivery, whatever else the bucket holds: a batch that is stored just now as it was sent is
written from the sender's bytes, whose SHA-256 the receiver acknowledged; one that was stored before, or is stored in
another form, is fetched. At the end the store is asked whether it has them all, each with its length.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import orjson
import polars as pl

from pipeline import bronze, embedded_store, params, paths, replay, settings, wire
from pipeline.errors import PipelineError
from pipeline.progress import console, progress
from pipeline.replay import Arrival, Delivery, StoredBatch
from pipeline.store import Connection, ObjectStore, StoreUnavailable, open_store

METRICS = paths.METRICS / "ingest.json"
CONCURRENCY = 4
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 45.0
POLL_S = 0.05
ANNOUNCEMENT = "listening on "
OUTPUT_SHOWN = 2000
CHANGED = "somebody changed Bronze; remove that object and run again"


@dataclass(frozen=True)
class Receiver:
    """A receiver process that this stage started."""

    url: str
    process: subprocess.Popen[bytes]
    output: Path


def run() -> None:
    """Deliver the raids of `data/simulated` and `data/imported` and write `data/bronze/` and its metrics.

    Raises:
        PipelineError: there are no raids, a raid is in both folders, the receiver ended, a batch could not be
            delivered, or what the store returns is not what was acknowledged. `data/bronze/` then stays as it was.
    """
    section = params.load().ingest
    raids = raids_by_source()
    workers = settings.load().workers
    with (
        embedded_store.running() as connection,
        paths.replacing_folder(replay.REJECTED) as rejected,
        paths.replacing_folder(paths.BRONZE) as folder,
    ):
        bucket = open_store(f"s3://{settings.load().s3_bucket_bronze}", connection)
        with receiver_process(connection, workers) as receiver, _store_blamed(bucket):
            began = time.monotonic()
            delivery = deliver_all(receiver, section, rejected, folder)
            elapsed = time.monotonic() - began
        manifest = bring_back(bucket, delivery.batches, folder)
        bronze.write_manifest(folder, manifest)
    measured = metrics(delivery, manifest, len(raids))
    paths.write_atomically(METRICS, orjson.dumps(measured, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    console.print(f"ingest: {replay.describe(delivery)}; {delivery.sent / elapsed:,.0f} events/s")
    if delivery.rejected:
        console.print(f"ingest: the rejected events lie in {replay.REJECTED}/ with their errors")


@contextmanager
def _store_blamed(bucket: ObjectStore) -> Iterator[None]:
    """Let the error of a delivery begin with what is wrong with the store, if anything is."""
    try:
        yield
    except PipelineError as error:
        try:
            bucket.ready()
        except StoreUnavailable as reason:
            raise PipelineError(f"{reason} ({error})") from error
        raise


def raids_by_source() -> dict[str, str]:
    """Every raid to deliver with its source.

    Raises:
        PipelineError: there are none, or a raid is in two folders.
    """
    found: dict[str, str] = {}
    for source, folder in wire.SOURCES.items():
        for file in wire.raid_files(folder):
            if file.stem in found:
                raise PipelineError(
                    f"raid {file.stem} is both in {wire.SOURCES[found[file.stem]]} and in {folder}: give the log "
                    "another raid_id in its side file in data/raw/"
                )
            found[file.stem] = source
    if not found:
        folders = " and ".join(str(folder) for folder in wire.SOURCES.values())
        raise PipelineError(
            f"there are no raids in {folders}: set simulate.teams in params.yaml above 0, or put a combat log into "
            "data/raw/, and run `dvc repro`"
        )
    return found


def deliver_all(receiver: Receiver, section: params.Ingest, rejected_folder: Path, folder: Path) -> Delivery:
    """Deliver every raid, one source after the other; what is stored as it was sent is written into `folder`.

    Raises:
        PipelineError: as `replay.deliver`; if the receiver ended, with what it said.
    """
    whole = Delivery()
    try:
        for source, source_folder in wire.SOURCES.items():
            if not wire.raid_files(source_folder):
                continue
            part = replay.deliver(
                replay.raids_of(source_folder),
                receiver.url,
                source,
                batch_size=section.batch_size,
                concurrency=CONCURRENCY,
                arrival=Arrival(section.seed, section.network_latency_ms),
                rejected_folder=rejected_folder,
                total_events=replay.count_events(source_folder),
                keep=lambda batch, body: write_object(folder, batch.key, body),
            )
            whole.add(part)
    except PipelineError as error:
        if receiver.process.poll() is not None:
            raise PipelineError(f"{_ended(receiver.process, receiver.output)} ({error})") from error
        raise
    return whole


def write_object(folder: Path, key: str, content: bytes) -> None:
    """Write an object's content under its key."""
    file = folder / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def bring_back(bucket: ObjectStore, batches: list[StoredBatch], folder: Path) -> pl.DataFrame:
    """Fetch those objects of these batches that the folder lacks, and check with the store; returns their manifest.

    Raises:
        PipelineError: an object is gone, or is not what was acknowledged.
    """
    missing = [batch for batch in batches if not (folder / batch.key).exists()]
    with progress("brought back", len(missing), "batches") as advance, ThreadPoolExecutor(CONCURRENCY) as pool:
        for _ in pool.map(lambda batch: fetch(bucket, batch, folder), missing):
            advance()
    rows = [manifest_row(batch, (folder / batch.key).stat().st_size) for batch in batches]
    check_listing(bucket, rows)
    return bronze.manifest(rows)


def fetch(bucket: ObjectStore, batch: StoredBatch, folder: Path) -> None:
    """Fetch one object and check that it is the one that was acknowledged.

    Raises:
        PipelineError: it is not, or is gone.
    """
    content = bucket.get(batch.key)
    found = bronze.sha256(content)
    if found != batch.sha256:
        raise PipelineError(
            f"{bucket.url}/{batch.key}: its SHA-256 is {found}, but {batch.sha256} was acknowledged: {CHANGED}"
        )
    write_object(folder, batch.key, content)


def check_listing(bucket: ObjectStore, rows: list[bronze.ManifestRow]) -> None:
    """Check that the store lists every object with its length.

    Raises:
        PipelineError: it does not.
    """
    folders = sorted({str(PurePosixPath(row.key).parent) for row in rows})
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        listed = {each.key: each.size for found in pool.map(bucket.list, folders) for each in found}
    for row in rows:
        if listed.get(row.key) != row.bytes:
            raise PipelineError(
                f"{bucket.url}/{row.key}: {row.bytes} bytes were acknowledged, but the store lists "
                f"{listed.get(row.key, 'no such object')}: {CHANGED}"
            )


def manifest_row(batch: StoredBatch, size: int) -> bronze.ManifestRow:
    """A batch's line in the manifest."""
    return bronze.ManifestRow(
        key=batch.key,
        batch_id=batch.batch_id,
        raid_id=batch.raid_id,
        batch_source=batch.batch_source,
        event_count=batch.event_count,
        ingest_timestamp=batch.ingest_timestamp,
        bytes=size,
        sha256=batch.sha256,
    )


def metrics(delivery: Delivery, manifest: pl.DataFrame, raids: int) -> dict[str, int]:
    """The books of the stage: nothing in them depends on time or on what the bucket held before."""
    return {
        "raids": raids,
        "batches": manifest.height,
        "bytes": int(manifest["bytes"].sum()),
        "events_sent": delivery.sent,
        "events_delivered": delivery.stored + delivery.duplicate,
        "events_rejected": delivery.rejected,
    }


@contextmanager
def receiver_process(connection: Connection, workers: int) -> Iterator[Receiver]:
    """Run a receiver for replay on a free port of this machine, stopped at the end in every case.

    Raises:
        PipelineError: it does not start; the message shows what it said.
    """
    command = [sys.executable, "-m", "pipeline", "receive", "--host", "127.0.0.1", "--port", "0"]
    command += ["--workers", str(workers), "--replay-clock", "--until-stdin-ends"]
    with TemporaryDirectory(prefix="receiver-") as folder:
        output = Path(folder) / "output"
        with output.open("wb") as written:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=subprocess.STDOUT,
                env=os.environ | connection.environment(),
            )
        try:
            yield Receiver(_announced_url(process, output), process, output)
        finally:
            _stop(process)


def _announced_url(process: subprocess.Popen[bytes], output: Path) -> str:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        for line in output.read_text(errors="replace").splitlines(keepends=True):
            if line.startswith(ANNOUNCEMENT) and line.endswith("\n"):
                return line.removeprefix(ANNOUNCEMENT).strip()
        if process.poll() is not None:
            raise PipelineError(_ended(process, output))
        time.sleep(POLL_S)
    raise PipelineError(f"the receiver was not ready within {START_DEADLINE_S:.0f} s; it said:\n{_said(output)}")


def _ended(process: subprocess.Popen[bytes], output: Path) -> str:
    return f"the receiver ended with exit code {process.returncode} before its time; it said:\n{_said(output)}"


def _said(output: Path) -> str:
    return output.read_text(errors="replace")[-OUTPUT_SHOWN:].strip() or "nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
