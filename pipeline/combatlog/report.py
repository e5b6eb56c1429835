"""What a log's lines became: every line is in exactly one of three books."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipeline.errors import PipelineError

FIRST_LINES = 5
# Lines of any text make kinds without end; beyond so many they are counted together.
MAX_KINDS = 1000
FURTHER_KINDS = "further kinds"


@dataclass
class Missed:
    """Lines of one kind that are not understood."""

    lines: int = 0
    first_lines: list[int] = field(default_factory=list)

    def add(self, lines: int, first_lines: Iterable[int]) -> None:
        """Count further lines."""
        self.lines += lines
        self.first_lines = sorted([*self.first_lines, *first_lines])[:FIRST_LINES]


@dataclass
class Books:
    """The account of a raid or of a whole log, line by line."""

    lines: int = 0
    not_utf8: int = 0
    """Lines with bytes that are no UTF-8 (names in Latin-1, say); the letters that they stand for are lost."""
    events: Counter[str] = field(default_factory=Counter)
    """Events made from a line each, by event_type."""
    added: Counter[str] = field(default_factory=Counter)
    """Events made without a line of their own: ends of pulls that the log does not end."""
    unused: Counter[str] = field(default_factory=Counter)
    not_understood: dict[str, Missed] = field(default_factory=dict)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    builds: list[str] = field(default_factory=list)

    def count(self, counter: Counter[str], kinds: pl.Series) -> None:
        """Count a column of kinds."""
        for kind, lines in kinds.value_counts().iter_rows():
            counter[kind] += lines

    def miss(self, lines: pl.DataFrame) -> None:
        """Count lines (line, kind) that are not understood."""
        by_kind = lines.sort("line").group_by("kind", maintain_order=True)
        kinds = by_kind.agg(pl.len(), first=pl.col("line").head(FIRST_LINES))
        for kind, count, first_lines in kinds.iter_rows():
            is_one_more = kind not in self.not_understood and len(self.not_understood) >= MAX_KINDS
            self.not_understood.setdefault(FURTHER_KINDS if is_one_more else kind, Missed()).add(count, first_lines)

    @property
    def n_not_understood(self) -> int:
        """Lines that are not understood."""
        return sum(missed.lines for missed in self.not_understood.values())

    @property
    def accounted(self) -> int:
        """Lines that are in one of the three books."""
        return self.events.total() + self.unused.total() + self.n_not_understood


def merged(all_books: Iterable[Books]) -> Books:
    """The books of several raids as one."""
    whole = Books()
    for books in all_books:
        whole.lines += books.lines
        whole.not_utf8 += books.not_utf8
        whole.events.update(books.events)
        whole.added.update(books.added)
        whole.unused.update(books.unused)
        whole.pulls += books.pulls
        whole.builds += [build for build in books.builds if build not in whole.builds]
        for kind, missed in books.not_understood.items():
            whole.not_understood.setdefault(kind, Missed()).add(missed.lines, missed.first_lines)
    return whole


def check(books: Books, lines: int, name: str) -> None:
    """Check that every line that was read is accounted for once.

    Raises:
        PipelineError: one is not; a fault of the importer.
    """
    if not lines == books.lines == books.accounted:
        raise PipelineError(
            f"{name}: {lines:,} lines read, {books.lines:,} given to raids and {books.accounted:,} accounted for; this "
            "is a fault of the importer, please report it with the log"
        )


def as_json(books: Books) -> dict[str, Any]:
    """The books for the import report, keys sorted."""
    return {
        "builds": books.builds,
        "lines": books.lines,
        "lines_not_utf8": books.not_utf8,
        "events": _sorted(books.events),
        "events_without_line": _sorted(books.added),
        "unused": _sorted(books.unused),
        "not_understood": {
            kind: {"lines": missed.lines, "first_lines": missed.first_lines}
            for kind, missed in sorted(books.not_understood.items())
        },
        "pulls": books.pulls,
    }


def summary(books: Books) -> Iterator[str]:
    """What a person wants to know of an import, line by line."""
    yield (
        f"{books.lines:,} lines = {books.events.total():,} events + {books.unused.total():,} known and unused + "
        f"{books.n_not_understood:,} not understood"
    )
    if books.not_utf8:
        yield f"  {books.not_utf8:,} lines with bytes that are no UTF-8: letters of names in them are lost"
    for kind, missed in sorted(books.not_understood.items()):
        yield f"  not understood: {kind}, {missed.lines:,} times (line {', '.join(map(str, missed.first_lines))})"
    for pull in books.pulls:
        left_out = "" if pull["imported"] else ", a dungeon, left out"
        yield f"  {pull['encounter_name']}: {pull['verdict']} after {pull['duration_ms'] / 1000:.1f} s{left_out}"


def totals(all_books: Iterable[Books]) -> dict[str, int]:
    """The few figures of `reports/metrics/import_logs.json`, from the books of each log."""
    books = list(all_books)
    verdicts = Counter(verdict for one in books for verdict in _verdicts(one))
    return {
        "logs": len(books),
        "lines": sum(one.lines for one in books),
        "events": sum(one.events.total() + one.added.total() for one in books),
        "lines_unused": sum(one.unused.total() for one in books),
        "lines_not_understood": sum(one.n_not_understood for one in books),
        "pulls": verdicts.total(),
        "kills": verdicts["kill"],
        "wipes": verdicts["wipe"],
        "pulls_without_end": verdicts["no_end"],
    }


def _verdicts(books: Books) -> Iterator[str]:
    return (pull["verdict"] for pull in books.pulls if pull["imported"])


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {kind: counts[kind] for kind in sorted(counts) if counts[kind]}
