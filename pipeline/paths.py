"""The one place that knows where things live."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

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


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Give a fresh folder beside `target` and put it in its place if the block succeeds; else leave no trace.

    So an output folder is either the old one or the new one, never half of each.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    partial.chmod(0o755)
    try:
        yield partial
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
