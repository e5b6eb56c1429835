"""What `make` checks before it sets up anything; runs on the bare Python of a machine, even a wrong one."""

from __future__ import annotations

import importlib.util
import shutil
import sys

NEEDED_PYTHON = (3, 11)
NEEDED_TOOLS = {"git": "install git (Debian: apt install git; macOS: xcode-select --install)"}
# Measured on Linux x86-64 with the CPU build of torch: both environments 3.8 GB, outputs and store below 1 GB. The CUDA
# build that pip takes elsewhere adds about 5 GB.
NEEDED_DISK_GB = 6


def python_problem(version: tuple[int, ...]) -> str | None:
    """What to say if this is not the Python that the lock files were resolved for."""
    if version[:2] == NEEDED_PYTHON:
        return None
    needed, found = (".".join(map(str, numbers[:2])) for numbers in (NEEDED_PYTHON, version))
    remedy = "install it and run `make PYTHON=/path/to/python3.11 ...`"
    return f"Python {needed} is needed, {sys.executable} is {found}: {remedy}"


def venv_problem() -> str | None:
    """What to say if Python cannot make environments (Debian packs that part separately)."""
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        return None
    return "Python's venv module is missing: install it (Debian: apt install python3.11-venv)"


def tool_problem(tool: str, remedy: str) -> str | None:
    """What to say if a program is not on PATH."""
    return None if shutil.which(tool) else f"{tool} is missing: {remedy}"


def disk_problem(free_bytes: int) -> str | None:
    """What to say if the environments and outputs will not fit."""
    free_gb = free_bytes / 1e9
    if free_gb >= NEEDED_DISK_GB:
        return None
    return (
        f"too little disk: {free_gb:.1f} GB free here, {NEEDED_DISK_GB} GB needed: free some, or clone to another disk"
    )


def problems() -> list[str]:
    """All that would stop the set-up, each with its remedy."""
    found = [python_problem(sys.version_info[:2]), venv_problem(), disk_problem(shutil.disk_usage(".").free)]
    found += [tool_problem(tool, remedy) for tool, remedy in NEEDED_TOOLS.items()]
    return [problem for problem in found if problem]


def main() -> int:
    """Say each problem on one line; the exit code for `make`."""
    found = problems()
    for problem in found:
        sys.stderr.write(f"error: {problem}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
