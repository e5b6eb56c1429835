"""The results as the README's table."""

from collections.abc import Mapping
from typing import Any

BEGIN = "<!-- written by `make bench` -->"
END = "<!-- end of what `make bench` wrote -->"
HEAD = (
    "| what | per second | CPU, µs each | asked | floor in the same run | of the floor | the original |",
    "| --- | ---: | ---: | ---: | --- | ---: | ---: |",
)


def markdown(results: Mapping[str, Any]) -> str:
    """A row per figure; floors have none of their own, they stand beside what they bound."""
    by_name = {one["name"]: one for one in results["measurements"]}
    floors = {one["floor"] for one in by_name.values()}
    rows = [_row(one, by_name) for name, one in by_name.items() if name not in floors]
    failed = [f"| {line} | failed | | | | | |" for line in results["failed"]]
    return "\n".join([*HEAD, *rows, *failed])


def inserted(text: str, table: str) -> str:
    """A text with the table between its two markers.

    Raises:
        ValueError: the text lacks a marker.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the table: the lines {BEGIN} and {END} are missing")
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}"


def _row(one: Mapping[str, Any], by_name: Mapping[str, Mapping[str, Any]]) -> str:
    floor = by_name.get(one["floor"] or "")
    memory = f", {one['peak_mib']:,} MiB a process" if one.get("peak_mib") else ""
    cells = (
        f"{one['name']} ({one['count']:,} {one['unit']}{memory})",
        f"{one['per_second']:,}",
        f"{one['cpu_seconds'] / one['count'] * 1e6:.1f}",
        f"{one['asked']:,}" if one["asked"] else "",
        f"{floor['name']}: {floor['per_second']:,}" if floor else "",
        f"{one['per_second'] / floor['per_second']:.0%}" if floor else "",
        f"{one['original']:,}" if one["original"] else "",
    )
    return f"| {' | '.join(cells)} |"
