"""Publication: buckets hold the layers under their keys, and a manifest that names exactly them."""

import hashlib
import json
from pathlib import Path

import pytest

from pipeline import publish
from pipeline.errors import PipelineError
from pipeline.store import Connection, ObjectStore, StoreUnavailable, open_store


def filled(folder: Path, contents: dict[str, bytes]) -> Path:
    for key, content in contents.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    return folder


LAYER = {
    "wow_raid_events/v1/raidid=raid001/eventdate=2026-01-01/part-0.parquet": b"one",
    "quarantine/v1/raidid=raid001/part-0.parquet": b"three",
}


def test_every_file_is_put_under_its_key_and_named_in_the_manifest(bucket: ObjectStore, tmp_path: Path) -> None:
    published = publish.publish_layer(filled(tmp_path, LAYER), bucket)
    assert {key: bucket.get(key) for key in LAYER} == LAYER
    manifest = json.loads(bucket.get(publish.MANIFEST))
    assert manifest == {
        "objects": [
            {"key": key, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for key, content in sorted(LAYER.items())
        ]
    }
    assert [vars(each) for each in published] == manifest["objects"]


def test_a_second_publication_replaces_content_and_leaves_old_keys_out_of_the_manifest(
    bucket: ObjectStore, tmp_path: Path
) -> None:
    publish.publish_layer(filled(tmp_path / "a", LAYER), bucket)
    kept, gone = LAYER
    published = publish.publish_layer(filled(tmp_path / "b", {kept: b"new"}), bucket)
    assert bucket.get(kept) == b"new"
    assert [each["key"] for each in json.loads(bucket.get(publish.MANIFEST))["objects"]] == [kept]
    assert publish.stale_keys(bucket, published) == [gone]


def test_a_missing_layer_is_an_error_that_says_what_to_do(bucket: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="dvc repro silver"):
        publish.publish_layer(tmp_path / "silver", bucket)


def test_without_its_bucket_nothing_is_claimed(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        publish.publish_layer(filled(tmp_path, LAYER), open_store("s3://no-such-bucket", connection))


def test_the_stage_publishes_both_layers_and_counts_them(
    home: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in connection.environment().items():
        monkeypatch.setenv(name, value)
    filled(Path("data/silver"), LAYER)
    filled(Path("data/gold"), {"dim_raid/v1/part-0.parquet": b"four"})
    publish.run()
    assert open_store("s3://gold", connection).get("dim_raid/v1/part-0.parquet") == b"four"
    assert json.loads(Path("reports/metrics/publish.json").read_text()) == {
        "silver": {"objects": 2, "bytes": 8},
        "gold": {"objects": 1, "bytes": 4},
    }
    said = json.loads(Path("data/published.json").read_text())
    assert [each["key"] for each in said["gold"]] == ["dim_raid/v1/part-0.parquet"]
