"""What a run made, for the person who typed `make repro`."""

import json
from pathlib import Path
from typing import Any

from pipeline import embedded_store, paths
from pipeline.errors import PipelineError


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
            f"Notebook {_newest_page(root)}",
            f"Metrics  {paths.METRICS}/   Figures {paths.FIGURES}/",
            f"Store    {embedded_store.status().describe().splitlines()[0]}",
            "",
            f"Next: open {_newest_page(root)} in a browser, or `make lab` to explore Gold.",
        ]
    )


def _metrics(root: Path, stage: str) -> dict[str, Any]:
    file = root / paths.METRICS / f"{stage}.json"
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except OSError as error:
        raise PipelineError(f"{file} is missing: run `make repro` first") from error
    return content


def _newest_page(root: Path) -> Path:
    return next(iter(sorted((root / paths.EXECUTED_NOTEBOOKS).glob("*.html"), reverse=True))).relative_to(root)
