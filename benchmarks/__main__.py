"""`make bench`: run every benchmark, write `results.json` and the README's table; one that fails is a line in it."""

import importlib
import json
import os
import platform
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.measurement import Measurement
from pipeline.progress import console, progress

BENCHMARKS = ("simulate", "ingest", "silver", "gold", "combatlog", "end_to_end")
RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).parents[1] / "README.md"


def main(chosen: tuple[str, ...]) -> None:
    """Run the chosen benchmarks; only a run of all of them changes what is written down."""
    measured: list[Measurement] = []
    failed: list[str] = []
    with progress("bench", len(chosen), "benchmarks") as advance:
        for name in chosen:
            try:
                measured += importlib.import_module(f"benchmarks.{name}").measure()
            except Exception as error:  # noqa: BLE001  (a figure that cannot be had must not fail a build)
                traceback.print_exc()
                failed.append(f"{name}: {type(error).__name__}")
            advance()
    results = _results(measured, failed)
    console.print(table.markdown(results))
    if chosen == BENCHMARKS:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        README.write_text(table.inserted(README.read_text(), table.markdown(results)))
        console.print(f"written: {RESULTS.name} and the table in {README.name}")


def _results(measured: list[Measurement], failed: list[str]) -> dict[str, Any]:
    return {
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "architecture": platform.machine()},
        "measurements": [asdict(one) | {"per_second": round(one.per_second)} for one in measured],
        "failed": failed,
    }


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or BENCHMARKS)
