"""Outputs are replaced whole or not at all."""

from pathlib import Path

import pytest

from pipeline import paths
from pipeline.errors import PipelineError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "silver"
    for name in ("old", "new"):
        with paths.replacing_folder(target) as folder:
            (folder / name).touch()
    assert names(target) == ["new"]
    assert names(tmp_path) == ["silver"]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "silver"
    with paths.replacing_folder(target) as folder:
        (folder / "old").touch()
    with pytest.raises(RuntimeError), paths.replacing_folder(target) as folder:
        (folder / "new").touch()
        raise RuntimeError
    assert names(target) == ["old"]
    assert names(tmp_path) == ["silver"]


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "metrics.json"
    paths.write_atomically(target, b"1")
    paths.write_atomically(target, b"2")
    assert target.read_bytes() == b"2"
    assert names(target.parent) == ["metrics.json"]


def test_the_project_is_found_from_a_folder_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert paths.project_root() == tmp_path


def test_outside_of_a_project_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match="inside a checkout"):
        paths.project_root()


def test_dvc_names_the_checkout_that_holds_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert paths.home_root() == tmp_path
