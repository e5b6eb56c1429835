"""Notebooks are executed to the same bytes each run, fail with a message that helps, and hold no logic."""

import ast
import asyncio
import gc
import itertools
import json
import logging
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from pipeline import gold, notebooks, silver
from pipeline.errors import PipelineError
from pipeline.offline import outside_references
from tests.raids import ARRIVAL, batch, evening, write_bronze

ROOT = Path(__file__).parents[1]
COMMITTED = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Prints, objects, styled tables, noise and time: what would change from run to run.
UNRULY = """
import os, sys, time
import pandas as pd

class Thing: pass

print("first"); sys.stdout.flush(); time.sleep(0.05); print("second")
print(time.time(), file=sys.stderr)
print(os.getcwd() + "/data", os.environ["MPLBACKEND"], "startup_ran" in globals(), raid_id)
display(Thing())
pd.DataFrame({"damage": [1]}).style
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def code_cell(source: str, *tags: str) -> dict[str, Any]:
    metadata = {"tags": list(tags)} if tags else {}
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}


def write_notebook(home: Path, *sources: str, name: str = "01-eda") -> Path:
    """A notebook with a cell of parameters and these cells."""
    cells = [code_cell("raid_id = None", "parameters"), *map(code_cell, sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    target = home / "notebooks" / f"{name}.ipynb"
    target.parent.mkdir(exist_ok=True)
    numbered = [cell | {"id": f"cell-{number}"} for number, cell in enumerate(cells)]
    content = {"cells": numbered, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    target.write_text(json.dumps(content))
    return target


def executed(home: Path, name: str = "01-eda", suffix: str = ".ipynb") -> Any:
    return json.loads((home / f"reports/notebooks/{name}{suffix}").read_text())


def notebook_bytes(home: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((home / "reports/notebooks").iterdir())}


def test_two_runs_leave_the_same_bytes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    startup = tmp_path / "ipython/profile_default/startup/00.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("startup_ran = True")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    write_notebook(home, UNRULY)
    notebooks.run("01-eda")
    first = notebook_bytes(home)
    notebooks.run("01-eda")
    assert notebook_bytes(home) == first
    assert set(first) == {"01-eda.ipynb", "01-eda.html"}
    stdout, thing, table = executed(home)["cells"][-1]["outputs"]
    assert "".join(stdout["text"]) == "first\nsecond\ndata agg False raid001\n"
    assert "0x…" in "".join(thing["data"]["text/plain"])
    assert "T_00001_row0_col0" in "".join(table["data"]["text/html"])
    assert "cell [3]" in caplog.text
    assert os.environ["IPYTHONDIR"] == str(tmp_path / "ipython")
    assert outside_references(first["01-eda.html"].decode()) == []


def test_a_failing_cell_is_named_and_kept(home: Path) -> None:
    write_notebook(home, "\nlost = {}\nlost['boss']", "print('never')")
    with pytest.raises(PipelineError, match=r"01-eda\.ipynb: cell \[3\] `lost = \{\}` failed with KeyError: 'boss'"):
        notebooks.run("01-eda")
    assert set(notebook_bytes(home)) == {"01-eda.failed.ipynb"}
    outputs = [cell["outputs"] for cell in executed(home, suffix=".failed.ipynb")["cells"] if cell.get("outputs")]
    assert [output["ename"] for (output,) in outputs] == ["KeyError"]
    write_notebook(home)
    notebooks.run("01-eda")
    assert set(notebook_bytes(home)) == {"01-eda.ipynb", "01-eda.html"}


def test_a_failure_leaves_the_last_good_copy_alone(home: Path) -> None:
    good = home / "reports/notebooks/01-eda.html"
    good.parent.mkdir(parents=True)
    good.write_text("good")
    write_notebook(home, "1 / 0")
    with pytest.raises(PipelineError, match="ZeroDivisionError"):
        notebooks.run("01-eda")
    assert good.read_text() == "good"


def test_a_kernel_that_dies_is_told_once_and_from_a_cell_that_fails(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_notebook(home, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(PipelineError, match=r"the kernel died while a cell ran .*memory"):
        notebooks.run("01-eda")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(("error", "times"), [(DeadKernelError("Kernel died"), 0), (ValueError("news"), 1)])
def test_a_task_that_an_interrupt_left_behind_tells_no_kernels_death(
    home: Path, caplog: pytest.LogCaptureFixture, error: Exception, times: int
) -> None:
    write_notebook(home, "1")
    notebooks.run("01-eda")

    async def fail() -> None:
        raise error

    async def leave_it_behind() -> None:
        task = asyncio.get_running_loop().create_task(fail())
        await asyncio.wait([task])

    asyncio.run(leave_it_behind())
    gc.collect()
    assert [record.name for record in caplog.records if record.levelno >= logging.ERROR] == ["asyncio"] * times


def test_a_missing_kernel_names_the_remedy(home: Path) -> None:
    write_notebook(home)
    with pytest.raises(PipelineError, match="no Jupyter kernel `automl-of-nobody` here: run `make setup`"):
        notebooks.run("01-eda", kernel="automl-of-nobody")


def test_a_kernel_whose_python_is_gone_names_the_remedy(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "kernels/gone/kernel.json"
    spec.parent.mkdir(parents=True)
    gone = {"argv": [str(tmp_path / "python"), "{connection_file}"], "display_name": "Gone", "language": "python"}
    spec.write_text(json.dumps(gone))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    write_notebook(home)
    with pytest.raises(PipelineError, match=r"the kernel `gone` does not start .*: run `make setup`"):
        notebooks.run("01-eda", kernel="gone")


def test_what_is_missing_is_named(home: Path) -> None:
    with pytest.raises(PipelineError, match=r"01-eda\.ipynb: cannot be read"):
        notebooks.run("01-eda")
    write_notebook(home, name="09-weather")
    with pytest.raises(PipelineError, match="no section `weather`"):
        notebooks.run("09-weather")
    (home / "notebooks/01-eda.ipynb").write_text("<<<<<<< merge conflict")
    with pytest.raises(PipelineError, match="is no notebook"):
        notebooks.run("01-eda")


def test_a_page_that_would_load_from_elsewhere_is_refused(home: Path) -> None:
    write_notebook(home, "from IPython.display import HTML\nHTML('<img src=\"https://example.org/boss.png\">')")
    with pytest.raises(PipelineError, match=r"would load https://example\.org/boss\.png"):
        notebooks.run("01-eda")
    assert not list((home / "reports/notebooks").iterdir())


@pytest.mark.parametrize(
    ("page", "outside"),
    [
        ('<script src="https://cdn.example/vega.js"></script>', ["https://cdn.example/vega.js"]),
        ('<link rel="stylesheet" href="//cdn.example/a.css">', ["//cdn.example/a.css"]),
        ('<img src="boss.png">', ["boss.png"]),
        ('<img srcset="a.png 1x, b.png 2x">', ["a.png", "b.png"]),
        ("<style>@import 'x.css'; p {background: url(\"y.png\")}</style>", ["x.css", "y.png"]),
        ('<p style="background: url(z.png)">', ["z.png"]),
        ('<svg><use xlink:href="icons.svg#a"/><use href="#b"/></svg>', ["icons.svg#a"]),
        ('<script type="module">import m from "https://cdn.example/m.mjs"</script>', ["https://cdn.example/m.mjs"]),
        ('<a href="https://example.org">to click</a><img src="data:image/png;base64,AA=="><script>1</script>', []),
    ],
)
def test_what_a_page_loads_is_found(page: str, outside: list[str]) -> None:
    assert outside_references(page) == outside


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_a_committed_notebook_holds_calls_and_no_logic(file: Path) -> None:
    cells = json.loads(file.read_text())["cells"]
    code = ast.parse("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))
    logic = ast.FunctionDef | ast.ClassDef | ast.For | ast.While | ast.If | ast.Lambda | ast.comprehension
    assert not [node for node in ast.walk(code) if isinstance(node, logic)]
    assert [cell["metadata"].get("tags") for cell in cells].count(["parameters"]) == 1


@pytest.mark.parametrize(("notebook", "section"), [("02-classification", "classify"), ("03-clustering", "cluster")])
def test_a_study_run_by_hand_takes_the_values_of_params_yaml(notebook: str, section: str) -> None:
    cells = json.loads((ROOT / f"notebooks/{notebook}.ipynb").read_text())["cells"]
    (source,) = ("".join(cell["source"]) for cell in cells if cell["metadata"].get("tags") == ["parameters"])
    stated = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(source).body}  # type: ignore[attr-defined]
    assert stated == yaml.safe_load((ROOT / "params.yaml").read_text())[section]


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_every_picture_stands_below_a_word_on_how_to_read_it(file: Path) -> None:
    cells = json.loads(file.read_text())["cells"]
    for before, cell in itertools.pairwise(cells):
        if "figures.show(" in "".join(cell["source"]):
            assert "How to read it:" in "".join(before["source"])


@pytest.fixture
def season(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two small raids in Silver and Gold, and the exploration notebook."""
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    write_bronze(Path("data/bronze"), [batch(evening(each), each, ARRIVAL, each) for each in ("raid-a", "raid-b")])
    silver.run()
    gold.run()
    (home / "notebooks").mkdir()
    (home / "notebooks/01-eda.ipynb").write_bytes((ROOT / "notebooks/01-eda.ipynb").read_bytes())
    return home


def pictures(home: Path) -> dict[str, bytes]:
    return {file.stem: file.read_bytes() for file in sorted((home / "reports/figures/eda").iterdir())}


def test_the_exploration_runs_by_papermill_and_by_hand(season: Path) -> None:
    notebooks.run("01-eda")
    drawn = pictures(season)
    assert set(drawn) == {
        *("outcomes", "boss-health", "boss-health-raid", "rates-by-class", "role-shares", "deaths-raid"),
        *("deaths-along-fight", "event-mix", "ingest-latency", "removed"),
    }
    outcomes = (season / "reports/plots/outcomes.csv").read_text().splitlines()
    assert outcomes[:2] == ["difficulty,outcome,group,pulls", 'unknown,success,"unknown, kill",2']
    assert "the books balance" in (season / "reports/notebooks/01-eda.html").read_text()
    by_hand = nbformat.read(season / "notebooks/01-eda.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(by_hand, resources={"metadata": {"path": season / "notebooks"}}).execute()
    assert pictures(season) == drawn
    assert not (season / "notebooks/reports").exists()
