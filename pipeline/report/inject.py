"""Injection: the source's template expressions become the values of metrics files and tables."""

import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import TemplateError

from pipeline.errors import PipelineError
from pipeline.report.numbers import Formats, Markdown, escaped
from pipeline.report.source import Source
from pipeline.report.values import Named, Values

_INTERVAL = re.compile(r"(\w+) \[(\w+), (\w+)\]")


class _Files:
    """`metrics.gold` and `versions.main`: a file's values, read when it is named."""

    def __init__(self, of: Callable[[str], Named]) -> None:
        self._of = of

    def __getitem__(self, name: str) -> Named:
        return self._of(name)


def environment(source: Source, values: Values) -> Environment:
    """The template language: what can be named, and how it can be written.

    Names: `metrics.<stage>.<name>`, `params.<section>.<name>`, `versions.<environment>.<package>`; `rows(table,
    **where)`, `cell(table, column, **where)`, `table(...)`. Formats: `integer`, `decimal(2)`, `percent(1)`,
    `interval(2)`, `plain` (as it stands in the file, for seeds and the like), `word`.
    """
    formats = Formats(source.front.numbers)
    language = _Language(formats, source.front.words)
    engine = Environment(
        loader=DictLoader({source.name: source.text}),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="<!--",
        comment_end_string="-->",
        finalize=language.written,
    )
    engine.filters = {
        "integer": formats.integer,
        "decimal": formats.decimal,
        "percent": formats.percent,
        "interval": formats.interval,
        "plain": lambda value: escaped(str(value)),
        "word": language.word,
    }
    engine.globals = {
        "metrics": _Files(values.metrics),
        "versions": _Files(values.versions),
        "params": _Files(lambda section: values.params()[section]),
        "rows": values.rows,
        "cell": values.cell,
        "table": lambda name, *args, **kwargs: language.table(values, name, *args, **kwargs),
    }
    return engine


def parsed(source: Source, values: Values) -> nodes.Template:
    """The source's expressions as a tree.

    Raises:
        PipelineError: they are not well formed; file and line are named.
    """
    try:
        return environment(source, values).parse(source.text, source.name)
    except TemplateSyntaxError as error:
        raise PipelineError(f"{_place(source, error)}: {_said(error)}") from error


def rendered(source: Source, values: Values) -> str:
    """The source as plain Markdown, every expression replaced by its value.

    Raises:
        PipelineError: an expression is wrong, or names a file, metric, table or column that does not exist; file and
            line are named.
    """
    engine = environment(source, values)
    try:
        return engine.get_template(source.name).render()
    except (TemplateError, PipelineError, TypeError, ValueError, LookupError) as error:
        raise PipelineError(f"{_place(source, error)}: {_said(error)}") from error


def _place(source: Source, error: Exception) -> str:
    if isinstance(error, TemplateSyntaxError):
        return source.at(error.lineno)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return source.at(lines[-1] or 1) if lines else source.name


def _said(error: Exception) -> str:
    if isinstance(error, UndefinedError):
        return f"{error} (there are metrics, params, versions, rows, cell, table)"
    return str(error)


class _Language:
    """Words and tables of one language."""

    def __init__(self, formats: Formats, words: Mapping[str, str]) -> None:
        self._formats = formats
        self._words = words

    def word(self, value: Any) -> Markdown:
        """A value of the data as the language calls it; what has no word there stays as it is."""
        if value is None:
            return self._formats.decimal(None)
        return Markdown(self._words.get(str(value), escaped(str(value))))

    def written(self, value: Any) -> Any:
        """What an expression without a format puts into the text.

        Raises:
            ValueError: a number with decimals needs a format; a group of values is none.
        """
        if isinstance(value, Markdown):
            return value
        if isinstance(value, str):
            return escaped(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return self._formats.integer(value)
        if value is None:
            return self._formats.decimal(None)
        raise ValueError(f"{_kind(value)} cannot stand in the text: name one value, and say how to write a number")

    def table(
        self,
        values: Values,
        name: str,
        columns: Mapping[str, str],
        formats: Mapping[str, str] | None = None,
        spread: tuple[str, str, list[str]] | None = None,
        **where: Any,
    ) -> Markdown:
        """A table's rows as a Markdown table.

        Args:
            values: where the table is read.
            name: the CSV file under `reports/`, like `tables/scores`.
            columns: the heading of each column, in order; a key `auc [low, high]` shows a value with its interval.
            formats: how to write a column's numbers (`integer`, `decimal:2`, `percent:1`).
            spread: for a long table, as in `Values.spread`: what makes a row, what makes a column, what stands there.
            where: only the rows with these values.
        """
        formats = formats or {}
        unknown = set(formats) - set(columns)
        if unknown:
            raise ValueError(f"table {name}: a format for a column that it does not show: {', '.join(sorted(unknown))}")
        rows = values.spread(name, *spread, **where) if spread else values.rows(name, **where)
        cells = [[self._cell(row, column, formats.get(column)) for column in columns] for row in rows]
        right = [all(_is_number(row, column) for row in rows) for column in columns]
        rule = ["---:" if numeric else ":---" for numeric in right]
        return Markdown("\n".join("| " + " | ".join(line) + " |" for line in [list(columns.values()), rule, *cells]))

    def _cell(self, row: Named, column: str, form: str | None) -> str:
        interval = _INTERVAL.fullmatch(column)
        if not interval:
            value = row[column]
            return self._number(value, form) if _is_number(row, column) else self.word(value)
        value, low, high = (row[name] for name in interval.groups())
        if low is None and high is None:
            return self._number(value, form)
        ends = f"\\[{self._number(low, form)}{self._formats.between}{self._number(high, form)}\\]"
        return f"{self._number(value, form)} {ends}"

    def _number(self, value: Any, form: str | None) -> Markdown:
        return self._formats.value(value, form or ("decimal:2" if isinstance(value, float) else "integer"))


def _is_number(row: Named, column: str) -> bool:
    if _INTERVAL.fullmatch(column):
        return True
    value = row[column]
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _kind(value: Any) -> str:
    return repr(value) if isinstance(value, int | float) else "a group of values"
