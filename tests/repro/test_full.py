"""At the default size: two empty folders, the same bytes, and they are the committed ones."""

from pathlib import Path

import pytest

from tests.repro.checkouts import ROOT, copy_of_working_tree

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


def test_two_empty_folders_give_the_committed_lock_file(tmp_path: Path) -> None:
    for name, workers in (("one", "2"), ("two", "1")):
        checkout = copy_of_working_tree(tmp_path / name, ROOT / "params.yaml")
        checkout.run("dvc", "repro", PIPELINE_WORKERS=workers)
        assert checkout.run("git", "status", "--porcelain").stdout == ""
        assert (checkout.root / "dvc.lock").read_bytes() == (ROOT / "dvc.lock").read_bytes()
