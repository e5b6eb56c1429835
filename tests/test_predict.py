"""`python -m pipeline predict`: a probability at each T, and what the models could not know."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import predict
from pipeline.errors import PipelineError
from tests import outcome_season as season


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = season.studied(tmp_path_factory)
    monkeypatch.chdir(folder)
    return folder


def test_the_command_gives_each_pull_a_probability_at_each_horizon(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "predict", "raid003"], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()[2:27]
    assert head.split() == ["pull", "boss", "difficulty", "outcome", "30", "s", "60", "s"]
    assert [row.split()[0] for row in rows] == [f"raid003-p{number:02d}" for number in range(1, 25)]
    assert all(row.split()[-1].endswith("%") and row.split()[-2].endswith("%") for row in rows)
    assert {"kill", "wipe"} == {row.split()[-3] for row in rows}
    assert "learned from this team" in done.stdout


def test_a_real_log_gets_a_probability_and_is_told_what_was_not_known(home: Path) -> None:
    said = predict.describe(season.REAL_LOG)
    (row,) = [line for line in said.splitlines() if line.startswith("714-1")]
    assert row.endswith("ended before")
    assert "%" in row
    assert "No team is named" in said
    assert "boss Princess Huhuran" in said
    assert "difficulty other" in said
    (unknown,) = [line for line in said.splitlines() if line.startswith("Not known")]
    assert unknown.endswith("who played which role, n_classes, mean_item_level.")
    (beyond,) = [line for line in said.splitlines() if line.startswith("Beyond")]
    assert "n_players" in beyond
    assert "damage_per_s" in beyond


def test_one_pull_can_be_asked_for(home: Path) -> None:
    said = predict.describe("raid001", "raid001-p07")
    assert "raid001-p07" in said
    assert "raid001-p08" not in said


@pytest.mark.parametrize(
    ("raid_id", "encounter_id", "message"),
    [
        (
            "raid999",
            None,
            r"no pulls of a raid `raid999` in Gold; there are 9: log-20220410, raid001, raid002, … raid008",
        ),
        ("raid001", "p99", r"raid001 has no pull `p99`; there are 24: raid001-p01, "),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    home: Path, raid_id: str, encounter_id: str | None, message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        predict.describe(raid_id, encounter_id)


def test_without_a_model_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"model\.json is missing: make the model with `dvc repro classify`"):
        predict.read_model(tmp_path)


def test_a_model_that_could_not_be_made_says_why(tmp_path: Path) -> None:
    content = {"status": "not possible", "reason": "there are too few teams", "horizons": {}}
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(PipelineError, match="no outcome model, because there are too few teams"):
        predict.read_model(tmp_path)


def test_a_lost_model_file_is_named(home: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(home / predict.FOLDER, tmp_path / "outcome")
    (copy / "model-060.onnx").unlink()
    with pytest.raises(PipelineError, match=r"model-060\.onnx is missing"):
        predict.read_model(copy)


def test_missing_features_are_named(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(home, tmp_path / "home")
    shutil.rmtree(copy / "data" / "features")
    monkeypatch.chdir(copy)
    with pytest.raises(PipelineError, match=r"part-0\.parquet is missing: make it with `dvc repro features`"):
        predict.describe("raid001")
