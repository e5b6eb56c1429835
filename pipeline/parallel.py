"""A map over raids: the same function on every raid, in processes or threads, results in the order of the tasks."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_pipes
from typing import TypeVar

from pipeline.errors import PipelineError
from pipeline.progress import Advance, progress

Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 3


def map_raids(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    description: str,
    unit: str = "raids",
    *,
    in_threads: bool = False,
) -> list[Result]:
    """Apply `function` to every task and return the results in the tasks' order, whatever the number of workers.

    A worker that is killed (out of memory, say) takes its pool with it: what is not done yet is tried again in a new
    pool, three times in all.

    Args:
        function: a function at the top level of a module (it travels to spawned processes by name).
        tasks: what to apply it to; each must pickle.
        workers: how many processes; 1 works in this one.
        description: what the progress bar says.
        unit: what is counted.
        in_threads: with threads of this process instead, for functions that spend their time in Polars and Arrow, which
            hold no lock, and are done before a process would have begun.

    Raises:
        PipelineError: workers kept dying.
        Exception: whatever `function` raised first, unchanged.
    """
    results: dict[int, Result] = {}
    with progress(description, len(tasks), unit) as advance:
        if workers == 1 or len(tasks) <= 1:
            for index, task in enumerate(tasks):
                results[index] = function(task)
                advance()
        elif in_threads:
            _map_in_threads(function, tasks, workers, results, advance)
        else:
            _map_in_processes(function, tasks, workers, results, advance)
    return [results[index] for index in range(len(tasks))]


def _map_in_threads(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    results: dict[int, Result],
    advance: Advance,
) -> None:
    with ThreadPoolExecutor(min(workers, len(tasks))) as pool:
        try:
            _collect({pool.submit(function, task): index for index, task in enumerate(tasks)}, results, advance)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _map_in_processes(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    results: dict[int, Result],
    advance: Advance,
) -> None:
    for _ in range(ATTEMPTS):
        left = [index for index in range(len(tasks)) if index not in results]
        if not left:
            return
        try:
            _fill(function, tasks, left, workers, results, advance)
        except BrokenProcessPool:
            continue
    missing = len(tasks) - len(results)
    if missing:
        raise PipelineError(
            f"worker processes died {ATTEMPTS} times with {missing} of {len(tasks)} tasks left (killed for memory?): "
            "set PIPELINE_WORKERS=1 in .env or free some memory, and run again"
        )


def _fill(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    left: Sequence[int],
    workers: int,
    results: dict[int, Result],
    advance: Advance,
) -> None:
    # Spawned, never forked: Polars' thread pool does not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)
    with (
        theirs,
        ours,
        ProcessPoolExecutor(min(workers, len(left)), spawn, initializer=_begin_work, initargs=(theirs,)) as pool,
    ):
        try:
            with _interrupts_kept_from_children():
                futures = {pool.submit(function, tasks[index]): index for index in left}
            _collect(futures, results, advance)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            ours.close()
            raise


def _collect(futures: dict[Future[Result], int], results: dict[int, Result], advance: Advance) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, return_when=FIRST_EXCEPTION, timeout=0.2)
        for future in done:
            results[futures[future]] = future.result()
            advance()


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Processes started inside inherit a blocked SIGINT: it is for their parent to answer a terminal's Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_work(lifeline: Connection) -> None:
    # The processes are the parallelism; this runs before the worker imports Polars.
    os.environ["POLARS_MAX_THREADS"] = "1"
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """End this worker, whatever it does, when the other end of the pipe is closed, be it by the parent's death."""
    wait_for_pipes([lifeline])
    os._exit(1)
