"""What the benchmarks work on: seasons of the simulator in folders of their own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


@contextmanager
def checkout(simulate: Mapping[str, float] | None = None) -> Iterator[Path]:
    """A folder that stages take for a checkout, with this project's parameters, some of the simulation's changed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "dvc.yaml").touch()
        (folder / ".dvc").mkdir()
        parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
        parameters["simulate"] |= simulate or {}
        (folder / "params.yaml").write_text(yaml.safe_dump(parameters))
        yield folder


def stage(verb: str, folder: Path) -> float:
    """Run a stage in a folder, as `dvc repro` would.

    Returns:
        CPU seconds of the process and those that it started.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("S3_", "DVC_"))}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", verb],
            cwd=folder,
            env=environment | {"DVC_ROOT": str(folder), "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
        )
        # This process alone: what other benchmarks started may end at any time and would count as ours.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{verb} failed:\n{said.read().decode()[-2000:]}")
    return used.ru_utime + used.ru_stime
