"""The ingest stage: real receiver, real store, the same bytes whatever the bucket holds."""

import json
import re
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

from pipeline import bronze, ingest, paths, wire
from pipeline.errors import PipelineError
from pipeline.replay import StoredBatch
from pipeline.store import Connection, ObjectStore, ensure_bucket, open_store
from tests.conftest import ROOT
from tests.test_replay import new_raid, raid_frame, spoiled


@pytest.fixture
def stage(home: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose stages use the tests' store."""
    for name, value in connection.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    params = (home / "params.yaml").read_text()
    (home / "params.yaml").write_text(re.sub(r"batch_size: \d+", "batch_size: 40", params))
    return home


@pytest.fixture
def raids(stage: Path) -> list[str]:
    """Two simulated raids and an imported one."""
    names = sorted(new_raid() for _ in range(3))
    for raid_id, folder in zip(names, (paths.SIMULATED, paths.SIMULATED, paths.IMPORTED), strict=True):
        wire.write_raid(raid_frame(raid_id, 100), folder, raid_id)
    return names


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def bronze_bucket(connection: Connection, name: str = "bronze") -> ObjectStore:
    return open_store(f"s3://{name}", connection)


def test_bronze_holds_every_event_of_every_raid_with_its_source(raids: list[str]) -> None:
    ingest.run()
    manifest = bronze.read_manifest(paths.BRONZE)
    counts = manifest.group_by("raid_id", "batch_source").agg(pl.col("event_count").sum(), pl.len()).sort("raid_id")
    assert counts.rows() == [
        (raids[0], "simulation", 100, 3),
        (raids[1], "simulation", 100, 3),
        (raids[2], "combat-log", 100, 3),
    ]
    for raid_id in raids:
        bodies = bronze.read_objects(paths.BRONZE, bronze.raid_batches(manifest, raid_id))
        ids = [event["event_id"] for body in bodies for event in json.loads(body)]
        assert sorted(ids) == sorted(raid_frame(raid_id, 100)["event_id"])
    assert contents(paths.BRONZE).keys() == {bronze.MANIFEST, *manifest["key"]}
    assert json.loads(ingest.METRICS.read_text()) == {
        "raids": 3,
        "batches": 9,
        "bytes": manifest["bytes"].sum(),
        "events_sent": 300,
        "events_delivered": 300,
        "events_rejected": 0,
    }


def test_the_bytes_do_not_depend_on_the_buckets_history_nor_on_the_workers(
    raids: list[str], connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.run()
    first, metrics = contents(paths.BRONZE), ingest.METRICS.read_bytes()

    bronze_bucket(connection).put(f"{bronze.PREFIX}/raidid={raids[0]}/ingestdate=2024-11-24/batch=foreign.json", b"[]")
    ingest.run()
    assert (contents(paths.BRONZE), ingest.METRICS.read_bytes()) == (first, metrics)

    other = f"bronze-{raids[0]}"
    ensure_bucket(other, connection)
    monkeypatch.setenv("S3_BUCKET_BRONZE", other)
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    shutil.rmtree(paths.BRONZE)
    ingest.run()
    assert (contents(paths.BRONZE), ingest.METRICS.read_bytes()) == (first, metrics)
    assert {each.key for each in bronze_bucket(connection, other).list()} == first.keys() - {bronze.MANIFEST}


def test_refused_events_are_counted_and_written_beside_the_reports(raids: list[str]) -> None:
    wire.write_raid(spoiled(raid_frame(raids[0], 100), 0, 99), paths.SIMULATED, raids[0])
    ingest.run()
    measured = json.loads(ingest.METRICS.read_text())
    assert (measured["events_sent"], measured["events_delivered"], measured["events_rejected"]) == (300, 298, 2)
    assert [file.name for file in Path("reports/rejected").iterdir()] == [f"{raids[0]}.jsonl"]
    assert bronze.read_manifest(paths.BRONZE)["event_count"].sum() == 298


def test_a_raid_in_two_folders_is_refused(raids: list[str]) -> None:
    wire.write_raid(raid_frame(raids[0], 10), paths.IMPORTED, raids[0])
    with pytest.raises(PipelineError, match=rf"{raids[0]} is both in data/simulated and in data/imported"):
        ingest.run()


def test_no_raids_at_all_are_said_and_nothing_is_written(stage: Path) -> None:
    with pytest.raises(PipelineError, match=r"no raids in data/simulated and data/imported.*simulate\.teams"):
        ingest.run()
    assert not paths.BRONZE.exists()
    assert not ingest.METRICS.exists()


def test_an_object_that_somebody_changed_stops_the_stage_and_leaves_the_old_bronze(
    raids: list[str], connection: Connection
) -> None:
    ingest.run()
    before = contents(paths.BRONZE)
    key = bronze.read_manifest(paths.BRONZE)["key"][0]
    found = bronze_bucket(connection).head(key)
    assert found is not None
    bronze_bucket(connection).put(key, b"[]", found.attributes)
    with pytest.raises(PipelineError, match="somebody changed Bronze"):
        ingest.run()
    assert contents(paths.BRONZE) == before
    assert not list(Path("data").glob(".*partial"))


def test_a_receiver_that_does_not_start_is_shown_with_what_it_said(
    raids: list[str], connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_PORT", "many")
    with pytest.raises(PipelineError, match=r"(?s)receiver ended with exit code 1.*FLASK_PORT"):
        ingest.receiver_process(connection, workers=1).__enter__()


@pytest.mark.parametrize(("held", "listed"), [(None, "no such object"), (b"[{}]", "4")])
def test_an_acknowledged_object_that_the_store_does_not_list_with_its_length_is_told(
    tmp_path: Path, held: bytes | None, listed: str
) -> None:
    bucket, folder = open_store(str(tmp_path / "bucket")), tmp_path / "bronze"
    key = bronze.object_key("raid001", date(2024, 11, 24), uuid4())
    batch = StoredBatch(
        key, "b", "raid001", "test", 1, datetime(2024, 11, 24, tzinfo=UTC), bronze.sha256(b"[]"), duplicate=False
    )
    ingest.write_object(folder, key, b"[]")
    if held is not None:
        bucket.put(key, held)
    with pytest.raises(PipelineError, match=rf"{key}: 2 bytes were acknowledged, but the store lists {listed}"):
        ingest.bring_back(bucket, [batch], folder)


def test_what_is_not_at_hand_is_fetched_and_listed_like_the_rest(tmp_path: Path) -> None:
    bucket, folder = open_store(str(tmp_path / "bucket")), tmp_path / "bronze"
    batches = []
    for number, content in enumerate((b"[1]", b"[22]")):
        key = bronze.object_key("raid001", date(2024, 11, 24 + number), uuid4())
        bucket.put(key, content)
        arrived = datetime(2024, 11, 24 + number, tzinfo=UTC)
        batches.append(
            StoredBatch(key, str(number), "raid001", "test", 1, arrived, bronze.sha256(content), duplicate=True)
        )
    ingest.write_object(folder, batches[0].key, b"[1]")
    manifest = ingest.bring_back(bucket, batches, folder)
    assert manifest.sort("batch_id").select("batch_id", "bytes", "sha256").rows() == [
        ("0", 3, bronze.sha256(b"[1]")),
        ("1", 4, bronze.sha256(b"[22]")),
    ]
    assert (folder / batches[1].key).read_bytes() == b"[22]"
