"""Put on PYTHONPATH by the tests of the graph: writes down what of the project is imported.

Every Python process of a stage, workers, servers and kernels too, appends the modules to the file IMPORT_TRACE.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class Recorder(MetaPathFinder):
    """Finds nothing; writes down what was looked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pipeline" or fullname.startswith("pipeline."):
            with open(os.environ["IMPORT_TRACE"], "a") as trace:  # noqa: PTH123  (pathlib would slow every start)
                trace.write(f"{fullname}\n")
        return None


sys.meta_path.insert(0, Recorder())
