"""Executing a notebook: by papermill, to the same bytes each run, with an HTML copy that needs no network."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import nbformat
import papermill
from jinja2 import DictLoader
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from traitlets.config import Config

from pipeline import params, paths
from pipeline.errors import PipelineError
from pipeline.offline import outside_references
from pipeline.progress import progress

log = logging.getLogger(__name__)

_WIDGETS = "application/vnd.jupyter.widget-view+json"
_ADDRESS = re.compile(r"(?<= at )0x[0-9a-f]+")
_LANGUAGE_KEPT = {"name", "mimetype", "file_extension", "pygments_lexer"}
_STYLER_ID = re.compile(r"\bT_[0-9a-f]{5}(?=_|\b)")
# What a kernel and this process say to each other, on a port of 127.0.0.1, is no other user's business.
_ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})
# A kernel that is ended with its stage would say so with a traceback; what cells do wrong comes as a message.
_QUIET = ["--IPKernelApp.log_level=50"]
# nbconvert's page without what it loads from CDNs: require.js, MathJax, Mermaid and the widgets' renderer.
_OFFLINE_PAGE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}<link rel="icon" href="data:,">{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style type="text/css">
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
.jp-OutputArea-output img { max-width: 100%; height: auto; }
</style>
{%- endblock -%}
"""


def run(name: str, kernel: str = "python3", section: str | None = None) -> None:
    """Execute `notebooks/{name}.ipynb` in the project's root and write it, with its HTML copy, to `reports/notebooks/`.

    Args:
        name: the notebook, like `01-eda`.
        kernel: the Jupyter kernel that runs it.
        section: the section of `params.yaml` that it gets as parameters; by default what follows the number in `name`.

    Raises:
        PipelineError: the notebook, its parameters or the kernel are missing, a cell failed (the notebook as far as it
            came is then in `reports/notebooks/{name}.failed.ipynb`), its page would load something from elsewhere, or
            another process executes it at this moment.
    """
    target = paths.project_root() / paths.EXECUTED_NOTEBOOKS / f"{name}.ipynb"
    with paths.sole_writer(target):
        _execute_to(target, name, kernel, section)


def _execute_to(target: Path, name: str, kernel: str, section: str | None) -> None:
    root = paths.project_root()
    source = _read(root / paths.NOTEBOOKS / f"{name}.ipynb")
    parameters = _parameters(section or name.split("-", 1)[-1])
    failed = target.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    with TemporaryDirectory(prefix=f"{name}-") as scratch:
        output = Path(scratch, "executed.ipynb")
        try:
            executed = _execute(source, output, root, kernel, parameters, name)
        except PipelineError:
            if output.is_file():
                paths.write_atomically(failed, to_bytes(normalised(_read(output), root)))
            raise
    _report_stderr(executed, name)
    executed = normalised(executed, root)
    page = html_page(executed, name)
    paths.write_atomically(target, to_bytes(executed))
    paths.write_atomically(target.with_suffix(".html"), page.encode())


