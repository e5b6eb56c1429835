"""The paper as pandoc's tree: figures and tables get their numbers here, once for all outputs; references resolve."""

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.report.source import Source

Node = dict[str, Any]
DIAGRAM = "architecture"
_NO_BREAK_SPACE = "\u00a0"
_KINDS = {"Figure": "fig", "Table": "tbl"}
_WORDS = {"Str", "Space", "SoftBreak"}
_KEY = re.compile(r"^[ \t]*@(?!comment|string|preamble)\w+\s*\{\s*([^,\s}]+)", re.MULTILINE | re.IGNORECASE)
_FIGURE = re.compile(r"figures/([\w./-]+)\.svg")
_TITLE = re.compile(r"<dc:title>(.*?)</dc:title>", re.DOTALL)


@dataclass(frozen=True)
class Document:
    """A paper ready to be typeset."""

    tree: str
    """pandoc's JSON."""
    figures: dict[str, str]
    """Each figure's name, like `eda/outcomes`, and its text for those who cannot see it."""
    labels: dict[str, str]
    """Each label, like `fig:roc`, and what the text calls it, in order."""
    citations: tuple[str, ...]
    """The works that are cited, sorted."""


def prepare(tree: Node, source: Source, root: Path, authors: Iterable[str]) -> Document:
    """Number figures and tables, resolve references to them, and check that all that is named is there.

    Args:
        tree: the rendered Markdown as pandoc read it.
        source: where it came from.
        root: the checkout, with `reports/figures`.
        authors: the paper's authors.

    Raises:
        PipelineError: a figure or table without label, caption or reference to it; a reference to none; a figure's file
            that is missing, or one that is neither shown nor listed as left out; a citation without its work.
    """
    nodes = list(_walk(tree["blocks"]))
    floats = [node for node in nodes if node["t"] in _KINDS]
    labels = _labels(floats, source)
    cited = [citation["citationId"] for node in nodes if node["t"] == "Cite" for citation in node["c"][0]]
    _check_references(labels, cited, source)
    figures = _figures(floats, tree, source, root)
    citations = tuple(sorted({key for key in cited if not _is_label(key)}))
    _check_citations(citations, source, root)
    blocks = _rebuilt(tree["blocks"], lambda node: _changed(node, labels, figures))
    abstract, body = _abstract_apart(blocks)
    complete = {**tree, "meta": _meta(source, authors, abstract), "blocks": body}
    return Document(json.dumps(complete), figures, labels, citations)


def _walk(node: Any) -> Iterator[Node]:
    if isinstance(node, dict):
        if "t" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _walk(child)


def _rebuilt(node: Any, change: Callable[[Node], Node]) -> Any:
    """A copy of a tree in which every node went through `change`, the inner ones first."""
    if isinstance(node, list):
        return [_rebuilt(child, change) for child in node]
    if isinstance(node, dict):
        copy = {key: _rebuilt(child, change) for key, child in node.items()}
        return change(copy) if "t" in copy else copy
    return node


def _labels(floats: list[Node], source: Source) -> dict[str, str]:
    words = {"fig": source.front.labels.figure, "tbl": source.front.labels.table}
    labels: dict[str, str] = {}
    counts = dict.fromkeys(words, 0)
    for node in floats:
        kind, label = _KINDS[node["t"]], node["c"][0][0]
        said = "figure" if kind == "fig" else "table"
        caption = _text(node["c"][1])
        if not label.startswith(f"{kind}:") or not caption.strip():
            place = source.where(re.escape(label)) if label else source.where(re.escape(caption[:25]) or "^!\\[")
            raise PipelineError(f"{place}: a {said} needs a caption and a label like `{{#{kind}:name}}`")
        if label in labels:
            place = source.at(source.line(rf"\{{#{re.escape(label)}\b", -1))
            raise PipelineError(f"{place}: the label `{label}` is there twice")
        counts[kind] += 1
        labels[label] = f"{words[kind]}{_NO_BREAK_SPACE}{counts[kind]}"
    return labels


def _check_references(labels: dict[str, str], cited: list[str], source: Source) -> None:
    for key in cited:
        if _is_label(key) and key not in labels:
            there = ", ".join(labels) or "none"
            raise PipelineError(f"{_place_of(key, source)}: no figure or table is labelled `{key}` (there is {there})")
    for label in labels:
        if label not in cited:
            place = source.where(rf"\{{#{re.escape(label)}\b")
            raise PipelineError(f"{place}: the text never refers to `{label}`: write [@{label}] where it speaks of it")


def _figures(floats: list[Node], tree: Node, source: Source, root: Path) -> dict[str, str]:
    images = [node["c"][2][0] for node in _walk(tree["blocks"]) if node["t"] == "Image"]
    shown = [node["c"][2][0] for node in _walk(floats) if node["t"] == "Image"]
    loose = sorted(set(images) - set(shown))
    if loose:
        raise PipelineError(
            f"{source.where(re.escape(loose[0]))}: a figure needs a caption and a label `{{#fig:name}}`"
        )
    figures = {}
    for target in shown:
        place = source.where(re.escape(target))
        found = _FIGURE.fullmatch(target)
        if not found:
            raise PipelineError(f"{place}: a figure is named `figures/<study>/<name>.svg`, and not `{target}`")
        is_diagram = found[1] == DIAGRAM
        figures[found[1]] = source.front.diagram.get("text", "") if is_diagram else _alternative(found[1], root, place)
    _check_all_shown(source, root)
    return figures


