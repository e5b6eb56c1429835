"""What a newcomer meets before the first run: the checks of `make`, the environments, the commands' help."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from pipeline import __version__, preflight
from pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
WANTED = {
    *("dvc", "dvc-s3", "pydantic", "pandas", "pyarrow", "numpy", "papermill", "jupyterlab"),
    *("scikit-learn", "torch", "flask", "pytest"),
}


def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run make without building anything."""
    environment = os.environ | ({"PATH": path} if path else {})
    command = ["/usr/bin/make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def locked(name: str) -> dict[str, str]:
    """The versions of a lock file; a line that pins nothing fails here."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {package.lower().replace("_", "-"): version for package, version in pins}


def test_a_wrong_python_is_named_with_the_remedy() -> None:
    problem = preflight.python_problem((3, 13))
    assert problem is not None
    assert re.fullmatch(r"Python 3\.11 is needed, .+ is 3\.13: .*make PYTHON=.*", problem)


def test_too_little_disk_says_how_much() -> None:
    assert preflight.disk_problem(10**12) is None
    assert preflight.disk_problem(10**9) == (
        "too little disk: 1.0 GB free here, 6 GB needed: free some, or clone to another disk"
    )


def test_a_missing_tool_is_one_line_with_the_remedy() -> None:
    problem = preflight.tool_problem("no-such-tool", "install it")
    assert problem == "no-such-tool is missing: install it"


def test_make_stops_at_a_problem_before_it_makes_anything(tmp_path: Path) -> None:
    """A checkout whose PATH has no git: one line, and no environment."""
    for file in (
        "Makefile",
        "pipeline/preflight.py",
        "requirements/main.txt",
        "requirements/automl.txt",
        "pyproject.toml",
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "env", "cat"):
        (tmp_path / "bin" / tool).symlink_to(f"/bin/{tool}")
    command = ["/usr/bin/make", "setup", f"PYTHON={sys.executable}"]
    environment = {"PATH": str(tmp_path / "bin")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "error: git is missing: install git" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_help_lists_every_target() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    listed = re.findall(r"^  make ([a-z-]+)", make("help").stdout, flags=re.MULTILINE)
    assert listed == targets
    assert {"repro", "test", "test-full", "lab", "clean", "help"} <= set(targets)


def test_make_clean_spares_the_store_and_the_raw_logs() -> None:
    commands = make("--dry-run", "clean").stdout
    assert "data/bronze" in commands
    assert ".store" not in commands
    assert "data/raw" not in commands


@pytest.mark.parametrize("name", ["main", "automl"])
def test_every_version_is_pinned_and_portable(name: str) -> None:
    versions = locked(name)
    assert len(versions) > 50
    assert all(re.fullmatch(r"[0-9a-z.]+", version) for version in versions.values())


def test_the_lock_files_hold_what_the_project_is_made_of() -> None:
    assert WANTED.issubset(locked("main"))
    assert locked("automl")["pycaret"] == "3.3.2"
    assert locked("main")["torch"] == "2.13.0"


@pytest.mark.parametrize("name", ["main", "automl"])
def test_what_is_asked_for_is_locked(name: str) -> None:
    asked = re.findall(r"^[\w.-]+", (ROOT / "requirements" / f"{name}.in").read_text(), flags=re.MULTILINE)
    assert {package.lower().replace("_", "-") for package in asked} <= set(locked(name))


def test_the_conda_environment_is_the_lock_file() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(line for line in environment["dependencies"] if str(line).startswith("python="))
    pip = next(line for line in environment["dependencies"] if isinstance(line, dict))["pip"]
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert python == "python=3.11" and required.startswith(">=3.11")
    assert pip == ["--requirement requirements/main.txt", "--editable ."]


def test_the_version_stands_in_one_place() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "pipeline", "version"], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert __version__ not in (ROOT / "pyproject.toml").read_text()


def test_the_lab_has_both_kernels() -> None:
    command = [str(Path(sys.executable).with_name("jupyter")), "kernelspec", "list", "--json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["kernelspecs"]
    assert {"python3", "automl"} <= set(listed)
    assert listed["automl"]["spec"]["argv"][0].endswith(".venv-automl/bin/python")


def test_every_setting_is_documented() -> None:
    example = (ROOT / ".env.example").read_text()
    documented = {name.lower() for name in re.findall(r"^#? ?([A-Z0-9_]+)=", example, flags=re.MULTILINE)}
    assert documented == set(Settings.model_fields)


def test_every_command_of_the_cli_stands_in_the_documentation() -> None:
    from typer.main import get_command

    from pipeline.cli import app

    texts = "".join(file.read_text() for file in [ROOT / "README.md", ROOT / "dvc.yaml", *(ROOT / "docs").glob("*.md")])
    root = get_command(app)
    commands = getattr(root, "commands", {})
    names = [name for name in commands if name != "store"] + [f"store {name}" for name in commands["store"].commands]
    assert not [name for name in names if f"pipeline {name}" not in texts]


def test_an_error_that_a_user_can_mend_comes_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "params.yaml").write_text("simulate: {}")
    command = [sys.executable, "-m", "pipeline", "simulate"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml: simulate.seed: is missing")
    assert "Traceback" not in done.stderr
