"""Compiled functions, and their machine code kept for the next process for as long as nothing it was made from changes.

Numba's own cache asks only whether the file of the function itself has changed. The engine takes constants and record
types from other modules into its code, so here its code is kept by a fingerprint of all of them.
"""

import ast
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

# Without the instructions that only some processors have, in particular none that multiplies and adds in one rounding.
os.environ["NUMBA_CPU_NAME"] = "generic"

import numba
from numba.core import config as numba_config

Function = TypeVar("Function", bound=Callable[..., Any])

PACKAGE = Path(__file__).parents[1]
ENGINE = PACKAGE / "simulate" / "engine.py"
KEPT_VERSIONS = 8
"""Of so many versions of the sources the code is kept; it takes a megabyte or two for each."""

config: Any = numba_config  # numba sets its attributes from the environment
config.reload_config()  # where something else has imported numba before


def compiled(function: Function) -> Function:
    """The function as machine code, to be taken into that of the functions that call it."""
    machine_code: Any = numba.njit(function)
    return machine_code  # type: ignore[no-any-return]


def kept(function: Function) -> Function:
    """The function as machine code, with all that it calls, kept for other processes where there is a place for it."""
    if not (is_kept(function.__name__) or _can_write(folder())):
        return compiled(function)
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = f"{__name__}.{ByFingerprint.__name__}"
    try:
        machine_code: Any = numba.njit(cache=True)(function)
    finally:
        config.CACHE_LOCATOR_CLASSES = before
    return machine_code  # type: ignore[no-any-return]


class ByFingerprint:
    """What Numba calls a cache locator: where a function's code lies, and what says that it is not out of date."""

    def ensure_cache_path(self) -> None:
        """Make the folder."""
        folder().mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        """The folder."""
        return str(folder())

    def get_source_stamp(self) -> str:
        """What changes with the sources."""
        return fingerprint()

    def get_disambiguator(self) -> str:
        """What tells functions of the same name apart: there is only one of each."""
        return ""

    @classmethod
    def from_function(cls, _function: Callable[..., Any], _file: str) -> "ByFingerprint":
        """The locator of a function."""
        return cls()


def is_kept(name: str) -> bool:
    """Whether the code of the engine's function with this name need not be compiled again."""
    # The index comes first, the code after it; each is moved into its place at once.
    return any(folder().glob(f"{ENGINE.stem}.{name}-*.nbi")) and any(folder().glob(f"{ENGINE.stem}.{name}-*.nbc"))


def forget_old_versions() -> None:
    """Remove the code of all but the latest few versions of the sources."""
    with suppress(FileNotFoundError):  # another process removes them
        versions = sorted(folder().parent.glob("*"), key=lambda each: each.stat().st_mtime)
        for old in versions[:-KEPT_VERSIONS]:
            shutil.rmtree(old, ignore_errors=True)


def folder() -> Path:
    """Where the code lies: the user's cache, so that every checkout and copy with the same sources shares it."""
    user = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", "/"), ".cache")
    return Path(user) / "wow-raid-telemetry" / "engine" / fingerprint()


@cache
def fingerprint() -> str:
    """A hash of all that the engine's code is made from: sources, compiler, processor."""
    digest = hashlib.sha256()
    for file in sorted(sources(ENGINE)):
        digest.update(f"{file.relative_to(PACKAGE)} ".encode() + hashlib.sha256(file.read_bytes()).digest())
    tools = (sys.version, *(version(name) for name in ("numba", "llvmlite", "numpy")))
    processor = (platform.system(), platform.machine(), config.CPU_NAME, config.CPU_FEATURES)
    digest.update(repr((tools, processor)).encode())
    return digest.hexdigest()[:20]


def sources(module: Path) -> set[Path]:
    """A module's file and those of the package's modules that it imports, directly or through others."""
    found: set[Path] = set()
    left = [module]
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            left += _imported(file)
    return found


def _imported(file: Path) -> list[Path]:
    """The files of the package's modules that a module names in its imports."""
    names = [
        name
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name
        for name in [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    ]
    files = [(PACKAGE.parent / Path(*name.split("."))).with_suffix(".py") for name in names]
    return [each for each in files if each.is_file()]


def _can_write(place: Path) -> bool:
    existing = next(each for each in (place, *place.parents) if each.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)
