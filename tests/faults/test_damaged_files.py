"""Files that were damaged, changed or lost between two stages: the error names the file and what makes it anew."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pipeline import bronze, paths, replay, wire
from pipeline.errors import PipelineError
from pipeline.studies import classification, eda
from tests.faults.conftest import OUTPUTS, RUNS, Built
from tests.faults.stages import left_behind
from tests.repro.checkouts import files_below

Damage = Callable[[bytes], bytes]
FOREIGN = pl.DataFrame({"raid_id": ["raid001"], "sha256": ["what?"]})


def foreign(_: bytes) -> bytes:
    """A sound Parquet file of another table."""
    file = Path("foreign.parquet")
    FOREIGN.write_parquet(file)
    return file.read_bytes()


DAMAGES: dict[str, Damage] = {
    "empty": lambda content: b"",
    "garbage": lambda content: b"garbage" * 100,
    "truncated": lambda content: content[: len(content) // 2],
    "a hole": lambda content: content[:4] + bytes(len(content) - 512) + content[-508:],
    "foreign": foreign,
}


def damage(file: Path, how: Damage) -> None:
    file.write_bytes(how(file.read_bytes()))


def files(folder: Path, pattern: str = "*.parquet") -> list[Path]:
    return sorted(folder.rglob(pattern))


@pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize(
    ("maker", "pattern", "reader"),
    [
        ("silver", "*.parquet", "gold"),
        ("gold", "raid_summary/*/*.parquet", "features"),
        ("gold", "player_timeline/*/*/*.parquet", "features"),
    ],
)
def test_a_damaged_table_is_named_with_its_stage_and_that_stage_repairs_it(
    checkout: Path, built: Built, maker: str, pattern: str, reader: str, how: Damage
) -> None:
    file = files(OUTPUTS[maker], pattern)[-1]
    damage(file, how)
    before = files_below(OUTPUTS[reader])
    with pytest.raises(PipelineError) as raised:
        RUNS[reader]()
    assert str(raised.value).splitlines()[0].startswith((f"{file}: ", f"{checkout / file}: "))
    assert f"`dvc checkout {OUTPUTS[maker]}`" in str(raised.value)
    assert f"`dvc repro {maker}`" in str(raised.value)
    assert files_below(OUTPUTS[reader]) == before
    assert left_behind() == []
    RUNS[maker]()
    RUNS[reader]()
    assert files_below(OUTPUTS[reader]) == built.output(reader)


@pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_raid_is_named_with_the_stage_that_makes_it(checkout: Path, how: Damage) -> None:
    for folder, maker in ((paths.SIMULATED, "simulate"), (paths.IMPORTED, "import_logs")):
        file = wire.raid_files(folder)[-1]
        damage(file, how)
        with pytest.raises(PipelineError, match=rf"{file}: .*`dvc repro {maker}`"):
            wire.read_raid(file)
        with pytest.raises(PipelineError, match=rf"{file}: .*`dvc repro {maker}`"):
            for _, frame in replay.raids_of(folder):
                assert frame.schema == wire.WIRE_SCHEMA


def test_ingest_stops_at_a_damaged_raid_and_keeps_its_old_output(checkout: Path, built: Built) -> None:
    file = wire.raid_files(paths.SIMULATED)[1]
    damage(file, DAMAGES["truncated"])
    with pytest.raises(PipelineError, match=rf"{file}: .*`dvc repro simulate`"):
        RUNS["ingest"]()
    assert files_below(paths.BRONZE) == built.output("ingest")
    assert left_behind() == []
    RUNS["simulate"]()
    RUNS["ingest"]()
    assert files_below(paths.BRONZE) == built.output("ingest")


@pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
def test_the_studies_name_a_damaged_table_too(checkout: Path, how: Damage) -> None:
    events, features = files(paths.SILVER)[-1], paths.FEATURES / "pull_features" / "v1" / "part-0.parquet"
    if how not in (DAMAGES["a hole"], DAMAGES["foreign"]):
        damage(events, how)
        with pytest.raises(PipelineError, match=rf"{events}: .*`dvc repro silver`"):
            eda.silver_events()
    if how is not DAMAGES["foreign"]:
        damage(features, how)
        with pytest.raises(PipelineError, match=rf"{features} .*`dvc repro features`"):
            classification.read_features()


@pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_manifest_is_named_and_ingest_repairs_it(checkout: Path, built: Built, how: Damage) -> None:
    damage(paths.BRONZE / bronze.MANIFEST, how)
    silver_is_refused(rf"data/bronze/{bronze.MANIFEST}: .*`dvc repro ingest`")


def test_a_manifest_without_one_of_its_columns_is_named(checkout: Path) -> None:
    manifest = paths.BRONZE / bronze.MANIFEST
    pl.read_parquet(manifest).drop("sha256").write_parquet(manifest)
    silver_is_refused(rf"data/bronze/{bronze.MANIFEST}: has the columns key, .*`dvc repro ingest`")


CHANGES: dict[str, Damage] = {
    "longer": lambda content: content + b" ",
    "shorter": lambda content: content[:-1],
    "same length": lambda content: content[:-3] + b"?}]",
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("how", CHANGES.values(), ids=CHANGES)
def test_a_changed_object_of_bronze_is_named(checkout: Path, how: Damage) -> None:
    file = files(paths.BRONZE, "*.json")[5]
    damage(file, how)
    silver_is_refused(rf"{file} was changed: .*`dvc checkout`.*`dvc repro -f ingest`")


def test_an_object_that_is_gone_is_named_and_ingest_brings_it_back(checkout: Path, built: Built) -> None:
    file = files(paths.BRONZE, "*.json")[5]
    file.unlink()
    silver_is_refused(rf"{file} is missing though the manifest names it: .*`dvc repro -f ingest`")
    RUNS["ingest"]()
    RUNS["silver"]()
    assert files_below(paths.BRONZE) == built.output("ingest")
    assert files_below(paths.SILVER) == built.output("silver")


def test_an_object_that_no_manifest_names_is_not_read(checkout: Path, built: Built) -> None:
    file = files(paths.BRONZE, "*.json")[5]
    file.with_name("batch=another.json").write_bytes(file.read_bytes().replace(b"raid00", b"raid99"))
    RUNS["silver"]()
    assert files_below(paths.SILVER) == built.output("silver")


def silver_is_refused(message: str) -> None:
    before = files_below(paths.SILVER)
    with pytest.raises(PipelineError, match=message):
        RUNS["silver"]()
    assert files_below(paths.SILVER) == before
    assert left_behind() == []
