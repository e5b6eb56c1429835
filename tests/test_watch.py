"""A pull played in the terminal: which, what each second shows, and how it looks on a terminal and in a pipe."""

import os
import pty
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from pipeline import combatlog, ingest, paths, silver, watch
from pipeline import gold as gold_stage
from pipeline.errors import PipelineError
from pipeline.store import Connection
from pipeline.tables import GOLD_TABLES, polars_schema, write_table
from pipeline.watch import Scene, choose_pull, clock, line, picture, scenes
from tests.faults.conftest import stand_in
from tests.repro.checkouts import SMALL_PARAMS

ROOT = Path(__file__).parents[1]
BEGIN = datetime(2026, 1, 5, 20, tzinfo=UTC)
DEADLINE_S = 120


def rows(table: str, records: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of a Gold table; columns not named are 0, false, or null where the table allows it."""
    schema = polars_schema(GOLD_TABLES[table])
    blank: dict[Any, Any] = {pl.Float64: 0.0, pl.Int64: 0, pl.Boolean: False, pl.String: "", pl.Date: date(2026, 1, 5)}
    default = {name: blank.get(dtype.base_type()) for name, dtype in schema.items()}
    return pl.DataFrame([default | {"raid_id": "raid001"} | record for record in records], schema=schema)


def pull(encounter_id: str, outcome: str, duration_s: float, at_min: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "encounter_id": encounter_id,
        "encounter_name": "Warden [of Doors]",
        "encounter_difficulty": "heroic",
        "raid_outcome": outcome,
        "duration_ms": round(1000 * duration_s),
        "start_timestamp": BEGIN + timedelta(minutes=at_min),
        "pull_number": 1,
        "n_events": 1,
        **fields,
    }


PULLS = rows(
    "raid_summary",
    [
        pull("raid001-p01", "wipe", 90.0, 0),
        pull("raid001-p02", "success", 4.2, 5),
        pull("raid001-p03", "success", 80.0, 10),
    ],
)
WIPES = PULLS.filter(pl.col("raid_outcome") == "wipe").vstack(
    rows("raid_summary", [pull("raid001-p04", "wipe", 300.0, 20), pull("raid001-p05", "wipe", 60.0, 30)])
)
PLAYERS = rows(
    "player_raid_stats",
    [
        {
            "encounter_id": "raid001-p02",
            "player_id": player_id,
            "player_name": name,
            "player_deaths": int(first_death_ms is not None),
            "first_death_ms": first_death_ms,
        }
        for player_id, name, first_death_ms in (("a", "Anna", None), ("b", "Bert", 1400), ("c", None, None))
    ],
)
SECONDS = rows(
    "raid_timeline",
    [
        {"encounter_id": "raid001-p02", "second": second, "boss_hp_pct": boss, "players_alive": alive}
        for second, (boss, alive) in enumerate([(None, 3), (80.0, 3), (None, 2), (12.5, 2), (0.0, 2)])
    ],
)
# Anna hits 100, then 50 in each second; Bert heals 30 in the second 1 and dies in it; c does nothing.
PLAYER_SECONDS = rows(
    "player_timeline",
    [
        {
            "encounter_id": "raid001-p02",
            "player_id": player,
            "second": second,
            "damage": (100.0 if second == 0 else 50.0) if player == "a" else 0.0,
            "healing": 30.0 if (player, second) == ("b", 1) else 0.0,
            "is_alive": not (player == "b" and second >= 2),
        }
        for player in "abc"
        for second in range(5)
    ],
)


def shown() -> list[Scene]:
    return list(scenes(PULLS.row(1, named=True), SECONDS, PLAYER_SECONDS, PLAYERS))


def test_each_second_has_its_scene() -> None:
    assert [scene.second for scene in shown()] == [0, 1, 2, 3, 4]
    assert {(scene.seconds, scene.players, scene.title) for scene in shown()} == {(5, 3, "Warden [of Doors] (heroic)")}


def test_the_boss_keeps_the_health_that_was_last_seen() -> None:
    assert [scene.boss_hp_pct for scene in shown()] == [None, 80.0, 80.0, 12.5, 0.0]


def test_damage_and_healing_add_up_second_by_second() -> None:
    assert [scene.damage for scene in shown()] == [[("Anna", amount)] for amount in (100.0, 150.0, 200.0, 250.0, 300.0)]
    assert [scene.healing for scene in shown()] == [[], *[[("Bert", 30.0)]] * 4]


def test_the_dead_are_named_from_the_second_in_which_they_die() -> None:
    assert [scene.alive for scene in shown()] == [3, 2, 2, 2, 2]
    assert [scene.deaths for scene in shown()] == [[], *[[(1, "Bert")]] * 4]


def with_deaths(player_id: str, *deaths_ms: int) -> pl.DataFrame:
    """The players, one of whom dies so often."""
    died = pl.col("player_id") == player_id
    return PLAYERS.with_columns(
        player_deaths=pl.when(died).then(len(deaths_ms)).otherwise("player_deaths").cast(pl.Int64),
        first_death_ms=pl.when(died).then(deaths_ms[0]).otherwise("first_death_ms").cast(pl.Int64),
    )


@pytest.mark.parametrize("at_ms", [4000, 4199, 4200])
def test_a_death_in_the_last_second_is_named_in_it(at_ms: int) -> None:
    *_, before, last = scenes(PULLS.row(1, named=True), SECONDS, PLAYER_SECONDS, with_deaths("a", at_ms))
    assert (before.alive, before.deaths) == (2, [(1, "Bert")])
    assert (last.alive, last.deaths) == (1, [(4, "Anna"), (1, "Bert")])


def test_who_stood_up_again_may_die_in_the_last_second_too() -> None:
    stands = (pl.col("player_id") == "b") & (pl.col("second") >= 3)
    risen = PLAYER_SECONDS.with_columns(is_alive=pl.col("is_alive") | stands)
    seconds = SECONDS.with_columns(players_alive=pl.Series([3, 3, 2, 3, 3]))
    *_, before, last = scenes(PULLS.row(1, named=True), seconds, risen, with_deaths("b", 1400, 4100))
    assert (before.alive, before.deaths) == (3, [(1, "Bert")])
    assert (last.alive, last.deaths) == (2, [(4, "Bert"), (1, "Bert")])


def test_who_stood_up_again_is_not_dead_twice() -> None:
    stands = (pl.col("player_id") == "b") & (pl.col("second") >= 3)
    risen = PLAYER_SECONDS.with_columns(is_alive=pl.col("is_alive") | stands)
    seconds = SECONDS.with_columns(players_alive=pl.Series([3, 3, 2, 3, 3]))
    assert [(scene.alive, scene.deaths) for scene in scenes(PULLS.row(1, named=True), seconds, risen, PLAYERS)] == [
        (3, []),
        (2, [(1, "Bert")]),
        *[(3, [(1, "Bert")])] * 3,
    ]


def test_only_the_best_are_shown_the_best_first() -> None:
    many = rows(
        "player_timeline",
        [
            {"player_id": f"p{number}", "second": 0, "damage": float(number), "is_alive": True}
            for number in range(watch.TOP + 3)
        ],
    )
    names = rows("player_raid_stats", [{"player_id": f"p{n}", "player_name": None} for n in range(watch.TOP + 3)])
    (scene,) = scenes(PULLS.row(1, named=True), SECONDS.head(1), many, names)
    assert scene.damage == [(f"p{number}", float(number)) for number in range(watch.TOP + 2, 2, -1)]
    assert scene.healing == []


def test_the_first_kill_is_played_else_the_longest_pull() -> None:
    assert choose_pull(PULLS, "raid001", None)["encounter_id"] == "raid001-p02"
    assert choose_pull(WIPES, "raid001", None)["encounter_id"] == "raid001-p04"
    assert choose_pull(PULLS, "raid001", "raid001-p03")["encounter_id"] == "raid001-p03"


def test_a_pull_or_raid_that_is_not_there_is_said_so() -> None:
    with pytest.raises(PipelineError, match="raid001 has no pull p9; it has raid001-p01, raid001-p02, raid001-p03"):
        choose_pull(PULLS, "raid001", "p9")
    with pytest.raises(PipelineError, match="raid raid777 has no pull in Gold"):
        choose_pull(PULLS.clear(), "raid777", None)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(PipelineError, match="give a number above 0"):
        watch.watch("raid001", speed=speed)


def test_a_line_says_who_leads() -> None:
    first, *_, last = shown()
    assert line(first) == "0:00 boss ?, 3 of 3 alive, Anna 100"
    assert line(last) == "0:04 boss 0.0 %, 2 of 3 alive, Anna 300, Bert 30"


def test_clocks_count_minutes() -> None:
    assert [clock(second) for second in (0, 59, 60, 605)] == ["0:00", "0:59", "1:00", "10:05"]


def rendered(scene: Scene) -> str:
    console = Console(record=True, width=90, file=StringIO())
    console.print(picture(scene))
    return console.export_text()


def test_the_picture_has_the_boss_the_living_the_best_and_the_dead() -> None:
    text = rendered(shown()[3])
    for part in ("Warden [of Doors] (heroic)", "12.5 %", "2 / 3", "250 Anna", "30 Bert", "0:01 Bert", "0:03 / 0:05"):
        assert part in text
    assert "unknown" in rendered(shown()[0])


# --- the command itself, on a Gold folder of one pull


@pytest.fixture
def gold(home: Path) -> Path:
    """A checkout whose Gold holds the made-up pull."""
    tables = {
        "raid_summary": (PULLS, "raid_summary/v1"),
        "player_raid_stats": (PLAYERS, "player_raid_stats/v1"),
        "raid_timeline": (SECONDS, "raid_timeline/v1/raidid=raid001"),
        "player_timeline": (PLAYER_SECONDS, "player_timeline/v1/raidid=raid001"),
    }
    for name, (frame, folder) in tables.items():
        file = home / "data/gold" / folder / "part-0.parquet"
        file.parent.mkdir(parents=True)
        write_table(frame, GOLD_TABLES[name], file, {})
    return home


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", "watch", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        "LINES": "40",
    }


def test_a_pipe_gets_plain_lines(gold: Path) -> None:
    done = subprocess.run(
        command("raid001"), cwd=gold, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert done.stdout.splitlines() == [
        "0:00 boss ?, 3 of 3 alive, Anna 100",
        "0:04 boss 0.0 %, 2 of 3 alive, Anna 300, Bert 30",
        "raid001-p02: the boss is dead after 4.2 s",
    ]


def test_a_terminal_gets_pictures(gold: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("raid001", "--speed", "100"), cwd=gold, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    written = bytearray()
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:
        # A terminal whose last writer has gone reads as an error on Linux.
        pass
    os.close(ours)
    assert process.wait(timeout=DEADLINE_S) == 0, written.decode(errors="replace")
    text = written.decode()
    assert text.count("Warden [of Doors]") >= 5, "a picture for each second"
    assert "250 Anna" in text
    assert "the boss is dead after 4.2 s" in text


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, connection: Connection) -> Path:
    """A checkout whose Gold comes from a combat log."""
    root = tmp_path_factory.mktemp("real")
    (root / "dvc.yaml").touch()
    shutil.copy(SMALL_PARAMS, root / "params.yaml")
    log = root / paths.RAW / "WoWCombatLog.txt"
    log.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tests/data/combatlog/every-kind.txt", log)
    log.with_name(f"{log.name}.yaml").write_text("year: 2024\nutc_offset: '+01:00'\n")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(root, patch, connection)
        for stage in (combatlog.run, ingest.run, silver.run, gold_stage.run):
            stage()
    return root


def test_a_real_log_is_played(real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(real)
    (raid_id,) = gold_stage.read("raid_summary")["raid_id"].unique()
    watch.watch(raid_id)
    assert capsys.readouterr().out.splitlines() == [
        "0:00 boss ?, 4 of 4 alive",
        "0:15 boss 98.3 %, 4 of 4 alive, Aldwyn-Nowhere 1,500, Brenna-Nowhere 800",
        "0:30 boss 98.3 %, 4 of 4 alive, Aldwyn-Nowhere 1,500, Brenna-Nowhere 800",
        "0:45 boss 98.3 %, 4 of 4 alive, Aldwyn-Nowhere 1,500, Brenna-Nowhere 800",
        "1:00 boss 0.0 %, 4 of 4 alive, Aldwyn-Nowhere 99,780, Brenna-Nowhere 800",
        "900-1: the boss is dead after 60.5 s",
    ]
    shown: list[Scene] = []
    monkeypatch.setattr(watch, "_write", lambda _, scenes: shown.extend(scenes))
    watch.watch(raid_id, "900-1")
    watch.watch(raid_id, "910-2")
    told = {(scene.seconds, scene.second): (scene.alive, scene.deaths) for scene in shown}
    cedric = [(16, "Cedric-Nowhere")]
    assert [told[61, second] for second in (15, 16, 17, 18)] == [(4, []), (3, cedric), (3, cedric), (4, cedric)]
    assert told[3, 2] == (0, [(2, "Brenna-Nowhere")]), "the log breaks off at her death"


def test_an_unknown_raid_ends_with_a_message(gold: Path) -> None:
    done = subprocess.run(
        command("raid999"), cwd=gold, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 1
    assert "raid raid999 has no pull in Gold" in done.stderr
    assert "Traceback" not in done.stderr
