"""Bronze, the record: keys, batch ids, object metadata, the manifest, and reading objects back.

An accepted batch is one immutable object, a JSON array of validated events of one raid. The manifest names the objects
of one delivery with their SHA-256; what is read through it is checked against it.
"""

import hashlib
import io
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.wire import TIMESTAMP, write_parquet

PREFIX = "wow_raid_events/v1"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://wow-raid-telemetry.example/bronze/v1")
MANIFEST = "manifest.parquet"
_HOW_TO_MEND = paths.how_to_mend(paths.BRONZE / MANIFEST)
MANIFEST_SCHEMA = pl.Schema(
    {
        "key": pl.String(),
        "batch_id": pl.String(),
        "raid_id": pl.String(),
        "batch_source": pl.String(),
        "event_count": pl.Int64(),
        "ingest_timestamp": TIMESTAMP,
        "bytes": pl.Int64(),
        "sha256": pl.String(),
    }
)


class Objects(Protocol):
    """What Bronze is read from on a cluster: a `store.ObjectStore`."""

    url: str

    def get(self, key: str) -> bytes: ...


Layer = Path | Objects
"""The local folder `data/bronze`, or an object store with the same keys."""


@dataclass(frozen=True)
class ManifestRow:
    """One object of Bronze."""

    key: str
    batch_id: str
    raid_id: str
    batch_source: str
    event_count: int
    ingest_timestamp: datetime
    bytes: int
    sha256: str


def object_key(raid_id: str, ingest_date: date, batch_id: uuid.UUID) -> str:
    """Where a batch lies, in the bucket as in `data/bronze`.

    Args:
        raid_id: the raid of all of its events.
        ingest_date: the day of its arrival, UTC.
        batch_id: the sender's idempotency key, or `batch_id` of its content.
    """
    return f"{PREFIX}/raidid={raid_id}/ingestdate={ingest_date.isoformat()}/batch={batch_id}.json"


def batch_id(content: bytes) -> uuid.UUID:
    """The id of a batch whose sender named none: a UUIDv5 of its canonical bytes."""
    return uuid.uuid5(NAMESPACE, content.decode())


def sha256(content: bytes) -> str:
    """The SHA-256 of an object's content, in hex."""
    return hashlib.sha256(content).hexdigest()


def instant(moment: datetime) -> str:
    """An instant as metadata carries it: ISO 8601, UTC, microseconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def metadata(
    batch_id: uuid.UUID, event_count: int, ingest_timestamp: datetime, batch_source: str, content_sha256: str
) -> dict[str, str]:
    """The metadata of a batch's object."""
    return {
        "batch-id": str(batch_id),
        "event-count": str(event_count),
        "ingest-timestamp": instant(ingest_timestamp),
        "batch-source": batch_source,
        "content-sha256": content_sha256,
    }


def manifest(rows: Iterable[ManifestRow]) -> pl.DataFrame:
    """The objects of a delivery as a table, each key once, sorted by key."""
    frame = pl.DataFrame([asdict(row) for row in rows], schema=MANIFEST_SCHEMA)
    return frame.unique("key", keep="any").sort("key")


def write_manifest(folder: Path, rows: pl.DataFrame) -> None:
    """Write a manifest into a Bronze folder; the same rows give the same bytes."""
    write_parquet(rows.select(MANIFEST_SCHEMA.names()), folder / MANIFEST)


def read_manifest(layer: Layer) -> pl.DataFrame:
    """Read the manifest of a Bronze folder or store: one row per object, sorted by key.

    Raises:
        PipelineError: it is missing, or is no manifest of this version.
    """
    try:
        content = _content(layer, MANIFEST)
    except FileNotFoundError as error:
        raise PipelineError(
            f"{_name(layer)}/{MANIFEST} is missing: make it with `dvc repro ingest` or fetch it with `dvc pull`"
        ) from error
    try:
        rows = pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise PipelineError(
            f"{_name(layer)}/{MANIFEST}: is damaged or not a Parquet file ({error}): {_HOW_TO_MEND}"
        ) from error
    if rows.schema != MANIFEST_SCHEMA:
        raise PipelineError(
            f"{_name(layer)}/{MANIFEST}: has the columns {', '.join(rows.columns)}, not those of a manifest: "
            f"{_HOW_TO_MEND}"
        )
    return rows


def raid_batches(manifest: pl.DataFrame, raid_id: str) -> pl.DataFrame:
    """The rows of one raid's objects."""
    return manifest.filter(pl.col("raid_id") == raid_id)


def read_objects(layer: Layer, rows: pl.DataFrame) -> list[bytes]:
    """Read the objects that these rows of the manifest name, in the rows' order.

    Raises:
        PipelineError: an object is missing or is not the one that the manifest describes.
    """
    return [_verified(layer, key, expected) for key, expected in rows.select("key", "sha256").iter_rows()]


def _verified(layer: Layer, key: str, expected: str) -> bytes:
    try:
        content = _content(layer, key)
    except FileNotFoundError as error:
        raise PipelineError(
            f"{_name(layer)}/{key} is missing though the manifest names it: fetch it with `dvc pull`, or make Bronze "
            "again with `dvc repro -f ingest`"
        ) from error
    if sha256(content) != expected:
        raise PipelineError(
            f"{_name(layer)}/{key} was changed: its SHA-256 is {sha256(content)}, the manifest says {expected}; bring "
            "it back with `dvc checkout`, or make Bronze again with `dvc repro -f ingest`"
        )
    return content


def _content(layer: Layer, key: str) -> bytes:
    return (layer / key).read_bytes() if isinstance(layer, Path) else layer.get(key)


def _name(layer: Layer) -> str:
    return str(layer) if isinstance(layer, Path) else layer.url
