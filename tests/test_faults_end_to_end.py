"""Faults of the field and the truth, through a real receiver and store: what must be caught is, and nothing else."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from pipeline import combatlog, features, gold, ingest, paths, replay, score, silver, simulate
from pipeline.simulate.faults import CAUGHT_BY, OF_EVENTS
from pipeline.store import Connection
from tests.conftest import ROOT
from tests.faults.conftest import stand_in
from tests.repro.checkouts import SMALL_PARAMS, files_below

RATES = {**dict.fromkeys(OF_EVENTS, 0.03), "late_batch": 0.2}
MUST_BE_CAUGHT = [kind for kind, layer in CAUGHT_BY.items() if layer != "nobody"]
HARMLESS = ["late", "missing_field", "duplicate", "late_batch"]
SMALL = 40
"""A batch of so many events is one of many of its raid."""
LAYERS = (ingest.run, silver.run, gold.run, features.run)
MADE = (paths.BRONZE, paths.SILVER, paths.GOLD, paths.FEATURES)


@dataclass(frozen=True)
class Season:
    """A checkout after `simulate`, `import-logs` and some layers."""

    root: Path
    batch_size: int

    @property
    def ledger(self) -> pl.DataFrame:
        return pl.read_parquet(self.root / paths.SIMULATED / "truth" / "faults.parquet")

    @property
    def quarantine(self) -> pl.DataFrame:
        """What Silver set aside of simulated raids."""
        files = (self.root / paths.SILVER / "quarantine").rglob("*.parquet")
        return pl.concat(pl.read_parquet(file) for file in files).filter(pl.col("raid_id").str.starts_with("raid0"))

    def of_kind(self, kind: str) -> list[str]:
        return sorted(self.ledger.filter(fault=kind)["event_id"])


Play = Callable[..., Season]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory, connection: Connection) -> Play:
    """A season of two teams with these faults, delivered in batches of this size, a real log beside it."""

    def played(kinds: list[str], batch_size: int, layers: tuple[Callable[[], None], ...] = LAYERS) -> Season:
        root = tmp_path_factory.mktemp("season")
        (root / "dvc.yaml").touch()
        values: dict[str, Any] = yaml.safe_load(SMALL_PARAMS.read_text())
        faults = {kind: RATES[kind] if kind in kinds else 0.0 for kind in CAUGHT_BY}
        size = {"teams": 2, "pulls_per_evening": 2.0, "num_events_per_raid": 1500, "win_probability_share": 0.0}
        values["simulate"] |= {**size, "faults": faults}
        values["ingest"] |= {"batch_size": batch_size}
        (root / "params.yaml").write_text(yaml.safe_dump(values))
        (root / paths.RAW).mkdir(parents=True)
        log = root / paths.RAW / "WoWCombatLog.txt"
        shutil.copy(ROOT / "tests" / "data" / "combatlog" / "every-kind.txt", log)
        log.with_name(f"{log.name}.yaml").write_text("year: 2024\nutc_offset: '+01:00'\n")
        with pytest.MonkeyPatch.context() as patch:
            stand_in(root, patch, connection)
            for stage in (simulate.run, combatlog.run, *layers):
                stage()
        return Season(root, batch_size)

    return played


@pytest.fixture(scope="module", params=[2500, SMALL])
def faulty(play: Play, request: pytest.FixtureRequest) -> Season:
    """Every kind of fault, often."""
    return play(list(CAUGHT_BY), request.param, LAYERS[:2])


def test_each_layer_catches_exactly_what_the_ledger_says(faulty: Season) -> None:
    brought_in = score.in_ledger(faulty.ledger.to_pandas())
    assert set(brought_in) == {
        (raid_id, kind) for raid_id in faulty.ledger["raid_id"].unique() for kind in MUST_BE_CAUGHT
    }, "every kind in every raid"
    assert min(brought_in.values()) >= 3
    caught = score.caught_faults(faulty.root / paths.SIMULATED, faulty.root / paths.SILVER)
    assert caught == brought_in
    score.check(brought_in, caught)


def test_the_receiver_refuses_the_invalid_events_and_no_other(faulty: Season) -> None:
    lines = [
        json.loads(line)
        for file in (faulty.root / replay.REJECTED).glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert sorted(line["event"]["event_id"] for line in lines) == faulty.of_kind("invalid")


@pytest.mark.parametrize("kind", ["clock_skew", "outside_pull"])
def test_silver_sets_these_events_aside_and_no_other(faulty: Season, kind: str) -> None:
    assert sorted(faulty.quarantine.filter(reason=kind)["event_id"]) == faulty.of_kind(kind)
    assert set(faulty.quarantine["reason"]) == {"clock_skew", "outside_pull"}


def test_all_that_is_right_comes_to_silver_once(faulty: Season) -> None:
    sent = pl.concat(pl.read_parquet(file) for file in (faulty.root / paths.SIMULATED / "raids").glob("*.parquet"))
    lost = {*faulty.of_kind("invalid"), *faulty.of_kind("clock_skew"), *faulty.of_kind("outside_pull")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(faulty.root)
        kept = pl.concat(silver.read_events(paths.SILVER, raid_id) for raid_id in sent["raid_id"].unique())
    assert sorted(kept["event_id"]) == sorted(set(sent["event_id"]) - lost)


def test_what_is_late_arrives_after_the_evening(faulty: Season) -> None:
    late = faulty.ledger.filter(fault="late")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(faulty.root)
        events = pl.concat(silver.read_events(paths.SILVER, raid_id) for raid_id in late["raid_id"].unique())
    end = events.group_by("raid_id").agg(end=pl.col("timestamp").max())
    arrived = events.join(late, on=["raid_id", "event_id"]).join(end, on="raid_id")
    assert arrived.height == late.height
    assert arrived.select((pl.col("ingest_timestamp") > pl.col("end")).all()).item()


def test_what_lies_in_a_late_batch_arrives_after_later_events(faulty: Season) -> None:
    late = faulty.ledger.filter(fault="late_batch")
    if faulty.batch_size > SMALL:
        assert late.is_empty(), "a raid of one batch"
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(faulty.root)
        events = pl.concat(silver.read_events(paths.SILVER, raid_id) for raid_id in late["raid_id"].unique())
    assert late.height > 3
    for raid_id, event_id in late.select("raid_id", "event_id").iter_rows():
        raid = events.filter(raid_id=raid_id)
        first = raid.row(by_predicate=pl.col("event_id") == event_id, named=True)
        until = raid.filter(pl.col("timestamp").is_between(first["timestamp"], first["ingest_timestamp"]))
        assert until.height > 1.5 * SMALL, "the batch itself and the next"


@pytest.fixture(scope="module")
def harmless(play: Play) -> Season:
    return play(HARMLESS, SMALL)


def test_harmless_faults_leave_gold_and_features_as_they_were(harmless: Season, play: Play) -> None:
    assert {kind for kind in HARMLESS if harmless.of_kind(kind)} == set(HARMLESS)
    clean = play([], SMALL)
    assert clean.ledger.is_empty()
    for layer in (paths.GOLD, paths.FEATURES):
        assert files_below(harmless.root / layer) == files_below(clean.root / layer) != {}


@pytest.mark.parametrize("fate", ["deleted", "random"])
def test_no_layer_depends_on_the_truth(
    harmless: Season, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(harmless.root, root)
    truth = root / paths.SIMULATED / "truth"
    names = [file.name for file in truth.iterdir()]
    assert names
    shutil.rmtree(truth)
    if fate == "random":
        truth.mkdir()
        for name in names:
            (truth / name).write_bytes(np.random.default_rng(0).bytes(5000))
    for layer in MADE:
        shutil.rmtree(root / layer)
    stand_in(root, monkeypatch, connection)
    for stage in LAYERS:
        stage()
    for layer in MADE:
        assert files_below(root / layer) == files_below(harmless.root / layer) != {}
