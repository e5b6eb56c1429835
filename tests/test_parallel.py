"""The map over raids: order, errors, and workers that are killed."""

import os
import signal
import threading
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.parallel import map_raids


def square(number: int) -> int:
    return number * number


def process_and_thread(_: int) -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


def refuse_seven(number: int) -> int:
    if number == 7:
        raise PipelineError("raid 7 is broken: look at it")
    return number


def die_once(task: tuple[Path, int]) -> int:
    """Kill this worker the first time that task 3 runs, as the kernel does when memory runs out."""
    folder, number = task
    if number == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.parametrize(("workers", "in_threads"), [(1, False), (2, False), (2, True)])
def test_results_come_in_the_order_of_the_tasks(workers: int, in_threads: bool) -> None:
    squares = map_raids(square, range(20), workers, "squares", in_threads=in_threads)
    assert squares == [number * number for number in range(20)]


def test_threads_are_of_this_process_and_not_more_than_the_workers() -> None:
    places = map_raids(process_and_thread, range(30), 2, "raids", in_threads=True)
    assert {process for process, _ in places} == {os.getpid()}
    threads = {thread for _, thread in places}
    assert len(threads) <= 2
    assert threading.current_thread().name not in threads


def test_no_tasks_give_no_results() -> None:
    assert map_raids(square, [], 2, "squares") == []


@pytest.mark.parametrize(("workers", "in_threads"), [(1, False), (2, False), (2, True)])
def test_the_error_of_a_task_reaches_the_caller_unchanged(workers: int, in_threads: bool) -> None:
    with pytest.raises(PipelineError, match="raid 7 is broken"):
        map_raids(refuse_seven, range(10), workers, "raids", in_threads=in_threads)


def test_a_killed_worker_costs_no_result(tmp_path: Path) -> None:
    assert map_raids(die_once, [(tmp_path, number) for number in range(8)], 2, "raids") == list(range(8))
    assert (tmp_path / "died").exists()


def test_workers_that_keep_dying_end_in_an_error_with_a_remedy() -> None:
    with pytest.raises(PipelineError, match="PIPELINE_WORKERS=1"):
        map_raids(die_always, range(4), 2, "raids")


def blocks_interrupts(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_worker_leaves_the_terminals_ctrl_c_to_its_parent_from_its_start_on() -> None:
    assert map_raids(blocks_interrupts, range(4), 2, "workers") == [True] * 4
    assert not blocks_interrupts(0)
