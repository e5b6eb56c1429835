"""Two runs at once in one checkout: one works, the other says what holds it."""

import shutil
import signal
from pathlib import Path

import psutil
import pytest

from pipeline import paths
from pipeline.errors import PipelineError
from tests.faults.conftest import OUTPUTS, RUNS, Built, stand_in
from tests.faults.stages import left_behind, paused, run
from tests.repro.checkouts import copy_of_working_tree, files_below


@pytest.mark.parametrize(
    ("verb", "at", "held"),
    [
        ("silver", "pipeline.tables:write_table", "data/silver"),
        ("ingest", "pipeline.replay:reconcile", "reports/rejected"),
        ("report", "pipeline.report:build", "reports/report"),
        ("publish", "pipeline.publish:publish_layer", "data/published.json"),
    ],
)
def test_a_second_run_of_a_stage_names_the_first_and_touches_nothing(
    checkout: Path, tmp_path: Path, verb: str, at: str, held: str
) -> None:
    before = files_below(Path("data")) | files_below(Path("reports"))
    with paused(tmp_path, (verb,), at) as first:
        second = run(verb)
        assert second.returncode == 1
        assert f"{held} is being written by process {first.process.pid}, `python -m pipeline {verb}`" in (second.stderr)
        assert "wait until it ends" in second.stderr
        assert "Traceback" not in second.stderr
        first.process.send_signal(signal.SIGTERM)
        first.ended()
        assert first.process.returncode == 128 + signal.SIGTERM
    assert left_behind() == []
    assert files_below(Path("data")) | files_below(Path("reports")) == before


def test_a_run_that_was_killed_holds_nothing_back(checkout: Path, built: Built, tmp_path: Path) -> None:
    with paused(tmp_path, ("silver",), "pipeline.tables:write_table") as first:
        with pytest.raises(PipelineError, match=rf"being written by process {first.process.pid}"):
            RUNS["silver"]()
        first.process.kill()
        first.process.wait()
        RUNS["silver"]()
    assert files_below(OUTPUTS["silver"]) == built.output("silver")
    assert left_behind() == []


def test_a_replacement_that_was_killed_between_its_two_steps_is_put_right(checkout: Path, built: Built) -> None:
    paths.SILVER.rename(paths.SILVER.with_name(".silver.old.partial"))
    shutil.rmtree(paths.GOLD)
    with pytest.raises(PipelineError), paths.replacing_folder(paths.SILVER):
        raise PipelineError("the next run fails before it has written anything")
    assert files_below(paths.SILVER) == built.output("silver")
    assert left_behind() == []


def test_a_second_dvc_repro_names_the_first_and_the_next_one_repairs_what_was_interrupted_or_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = copy_of_working_tree(tmp_path / "clone")
    stand_in(clone.root, monkeypatch, None)
    repro = ("dvc", "repro", "simulate")
    with paused(tmp_path, repro, "pipeline.wire:write_raid") as first:
        second = run(*repro)
        assert second.returncode != 0
        assert f"(PID {first.process.pid})" in second.stderr
        first.process.kill()
        first.process.wait()
        orphan = next(each for each in first.started if each.cmdline()[-1] == "simulate")
        third = run(*repro)
        assert third.returncode != 0
        assert f"data/simulated is being written by process {orphan.pid}" in third.stderr
        orphan.terminate()
        psutil.wait_procs([orphan], timeout=30)
    assert left_behind() == []
    assert run(*repro).returncode == 0
    made = files_below(paths.SIMULATED)
    file = sorted(paths.SIMULATED.rglob("*.parquet"))[0]
    file.write_bytes(file.read_bytes()[:1000])
    assert run(*repro).returncode == 0
    assert files_below(paths.SIMULATED) == made
