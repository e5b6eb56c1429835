"""params.yaml and side files: whatever is wrong stops with one message that says where, what, and what is allowed."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from pipeline import params
from pipeline.combatlog import sidefile
from pipeline.errors import PipelineError
from tests.conftest import ROOT

SOURCE = (ROOT / "params.yaml").read_text(encoding="utf-8")


def changed(tmp_path: Path, path: str, value: object) -> Path:
    """The project's own parameters with one value changed (`...`: left out), in a file."""
    content = yaml.safe_load(SOURCE)
    section, _, name = path.partition(".")
    holder = content[section] if name else content
    holder[name or section] = value
    if value is ...:
        del holder[name or section]
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def told(file: Path, model: type[BaseModel] = params.Params) -> str:
    """What is said of a file that is refused, without the file's name."""
    with pytest.raises(PipelineError) as refused:
        params.load_model(file, model)
    name, _, said = str(refused.value).partition(": ")
    assert name == str(file)
    return said


def told_of(tmp_path: Path, content: str | bytes, model: type[BaseModel] = params.Params) -> str:
    file = tmp_path / "params.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return told(file, model)


def without_line(said: str) -> str:
    line, _, rest = said.partition(", ")
    assert line.startswith("line ")
    return rest


def test_the_projects_own_parameters_are_valid() -> None:
    loaded = params.load(ROOT / "params.yaml")
    assert loaded.ingest.batch_size == 2500
    assert loaded.features.horizons_s == (30, 60, 90, 120)
    assert loaded == params.Params.model_validate(yaml.safe_load(SOURCE))


AS_NUMBER = "YAML wants numbers without quotes and exponents like 1.0e+3)"
QUOTE = "put a text that looks like something else in quotes)"
TAB = (
    "while scanning for the next token found character '\\t' that cannot start any token "
    "(indent with spaces, not with tabs)"
)
NO_END, NO_START = math.inf, -math.inf
INTEGERS: dict[str, tuple[float, float]] = {
    "simulate.seed": (0, NO_END),
    "simulate.teams": (0, 500),
    "simulate.evenings_per_team": (1, 200),
    "simulate.num_events_per_raid": (10, 10_000_000),
    "ingest.batch_size": (1, 10_000),
    "ingest.seed": (0, NO_END),
    "ingest.network_latency_ms": (0, 60_000),
    "gold.max_deaths": (0, NO_END),
    "classify.horizon_s": (5, 3600),
    "classify.seed": (0, 4_294_967_295),
    "classify.folds": (2, 20),
    "classify.bootstrap_samples": (20, 100_000),
    "cluster.seed": (0, 4_294_967_295),
    "cluster.min_pulls": (2, NO_END),
    "cluster.max_clusters": (2, 12),
    "cluster.epochs": (1, 100_000),
    "cluster.batch_size": (1, NO_END),
    "cluster.latent_dim": (1, 16),
    "cluster.bootstrap_samples": (2, 10_000),
}
NUMBERS: dict[str, tuple[float, float]] = {
    "simulate.pulls_per_evening": (1, 60),
    "simulate.style_strength": (0, 5),
    "simulate.win_probability_share": (0, 1),
    "silver.max_clock_skew_s": (0, NO_END),
    "gold.success_boss_hp_pct": (0, 100),
    "gold.reset_s": (0, NO_END),
}
ABOVE: dict[str, tuple[float, float]] = {
    "import_logs.evening_pause_h": (0, 100_000),
    "silver.massive_hit_threshold": (0, NO_END),
    "gold.time_limit_s": (0, NO_END),
    "classify.holdout_share": (0, 0.5),
}
"""Numbers that must lie above the first bound."""
OTHERS = {
    "simulate.faults": (3, "must hold lines like `name: value` (is 3)"),
    "import_logs.include_dungeons": ("maybe", "Input should be a valid boolean (is 'maybe')"),
    "features.horizons_s": ([], "Tuple should have at least 1 item after validation, not 0 (is [])"),
    "eda.raid_id": ("Raid 1", "String should match pattern '^[a-z0-9][a-z0-9_-]{2,63}$' (is 'Raid 1')"),
    "classify.models": ([], "Tuple should have at least 1 item after validation, not 0 (is [])"),
    "cluster.device": ("gpu", "Input should be 'auto', 'cpu' or 'cuda' (is 'gpu')"),
    "report.authors": ([], "Tuple should have at least 1 item after validation, not 0 (is [])"),
}


