"""One small season, run stage by stage through DVC, for all tests of the graph."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.repro.checkouts import ROOT, Checkout, copy_of_working_tree

STAGES: list[str] = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
IMPORT_TRACE = Path(__file__).parent / "import_trace"


@dataclass(frozen=True)
class Season:
    """A checkout after its first `dvc repro`, and which of the project's modules each stage imported."""

    checkout: Checkout
    imports: dict[str, set[str]]


@pytest.fixture(scope="session")
def season(tmp_path_factory: pytest.TempPathFactory) -> Season:
    folder = tmp_path_factory.mktemp("season")
    checkout = copy_of_working_tree(folder / "checkout")
    imports = {}
    for stage in STAGES:
        trace = folder / f"{stage}.imports"
        command = ("dvc", "repro", "--single-item", stage)
        checkout.run(*command, python_path=IMPORT_TRACE, IMPORT_TRACE=str(trace), PIPELINE_WORKERS="2")
        imports[stage] = set(trace.read_text().splitlines())
    return Season(checkout, imports)


@pytest.fixture
def copy_of_season(season: Season, tmp_path: Path) -> Checkout:
    """The season's checkout with its outputs, free to be changed."""
    season.checkout.run("cp", "-a", f"{season.checkout.root}/.", str(tmp_path / "copy"))
    return Checkout(tmp_path / "copy")
