"""Progress for a person: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(stderr=True, highlight=False, soft_wrap=True)

PLAIN_LINE_EVERY_S = 5.0


class Advance(Protocol):
    """Reports that `steps` more units are done."""

    def __call__(self, steps: int = 1) -> None: ...


@contextmanager
def progress(description: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Show how far a piece of work is: `with progress("silver", 120, "raids") as advance: advance()`.

    Args:
        description: what is done.
        total: how much there is to do; None if that is not known.
        unit: what is counted.
    """
    with _bar(description, total) if sys.stderr.isatty() else _lines(description, total, unit) as advance:
        yield advance


@contextmanager
def _bar(description: str, total: int | None) -> Iterator[Advance]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(description, total=total)

        def advance(steps: int = 1) -> None:
            bar.advance(task, steps)

        yield advance


@contextmanager
def _lines(description: str, total: int | None, unit: str) -> Iterator[Advance]:
    done = 0
    said_at = time.monotonic()

    def advance(steps: int = 1) -> None:
        nonlocal done, said_at
        done += steps
        if time.monotonic() - said_at >= PLAIN_LINE_EVERY_S and done != total:
            said_at = time.monotonic()
            of_all = "" if total is None else f" of {total:,}"
            console.print(f"{description}: {done:,}{of_all} {unit}")

    yield advance
    console.print(f"{description}: {done:,} {unit}")