def test_the_tables_name_every_parameter() -> None:
    known = {f"{section}.{name}" for section, names in yaml.safe_load(SOURCE).items() for name in names}
    assert {*INTEGERS, *NUMBERS, *ABOVE, *OTHERS} == known


def value_at(file: Path, path: str) -> Any:
    section, _, name = path.partition(".")
    return getattr(getattr(params.load(file), section), name)


@pytest.mark.parametrize(("path", "low", "high"), [(path, *bounds) for path, bounds in INTEGERS.items()])
def test_an_integer_keeps_its_bounds(tmp_path: Path, path: str, low: int, high: float) -> None:
    highest = 10**12 if high == NO_END else int(high)
    for inside in (low, highest):
        assert value_at(changed(tmp_path, path, inside), path) == inside
    below = told(changed(tmp_path, path, low - 1))
    assert without_line(below) == f"{path}: Input should be greater than or equal to {low} (is {low - 1})"
    if high < NO_END:
        above = without_line(told(changed(tmp_path, path, highest + 1)))
        least = f"less than {highest + 1}" if path.endswith("seed") else f"less than or equal to {highest}"
        assert above == f"{path}: Input should be {least} (is {highest + 1})"


@pytest.mark.parametrize(("path", "low", "high"), [(path, *bounds) for path, bounds in (NUMBERS | ABOVE).items()])
def test_a_number_keeps_its_bounds(tmp_path: Path, path: str, low: float, high: float) -> None:
    lowest = math.nextafter(low, high) if path in ABOVE else low
    highest = 1e300 if high == NO_END else high
    for inside in (lowest, highest):
        assert value_at(changed(tmp_path, path, inside), path) == inside
    below = math.nextafter(lowest, NO_START)
    least = "greater than" if path in ABOVE else "greater than or equal to"
    said = without_line(told(changed(tmp_path, path, below)))
    assert said == f"{path}: Input should be {least} {low} (is {below!r})"
    if high < NO_END:
        above = math.nextafter(high, NO_END)
        said = without_line(told(changed(tmp_path, path, above)))
        assert said == f"{path}: Input should be less than or equal to {high} (is {above!r})"


@pytest.mark.parametrize(("path", "value", "message"), [(path, *rest) for path, rest in OTHERS.items()])
def test_what_is_no_number_keeps_its_bounds(tmp_path: Path, path: str, value: object, message: str) -> None:
    assert without_line(told(changed(tmp_path, path, value))) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("features.horizons_s", [30, 4], "features.horizons_s.1: Input should be greater than or equal to 5 (is 4)"),
        (
            "features.horizons_s",
            [30, 3601],
            "features.horizons_s.1: Input should be less than or equal to 3600 (is 3601)",
        ),
        ("features.horizons_s", [30, "x"], "features.horizons_s.1: Input should be a valid integer (is 'x')"),
        (
            "classify.models",
            ["lr", "svm"],
            "classify.models.1: Input should be 'lr', 'rf', 'et', 'gbc' or 'ada' (is 'svm')",
        ),
        ("features.horizons_s", [60, 30, 60], "features.horizons_s: 60 is given twice; keep one (is [60, 30, 60])"),
        ("report.authors", ["A", ""], "report.authors.1: String should have at least 1 character (is '')"),
    ],
)
def test_an_element_of_a_list_is_named_with_its_position(
    tmp_path: Path, path: str, value: object, message: str
) -> None:
    assert without_line(told(changed(tmp_path, path, value))) == message


FAULTS = list(params.Faults.model_fields)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_rate_of_faults_keeps_its_bounds(tmp_path: Path, kind: str) -> None:
    def with_rate(rate: object) -> Path:
        rates = yaml.safe_load(SOURCE)["simulate"]["faults"]
        return changed(tmp_path, "simulate.faults", {**rates, kind: rate})

    where = f"simulate.faults.{kind}"
    for inside in (0, 0.2):
        assert params.load(with_rate(inside)).simulate.faults.model_dump()[kind] == inside
    for outside, said in ((-0.01, "greater than or equal to 0"), (0.21, "less than or equal to 0.2")):
        assert without_line(told(with_rate(outside))) == f"{where}: Input should be {said} (is {outside})"


