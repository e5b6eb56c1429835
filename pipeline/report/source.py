"""A language's source: Markdown behind a front matter that holds all that is particular to the language."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import PipelineError

SECTIONS = ("abstract", "results", "limitations", "reproducibility", "references")
_FRONT = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_HEADING = re.compile(r"^# [^\n]*\{#([\w-]+)[^}\n]*\}[ \t]*$", re.MULTILINE)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Labels(_Part):
    """What figures, tables and the list of keywords are called."""

    figure: str
    table: str
    keywords: str


class Numbers(_Part):
    """How the language writes numbers."""

    decimal: str
    thousands: str
    group_from: Annotated[int, Field(ge=4)]
    """Digits before the decimal sign from which on thousands are separated."""
    before_percent: str
    between: str
    """What stands between the ends of an interval."""
    unknown: str
    """What stands for a value that is not known."""


class FrontMatter(_Part):
    """What the source says about itself."""

    title: str
    lang: Annotated[str, Field(pattern="^[a-z]{2}$")]
    bibliography: str
    keywords: list[str]
    labels: Labels
    numbers: Numbers
    words: dict[str, str]
    """How values of the data are called in tables and prose: `success: kill`."""
    names_with_digits: list[str]
    """Names that may stand in the results although they contain a digit."""
    figures_not_shown: list[str]
    """Figures that the studies drew and the paper leaves out on purpose."""
    diagram: dict[str, str]
    """The texts of the picture of the pipeline."""


@dataclass(frozen=True)
class Source:
    """A source and where it stands; `text` has blank lines for the front matter, so that its line numbers hold."""

    name: str
    whole: str
    text: str
    front: FrontMatter

    def at(self, line: int) -> str:
        """A line of the source as a message names it."""
        return f"{self.name}:{line}"

    def where(self, pattern: str) -> str:
        """The place of the first match of a regular expression, for a message."""
        return self.at(self.line(pattern))

    def line(self, pattern: str, which: int = 0) -> int:
        """The line of the first match of a regular expression (or of another), the first line if there is none."""
        lines = [line_of(self.whole, found.start()) for found in re.finditer(pattern, self.whole, re.MULTILINE)]
        return lines[which] if lines else 1


def read(root: Path, name: str) -> Source:
    """Read a source and check its front matter and its sections.

    Args:
        root: the checkout.
        name: the source's path in it.

    Raises:
        PipelineError: it is missing, or its front matter or a section is missing or wrong; file and line are named.
    """
    try:
        whole = (root / name).read_text(encoding="utf-8")
    except OSError as error:
        raise PipelineError(f"{name}: cannot be read ({error.strerror}): take it from git again") from error
    found = _FRONT.match(whole)
    if not found:
        raise PipelineError(f"{name}:1: has no front matter between two lines of `---`")
    front = _front_matter(name, found[1])
    text = "\n" * found[0].count("\n") + whole[found.end() :]
    source = Source(name, whole, text, front)
    missing = [section for section in SECTIONS if section not in {heading for heading, _, _ in sections(text)}]
    if missing:
        raise PipelineError(f"{name}: has no section `# … {{#{missing[0]}}}`: the report needs {', '.join(SECTIONS)}")
    return source


def sections(text: str) -> list[tuple[str, int, int]]:
    """The sections of level 1 that have an id: id, beginning and end in the text."""
    outside = re.sub(r"^```.*?^```", lambda code: re.sub(r"[^\n]", " ", code[0]), text, flags=re.MULTILINE | re.DOTALL)
    begins = [found.start() for found in re.finditer(r"^# ", outside, re.MULTILINE)]
    return [
        (found[1], found.start(), min((begin for begin in begins if begin > found.start()), default=len(text)))
        for found in _HEADING.finditer(outside)
    ]


def line_of(text: str, position: int) -> int:
    """The number of the line in which a position lies, from 1."""
    return text.count("\n", 0, position) + 1


def _front_matter(name: str, content: str) -> FrontMatter:
    try:
        return FrontMatter.model_validate(yaml.safe_load(content))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        raise PipelineError(f"{name}:{line}: the front matter is not YAML: {error.problem}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        found = re.search(
            rf"^\s*{re.escape(str(problem['loc'][-1] if problem['loc'] else ''))}:", content, re.MULTILINE
        )
        line = line_of(content, found.start()) + 1 if found else 1
        raise PipelineError(f"{name}:{line}: front matter, `{key}`: {problem['msg']}") from error
