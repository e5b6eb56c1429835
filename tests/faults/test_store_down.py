"""A store of somebody else's that is down, refuses the keys or lacks a bucket, at each point of a stage."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

from pipeline import embedded_store, ingest, paths, publish, replay
from pipeline.errors import PipelineError
from pipeline.progress import Advance
from pipeline.store import Connection, open_store
from tests.conftest import make_home
from tests.faults.conftest import RUNS, Built, stand_in
from tests.faults.stages import left_behind, program, run, until
from tests.repro.checkouts import copy_of_working_tree, files_below

NOWHERE = Connection("http://127.0.0.1:9", "key", "secret")
Result = TypeVar("Result")
DOWN = r"s3://\w+: the store does not answer; see `python -m pipeline store status`"


class Elsewhere:
    """A store in another checkout: to this one it is an S3 like any other."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.connection = self.start()

    def start(self) -> Connection:
        status = self._do(embedded_store.up)
        assert status.pid is not None
        assert status.connection is not None
        self.process = psutil.Process(status.pid)
        return status.connection

    def kill(self) -> None:
        """From any thread: it leaves the current folder, which belongs to all threads, as it is."""
        self.process.kill()
        self.process.wait(timeout=30)

    def stop(self) -> None:
        self._do(embedded_store.down)

    def _do(self, act: Callable[[], Result]) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            stand_in(self.home, patch, None)
            return act()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    store = Elsewhere(make_home(tmp_path_factory.mktemp("elsewhere")))
    yield store
    store.stop()


@pytest.fixture
def elsewhere(started: Elsewhere, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    """The store that the checkout is configured for; it answers again after the test."""
    stand_in(checkout, monkeypatch, started.connection)
    yield started
    started.start()


def all_files() -> dict[str, bytes]:
    return files_below(Path("data")) | files_below(Path("reports"))


@pytest.mark.parametrize("verb", ["ingest", "publish"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"S3_ENDPOINT_URL": NOWHERE.endpoint_url}, DOWN),
        ({"S3_SECRET_KEY": "wrong"}, r"the store refuses the credentials; check S3_ACCESS_KEY, S3_SECRET_KEY in \.env"),
        ({"S3_ACCESS_KEY": "unknown"}, r"the store refuses the credentials; check S3_ACCESS_KEY"),
        (
            {"S3_BUCKET_BRONZE": "none-such", "S3_BUCKET_GOLD": "none-such"},
            r"s3://none-such: there is no such bucket; .*`store use ENDPOINT` creates it",
        ),
    ],
    ids=["down", "wrong secret", "unknown key", "no bucket"],
)
def test_a_store_that_cannot_be_used_is_said_before_anything_is_written(
    elsewhere: Elsewhere,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    wrong: dict[str, str],
    message: str,
) -> None:
    before = all_files()
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PipelineError, match=message):
        RUNS[verb]()
    assert all_files() == before
    assert left_behind() == []


def test_the_embedded_store_makes_a_bucket_that_is_gone_again(
    checkout: Path, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(checkout, monkeypatch, None)
    monkeypatch.setenv("S3_BUCKET_BRONZE", "another")
    RUNS["ingest"]()
    assert files_below(paths.BRONZE) == built.output("ingest")


def test_a_store_that_dies_during_a_delivery_ends_ingest_and_the_next_run_makes_bronze(
    elsewhere: Elsewhere, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_files()
    with monkeypatch.context() as patch:
        patch.setattr(replay, "ATTEMPTS", 2)
        patch.setattr(replay, "progress", killing(elsewhere, after=400))
        with pytest.raises(PipelineError, match=rf"{DOWN}.*not delivered.*what is stored already is not stored twice"):
            RUNS["ingest"]()
    assert all_files() == before
    assert left_behind() == []
    repair(elsewhere, built)


def test_a_store_that_dies_after_the_delivery_ends_ingest_and_the_next_run_makes_bronze(
    elsewhere: Elsewhere, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_files()
    with monkeypatch.context() as patch:
        bring_back = ingest.bring_back

        def too_late(*arguments: object) -> object:
            elsewhere.kill()
            return bring_back(*arguments)  # type: ignore[arg-type]

        patch.setattr(ingest, "bring_back", too_late)
        with pytest.raises(PipelineError, match=DOWN):
            RUNS["ingest"]()
    assert all_files() == before
    assert left_behind() == []
    repair(elsewhere, built)


def test_a_store_that_dies_during_a_publication_ends_it_and_the_next_run_publishes(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_files()
    RUNS["publish"]()
    gold = open_store("s3://gold", elsewhere.connection)
    published = json.loads(gold.get(publish.MANIFEST))
    file = next(iter(sorted(paths.GOLD.rglob("*.parquet"))))
    with monkeypatch.context() as patch:
        patch.setattr(publish, "progress", killing(elsewhere, after=5))
        with pytest.raises(PipelineError, match=DOWN):
            RUNS["publish"]()
    assert all_files() == before
    assert left_behind() == []
    elsewhere.start()
    assert json.loads(gold.get(publish.MANIFEST)) == published
    file.write_bytes(b"a new table")
    RUNS["publish"]()
    assert gold.get(str(file.relative_to(paths.GOLD))) == b"a new table"
    assert json.loads(gold.get(publish.MANIFEST)) != published


def test_dvc_push_without_its_store_fails_and_pushes_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = copy_of_working_tree(tmp_path / "clone")
    stand_in(clone.root, monkeypatch, None)
    Path("note.txt").write_text("tracked")
    embedded_store.up()
    embedded_store.down()
    assert run("dvc", "add", "--quiet", "note.txt").returncode == 0
    refused = run("dvc", "push", "note.txt.dvc")
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    embedded_store.up()
    try:
        pushed = run("dvc", "push", "note.txt.dvc")
        assert pushed.returncode == 0
        assert "1 file pushed" in pushed.stdout
    finally:
        embedded_store.down()


def test_a_receiver_whose_store_is_down_says_so_once_and_goes_on(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(checkout, monkeypatch, NOWHERE)
    output = tmp_path / "output"
    with output.open("w") as said:
        command = program("receive", "--port", "0", "--workers", "2")
        receiver = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        until(lambda: "503" in output.read_text())
        url = re.search(r"listening on (\S+)", output.read_text())
        assert url
        assert httpx.get(f"{url[1]}/health/live", trust_env=False).status_code == 200
    finally:
        receiver.terminate()
        receiver.wait()
    warned = [line for line in output.read_text().splitlines() if line.startswith("WARNING")]
    assert len(warned) == 1
    assert re.search(rf"{DOWN}.*every batch is answered with 503", warned[0])


def killing(store: Elsewhere, after: int) -> Callable[..., AbstractContextManager[Advance]]:
    """`progress`, which kills the store once so many units are done."""

    @contextmanager
    def watched(description: str, total: int | None, unit: str) -> Iterator[Advance]:
        done, dead = 0, False

        def advance(steps: int = 1) -> None:
            nonlocal done, dead
            done += steps
            if done >= after and not dead:
                dead = True
                store.kill()

        yield advance

    return watched


def repair(store: Elsewhere, built: Built) -> None:
    """The next run after the store is back."""
    store.start()
    RUNS["ingest"]()
    assert files_below(paths.BRONZE) == built.output("ingest")