def normalised(notebook: NotebookNode, root: Path) -> NotebookNode:
    """A copy of an executed notebook without what changes from run to run or from machine to machine.

    Away go timings, stderr, widgets and Python's version; stable become the ids of cells and styled tables, the
    addresses of objects, how output was cut into pieces, and paths below `root`, which become relative.
    """
    cells = [_cell(cell, number, root) for number, cell in enumerate(notebook.cells, start=1)]
    _rename_styled_tables(cells)
    metadata = {key: value for key, value in notebook.metadata.items() if key not in {"papermill", "widgets"}}
    if language := metadata.get("language_info"):
        metadata["language_info"] = {key: value for key, value in language.items() if key in _LANGUAGE_KEPT}
    return _node({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def to_bytes(notebook: NotebookNode) -> bytes:
    """The notebook's file: keys sorted, one newline at the end."""
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return (text.rstrip("\n") + "\n").encode()


def html_page(notebook: NotebookNode, name: str) -> str:
    """The notebook as one HTML page that loads nothing from anywhere.

    Raises:
        PipelineError: an output or a text of the notebook refers to something outside the page.
    """
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_file="offline.html.j2",
        extra_loaders=[DictLoader({"offline.html.j2": _OFFLINE_PAGE})],
        embed_images=True,
        exclude_anchor_links=True,
    )
    where = str(paths.project_root() / paths.NOTEBOOKS)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": name, "path": where}})
    outside = outside_references(page)
    if outside:
        raise PipelineError(
            f"notebooks/{name}.ipynb: its page would load {', '.join(outside)}: embed it, or link to it with <a>"
        )
    return str(page).rstrip("\n") + "\n"


def _read(file: Path) -> NotebookNode:
    try:
        return cast("NotebookNode", nbformat.read(file, as_version=4))  # type: ignore[no-untyped-call]
    except OSError as error:
        raise PipelineError(f"{file}: cannot be read ({error.strerror})") from error
    except nbformat.reader.NotJSONError as error:
        raise PipelineError(f"{file}: is no notebook (not JSON): take it from git again") from error


def _node(content: dict[str, Any]) -> NotebookNode:
    return cast("NotebookNode", nbformat.from_dict(content))  # type: ignore[no-untyped-call]


def _parameters(section: str) -> dict[str, Any]:
    content = getattr(params.load(paths.project_root() / paths.PARAMS), section, None)
    if content is None:
        raise PipelineError(f"params.yaml has no section `{section}` for this notebook")
    values: dict[str, Any] = content.model_dump(mode="json")
    return values


def _execute(
    source: NotebookNode, output: Path, root: Path, kernel: str, parameters: dict[str, Any], name: str
) -> NotebookNode:
    for told_there in ("papermill", "asyncio"):
        logging.getLogger(told_there).addFilter(_is_no_death_of_a_kernel)
    steps = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in source.cells) + bool(parameters)
    try:
        with _kernel_surroundings(output.parent), progress(name, steps, "cells") as advance:
            executed: NotebookNode = papermill.execute_notebook(
                source,
                output,
                parameters=parameters,
                kernel_name=kernel,
                cwd=root,
                progress_bar=False,
                on_cell_complete=lambda cell, cell_index: advance(),
                config=_ENCRYPTED,
                extra_arguments=_QUIET,
            )
            return executed
    except papermill.PapermillExecutionError as error:
        raise PipelineError(_explain(error, name)) from error
    except NoSuchKernel as error:
        raise PipelineError(f"notebooks/{name}.ipynb: no Jupyter kernel `{kernel}` here: run `make setup`") from error
    except DeadKernelError as error:
        raise PipelineError(
            f"notebooks/{name}.ipynb: the kernel died while a cell ran (killed for memory?): free some and run again"
        ) from error
    except (FileNotFoundError, PermissionError, RuntimeError) as error:
        raise PipelineError(
            f"notebooks/{name}.ipynb: the kernel `{kernel}` does not start ({error}): run `make setup`"
        ) from error


def _is_no_death_of_a_kernel(record: logging.LogRecord) -> bool:
    """Whether a library's message is news: a kernel that dies is told by our own, and one that ends with its
    interrupted stage is none."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, DeadKernelError) or record.getMessage().startswith("Kernel died"))


def _explain(error: papermill.PapermillExecutionError, name: str) -> str:
    first = next((line for line in error.source.splitlines() if line.strip()), "")
    return (
        f"notebooks/{name}.ipynb: cell [{error.exec_count}] `{first}` failed with {error.ename}: {error.evalue} "
        f"(the notebook as far as it came: {paths.EXECUTED_NOTEBOOKS}/{name}.failed.ipynb)"
    )


@contextmanager
def _kernel_surroundings(scratch: Path) -> Iterator[None]:
    """What kernels started inside inherit: no start-up files of the user's own, and Matplotlib without a screen."""
    wanted = {"IPYTHONDIR": str(scratch / "ipython"), "MPLBACKEND": "agg"}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key)
            if value is not None:
                os.environ[key] = value


def _report_stderr(notebook: NotebookNode, name: str) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                log.warning("%s, cell [%s]: %s", name, cell.execution_count, output.text.strip())


def _cell(cell: NotebookNode, number: int, root: Path) -> dict[str, Any]:
    metadata = {key: value for key, value in cell.metadata.items() if key not in {"papermill", "execution"}}
    stable = {**cell, "id": f"cell-{number:02d}", "metadata": metadata}
    return stable | ({"outputs": _outputs(cell.outputs, root)} if "outputs" in cell else {})


def _outputs(outputs: list[NotebookNode], root: Path) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for output in outputs:
        if output.output_type != "stream":
            data = output.get("data", {})
            if _WIDGETS not in data:
                stable = {mime: _stable_text(value, root) for mime, value in data.items()}
                kept.append({**output, **({"data": stable} if data else {})})
        elif output.name == "stdout":
            text = _stable_text(output.text, root)
            if kept and kept[-1]["output_type"] == "stream":
                kept[-1]["text"] += text
            else:
                kept.append({**output, "text": text})
    return kept


def _stable_text(value: Any, root: Path) -> Any:
    if not isinstance(value, str):
        return value
    return _ADDRESS.sub("0x…", value.replace(f"{root}/", "").replace(str(root), "."))


def _rename_styled_tables(cells: list[dict[str, Any]]) -> None:
    """Give the tables of a pandas Styler, whose ids are random, ids in the order of their appearance."""
    names: dict[str, str] = {}

    def stable(match: re.Match[str]) -> str:
        return names.setdefault(match[0], f"T_{len(names) + 1:05d}")

    for cell in cells:
        for output in cell.get("outputs", []):
            page = output.get("data", {}).get("text/html")
            if page is not None:
                output["data"]["text/html"] = _STYLER_ID.sub(stable, page)
