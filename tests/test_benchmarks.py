"""The benchmarks' books: the README's table is the results', and a figure stands beside its floor."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import simulate, table
from benchmarks.measurement import Measurement, best, watching

ROOT = Path(__file__).parents[1]
RESULTS: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results.json").read_text())


def test_the_readme_shows_the_recorded_results() -> None:
    readme = (ROOT / "README.md").read_text()
    assert table.inserted(readme, table.markdown(RESULTS)) == readme
    assert not RESULTS["failed"]


def test_a_row_holds_the_rate_the_floor_and_the_ratio() -> None:
    floor = {"name": "floor", "count": 100, "per_second": 400, "cpu_seconds": 0.25, "floor": None}
    figure = {"name": "figure", "count": 100, "per_second": 100, "cpu_seconds": 2.0, "floor": "floor", "unit": "lines"}
    measured = [each | {"asked": None, "original": 50} for each in (floor, figure)]
    rows = table.markdown({"measurements": measured, "failed": ["silver: KeyError"]}).splitlines()
    assert rows[2:] == [
        "| figure (100 lines) | 100 | 20000.0 |  | floor: 400 | 25% | 50 |",
        "| silver: KeyError | failed | | | | | |",
    ]


def test_memory_stands_beside_the_count_where_it_was_measured() -> None:
    figure = Measurement("figure", 1000, 2.0, 1.0, peak_mib=1234)
    measured = {"measurements": [asdict(figure) | {"per_second": 500}], "failed": []}
    assert table.markdown(measured).splitlines()[2].startswith("| figure (1,000 events, 1,234 MiB a process) | 500 |")


def test_a_season_is_measured_whatever_its_size() -> None:
    section = {"teams": 2, "evenings_per_team": 1, "num_events_per_raid": 300}
    measured = simulate.season("small", simulate.parameters(section), floor="floor")
    assert measured.count > 300
    assert measured.peak_mib is not None and 50 < measured.peak_mib < 2000
    assert measured.cpu_seconds > 0


def test_a_readme_without_the_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for the table"):
        table.inserted("no marks", "| table |")


def test_a_watch_sees_wall_and_cpu_time_pass() -> None:
    with watching() as watch:
        sum(range(1_000_000))
    assert watch.cpu_seconds > 0
    assert watch.seconds > 0
    quick, slow = (Measurement("work", 10, seconds, 0.1) for seconds in (1.0, 2.0))
    assert best([slow, quick]) is quick
    assert quick.per_second == 10
