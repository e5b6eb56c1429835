"""Throw-away checkouts of the working tree, in which the graph runs for real."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SMALL_PARAMS = ROOT / "tests" / "data" / "params.yaml"
# What a developer's shell or an outer DVC may have set and a newcomer's has not.
FOREIGN = ("DVC_ROOT", "DVC_STAGE", "S3_ENDPOINT_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "PYTHONPATH", "PYTHONHASHSEED")


@dataclass(frozen=True)
class Checkout:
    """A git and DVC checkout of the project."""

    root: Path

    def run(
        self, *command: str, check: bool = True, python_path: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there, the environment first on PATH and `python_path` before the project in Python's."""
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        search = [str(path) for path in (python_path, self.root) if path]
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": ":".join(search)}
        done = subprocess.run(
            command, cwd=self.root, env=environment | variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, f"{command} failed in {self.root}:\n{done.stdout}\n{done.stderr}"
        return done

    def metrics(self, stage: str) -> dict[str, Any]:
        """A stage's metrics."""
        content: dict[str, Any] = json.loads((self.root / "reports" / "metrics" / f"{stage}.json").read_text())
        return content

    def set_param(self, line: str, replacement: str) -> None:
        """Change one line of params.yaml."""
        file = self.root / "params.yaml"
        text = file.read_text()
        assert text.count(line) == 1, f"{line!r} stands {text.count(line)} times in params.yaml"
        file.write_text(text.replace(line, replacement))

    def commit(self, message: str) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "-qm", message)


def copy_of_working_tree(target: Path, params: Path = SMALL_PARAMS) -> Checkout:
    """What `git clone` would give if all changes were committed, with other parameters."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(lambda name: (ROOT / name).is_file(), listed.splitlines()):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    shutil.copy(params, target / "params.yaml")
    checkout = Checkout(target)
    checkout.run("git", "init", "-q", "-b", "main")
    checkout.commit("a newcomer's clone")
    return checkout


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
