"""A small checkout with every layer, made once for all tests of faults, and a copy of it for each."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipeline import combatlog, features, gold, ingest, paths, publish, silver, simulate
from pipeline.store import Connection
from tests.conftest import ROOT
from tests.repro.checkouts import FOREIGN, files_below

OUTPUTS = {
    "simulate": paths.SIMULATED,
    "import-logs": paths.IMPORTED,
    "ingest": paths.BRONZE,
    "silver": paths.SILVER,
    "gold": paths.GOLD,
    "features": paths.FEATURES,
}
RUNS = {
    "simulate": simulate.run,
    "import-logs": combatlog.run,
    "ingest": ingest.run,
    "silver": silver.run,
    "gold": gold.run,
    "features": features.run,
    "publish": publish.run,
}


@dataclass(frozen=True)
class Built:
    """A checkout after an undisturbed run of all stages up to `publish`."""

    root: Path

    def output(self, stage: str) -> dict[str, bytes]:
        """Every file that a stage made there."""
        return files_below(self.root / OUTPUTS[stage])


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, connection: Connection) -> Iterator[Built]:
    """Never written to by a test."""
    root = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    (root / "dvc.yaml").touch()
    values = yaml.safe_load((ROOT / "tests" / "data" / "params.yaml").read_text())
    values["simulate"] |= {"teams": 3, "pulls_per_evening": 1.0, "num_events_per_raid": 600}
    values["ingest"] |= {"batch_size": 40}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    (root / "data" / "raw").mkdir(parents=True)
    log = root / "data" / "raw" / "WoWCombatLog.txt"
    shutil.copy(ROOT / "tests" / "data" / "combatlog" / "every-kind.txt", log)
    log.with_name(f"{log.name}.yaml").write_text("year: 2024\nutc_offset: '+01:00'\n")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(root, patch, connection)
        for run in RUNS.values():
            run()
    yield Built(root)


@pytest.fixture
def checkout(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: Connection) -> Path:
    """A copy of that checkout, free to be changed; the current folder, and that of the tests' store."""
    root = tmp_path / "checkout"
    shutil.copytree(built.root, root)
    stand_in(root, monkeypatch, connection)
    return root


def stand_in(root: Path, patch: pytest.MonkeyPatch, connection: Connection | None) -> None:
    """Let this process, and those that it starts, work on a checkout and on a store (None: the embedded one)."""
    for name in {*FOREIGN, *(name for name in os.environ if name.startswith("S3_"))}:
        patch.delenv(name, raising=False)
    for name, value in (connection.environment() if connection else {}).items():
        patch.setenv(name, value)
    patch.chdir(root)
    patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv("PIPELINE_WORKERS", "1")