def test_rates_of_faults_of_events_add_up_to_1_at_most(tmp_path: Path) -> None:
    of_events = [kind for kind in FAULTS if kind != "late_batch"]
    most: dict[str, float] = {**dict.fromkeys(of_events, 0.2), of_events[-1]: 0, "late_batch": 0.2}
    assert params.load(changed(tmp_path, "simulate.faults", most)).simulate.faults.model_dump() == most
    said = without_line(told(changed(tmp_path, "simulate.faults", most | {of_events[-1]: 0.01})))
    assert said.startswith(
        "simulate.faults: the rates of duplicate, late, missing_field, clock_skew, outside_pull, invalid must not add "
        "up to more than 1 (is {"
    )


def test_horizons_may_stand_in_any_order(tmp_path: Path) -> None:
    assert value_at(changed(tmp_path, "features.horizons_s", [60, 30]), "features.horizons_s") == (60, 30)


@pytest.mark.parametrize("path", INTEGERS)
@pytest.mark.parametrize(("value", "shown"), [(7.5, "7.5"), (True, "True"), ("many", "'many'"), ([7], "[7]")])
def test_what_is_no_integer_is_refused(tmp_path: Path, path: str, value: object, shown: str) -> None:
    said = without_line(told(changed(tmp_path, path, value)))
    assert said == f"{path}: Input should be a valid integer (is {shown})"


@pytest.mark.parametrize("path", NUMBERS | ABOVE)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("many", "Input should be a valid number (is 'many')"),
        (True, "Input should be a valid number (is True)"),
        (None, "Input should be a valid number (is empty)"),
        (math.nan, "Input should be a finite number (is nan)"),
        (math.inf, "Input should be a finite number (is inf)"),
    ],
)
def test_what_is_no_number_is_refused(tmp_path: Path, path: str, value: object, message: str) -> None:
    assert without_line(told(changed(tmp_path, path, value))) == f"{path}: {message}"


@pytest.mark.parametrize("path", ["gold.max_deaths", "eda.raid_id"])
def test_null_is_a_value_where_it_means_something(tmp_path: Path, path: str) -> None:
    assert value_at(changed(tmp_path, path, None), path) is None


@pytest.mark.parametrize(
    ("line", "misspelled", "message"),
    [
        (
            "  massive_hit_threshold: 10000",
            "  massive_hit_treshold: 10000",
            "silver.massive_hit_treshold: no such parameter; did you mean massive_hit_threshold?",
        ),
        ("  teams: 12", "  Teams: 12", "simulate.Teams: no such parameter; did you mean teams?"),
        ("silver:", "sliver:", "sliver: no such parameter; did you mean silver?"),
        ("  raid_id: raid001", "  raid_id: raid001\n  colour: red", "eda.colour: no such parameter; there are raid_id"),
        (
            "  batch_size: 2500",
            "  batch_size: 2500\n  x: 1",
            "ingest.x: no such parameter; there are batch_size, seed, network_latency_ms",
        ),
    ],
)
def test_a_typo_is_named_with_its_line_and_the_nearest_name(
    tmp_path: Path, line: str, misspelled: str, message: str
) -> None:
    content = SOURCE.replace(line, misspelled, 1)
    number = content.splitlines().index(misspelled.splitlines()[-1]) + 1
    assert f"line {number}, {message}" in told_of(tmp_path, content)


def test_a_misspelled_parameter_is_missing_under_its_right_name(tmp_path: Path) -> None:
    said = told_of(tmp_path, SOURCE.replace("  teams: 12", "  tems: 12"))
    assert said == "simulate.teams: is missing; line 4, simulate.tems: no such parameter; did you mean teams?"


@pytest.mark.parametrize("path", ["gold", "gold.time_limit_s", "report.authors"])
def test_what_is_missing_is_named(tmp_path: Path, path: str) -> None:
    assert told(changed(tmp_path, path, ...)) == f"{path}: is missing"


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    content = SOURCE.replace("teams: 12", "teams: -1").replace("device: auto", "device: tpu")
    first, second = told_of(tmp_path, content).split("; ")
    assert first == "line 4, simulate.teams: Input should be greater than or equal to 0 (is -1)"
    assert second.endswith("cluster.device: Input should be 'auto', 'cpu' or 'cuda' (is 'tpu')")


