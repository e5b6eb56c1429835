"""A combat log to the raid's Parquet on one core.

The log is made of the lines of `tests/logs/classic-1.14.txt`, each kind as often as in a real log of one boss.
"""

import json
import os
import random
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from benchmarks.measurement import Measurement, watching
from benchmarks.season import ROOT, checkout, stage

LINES = 600_000
LINES_PER_PULL = 12_000
LINES_PER_S = 150
# Lines of each kind in a log of one kill (8,243 in all); auras, misses and casts that begin make no event.
SHARES = {
    "SPELL_CAST_SUCCESS": 870,
    "SPELL_AURA_APPLIED": 2419,
    "SWING_DAMAGE": 615,
    "SWING_DAMAGE_LANDED": 615,
    "SPELL_DAMAGE": 575,
    "SPELL_CAST_START": 451,
    "SPELL_HEAL": 443,
    "SPELL_PERIODIC_ENERGIZE": 265,
    "SPELL_ENERGIZE": 230,
    "SWING_MISSED": 371,
    "SPELL_PERIODIC_DAMAGE": 102,
    "SPELL_PERIODIC_HEAL": 99,
    "SPELL_ABSORBED": 94,
    "RANGE_DAMAGE": 48,
    "SPELL_SUMMON": 16,
}
# Some bosses have one; it is a slower way through the reader, and rare.
COMMA_IN_NAME = ", the Hollow"
FLOOR = "splitting the same lines at their commas alone (Polars)"


def measure() -> list[Measurement]:
    """The stage `import_logs` with one worker and one thread, its start included."""
    with checkout({"teams": 0}) as folder:
        log = folder / "data" / "raw" / "WoWCombatLog.txt"
        log.parent.mkdir(parents=True)
        log.write_text(_log())
        log.with_name(log.name + ".yaml").write_text('year: 2026\nutc_offset: "+01:00"\n')
        floor = _splitting(log)
        os.environ.update(PIPELINE_WORKERS="1", POLARS_MAX_THREADS="1")
        try:
            seconds = stage("import-logs", folder)
        finally:
            del os.environ["PIPELINE_WORKERS"], os.environ["POLARS_MAX_THREADS"]
        lines = json.loads((folder / "reports" / "metrics" / "import_logs.json").read_text())["lines"]
    return [
        floor,
        Measurement("combat log to Parquet, one core", lines, seconds, seconds, FLOOR, 100_000, unit="lines"),
    ]


def _splitting(log: Path) -> Measurement:
    with watching() as watch:
        lines = pl.Series([log.read_text()]).str.split("\n").explode()
        fields = lines.str.split(",")
    return Measurement(FLOOR, fields.len(), watch.cpu_seconds, watch.cpu_seconds, unit="lines")


def _log() -> str:
    by_kind: dict[str, list[str]] = {}
    for line in (ROOT / "tests" / "logs" / "classic-1.14.txt").read_text().splitlines():
        content = line.partition("  ")[2].replace(COMMA_IN_NAME, "")
        by_kind.setdefault(content.partition(",")[0], []).append(content)
    chance = random.Random(0)
    kinds = chance.choices(list(SHARES), list(SHARES.values()), k=LINES)
    begin = datetime(2026, 4, 10, 20)
    written = [_line(by_kind["COMBAT_LOG_VERSION"][0], begin)]
    for number, kind in enumerate(kinds):
        moment = begin + timedelta(seconds=number / LINES_PER_S)
        if number % LINES_PER_PULL == 0:
            written.append(_line(by_kind["ENCOUNTER_START"][0], moment))
            written += [_line(roster, moment) for roster in by_kind["COMBATANT_INFO"][:4]]
        written.append(_line(chance.choice(by_kind[kind]), moment))
        if number % LINES_PER_PULL == LINES_PER_PULL - 1:
            written.append(_line(by_kind["ENCOUNTER_END"][0], moment))
    return "".join(written)


def _line(content: str, moment: datetime) -> str:
    return f"{moment.month}/{moment.day} {moment:%H:%M:%S}.{moment.microsecond // 1000:03}  {content}\n"
