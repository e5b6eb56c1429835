"""What a run made, for the person who typed `make repro`."""

import json
from pathlib import Path
from typing import Any

from pipeline import embedded_store, paths
from pipeline.errors import PipelineError

PAPER = "reports/report.en.pdf"
FIRST_PAGE = paths.EXECUTED_NOTEBOOKS / "01-eda.html"


def describe() -> str:
    """A few lines: what was made, where it lies, whether the store still runs, what to open next.

    Raises:
        PipelineError: nothing was made yet.
    """
    root = paths.project_root()
    simulated, imported, ingested, silver, gold = (
        _metrics(root, stage) for stage in ("simulate", "import_logs", "ingest", "silver", "gold")
    )
    outcomes = ", ".join(f"{pulls:,} {outcome}" for outcome, pulls in gold["outcomes"].items() if pulls)
    set_aside = silver["duplicates_removed"] + sum(silver["quarantined"].values())
    return "\n".join(
        [
            "",
            f"Raids    {simulated['raids']:,} simulated, {imported['logs']:,} from combat logs",
            f"Bronze   {ingested['batches']:,} batches, {ingested['events_delivered']:,} events   {paths.BRONZE}/",
            f"Silver   {silver['silver_rows']:,} rows, {set_aside:,} set aside   {paths.SILVER}/",
            f"Gold     {gold['pulls']:,} pulls ({outcomes})   {paths.GOLD}/",
            f"Studies  {paths.EXECUTED_NOTEBOOKS}/*.html   models {paths.MODELS}/   figures {paths.FIGURES}/",
            f"Paper    {PAPER} (and .html, and in Spanish)",
            f"Metrics  {paths.METRICS}/",
            f"Store    {_store_line()}",
            "",
            f"Next: open {PAPER}, {FIRST_PAGE} in a browser, or `make lab` to explore Gold.",
        ]
    )


def _metrics(root: Path, stage: str) -> dict[str, Any]:
    file = root / paths.METRICS / f"{stage}.json"
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except OSError as error:
        raise PipelineError(f"{file} is missing: run `make repro` first") from error
    except ValueError as error:
        raise PipelineError(f"{file} is damaged ({error}): make it anew with `dvc repro --force {stage}`") from error
    return content


def _store_line() -> str:
    return embedded_store.status().describe().splitlines()[0].removeprefix("store").strip()
