"""The stage that puts Silver and Gold into their buckets, under the keys that they have below `data/`.

Each bucket gets a `_manifest.json` that names exactly the objects of this publication. What an earlier one left under
other keys stays (nothing here deletes) and is reported: readers go by the manifest.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline import embedded_store, paths, settings
from pipeline.errors import PipelineError
from pipeline.progress import Advance, console, progress
from pipeline.store import ObjectStore, open_store

MANIFEST = "_manifest.json"
CONCURRENCY = 8


@dataclass(frozen=True)
class PublishedObject:
    """An object as the manifest names it."""

    key: str
    bytes: int
    sha256: str


def run() -> None:
    """Put `data/silver` and `data/gold` into their buckets; write `reports/metrics/publish.json`.

    What this checkout has published stands in `data/published.json`. That travels neither with git nor with DVC, so
    that a new clone, whose store may be another, publishes for itself.

    Raises:
        PipelineError: a layer is missing, the store does not confirm, or another process publishes.
    """
    with paths.sole_writer(paths.PUBLISHED):
        _publish_layers()


def _publish_layers() -> None:
    buckets = {
        paths.SILVER: settings.load().s3_bucket_silver,
        paths.GOLD: settings.load().s3_bucket_gold,
    }
    layers: dict[str, list[PublishedObject]] = {}
    with embedded_store.running() as connection:
        for folder, name in buckets.items():
            bucket = open_store(f"s3://{name}", connection)
            published = publish_layer(folder, bucket)
            layers[folder.name] = published
            _report(bucket, published, stale_keys(bucket, published))
    metrics = {
        layer: {"objects": len(published), "bytes": sum(each.bytes for each in published)}
        for layer, published in layers.items()
    }
    paths.write_atomically(paths.METRICS / "publish.json", (json.dumps(metrics, indent=2) + "\n").encode())
    paths.write_atomically(paths.PUBLISHED, _manifest(layers))


def publish_layer(folder: Path, bucket: ObjectStore) -> list[PublishedObject]:
    """Put all files below a folder into a bucket under their relative paths, then the manifest that names them.

    Returns:
        The objects of the manifest, sorted by key.

    Raises:
        PipelineError: the folder is missing or empty.
        StoreUnavailable: the store did not confirm; the bucket's manifest is then still the one before.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if not files:
        raise PipelineError(f"{folder} holds nothing to publish: make it with `dvc repro {folder.name}`")
    with progress(f"publish {folder.name}", len(files), "objects") as advance, ThreadPoolExecutor(CONCURRENCY) as pool:
        published = list(pool.map(lambda file: _put(bucket, folder, file, advance), files))
    published.sort(key=lambda each: each.key)
    bucket.put(MANIFEST, _manifest({"objects": published}))
    return published


def stale_keys(bucket: ObjectStore, published: list[PublishedObject]) -> list[str]:
    """Keys that the bucket holds and this publication does not, sorted."""
    current = {each.key for each in published} | {MANIFEST}
    return [stored.key for stored in bucket.list() if stored.key not in current]


def _manifest(lists: dict[str, list[PublishedObject]]) -> bytes:
    content = {name: [vars(each) for each in published] for name, published in lists.items()}
    return (json.dumps(content, indent=1) + "\n").encode()


def _put(bucket: ObjectStore, folder: Path, file: Path, advance: Advance) -> PublishedObject:
    content = file.read_bytes()
    key = file.relative_to(folder).as_posix()
    bucket.put(key, content)
    advance()
    return PublishedObject(key, len(content), hashlib.sha256(content).hexdigest())


def _report(bucket: ObjectStore, published: list[PublishedObject], stale: list[str]) -> None:
    console.print(f"publish: {len(published):,} objects in {bucket.url}, named in its {MANIFEST}")
    if stale:
        console.print(
            f"publish: {bucket.url} also holds {len(stale):,} objects of earlier publications, "
            f"{stale[0]} for one; they are not in {MANIFEST}"
        )
