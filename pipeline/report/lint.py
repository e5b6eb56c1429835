"""The rule of the results: no digit is typed by hand, neither in prose nor in a caption nor inside an expression."""

import re
from collections.abc import Iterable, Iterator

from jinja2 import nodes

from pipeline.errors import PipelineError
from pipeline.report import inject
from pipeline.report.source import Source, line_of, sections
from pipeline.report.values import Values

RESULTS = ("abstract", "results", "limitations", "conclusions")
MOST_SHOWN = 10
FORMATS = ("integer", "decimal", "percent", "interval")
READERS = ("rows", "cell", "table")
_EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|<!--.*?-->", re.DOTALL)
_ADDRESS = re.compile(r"(?<=\])\([^)\n]*\)|\{[#.][^}\n]*\}|@[\w:.-]*\w")
_CAPTION = re.compile(r"^!\[.*?\]\(|^: .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\S*\d\S*")


def check(source: Source, values: Values) -> None:
    """Refuse digits typed by hand in the results, in captions and in what expressions put into the text.

    Raises:
        PipelineError: there are some; file and line of each are named.
    """
    found = sorted({*_in_prose(source), *_in_words(source), *_in_expressions(source, values)})
    if found:
        lines = [f"{source.at(line)}: `{word}`" for line, word in found[:MOST_SHOWN]]
        more = [f"and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else []
        raise PipelineError(
            "a digit typed by hand where only injected values may stand (inject it, or list a name that has a digit "
            "under `names_with_digits`):\n  " + "\n  ".join(lines + more)
        )


def _in_prose(source: Source) -> Iterator[tuple[int, str]]:
    prose = _without_names(_blanked(_EXPRESSION, source.text), source)
    captions = [found.span() for found in _CAPTION.finditer(prose)]
    results = [(begin, end) for name, begin, end in sections(source.text) if name in RESULTS]
    prose = _blanked(_ADDRESS, prose)
    for begin, end in captions + results:
        for word in _WORD.finditer(prose, begin, end):
            yield line_of(prose, word.start()), word[0].strip("*_.,;:()")


def _in_words(source: Source) -> Iterator[tuple[int, str]]:
    for word in source.front.words.values():
        if re.search(r"\d", _without_names(word, source)):
            yield source.line(re.escape(word)), word


def _in_expressions(source: Source, values: Values) -> Iterator[tuple[int, str]]:
    for line, literal in _literals(inject.parsed(source, values)):
        if re.search(r"\d", _without_names(literal, source)):
            yield line, literal


def _literals(node: nodes.Node) -> Iterator[tuple[int, str]]:
    """The constants of an expression that can become text: not the conditions, names of values and formats."""
    if isinstance(node, nodes.Const):
        yield node.lineno, str(node.value)
    if isinstance(node, nodes.AssignBlock | nodes.Macro):
        yield from ((data.lineno, data.data.strip()) for data in node.find_all(nodes.TemplateData))
    for child in _written_children(node):
        yield from _literals(child)


def _written_children(node: nodes.Node) -> Iterable[nodes.Node]:
    match node:
        case nodes.Filter(node=nodes.Node() as value, name=name) if name in FORMATS:
            return [value]
        case nodes.Getitem(node=value):
            return [value]
        case nodes.If():
            return [*node.body, *node.elif_, *node.else_]
        case nodes.CondExpr():
            return [node.expr1, *([node.expr2] if node.expr2 else [])]
        case nodes.Call(node=nodes.Name(name=name)) if name in READERS:
            headings = node.args[1] if name == "table" and len(node.args) > 1 else None
            return [pair.value for pair in headings.items] if isinstance(headings, nodes.Dict) else []
        case _:
            return node.iter_child_nodes()


def _without_names(text: str, source: Source) -> str:
    names = sorted(source.front.names_with_digits, key=len, reverse=True)
    return _blanked(re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)), text) if names else text


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    """The text with every match made of blanks, so that places keep their lines."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
