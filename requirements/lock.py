"""Resolve a lock file from each `*.in` here: install into a fresh environment, write down what came.

pip alone knows torch's wheel for this machine; a local version such as `+cpu` must not reach the lock file, since the
same line has to bring the CUDA build elsewhere.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NOT_LOCKED = {"pip", "setuptools", "wheel"}
HEADER = "# Resolved from requirements/{name}.in by `make lock`; every version pinned, installed with pip.\n"


def resolve(requirements: Path) -> str:
    """The pinned versions that `requirements` leads to, one per line."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = f"{folder}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
        frozen = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    lines = [re.sub(r"\+\w+$", "", line) for line in frozen.splitlines()]
    return "".join(f"{line}\n" for line in lines if line.split("==")[0].lower() not in NOT_LOCKED)


if __name__ == "__main__":
    for source in sorted(HERE.glob("*.in")):
        source.with_suffix(".txt").write_text(HEADER.format(name=source.stem) + resolve(source))
