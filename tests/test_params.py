"""params.yaml: a typo or an impossible value stops with one message that names it."""

from pathlib import Path

import pytest
import yaml

from pipeline import params
from pipeline.errors import PipelineError

ROOT = Path(__file__).parents[1]


def written(tmp_path: Path, path: str, value: object) -> Path:
    """The project's own parameters with one value changed, in a file."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    section, name = path.split(".")
    content[section][name] = value
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_the_projects_own_parameters_are_valid() -> None:
    assert params.load(ROOT / "params.yaml").ingest.batch_size == 1000


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("silver.massive_hit_treshold", 1.0, r"silver.massive_hit_treshold: no such parameter \(a typo\?\)"),
        ("ingest.batch_size", "many", r"ingest.batch_size: .*integer \(is 'many'\)"),
        ("ingest.batch_size", 0, r"ingest.batch_size: .*greater than or equal to 1 \(is 0\)"),
        ("gold.success_boss_hp_pct", 101.0, r"gold.success_boss_hp_pct: .*less than or equal to 100"),
        ("silver.max_clock_skew_s", float("nan"), r"silver.max_clock_skew_s: .*finite"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(tmp_path: Path, path: str, value: object, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        params.load(written(tmp_path, path, value))


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    del content["gold"]
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(PipelineError, match="gold: is missing"):
        params.load(file)


@pytest.mark.parametrize(
    ("content", "message"), [("a: [", "is not YAML"), ("- 1", "the file: .*dictionary"), ("", "the file")]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(content)
    with pytest.raises(PipelineError, match=message):
        params.load(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"params.yaml: cannot be read \(No such file"):
        params.load(tmp_path / "params.yaml")
