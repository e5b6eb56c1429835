"""The graph from end to end, on four raids: what it makes, when it runs again, and that its bytes repeat."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipeline.offline import outside_references
from tests.repro.checkouts import ROOT, Checkout, copy_of_working_tree, files_below
from tests.repro.conftest import STAGES, Season

GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
FOREIGN_PARAMS: dict[str, set[str]] = {
    "report": set(PARAMS),  # the paper states the settings of all
    # Where a wrong clock must lie to be caught, and when the chance to win is asked for.
    "simulate": {"ingest.batch_size", "ingest.network_latency_ms", "silver.max_clock_skew_s", "features.horizons_s"},
}
# The thin shell through which every stage is entered: it imports lazily and computes nothing.
SHELL = {"pipeline", "pipeline.cli", "pipeline.__main__"}


def stages_run(checkout: Checkout) -> list[str]:
    """Let `dvc repro` do what it finds to do; which stages it ran."""
    said = checkout.run("dvc", "repro").stdout
    return re.findall(r"Running stage '(\w+)'", said)


def module_file(module: str) -> str:
    """A module's path as `deps` would name it."""
    path = Path(*module.split("."))
    return str(path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py"))


def test_every_layer_is_there(season: Season) -> None:
    root = season.checkout.root
    assert len(list((root / "data/simulated/raids").glob("raid*.parquet"))) == 4
    assert (root / "data/bronze/manifest.parquet").is_file()
    assert list((root / "data/bronze").glob("wow_raid_events/v1/raidid=raid001/ingestdate=*/batch=*.json"))
    assert list((root / "data/silver").glob("wow_raid_events/v1/raidid=raid001/eventdate=*/part-0.parquet"))
    for table in ("raid_summary", "player_raid_stats", "dim_player", "dim_raid"):
        assert (root / f"data/gold/{table}/v1/part-0.parquet").is_file()
    for table in ("raid_timeline", "player_timeline"):
        assert (root / f"data/gold/{table}/v1/raidid=raid001/part-0.parquet").is_file()
    for notebook in ("01-eda", "02-classification", "03-clustering"):
        assert (root / f"reports/notebooks/{notebook}.ipynb").is_file()
        assert (root / f"reports/notebooks/{notebook}.html").is_file()
    assert {file.stem for file in (root / "data/simulated/truth").iterdir()} == {
        "players",
        "pulls",
        "faults",
        "win_probability",
    }
    for language in ("en", "es"):
        assert (root / f"reports/report.{language}.pdf").read_bytes().startswith(b"%PDF")


def test_no_event_is_lost_between_the_layers(season: Season) -> None:
    simulated, ingested, silver, gold = map(season.checkout.metrics, ("simulate", "ingest", "silver", "gold"))
    assert simulated["events"] > 1000
    assert ingested["events_sent"] == simulated["events"]
    assert ingested["events_sent"] == ingested["events_delivered"] + ingested["events_rejected"]
    assert silver["bronze_events"] == ingested["events_delivered"]
    set_aside = silver["duplicates_removed"] + sum(silver["quarantined"].values())
    assert silver["bronze_events"] == silver["silver_rows"] + set_aside
    assert silver["silver_rows"] == gold["events_in_pulls"] + gold["events_outside_pulls"]
    assert gold["pulls"] == simulated["pulls"]
    assert gold["outcomes"]["success"] == simulated["kills"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_modules_it_imports(season: Season, stage: str) -> None:
    declared = {dep for dep in GRAPH[stage]["deps"] if dep.startswith("pipeline/")}
    imported = {module_file(module) for module in season.imports[stage] - SHELL}
    assert imported, "no import was traced"
    covering = {file: [dep for dep in declared if file == dep or file.startswith(f"{dep}/")] for file in imported}
    assert {file for file, deps in covering.items() if not deps} == set(), "imported, but not in deps"
    assert declared - {dep for deps in covering.values() for dep in deps} == set(), "in deps, but not imported"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_no_parameters_but_its_own(stage: str) -> None:
    own = set(GRAPH[stage].get("params", []))
    assert own <= {stage} | FOREIGN_PARAMS.get(stage, set())


def test_a_stage_depends_on_all_the_parameters_that_it_reads() -> None:
    """Of the simulation, which alone reads single ones of other stages."""
    source = (ROOT / "pipeline/simulate/__init__.py").read_text()
    read = {f"{section}.{name}" for section, name in re.findall(r"\bgiven\.(\w+)\.(\w+)", source)}
    assert {path for path in read if not path.startswith("simulate.")} == FOREIGN_PARAMS["simulate"]
    assert FOREIGN_PARAMS["simulate"] <= set(GRAPH["simulate"]["params"])


def test_no_stage_but_the_scoring_depends_on_the_truth() -> None:
    truth = "data/simulated/truth"
    near = {
        stage: [
            path
            for path in (*given["deps"], *given.get("outs", []))
            if isinstance(path, str) and (truth.startswith(path) or path.startswith(truth))
        ]
        for stage, given in GRAPH.items()
    }
    assert {stage: paths for stage, paths in near.items() if paths} == {"simulate": [truth], "score": [truth]}
    assert {path for given in GRAPH.values() for path in given["deps"] if "data/simulated" in path} == {
        "data/simulated/raids",
        truth,
    }


def test_git_sees_only_what_is_committed(season: Season) -> None:
    changed = season.checkout.run("git", "status", "--porcelain").stdout.splitlines()
    assert [line for line in changed if not line.startswith(" M")] == []
    assert all(re.fullmatch(r" M (dvc\.lock|reports/(metrics|plots|tables)/.+)", line) for line in changed), changed


def test_the_layers_caught_what_the_simulation_brought_in(season: Season) -> None:
    found = season.checkout.metrics("score")
    assert found["status"] == "ok"
    assert all(counts["brought_in"] == counts["caught"] for counts in found["faults"].values())
    brought_in = season.checkout.metrics("simulate")["faults"]
    assert {kind: counts["caught"] for kind, counts in found["faults"].items()} == {
        kind: brought_in.get(kind, 0) for kind in found["faults"]
    }


def test_a_second_repro_does_nothing(season: Season) -> None:
    assert "up to date" in season.checkout.run("dvc", "repro").stdout


def test_no_server_survives_a_run(season: Season) -> None:
    root = str(season.checkout.root)
    left = [
        process.cmdline()
        for process in psutil.process_iter(["cmdline"])
        if root in " ".join(process.info["cmdline"] or [])
    ]
    assert left == []


def test_a_silver_parameter_reruns_silver_and_what_follows(copy_of_season: Checkout) -> None:
    copy_of_season.set_param("massive_hit_threshold: 10000", "massive_hit_threshold: 9000")
    stages = stages_run(copy_of_season)
    assert stages[0] == "silver"
    assert not {"simulate", "import_logs", "ingest"} & set(stages)
    assert {"report", "publish"} <= set(stages)


def test_what_comes_out_the_same_reruns_nothing_after_it(copy_of_season: Checkout) -> None:
    """Every simulated pull states its verdict, so the limit decides none: only the paper names it."""
    copy_of_season.set_param("time_limit_s: 900", "time_limit_s: 600")
    assert stages_run(copy_of_season) == ["gold", "report"]


def test_two_checkouts_give_the_same_bytes_on_any_number_of_workers(season: Season, tmp_path: Path) -> None:
    other = copy_of_working_tree(tmp_path / "elsewhere")
    other.run("dvc", "repro", PIPELINE_WORKERS="1")
    assert (other.root / "dvc.lock").read_bytes() == (season.checkout.root / "dvc.lock").read_bytes()
    for folder in ("data/bronze", "data/gold", "models", "reports"):
        assert files_below(other.root / folder) == files_below(season.checkout.root / folder), folder


def test_a_bucket_with_other_contents_gives_the_same_bronze(copy_of_season: Checkout) -> None:
    """The store already holds this delivery and another raid's."""
    before = files_below(copy_of_season.root / "data/bronze")
    copy_of_season.run("dvc", "repro", "--force", "--single-item", "ingest")
    assert files_below(copy_of_season.root / "data/bronze") == before


def test_the_remote_carries_the_work_to_another_machine(copy_of_season: Checkout, tmp_path: Path) -> None:
    """Push, clone, pull; then the first machine and its store are gone, and the clone goes on alone."""
    copy_of_season.commit("the season")
    copy_of_season.run("python", "-m", "pipeline", "store", "up")
    try:
        copy_of_season.run("dvc", "push")
        clone = Checkout(tmp_path / "clone")
        copy_of_season.run("git", "clone", "-q", str(copy_of_season.root), str(clone.root))
        shutil.copy(copy_of_season.root / ".dvc/config.local", clone.root / ".dvc/config.local")
        clone.run("dvc", "pull")
    finally:
        copy_of_season.run("python", "-m", "pipeline", "store", "down")
    shutil.rmtree(copy_of_season.root)
    assert stages_run(clone) == ["publish"]  # the clone's own store has nothing yet
    clone.set_param("massive_hit_threshold: 10000", "massive_hit_threshold: 1000")
    before = clone.metrics("silver")["massive_hits"]
    assert stages_run(clone)[0] == "silver"
    assert clone.metrics("silver")["massive_hits"] > before


def test_an_experiment_is_run_compared_and_leaves_no_trace(copy_of_season: Checkout) -> None:
    """The steps of docs/experiments.md."""
    copy_of_season.commit("the season")
    copy_of_season.run("python", "-m", "pipeline", "plots-page")
    change = "classify.horizon_s=60"
    said = copy_of_season.run("dvc", "exp", "run", "--temp", "--set-param", change, "--name", "sixty").stdout
    assert "Running stage 'classify'" in said and "Running stage 'features'" not in said
    metrics = json.loads(copy_of_season.run("dvc", "metrics", "diff", "main", "sixty", "--json").stdout)
    assert metrics["reports/metrics/classification.json"]["horizon_s"] == {"old": 30, "new": 60, "diff": 30}
    params = json.loads(copy_of_season.run("dvc", "params", "diff", "main", "sixty", "--json").stdout)
    assert params == {"params.yaml": {"classify.horizon_s": {"old": 30, "new": 60, "diff": 30}}}
    assert "sixty" in copy_of_season.run("dvc", "exp", "show", "--csv").stdout
    copy_of_season.run("dvc", "plots", "diff", "main", "sixty")
    page = (copy_of_season.root / "dvc_plots/index.html").read_text()
    assert "vega" in page and not outside_references(page)
    assert copy_of_season.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.parametrize("notebook", ["01-eda", "02-classification", "03-clustering"])
def test_a_notebook_runs_by_hand_in_its_own_folder(copy_of_season: Checkout, notebook: str, tmp_path: Path) -> None:
    """As in `make lab`: with its own kernel, from notebooks/, without papermill's parameters."""
    command = ("jupyter", "nbconvert", "--to", "notebook", "--execute", "--output-dir", str(tmp_path))
    copy_of_season.run(*command, f"notebooks/{notebook}.ipynb")
    cells = json.loads((tmp_path / f"{notebook}.ipynb").read_text())["cells"]
    assert any(cell.get("outputs") for cell in cells)


def test_the_summary_names_what_was_made(season: Season) -> None:
    said = season.checkout.run("python", "-m", "pipeline", "summary").stdout
    for word in ("4 simulated", "data/bronze/", "data/gold/", "01-eda.html", "report.en.pdf", "make lab", "Store"):
        assert word in said
