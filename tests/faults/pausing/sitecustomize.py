"""Stops a process of the pipeline at a chosen call, found first by every Python that has this folder in PYTHONPATH.

`PAUSE_AT=module:function` names the call and `PAUSE_CALLS` which one in each process (1 is the first). The process then
leaves a file named after its id in `PAUSE_FOLDER` and waits for a signal, like one that works for a long time; the
others go on.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from itertools import count
from types import ModuleType
from typing import Any

MODULE, _, FUNCTION = os.environ.get("PAUSE_AT", "").partition(":")


def pausing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; the chosen call of it never comes to its work."""
    calls = count(1)

    def paused(*arguments: Any, **named: Any) -> Any:
        folder = os.environ["PAUSE_FOLDER"]
        if next(calls) == int(os.environ.get("PAUSE_CALLS", "1")) and not os.listdir(folder):  # noqa: PTH208
            with open(f"{folder}/{os.getpid()}", "w"):  # noqa: PTH123  (pathlib would slow every start)
                pass
            while True:
                time.sleep(0.05)  # signal.pause() would miss a signal that comes right before it
        return function(*arguments, **named)

    return paused


class Pauser(MetaPathFinder):
    """Finds the chosen module as Python itself would, and wraps the function once the module is there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == MODULE else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_wrap(module: ModuleType) -> None:
            execute(module)
            setattr(module, FUNCTION, pausing(getattr(module, FUNCTION)))

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec


if MODULE:
    sys.meta_path.insert(0, Pauser())
