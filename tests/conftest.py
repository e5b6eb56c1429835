"""What the tests share: a real object store and a checkout of their own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline import embedded_store
from pipeline.store import Connection, ObjectStore, configured_connection, ensure_bucket, open_store

ROOT = Path(__file__).parents[1]


def make_home(folder: Path) -> Path:
    """An empty checkout: what `paths` and `params` look for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").touch()
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    return folder


@pytest.fixture(scope="session")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """The store that S3_ENDPOINT_URL names in the environment, else an embedded one for this session (and worker)."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DVC_ROOT", str(make_home(tmp_path_factory.mktemp("store"))))
            if "S3_ENDPOINT_URL" in os.environ:
                reached = configured_connection()
                assert reached is not None
                for bucket in embedded_store.bucket_names():
                    ensure_bucket(bucket, reached)
            else:
                reached = stack.enter_context(embedded_store.running())
        yield reached


@pytest.fixture
def bucket(connection: Connection) -> ObjectStore:
    """An empty part of the Bronze bucket."""
    return open_store(f"s3://{os.environ.get('S3_BUCKET_BRONZE', 'bronze')}/{uuid4()}", connection)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of the test's own, and the current folder."""
    folder = make_home(tmp_path / "home")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    return folder
