"""The one place that knows where things live."""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from tempfile import mkdtemp
from typing import IO

from pipeline.errors import PipelineError


def project_root() -> Path:
    """The folder whose data a command works on: the nearest one upwards from here that holds a `dvc.yaml`.

    Raises:
        PipelineError: outside of any checkout.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise PipelineError(f"no dvc.yaml in {here} or above it: run this inside a checkout of the project")


def home_root() -> Path:
    """The checkout that holds `.env` and `.store/`.

    Under `dvc exp run --temp` a stage runs in a throw-away copy; DVC then names the real checkout in `DVC_ROOT`.
    """
    dvc_root = os.environ.get("DVC_ROOT")
    return Path(dvc_root) if dvc_root else project_root()


PARAMS = Path("params.yaml")
RAW = Path("data/raw")
SIMULATED = Path("data/simulated")
IMPORTED = Path("data/imported")
BRONZE = Path("data/bronze")
SILVER = Path("data/silver")
GOLD = Path("data/gold")
FEATURES = Path("data/features")
PUBLISHED = Path("data/published.json")
MODELS = Path("models")
METRICS = Path("reports/metrics")
FIGURES = Path("reports/figures")
PLOTS = Path("reports/plots")
TABLES = Path("reports/tables")
NOTEBOOKS = Path("notebooks")
EXECUTED_NOTEBOOKS = Path("reports/notebooks")
STORE = Path(".store")
MADE_BY: dict[Path, str] = {
    SIMULATED / "raids": "simulate",
    IMPORTED: "import_logs",
    BRONZE: "ingest",
    SILVER: "silver",
    GOLD: "gold",
    FEATURES: "features",
}
"""The stage that makes each layer."""


def how_to_mend(file: Path) -> str:
    """What to run for a file that a stage made to be whole again."""
    for folder, stage in MADE_BY.items():
        if f"/{folder}/" in f"/{file.as_posix()}":
            return f"bring {folder} back with `dvc checkout {folder}`, or make it again with `dvc repro {stage}`"
    return "make it again, or take it away"


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Give a fresh folder beside `target` and put it in its place if the block succeeds; else leave no trace.

    So an output folder is either the old one or the new one, never half of each. What a killed run left behind is
    removed, or put back, first.

    Raises:
        PipelineError: another process is writing `target`.
        OSError: there is no space, for example; it names `target` where the system named nothing.
    """
    with sole_writer(target):
        old = target.with_name(f".{target.name}.old.partial")
        _clear_up(target, old)
        partial = Path(mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
        partial.chmod(0o755)
        try:
            yield partial
            if target.exists():
                target.rename(old)
            partial.rename(target)
        except OSError as error:
            if error.filename is None or str(error.filename).startswith(str(partial)):
                error.filename = str(target)
            raise
        finally:
            _clear_up(target, old)


def _clear_up(target: Path, old: Path) -> None:
    """Leave the target alone beside itself, the old one if a new one did not take its place."""
    if old.exists() and not target.exists():
        old.rename(target)
    for left in target.parent.glob(f".{escape(target.name)}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def sole_writer(target: Path) -> Iterator[None]:
    """Keep every other process out of such a block of the same target; the kernel lets go when this process ends.

    Raises:
        PipelineError: another process is in it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    file = target.with_name(f".{target.name}.lock")
    with _locked(file, target) as held:
        try:
            with suppress(OSError):  # a full disk keeps the note away, not the lock
                held.truncate(0)
                held.write(f"process {os.getpid()}, `{_this_command()}`".encode())
            yield
        finally:
            file.unlink(missing_ok=True)


def _locked(file: Path, target: Path) -> IO[bytes]:
    while True:
        held = file.open("a+b", buffering=0)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with held:
                held.seek(0)
                holder = held.read().decode() or "another process"
            raise PipelineError(
                f"{target} is being written by {holder}: wait until it ends, or end it, and run again"
            ) from None
        if os.fstat(held.fileno()).st_nlink:
            return held
        held.close()  # its last holder removed it a moment ago


def _this_command() -> str:
    program = "python -m pipeline" if Path(sys.argv[0]).name == "__main__.py" else sys.argv[0]
    return " ".join([program, *sys.argv[1:]])


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Raises:
        OSError: there is no space, for example; it names `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    except OSError as error:
        error.filename = str(target)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_private(file: Path, content: str | bytes) -> None:
    """Write a file that its owner alone can read, at every moment, the old content or the new one."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        with _opened_private(partial) as target:
            target.write(content.encode() if isinstance(content, str) else content)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _opened_private(file: Path) -> IO[bytes]:
    file.unlink(missing_ok=True)
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