def _alternative(name: str, root: Path, place: str) -> str:
    file = paths.FIGURES / f"{name}.svg"
    if not (root / file).is_file():
        raise PipelineError(f"{place}: {file} is missing: run `dvc repro`, or show the figure only where it exists")
    found = _TITLE.search((root / file).read_text(encoding="utf-8"))
    return html.unescape(found[1]) if found else ""


def _check_all_shown(source: Source, root: Path) -> None:
    """A figure counts as used where the source names it, even in a part that this run's results leave out."""
    folder, left_out = root / paths.FIGURES, set(source.front.figures_not_shown)
    drawn = {str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.svg")}
    named = set(_FIGURE.findall(source.text))
    unused = sorted(drawn - named - left_out)
    if unused:
        raise PipelineError(
            f"{source.where('^figures_not_shown:')}: {paths.FIGURES}/{unused[0]}.svg is not used: show it, or list "
            f"`{unused[0]}` under `figures_not_shown`"
        )
    both = sorted(named & left_out)
    if both:
        place = source.where(rf"^\s*- {re.escape(both[0])}\s*$")
        raise PipelineError(f"{place}: `{both[0]}` is shown: take it out of `figures_not_shown`")


def _check_citations(citations: tuple[str, ...], source: Source, root: Path) -> None:
    file = Path(source.name).parent / source.front.bibliography
    if not (root / file).is_file():
        raise PipelineError(f"{source.where('^bibliography:')}: {file} is missing: take it from git again")
    known = set(_KEY.findall((root / file).read_text(encoding="utf-8")))
    for key in citations:
        if key not in known:
            raise PipelineError(f"{_place_of(key, source)}: the citation `@{key}` is not in {file}")


def _changed(node: Node, labels: dict[str, str], figures: dict[str, str]) -> Node:
    match node["t"]:
        case "Figure" | "Table":
            return _captioned(node, labels[node["c"][0][0]])
        case "Image":
            attributes, _, target = node["c"]
            name = target[0].removeprefix("figures/").removesuffix(".svg")
            alternative = figures[name] or _text(node["c"][1])
            return {"t": "Image", "c": [attributes, [{"t": "Str", "c": alternative}], target]}
        case "Cite" if any(_is_label(citation["citationId"]) for citation in node["c"][0]):
            return _linked(node["c"][0], labels)
        case _:
            return node


def _captioned(node: Node, name: str) -> Node:
    """The figure or table with its name before its caption."""
    attributes, (short, blocks), *rest = node["c"]
    first = {**blocks[0], "c": [{"t": "Strong", "c": [{"t": "Str", "c": f"{name}."}]}, {"t": "Space"}, *blocks[0]["c"]]}
    return {**node, "c": [attributes, [short, [first, *blocks[1:]]], *rest]}


def _linked(citations: list[Node], labels: dict[str, str]) -> Node:
    inlines: list[Node] = []
    for citation in citations:
        label = citation["citationId"]
        name = [{"t": "Str", "c": labels[label]}]
        link = {"t": "Link", "c": [["", [], []], name, [f"#{label}", ""]]}
        separator = [{"t": "Str", "c": ";"}, {"t": "Space"}] if inlines else []
        inlines += [*separator, *citation["citationPrefix"], link, *citation["citationSuffix"]]
    return {"t": "Span", "c": [["", [], []], inlines]}


def _abstract_apart(blocks: list[Node]) -> tuple[list[Node], list[Node]]:
    """The abstract with its heading, and the rest of the paper."""
    tops = [place for place, node in enumerate(blocks) if node["t"] == "Header" and node["c"][0] == 1]
    begin = next(place for place in tops if blocks[place]["c"][1][0] == "abstract")
    end = min((place for place in tops if place > begin), default=len(blocks))
    return blocks[begin:end], blocks[:begin] + blocks[end:]


def _meta(source: Source, authors: Iterable[str], abstract: list[Node]) -> Node:
    front = source.front
    return {
        "title": _string(front.title),
        "lang": _string(front.lang),
        "author": {"t": "MetaList", "c": [_string(author) for author in authors]},
        "keywords": {"t": "MetaList", "c": [_string(keyword) for keyword in front.keywords]},
        "keywords-title": _string(front.labels.keywords),
        "abstract-title": {"t": "MetaInlines", "c": abstract[0]["c"][2]},
        "abstract": {"t": "MetaBlocks", "c": abstract[1:]},
        "link-citations": {"t": "MetaBool", "c": True},
    }


def _string(text: str) -> Node:
    return {"t": "MetaString", "c": text}


def _is_label(key: str) -> bool:
    return key.startswith(tuple(f"{kind}:" for kind in _KINDS.values()))


def _place_of(key: str, source: Source) -> str:
    return source.where(rf"@{re.escape(key)}(?![\w:-])")


def _text(node: Any) -> str:
    """The words of a part of the tree."""
    return "".join(part["c"] if part["t"] == "Str" else " " for part in _walk(node) if part["t"] in _WORDS)