@pytest.mark.parametrize("key", ["teams", '"teams"'])
def test_a_parameter_that_is_given_twice_is_refused(tmp_path: Path, key: str) -> None:
    content = SOURCE.replace("  teams: 12", f"  teams: 12\n  {key}: 13")
    assert told_of(tmp_path, content) == "line 5, simulate.teams: is given twice, first in line 4; keep one"


def test_a_section_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    last = len(SOURCE.splitlines()) + 1
    said = told_of(tmp_path, SOURCE + "simulate:\n  teams: 1\n")
    assert said == f"line {last}, simulate: is given twice, first in line 2; keep one"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file: must hold lines like `name: value` (is empty)"),
        ("# nothing yet\n", "the file: must hold lines like `name: value` (is empty)"),
        ("- simulate\n- ingest\n", "the file: must hold lines like `name: value` (is ['simulate', 'ingest'])"),
        ("simulate", "the file: must hold lines like `name: value` (is 'simulate')"),
        (
            "a: [",
            "line 1, column 5, is not YAML: while parsing a flow node expected the node content, but found "
            "'<stream end>'",
        ),
        ("a: 'b", "line 1, column 6, is not YAML: while scanning a quoted scalar found unexpected end of stream"),
        ("a: b: c", "line 1, column 5, is not YAML: mapping values are not allowed here"),
        (
            "a:\n\tb: 1",
            "line 2, column 1, is not YAML: " + TAB,
        ),
        ("a: 1\n b: 2", "line 2, column 3, is not YAML: mapping values are not allowed here"),
        (
            "a: 1\n---\nb: 2",
            "line 2, column 1, is not YAML: expected a single document in the stream but found another document",
        ),
        ("? [a]\n: 1", "line 1, column 3, is not YAML: while constructing a mapping found unhashable key"),
        (
            "a: !!python/name:os.system",
            "line 1, column 4, is not YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("a: 2026-02-30", "is not YAML: day is out of range for month"),
        ("[" * 2_000, "is nested too deeply"),
        (b"a: \xff", "is not YAML: 'utf-8' codec can't decode byte 0xff in position 3: invalid start byte"),
        (
            b"a: \x00",
            "is not YAML: unacceptable character #x0000: special characters are not allowed in "
            '"<unicode string>", position 3',
        ),
        (
            SOURCE.encode("utf-16"),
            "is not YAML: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_file_that_is_no_yaml_mapping_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert told_of(tmp_path, content) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("silver:\n", "silver: 5\nx:\n", "silver: must hold lines like `name: value` (is 5)"),
        ("silver:\n", "silver:\nx:\n", "silver: must hold lines like `name: value` (is empty)"),
        ("silver:\n", "silver:\n  - 1\nx:\n", "silver: must hold lines like `name: value` (is [1])"),
        ("horizons_s: [30, 60, 90, 120]", "horizons_s: 30", "features.horizons_s: must be a list like [a, b] (is 30)"),
        (
            "seed: 7",
            "seed: 1e3",
            "ingest.seed: Input should be a valid integer (is the text '1e3'; " + AS_NUMBER,
        ),
        (
            "time_limit_s: 900",
            "time_limit_s: '900'",
            "gold.time_limit_s: Input should be a valid number (is the text '900'; " + AS_NUMBER,
        ),
        (
            "raid_id: raid001",
            "raid_id: 2026-01-05",
            "eda.raid_id: Input should be a valid string (is datetime.date(2026, 1, 5); " + QUOTE,
        ),
        ("seed: 7", "1: 7\n  seed: 7", "ingest.1: Keys should be strings (is 1)"),
        (
            "device: auto",
            f"device: {'x' * 500}",
            f"cluster.device: Input should be 'auto', 'cpu' or 'cuda' (is '{'x' * 27}...{'x' * 28}')",
        ),
    ],
)
def test_yamls_own_traps_are_explained(tmp_path: Path, old: str, new: str, message: str) -> None:
    said = told_of(tmp_path, SOURCE.replace(old, new, 1))
    assert message in said
    assert said[said.index(message) - 2 :][:2] == ", "


