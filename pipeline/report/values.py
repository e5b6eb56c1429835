"""What the paper may state: the metrics files, the tables and the parameters, each value by its name."""

import csv
import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipeline import paths
from pipeline.errors import PipelineError

TABLES = Path("reports")
LOCKS = {"main": "requirements/main.txt", "automl": "requirements/automl.txt"}
MOST_NAMES = 15
_WHOLE = re.compile(r"-?\d+")
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


class Named:
    """A part of a file that knows its place, so that a name that does not exist can be said to a person."""

    __slots__ = ("_content", "_file", "_path", "_used")

    def __init__(self, content: dict[str, Any], file: str, used: Counter[str], path: str = "") -> None:
        self._content = content
        self._file = file
        self._used = used
        self._path = path

    def __getitem__(self, name: str) -> Any:
        path = f"{self._path}.{name}" if self._path else str(name)
        if name not in self._content:
            raise PipelineError(f"{self._file} has no `{path}` (there is {self._names_like(name)})")
        value = self._content[name]
        if isinstance(value, dict):
            return Named(value, self._file, self._used, path)
        self._used[f"{self._file}: {path}"] += 1
        return value

    def _names_like(self, name: str) -> str:
        """All names, or of many the most similar ones."""
        names = [str(known) for known in self._content]
        if len(names) > MOST_NAMES:
            names = [*difflib.get_close_matches(str(name), names, 3, cutoff=0.0), "…"]
        return ", ".join(names) or "nothing"

    def __contains__(self, name: object) -> bool:
        return name in self._content

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


class Values:
    """The files of a checkout, read when the paper first names them; `used` counts every value that it took."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, Any] = {}
        self.used: Counter[str] = Counter()

    def metrics(self, name: str) -> Named:
        """The metrics file of a stage."""
        return self._named(f"{paths.METRICS}/{name}.json", json.loads)

    def params(self) -> Named:
        """`params.yaml`."""
        return self._named(str(paths.PARAMS), yaml.safe_load)

    def versions(self, environment: str) -> Named:
        """The pinned packages of the `main` or the `automl` environment."""
        if environment not in LOCKS:
            raise PipelineError(f"there is no environment `{environment}` (there are {', '.join(LOCKS)})")
        return self._named(LOCKS[environment], lambda text: {name.lower(): pin for name, pin in _PINNED.findall(text)})

    def rows(self, name: str, **where: Any) -> list[Named]:
        """The rows of `reports/{name}.csv` (like `tables/scores`) whose columns have the given values.

        Raises:
            PipelineError: the table or a column is missing.
        """
        file = f"{TABLES}/{name}.csv"
        rows = [Named(row, file, self.used) for row in self._content(file, _table)]
        return [row for row in rows if all(_same(row[column], value) for column, value in where.items())]

    def spread(self, name: str, row: str, column: str, content: list[str], **where: Any) -> list[Named]:
        """A long table made wide: one row per value of `row`, one column per value of `column`.

        Args:
            name: the table.
            row: the column whose values become rows, in the order in which they come.
            column: the column whose values become columns, named like the value: `auc`.
            content: the columns that stand in the cells; the second and further are named with the value: `auc_low`.
            where: only the rows with these values.
        """
        wide: dict[Any, dict[str, Any]] = {}
        for long in self.rows(name, **where):
            cells = wide.setdefault(long[row], {other: long[other] for other in long})
            first, *others = content
            cells[str(long[column])] = long[first]
            cells.update({f"{long[column]}_{other}": long[other] for other in others})
        return [Named(cells, f"{TABLES}/{name}.csv", self.used) for cells in wide.values()]

    def cell(self, name: str, column: str, **where: Any) -> Any:
        """The one value of a column where the other columns have the given values.

        Raises:
            PipelineError: no row or several are like that.
        """
        found = self.rows(name, **where)
        if len(found) != 1:
            wanted = ", ".join(f"{key}={value!r}" for key, value in where.items())
            raise PipelineError(f"{TABLES}/{name}.csv has {len(found)} rows with {wanted}, and not one")
        return found[0][column]

    def _named(self, file: str, parse: Any) -> Named:
        content = self._content(file, parse)
        if not isinstance(content, dict):
            raise PipelineError(f"{file} has no names in it")
        return Named(content, file, self.used)

    def _content(self, file: str, parse: Any) -> Any:
        if file not in self._read:
            try:
                self._read[file] = parse((self._root / file).read_text(encoding="utf-8"))
            except OSError as error:
                raise PipelineError(f"{file} cannot be read ({error.strerror}): run `dvc repro` first") from error
            except (ValueError, yaml.YAMLError) as error:
                raise PipelineError(f"{file} is damaged ({error}): make it again with `dvc repro`") from error
        return self._read[file]


def _table(text: str) -> list[dict[str, Any]]:
    return [{column: _typed(cell) for column, cell in row.items()} for row in csv.DictReader(text.splitlines())]


def _typed(cell: str) -> Any:
    if not cell:
        return None
    if cell in {"True", "False"}:
        return cell == "True"
    if _WHOLE.fullmatch(cell):
        return int(cell)
    try:
        return float(cell)
    except ValueError:
        return cell


def _same(value: Any, wanted: Any) -> bool:
    return bool(value in wanted) if isinstance(wanted, list | tuple) else bool(value == wanted)
