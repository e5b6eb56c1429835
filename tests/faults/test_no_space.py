"""Stages that run out of space in the middle of writing, on a real small disk or, without one, at a limit."""

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import pytest

from pipeline import embedded_store, paths
from pipeline.errors import PipelineError
from pipeline.store import open_store
from tests.faults.conftest import OUTPUTS, RUNS, Built, stand_in
from tests.faults.stages import left_behind, run
from tests.repro.checkouts import files_below

DISK = "32m"
# An embedded store does not start with less than 1 GiB free; what is not used takes no memory.
STORE_DISK = "3g"
LARGE = 8 * 2**20
FILLER = Path("data/filler")


@dataclass(frozen=True)
class Scarcity:
    """Too little space for a stage's output."""

    said: str
    """What the stage must say of it."""
    around: Callable[[], None] | None
    """What the process of the stage does first."""
    relieve: Callable[[], None]
    """Make space again."""


@pytest.fixture
def disk(checkout: Path) -> Iterator[bool]:
    """A small disk of its own for `data/`; False where this user may not mount one."""
    kept = checkout.parent / "data"
    Path("data").rename(kept)
    Path("data").mkdir()
    small = mounted(Path("data"), DISK)
    shutil.copytree(kept, "data", dirs_exist_ok=True)
    yield small
    if small:
        unmount(checkout / "data")


def mounted(folder: Path, size: str) -> bool:
    """Mount a disk in memory, if this user may."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return shutil.which("mount") is not None and not subprocess.run(command, stderr=PIPE, check=False).returncode


def resize(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def a_full_disk(needed: int) -> Scarcity:
    """Fill the disk so far that half of what a stage needs finds room."""
    left = os.statvfs("data")
    fill = left.f_bavail * left.f_frsize - needed // 2
    with FILLER.open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, fill)
    return Scarcity("No space left on device: free some space there", None, FILLER.unlink)


def a_limit(needed: int) -> Scarcity:
    """Let no file become larger than this."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (needed, needed))

    return Scarcity("File too large: raise the limit on the size of files (`ulimit -f`)", limit, lambda: None)


@pytest.mark.parametrize("verb", OUTPUTS)
def test_a_stage_without_space_says_so_keeps_the_old_output_and_is_repaired_by_the_next_run(
    built: Built, disk: bool, verb: str
) -> None:
    sizes = [len(content) for content in built.output(verb).values()]
    check(built, verb, a_full_disk(sum(sizes)) if disk else a_limit(max(sizes) // 2))


@pytest.mark.parametrize("verb", ["simulate", "ingest", "gold"])
def test_a_stage_at_a_limit_on_the_size_of_files_says_so(built: Built, checkout: Path, verb: str) -> None:
    check(built, verb, a_limit(max(len(content) for content in built.output(verb).values()) // 2))


def test_a_store_without_space_ends_a_publication_and_the_next_run_publishes(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(checkout, monkeypatch, None)
    Path(".store").mkdir()
    if not mounted(Path(".store"), STORE_DISK):
        pytest.skip("this user may not mount a disk")
    try:
        connection = embedded_store.up().connection
        (paths.SILVER / "large").write_bytes(random.Random(1).randbytes(LARGE))
        used = shutil.disk_usage(".store").used
        resize(Path(".store"), f"{used + LARGE // 2}")
        with pytest.raises(
            PipelineError, match=r"s3://silver: the store fails \(5\d\d .*\); is its disk full\? Free some"
        ):
            RUNS["publish"]()
        resize(Path(".store"), STORE_DISK)
        RUNS["publish"]()
        stored = open_store("s3://silver", connection).get("large")
        assert stored == (paths.SILVER / "large").read_bytes()
    finally:
        embedded_store.down()
        unmount(checkout / ".store")


def check(built: Built, verb: str, scarcity: Scarcity) -> None:
    """A run fails with one message and leaves the old output; with space again, it makes the new."""
    output = OUTPUTS[verb]
    (output / "old").write_text("as it was")
    metrics = files_below(paths.METRICS)
    before = files_below(output)
    done = run(verb, preexec_fn=scarcity.around)
    assert done.returncode == 1
    assert f"error: {output}: {scarcity.said}, and run again" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_below(output) == before
    assert files_below(paths.METRICS) == metrics
    assert left_behind() == []
    scarcity.relieve()
    RUNS[verb]()
    assert files_below(output) == built.output(verb)
