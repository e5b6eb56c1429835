"""Typesetting: pandoc reads and writes, Typst makes the PDF; both come from wheels, and neither asks the network."""

import json
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typst

from pipeline import paths
from pipeline.errors import PipelineError
from pipeline.offline import outside_references

SOURCE = Path("reports/source")
READ = ("--from=markdown-yaml_metadata_block", "--to=json", "--columns=10000")
CITE = ("--from=json", "--citeproc", "--standalone", "--wrap=preserve")
LIMIT_S = 120
_DIAGNOSTIC = re.compile(r"┌─ ([\w./-]+):(\d+)")


def read_markdown(markdown: str, folder: Path) -> dict[str, Any]:
    """The tree of a Markdown text."""
    tree: dict[str, Any] = json.loads(pandoc(READ, markdown, folder))
    return tree


def pdf(tree: str, folder: Path, bibliography: str, texts: dict[str, str]) -> bytes:
    """The paper as PDF.

    Args:
        tree: pandoc's JSON.
        folder: where templates, bibliography and figures lie.
        bibliography: the BibTeX file's name.
        texts: what the template gets besides: strings by name.

    Raises:
        PipelineError: the template or a font is wrong or missing; file and line are named.
    """
    options = (*CITE, "--to=typst-smart", "--template=page.typ", f"--bibliography={bibliography}")
    file = folder / "paper.typ"
    paths.write_atomically(file, pandoc(options, tree, folder).encode())
    try:
        made, said = typst.compile_with_warnings(
            str(file), root=str(folder), ignore_system_fonts=True, format="pdf", sys_inputs=texts, timestamp=0
        )
    except typst.TypstError as error:
        raise PipelineError(_typst_says(error.message, error.diagnostic)) from error
    if said:
        raise PipelineError(_typst_says(said[0].message, said[0].diagnostic))
    return made


def html(tree: str, folder: Path, bibliography: str) -> str:
    """The paper as one HTML page that loads nothing from anywhere.

    Raises:
        PipelineError: the template is wrong, or the page would load something.
    """
    options = ("--to=html5", "--template=page.html", "--css=style.css", "--embed-resources", "--section-divs")
    page = pandoc((*CITE, *options, "--number-sections", "--mathml", f"--bibliography={bibliography}"), tree, folder)
    outside = outside_references(page)
    if outside:
        raise PipelineError(f"{SOURCE}: the page would load {', '.join(outside)}: take it out of source or template")
    return page


def pandoc(options: tuple[str, ...], text: str, folder: Path) -> str:
    """Run the wheel's own pandoc; what it warns of is an error.

    Raises:
        PipelineError: pandoc is missing, failed, or found something to warn of.
    """
    program = _program()
    # An empty data folder keeps a user's own templates and styles out.
    command = [str(program), f"--data-dir={folder / 'pandoc'}", *options]
    done = subprocess.run(
        command, input=text, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=LIMIT_S, check=False
    )
    if done.returncode or done.stderr.strip():
        raise PipelineError(f"{SOURCE}: pandoc says: {done.stderr.strip().replace(str(folder), str(SOURCE))}")
    return done.stdout


def _program() -> Path:
    # Not pypandoc.get_pandoc_path(): it takes a newer pandoc of the machine, with other bytes.
    spec = find_spec("pypandoc")
    program = Path(spec.origin or "").parent / "files" / "pandoc" if spec else None
    if program is None or not program.is_file():
        raise PipelineError("pandoc is missing: install `pypandoc-binary` (`make setup`)")
    return program


def _typst_says(message: str, diagnostic: str) -> str:
    at_error = diagnostic[max(diagnostic.find("error:"), 0) :]
    found = _DIAGNOSTIC.search(at_error)
    place = f"{SOURCE / Path(found[1]).name}:{found[2]}" if found else str(SOURCE)
    hint = "; fonts: Libertinus Serif, New Computer Modern, DejaVu Sans Mono" if "font" in message else ""
    return f"{place}: Typst says: {message}{hint}"
