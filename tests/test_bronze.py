"""Keys, ids, metadata, the manifest, and reading back what it names."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID, uuid4

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import bronze
from pipeline.errors import PipelineError
from pipeline.store import ObjectMissing, open_store

BATCH = UUID("0b7d0e0c-1111-4111-8111-111111111111")
MOMENT = datetime(2026, 11, 24, 20, 0, 0, 1500, tzinfo=UTC)


def a_row(raid_id: str, content: bytes, batch_id: UUID = BATCH) -> bronze.ManifestRow:
    return bronze.ManifestRow(
        key=bronze.object_key(raid_id, MOMENT.date(), batch_id),
        batch_id=str(batch_id),
        raid_id=raid_id,
        batch_source="test",
        event_count=1,
        ingest_timestamp=MOMENT,
        bytes=len(content),
        sha256=bronze.sha256(content),
    )


def a_layer(folder: Path, objects: dict[str, bytes]) -> pl.DataFrame:
    """A Bronze folder with one object per raid."""
    rows = [a_row(raid_id, content) for raid_id, content in objects.items()]
    for row, content in zip(rows, objects.values(), strict=True):
        file = folder / row.key
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    manifest = bronze.manifest(rows)
    bronze.write_manifest(folder, manifest)
    return manifest


def test_a_key_names_raid_day_and_batch() -> None:
    assert bronze.object_key("raid001", date(2026, 11, 24), BATCH) == (
        f"wow_raid_events/v1/raidid=raid001/ingestdate=2026-11-24/batch={BATCH}.json"
    )


@given(st.text(), st.text())
def test_equal_contents_have_equal_ids_and_others_others(one: str, other: str) -> None:
    ids = {bronze.batch_id(text.encode("utf-8", "ignore")) for text in (one, one, other)}
    contents = {text.encode("utf-8", "ignore") for text in (one, other)}
    assert len(ids) == len(contents)


def test_the_id_of_a_content_is_the_same_for_ever() -> None:
    assert bronze.batch_id(b"[]") == UUID("90cae384-242a-59c5-8efb-910804747f76")


def test_metadata_are_in_utc_with_microseconds() -> None:
    moment = MOMENT.astimezone(timezone(timedelta(hours=2)))
    assert bronze.metadata(BATCH, 3, moment, "test", "abc") == {
        "batch-id": str(BATCH),
        "event-count": "3",
        "ingest-timestamp": "2026-11-24T20:00:00.001500Z",
        "batch-source": "test",
        "content-sha256": "abc",
    }


def test_the_manifest_has_each_key_once_in_order_and_the_same_bytes(tmp_path: Path) -> None:
    rows = [a_row(raid_id, b"[1]", uuid4()) for raid_id in ("raid002", "raid001", "raid003")]
    written = []
    for name, order in (("one", rows), ("two", [*reversed(rows), rows[0]])):
        (tmp_path / name).mkdir()
        bronze.write_manifest(tmp_path / name, bronze.manifest(order))
        written.append((tmp_path / name / bronze.MANIFEST).read_bytes())
    manifest = bronze.read_manifest(tmp_path / "one")
    assert written[0] == written[1]
    assert manifest.schema == bronze.MANIFEST_SCHEMA
    assert manifest["key"].to_list() == sorted(row.key for row in rows)


def test_an_empty_delivery_has_an_empty_manifest(tmp_path: Path) -> None:
    bronze.write_manifest(tmp_path, bronze.manifest([]))
    assert bronze.read_manifest(tmp_path).is_empty()


def test_a_raids_objects_are_read_in_the_rows_order_from_folder_and_store(tmp_path: Path) -> None:
    a_layer(tmp_path, {"raid001": b"[1]", "raid002": b"[2]"})
    for layer in (tmp_path, open_store(str(tmp_path))):
        manifest = bronze.read_manifest(layer)
        assert bronze.read_objects(layer, manifest.reverse()) == [b"[2]", b"[1]"]
        assert bronze.read_objects(layer, bronze.raid_batches(manifest, "raid002")) == [b"[2]"]


def test_a_changed_object_is_not_read(tmp_path: Path) -> None:
    manifest = a_layer(tmp_path, {"raid001": b"[1]"})
    (tmp_path / manifest["key"][0]).write_bytes(b"[2]")
    with pytest.raises(PipelineError, match="was changed"):
        bronze.read_objects(tmp_path, manifest)


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    manifest = a_layer(tmp_path, {"raid001": b"[1]"})
    (tmp_path / manifest["key"][0]).unlink()
    with pytest.raises(PipelineError, match=manifest["key"][0]):
        bronze.read_objects(tmp_path, manifest)
    with pytest.raises(ObjectMissing, match=manifest["key"][0]):
        bronze.read_objects(open_store(str(tmp_path)), manifest)


def test_a_missing_or_foreign_manifest_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="dvc repro ingest"):
        bronze.read_manifest(tmp_path)
    (tmp_path / bronze.MANIFEST).write_bytes(b"no parquet")
    with pytest.raises(PipelineError, match="not a Parquet file"):
        bronze.read_manifest(tmp_path)
    pl.DataFrame({"key": ["a"]}).write_parquet(tmp_path / bronze.MANIFEST)
    with pytest.raises(PipelineError, match="has the columns"):
        bronze.read_manifest(tmp_path)
