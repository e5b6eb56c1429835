"""Stages in processes of their own: at a chosen point of their work, with all that they started."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PAUSING = Path(__file__).parent / "pausing"
DEADLINE_S = 120.0


@dataclass(frozen=True)
class Stage:
    """A running `python -m pipeline <verb>`, the leader of its process group."""

    process: subprocess.Popen[str]
    started: list[psutil.Process]
    """What it had started by then."""

    def ended(self) -> str:
        """What it said on standard error, once it has ended."""
        return self.process.communicate(timeout=DEADLINE_S)[1]

    def survivors(self) -> list[list[str]]:
        """The commands of the processes that outlive it."""
        return [each.cmdline() for each in psutil.wait_procs(self.started, timeout=DEADLINE_S / 4)[1]]


@contextmanager
def paused(folder: Path, command: tuple[str, ...], at: str, call: int = 1, workers: int = 1) -> Iterator[Stage]:
    """A command that stands still in the middle of its work in the current folder, and ends with the block.

    Args:
        folder: an empty folder for the signs that it has come so far.
        command: like `python -m pipeline silver` without the first three words, or `dvc repro`.
        at: `module:function`, the call at which it, a worker or a kernel of it stands still.
        call: which call in each process.
        workers: of a map over raids.
    """
    signs = folder / f"{command[-1]}-{at}-{len(list(folder.iterdir()))}"
    signs.mkdir()
    environment = os.environ | {
        "PYTHONPATH": f"{PAUSING}:{os.environ['PYTHONPATH']}",
        "PIPELINE_WORKERS": str(workers),
        "PAUSE_AT": at,
        "PAUSE_CALLS": str(call),
        "PAUSE_FOLDER": str(signs),
    }
    process = subprocess.Popen(
        program(*command),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    family: list[psutil.Process] = []
    try:
        until(lambda: any(signs.iterdir()) or process.poll() is not None)
        assert process.poll() is None, process.communicate()[1]
        family = psutil.Process(process.pid).children(recursive=True)
        yield Stage(process, family)
    finally:
        process.kill()
        process.wait()
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def program(*command: str) -> list[str]:
    """A verb of the pipeline, or another program of the environment, as this Python runs it."""
    if command[0] == "dvc":
        return [sys.executable, "-m", *command]
    return [sys.executable, "-m", "pipeline", *command]


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run such a command to its end."""
    return subprocess.run(program(*command), capture_output=True, text=True, check=False, timeout=DEADLINE_S, **options)  # type: ignore[call-overload,no-any-return]


def until(reached: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_behind() -> list[str]:
    """Locks and half-written output in the current checkout."""
    return sorted(
        str(path) for top in ("data", "models", "reports") for path in Path(top).rglob(".*") if path.name != ".gitkeep"
    )
