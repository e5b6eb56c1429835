"""The stage `report`: the paper of this run, in each language as PDF and as one HTML page, every result injected."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline import params, paths
from pipeline.errors import PipelineError
from pipeline.progress import progress
from pipeline.report import diagram, document, inject, lint, source, typeset
from pipeline.report.document import DIAGRAM, Document
from pipeline.report.source import Source
from pipeline.report.typeset import SOURCE
from pipeline.report.values import Values

__all__ = ["LANGUAGES", "Paper", "build", "run"]

LANGUAGES = ("en", "es")
TEMPLATES = ("page.typ", "template.typ", "page.html", "style.css")


@dataclass(frozen=True)
class Paper:
    """The paper in one language, and what it stands on."""

    pdf: bytes
    html: str
    values: Counter[str]
    """Every value that was taken, like `reports/metrics/gold.json: pulls`, and how often."""
    document: Document


def run() -> None:
    """Write `reports/report.{en,es}.pdf` and `.html` from `reports/source` and what the other stages measured.

    Raises:
        PipelineError: a source names what does not exist, holds a result typed by hand, leaves a figure unused, or
            cannot be typeset; file and line are named. Nothing is written then. Or another process writes it.
    """
    with paths.sole_writer(paths.project_root() / "reports" / "report"):
        _write_papers()


def _write_papers() -> None:
    root = paths.project_root()
    authors = params.load(root / paths.PARAMS).report.authors
    papers = {}
    with progress("report", len(LANGUAGES), "languages") as advance:
        for language in LANGUAGES:
            papers[language] = build(root, language, authors)
            advance()
    for language, paper in papers.items():
        paths.write_atomically(root / "reports" / f"report.{language}.pdf", paper.pdf)
        paths.write_atomically(root / "reports" / f"report.{language}.html", paper.html.encode())


def build(root: Path, language: str, authors: Iterable[str]) -> Paper:
    """The paper in one language.

    Args:
        root: the checkout.
        language: `en` or `es`.
        authors: as they stand under the title.

    Raises:
        PipelineError: as for `run`.
    """
    authors = list(authors)
    text = source.read(root, str(SOURCE / f"report.{language}.md"))
    values = Values(root)
    lint.check(text, values)
    markdown = inject.rendered(text, values)
    with TemporaryDirectory(prefix="report-") as scratch:
        folder = Path(scratch)
        _copy_templates(root, folder, text)
        tree = typeset.read_markdown(markdown, folder)
        paper = document.prepare(tree, text, root, authors)
        _copy_figures(root, folder, text, paper)
        bibliography = text.front.bibliography
        page = typeset.html(paper.tree, folder, bibliography)
        pdf = typeset.pdf(paper.tree, folder, bibliography, _typst_texts(authors, text, paper))
    return Paper(pdf, page, values.used, paper)


def _copy_templates(root: Path, folder: Path, text: Source) -> None:
    for name in TEMPLATES:
        file = root / SOURCE / name
        if not file.is_file():
            raise PipelineError(f"{SOURCE / name} is missing: take it from git again")
        shutil.copyfile(file, folder / name)
    bibliography = root / SOURCE / text.front.bibliography
    if bibliography.is_file():
        shutil.copyfile(bibliography, folder / bibliography.name)


def _copy_figures(root: Path, folder: Path, text: Source, paper: Document) -> None:
    for name in paper.figures:
        target = folder / "figures" / f"{name}.svg"
        if name == DIAGRAM:
            paths.write_atomically(target, diagram.draw(text.front.diagram))
        else:
            paths.write_atomically(target, (root / paths.FIGURES / f"{name}.svg").read_bytes())


def _typst_texts(authors: list[str], text: Source, paper: Document) -> dict[str, str]:
    alternatives = {f"figures/{name}.svg": said for name, said in paper.figures.items()}
    return {
        "authors": json.dumps(authors),
        "keywords": json.dumps(text.front.keywords),
        "alternatives": json.dumps(alternatives),
    }
