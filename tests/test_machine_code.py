"""The engine's machine code: compiled once, never out of date, the same for every processor."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.simulate import engine, machine_code
from tests.fights import evenings_of, section

ROOT = Path(__file__).parents[1]
USES_CONSTANTS = '''"""Code that takes a constant of the fight and one of the abilities into itself."""

from pipeline.simulate import machine_code
from pipeline.simulate.abilities import NONE
from pipeline.simulate.fight import TANK


@machine_code.kept
def answer() -> int:
    """Both."""
    return 10 * TANK + NONE
'''
SAY = """
from pipeline.simulate import engine
print(engine.answer(), sum(engine.answer.stats.cache_hits.values()))
"""


def copy_with_a_small_engine(folder: Path) -> Path:
    """A copy of the package whose engine compiles at once."""
    package = shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "simulate" / "engine.py").write_text(USES_CONSTANTS)
    (package / "simulate" / "__init__.py").write_text("")
    return package


def start(copy: Path, cache: Path, code: str = SAY) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(copy), "XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen([sys.executable, "-c", code], cwd=copy, env=environment, text=True, stdout=subprocess.PIPE)


def said(process: subprocess.Popen[str]) -> list[int]:
    """What the engine answered, and how often its code was found instead of compiled."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return [int(number) for number in output.split()]


def replace(file: Path, old: str, new: str) -> None:
    """Change a source; its length and its time stamp stay."""
    text, stamp = file.read_text(), file.stat()
    assert text.count(old) == 1 and len(old) == len(new)
    file.write_text(text.replace(old, new))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def test_code_made_from_a_constant_goes_with_it(tmp_path: Path) -> None:
    package = copy_with_a_small_engine(tmp_path / "copy")
    copy, cache = tmp_path / "copy", tmp_path / "cache"
    assert said(start(copy, cache)) == [19, 0]
    assert said(start(copy, cache)) == [19, 1]
    replace(
        package / "simulate" / "fight.py",
        "HEALER, TANK = 0, 1, 2",
        "HEALER, TANK = 0, 1, 7",
    )
    assert said(start(copy, cache)) == [69, 0]
    replace(package / "simulate" / "abilities.py", "NONE = -1", "NONE = -3")
    assert said(start(copy, cache)) == [67, 0]
    assert said(start(copy, cache)) == [67, 1]


def test_copies_of_the_same_sources_share_their_code(tmp_path: Path) -> None:
    copies = [tmp_path / name for name in ("one", "two")]
    for copy in copies:
        copy_with_a_small_engine(copy)
    assert [said(start(copy, tmp_path / "cache")) for copy in copies] == [[19, 0], [19, 1]]


def test_processes_that_compile_at_once_leave_code_that_works(tmp_path: Path) -> None:
    copy_with_a_small_engine(tmp_path / "copy")
    both = [start(tmp_path / "copy", tmp_path / "cache") for _ in range(2)]
    assert {said(process)[0] for process in both} == {19}
    assert said(start(tmp_path / "copy", tmp_path / "cache")) == [19, 1]


def test_without_a_place_to_keep_it_the_code_is_compiled_each_time(tmp_path: Path) -> None:
    copy_with_a_small_engine(tmp_path / "copy")
    (tmp_path / "cache").write_text("a file where the folder would be")
    say = f"{SAY}engine.machine_code.forget_old_versions()"
    assert [said(start(tmp_path / "copy", tmp_path / "cache", say)) for _ in range(2)] == [[19, 0], [19, 0]]


def test_code_of_versions_long_past_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for age in range(machine_code.KEPT_VERSIONS + 3):
        version = machine_code.folder().with_name(f"version-{age}")
        version.mkdir(parents=True)
        os.utime(version, (10**9 - age, 10**9 - age))
    machine_code.forget_old_versions()
    left = {version.name for version in machine_code.folder().parent.iterdir()}
    assert left == {f"version-{age}" for age in range(machine_code.KEPT_VERSIONS)}


def test_the_fingerprint_is_of_all_that_the_engine_imports() -> None:
    found = {str(file.relative_to(machine_code.PACKAGE)) for file in machine_code.sources(machine_code.ENGINE)}
    assert {f"simulate/{name}.py" for name in ("engine", "fight", "abilities", "rows", "machine_code")} <= found
    assert "events.py" in found
    # What tunes a season compiles nothing anew.
    assert not {"simulate/season.py", "simulate/setup.py", "simulate/truth.py"} & found


def test_the_engine_is_made_ready_for_exactly_what_is_played() -> None:
    engine.make_ready()
    evenings_of(section(evenings_per_team=1, num_events_per_raid=500), range(1))
    assert len(engine.play.signatures) == 1  # type: ignore[attr-defined]
    assert machine_code.is_kept("play")


def test_the_code_is_for_every_processor_of_its_kind() -> None:
    @machine_code.compiled
    def product_and_sum(one: float, two: float, three: float) -> float:
        return one * two + three

    assert product_and_sum(2.0, 3.0, 4.0) == 10.0
    code = "".join(product_and_sum.inspect_asm().values())  # type: ignore[attr-defined]
    assert "mul" in code
    # Neither AVX, whose instructions begin with a v, nor a product and a sum in one rounding.
    assert "vmulsd" not in code and "fmadd" not in code


def test_the_command_line_compiles_and_imports_nothing_of_the_engine(tmp_path: Path) -> None:
    code = "import sys; from pipeline import cli, replay, ingest; print(int('numba' in sys.modules), 0)"
    assert said(start(ROOT, tmp_path, code)) == [0, 0]


def test_random_numbers_of_compiled_code_are_those_of_numpy() -> None:
    def draw(rng: np.random.Generator) -> tuple[float, float]:
        return rng.random(), rng.standard_normal()

    one, two = (np.random.default_rng(3) for _ in range(2))
    assert machine_code.compiled(draw)(one) == draw(two)
