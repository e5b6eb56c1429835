"""Stages that are interrupted, terminated or killed in the middle, and workers that are."""

import os
import re
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from pipeline import embedded_store, paths, publish
from pipeline.store import Connection, open_store
from tests.faults.conftest import OUTPUTS, RUNS, Built, stand_in
from tests.faults.stages import Stage, left_behind, paused, run, until
from tests.repro.checkouts import files_below

# (verb, where it stands still, at which call in each process, workers)
MAPPED = [("simulate", "pipeline.wire:write_raid", 1, 2)]
ALONE = [
    ("import-logs", "pipeline.wire:write_raid_parts", 1, 1),
    ("silver", "pipeline.tables:write_table", 2, 1),
    ("gold", "pipeline.tables:write_table", 2, 1),
    ("features", "pipeline.tables:write_table", 2, 1),
]
REPORTS = [
    ("eda", "pipeline.gold:raid_summary"),
    ("classify", "pipeline.studies.classification:read_pulls"),
    ("cluster", "pipeline.studies.clustering:study"),
    ("report", "pipeline.report:build"),
]
DELIVERED = "pipeline.replay:reconcile"
BROUGHT_BACK = "pipeline.bronze:write_manifest"
CTRL_C, TERMINATED = signal.SIGINT, signal.SIGTERM


def old_output(stage: str) -> dict[str, bytes]:
    """Give a stage's output a mark that no run of it would make, and say what it holds."""
    folder = OUTPUTS[stage]
    (folder / "old").write_text("as it was")
    return files_below(folder)


def interrupt(stage: Stage, number: signal.Signals) -> str:
    """Ctrl-C, which the terminal sends to the whole group, or another signal to the leader; what was said then."""
    if number == signal.SIGINT:
        os.killpg(stage.process.pid, number)
    else:
        stage.process.send_signal(number)
    return stage.ended()


@pytest.mark.parametrize(
    ("number", "verb", "at", "call", "workers"),
    [*((CTRL_C, *each) for each in MAPPED + ALONE), *((TERMINATED, *each) for each in MAPPED + ALONE[-1:])],
)
def test_an_interrupted_stage_ends_at_once_leaves_no_trace_and_is_repaired_by_the_next_run(
    checkout: Path, built: Built, tmp_path: Path, number: signal.Signals, verb: str, at: str, call: int, workers: int
) -> None:
    before = old_output(verb)
    with paused(tmp_path, (verb,), at, call, workers) as stage:
        assert len(stage.started) == (0 if workers == 1 else workers + 1)
        said = interrupt(stage, number)
        assert stage.process.returncode == 128 + number
        assert "Traceback" not in said
        assert stage.survivors() == []
    assert files_below(OUTPUTS[verb]) == before
    assert left_behind() == []
    RUNS[verb]()
    assert files_below(OUTPUTS[verb]) == built.output(verb)


@pytest.mark.parametrize("number", [CTRL_C, TERMINATED])
@pytest.mark.parametrize(("verb", "at"), REPORTS)
def test_an_interrupted_report_or_notebook_ends_at_once_and_takes_its_kernel_along(
    checkout: Path, tmp_path: Path, verb: str, at: str, number: signal.Signals
) -> None:
    before = files_below(Path("reports"))
    with paused(tmp_path, (verb,), at) as stage:
        said = interrupt(stage, number)
        assert stage.process.returncode == 128 + number
        assert said == ""
        assert stage.survivors() == []
    assert files_below(Path("reports")) == before


@pytest.mark.parametrize("number", [CTRL_C, TERMINATED])
def test_a_study_that_is_interrupted_among_its_models_keeps_the_old_ones_and_the_next_run_makes_them(
    checkout: Path, tmp_path: Path, number: signal.Signals
) -> None:
    models = Path("models/playstyle")
    models.mkdir(parents=True)
    (models / "old").write_text("as it was")
    with paused(tmp_path, ("cluster",), "pipeline.studies.clustering_outputs:model_card") as stage:
        said = interrupt(stage, number)
        assert stage.process.returncode == 128 + number
        assert said == ""
        assert stage.survivors() == []
    assert files_below(models) == {"old": b"as it was"}
    assert run("cluster").returncode == 0
    assert "model-card.md" in {path.name for path in models.iterdir()}
    assert not (models / "old").exists()
    assert left_behind() == []