def test_aliases_are_followed_and_may_hold_themselves(tmp_path: Path) -> None:
    shared = SOURCE.replace("seed: 20261124", "seed: &seed 5").replace("seed: 11", "seed: *seed")
    file = tmp_path / "params.yaml"
    file.write_text(shared)
    assert params.load(file).cluster.seed == 5
    said = told_of(tmp_path, SOURCE + "loop: &loop [*loop]\n")
    assert "loop: no such parameter" in said


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(SOURCE, encoding="utf-8-sig")
    assert params.load(file) == params.load(ROOT / "params.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert told(tmp_path / "params.yaml") == "cannot be read (No such file or directory)"
    assert told(tmp_path) == "cannot be read (Is a directory)"


class _Inner(BaseModel):
    model_config = {"extra": "forbid"}
    weight: float


class _Outer(BaseModel):
    model_config = {"extra": "forbid"}
    one: _Inner | None = None
    many: tuple[_Inner, ...] = ()
    by_name: dict[str, dict[str, _Inner]] = {}


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("one: {weigth: 1, weight: 1}", "one"),
        ("many: [{weight: 1}, {weigth: 1, weight: 1}]", "many.1"),
        ("by_name: {mage: {fire: {weigth: 1, weight: 1}}}", "by_name.mage.fire"),
    ],
)
def test_a_typo_deep_inside_gets_the_names_of_its_place(tmp_path: Path, content: str, where: str) -> None:
    said = told_of(tmp_path, content, _Outer)
    assert said == f"line 1, {where}.weigth: no such parameter; did you mean weight?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("yaer: 2024", "line 1, yaer: no such parameter; did you mean year?"),
        ("raid_id: raid001\nyear: 24", "line 2, year: Input should be greater than or equal to 2004 (is 24)"),
        ("year: 2024\nyear: 2025", "line 2, year: is given twice, first in line 1; keep one"),
        (
            "year: '2024'",
            "line 1, year: Input should be a valid integer (is the text '2024'; " + AS_NUMBER,
        ),
        ("- 2024", "the file: must hold lines like `name: value` (is [2024])"),
        ("raid_id: Raid 1", "line 1, raid_id: String should match pattern '^[a-z0-9][a-z0-9_-]{2,63}$' (is 'Raid 1')"),
        (
            "year: 2024\n\tx: 1",
            "line 2, column 1, is not YAML: " + TAB,
        ),
    ],
)
def test_a_side_file_is_refused_in_the_same_words(tmp_path: Path, content: str, message: str) -> None:
    log = tmp_path / "WoWCombatLog.txt"
    sidefile.side_file(log).write_text(content)
    with pytest.raises(PipelineError) as refused:
        sidefile.read_side_file(log)
    assert str(refused.value) == f"{sidefile.side_file(log)}: {message}"


@pytest.mark.parametrize(
    ("stage", "output"),
    [
        ("simulate", "data/simulated"),
        ("import-logs", "data/imported"),
        ("ingest", "data/bronze"),
        ("silver", "data/silver"),
    ],
)
def test_a_stage_stops_with_one_message_and_touches_no_output(home: Path, stage: str, output: str) -> None:
    content = SOURCE.replace("teams: 12", "teams: twelve").replace("silver:", "sliver:")
    (home / "params.yaml").write_text(content)
    kept = home / output / "kept"
    kept.parent.mkdir(parents=True)
    kept.write_text("as it was")
    before = sorted(home.rglob("*"))

    command = [sys.executable, "-m", "pipeline", stage]
    ended = subprocess.run(command, cwd=home, env=None, capture_output=True, text=True, check=False, timeout=60)

    assert ended.returncode == 1
    assert ended.stdout == ""
    said = ended.stderr.replace("\n", " ").strip()
    assert said.startswith("error: params.yaml: line 4, simulate.teams: Input should be a valid integer (is 'twelve');")
    assert "did you mean silver?" in said
    assert "Traceback" not in said
    assert sorted(home.rglob("*")) == before
    assert kept.read_text() == "as it was"