@pytest.mark.parametrize("number", [CTRL_C, TERMINATED])
def test_an_interrupted_publication_leaves_the_manifest_of_the_one_before(
    checkout: Path, tmp_path: Path, connection: Connection, number: signal.Signals
) -> None:
    gold = open_store("s3://gold", connection)
    RUNS["publish"]()
    before = (gold.get(publish.MANIFEST), paths.PUBLISHED.read_bytes(), files_below(Path("reports")))
    changed = sorted(paths.GOLD.rglob("*.parquet"))[0]
    changed.write_bytes(b"a new table")
    with paused(tmp_path, ("publish",), "pipeline.publish:_manifest", call=2) as stage:
        said = interrupt(stage, number)
        assert stage.process.returncode == 128 + number
        assert "Traceback" not in said
        assert stage.survivors() == []
    assert (gold.get(publish.MANIFEST), paths.PUBLISHED.read_bytes(), files_below(Path("reports"))) == before
    assert left_behind() == []
    RUNS["publish"]()
    assert gold.get(str(changed.relative_to(paths.GOLD))) == b"a new table"
    assert gold.get(publish.MANIFEST) != before[0]


@pytest.mark.parametrize(("number", "at"), [(CTRL_C, DELIVERED), (TERMINATED, BROUGHT_BACK)])
def test_an_interrupted_ingest_stops_receiver_and_store(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, at: str
) -> None:
    stand_in(checkout, monkeypatch, None)
    before = old_output("ingest")
    with paused(tmp_path, ("ingest",), at) as stage:
        assert stage.started
        said = interrupt(stage, number)
        assert stage.process.returncode == 128 + number
        assert "Traceback" not in said
        assert stage.survivors() == []
    assert files_below(paths.BRONZE) == before
    assert left_behind() == []


def test_a_killed_ingest_takes_its_receiver_along_and_leaves_the_store_to_the_next_run(
    checkout: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(checkout, monkeypatch, None)
    before = old_output("ingest")
    with paused(tmp_path, ("ingest",), DELIVERED) as stage:
        interrupt(stage, signal.SIGKILL)
        store = embedded_store.status()
        assert store.answers
        others = [each for each in stage.started if each.pid != store.pid]
        assert others
        assert not psutil.wait_procs(others, timeout=30)[1]
        assert files_below(paths.BRONZE) == before
        RUNS["ingest"]()
    assert files_below(paths.BRONZE) == built.output("ingest")
    assert left_behind() == []
    assert embedded_store.status().pid is None


@pytest.mark.parametrize(("verb", "at", "call", "workers"), MAPPED + ALONE[1:2])
def test_a_killed_stage_leaves_the_old_output_and_no_worker_and_the_next_run_clears_up(
    checkout: Path, built: Built, tmp_path: Path, verb: str, at: str, call: int, workers: int
) -> None:
    before = old_output(verb)
    with paused(tmp_path, (verb,), at, call, workers) as stage:
        interrupt(stage, signal.SIGKILL)
        assert stage.survivors() == []
    assert files_below(OUTPUTS[verb]) == before
    assert left_behind() != []
    RUNS[verb]()
    assert files_below(OUTPUTS[verb]) == built.output(verb)
    assert left_behind() == []


def test_workers_that_are_killed_in_the_middle_of_their_raids_are_replaced_until_it_is_hopeless(
    checkout: Path, tmp_path: Path
) -> None:
    before = old_output("simulate")
    with paused(tmp_path, ("simulate",), "pipeline.wire:write_raid", workers=2) as stage:
        said = kill_each_that_appears(stage, next(tmp_path.glob("simulate-*")))
    assert re.search(r"worker processes died 3 times with [123] of 3 tasks left", said)
    assert "Traceback" not in said
    assert files_below(paths.SIMULATED) == before
    assert left_behind() == []


def test_a_worker_that_is_killed_in_the_middle_of_its_raid_costs_no_byte(
    checkout: Path, built: Built, tmp_path: Path
) -> None:
    shutil.rmtree(paths.SILVER)
    with paused(tmp_path, ("silver",), "pipeline.tables:write_table", workers=2) as stage:
        os.kill(int(next(next(tmp_path.glob("silver-*")).iterdir()).name), signal.SIGKILL)
        said = stage.ended()
    assert stage.process.returncode == 0
    assert "Traceback" not in said
    assert files_below(paths.SILVER) == built.output("silver")


def kill_each_that_appears(stage: Stage, signs: Path) -> str:
    def killed_all() -> bool:
        for each in list(signs.iterdir()):
            each.unlink()
            os.kill(int(each.name), signal.SIGKILL)
        return stage.process.poll() is not None

    until(killed_all)
    return stage.ended()
